// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/use_fiber.hpp>

namespace polyloop::detail {

void operation_wait::complete() noexcept
{
    if (this_frame().fiber == &self)
    {
        // On its own stack, still initiating: it will see that it need not wait. Or its
        // initiation throws, and the wait is about to end with its frame.
        completed_ = true;
        return;
    }
    if (!emitting_ && self.may_run_here())
    {
        completed_ = true;
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
    // An operation that completes inside of this would else resume the fiber, whose frame the
    // signal lies in.
    self.emitting_ = true;
    self.signal_.emit(asio::cancellation_type::terminal);
    self.emitting_ = false;
    return true;
}

} // namespace polyloop::detail
