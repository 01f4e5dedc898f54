// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_CALLBACK_HANDLE_HPP
#define POLYLOOP_LOOP_CALLBACK_HANDLE_HPP

#include <polyloop/loop/detail/callback.hpp>

#include <chrono>
#include <optional>

namespace polyloop {

/// What `call_soon`, `call_later` and `call_at` give: asyncio's Handle and TimerHandle (S43).
///
/// Copies refer to the same callback. An empty handle refers to none. A handle does
/// not keep its loop alive, and dropping it cancels nothing.
///
/// Thread safety: distinct objects safe, for the same callback too.
class callback_handle
{
  public:
    callback_handle() noexcept = default;

    /// Whether it refers to a callback.
    explicit operator bool() const noexcept
    {
        return state_ != nullptr;
    }

    /// Sees to it that the callback never runs, and releases the callable at once. Does nothing if
    /// it ran, runs or was cancelled before, or if the handle is empty. From any thread.
    void cancel() noexcept
    {
        if (state_)
            state_->cancel();
    }

    /// Whether `cancel` came before the callback ran.
    bool cancelled() const noexcept
    {
        return state_ && state_->cancelled();
    }

    /// When it is due; nothing for `call_soon` and for an empty handle.
    std::optional<std::chrono::steady_clock::time_point> when() const noexcept
    {
        if (!state_ || !state_->timed())
            return std::nullopt;
        return state_->when();
    }

  private:
    friend class event_loop;

    explicit callback_handle(detail::callback_ptr s) noexcept : state_(std::move(s))
    {
    }

    detail::callback_ptr state_;
};

} // namespace polyloop

#endif
