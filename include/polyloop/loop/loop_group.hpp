// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_LOOP_GROUP_HPP
#define POLYLOOP_LOOP_LOOP_GROUP_HPP

#include <polyloop/loop/detail/affinity.hpp>
#include <polyloop/loop/event_loop.hpp>

#include <atomic>
#include <memory>
#include <span>
#include <thread>
#include <vector>

namespace polyloop {

/// Some loops, each run by a thread of its own, optionally pinned to a processor.
///
/// In a forked child the threads are not there: `stop`, `join` and the destructor leave them and
/// their loops alone.
///
/// Thread safety: `loops` and `size` are safe from any thread after `start`; `start`, `stop`
/// and `join` are for one thread at a time, which is none of the group's.
class loop_group
{
  public:
    POLYLOOP_DECL loop_group();

    /// Stops and joins.
    POLYLOOP_DECL ~loop_group();

    loop_group(loop_group const&) = delete;
    loop_group& operator=(loop_group const&) = delete;

    /// Takes over a loop that nobody runs. Before `start`. Null, a closed loop and one that the
    /// group has are `error::bad_config`, one without locks is `error::option_unsupported`.
    POLYLOOP_DECL void add(std::shared_ptr<event_loop> loop);

    /// Starts a thread for each loop, which runs it until the group is stopped: a `stop` of the
    /// loop alone ends no thread. What keeps a thread from running its loop is reported to the
    /// loop's exception handler. With `pin` the n-th runs on the (n + `first_cpu`)-th,
    /// counted round, of the processors that the group's maker could use; a refusal by the system
    /// is reported to the loop's exception handler, and the loop runs unpinned.
    POLYLOOP_DECL void start(bool pin = false, unsigned first_cpu = 0);

    /// Has every thread end when its loop's present batch is over.
    POLYLOOP_DECL void stop() noexcept;

    /// Blocks until every thread has ended. The loops are not closed.
    POLYLOOP_DECL void join() noexcept;

    std::span<std::shared_ptr<event_loop> const> loops() const noexcept
    {
        return loops_;
    }
    std::size_t size() const noexcept
    {
        return loops_.size();
    }

  private:
    void run(event_loop& loop) noexcept;
    void leave_to_parent() noexcept;

    detail::affinity allowed_;
    std::atomic<bool> quit_ = false;
    std::vector<std::shared_ptr<event_loop>> loops_;
    std::vector<std::thread> threads_;
    unsigned generation_ = 0; // of the process that started them
};

} // namespace polyloop

#endif
