// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/callback.hpp>

namespace polyloop::detail {

callback::callback(loop_core& c, manager m) noexcept
    : ready_node(&callback::act, node_kind::callback), core_(&c), manage_(m)
{
    expire = &callback::on_expire;
}

bool callback::leave_pending(state next) noexcept
{
    state expected = state::pending;
    return state_.compare_exchange_strong(expected, next, std::memory_order_acq_rel);
}

bool callback::start()
{
    intrusive_ptr_add_ref(this);
    if (core_->schedule(*this))
        return true;
    intrusive_ptr_release(this);
    return false;
}

bool callback::start_at(steady_time when)
{
    timer_node::when = when;
    timed_ = true;
    callback_ptr self(this);
    if (!core_->single() || core_->on_loop())
    {
        core_->insert_timer(*this);
        self.detach(); // the timer queue's reference
        return true;
    }
    return core_->post([self = std::move(self)]() mutable {
        loop_core& core = *self->core_;
        if (self->cancelled() || core.is_closed())
            return;
        core.insert_timer(*self);
        self.detach();
    });
}

void callback::cancel() noexcept
{
    if (!leave_pending(state::cancelled))
        return;
    manage_(this, operation::release);
    if (!timed_)
        return;
    // Out of the timer queue, so that the loop does not wait for it. On another thread than a
    // single loop's this is a message; until it arrives the entry is only dead.
    if (!core_->single() || core_->on_loop())
    {
        if (core_->erase_timer(*this))
            intrusive_ptr_release(this);
    }
    else
        core_->post([self = callback_ptr(this)] {
            if (self->core_->erase_timer(*self))
                intrusive_ptr_release(self.get());
        });
}

void callback::on_expire(timer_node* n)
{
    auto* self = static_cast<callback*>(n);
    if (!self->core_->schedule(*self))
        self->perform(verb::discard);
}

void callback::act(ready_node* n, verb v)
{
    static_cast<callback*>(n)->perform(v);
}

void callback::perform(verb v)
{
    callback_ptr const self(this, false); // the queue's reference
    if (!leave_pending(state::taken))
        return;
    if (v == verb::discard || core_->is_closed())
    {
        manage_(this, operation::release);
        return;
    }
    try
    {
        manage_(this, operation::call);
    }
    catch (...)
    {
        core_->report({"exception in a callback", std::current_exception()});
    }
}

void callback::destroy() noexcept
{
    if (leave_pending(state::taken))
        manage_(this, operation::release);
    manage_(this, operation::free);
}

} // namespace polyloop::detail
