// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_SOCKET_STATE_HPP
#define POLYLOOP_IO_DETAIL_SOCKET_STATE_HPP

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/task/detail/waiter.hpp>

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <utility>

namespace polyloop::detail {

/// What sockets of all protocols have, whatever they wait with: the loop, what is open (`Open`), and
/// the limit.
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
        return open_ && !open_->closed();
    }
    /// The number of the system, which stays the socket's; -1 where it is closed.
    native_handle_type native_handle() const noexcept
    {
        return is_open() ? open_->number() : native_handle_type(-1);
    }

    /// What waits ends by `operation_aborted`. From any thread.
    void cancel() noexcept
    {
        if (open_)
            open_->cancel();
    }
    /// Ends what waits by `operation_aborted`, and the connection. Later operations fail by
    /// `bad_descriptor`. From any fiber and any thread; a second call does nothing.
    void close() noexcept
    {
        if (open_)
            open_->close();
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
            close();
            core_ = other.core_;
            open_ = std::move(other.open_);
            limit_ = other.limit_;
        }
        return *this;
    }
    ~socket_state()
    {
        close();
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
        close();
        open_ = std::move(s);
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

    static void check(boost::system::error_code const& ec)
    {
        if (ec) [[unlikely]]
            throw_error(ec);
    }

  private:
    core_ptr core_;
    pointer open_;
    time_point limit_ = time_point::max();
};

} // namespace polyloop::detail

#endif
