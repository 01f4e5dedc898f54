// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_SYNC_SEMAPHORE_HPP
#define POLYLOOP_SYNC_SEMAPHORE_HPP

#include <polyloop/task/detail/async_waiter.hpp>

#include <chrono>
#include <cstddef>
#include <limits>

namespace polyloop {

/// Permits that fibers, plain threads and coroutines take and give back: asyncio.Semaphore, with
/// the names of `std::counting_semaphore`.
///
/// First come, first served: a release goes to whoever waits longest, and nobody overtakes. Any
/// context may release. Belongs to no loop and may outlive them. To be destroyed when nobody waits;
/// one who was released may destroy it as soon as its wait has returned.
///
/// Waiting suspends a fiber and blocks a plain thread; in a bare handler of a running loop a wait
/// that would block throws `error::not_in_fiber`. A cancelled task's wait throws
/// `operation_aborted` and takes no permit; where the permit was granted first, the cancel stays
/// for the task's next suspension. Acquiring without a wait is no point of cancellation.
///
/// Thread safety: all functions from any thread.
class semaphore
{
  public:
    /// Throws `error::bad_config` for a negative count.
    POLYLOOP_DECL explicit semaphore(std::ptrdiff_t permits);
    semaphore(semaphore const&) = delete;
    semaphore& operator=(semaphore const&) = delete;
    ~semaphore()
    {
        BOOST_ASSERT_MSG(!(word_.load() & waited_for),
                         "polyloop: a semaphore is destroyed while somebody waits for it");
    }

    /// The most permits there may be.
    static constexpr std::ptrdiff_t max() noexcept
    {
        return std::numeric_limits<std::ptrdiff_t>::max() >> 2;
    }

    /// Permits that nobody holds.
    std::ptrdiff_t available() const noexcept
    {
        return static_cast<std::ptrdiff_t>(word_.load() / one);
    }

    /// Takes a permit, and waits for it if need be.
    void acquire()
    {
        if (!try_acquire()) [[unlikely]]
            acquire_slowly({});
    }

    /// Never waits.
    bool try_acquire() noexcept
    {
        auto seen = word_.load();
        while (seen >= one && !(seen & detail::state_word::locked))
            if (word_.change(seen, seen - one))
                return true;
        return seen & detail::state_word::locked && try_acquire_slowly();
    }

    /// Waits for at most `limit`; says whether it took a permit.
    template <class Rep, class Period>
    bool try_acquire_for(std::chrono::duration<Rep, Period> limit)
    {
        return try_acquire() || acquire_slowly(detail::deadline::after(limit));
    }
    template <class Clock, class Duration>
    bool try_acquire_until(std::chrono::time_point<Clock, Duration> limit)
    {
        return try_acquire() || acquire_slowly(detail::deadline::at(limit));
    }

    /// Gives `n` permits back, or new ones. Never waits. Throws `error::bad_config`, and changes
    /// nothing, where `n` is negative or more than `max()` would be there.
    void release(std::ptrdiff_t n = 1)
    {
        auto seen = word_.load();
        if (n != 1 || seen & (one - 1) || seen >= most || !word_.change(seen, seen + one))
            release_slowly(n);
    }

    /// Completes `token` with `void(error_code)` when it has taken a permit.
    ///
    /// The handler is called by its associated executor; one without is called on the loop that
    /// runs here, else by the system executor. Cancellation of any type: `operation_aborted`.
    template <class Token>
    auto async_acquire(Token&& token)
    {
        return async_acquire({}, std::forward<Token>(token));
    }
    /// The same with a limit, after which the error is `asio::error::timed_out`.
    template <class Rep, class Period, class Token>
    auto async_acquire_for(std::chrono::duration<Rep, Period> limit, Token&& token)
    {
        return async_acquire(detail::deadline::after(limit), std::forward<Token>(token));
    }
    template <class Clock, class Duration, class Token>
    auto async_acquire_until(std::chrono::time_point<Clock, Duration> limit, Token&& token)
    {
        return async_acquire(detail::deadline::at(limit), std::forward<Token>(token));
    }

  private:
    // The word: the permits, whether somebody waits, and the lock. Invariant: nobody waits while
    // there are permits.
    static constexpr detail::state_word::value waited_for = 2;
    static constexpr detail::state_word::value one = 4;
    static constexpr detail::state_word::value most = static_cast<detail::state_word::value>(
        std::numeric_limits<std::ptrdiff_t>::max() >> 2) * one;

    template <class Token>
    auto async_acquire(detail::deadline limit, Token&& token)
    {
        return detail::initiate_wait<detail::plain_node, void(boost::system::error_code)>(
            token, place(), limit, [this](detail::waiter& w) { return enter(w); });
    }

    POLYLOOP_DECL bool try_acquire_slowly() noexcept;
    POLYLOOP_DECL bool acquire_slowly(detail::deadline limit);
    POLYLOOP_DECL void release_slowly(std::ptrdiff_t n);
    /// Queues, or takes a permit.
    bool enter(detail::waiter& w) noexcept
    {
        detail::section s(word_);
        if (s.value >= one)
        {
            s.value -= one;
            return true;
        }
        waiters_.push(w);
        s.value |= waited_for;
        return false;
    }
    POLYLOOP_DECL static bool leave(void* self, detail::waiter& w);
    detail::wait_place place() noexcept
    {
        return {this, &semaphore::leave};
    }

    detail::state_word word_;
    detail::wait_list waiters_;
};

} // namespace polyloop

#endif
