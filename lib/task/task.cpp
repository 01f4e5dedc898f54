// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/task.hpp>

#include <polyloop/task/detail/fiber.hpp>
#include <polyloop/task/detail/sleep.hpp>
#include <polyloop/task/detail/suspend.hpp>
#include <polyloop/task/detail/wait_name.hpp>

#include <condition_variable>
#include <mutex>

namespace polyloop::detail {
namespace {

struct thread_joiner : join_waiter
{
    thread_joiner() noexcept : join_waiter(&thread_joiner::on_done)
    {
    }

    static void on_done(join_waiter* w)
    {
        auto* self = static_cast<thread_joiner*>(w);
        // Under the lock: the waiting thread destroys us as soon as it sees `done`.
        std::lock_guard const lock(self->mutex);
        self->done = true;
        self->condition.notify_one();
    }

    std::mutex mutex;
    std::condition_variable condition;
    bool done = false;
};

/// A joiner with a limit: whichever of the two comes first takes the other one back.
struct limited_joiner : join_waiter, fiber_sleep
{
    limited_joiner(fiber& f, task_base& t, steady_time limit) noexcept
        : join_waiter(&limited_joiner::on_done), fiber_sleep(f, limit), joined(t)
    {
        interrupt = &limited_joiner::on_interrupt;
        expire = &limited_joiner::on_limit;
    }

    // Three may end the wait: the task (on its own thread), the timer, a cancellation (both in
    // the fiber's serial context). Taking the waiter off the task's list decides between
    // the first and the others, taking the timer out of its queue between these.
    static void on_done(join_waiter* w)
    {
        static_cast<limited_joiner*>(w)->self.wake();
    }
    static void on_limit(timer_node* n)
    {
        auto* j = static_cast<limited_joiner*>(n);
        if (j->joined.remove_waiter(*j))
            j->self.wake();
    }
    static bool on_interrupt(fiber_wait& w, reason)
    {
        auto& j = static_cast<limited_joiner&>(w);
        if (!j.joined.remove_waiter(j))
            return false;
        j.aborted = true;
        j.self.wake();
        return true;
    }

    task_base& joined;
};

wait_name const join_name(&fiber_joiner::on_interrupt, [](fiber_wait const& w) {
    return "the end of task \"" + static_cast<fiber_joiner const&>(w).joined.name() + '"';
});
wait_name const limited_join_name(&limited_joiner::on_interrupt, [](fiber_wait const& w) {
    return "the end of task \"" + static_cast<limited_joiner const&>(w).joined.name() +
           "\", up to a limit";
});

} // namespace

void fiber_joiner::on_done(join_waiter* w)
{
    static_cast<fiber_joiner*>(w)->self.wake();
}

bool fiber_joiner::on_interrupt(fiber_wait& w, reason why)
{
    auto& j = static_cast<fiber_joiner&>(w);
    // As `await task`: the joined task is cancelled, and how it ends decides what the
    // joiner gets.
    if (why == reason::cancel)
        return j.forwarded = j.joined.cancel();
    if (!j.joined.remove_waiter(j))
        return false;
    j.aborted = true;
    j.self.wake();
    return true;
}

void fiber_joiner::settle()
{
    if (aborted)
        throw_cancelled();
    // The joined task ended without having been told of a cancellation that was handed on to it: it
    // is the joiner's own again.
    if (forwarded && !joined.cancelled() &&
        (joined.cancel_pending() || joined.met() < joined.cancelling()))
        self.keep_cancel();
}

fiber* waiting_fiber(task_base& t)
{
    task_base* const me = current_task();
    if (me == &t)
        throw_error(error::self_join);
    if (t.core().is_inherited()) [[unlikely]] // nobody here will end it
        throw_error(error::loop_closed, "task \"" + t.name() +
                                            "\" belongs to the process that forked this one");
    fiber* const f = try_current_fiber();
    // The last question is for an application's own handler on an adopted io_context.
    if (!f && (me || this_frame().loop || t.core().in_bare_handler()))
        throw_error(error::not_in_fiber);
    return f;
}

void block_until_done(task_base& t)
{
    thread_joiner j;
    if (!t.add_waiter(j))
        return;
    std::unique_lock lock(j.mutex);
    j.condition.wait(lock, [&] { return j.done; });
}

bool wait_done_until(task_base& t, steady_time limit)
{
    if (t.done())
        return true;
    if (fiber* const f = waiting_fiber(t))
    {
        f->check_cancel();
        task_ptr const keep(&t);
        limited_joiner j(*f, t, limit);
        if (t.add_waiter(j))
        {
            try
            {
                f->core().insert_timer(j);
            }
            catch (...) // out of memory
            {
                if (!t.remove_waiter(j))
                    f->suspend(j); // the wake is on its way
                throw;
            }
            f->suspend(j);
            j.take_back();
        }
        if (j.aborted)
            throw_cancelled();
        return t.done();
    }
    thread_joiner j;
    if (!t.add_waiter(j))
        return true;
    std::unique_lock lock(j.mutex);
    if (limit == steady_time::max()) // beyond the clock: some libraries overflow there
        j.condition.wait(lock, [&] { return j.done; });
    else if (!j.condition.wait_until(lock, limit, [&] { return j.done; }))
    {
        lock.unlock();
        if (t.remove_waiter(j))
            return false;
        lock.lock();
        j.condition.wait(lock, [&] { return j.done; });
    }
    return true;
}

} // namespace polyloop::detail
