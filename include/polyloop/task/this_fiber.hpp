// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_THIS_FIBER_HPP
#define POLYLOOP_TASK_THIS_FIBER_HPP

#include <polyloop/loop/detail/timer_queue.hpp>
#include <polyloop/task/detail/fiber.hpp>
#include <polyloop/task/task.hpp>

#include <chrono>
#include <string>
#include <type_traits>

/// The running task, in the form of `std::this_thread`.
///
/// Outside of a task every function throws `error::not_in_fiber`. `yield` and the sleeps throw it
/// in a coroutine task too: a coroutine waits by `co_await`.
namespace polyloop::this_fiber {

/// Gives each ready fiber of the loop a turn. A cancellation point.
inline void yield()
{
    detail::yield_here();
}

/// Suspends the fiber until `when`, never shorter. Throws `operation_aborted` when
/// cancelled.
///
/// Time that the machine spends suspended does not count where the steady clock stands still then
/// (Linux does so, see `timer`).
POLYLOOP_DECL void sleep_until(std::chrono::steady_clock::time_point when);

/// The same by another clock, the system's for one. How long that is yet is reckoned at the start,
/// and once more whenever the clock has not come there by then, having been set back: so the sleep
/// is not shorter by that clock either. One that is set forward meanwhile is not noticed: the
/// sleep ends as first reckoned.
template <class Clock, class Duration>
void sleep_until(std::chrono::time_point<Clock, Duration> when)
{
    auto const until = detail::to_nanoseconds(when.time_since_epoch());
    do
        sleep_until(detail::to_steady(when));
    while (!std::is_same_v<Clock, std::chrono::steady_clock> &&
           detail::to_nanoseconds(Clock::now().time_since_epoch()) < until);
}

/// Suspends the fiber for at least `d`, counted from now; any duration, which saturates. One of 0
/// or less is a `yield`, as asyncio's `sleep(0)`.
template <class Rep, class Period>
void sleep_for(std::chrono::duration<Rep, Period> d)
{
    std::chrono::nanoseconds const n = detail::to_nanoseconds(d);
    if (n <= n.zero())
        detail::yield_here();
    else
        sleep_until(detail::saturating_add(std::chrono::steady_clock::now(), n));
}

/// The handle of the running task, fiber or coroutine. A task whose result or callable holds its
/// own handle is never destroyed.
POLYLOOP_DECL task<> current_task();

POLYLOOP_DECL task_id id();
POLYLOOP_DECL std::string name();

/// Whether requests to cancel stand (`cancelling() > 0`).
POLYLOOP_DECL bool cancelled();

} // namespace polyloop::this_fiber

#endif
