// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/task_base.hpp>

#include <polyloop/task/detail/scheduler.hpp>

#include <boost/asio/error.hpp>
#include <boost/assert.hpp>

namespace polyloop::detail {
namespace {

bool is_cancellation(std::exception_ptr const& e) noexcept
{
    if (!e)
        return false;
    try
    {
        std::rethrow_exception(e);
    }
    catch (boost::system::system_error const& x)
    {
        return x.code() == boost::asio::error::operation_aborted;
    }
    catch (...)
    {
        return false;
    }
}

} // namespace

task_base::task_base(scheduler& s, strand_core* serial, ready_node::action run, node_kind k)
    : context_node(context_kind::fiber), ready_node(run, k), sched_(s), core_(s.core()),
      strand_(serial), cancel_node_(*this)
{
    set_id(s.next_id());
}

bool task_base::add_waiter(join_waiter& w) noexcept
{
    std::lock_guard const lock(lock_);
    if (done_.load(std::memory_order_relaxed))
        return false;
    w.prev = last_;
    w.next = nullptr;
    (last_ ? last_->next : first_) = &w;
    last_ = &w;
    w.queued = true;
    return true;
}

bool task_base::remove_waiter(join_waiter& w) noexcept
{
    std::lock_guard const lock(lock_);
    if (!w.queued)
        return false;
    (w.prev ? w.prev->next : first_) = w.next;
    (w.next ? w.next->prev : last_) = w.prev;
    w.queued = false;
    return true;
}

void task_base::finish(std::exception_ptr error) noexcept
{
    bool const cancelled = is_cancellation(error);
    if (done_.load(std::memory_order_relaxed))
        return;
    run_exit_hooks(); // the context ends here, however long handles keep its memory
    if (sched_.unlink(*this, cancelled ? nullptr : error))
        retrieved();
    join_waiter* w;
    {
        std::lock_guard const lock(lock_);
        cancelled_ = cancelled;
        error_ = std::move(error);
        w = std::exchange(first_, nullptr);
        last_ = nullptr;
        for (join_waiter* i = w; i; i = i->next)
            i->queued = false;
        done_.store(true, std::memory_order_release);
    }
    while (w)
    {
        join_waiter* const following = w->next; // the waiter is gone once it is told
        w->notify(w);
        w = following;
    }
}

bool task_base::cancel() noexcept
{
    if (done())
        return false;
    cancelling_.fetch_add(1, std::memory_order_relaxed);
    if (core_.single() ? core_.on_loop() : strand_->running_here())
    {
        deliver_cancel();
        return true;
    }
    if (cancel_posted_.exchange(true, std::memory_order_acq_rel))
        return true;
    add_ref();
    if (core_.single() ? core_.schedule(cancel_node_) : strand_->schedule(cancel_node_))
        return true;
    release();
    return false;
}

void task_base::on_cancel(ready_node* n, verb v)
{
    task_ptr const t(&static_cast<cancel_node*>(n)->task, false);
    t->cancel_posted_.store(false, std::memory_order_release);
    if (v == verb::run && t->cancelling() > 0)
        t->deliver_cancel();
}

void task_base::deliver_cancel() noexcept
{
    if (!done() && !interrupt())
        keep_cancel();
}

int task_base::uncancel() noexcept
{
    int n = cancelling_.load(std::memory_order_relaxed);
    while (n > 0 && !cancelling_.compare_exchange_weak(n, n - 1, std::memory_order_relaxed))
    {
    }
    if (n == 1)
        must_cancel_.store(false, std::memory_order_relaxed);
    return n > 0 ? n - 1 : 0;
}

void task_base::wake() noexcept
{
    bool const taken = core_.single() ? core_.schedule(*this) : strand_->schedule(*this);
    // Only a loop that is gone refuses, and it has ended its tasks before.
    BOOST_ASSERT(taken || core_.is_closed());
    (void)taken;
}

void task_base::let_go() noexcept
{
    if (error_ && !cancelled_ && !retrieved_.load(std::memory_order_relaxed))
    {
        // An ended fiber is let go of on the stack of whoever runs next: the handler is not that
        // fiber, and shall not wait as it.
        thread_frame& frame = this_frame();
        context_node* const running = std::exchange(frame.fiber, nullptr);
        core_.report({"exception in a task that nobody joined", error_, name()});
        frame.fiber = running;
    }
    dispose();
}

} // namespace polyloop::detail
