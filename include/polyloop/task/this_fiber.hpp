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
POLYLOOP_DECL void sleep_until(std::chrono::steady_clock::time_point when);

/// Suspends the fiber for at least `d`, counted from now; any duration, which saturates.
template <class Rep, class Period>
void sleep_for(std::chrono::duration<Rep, Period> d)
{
    sleep_until(detail::saturating_add(std::chrono::steady_clock::now(),
                                       detail::to_nanoseconds(d)));
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
