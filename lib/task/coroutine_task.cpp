// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/coroutine_task.hpp>

namespace polyloop::detail {

coroutine::coroutine(birth const& b)
    : task_base(b, &coroutine::act, node_kind::handler), core_kept_(&b.sched.core())
{
}

void coroutine::act(ready_node* n, verb)
{
    auto& t = static_cast<coroutine&>(static_cast<task_base&>(*n));
    t.sched().link_arrived(t);
    t.start_now();
    if (t.take_cancel() || t.cancelling() > 0 || t.core().unwinding())
    {
        t.finish(std::make_exception_ptr(boost::system::system_error(
            boost::system::error_code(asio::error::operation_aborted))));
        t.left();
        return;
    }
    task_ptr const keep(&t);
    auto launch = [&] { t.launch(); };
    t.slice(launch);
}

void coroutine::emit() noexcept
{
    emitting_ = true;
    signal_.emit(asio::cancellation_type::terminal);
    emitting_ = false;
}

POLYLOOP_READS_FRAME void keep_missed_cancel() noexcept
{
    task_base* const t = current_task();
    if (t && t->ready_node::kind != node_kind::fiber && static_cast<coroutine*>(t)->emits())
        t->keep_cancel();
}

void coroutine::settle(steady_time begin) noexcept
{
    if (begin != steady_time())
        report_if_slow(begin);
    // A cancellation that came while the coroutine ran meets the wait that it has just begun.
    if (!done() && (take_cancel() || (core().unwinding() && ++unwound_ <= unwind_limit)))
        emit();
}

bool coroutine::interrupt() noexcept
{
    if (!started() || this_frame().fiber == this)
        return false;
    // Asio hands a cancellation on by `dispatch` to the coroutine's executor, with the address of
    // a signal in the coroutine: where that would wait in a queue, the coroutine may end before it.
    // So the emission itself waits, and meets the wait that the coroutine is in then.
    task_ptr const keep(this);
    auto now = [this] { emit(); };
    if (may_run_here())
    {
        slice(now);
        return !cancel_pending(); // it is, where the wait had been granted
    }
    post([t = boost::intrusive_ptr<coroutine>(this)] {
        if (t->done() || !(t->take_cancel() || t->core().unwinding()))
            return;
        auto then = [&] { t->emit(); };
        t->slice(then);
    });
    return false; // kept until then, for a wait that begins before
}

void coroutine::abort_wait() noexcept
{
    interrupt();
}

} // namespace polyloop::detail
