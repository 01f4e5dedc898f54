// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/fiber.hpp>

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
// - `resumer_` is the stack of the handler that entered the loop's fibers. On a loop of
//   concurrency 1 a fiber that leaves hands it on to the next ready one and switches there directly;
//   with none left, or none that may run in this batch, it goes back to the handler. On other
//   loops it always goes back, since the strand is released only there.
// - Whoever switches to a fiber first says so on the thread's frame. A fiber that comes back from
//   a switch may be on another thread: nothing thread-local is kept across it.
// - A fiber that has ended is let go of by whoever runs next, off its stack. Its context stays
//   parked in `main`, and takes the next occupant of the slot.

fiber::fiber(scheduler& s, strand_core* serial, stack_slot& slot)
    : task_base(s, serial, &fiber::act, node_kind::fiber), slot_(slot)
{
    slot.occupant = this;
}

void fiber::act(ready_node* n, verb)
{
    auto& f = static_cast<fiber&>(static_cast<task_base&>(*n));
    f.sched().link_arrived(f);
    f.resume();
}

void fiber::main(boost::context::detail::transfer_t t) noexcept
{
    auto& first = static_cast<fiber&>(static_cast<task_base&>(*this_frame().fiber));
    stack_slot& slot = first.slot_;
    arrive(slot, t);
    for (;;)
    {
        fiber& f = *slot.occupant;
        f.start_now();
        if (f.cancelling() > 0)
            f.keep_cancel(); // its message may still be behind the start
        f.execute();
        slot.ended = &f;
        f.leave(slot); // comes back with another occupant
    }
}

void fiber::resume() noexcept
{
    BOOST_ASSERT(suspended_);
    thread_frame& frame = this_frame();
    context_node* const fiber_before = frame.fiber;
    context_node* const strand_before = frame.strand;
    execution here;
    register_thread(here);
    resumer_ = &here;
    suspended_ = false;
    frame.fiber = this;
    frame.strand = strand();
    switch_to(here, slot_);
    frame.fiber = fiber_before;
    frame.strand = strand_before;
}

void fiber::leave(stack_slot& slot) noexcept
{
    if (core().single())
        if (ready_node* const n = core().pop_ready_fiber())
        {
            auto& other = static_cast<fiber&>(static_cast<task_base&>(*n));
            other.sched().link_arrived(other);
            other.suspended_ = false;
            if (&other == this)
                return; // it was woken while it was about to leave
            other.resumer_ = resumer_;
            thread_frame& frame = this_frame();
            frame.fiber = &other;
            frame.strand = other.strand();
            switch_to(slot, other.slot_);
            return;
        }
    switch_to(slot, *resumer_);
}

void fiber::suspend(fiber_wait& w) noexcept
{
    waiting_ = &w;
    suspended_ = true;
    leave(slot_);
    waiting_ = nullptr;
}

void fiber::yield() noexcept
{
    suspended_ = true;
    if (core().single())
        core().push_local(*this);
    else
    {
        strand()->schedule(*this);
        strand()->give_way();
    }
    leave(slot_);
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

task_base* current_task() noexcept
{
    return static_cast<task_base*>(this_frame().fiber);
}

fiber* try_current_fiber() noexcept
{
    task_base* const t = current_task();
    return t && t->ready_node::kind == node_kind::fiber ? static_cast<fiber*>(t) : nullptr;
}

fiber& current_fiber()
{
    if (fiber* const f = try_current_fiber()) [[likely]]
        return *f;
    throw_error(error::not_in_fiber);
}

} // namespace polyloop::detail
