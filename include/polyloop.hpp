// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_HPP
#define POLYLOOP_HPP

#include <polyloop/context/context.hpp>
#include <polyloop/context/per_process.hpp>
#include <polyloop/error.hpp>
#include <polyloop/io/local_datagram_socket.hpp>
#include <polyloop/io/local_listener.hpp>
#include <polyloop/io/local_stream.hpp>
#include <polyloop/io/tcp_listener.hpp>
#include <polyloop/io/tcp_stream.hpp>
#include <polyloop/io/udp_socket.hpp>
#include <polyloop/loop/backend.hpp>
#include <polyloop/loop/event_loop.hpp>
#include <polyloop/loop/loop_group.hpp>
#include <polyloop/loop/strand.hpp>
#include <polyloop/loop/tcp.hpp>
#include <polyloop/loop/timer.hpp>
#include <polyloop/policy/default_policy.hpp>
#include <polyloop/policy/event_loop_policy.hpp>
#include <polyloop/policy/placement.hpp>
#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/policy/registry.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/server/server.hpp>
#include <polyloop/sync/barrier.hpp>
#include <polyloop/sync/channel.hpp>
#include <polyloop/sync/condition_variable.hpp>
#include <polyloop/sync/event.hpp>
#include <polyloop/sync/mutex.hpp>
#include <polyloop/sync/semaphore.hpp>
#include <polyloop/sync/shared_mutex.hpp>
#include <polyloop/task/exception_group.hpp>
#include <polyloop/task/fiber_local.hpp>
#include <polyloop/task/gather.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/shield.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/stack_usage.hpp>
#include <polyloop/task/task.hpp>
#include <polyloop/task/task_group.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/timeout.hpp>
#include <polyloop/task/to_thread.hpp>
#include <polyloop/task/use_fiber.hpp>
#include <polyloop/task/wait.hpp>
#include <polyloop/version.hpp>

#endif
