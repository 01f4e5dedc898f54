// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_SHIELD_HPP
#define POLYLOOP_TASK_SHIELD_HPP

#include <polyloop/task/detail/task_deadline.hpp>
#include <polyloop/task/spawn.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <source_location>
#include <type_traits>
#include <utility>

namespace polyloop {

namespace detail {

/// Waits for the end of `t` without passing a cancellation on, which stays for the next
/// suspension. In a fiber. `until_end`: even where the loop is being closed.
POLYLOOP_DECL void wait_shielded(task_base& t, bool until_end);

/// Spawns into the serial context of the running task, so that the two never run at once.
template <class F>
auto spawn_shielded(task_base& self, F&& f)
{
    if (self.core().unwinding())
        throw_cancelled(); // as every wait does by then
    spawn_options options{.name = self.name() + " (shielded)", .key = {}};
    return spawn_on(self.core(), self.strand(), std::forward<F>(f), options,
                    call_site(std::source_location::current())); // the name tells whose it is
}

template <class T, class F>
asio::awaitable<T> await_shielded(F f)
{
    task_base& self = running_task();
    bool const pending = self.cancel_pending();
    int const met = self.met();
    task<T> t = spawn_shielded(self, std::move(f));
    task<> end = t;
    co_await end.async_join(asio::as_tuple(
        asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable)));
    if (pending || self.met() > met) // what is still under way will be met by itself
        self.keep_cancel();
    co_return t.take();
}

} // namespace detail

/// Calls `f` in a task of its own, in the caller's serial context, and waits for its end, whatever
/// becomes of the caller meanwhile: asyncio.shield.
///
/// Where the caller is cancelled, `f` goes on and the caller stays: it gets the result, and the
/// cancellation at its next suspension. (asyncio's leaves at once; here `f` may refer to the
/// caller's frame.) `f` itself can be cancelled through its own `this_fiber::current_task()`, by a
/// shutdown, say; then `operation_aborted` is thrown. Suspends the fiber; throws
/// `error::not_in_fiber` outside of one.
///
/// An `f` that returns `asio::awaitable<T>` gives an `asio::awaitable<T>`, for coroutine tasks.
template <spawnable F>
auto shield(F&& f)
{
    using traits = detail::spawn_traits<F>;
    if constexpr (traits::is_coroutine)
        return detail::await_shielded<typename traits::type>(
            std::decay_t<F>(std::forward<F>(f)));
    else
    {
        task<typename traits::type> t =
            detail::spawn_shielded(detail::current_fiber(), std::forward<F>(f));
        detail::wait_shielded(t.get(), true);
        return t.take();
    }
}

/// Joins a task without cancelling it when the caller is cancelled, which has its cancellation at
/// the next suspension. Throws as `task::join`, and `error::not_in_fiber` outside of a fiber.
template <class T>
T shield(task<T> t)
{
    detail::current_fiber();
    detail::wait_shielded(t.get(), false);
    return t.take();
}

} // namespace polyloop

#endif
