// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/timer.hpp>

#include <polyloop/task/detail/fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <algorithm>
#include <thread>

namespace polyloop {

// Here rather than in the room of the loop, which knows nothing of fibers.
void timer::wait()
{
    if (detail::try_current_fiber())
    {
        async_wait(use_fiber);
        return;
    }
    time_point const until = expiry();
    time_point now = clock_type::now();
    if (until > now && (detail::current_task() || try_get_running_loop()))
        detail::throw_error(error::not_in_fiber);
    // In steps, as some libraries overflow at the end of the clock.
    for (; now < until; now = clock_type::now())
        std::this_thread::sleep_for(std::min<duration>(until - now, std::chrono::hours(24)));
}

} // namespace polyloop
