// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/use_fiber.hpp>

namespace polyloop::detail {

void operation_wait::complete() noexcept
{
    if (self.may_run_here())
    {
        completed_ = true;
        // Not suspended: it is still initiating, further down on this very stack, and will
        // see that it need not wait.
        if (self.suspended())
        {
            core_entry const entry(self.core());
            self.resume();
        }
        return;
    }
    // A handler that was called outside of its executor, or inside of a fiber.
    self.post([this] {
        completed_ = true;
        if (self.suspended())
            self.resume();
    });
}

bool operation_wait::on_interrupt(fiber_wait& w, reason why)
{
    auto& self = static_cast<operation_wait&>(w);
    if (self.completed_)
        return false;
    self.interrupted_ = why == reason::cancel;
    self.signal_.emit(asio::cancellation_type::terminal);
    return true;
}

} // namespace polyloop::detail
