// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/gather.hpp>

#include <polyloop/task/detail/task_watch.hpp>

namespace polyloop::detail {

void gather_all(std::span<task_ptr const> tasks)
{
    watching const watch(tasks, task_watch::goal::first_error);
    bool cancelled = false;
    for (;;)
    {
        outcome const o = watch->wait();
        if (o == outcome::granted)
            break;
        if (o == outcome::unwound)
            throw_cancelled();
        cancelled = true;
        watch->change_goal(task_watch::goal::all);
        for (task_ptr const& t : tasks)
            t->cancel();
    }
    if (!cancelled)
    {
        if (std::size_t const i = watch->failed(); i != task_watch::none)
        {
            tasks[i]->retrieved();
            std::rethrow_exception(tasks[i]->error());
        }
        return;
    }
    // All have ended: the first that failed by itself, rather than by our cancellation.
    for (task_ptr const& t : tasks)
        if (t->error() && !t->cancelled())
        {
            t->retrieved();
            std::rethrow_exception(t->error());
        }
    throw_cancelled();
}

} // namespace polyloop::detail
