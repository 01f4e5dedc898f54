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

/// What a run, and its shutdown, make of signals. Only in the main thread, and only of those that
/// nobody else handles when it is begun (S60); where that fails it does without (S61).
class interruption
{
  public:
    interruption() = default;
    interruption(interruption const&) = delete;
    interruption& operator=(interruption const&) = delete;
    POLYLOOP_DECL ~interruption();

    /// From now on signals are told to `told`, on the loop; begins with those that are free and are
    /// not watched yet. How many have come since `pause`, of which nobody was told.
    POLYLOOP_DECL unsigned tell(event_loop& loop, std::span<int const> signals,
                                std::function<void()> told);

    /// Keeps the signals, and tells nobody. How many have come since `tell`, `told` of them or not;
    /// a thread of the loop may be about to tell.
    POLYLOOP_DECL unsigned pause() noexcept;

    /// Puts the signals back (S67). The same number.
    POLYLOOP_DECL unsigned end() noexcept;

  private:
    std::shared_ptr<signal_watch> watch_;
};

/// Runs a main task to its end, with its signals. Made before the task, which may begin at once on
/// a loop that other threads run.
class interruptible_run
{
  public:
    /// `keep` leaves the watch on for what comes after the run.
    POLYLOOP_DECL interruptible_run(event_loop& loop, std::span<int const> signals,
                                    interruption& watch, bool keep);
    interruptible_run(interruptible_run const&) = delete;
    interruptible_run& operator=(interruptible_run const&) = delete;
    POLYLOOP_DECL ~interruptible_run();

    /// As `run_until_done`. The first signal cancels the task, a second one, or one that comes when
    /// it is done, leaves it where it is (S62 to S66): both throw `error::interrupted`, the former
    /// only if nobody else has cancelled the task and it did not go on.
    POLYLOOP_DECL void operator()(task_base& main, unsigned stops);

  private:
    struct progress;

    unsigned leave() noexcept;

    event_loop& loop_;
    std::shared_ptr<progress> progress_; // a thread of the loop may be there when the run has ended
    interruption& watch_;
    bool const keep_;
    bool left_ = false;
};

} // namespace polyloop::detail

#endif
