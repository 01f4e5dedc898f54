// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/this_fiber.hpp>

#include <polyloop/task/detail/sleep.hpp>

namespace polyloop::this_fiber {
namespace {

detail::task_base& running()
{
    if (detail::task_base* const t = detail::current_task())
        return *t;
    detail::throw_error(error::not_in_fiber);
}

} // namespace

void sleep_until(std::chrono::steady_clock::time_point when)
{
    detail::fiber& f = detail::current_fiber();
    f.check_cancel();
    detail::fiber_sleep s(f, when);
    f.core().insert_timer(s);
    f.suspend(s);
    if (s.aborted)
        detail::throw_cancelled();
}

task<> current_task()
{
    return task<>(detail::task_ptr(&running()));
}

task_id id()
{
    return running().id();
}

std::string name()
{
    return running().name();
}

bool cancelled()
{
    return running().cancelling() > 0;
}

} // namespace polyloop::this_fiber
