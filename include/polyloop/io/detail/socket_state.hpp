// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_SOCKET_STATE_HPP
#define POLYLOOP_IO_DETAIL_SOCKET_STATE_HPP

#include <polyloop/io/detail/descriptor.hpp>
#include <polyloop/io/detail/turns.hpp>
#include <polyloop/loop/event_loop.hpp>
#include <polyloop/task/detail/waiter.hpp>

#include <boost/asio/error.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <mutex>
#include <utility>

namespace polyloop::detail {

// Between two attempts to connect to a local listener whose queue is full.
inline constexpr std::chrono::nanoseconds first_connect_pause = std::chrono::milliseconds(1);
inline constexpr std::chrono::nanoseconds longest_connect_pause = std::chrono::milliseconds(64);

/// What sockets of all protocols have, whatever they wait with: the loop, what is open (`Open`),
/// and the limit.
///
/// Invariant: the lock guards which one is open where it is replaced, against `cancel`, `close` and
/// who asks, from another thread; and the number of ends, by which whoever is replacing it sees
/// that it is not wanted any more. Operations on what is open need no lock, as nobody replaces it
/// then.
template <class Open>
class socket_state
{
  public:
    using executor_type = event_loop::executor_type;
    using duration = std::chrono::nanoseconds;
    using time_point = std::chrono::steady_clock::time_point;
    using native_handle_type = typename Open::native;

    socket_state(socket_state const&) = delete;
    socket_state& operator=(socket_state const&) = delete;

    executor_type get_executor() const noexcept
    {
        return core_->io().get_executor();
    }

    bool is_open() const noexcept
    {
        std::lock_guard const held(lock_);
        return open_ && !open_->closed();
    }
    /// The number of the system, which stays the socket's; -1 where it is closed.
    native_handle_type native_handle() const noexcept
    {
        std::lock_guard const held(lock_);
        return open_ && !open_->closed() ? open_->number() : native_handle_type(-1);
    }

    /// What waits, or connects, ends by `operation_aborted`. From any thread.
    void cancel() noexcept
    {
        if (pointer const s = end())
            s->cancel();
    }
    /// Ends what waits, or connects, by `operation_aborted`, and the connection. Later operations
    /// fail by `bad_descriptor`. From any fiber and any thread; a second call does nothing.
    void close() noexcept
    {
        if (pointer const s = end())
            s->close();
    }

    /// Every operation that has not ended by then fails by `asio::error::timed_out`, those that
    /// begin later, too, until another limit is set. Counts from the loop's time, and costs no
    /// system call.
    template <class Rep, class Period>
    void expires_after(std::chrono::duration<Rep, Period> limit)
    {
        limit_ = saturating_add(core_->time(), to_nanoseconds(limit));
    }
    void expires_at(time_point when) noexcept
    {
        limit_ = when;
    }
    /// By another clock: reckoned now; what that clock is set to later is not noticed.
    template <class Clock, class Duration>
    void expires_at(std::chrono::time_point<Clock, Duration> when)
    {
        limit_ = to_steady(when);
    }
    void expires_never() noexcept
    {
        limit_ = time_point::max();
    }

  protected:
    using open_socket = Open;
    using pointer = boost::intrusive_ptr<Open>;

    explicit socket_state(event_loop& loop) noexcept : core_(&loop.core())
    {
    }
    /// What was moved from is closed, and can be used again.
    socket_state(socket_state&& other) noexcept
        : core_(other.core_), open_(std::move(other.open_)), limit_(other.limit_)
    {
    }
    socket_state& operator=(socket_state&& other) noexcept
    {
        if (this != &other)
        {
            close_open();
            core_ = other.core_;
            open_ = std::move(other.open_);
            limit_ = other.limit_;
        }
        return *this;
    }
    ~socket_state()
    {
        close_open();
    }

    loop_core& core() const noexcept
    {
        return *core_;
    }
    pointer const& open() const noexcept
    {
        return open_;
    }
    void set_open(pointer s) noexcept
    {
        {
            std::lock_guard const held(lock_);
            open_.swap(s);
        }
        if (s)
            s->close();
    }
    /// How often it was cancelled or closed, for `replace`.
    unsigned ends() const noexcept
    {
        std::lock_guard const held(lock_);
        return ends_;
    }
    /// The same as `set_open` unless somebody cancelled or closed since `ends`: then `s` is closed
    /// as well, and the error is `operation_aborted`.
    void replace(pointer s, unsigned ends, boost::system::error_code& ec) noexcept
    {
        {
            std::lock_guard const held(lock_);
            if (ends == ends_)
                open_.swap(s);
            else
                ec = asio::error::operation_aborted;
        }
        if (s)
            s->close();
    }
    /// A number, which is the socket's from then on, unless there was an error already. `whole` and
    /// `connected`: as `Open` has them.
    void take_over(native_handle_type number, boost::system::error_code& ec, bool whole,
                   bool connected = true)
    {
        if (ec)
            return;
        try
        {
            set_open(Open::open(*core_, number, connected, whole));
        }
        catch (boost::system::system_error const& e)
        {
            ec = e.code();
        }
    }

    bool limited() const noexcept
    {
        return limit_ != time_point::max();
    }
    deadline limit() const noexcept
    {
        return limited() ? deadline::at(limit_) : deadline();
    }
    /// By the loop's time, as operations see it before they wait.
    bool late() const noexcept
    {
        return limited() && limit_ <= core_->time();
    }

    /// The reader's and the writer's each, as these may run at the same time.
    template <direction Way>
    turns& left() noexcept
    {
        return Way == direction::read ? reads_ : writes_;
    }

    static void check(boost::system::error_code const& ec)
    {
        if (ec) [[unlikely]]
            throw_error(ec);
    }

  private:
    pointer end() noexcept
    {
        std::lock_guard const held(lock_);
        ++ends_;
        return open_; // its own reference: who connects may let go of it
    }
    /// Where nobody else may use the object.
    void close_open() noexcept
    {
        if (open_)
            open_->close();
    }

    core_ptr core_;
    pointer open_;
    time_point limit_ = time_point::max();
    turns reads_;
    turns writes_;
    mutable spin_lock lock_;
    unsigned ends_ = 0;
};

} // namespace polyloop::detail

#endif
