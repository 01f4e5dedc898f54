// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_USE_FIBER_HPP
#define POLYLOOP_TASK_USE_FIBER_HPP

#include <polyloop/task/detail/fiber_waiter.hpp>
#include <polyloop/task/detail/task_deadline.hpp>

#include <boost/asio/async_result.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <type_traits>
#include <utility>

namespace polyloop {

template <class Limit>
struct timed_use_fiber_t;

/// A completion token: the calling fiber waits, and the initiating function returns what the
/// operation completed with.
///
/// A leading `error_code` or `std::exception_ptr` is thrown; `use_fiber[ec]` stores the error
/// code instead. Of the other arguments none gives void, one gives its value, and more give a
/// `std::tuple`. Works under `asio::as_tuple` and the other adapters. The operation's memory is
/// a place in the fiber's frame.
///
/// Suspends the fiber, never the thread; outside of a fiber it throws `error::not_in_fiber`
/// before the operation starts. A cancelled task's operation is cancelled through its
/// cancellation slot, and throws (or stores) `operation_aborted`. One that has not begun is thrown
/// too where a result cannot be default-constructed (a socket, say). A result that was there
/// before is kept, and the cancellation is delivered at the next suspension.
///
/// With a deadline, `use_fiber(30s)`, see `timed_use_fiber_t`.
struct use_fiber_t
{
    /// The same with a limit to how long the operation may take, from each use of the token; any
    /// duration, which saturates.
    template <class Rep, class Period>
    constexpr timed_use_fiber_t<std::chrono::nanoseconds>
    operator()(std::chrono::duration<Rep, Period> limit) const noexcept;

    /// The same with a point in time, for what several operations may take together.
    constexpr timed_use_fiber_t<std::chrono::steady_clock::time_point>
    operator()(std::chrono::steady_clock::time_point when) const noexcept;
    /// By another clock: reckoned now; what that clock is set to later is not noticed.
    template <class Clock, class Duration>
    timed_use_fiber_t<std::chrono::steady_clock::time_point>
    operator()(std::chrono::time_point<Clock, Duration> when) const;

    /// Stores an operation's error code in `where` instead of throwing it.
    constexpr use_fiber_t operator[](boost::system::error_code& where) const noexcept
    {
        return use_fiber_t{&where};
    }

    /// An executor with this token as its default, for `as_default_on`.
    template <class InnerExecutor>
    struct executor_with_default : InnerExecutor
    {
        using default_completion_token_type = use_fiber_t;

        template <class OtherExecutor>
            requires(!std::is_same_v<OtherExecutor, executor_with_default> &&
                     std::is_convertible_v<OtherExecutor, InnerExecutor>)
        executor_with_default(OtherExecutor const& ex) noexcept : InnerExecutor(ex)
        {
        }
    };

    /// `T`, an I/O object's type, with this token as default.
    template <class T>
    using as_default_on_t = typename T::template rebind_executor<
        executor_with_default<typename T::executor_type>>::other;

    /// The I/O object, with this token as default.
    template <class T>
    static auto as_default_on(T&& object)
    {
        return as_default_on_t<std::decay_t<T>>(std::forward<T>(object));
    }

    boost::system::error_code* ec = nullptr;
};

inline constexpr use_fiber_t use_fiber{};

/// `use_fiber` with a deadline: `socket.async_read_some(buffer, use_fiber(30s))`.
///
/// A deadline that expires cancels the operation, which then throws (or stores)
/// `asio::error::timed_out`, with what it did until then where it tells that (bytes, say). An
/// operation that completed first has its result, even if that was fetched too late. A
/// cancellation of the task wins over the deadline. Operations that cannot be cancelled end when
/// they end. `Limit` is a duration, which counts from the loop's time when the operation starts,
/// or a time point.
///
/// Costs no allocation, no system call and no clock read.
template <class Limit>
struct timed_use_fiber_t
{
    /// Stores an operation's error code in `where` instead of throwing it.
    constexpr timed_use_fiber_t operator[](boost::system::error_code& where) const noexcept
    {
        return {limit, &where};
    }

    Limit limit;
    boost::system::error_code* ec = nullptr;
};

template <class Rep, class Period>
constexpr timed_use_fiber_t<std::chrono::nanoseconds>
use_fiber_t::operator()(std::chrono::duration<Rep, Period> limit) const noexcept
{
    return {detail::to_nanoseconds(limit), ec};
}

constexpr timed_use_fiber_t<std::chrono::steady_clock::time_point>
use_fiber_t::operator()(std::chrono::steady_clock::time_point when) const noexcept
{
    return {when, ec};
}

template <class Clock, class Duration>
timed_use_fiber_t<std::chrono::steady_clock::time_point>
use_fiber_t::operator()(std::chrono::time_point<Clock, Duration> when) const
{
    return {detail::to_steady(when), ec};
}

} // namespace polyloop

namespace boost::asio {

template <class R, class... Args>
class async_result<polyloop::use_fiber_t, R(Args...)>
{
  public:
    using return_type = typename polyloop::detail::fiber_result<std::decay_t<Args>...>::type;

    template <class Initiation, class... InitArgs>
    static return_type initiate(Initiation&& initiation, polyloop::use_fiber_t token,
                                InitArgs&&... args)
    {
        using waiter = polyloop::detail::fiber_waiter<std::decay_t<Args>...>;
        polyloop::detail::fiber& self = polyloop::detail::current_fiber();
        if (self.interrupted()) [[unlikely]]
            return waiter::cancelled(token.ec);
        waiter w(self);
        std::forward<Initiation>(initiation)(typename waiter::handler(w),
                                             std::forward<InitArgs>(args)...);
        return w.wait(token.ec);
    }
};

template <class Limit, class R, class... Args>
class async_result<polyloop::timed_use_fiber_t<Limit>, R(Args...)>
{
  public:
    using return_type = typename polyloop::detail::fiber_result<std::decay_t<Args>...>::type;

    template <class Initiation, class... InitArgs>
    static return_type initiate(Initiation&& initiation,
                                polyloop::timed_use_fiber_t<Limit> token, InitArgs&&... args)
    {
        using waiter = polyloop::detail::timed_fiber_waiter<std::decay_t<Args>...>;
        polyloop::detail::fiber& self = polyloop::detail::current_fiber();
        if (self.interrupted()) [[unlikely]]
            return waiter::cancelled(token.ec);
        waiter w(self, polyloop::detail::deadline_of(token.limit, self.core()));
        std::forward<Initiation>(initiation)(typename waiter::handler(w),
                                             std::forward<InitArgs>(args)...);
        return w.wait(token.ec);
    }
};

} // namespace boost::asio

#endif
