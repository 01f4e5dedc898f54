// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/fiber.hpp>

#include <polyloop/task/detail/overflow.hpp>
#include <polyloop/task/detail/suspend.hpp>
#include <polyloop/task/detail/wait_name.hpp>

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
// - A fiber gets its stack when it starts, and gives it up when it ends. On a loop of concurrency 1
//   a fiber that is about to start after one that ended takes the stack over as it is, without a
//   switch; else the stack is parked in `main`, context and all, and given back to the pool by
//   whoever runs next. So many short fibers run on one stack, which is in the cache.

POLYLOOP_READS_FRAME task_base* current_task() noexcept
{
    return static_cast<task_base*>(frame_here.fiber);
}

POLYLOOP_READS_FRAME fiber* try_current_fiber() noexcept
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

void fiber::main(execution* from) noexcept
{
    stack_slot& slot = *static_cast<fiber&>(static_cast<task_base&>(*frame_here.fiber)).slot_;
    arrive(slot, *from);
    for (;;)
    {
        fiber& f = *slot.occupant;
        f.sched().link_arrived(f);
        f.start_now();
        if (f.cancelling() > 0)
            f.keep_cancel(); // its message may still be behind the start
        f.execute();
        f.end(); // comes back with another occupant
    }
}

/// The stack for a start. Without one the fiber ends by the system's error, and is gone.
BOOST_NOINLINE bool fiber::take_stack() noexcept
{
    try
    {
        stack_pool& pool = sched().stacks();
        slot_ = &pool.get();
        slot_->occupant = this;
        if (pool.paints())
            slot_->paint();
        return true;
    }
    catch (...)
    {
        sched().link_arrived(*this);
        finish(std::current_exception());
        left();
        return false;
    }
}

inline void fiber::take_turn(thread_frame& frame) noexcept
{
    carrier here(frame);
    context_node* const fiber_before = frame.fiber;
    context_node* const strand_before = frame.strand;
    enter(frame, here);
    switch_to(frame, here, *slot_);
    frame.fiber = fiber_before;
    frame.strand = strand_before;
}

/// What a thread has to know of its first fiber, and all that debug mode costs a turn.
BOOST_NOINLINE void fiber::take_careful_turn(thread_frame& frame) noexcept
{
    if (!frame.reports_overflow && slot_->pool->reports_overflow())
        report_overflow_here();
    if (!core().debug())
    {
        frame.resumes_plainly = frame.reports_overflow;
        take_turn(frame);
        return;
    }
    task_ptr const keep(this); // for its name
    steady_time const begin = std::chrono::steady_clock::now();
    take_turn(frame);
    report_if_slow(begin);
}

POLYLOOP_READS_FRAME void fiber::resume() noexcept
{
    BOOST_ASSERT(suspended_);
    if (!slot_ && !take_stack()) [[unlikely]]
        return;
    thread_frame& frame = frame_here;
    if (!frame.resumes_plainly) [[unlikely]]
        take_careful_turn(frame);
    else
        take_turn(frame);
}

/// In `main`: leaves the stack, or has the next one take it over.
POLYLOOP_READS_FRAME void fiber::end() noexcept
{
    thread_frame& frame = frame_here;
    stack_slot& slot = *slot_;
    carrier& on = *carrier_;
    loop_core& loop = *frame.core;
    slot_ = nullptr;
    // Destructors of results that nobody waits for may run in this, as no fiber's.
    frame.fiber = nullptr;
    left();
    ready_node* const n = loop.single() ? loop.pop_ready_fiber() : nullptr;
    execution* to = &on;
    if (n)
    {
        auto& other = static_cast<fiber&>(static_cast<task_base&>(*n));
        if (!other.slot_ && !slot.pool->paints()) [[likely]]
        {
            other.slot_ = &slot;
            slot.occupant = &other;
            other.enter(frame, on);
            return;
        }
        if (other.slot_ || other.take_stack())
        {
            other.enter(frame, on);
            to = other.slot_;
        }
    }
    slot.idle = true;
    switch_to(frame, slot, *to);
}

POLYLOOP_READS_FRAME void fiber::suspend(fiber_wait& w) noexcept
{
    suspend_in(frame_here, w);
}

/// What `check_cancel` does, out of the way.
BOOST_NOINLINE static void check_wait(fiber* f)
{
    (f ? *f : current_fiber()).check_cancel();
}

POLYLOOP_READS_FRAME departure fiber::leave_for(fiber_wait& w) noexcept
{
#if defined(POLYLOOP_SWITCH_INLINE)
    waiting_ = &w;
    suspended_ = true;
    return depart_in(frame_here);
#else
    suspend_in(frame_here, w);
    return {};
#endif
}

POLYLOOP_READS_FRAME departure leave_to_yield()
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
    departure const d = f->depart_in(frame);
#if !defined(POLYLOOP_SWITCH_INLINE)
    if (d.to)
        go(d);
    return {};
#else
    return d;
#endif
}

POLYLOOP_READS_FRAME void yield_current()
{
    if (departure const d = leave_to_yield(); d.to) [[likely]]
        go(d);
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

std::string fiber::waits_for() const
{
    return started() && suspended_ && waiting_ ? describe_wait(*waiting_) : std::string();
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
