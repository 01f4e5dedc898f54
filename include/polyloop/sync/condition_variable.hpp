// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_SYNC_CONDITION_VARIABLE_HPP
#define POLYLOOP_SYNC_CONDITION_VARIABLE_HPP

#include <polyloop/sync/mutex.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <tuple>
#include <utility>

namespace polyloop {

/// A condition for fibers, plain threads and coroutines: `std::condition_variable` on a
/// `polyloop::mutex`.
///
/// First come, first served. A notification goes straight on to the mutex, in whose queue the
/// waiter then stands: there are no spurious wake-ups and no stampede. Notifying needs no lock.
/// Belongs to no loop and may outlive them. To be destroyed when everybody who waited was notified,
/// though some may not have gone on yet.
///
/// A wait gives the mutex back and holds it again however it ends. It suspends a fiber and blocks a
/// plain thread; in a bare handler of a running loop it throws `error::not_in_fiber`, and without
/// the lock `error::not_owner`. A cancelled task's wait throws `operation_aborted`, with the lock
/// held and no notification taken; where the notification came first, it returns, and the cancel
/// stays for the task's next suspension. Nothing interrupts the wait for the mutex.
///
/// Thread safety: all functions from any thread.
class condition_variable
{
  public:
    constexpr condition_variable() noexcept = default;
    condition_variable(condition_variable const&) = delete;
    condition_variable& operator=(condition_variable const&) = delete;
    ~condition_variable()
    {
        BOOST_ASSERT_MSG(!(word_.load() & waited_for),
                         "polyloop: a condition is destroyed while somebody waits for it");
    }

    /// Releases whoever waits longest, if anybody does. Never waits.
    void notify_one() noexcept
    {
        // Who saw the old state under the lock has queued before giving it back.
        if (word_.load() != 0)
            notify(false);
    }
    /// Releases all who wait. Never waits.
    void notify_all() noexcept
    {
        if (word_.load() != 0)
            notify(true);
    }

    /// Until it is notified.
    void wait(std::unique_lock<mutex>& lock)
    {
        node n(lock, check(lock));
        detail::blocker self;
        begin(self, n);
        end(n, self.wait(n, place()));
    }
    /// Until `predicate()` holds, which is asked with the lock held.
    template <class Predicate>
    void wait(std::unique_lock<mutex>& lock, Predicate predicate)
    {
        while (!predicate())
            wait(lock);
    }

    /// For at most `limit`, and for the mutex. A limit that is over already does not give the mutex
    /// back.
    template <class Rep, class Period>
    std::cv_status wait_for(std::unique_lock<mutex>& lock,
                            std::chrono::duration<Rep, Period> limit)
    {
        return wait_until(lock, detail::deadline::after(limit));
    }
    template <class Clock, class Duration>
    std::cv_status wait_until(std::unique_lock<mutex>& lock,
                              std::chrono::time_point<Clock, Duration> limit)
    {
        return wait_until(lock, detail::deadline::at(limit));
    }
    /// What `predicate()` says at the end.
    template <class Rep, class Period, class Predicate>
    bool wait_for(std::unique_lock<mutex>& lock, std::chrono::duration<Rep, Period> limit,
                  Predicate predicate)
    {
        return predicate() ||
               wait_until(lock, detail::deadline::after(limit).fixed(), predicate);
    }
    template <class Clock, class Duration, class Predicate>
    bool wait_until(std::unique_lock<mutex>& lock,
                    std::chrono::time_point<Clock, Duration> limit, Predicate predicate)
    {
        return predicate() || wait_until(lock, detail::deadline::at(limit).fixed(), predicate);
    }

