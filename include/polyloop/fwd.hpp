// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_FWD_HPP
#define POLYLOOP_FWD_HPP

namespace polyloop {

class context;
class event_loop;
class strand;
class callback_handle;
class loop_group;
class timer;
class task_group;
class exception_group;
class event_loop_policy;
template <class T>
class task;
class runner;
class server;

struct loop_options;
struct stack_options;
struct spawn_options;
struct run_options;
struct server_options;

namespace detail {

class context_node;
class loop_core;
class strand_core;
class task_base;
class fiber;

} // namespace detail
} // namespace polyloop

#endif
