// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_TIMEOUT_HPP
#define POLYLOOP_TASK_TIMEOUT_HPP

#include <polyloop/task/detail/task_deadline.hpp>
#include <polyloop/task/spawn.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/error.hpp>

#include <chrono>
#include <functional>
#include <type_traits>
#include <utility>

namespace polyloop {

namespace detail {

template <class F>
decltype(auto) call_with_deadline(steady_time when, task_base& t, F&& f)
{
    task_deadline deadline(t, when);
    try
    {
        return std::invoke(std::forward<F>(f));
    }
    catch (boost::system::system_error const& e)
    {
        if (e.code() == asio::error::operation_aborted && deadline.cancelled())
            throw_timed_out();
        throw;
    }
}

template <class T, class Limit, class F>
asio::awaitable<T> await_with_deadline(Limit limit, F f)
{
    task_ptr const self(&running_task()); // the frame may be destroyed after the task's end
    task_deadline deadline(*self, deadline_of(limit, self->core()));
    try
    {
        co_return co_await std::invoke(f);
    }
    catch (boost::system::system_error const& e)
    {
        if (e.code() == asio::error::operation_aborted && deadline.cancelled())
            throw_timed_out();
        throw;
    }
}

template <class Limit, class F>
decltype(auto) limited(Limit limit, F&& f)
{
    using traits = spawned<std::invoke_result_t<F>>;
    if constexpr (traits::is_coroutine)
        return await_with_deadline<typename traits::type>(
            limit, std::decay_t<F>(std::forward<F>(f)));
    else
    {
        task_base& t = running_task();
        return call_with_deadline(deadline_of(limit, t.core()), t, std::forward<F>(f));
    }
}

} // namespace detail

/// Calls `f` and gives what it returns; throws `asio::error::timed_out` where it has not ended
/// after `limit`: asyncio.timeout.
///
/// A deadline that expires cancels the task, so the wait that `f` is in, or its next one, throws
/// `operation_aborted`; where that leaves `f`, it becomes `timed_out`. An `f` that returns or
/// throws something else has its way. Deadlines nest. A cancellation that somebody else asked
/// for meanwhile wins: `operation_aborted` goes through, and `cancelling()` is what it would be
/// without the deadline. A limit of 0 or less starts `f`, and its first wait throws. Any
/// duration, which saturates; it counts from the loop's time, that of the present batch.
///
/// An `f` that returns `asio::awaitable<T>` gives an `asio::awaitable<T>`, for coroutine tasks;
/// its time counts from when that is awaited.
///
/// Throws `error::not_in_fiber` outside of a task, before `f` is called. Costs no allocation, no
/// system call and no clock read. For a single operation of Asio see `use_fiber(limit)`.
template <class Rep, class Period, std::invocable F>
decltype(auto) timeout(std::chrono::duration<Rep, Period> limit, F&& f)
{
    return detail::limited(detail::to_nanoseconds(limit), std::forward<F>(f));
}

/// The same with a point in time: asyncio.timeout_at. One of another clock than the steady one is
/// reckoned at the call; what that clock is set to later is not noticed.
template <class Clock, class Duration, std::invocable F>
decltype(auto) timeout_at(std::chrono::time_point<Clock, Duration> when, F&& f)
{
    return detail::limited(detail::to_steady(when), std::forward<F>(f));
}

} // namespace polyloop

#endif