    /// Gives the mutex back now, and completes `token` with `void(error_code)` when the condition
    /// was notified and the mutex locked again, for the same owner. `lock` does not own it
    /// meanwhile; it has to live until then, and owns it again when the handler is called. Throws
    /// `error::not_owner` without the lock.
    ///
    /// The handler is called by its associated executor; one without is called on the loop that
    /// runs here, else by the system executor. Cancellation of any type: `operation_aborted`.
    template <class Token>
    auto async_wait(std::unique_lock<mutex>& lock, Token&& token)
    {
        return start_wait(lock, {}, std::forward<Token>(token));
    }
    /// The same with a limit, after which the error is `asio::error::timed_out`.
    template <class Rep, class Period, class Token>
    auto async_wait_for(std::unique_lock<mutex>& lock, std::chrono::duration<Rep, Period> limit,
                        Token&& token)
    {
        return start_wait(lock, detail::deadline::after(limit), std::forward<Token>(token));
    }
    template <class Clock, class Duration, class Token>
    auto async_wait_until(std::unique_lock<mutex>& lock,
                          std::chrono::time_point<Clock, Duration> limit, Token&& token)
    {
        return start_wait(lock, detail::deadline::at(limit), std::forward<Token>(token));
    }

  private:
    /// Waits for the condition first, then as any other waiter for the mutex.
    struct node : mutex::node
    {
        node(std::unique_lock<mutex>& l, mutex::owner_id o) noexcept
            : mutex::node(o), wanted(*l.mutex())
        {
        }
        mutex& wanted;
        // `queued` may be of the mutex.
        std::atomic<detail::on_list> waits_here = detail::on_list::no;
    };
    struct async_node : node
    {
        explicit async_node(std::unique_lock<mutex>& l) noexcept
            : node(l, 0), lock(l)
        {
        }
        void left() noexcept
        {
            wanted.enter_and_grant(*this);
        }
        bool leave_further() noexcept
        {
            return mutex::leave(&wanted, *this);
        }
        std::tuple<boost::system::error_code> result(detail::wait_end e) const
        {
            lock = std::unique_lock(wanted, std::adopt_lock);
            return detail::code_of(e);
        }
        std::unique_lock<mutex>& lock;
    };

    static constexpr detail::state_word::value waited_for = 2;

    template <class Predicate>
    bool wait_until(std::unique_lock<mutex>& lock, detail::deadline limit, Predicate& predicate)
    {
        while (!predicate())
            if (wait_until(lock, limit) == std::cv_status::timeout)
                return predicate();
        return true;
    }

    template <class Token>
    auto start_wait(std::unique_lock<mutex>& lock, detail::deadline limit, Token&& token)
    {
        check(lock);
        return detail::initiate_wait<async_node, void(boost::system::error_code)>(
            token, place(), limit,
            [this](async_node& n) {
                n.owner = check(n.lock); // once more, as a token may begin later
                // Before the wait begins, as its end may take the lock over on another thread.
                n.lock.release();
                n.lock = std::unique_lock(n.wanted, std::defer_lock);
                enter(n);
                n.wanted.unlock_as(n.owner);
                return false;
            },
            std::ref(lock));
    }

    /// The owner of the lock, which the caller has to be.
    POLYLOOP_DECL static mutex::owner_id check(std::unique_lock<mutex>& lock);
    POLYLOOP_DECL std::cv_status wait_until(std::unique_lock<mutex>& lock,
                                            detail::deadline limit);
    /// Queues, and gives the mutex back. Throws where the caller may not wait.
    POLYLOOP_DECL void begin(detail::blocker& self, node& n);
    /// With the mutex in any case. Throws `operation_aborted`.
    static void end(node& n, detail::wait_end how)
    {
        if (how != detail::wait_end::granted) [[unlikely]]
            relock(n, how);
    }
    POLYLOOP_DECL static void relock(node& n, detail::wait_end how);
    POLYLOOP_DECL void notify(bool all) noexcept;
    void enter(node& n) noexcept
    {
        detail::section s(word_);
        waiters_.push(n);
        n.waits_here.store(detail::on_list::yes, std::memory_order_relaxed);
        s.value |= waited_for;
    }
    POLYLOOP_DECL static bool leave(void* self, detail::waiter& w);
    detail::wait_place place() noexcept
    {
        return {this, &condition_variable::leave};
    }

    detail::state_word word_;
    detail::wait_list waiters_;
};

} // namespace polyloop

#endif
