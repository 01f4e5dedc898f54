// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/group_state.hpp>

#include <polyloop/task/exception_group.hpp>

#include <utility>

namespace polyloop::detail {

namespace {

bool is_closed_group(std::exception_ptr const& e) noexcept
{
    try
    {
        if (e)
            std::rethrow_exception(e);
    }
    catch (boost::system::system_error const& x)
    {
        return x.code() == error::group_closed;
    }
    catch (...)
    {
    }
    return false;
}

} // namespace

group_state::group_state(bool has_body)
    : home_(this_frame().core), in_body_(has_body), owner_(current_task()),
      owner_cancelling_(owner_ ? owner_->cancelling() : 0),
      owner_pending_(owner_ && owner_->cancel_ahead())
{
}

std::unique_ptr<group_state::child> group_state::admit()
{
    auto c = std::make_unique<child>(*this);
    std::lock_guard const lock(mutex);
    if (aborting_ || over_)
        throw_error(error::group_closed);
    // So that an error can be kept without memory.
    if (std::size_t const most = errors_.size() + live_ + 2; most > errors_.capacity())
        errors_.reserve(2 * most);
    ++live_;
    return c;
}

void group_state::retract() noexcept
{
    leave(std::unique_lock(mutex));
}

void group_state::add(std::unique_ptr<child> c, task_base& t) noexcept
{
    child& added = *c.release();
    added.task.reset(&t);
    task_ptr const keep(&t);
    bool cancelled;
    {
        std::lock_guard const lock(mutex);
        if (!home_)
            home_.reset(&t.core());
        added.next = first_;
        if (first_)
            first_->prev = &added;
        first_ = &added;
        cancelled = aborting_; // while it was being spawned
    }
    // From here on the child may be gone at any moment.
    if (!t.add_waiter(added))
        on_done(&added);
    else if (cancelled)
        t.cancel();
}

bool group_state::over() noexcept
{
    std::lock_guard const lock(mutex);
    return over_;
}

std::size_t group_state::size() noexcept
{
    std::lock_guard const lock(mutex);
    std::size_t n = 0;
    for (child const* c = first_; c; c = c->next)
        ++n;
    return n;
}

void group_state::on_done(join_waiter* w)
{
    std::unique_ptr<child> const c(static_cast<child*>(w));
    c->group->child_done(*c);
}

void group_state::child_done(child& c) noexcept
{
    bool const failed = c.task->error() && !c.task->cancelled();
    std::unique_lock lock(mutex);
    (c.prev ? c.prev->next : first_) = c.next;
    if (c.next)
        c.next->prev = c.prev;
    if (failed)
    {
        c.task->retrieved();
        if (abandoned_)
        {
            lock.unlock();
            report(c.task->error());
            lock.lock();
        }
        else
            errors_.push_back(c.task->error());
        if (!aborting_)
            abort(lock);
    }
    leave(std::move(lock));
}

void group_state::report(std::exception_ptr const& e) const noexcept
{
    home_->report({"exception in a task of a group that nobody joined", e});
}

void group_state::abort(std::unique_lock<std::mutex>& lock) noexcept
{
    aborting_ = true;
    ++live_;
    std::vector<task_ptr> all;
    for (child* c = first_; c; c = c->next)
        all.push_back(c->task);
    bool const owner = in_body_ && owner_ && !std::exchange(owner_cancelled_, true);
    lock.unlock();
    for (task_ptr const& t : all)
        t->cancel();
    if (owner)
        owner_->cancel(&owner_nth_);
    all.clear();
    lock.lock();
    --live_;
}

void group_state::leave(std::unique_lock<std::mutex> lock) noexcept
{
    parked* const p = --live_ == 0 ? take() : nullptr;
    lock.unlock();
    if (p)
        p->wake(*p);
}

void group_state::cancel() noexcept
{
    std::unique_lock lock(mutex);
    if (aborting_ || over_)
        return;
    ++live_;
    abort(lock);
    leave(std::move(lock));
}

void group_state::abandon() noexcept
{
    std::unique_lock lock(mutex);
    if (std::exchange(over_, true))
        return;
    in_body_ = false;
    if (!aborting_)
        abort(lock);
    if (can_wait())
        while (live_ > 0)
            wait(lock, false);
    abandoned_ = true;
    std::vector<std::exception_ptr> const errors = std::move(errors_);
    lock.unlock();
    for (std::exception_ptr const& e : errors)
        report(e);
}

group_exit::group_exit(group_state& g, std::exception_ptr body)
    : group_(g), body_(std::move(body)), body_cancelled_(is_cancellation(body_)),
      propagate_(body_cancelled_), met_(g.owner_ ? g.owner_->met() : 0)
{
    std::unique_lock lock(g.mutex);
    g.in_body_ = false;
    // On loops of several threads a child may fail, and close the group, while the body still
    // spawns: the child's error is the one to tell.
    if (g.aborting_ && is_closed_group(body_))
        body_ = nullptr;
    else if (body_ && !g.aborting_)
        g.abort(lock);
}

bool group_exit::finished() const noexcept
{
    std::lock_guard const lock(group_.mutex);
    return group_.live_ == 0;
}

void group_exit::met(outcome o) noexcept
{
    if (o == outcome::granted)
        return;
    std::unique_lock lock(group_.mutex);
    if (group_.aborting_)
        return; // it goes on waiting for those that were told before
    propagate_ = true;
    group_.abort(lock);
}

void group_exit::wait()
{
    fiber* const f = try_current_fiber();
    for (;;)
    {
        outcome o = outcome::granted;
        {
            std::unique_lock lock(group_.mutex);
            if (group_.live_ == 0)
                return;
            bool const interruptible = !group_.aborting_;
            if (!interruptible || !f || !f->may_be_interrupted())
                o = group_.wait(lock, interruptible);
            else
            {
                // Without the lock, as a fiber that never ends stays in there for good.
                lock.unlock();
                if (!f->interrupted())
                    continue;
                o = outcome::cancelled;
            }
        }
        met(o);
    }
}

void group_exit::wake_now() noexcept
{
    parked* p;
    {
        std::lock_guard const lock(group_.mutex);
        p = group_.take();
    }
    if (p)
        p->wake(*p);
}

// The group's own request to the owner is taken back. What others asked for is told now: also what
// met the owner while it waited for children that were to end anyway, which no wait has told.
void group_exit::settle(task_base& owner) noexcept
{
    int heard = owner.met() - met_;
    if (group_.owner_cancelled_)
    {
        bool const met = owner.met() >= group_.owner_nth_;
        if (met && met_ < group_.owner_nth_)
            --heard;
        if (owner.uncancel(met) <= group_.owner_cancelling_ && !group_.owner_pending_)
        {
            // Nobody but the group asked the owner to end.
            owner.take_cancel();
            propagate_ = false;
            return;
        }
    }
    if (heard > 0 && !std::exchange(propagate_, true))
        owner.take_cancel();
}

void group_exit::conclude()
{
    std::vector<std::exception_ptr> errors;
    {
        std::lock_guard const lock(group_.mutex);
        group_.over_ = true;
        errors = std::move(group_.errors_);
    }
    task_base* const owner = group_.owner_ == current_task() ? group_.owner_.get() : nullptr;
    if (owner)
        settle(*owner);
    if (propagate_ && errors.empty())
    {
        if (owner)
            owner->meet_cancels();
        if (body_)
            std::rethrow_exception(body_);
        throw_cancelled();
    }
    if (body_ && !body_cancelled_)
        errors.push_back(body_);
    if (errors.empty())
        return;
    // The errors come first, and a cancellation from outside at the next wait, once.
    if (owner && (owner->cancelling() > group_.owner_cancelling_ ||
                  (group_.owner_pending_ && propagate_)))
    {
        owner->meet_cancels();
        owner->keep_cancel();
    }
    throw exception_group("unhandled errors in a task group", std::move(errors));
}

} // namespace polyloop::detail
