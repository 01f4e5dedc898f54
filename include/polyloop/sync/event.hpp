// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_SYNC_EVENT_HPP
#define POLYLOOP_SYNC_EVENT_HPP

#include <polyloop/task/detail/async_waiter.hpp>

#include <chrono>
#include <tuple>

namespace polyloop {

/// A flag that fibers, plain threads and coroutines wait for: asyncio.Event.
///
/// `set` releases everybody who waits, and whoever comes until `clear`; one who was released stays
/// so although the flag is cleared before it runs. Belongs to no loop and may outlive them.
///
/// One of those whom a `set` released may destroy the event as soon as its wait has returned, while
/// that `set` is still under way and the others have not gone on yet.
///
/// Waiting suspends a fiber and blocks a plain thread; in a bare handler of a running loop a wait
/// that would block throws `error::not_in_fiber`. A cancelled task's wait throws
/// `operation_aborted`; where the event was set first, the cancel stays for the task's next
/// suspension. Waiting for an event that is set is no point of cancellation.
///
/// Thread safety: all functions from any thread.
class event
{
  public:
    constexpr event() noexcept = default;
    event(event const&) = delete;
    event& operator=(event const&) = delete;
    ~event()
    {
        BOOST_ASSERT_MSG(!(word_.load() & waited_for),
                         "polyloop: an event is destroyed while somebody waits for it");
    }

    /// Never waits. What was written before it is seen by whom it releases.
    void set() noexcept
    {
        detail::state_word::value seen = 0;
        // Twice at most, where it is set already: the write orders this call before a `clear`.
        if (!word_.change(seen, is_set_) && !(seen == is_set_ && word_.change(seen, is_set_)))
            set_slowly();
    }

    /// Never waits.
    void clear() noexcept
    {
        detail::state_word::value seen = is_set_;
        if (!word_.change(seen, 0) && (seen & (is_set_ | detail::state_word::locked)))
            clear_slowly();
    }

    bool is_set() const noexcept
    {
        return word_.load() & is_set_;
    }

    /// Until it is set.
    void wait()
    {
        if (word_.load() != is_set_)
            wait_slowly({});
    }

    /// For at most `limit`; says whether it was set.
    template <class Rep, class Period>
    bool wait_for(std::chrono::duration<Rep, Period> limit)
    {
        return word_.load() == is_set_ || wait_slowly(detail::deadline::after(limit));
    }
    template <class Clock, class Duration>
    bool wait_until(std::chrono::time_point<Clock, Duration> limit)
    {
        return word_.load() == is_set_ || wait_slowly(detail::deadline::at(limit));
    }

    /// Completes `token` with `void(error_code)` when it is set.
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

  private:
    // Invariant: nobody waits for an event that is set.
    static constexpr detail::state_word::value waited_for = 2;
    static constexpr detail::state_word::value is_set_ = 4;

    template <class Token>
    auto async_wait(detail::deadline limit, Token&& token)
    {
        return detail::initiate_wait<detail::plain_node, void(boost::system::error_code)>(
            token, place(), limit, [this](detail::waiter& w) { return enter(w); });
    }

    POLYLOOP_DECL void set_slowly() noexcept;
    POLYLOOP_DECL void clear_slowly() noexcept;
    POLYLOOP_DECL bool wait_slowly(detail::deadline limit);
    /// Queues, or finds it set.
    POLYLOOP_DECL bool enter(detail::waiter& w) noexcept;
    POLYLOOP_DECL static bool leave(void* self, detail::waiter& w);
    detail::wait_place place() noexcept
    {
        return {this, &event::leave};
    }

    detail::state_word word_;
    detail::wait_list waiters_;
};

} // namespace polyloop

#endif
