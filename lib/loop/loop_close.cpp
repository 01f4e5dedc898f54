// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/loop_core.hpp>

#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

namespace polyloop::detail {

void loop_core::close()
{
    if (is_inherited())
        return; // nothing is ended: that would reach into what the child shares with its parent
    {
        std::lock_guard const lock(run_mutex_);
        if (is_closed())
            return;
        if (running_ > 0 || on_loop())
            throw_error(error::loop_is_running);
        state_.fetch_or(closed_flag);
    }
    auto const await_posters = [this] {
        while (posters_.load() != 0)
            std::this_thread::yield();
    };
    await_posters(); // who found it open has brought his task or callback now
    bool const stopped = io_->stopped();
    {
        core_entry const entry(*this);
        unwinding_ = true;
        drop_jobs();
        drop_callbacks();
        if (task_registry* const r = registry())
            r->unwind();
        discard_ready();
        if (sockets_)
            sockets_->closing();
        if (watches_)
            watches_->closing();
        while (expire_one())
            discard_ready();
        drop_callbacks(); // those that have just expired
        if (std::exchange(timer_work_returned_, false))
            work_started(); // the aborted wait will be counted down by its own handler
        timer_.reset();
        for (ready_node* n = inbox_.close(); n;)
        {
            // Named, as the call may take its operands in any order; the node is gone after it.
            ready_node* const first = std::exchange(n, n->next);
            first->act(first, ready_node::verb::discard);
        }
        discard_ready();
    }
    await_posters();
    // Without work it stopped while it was polled; an application that goes on with an adopted
    // io_context shall find it as it was.
    if (!stopped && io_->stopped())
        io_->restart();
    abandon(shut_default_executor());
    log_.flush();
    std::lock_guard const lock(rare_mutex_);
    handler_.reset();
}

// Without waiting (S35).
void loop_core::abandon(std::shared_ptr<asio::thread_pool> pool) noexcept
{
    if (pool)
        pool->stop();
    let_go_elsewhere(std::move(pool));
}

// The last owner of a pool waits for its threads, which may wait for this one.
void loop_core::let_go_elsewhere(std::shared_ptr<asio::thread_pool> pool) noexcept
{
    if (!pool)
        return;
    try
    {
        std::thread([p = std::move(pool)]() mutable {
            if (p.use_count() == 1)
                p->join(); // else its end would drop what it was given and has not begun
            p.reset();
        }).detach();
    }
    catch (...)
    {
        // No thread to be had: it has ended here.
    }
}

void loop_core::drop_jobs() noexcept
{
    for (;;)
    {
        boost::intrusive_ptr<executor_job> job;
        {
            std::lock_guard const lock(rare_mutex_);
            if (!jobs_)
                return;
            job.reset(jobs_);
            unlink_job(*job);
        }
        job->drop();
    }
}

void loop_core::unlink_job(executor_job& job) noexcept
{
    (job.prev ? job.prev->next : jobs_) = job.next;
    if (job.next)
        job.next->prev = job.prev;
    job.linked = false;
}

void loop_core::add_job(executor_job& job)
{
    std::lock_guard const lock(rare_mutex_);
    require_open();
    job.prev = nullptr;
    job.next = jobs_;
    if (jobs_)
        jobs_->prev = &job;
    jobs_ = &job;
    job.linked = true;
}

bool loop_core::take_job(executor_job& job) noexcept
{
    std::lock_guard const lock(rare_mutex_);
    if (!job.linked)
        return false;
    unlink_job(job);
    posters_.fetch_add(1); // until finish_job
    return true;
}

void loop_core::finish_job() noexcept
{
    posters_.fetch_sub(1);
}

void loop_core::track(timer_node& n) noexcept
{
    n.prev = nullptr;
    n.next = tracked_;
    if (tracked_)
        tracked_->prev = &n;
    tracked_ = &n;
    n.place = timer_node::tracked;
}

void loop_core::start_tracking(timer_node& n) noexcept
{
    std::lock_guard const lock(timer_mutex_);
    track(n);
}

void loop_core::untrack(timer_node& n) noexcept
{
    std::lock_guard const lock(timer_mutex_);
    if (n.place != timer_node::tracked)
        return;
    (n.prev ? n.prev->next : tracked_) = n.next;
    if (n.next)
        n.next->prev = n.prev;
    n.place = timer_node::nowhere;
}

void loop_core::drop_callbacks() noexcept
{
    while (timer_node* const n = tracked_) // no thread runs the loop any more
    {
        untrack(*n);
        n->dropped(n);
    }
}

bool loop_core::expire_one() noexcept
{
    // Timers of a loop of higher concurrency may still be changed by other threads.
    std::unique_lock<std::mutex> lock(timer_mutex_, std::defer_lock);
    if (!single_)
        lock.lock();
    timer_node* const n = timers_.pop_due(steady_time::max());
    if (n)
        n->expire(n);
    return n != nullptr;
}

void loop_core::discard_ready() noexcept
{
    take_inbox();
    while (ready_node* const n = ready_.pop())
        n->act(n, ready_node::verb::discard);
}

/// In a child: closed, so that nothing is handed over any more, as that would wake the parent by
/// the descriptors that both have. What there is stays. Locks may have been other threads'.
void loop_core::forked(void* self) noexcept
{
    auto& core = *static_cast<loop_core*>(self);
    core.state_.fetch_or(closed_flag);
    core.inbox_.refuse();
    for (std::mutex* const m : {&core.run_mutex_, &core.timer_mutex_, &core.rare_mutex_,
                                &core.origins_mutex_})
        ::new (static_cast<void*>(m)) std::mutex;
}

/// In a child: kept as it is, for ever.
void loop_core::leave_to_parent() noexcept
{
    static constinit std::atomic<loop_core*> all = nullptr;
    gone_ = true;
    facade_ = nullptr;
    hold(false);
    next_left_ = all.load();
    while (!all.compare_exchange_weak(next_left_, this))
    {
    }
}

void loop_core::detach() noexcept
{
    if (is_inherited())
    {
        leave_to_parent();
        return;
    }
    gone_ = true;
    // Handlers that still wait in the io_context are destroyed here; the fibers among them
    // unwind, and find their loop on the frame.
    if (owned_)
    {
        core_entry const entry(*this);
        owned_.reset();
        io_ = nullptr;
    }
    facade_ = nullptr;
    if (task_registry* const r = registry())
        r->detach();
    log_.flush(); // of what has come since the close
    refs_.fetch_add(near_refs_ - loop_lives, std::memory_order_acq_rel); // the caller has one
}

} // namespace polyloop::detail
