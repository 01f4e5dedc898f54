// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_SYNC_BARRIER_HPP
#define POLYLOOP_SYNC_BARRIER_HPP

#include <polyloop/error.hpp>
#include <polyloop/task/detail/async_waiter.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <tuple>

namespace polyloop {

/// Where a fixed number of fibers, plain threads and coroutines wait until all are there:
/// asyncio.Barrier.
///
/// The last to arrive releases all, and the barrier is ready for the next round. Belongs to no loop
/// and may outlive them. To be destroyed when nobody waits; one who was released may destroy it as
/// soon as its wait has returned.
///
/// Waiting suspends a fiber and blocks a plain thread; in a bare handler of a running loop a wait
/// that would block throws `error::not_in_fiber`. A cancelled task's wait throws
/// `operation_aborted`. Who is cancelled or runs out of time did not arrive, and leaves the barrier
/// whole (other than threading.Barrier has it); where the round was complete first, the cancel
/// stays for the task's next suspension.
///
/// Thread safety: all functions from any thread.
class barrier
{
  public:
    /// Throws `error::bad_config` for less than one party.
    POLYLOOP_DECL explicit barrier(std::ptrdiff_t parties);
    barrier(barrier const&) = delete;
    barrier& operator=(barrier const&) = delete;
    ~barrier()
    {
        BOOST_ASSERT_MSG(waiters_.empty(),
                         "polyloop: a barrier is destroyed while somebody waits at it");
    }

    /// Until all parties wait. Returns the place in the order of arrival: each of 0 to
    /// `parties() - 1` once. Throws `error::broken_barrier` where the barrier is or gets broken, or
    /// is reset.
    std::size_t wait()
    {
        return *wait({});
    }
    /// For at most `limit`; empty where the parties were not complete then.
    template <class Rep, class Period>
    std::optional<std::size_t> wait_for(std::chrono::duration<Rep, Period> limit)
    {
        return wait(detail::deadline::after(limit));
    }
    template <class Clock, class Duration>
    std::optional<std::size_t> wait_until(std::chrono::time_point<Clock, Duration> limit)
    {
        return wait(detail::deadline::at(limit));
    }

    /// Completes `token` with `void(error_code, std::size_t)` when all parties wait.
    ///
    /// The handler is called by its associated executor; one without is called on the loop that
    /// runs here, else by the system executor. Cancellation of any type: `operation_aborted`.
    template <class Token>
    auto async_wait(Token&& token)
    {
        return async_wait({}, std::forward<Token>(token));
    }
    /// The same with a limit, after which the error is `asio::error::timed_out`.
    template <class Rep, class Period, class Token>
    auto async_wait_for(std::chrono::duration<Rep, Period> limit, Token&& token)
    {
        return async_wait(detail::deadline::after(limit), std::forward<Token>(token));
    }
    template <class Clock, class Duration, class Token>
    auto async_wait_until(std::chrono::time_point<Clock, Duration> limit, Token&& token)
    {
        return async_wait(detail::deadline::at(limit), std::forward<Token>(token));
    }

    /// Whoever waits gets `error::broken_barrier`, except those who were released already; the
    /// barrier is as new. Never waits.
    void reset() noexcept
    {
        break_up(0);
    }
    /// The same, and the barrier is broken until it is reset.
    void abort() noexcept
    {
        break_up(broken_);
    }

    std::size_t parties() const noexcept
    {
        return parties_;
    }
    POLYLOOP_DECL std::size_t n_waiting() const noexcept;
    bool broken() const noexcept
    {
        return word_.load() & broken_;
    }

  private:
    struct node : detail::waiter
    {
        std::tuple<boost::system::error_code, std::size_t> result(detail::wait_end e) const
        {
            return {broken ? make_error_code(error::broken_barrier) : detail::code_of(e), position};
        }
        std::size_t position = 0;
        bool broken = false;
    };

    static constexpr detail::state_word::value broken_ = 2;

    template <class Token>
    auto async_wait(detail::deadline limit, Token&& token)
    {
        return detail::initiate_wait<node, void(boost::system::error_code, std::size_t)>(
            token, place(), limit, [this](node& n) { return enter(n, true); });
    }

    POLYLOOP_DECL std::optional<std::size_t> wait(detail::deadline limit);
    /// Completes the round, or finds the barrier broken; else returns false, and queues who may
    /// wait.
    POLYLOOP_DECL bool enter(node& n, bool may_wait) noexcept;
    POLYLOOP_DECL void break_up(detail::state_word::value state) noexcept;
    POLYLOOP_DECL static bool leave(void* self, detail::waiter& w);
    detail::wait_place place() noexcept
    {
        return {this, &barrier::leave};
    }

    mutable detail::state_word word_;
    detail::wait_list waiters_;
    std::size_t const parties_;
    std::size_t waiting_ = 0; // under the lock
};

} // namespace polyloop

#endif
