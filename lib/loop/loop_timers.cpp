// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/loop_core.hpp>

#include <cstddef>
#include <mutex>

namespace polyloop::detail {

struct loop_core::timer_handler
{
    core_ptr core;
    std::uint64_t generation;

    void operator()(boost::system::error_code) const
    {
        core->on_timer(generation);
    }
};

void loop_core::insert_locked(timer_node& n)
{
    refuse_inherited(); // the parent has the same timer descriptor
    std::lock_guard const lock(timer_mutex_);
    timers_.insert(n);
    if (!armed_ || timer_work_returned_ || n.when < armed_at_)
        arm_for(n);
}

bool loop_core::erase_locked(timer_node& n) noexcept
{
    if (is_inherited())
        return false; // another thread may have been about to change what is there
    std::lock_guard const lock(timer_mutex_);
    bool const erased = timers_.erase(n);
    if (erased && timers_.empty() && !owned_)
        idle_timer();
    return erased;
}

// The armed timer is left to fire early rather than moved back, so that a deadline that is
// set and cancelled costs no system call. Its work is taken back instead, as an adopted
// io_context without other work shall return from run().
void loop_core::idle_timer() noexcept
{
    if (!armed_ || timer_work_returned_)
        return;
    // Only inside a handler of the io_context: elsewhere the count could reach zero and
    // stop it.
    if (on_loop())
    {
        timer_work_returned_ = true;
        work_finished();
    }
    else if (!single_)
        post([self = core_ptr(this)] {
            std::lock_guard const lock(self->timer_mutex_);
            if (self->timers_.empty())
                self->idle_timer();
        });
}

void loop_core::arm_until(steady_time next)
{
    if (timers_.empty() || !timer_)
        return;
    if (timer_work_returned_)
    {
        timer_work_returned_ = false;
        work_started();
    }
    if (armed_ && armed_at_ <= next)
        return;
    // A wait that cannot begin, for want of memory, leaves nothing armed: the next timer tries
    // again.
    armed_ = false;
    timer_->expires_at(next);
    timer_->async_wait(timer_handler{core_ptr(this), ++timer_generation_});
    armed_ = true;
    armed_at_ = next;
}

/// For one that has just been queued. At the start of its slot at the earliest, which may be long
/// before its time: so a row of timers of which each is a bit earlier costs few system calls. Who
/// wakes then arms for the exact time; a timer that is hours ahead so wakes the loop twice at most,
/// while few others share its slot.
void loop_core::arm_for(timer_node& n)
{
    try
    {
        arm_until(timers_.next());
    }
    catch (...)
    {
        timers_.erase(n);
        throw;
    }
}

void loop_core::on_timer(std::uint64_t generation) noexcept
{
    core_entry const entry(*this);
    {
        std::unique_lock<std::mutex> lock(timer_mutex_, std::defer_lock);
        if (!single_)
            lock.lock();
        if (generation != timer_generation_ || !timer_)
            return;
        if (single_)
            take_inbox(); // there may be timers that are due before those that are here
        armed_ = false;
        if (timer_work_returned_)
        {
            // This handler's own work is about to be counted down.
            timer_work_returned_ = false;
            work_started();
        }
        steady_time const now = std::chrono::steady_clock::now();
        time_ = now;
        time_valid_ = true;
        // Under the lock, where there is one: who takes a timer back may then free it at once.
        // `expire` only makes something ready.
        std::size_t budget = expiry_budget;
        while (timer_node* const n = timers_.pop_due(now, budget))
            n->expire(n);
        // What is left of those that are due comes after a look at I/O, as the armed time has
        // passed then.
        arm_until(timers_.next_exact());
    }
    if (single_)
        run_batch();
}

} // namespace polyloop::detail
