// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_RUNNER_DETAIL_SHUTDOWN_HPP
#define POLYLOOP_RUNNER_DETAIL_SHUTDOWN_HPP

#include <polyloop/loop/event_loop.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace polyloop::detail {

/// The end of a run, step by step, for all loops of its policy. The first loop is the runner's
/// own: it is run while the steps wait, and its exception handler is told what went wrong.
class shutdown
{
  public:
    POLYLOOP_DECL shutdown(std::span<std::shared_ptr<event_loop> const> loops,
                           std::chrono::nanoseconds limit);

    /// Cancels all tasks, in rounds until none is left or the time is over: a task that cleans up
    /// may spawn another (S72). The first round is made in any case.
    POLYLOOP_DECL void cancel_tasks();

    /// Waits for the default executors' threads, for as long as time is left (S75).
    POLYLOOP_DECL void join_executors();

    /// Reports who did not end. While no thread runs the loops.
    POLYLOOP_DECL void name_stragglers();

    /// Each, whatever the others throw; the first error is thrown at the end.
    POLYLOOP_DECL void close_loops();

    /// What ends the waiting at once, from the main loop: as if the time were over.
    POLYLOOP_DECL std::function<void()> hurry() const;
    bool hurried() const noexcept
    {
        return *hurried_;
    }

  private:
    struct gate;

    std::size_t tasks_left() const noexcept;
    bool time_is_over() const noexcept;
    std::string until_when() const;
    void run_main_until(std::shared_ptr<gate> const& g);
    void report(exception_context const& c) const noexcept;

    std::vector<std::shared_ptr<event_loop>> loops_;
    std::shared_ptr<event_loop> main_;
    std::chrono::nanoseconds limit_;
    steady_time deadline_;
    bool cancelled_ = false;
    std::shared_ptr<std::atomic<bool>> hurried_ = std::make_shared<std::atomic<bool>>(false);
};

} // namespace polyloop::detail

#endif
