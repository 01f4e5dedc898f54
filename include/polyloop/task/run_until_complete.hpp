// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_RUN_UNTIL_COMPLETE_HPP
#define POLYLOOP_TASK_RUN_UNTIL_COMPLETE_HPP

#include <polyloop/task/spawn.hpp>
#include <polyloop/task/task.hpp>

#include <utility>

namespace polyloop {

namespace detail {

/// Runs the loop until the task, of whatever loop, is done. Throws what `run_forever` throws, and
/// `error::loop_stopped` where the loop was stopped since it had been told so `stops` times, or
/// before it ran (S31, S32).
POLYLOOP_DECL void run_until_done(event_loop& loop, task_base& t, unsigned stops);

template <class T>
T run_until_done(event_loop& loop, task<T> main, unsigned stops)
{
    run_until_done(loop, main.get(), stops);
    return main.take();
}

} // namespace detail

/// Runs the loop until the task is done and gives its result, or throws what it threw (S32).
///
/// Blocks the thread. The task may live on another loop, which has to run meanwhile. Throws
/// besides what `event_loop::run_forever` throws, and `error::loop_stopped`; the task goes on
/// then in the next run.
template <class T>
T run_until_complete(event_loop& loop, task<T> main)
{
    return detail::run_until_done(loop, std::move(main), loop.core().check_run());
}

/// The same for a task that is made of `f` on the loop.
template <spawnable F>
detail::spawn_result<F> run_until_complete(event_loop& loop, F&& f)
{
    unsigned const stops = loop.core().check_run(); // before anything is made (S28)
    return detail::run_until_done(
        loop, spawn(loop, std::forward<F>(f), {.name = "main", .key = {}}), stops);
}

} // namespace polyloop

#endif
