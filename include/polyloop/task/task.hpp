// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_TASK_HPP
#define POLYLOOP_TASK_TASK_HPP

#include <polyloop/context/context.hpp>
#include <polyloop/loop/detail/timer_queue.hpp>
#include <polyloop/task/detail/async_joiner.hpp>
#include <polyloop/task/detail/task_value.hpp>
#include <polyloop/task/detail/task_base.hpp>

#include <boost/asio/async_result.hpp>

#include <chrono>
#include <string>
#include <type_traits>
#include <utility>

namespace polyloop {

using task_id = context::id_type;

/// The handle to a unit of work that can wait: a fiber, or a coroutine that was spawned.
///
/// Copies refer to the same task. Dropping the last handle detaches the task: it runs on, and
/// an error that nobody was given goes to its loop's exception handler, once. A handle does not
/// keep the loop alive; when the loop is gone its unfinished tasks are done and cancelled. The
/// handle of a fiber that has ended holds its result, and no stack.
/// Every operation but `valid` on an empty handle throws `error::empty_handle`.
///
/// Thread safety: distinct objects safe, for the same task too.
template <class T = void>
class [[nodiscard]] task
{
  public:
    using value_type = T;

    /// An empty handle.
    task() noexcept = default;

    /// The same task, without its value.
    template <class U>
        requires(std::is_void_v<T> && !std::is_void_v<U>)
    task(task<U> other) noexcept : impl_(std::move(other.impl_))
    {
    }

    bool valid() const noexcept
    {
        return impl_ != nullptr;
    }
    explicit operator bool() const noexcept
    {
        return valid();
    }

    /// Waits for the end and gives the result, or throws what the task threw;
    /// `operation_aborted` if it was cancelled.
    ///
    /// Suspends a fiber, blocks a plain thread; in a bare handler of a running loop it throws
    /// `error::not_in_fiber` unless the task is done. `error::self_join` in the task
    /// itself; `error::loop_closed` in a forked child, where it is the parent's (S17). Each joiner
    /// gets a copy; a result that cannot be copied goes to the first, and later ones get
    /// `error::result_taken`. Cancelling a task that waits here cancels the joined one, as
    /// asyncio's `await task` does.
    T join()
    {
        if (!get().done())
            detail::wait_done(*impl_);
        return take();
    }

    /// Waits for at most `limit` (never less, unless it ends); says whether the task is done.
    /// Suspends and blocks as `join` does, and a cancelled caller throws
    /// `operation_aborted` without touching the joined task.
    template <class Rep, class Period>
    bool join_for(std::chrono::duration<Rep, Period> limit)
    {
        return detail::wait_done_until(
            get(), detail::saturating_add(std::chrono::steady_clock::now(),
                                          detail::to_nanoseconds(limit)));
    }

    /// The same until a point in time, of any clock.
    template <class Clock, class Duration>
    bool join_until(std::chrono::time_point<Clock, Duration> limit)
    {
        return detail::wait_done_until(get(), detail::deadline::at(limit).time());
    }

    /// Completes `token` with `void(std::exception_ptr, T)`, or `void(std::exception_ptr)` for
    /// void, when the task ends. `T` must be default-constructible, as every completion
    /// handler gets one.
    ///
    /// The handler is called by its associated executor; one without on the task's loop. Cancelling
    /// the wait through its cancellation slot cancels the task.
    template <class Token>
    auto async_join(Token&& token)
    {
        return detail::start_async_join<T>(*this, {}, std::forward<Token>(token));
    }
    /// The same with a limit, after which the error is `asio::error::timed_out` and the task goes
    /// on.
    template <class Rep, class Period, class Token>
    auto async_join_for(std::chrono::duration<Rep, Period> limit, Token&& token)
    {
        return detail::start_async_join<T>(*this, detail::deadline::after(limit),
                                           std::forward<Token>(token));
    }
    template <class Clock, class Duration, class Token>
    auto async_join_until(std::chrono::time_point<Clock, Duration> limit, Token&& token)
    {
        return detail::start_async_join<T>(*this, detail::deadline::at(limit),
                                           std::forward<Token>(token));
    }

    /// Whether it has ended, in whichever way.
    bool done() const
    {
        return get().done();
    }

    /// Whether it ended by a cancellation.
    bool cancelled() const
    {
        return get().done() && get().cancelled();
    }

    /// Asks the task to end: its present wait, or the next one, throws `operation_aborted`, once
    /// (asyncio.Task.cancel). A task that never started never starts. Returns false where it is
    /// done already.
    bool cancel()
    {
        return get().cancel();
    }

    /// How many requests to cancel stand, less those taken back.
    int cancelling() const
    {
        return get().cancelling();
    }

    /// Takes one request back and returns how many are left; at 0 a cancellation that was not
    /// delivered yet is revoked. For the task itself.
    int uncancel()
    {
        return get().uncancel();
    }

    task_id id() const
    {
        return get().id();
    }

    /// The name it was spawned with, or one made of its id.
    std::string name() const
    {
        return get().name();
    }

    friend bool operator==(task const& a, task const& b) noexcept
    {
        return a.impl_ == b.impl_;
    }

    // For the rooms further down.
    explicit task(detail::task_ptr p) noexcept : impl_(std::move(p))
    {
    }
    detail::task_base& get() const
    {
        if (!impl_) [[unlikely]]
            detail::throw_error(error::empty_handle);
        return *impl_;
    }

    /// The result of a task that is done.
    T take()
    {
        detail::task_base& t = get();
        t.retrieved();
        if (t.error()) [[unlikely]]
            std::rethrow_exception(t.error());
        if constexpr (!std::is_void_v<T>)
        {
            auto& r = *static_cast<detail::task_value<T>*>(t.result());
            if constexpr (std::is_reference_v<T>)
                return *r.value;
            else if constexpr (std::is_copy_constructible_v<T>)
                return *r.value;
            else
            {
                if (!t.take_result())
                    detail::throw_error(error::result_taken);
                return std::move(*r.value);
            }
        }
    }

  private:
    template <class>
    friend class task;

    detail::task_ptr impl_;
};

} // namespace polyloop

#endif
