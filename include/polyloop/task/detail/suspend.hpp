// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_SUSPEND_HPP
#define POLYLOOP_TASK_DETAIL_SUSPEND_HPP

#include <polyloop/task/detail/scheduler.hpp>

// How a fiber leaves its stack: inline, as waiting is what fibers do most. For the library's own
// sources; the invariants stand in fiber.cpp.

namespace polyloop::detail {

/// Says on the frame that this fiber runs.
inline void fiber::enter(thread_frame& frame, carrier& on) noexcept
{
    carrier_ = &on;
    suspended_ = false;
    frame.fiber = this;
    // Not written without need: two stores to be merged would delay the next reader of the first.
    if (frame.strand != strand()) [[unlikely]]
        frame.strand = strand();
}

/// Where the thread goes on when this fiber leaves: at the next ready one of a single loop, else
/// in the handler that entered the fibers. Null where this fiber is the next one itself.
inline execution* fiber::next_in(thread_frame& frame) noexcept
{
    if (!frame.core->single()) [[unlikely]]
        return carrier_;
    while (ready_node* const n = frame.core->pop_ready_fiber())
    {
        auto& other = static_cast<fiber&>(static_cast<task_base&>(*n));
        if (&other == this) [[unlikely]]
        {
            suspended_ = false; // it was woken while it was about to leave
            return nullptr;
        }
        if (!other.slot_ && !other.take_stack()) [[unlikely]]
            continue;
        other.enter(frame, *carrier_);
        return other.slot_;
    }
    return carrier_;
}

inline departure fiber::depart_in(thread_frame& frame) noexcept
{
    execution* const to = next_in(frame);
    return to ? detail::depart(frame, *slot_, *to) : departure();
}

inline void fiber::suspend_in(thread_frame& frame, fiber_wait& w) noexcept
{
    waiting_ = &w;
    suspended_ = true;
    if (departure const d = depart_in(frame); d.to) [[likely]]
        go(d);
    waiting_ = nullptr;
}

} // namespace polyloop::detail

#endif
