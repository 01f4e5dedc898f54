// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/use_fiber.hpp>

#include <polyloop/task/detail/wait_name.hpp>

namespace polyloop::detail {

POLYLOOP_READS_FRAME void operation_wait::complete() noexcept
{
    thread_frame& frame = frame_here;
    if (frame.fiber == &self)
    {
        // On its own stack, still initiating: it will see that it need not wait. Or its
        // initiation throws, and the wait is about to end with its frame.
        completed_ = true;
        return;
    }
    if (!emitting_ && self.is_next_in(frame)) [[likely]]
    {
        completed_ = true;
        if (!self.suspended()) [[unlikely]]
            return;
        if (self.core().entered()) [[likely]]
            self.resume(); // by our executor, which has entered
        else
        {
            resumption const scope(self, frame);
            self.resume();
        }
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

wait_name const operation_wait::name_(&operation_wait::on_interrupt, [](fiber_wait const&) {
    return std::string("an operation of Asio");
});

bool operation_wait::on_interrupt(fiber_wait& w, reason why)
{
    auto& self = static_cast<operation_wait&>(w);
    if (self.completed_)
        return false;
    self.interrupted_ = why == reason::cancel;
    self.emit();
    return true;
}

void operation_wait::emit() noexcept
{
    // An operation that completes inside of this would else resume the fiber, whose frame the
    // signal lies in.
    emitting_ = true;
    signal_.emit(asio::cancellation_type::terminal);
    emitting_ = false;
}

timed_operation_wait::timed_operation_wait(fiber& f, steady_time until)
    : operation_wait(f), ready_node(&timed_operation_wait::on_message, node_kind::handler)
{
    when = until;
    expire = &timed_operation_wait::on_expire;
    f.core().insert_timer(*this);
}

void timed_operation_wait::on_expire(timer_node* n)
{
    auto& w = *static_cast<timed_operation_wait*>(n);
    if (w.self.core().single())
    {
        w.expire_now();
        return;
    }
    w.on_its_way_ = true;
    if (!w.self.strand()->schedule(w))
        w.on_its_way_ = false; // closed
}

void timed_operation_wait::on_message(ready_node* n, verb)
{
    auto& w = *static_cast<timed_operation_wait*>(n);
    w.on_its_way_ = false;
    if (w.leaving_)
        w.self.resume();
    else if (!w.completed())
    {
        frame_guard guard;
        guard.frame().strand = w.self.strand();
        w.expire_now();
    }
}

void timed_operation_wait::expire_now() noexcept
{
    expired_ = !self.core().unwinding();
    emit();
}

void timed_operation_wait::await_message() noexcept
{
    leaving_ = true;
    // A cancellation that comes meanwhile is for the next suspension.
    fiber_wait never([](fiber_wait&, reason) { return false; });
    while (on_its_way_)
        self.suspend(never);
}

std::exception_ptr timed_operation_wait::outcome(std::exception_ptr e) noexcept
{
    if (expired_ && !interrupted() && is_cancellation(e))
        return std::make_exception_ptr(boost::system::system_error(
            boost::system::error_code(boost::asio::error::timed_out)));
    return operation_wait::outcome(std::move(e));
}

} // namespace polyloop::detail
