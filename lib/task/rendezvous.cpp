// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/rendezvous.hpp>

#include <polyloop/task/detail/wait_name.hpp>

#include <condition_variable>

namespace polyloop::detail {

bool can_wait() noexcept
{
    return try_current_fiber() || (!current_task() && !this_frame().loop);
}

void require_waitable()
{
    if (!can_wait())
        throw_error(error::not_in_fiber);
}

struct rendezvous::parked_fiber : parked, fiber_wait, timer_node
{
    parked_fiber(rendezvous& r, fiber& f, bool may_interrupt) noexcept
        : parked(&parked_fiber::on_wake), fiber_wait(&parked_fiber::on_interrupt), meeting(r),
          self(f), interruptible(may_interrupt)
    {
        expire = &parked_fiber::on_expire;
    }

    static void on_wake(parked& p) noexcept
    {
        static_cast<parked_fiber&>(p).self.wake();
    }
    static void on_expire(timer_node* n)
    {
        auto* p = static_cast<parked_fiber*>(n);
        p->meeting.withdraw(p, outcome::expired);
    }
    static bool on_interrupt(fiber_wait& w, reason why)
    {
        auto& p = static_cast<parked_fiber&>(w);
        return p.interruptible &&
               p.meeting.withdraw(&p, why == reason::cancel ? outcome::cancelled
                                                            : outcome::unwound);
    }

    static wait_name const name;

    rendezvous& meeting;
    fiber& self;
    bool const interruptible;
};

wait_name const rendezvous::parked_fiber::name(&parked_fiber::on_interrupt,
                                               [](fiber_wait const&) {
                                                   return std::string("other tasks");
                                               });

struct rendezvous::parked_thread : parked
{
    parked_thread() noexcept : parked(&parked_thread::on_wake)
    {
    }

    static void on_wake(parked& p) noexcept
    {
        auto& self = static_cast<parked_thread&>(p);
        // Under the lock: the waiting thread destroys us as soon as it sees `done`.
        std::lock_guard const lock(self.mutex);
        self.done = true;
        self.condition.notify_one();
    }

    std::mutex mutex;
    std::condition_variable condition;
    bool done = false;
};

bool rendezvous::withdraw(parked* p, outcome o) noexcept
{
    {
        std::lock_guard const lock(mutex);
        if (parked_ != p)
            return false;
        parked_ = nullptr;
        p->result = o;
    }
    p->wake(*p);
    return true;
}

outcome rendezvous::wait_in(fiber& f, std::unique_lock<std::mutex>& lock, bool interruptible,
                            steady_time limit)
{
    parked_fiber p(*this, f, interruptible);
    p.when = limit;
    parked_ = &p;
    // The timers have a lock of their own, which is taken before this one when they expire.
    lock.unlock();
    bool const limited = limit != steady_time::max();
    if (limited)
        try
        {
            f.core().insert_timer(p);
        }
        catch (...)
        {
            lock.lock();
            if (parked_ == &p)
                parked_ = nullptr;
            else
            {
                lock.unlock();
                f.suspend(p); // the wake is on its way
                lock.lock();
            }
            throw;
        }
    f.suspend(p);
    if (limited)
        f.core().erase_timer(p);
    lock.lock();
    return p.result;
}

outcome rendezvous::wait(std::unique_lock<std::mutex>& lock, bool interruptible,
                         steady_time limit)
{
    if (fiber* const f = try_current_fiber())
        return wait_in(*f, lock, interruptible, limit);
    parked_thread p;
    parked_ = &p;
    lock.unlock();
    std::unique_lock mine(p.mutex);
    auto const done = [&p] { return p.done; };
    if (limit == steady_time::max())
        p.condition.wait(mine, done);
    else if (!p.condition.wait_until(mine, limit, done))
    {
        mine.unlock();
        withdraw(&p, outcome::expired);
        mine.lock();
        p.condition.wait(mine, done);
    }
    mine.unlock();
    lock.lock();
    return p.result;
}

} // namespace polyloop::detail
