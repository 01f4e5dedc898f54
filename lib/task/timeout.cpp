// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/timeout.hpp>

#include <polyloop/task/detail/fiber.hpp>

namespace polyloop::detail {

task_base& running_task()
{
    if (task_base* const t = current_task()) [[likely]]
        return *t;
    throw_error(error::not_in_fiber);
}

void throw_timed_out()
{
    throw_error(asio::error::timed_out);
}

bool task_deadline::settle() noexcept
{
    // The message that brings the request may still be under way.
    if (task_.uncancel(task_.met() >= nth_) > cancelling_)
        return false;
    if (pending_)
        return false; // one that stood before was met in the scope, and is not ours to swallow
    task_.take_cancel(); // earlier requests may stand, but those were delivered
    return true;
}

} // namespace polyloop::detail
