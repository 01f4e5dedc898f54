// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_TIMER_HPP
#define POLYLOOP_LOOP_TIMER_HPP

#include <polyloop/loop/detail/timer_state.hpp>
#include <polyloop/loop/event_loop.hpp>

#include <boost/asio/async_result.hpp>

#include <chrono>
#include <cstddef>
#include <utility>

namespace polyloop {

/// The interface of `asio::steady_timer` on a loop's own timer queue: setting and cancelling cost
/// no system call, however many timers live.
///
/// Waits complete in order of expiry, those of equal expiry in any order (S42), and never early.
/// Many that are due at once are served in parts, I/O and other handlers between them. The extremes
/// of durations and time points saturate: the latest never comes. A closed loop drops the waits
/// that are left.
///
/// Time is that of `std::chrono::steady_clock`, which no change of the system's clock moves. On
/// Linux it stands still while the machine is suspended: a timer, sleep or limit of this library
/// that was set before has as much left after as it had then, and so is late by the clock on the
/// wall.
///
/// Thread safety: distinct objects safe; shared objects unsafe, on whichever threads.
class timer
{
  public:
    using executor_type = event_loop::executor_type;
    using clock_type = std::chrono::steady_clock;
    using duration = clock_type::duration;
    using time_point = clock_type::time_point;

    /// On the running loop; throws `error::no_running_loop`. Expired from the start.
    timer() : timer(get_running_loop())
    {
    }
    explicit timer(event_loop& loop) : state_(new detail::timer_state(loop.core()))
    {
    }
    timer(event_loop& loop, time_point when) : timer(loop)
    {
        expires_at(when);
    }
    template <class Rep, class Period>
    timer(event_loop& loop, std::chrono::duration<Rep, Period> d) : timer(loop)
    {
        expires_after(d);
    }

    /// A timer that was moved from may only be destroyed or assigned to.
    timer(timer&& other) noexcept = default;
    /// Cancels what waits for the timer that is assigned to.
    timer& operator=(timer&& other) noexcept
    {
        timer moved(std::move(other));
        swap(moved);
        return *this;
    }

    /// Cancels what waits.
    ~timer()
    {
        if (state_)
            state_->cancel();
    }

    void swap(timer& other) noexcept
    {
        state_.swap(other.state_);
    }

    /// That of the loop's `io_context`.
    executor_type get_executor() const noexcept
    {
        return state_->core().io().get_executor();
    }

    time_point expiry() const noexcept
    {
        return state_->expiry();
    }

    /// Cancels what waits, and returns how many did.
    std::size_t expires_at(time_point when)
    {
        return state_->set_expiry(when);
    }
    /// The same, counted from now.
    template <class Rep, class Period>
    std::size_t expires_after(std::chrono::duration<Rep, Period> d)
    {
        return expires_at(
            detail::saturating_add(clock_type::now(), detail::to_nanoseconds(d)));
    }

    /// Those who wait get `operation_aborted`; those whose expiry is under way do not. Returns how
    /// many.
    std::size_t cancel()
    {
        return state_->cancel();
    }
    /// The one that has waited longest.
    std::size_t cancel_one()
    {
        return state_->cancel_one();
    }

    /// Completes `token`, `void(error_code)`, when the expiry has come: on the handler's executor,
    /// or the loop. Cancellable through its slot. Throws `error::loop_closed`.
    template <class Token>
    auto async_wait(Token&& token)
    {
        state_->core().require_open();
        return asio::async_initiate<Token, void(boost::system::error_code)>(
            [](auto handler, detail::timer_ptr state) {
                detail::timer_wait_of<decltype(handler)>::start(*state, std::move(handler));
            },
            token, state_);
    }

    /// Waits for the expiry: suspends a fiber, blocks a plain thread, and throws
    /// `error::not_in_fiber` in a bare handler or a coroutine, unless it has come. A cancelled
    /// fiber, and one whose wait `cancel` ends, throw `operation_aborted`; a thread waits on.
    POLYLOOP_DECL void wait();

  private:
    detail::timer_ptr state_;
};

} // namespace polyloop

#endif
