// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/task_watch.hpp>

namespace polyloop::detail {

task_watch::task_watch(std::span<task_ptr const> tasks, goal g)
    : size_(tasks.size()), nodes_(std::make_unique<node[]>(tasks.size())), goal_(g),
      first_goal_(g)
{
    for (std::size_t i = 0; i != size_; ++i)
    {
        nodes_[i].watch = this;
        nodes_[i].task = tasks[i];
    }
}

boost::intrusive_ptr<task_watch> task_watch::make(std::span<task_ptr const> tasks, goal g)
{
    boost::intrusive_ptr<task_watch> w(new task_watch(tasks, g));
    for (std::size_t i = 0; i != w->size_; ++i)
    {
        node& n = w->nodes_[i];
        intrusive_ptr_add_ref(w.get());
        if (!n.task->add_waiter(n))
            on_done(&n);
    }
    return w;
}

void task_watch::on_done(join_waiter* w)
{
    node& n = *static_cast<node*>(w);
    boost::intrusive_ptr<task_watch> const keep(n.watch, false);
    n.watch->ended(n);
}

bool task_watch::is_failure(task_base const& t) const noexcept
{
    return t.error() && (first_goal_ == goal::first_error || !t.cancelled());
}

void task_watch::ended(node& n) noexcept
{
    parked* p = nullptr;
    {
        std::lock_guard const lock(mutex);
        ++ended_;
        if (failed_ == none && is_failure(*n.task))
            failed_ = static_cast<std::size_t>(&n - nodes_.get());
        if (met())
            p = take();
    }
    if (p)
        p->wake(*p);
}

bool task_watch::met() const noexcept
{
    if (ended_ == size_)
        return true;
    switch (goal_)
    {
    case goal::all:
        return false;
    case goal::first_completed:
        return ended_ > 0;
    case goal::first_failed:
    case goal::first_error:
        return failed_ != none;
    }
    return false;
}

outcome task_watch::wait(steady_time limit)
{
    std::unique_lock lock(mutex);
    if (met())
        return outcome::granted;
    require_waitable();
    if (fiber* const f = try_current_fiber(); f && f->may_be_interrupted())
    {
        // Without the lock, as a fiber that never ends stays in there for good.
        lock.unlock();
        if (f->interrupted())
            return f->core().unwinding() ? outcome::unwound : outcome::cancelled;
        lock.lock();
        if (met())
            return outcome::granted;
    }
    return rendezvous::wait(lock, true, limit);
}

void task_watch::change_goal(goal g) noexcept
{
    std::lock_guard const lock(mutex);
    goal_ = g;
}

std::size_t task_watch::failed() noexcept
{
    std::lock_guard const lock(mutex);
    return failed_;
}

void task_watch::leave() noexcept
{
    for (std::size_t i = 0; i != size_; ++i)
        if (nodes_[i].task->remove_waiter(nodes_[i]))
            intrusive_ptr_release(this);
}

} // namespace polyloop::detail
