// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/fiber.hpp>

#include <polyloop/task/detail/overflow.hpp>
#include <polyloop/task/detail/scheduler.hpp>

#include <boost/assert.hpp>
#include <boost/config.hpp>

namespace polyloop::detail {

// The scheduler's invariants
//
// - A fiber is in one place: running, in one ready queue, or waiting. `wake` moves it from waiting
//   to ready, once for each wait; a cancellation does so only if it takes the wait away from
//   whoever would have granted it.
// - A fiber runs only in its serial context (its loop, or its strand on a loop of higher
//   concurrency), so nothing of it needs an atomic but what other threads read.
// - `carrier_` is the thread, and its stack in the handler that entered the loop's fibers. On a
//   loop of concurrency 1 a fiber that leaves hands it on to the next ready one and switches there
//   directly; with none left, or none that may run in this batch, it goes back to the handler. On
//   other loops it always goes back, since the strand is released only there.
// - Whoever switches to a fiber first says so on the thread's frame. A fiber that comes back from
//   a switch may be on another thread: each function that suspends asks for the frame once, before,
//   and is not inlined into a caller that might keep the address.
// - A fiber that has ended is let go of by whoever runs next, off its stack. Its context stays
//   parked in `main`, and takes the next occupant of the slot.

task_base* current_task() noexcept
{
    return static_cast<task_base*>(frame_here.fiber);
}

fiber* try_current_fiber() noexcept
{
    task_base* const t = static_cast<task_base*>(frame_here.fiber);
    return t && t->ready_node::kind == node_kind::fiber ? static_cast<fiber*>(t) : nullptr;
}

fiber& current_fiber()
{
    if (fiber* const f = try_current_fiber()) [[likely]]
        return *f;
    throw_error(error::not_in_fiber);
}

void fiber::act(ready_node* n, verb)
{
    static_cast<fiber&>(static_cast<task_base&>(*n)).resume();
}

void fiber::main(boost::context::detail::transfer_t t) noexcept
{
    auto& first = static_cast<fiber&>(static_cast<task_base&>(*frame_here.fiber));
    stack_slot& slot = first.slot_;
    arrive(slot, t);
    for (;;)
    {
        fiber& f = *slot.occupant;
        f.sched().link_arrived(f);
        f.start_now();
        if (f.cancelling() > 0)
            f.keep_cancel(); // its message may still be behind the start
        f.execute();
        f.end(slot); // comes back with another occupant
    }
}

void fiber::resume() noexcept
{
    BOOST_ASSERT(suspended_);
    thread_frame& frame = frame_here;
    if (!frame.reports_overflow && slot_.pool->reports_overflow()) [[unlikely]]
        report_overflow_here();
    carrier here(frame);
    context_node* const fiber_before = frame.fiber;
    context_node* const strand_before = frame.strand;
    carrier_ = &here;
    suspended_ = false;
    frame.fiber = this;
    frame.strand = strand();
    switch_to(frame, here, slot_);
    frame.fiber = fiber_before;
    frame.strand = strand_before;
}

/// To the next ready fiber of the loop, which may be this one; false where there is none. A fiber
/// that has ended is gone when this returns.
inline bool fiber::switch_directly(thread_frame& frame, execution& from) noexcept
{
    ready_node* const n = frame.core->pop_ready_fiber();
    if (!n)
        return false;
    auto& other = static_cast<fiber&>(static_cast<task_base&>(*n));
    other.suspended_ = false;
    if (&other == this) [[unlikely]]
        return true; // it was woken while it was about to leave
    other.carrier_ = carrier_;
    frame.fiber = &other;
    // Not written without need: two stores to be merged would delay the next reader of the first.
    if (frame.strand != other.strand()) [[unlikely]]
        frame.strand = other.strand();
    switch_to(frame, from, other.slot_);
    return true;
}

inline void fiber::switch_away(thread_frame& frame, execution& from) noexcept
{
    if (!frame.core->single() || !switch_directly(frame, from))
        switch_to(frame, from, *carrier_);
}

BOOST_NOINLINE void fiber::end(stack_slot& slot) noexcept
{
    slot.ended = this;
    switch_away(frame_here, slot);
}

BOOST_NOINLINE void fiber::suspend(fiber_wait& w) noexcept
{
    waiting_ = &w;
    suspended_ = true;
    switch_away(frame_here, slot_);
    waiting_ = nullptr;
}

/// What `check_cancel` does, out of the way.
BOOST_NOINLINE static void check_wait(fiber* f)
{
    (f ? *f : current_fiber()).check_cancel();
}

BOOST_NOINLINE void yield_current()
{
    thread_frame& frame = frame_here;
    fiber* const f = try_current_fiber();
    if (!f || f->may_be_interrupted()) [[unlikely]]
        check_wait(f);
    loop_core& core = *frame.core; // not the fiber's: a load less to wait for
    f->suspended_ = true;
    if (core.single()) [[likely]]
        core.push_entered(*f);
    else
    {
        f->strand()->schedule(*f);
        f->strand()->give_way();
    }
    f->switch_away(frame, f->slot_);
}

bool fiber::unwind() noexcept
{
    if (++unwound_ <= unwind_limit)
        return true;
    // It swallows whatever it is told, and would do so for ever: it stays here, is named, and its
    // stack is lost.
    fiber_wait never([](fiber_wait&, fiber_wait::reason) { return false; });
    for (;;)
        suspend(never);
}

bool fiber::interrupt() noexcept
{
    return started() && suspended_ && waiting_ &&
           waiting_->interrupt(*waiting_, fiber_wait::reason::cancel);
}

void fiber::abort_wait() noexcept
{
    if (started() && suspended_ && waiting_)
        waiting_->interrupt(*waiting_, fiber_wait::reason::unwind);
}

} // namespace polyloop::detail
