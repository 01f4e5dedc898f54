// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/timer.hpp>

namespace polyloop::detail {

/// Brings the entry up to date on its loop; where it never gets there, nobody waits any more.
class timer_state::adjustment
{
  public:
    explicit adjustment(timer_ptr s) noexcept : state_(std::move(s))
    {
    }
    adjustment(adjustment&&) noexcept = default;
    adjustment& operator=(adjustment&&) = delete;
    ~adjustment()
    {
        if (state_)
            state_->drop();
    }
    void operator()()
    {
        std::exchange(state_, nullptr)->adjust_here();
    }

  private:
    timer_ptr state_;
};

void timer_state::list::push(timer_wait& w) noexcept
{
    w.next = nullptr;
    (first ? last->next : first) = &w;
    last = &w;
}

timer_wait* timer_state::list::pop() noexcept
{
    timer_wait* const w = first;
    if (w)
        first = w->next;
    return w;
}

bool timer_state::list::remove(timer_wait* w) noexcept
{
    timer_wait* before = nullptr;
    for (timer_wait* i = first; i; before = i, i = i->next)
        if (i == w)
        {
            (before ? before->next : first) = i->next;
            if (last == i)
                last = before;
            return true;
        }
    return false;
}

void timer_state::list::append(list& other) noexcept
{
    if (!other.first)
        return;
    (first ? last->next : first) = other.first;
    last = other.last;
    other.first = nullptr;
}

timer_state::timer_state(loop_core& core)
    : ready_node(&timer_state::on_due, node_kind::handler), core_(&core)
{
    expire = &timer_state::on_expire;
}

steady_time timer_state::expiry() const noexcept
{
    std::lock_guard const lock(mutex_);
    return expiry_;
}

std::size_t timer_state::finish_all(list l)
{
    // The loop's end has dropped what waited; nothing of Asio is left to complete it with.
    auto const how = core_->is_gone() ? timer_wait::end::dropped : timer_wait::end::cancelled;
    std::size_t n = 0;
    for (; timer_wait* const w = l.pop(); ++n)
        w->finish(w, how);
    if (n != 0 && !core_->is_gone())
        adjust();
    return n;
}

std::size_t timer_state::set_expiry(steady_time until)
{
    list all;
    {
        std::lock_guard const lock(mutex_);
        expiry_ = until;
        std::swap(all, waiting_);
    }
    return finish_all(all);
}

std::size_t timer_state::cancel()
{
    list all;
    {
        std::lock_guard const lock(mutex_);
        std::swap(all, waiting_);
    }
    return finish_all(all);
}

std::size_t timer_state::cancel_one()
{
    list one;
    {
        std::lock_guard const lock(mutex_);
        if (timer_wait* const w = waiting_.pop())
            one.push(*w);
    }
    return finish_all(one);
}

void timer_state::cancel(timer_wait* w)
{
    list one;
    {
        std::lock_guard const lock(mutex_);
        if (!waiting_.remove(w))
            return; // on its way, or done: the address says no more
        one.push(*w);
    }
    finish_all(one);
}

void timer_state::drop() noexcept
{
    list all;
    {
        std::lock_guard const lock(mutex_);
        std::swap(all, waiting_);
    }
    while (timer_wait* const w = all.pop())
        w->finish(w, timer_wait::end::dropped);
}

void timer_state::add(timer_wait& w)
{
    {
        std::lock_guard const lock(mutex_);
        bool const first = !waiting_.first;
        waiting_.push(w);
        if (!first)
            return; // the entry is there for the others, or on its way
    }
    try
    {
        adjust();
    }
    catch (...)
    {
        std::lock_guard const lock(mutex_);
        if (waiting_.remove(&w))
            throw;
        // Another thread has cancelled it meanwhile.
    }
}

void timer_state::adjust()
{
    if (!core_->single() || core_->on_loop())
        adjust_here();
    else
        core_->post(adjustment(timer_ptr(this)));
}

void timer_state::adjust_here()
{
    steady_time until;
    bool any;
    {
        std::lock_guard const lock(mutex_);
        until = expiry_;
        any = waiting_.first != nullptr;
    }
    if (core_->single() && any && queued() && timer_node::when == until)
        return;
    if (core_->erase_timer(*this))
        intrusive_ptr_release(this); // the caller has another
    if (!any)
        return;
    timer_node::when = until;
    intrusive_ptr_add_ref(this);
    try
    {
        core_->insert_timer(*this);
    }
    catch (...)
    {
        intrusive_ptr_release(this);
        throw;
    }
}

void timer_state::on_expire(timer_node* n)
{
    timer_ptr const self(static_cast<timer_state*>(n), false); // the entry's
    {
        std::lock_guard const lock(self->mutex_);
        if (n->when < self->expiry_)
            return; // an adjustment is on its way
        self->due_.append(self->waiting_);
        if (!self->due_.first || std::exchange(self->due_scheduled_, true))
            return;
    }
    intrusive_ptr_add_ref(self.get());
    if (!self->core_->schedule(*self))
        on_due(self.get(), verb::discard);
}

void timer_state::on_due(ready_node* n, verb v)
{
    timer_ptr const self(static_cast<timer_state*>(n), false);
    try
    {
        self->run_due(v);
    }
    catch (...)
    {
        // What a handler threw is the loop's to report; the others have their turn.
        intrusive_ptr_add_ref(self.get());
        if (!self->core_->schedule(*self))
            on_due(n, verb::discard);
        throw;
    }
}

void timer_state::run_due(verb v)
{
    bool const closed = v == verb::discard || core_->is_closed();
    for (;;)
    {
        timer_wait* w;
        {
            std::lock_guard const lock(mutex_);
            w = due_.pop();
            if (!w)
            {
                due_scheduled_ = false;
                return;
            }
        }
        w->finish(w, closed ? timer_wait::end::dropped : timer_wait::end::expired);
    }
}

} // namespace polyloop::detail
