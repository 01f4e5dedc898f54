// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_RUNNER_DETAIL_INTERRUPTION_HPP
#define POLYLOOP_RUNNER_DETAIL_INTERRUPTION_HPP

#include <polyloop/loop/event_loop.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <span>

namespace polyloop::detail {

class signal_watch;
class task_base;

/// What a run, or its shutdown, makes of signals while this lives. Only in the main thread, and
/// only of those that nobody else handles when it begins (S60); where that fails it does without
/// (S61).
class interruption
{
  public:
    POLYLOOP_DECL interruption(event_loop& loop, std::span<int const> signals,
                               std::function<void()> told);
    interruption(interruption const&) = delete;
    interruption& operator=(interruption const&) = delete;
    POLYLOOP_DECL ~interruption();

    /// Puts the signals back (S67). How many have come, `told` of them or not; a thread of the loop
    /// may be about to tell.
    POLYLOOP_DECL unsigned end() noexcept;

  private:
    std::shared_ptr<signal_watch> watch_;
};

/// Runs a main task to its end, with its signals. Made before the task, which may begin at once on
/// a loop that other threads run.
class interruptible_run
{
  public:
    POLYLOOP_DECL interruptible_run(event_loop& loop, std::span<int const> signals);

    /// As `run_until_done`. The first signal cancels the task, a second one, or one that comes when
    /// it is done, leaves it where it is (S62 to S66): both throw `error::interrupted`, the former
    /// only if nobody else has cancelled the task and it did not go on.
    POLYLOOP_DECL void operator()(task_base& main, unsigned stops);

  private:
    struct progress;

    event_loop& loop_;
    std::shared_ptr<progress> progress_; // a thread of the loop may be there when the run has ended
    interruption watch_;
};

} // namespace polyloop::detail

#endif
