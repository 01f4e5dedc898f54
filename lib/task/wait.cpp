// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/wait.hpp>

#include <polyloop/task/detail/task_watch.hpp>

namespace polyloop::detail {

void wait_for_tasks(std::span<task_ptr const> tasks, return_when when, steady_time limit)
{
    if (tasks.empty())
        throw_error(error::bad_config, "wait: there is no task to wait for");
    task_watch::goal const g = when == return_when::all ? task_watch::goal::all
                               : when == return_when::first_completed
                                   ? task_watch::goal::first_completed
                                   : task_watch::goal::first_failed;
    watching const watch(tasks, g);
    outcome const o = watch->wait(limit);
    if (o == outcome::cancelled || o == outcome::unwound)
        throw_cancelled();
}

} // namespace polyloop::detail
