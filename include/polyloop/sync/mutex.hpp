// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_SYNC_MUTEX_HPP
#define POLYLOOP_SYNC_MUTEX_HPP

#include <polyloop/task/detail/async_waiter.hpp>

#include <chrono>
#include <tuple>

namespace polyloop {

class condition_variable;

/// Mutual exclusion of contexts: fibers, plain threads and coroutines, on whatever loops, mixed.
///
/// The owner is the context that locked (`this_context::current()`): a fiber stays the owner
/// whichever thread runs it. First come, first served: unlocking hands the mutex to whoever waits
/// longest, and nobody overtakes. Works with `std::unique_lock`, `std::scoped_lock` and
/// `std::lock_guard`.
///
/// Belongs to no loop and may outlive them. To be destroyed when nobody waits.
///
/// Waiting suspends a fiber and blocks a plain thread; in a bare handler of a running loop a wait
/// that would block throws `error::not_in_fiber`. A cancelled task's wait throws
/// `operation_aborted`; where the mutex was granted first, the cancel stays for the task's next
/// suspension. Locking without a wait is no point of cancellation.
///
/// Thread safety: all functions from any thread.
class mutex
{
  public:
    constexpr mutex() noexcept = default;
    mutex(mutex const&) = delete;
    mutex& operator=(mutex const&) = delete;
    ~mutex()
    {
        BOOST_ASSERT_MSG(!(word_.load() & waited_for),
                         "polyloop: a mutex is destroyed while somebody waits for it");
    }

    /// Throws `errc::resource_deadlock_would_occur` where the calling context holds it.
    void lock()
    {
        auto const me = detail::current_owner();
        detail::state_word::value free = 0;
        if (word_.change(free, owned_by(me))) [[likely]]
            return;
        node n(me);
        detail::blocker self;
        if (wait_begins(self, n) &&
            self.wait(n, place()) != detail::wait_end::granted) [[unlikely]]
            detail::throw_cancelled();
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
        return try_lock() || lock_slowly(detail::current_owner(), detail::deadline::after(limit));
    }
    template <class Clock, class Duration>
    bool try_lock_until(std::chrono::time_point<Clock, Duration> limit)
    {
        return try_lock() || lock_slowly(detail::current_owner(), detail::deadline::at(limit));
    }

    /// Throws `error::not_owner` where the calling context does not hold it.
    void unlock()
    {
        unlock_as(detail::current_owner());
    }

    /// Completes `token` with `void(error_code)` when the mutex is locked. The owner is the
    /// context that calls this: in a coroutine task the task. A task that holds the mutex already
    /// gets `errc::resource_deadlock_would_occur`.
    ///
    /// The handler is called by its associated executor; one without is called on the loop that
    /// runs here, else by the system executor. Cancellation of any type: `operation_aborted`.
    template <class Token>
    auto async_lock(Token&& token)
    {
        return async_lock({}, std::forward<Token>(token));
    }
    /// The same with a limit, after which the error is `asio::error::timed_out`.
    template <class Rep, class Period, class Token>
    auto async_lock_for(std::chrono::duration<Rep, Period> limit, Token&& token)
    {
        return async_lock(detail::deadline::after(limit), std::forward<Token>(token));
    }
    template <class Clock, class Duration, class Token>
    auto async_lock_until(std::chrono::time_point<Clock, Duration> limit, Token&& token)
    {
        return async_lock(detail::deadline::at(limit), std::forward<Token>(token));
    }

  private:
    friend class condition_variable;
    using owner_id = context::id_type;

    struct node : detail::waiter
    {
        explicit node(owner_id o) noexcept : owner(o)
        {
        }
        std::tuple<boost::system::error_code> result(detail::wait_end e) const
        {
            return refused ? refused : detail::code_of(e);
        }
        owner_id owner;
        boost::system::error_code refused = {};
    };

    // The word: the owner's id, whether somebody waits, and the lock. Invariant: who waits does
    // so for an owner.
    static constexpr detail::state_word::value waited_for = 2;
    static constexpr detail::state_word::value owned_by(owner_id id) noexcept
    {
        return id << 2;
    }

    template <class Token>
    auto async_lock(detail::deadline limit, Token&& token)
    {
        return detail::initiate_wait<node, void(boost::system::error_code)>(
            token, place(), limit, [this](node& n) { return begin(n); },
            detail::current_owner());
    }

    void unlock_as(owner_id me)
    {
        auto mine = owned_by(me);
        if (!word_.change(mine, 0)) [[unlikely]]
            unlock_slowly(me);
    }
    /// False where it is locked at once. Throws where the caller may not wait.
    POLYLOOP_DECL bool wait_begins(detail::blocker& self, node& n);
    POLYLOOP_DECL bool lock_slowly(owner_id me, detail::deadline limit);
    POLYLOOP_DECL void unlock_slowly(owner_id me);
    /// Locks for a context that holds nothing else against it, whatever is cancelled meanwhile.
    POLYLOOP_DECL void relock(owner_id me) noexcept;
    POLYLOOP_DECL bool begin(node& n);
    /// Queues, or locks at once.
    POLYLOOP_DECL bool enter(node& n) noexcept;
    /// The same for one who is granted the mutex in either case.
    POLYLOOP_DECL void enter_and_grant(node& n) noexcept;
    POLYLOOP_DECL void pass_on(detail::section& s) noexcept;
    POLYLOOP_DECL static bool leave(void* self, detail::waiter& w);
    detail::wait_place place() noexcept
    {
        return {this, &mutex::leave};
    }
    bool held_by(owner_id id) const noexcept
    {
        return word_.load() >> 2 == id;
    }

    detail::state_word word_;
    detail::wait_list waiters_;
};

} // namespace polyloop

#endif
