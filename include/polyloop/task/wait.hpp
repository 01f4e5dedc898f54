// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_WAIT_HPP
#define POLYLOOP_TASK_WAIT_HPP

#include <polyloop/task/gather.hpp>
#include <polyloop/task/task.hpp>

#include <chrono>
#include <span>
#include <type_traits>
#include <vector>

namespace polyloop {

/// When `wait` returns.
enum class return_when
{
    all,             ///< when every task has ended
    first_completed, ///< when one has, in whichever way
    first_failed     ///< when one has by an error (a cancellation is none), or all have
};

/// The tasks that were waited for, each in the order in which it was given.
template <class T>
struct wait_result
{
    std::vector<task<T>> done;
    std::vector<task<T>> pending;
};

namespace detail {

POLYLOOP_DECL void wait_for_tasks(std::span<task_ptr const> tasks, return_when when,
                                  steady_time limit);

template <class R>
auto wait_until(R&& tasks, return_when when, steady_time limit)
{
    using handle = std::remove_cvref_t<std::ranges::range_reference_t<R>>;
    std::vector<handle> handles;
    std::vector<task_ptr> all;
    for (auto&& t : tasks)
    {
        all.emplace_back(&t.get());
        handles.push_back(t);
    }
    wait_for_tasks(all, when, limit);
    wait_result<typename handle::value_type> out;
    for (handle& t : handles)
        (t.done() ? out.done : out.pending).push_back(std::move(t));
    return out;
}

} // namespace detail

/// Waits for some or all of the tasks and says which are done: asyncio.wait.
///
/// Throws nothing of theirs, and cancels none: ask the handles. A cancelled caller throws
/// `operation_aborted` and leaves them alone. No task at all is `error::bad_config`. Suspends a
/// fiber, blocks a plain thread; `error::not_in_fiber` in a bare handler, unless nothing is to be
/// waited for.
template <task_range R>
auto wait(R&& tasks, return_when when = return_when::all)
{
    return detail::wait_until(std::forward<R>(tasks), when, detail::steady_time::max());
}

/// The same for at most `limit`, any duration, which saturates: what is not done then is pending.
template <task_range R, class Rep, class Period>
auto wait(R&& tasks, std::chrono::duration<Rep, Period> limit,
          return_when when = return_when::all)
{
    return detail::wait_until(std::forward<R>(tasks), when,
                              detail::saturating_add(std::chrono::steady_clock::now(),
                                                     detail::to_nanoseconds(limit)));
}

/// The same until a point in time. One of another clock than the steady one is reckoned at the
/// call; what that clock is set to later is not noticed.
template <task_range R, class Clock, class Duration>
auto wait(R&& tasks, std::chrono::time_point<Clock, Duration> limit,
          return_when when = return_when::all)
{
    return detail::wait_until(std::forward<R>(tasks), when, detail::to_steady(limit));
}

} // namespace polyloop

#endif
