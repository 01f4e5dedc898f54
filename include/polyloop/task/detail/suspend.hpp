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

/// To the next ready fiber of the single loop, which may be this one; false where there is none.
inline bool fiber::switch_directly(thread_frame& frame, execution& from) noexcept
{
    while (ready_node* const n = frame.core->pop_ready_fiber())
    {
        auto& other = static_cast<fiber&>(static_cast<task_base&>(*n));
        if (&other == this) [[unlikely]]
        {
            suspended_ = false; // it was woken while it was about to leave
            return true;
        }
        if (!other.slot_ && !other.take_stack()) [[unlikely]]
            continue;
        other.enter(frame, *carrier_);
        switch_to(frame, from, *other.slot_);
        return true;
    }
    return false;
}

inline void fiber::switch_away(thread_frame& frame, execution& from) noexcept
{
    if (!frame.core->single() || !switch_directly(frame, from))
        switch_to(frame, from, *carrier_);
}

inline void fiber::suspend_in(thread_frame& frame, fiber_wait& w) noexcept
{
    waiting_ = &w;
    suspended_ = true;
    switch_away(frame, *slot_);
    waiting_ = nullptr;
}

} // namespace polyloop::detail

#endif
