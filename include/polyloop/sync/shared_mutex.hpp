// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_SYNC_SHARED_MUTEX_HPP
#define POLYLOOP_SYNC_SHARED_MUTEX_HPP

#include <polyloop/task/detail/async_waiter.hpp>

#include <chrono>
#include <tuple>

namespace polyloop {

/// A mutex that one context holds alone, or several share: fibers, plain threads and coroutines, on
/// whatever loops, mixed.
///
/// First come, first served, whatever is wanted: a reader that comes after a waiting writer waits
/// behind it, so neither side starves. Works with `std::unique_lock`, `std::shared_lock` and
/// `std::scoped_lock`. Belongs to no loop and may outlive them. To be destroyed when nobody waits.
///
/// The owner of an exclusive lock is the context that locked, whichever thread runs it. Sharers are
/// counted, not known: sharing twice in one context deadlocks where a writer comes between, and so
/// does locking what one shares.
///
/// Waiting suspends a fiber and blocks a plain thread; in a bare handler of a running loop a wait
/// that would block throws `error::not_in_fiber`. A cancelled task's wait throws
/// `operation_aborted`; where the mutex was granted first, the cancel stays for the task's next
/// suspension. Locking without a wait is no point of cancellation.
///
/// Thread safety: all functions from any thread.
class shared_mutex
{
  public:
    constexpr shared_mutex() noexcept = default;
    shared_mutex(shared_mutex const&) = delete;
    shared_mutex& operator=(shared_mutex const&) = delete;
    ~shared_mutex()
    {
        BOOST_ASSERT_MSG(!(word_.load() & waited_for),
                         "polyloop: a shared_mutex is destroyed while somebody waits for it");
    }

    // -- alone

    /// Throws `errc::resource_deadlock_would_occur` where the calling context holds it alone.
    void lock()
    {
        if (!try_lock()) [[unlikely]]
            lock_slowly(false, {});
    }
    /// Neither waits nor throws for the state of the mutex.
    bool try_lock()
    {
        detail::state_word::value free = 0;
        return word_.change(free, owned_by(detail::current_owner()));
    }
    /// Waits for at most `limit`; says whether it was locked. Throws as `lock`.
    template <class Rep, class Period>
    bool try_lock_for(std::chrono::duration<Rep, Period> limit)
    {
        return try_lock() || lock_slowly(false, detail::deadline::after(limit));
    }
    template <class Clock, class Duration>
    bool try_lock_until(std::chrono::time_point<Clock, Duration> limit)
    {
        return try_lock() || lock_slowly(false, detail::deadline::at(limit));
    }
    /// Throws `error::not_owner` where the calling context does not hold it alone.
    void unlock()
    {
        auto mine = owned_by(detail::current_owner());
        if (!word_.change(mine, 0)) [[unlikely]]
            unlock_slowly();
    }

    // -- shared

    /// Throws `errc::resource_deadlock_would_occur` where the calling context holds it alone.
    void lock_shared()
    {
        if (!try_lock_shared()) [[unlikely]]
            lock_slowly(true, {});
    }
    /// Neither waits nor throws for the state of the mutex; false where somebody waits for it.
    POLYLOOP_DECL bool try_lock_shared() noexcept;
    template <class Rep, class Period>
    bool try_lock_shared_for(std::chrono::duration<Rep, Period> limit)
    {
        return try_lock_shared() || lock_slowly(true, detail::deadline::after(limit));
    }
    template <class Clock, class Duration>
    bool try_lock_shared_until(std::chrono::time_point<Clock, Duration> limit)
    {
        return try_lock_shared() || lock_slowly(true, detail::deadline::at(limit));
    }
    /// Throws `error::not_owner` where nobody shares it.
    POLYLOOP_DECL void unlock_shared();

    // -- asynchronously

    /// Completes `token` with `void(error_code)` when the mutex is locked. The owner is the
    /// context that calls this: in a coroutine task the task. A task that holds the mutex alone
    /// gets `errc::resource_deadlock_would_occur`.
    ///
    /// The handler is called by its associated executor; one without is called on the loop that
    /// runs here, else by the system executor. Cancellation of any type: `operation_aborted`.
    template <class Token>
    auto async_lock(Token&& token)
    {
        return start(false, {}, std::forward<Token>(token));
    }
    template <class Token>
    auto async_lock_shared(Token&& token)
    {
        return start(true, {}, std::forward<Token>(token));
    }
    /// The same with a limit, after which the error is `asio::error::timed_out`.
    template <class Rep, class Period, class Token>
    auto async_lock_for(std::chrono::duration<Rep, Period> limit, Token&& token)
    {
        return start(false, detail::deadline::after(limit), std::forward<Token>(token));
    }
    template <class Clock, class Duration, class Token>
    auto async_lock_until(std::chrono::time_point<Clock, Duration> limit, Token&& token)
    {
        return start(false, detail::deadline::at(limit), std::forward<Token>(token));
    }
    template <class Rep, class Period, class Token>
    auto async_lock_shared_for(std::chrono::duration<Rep, Period> limit, Token&& token)
    {
        return start(true, detail::deadline::after(limit), std::forward<Token>(token));
    }
    template <class Clock, class Duration, class Token>
    auto async_lock_shared_until(std::chrono::time_point<Clock, Duration> limit, Token&& token)
    {
        return start(true, detail::deadline::at(limit), std::forward<Token>(token));
    }

  private:
    using value = detail::state_word::value;

    struct node : detail::waiter
    {
        node(bool s, context::id_type o) noexcept : owner(o), shared(s)
        {
        }
        std::tuple<boost::system::error_code> result(detail::wait_end e) const
        {
            return refused ? refused : detail::code_of(e);
        }
        context::id_type owner;
        bool shared;
        boost::system::error_code refused = {};
    };

    // The word: the owner's id or how many share, which of the two, whether somebody waits, and
    // the lock. Invariant: the first who waits could not be let in.
    static constexpr value waited_for = 2;
    static constexpr value alone = 4;
    static constexpr value one = 8;
    static constexpr value owned_by(context::id_type id) noexcept
    {
        return id * one | alone;
    }

    template <class Token>
    auto start(bool shared, detail::deadline limit, Token&& token)
    {
        return detail::initiate_wait<node, void(boost::system::error_code)>(
            token, place(), limit, [this](node& n) { return begin(n); }, shared,
            detail::current_owner());
    }

    POLYLOOP_DECL bool lock_slowly(bool shared, detail::deadline limit);
    POLYLOOP_DECL void unlock_slowly();
    POLYLOOP_DECL bool begin(node& n);
    /// Queues, or locks at once.
    POLYLOOP_DECL bool enter(node& n) noexcept;
    /// Lets in whoever can be.
    POLYLOOP_DECL void admit(detail::section& s) noexcept;
    POLYLOOP_DECL static bool leave(void* self, detail::waiter& w);
    detail::wait_place place() noexcept
    {
        return {this, &shared_mutex::leave};
    }
    bool held_by(context::id_type id) const noexcept
    {
        return (word_.load() & ~(waited_for | detail::state_word::locked)) == owned_by(id);
    }

    detail::state_word word_;
    detail::wait_list waiters_;
};

} // namespace polyloop

#endif
