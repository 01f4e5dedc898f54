// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/run_until_complete.hpp>

namespace polyloop::detail {
namespace {

/// Stops the loop at the task's end.
struct stopper : join_waiter
{
    explicit stopper(event_loop& l) noexcept : join_waiter(&stopper::on_done), loop(l)
    {
    }

    static void on_done(join_waiter* w)
    {
        auto& s = *static_cast<stopper*>(w);
        s.loop.core().stop_if_running();
        s.told = true; // the last access: the waiting thread may return now
    }

    event_loop& loop;
    std::atomic<bool> told = false;
};

} // namespace

void run_until_done(event_loop& loop, task_base& t, unsigned stops)
{
    auto const loop_kept = loop.weak_from_this().lock(); // as in `run_forever`
    task_ptr const keep(&t);
    stopper s(loop);
    if (!t.add_waiter(s))
        return;
    struct awaited
    {
        task_base& task;
        loop_core& core;
        unsigned stops;
        bool over = false;
    } a{t, loop.core(), stops};
    // `stop` takes the lock under which `done` is asked, so either the run sees the end or the
    // stop meets the run.
    auto const done = [](void* p) {
        auto& w = *static_cast<awaited*>(p);
        return w.over = w.task.done() || w.core.stops() != w.stops;
    };
    try
    {
        // On a loop of several threads the end of another's main task ends this run, too.
        while (!a.over && !t.done())
            if (a.core.run(done, &a))
                break;
    }
    catch (...)
    {
        if (!t.remove_waiter(s))
            while (!s.told)
                std::this_thread::yield();
        throw;
    }
    if (t.remove_waiter(s))
        throw_error(error::loop_stopped);
    // The task ended, on another thread perhaps, which may be about to tell the stopper.
    while (!s.told)
        std::this_thread::yield();
}

} // namespace polyloop::detail
