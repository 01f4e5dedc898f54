// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/waiter.hpp>

#include <polyloop/context/detail/fork.hpp>
#include <polyloop/task/detail/suspend.hpp>
#include <polyloop/task/detail/wait_name.hpp>

#include <boost/asio/system_executor.hpp>

#include <array>
#include <cstddef>
#include <new>

namespace polyloop::detail {
namespace {

struct alignas(64) padded_lock
{
    spin_lock lock;
};

constinit std::array<padded_lock, 64> gates{};

// Who holds one in another thread of a process that forks is not in the child. Never ends, as
// statics may fork.
[[maybe_unused]] fork_listener const* const gate_forks =
    new fork_listener(&gates, {.in_child = [](void*) noexcept {
                          for (padded_lock& g : gates)
                              g.lock.unlock();
                      }});

/// `object_wait` with a limit: whoever takes the waiter off its object's list decides how the wait
/// ends.
struct limited_wait : object_wait, timer_node
{
    limited_wait(fiber& f, waiter& w, wait_place p, steady_time limit) noexcept
        : object_wait(f, w, p)
    {
        when = limit;
        expire = [](timer_node* n) {
            static_cast<limited_wait*>(n)->leave(wait_end::timed_out);
        };
    }
};

wait_name const object_wait_name(&object_wait::on_interrupt, [](fiber_wait const&) {
    return std::string("what another context shall release, set or send");
});

} // namespace

bool object_wait::leave(wait_end how)
{
    if (!place.leave_as(waiting))
        return false;
    end = how;
    self.wake();
    return true;
}

bool object_wait::on_interrupt(fiber_wait& w, reason)
{
    return static_cast<object_wait&>(w).leave(wait_end::cancelled);
}

state_word::value state_word::lock_slowly() noexcept
{
    for (unsigned tries = 0;; ++tries)
    {
        value v;
        if (try_lock(v))
            return v;
        // The holder has a few instructions to go, unless its thread was put aside.
        if (tries >= 32)
            std::this_thread::yield();
    }
}

/// Until nobody is left there who looks at the object. With its lock held: so nobody comes again.
void section::pass_leavers() noexcept
{
    std::lock_guard const passed(leave_gate(word_));
}

spin_lock& leave_gate(void const* object) noexcept
{
    auto const n = reinterpret_cast<std::uintptr_t>(object);
    return gates[(n ^ (n >> 9)) / 16 % gates.size()].lock;
}

bool deadline::has_passed() const noexcept
{
    if (kind_ == kind::after)
        return count_ <= count_.zero();
    loop_core* const core = this_frame().core;
    auto const now = core ? core->time() : std::chrono::steady_clock::now();
    return count_ <= now.time_since_epoch();
}

steady_time deadline::time() const noexcept
{
    if (never())
        return steady_time::max();
    if (kind_ == kind::at)
        return steady_time(count_);
    loop_core* const core = this_frame().core;
    return saturating_add(core ? core->time() : std::chrono::steady_clock::now(), count_);
}

POLYLOOP_READS_FRAME blocker::blocker() noexcept
{
    thread_frame const& frame = this_frame();
    auto* const task = static_cast<task_base*>(frame.fiber);
    if (task && task->ready_node::kind == node_kind::fiber) [[likely]]
    {
        fiber_ = static_cast<fiber*>(task);
        return;
    }
    fiber_ = nullptr;
    bare_ = task || frame.loop;
    ::new (&thread_) thread_parking;
}

void blocker::refuse()
{
    if (!fiber_)
        throw_error(error::not_in_fiber);
    fiber_->check_cancel();
    throw_cancelled();
}

void blocker::wake_fiber(waiter* w)
{
    static_cast<fiber*>(w->who)->wake();
}

void blocker::wake_thread(waiter* w)
{
    auto& t = *static_cast<thread_parking*>(w->who);
    // Under the lock: the waiting thread destroys it as soon as it sees `done`.
    std::lock_guard const lock(t.mutex);
    t.done = true;
    t.condition.notify_one();
}

wait_end blocker::wait_until(waiter& w, wait_place place, deadline limit)
{
    return fiber_ ? suspend_until(w, place, limit.time()) : block(w, &place, limit.time());
}

wait_end blocker::suspend_until(waiter& w, wait_place place, steady_time limit)
{
    limited_wait p(*fiber_, w, place, limit);
    try
    {
        fiber_->core().insert_timer(p);
    }
    catch (...) // out of memory
    {
        if (place.leave_as(w))
            throw;
        fiber_->suspend(p); // the wake is on its way
        return wait_end::granted;
    }
    fiber_->suspend(p);
    // Where the queue has a lock, this waits for an expiry that is under way, too.
    fiber_->core().erase_timer(p);
    return p.end;
}

void blocker::wait_uncancelled(waiter& w) noexcept
{
    if (!fiber_)
    {
        block(w, nullptr, steady_time::max());
        return;
    }
    fiber_wait deaf([](fiber_wait&, fiber_wait::reason) { return false; });
    fiber_->suspend(deaf);
}

wait_end blocker::block(waiter& w, wait_place const* place, steady_time limit)
{
    thread_parking& t = thread_;
    auto const done = [&t] { return t.done; };
    std::unique_lock lock(t.mutex);
    if (limit != steady_time::max() && !t.condition.wait_until(lock, limit, done))
    {
        lock.unlock();
        if (place->leave_as(w))
            return wait_end::timed_out;
        lock.lock();
    }
    t.condition.wait(lock, done);
    return wait_end::granted;
}

boost::asio::any_io_executor ambient_executor()
{
    if (loop_core* const core = this_frame().core)
        return core->io().get_executor();
    return boost::asio::system_executor();
}

} // namespace polyloop::detail
