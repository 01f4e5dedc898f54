// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/callback.hpp>

#include <memory>
#include <optional>

namespace polyloop::detail {

void callback::be_timer(steady_time when) noexcept
{
    static_cast<timer_node&>(*this) = timer_node();
    timer_node::when = when;
    expire = &callback::on_expire;
    dropped = &callback::on_drop;
}

bool callback::start()
{
    refs_.store(handle + queue, std::memory_order_relaxed); // nobody else knows it yet
    std::unique_ptr<callback, queue_release> queued(this);
    if (core_->single())
    {
        if (!core_->schedule(*this))
            return false;
    }
    else
    {
        loop_core::admission const admitted(*core_);
        if (!admitted)
            return false;
        be_timer({});
        core_->start_tracking(*this);
        core_->schedule(*this); // as the loop does not close now
    }
    queued.release();
    return true;
}

/// A timed callback on its way to its loop; dropped with the loop if it never arrives.
class callback::arrival
{
  public:
    explicit arrival(callback_ptr c) noexcept : callback_(std::move(c))
    {
    }
    arrival(arrival&&) noexcept = default;
    arrival& operator=(arrival&&) = delete;
    ~arrival()
    {
        if (callback_)
            on_drop(callback_.get());
    }

    void operator()()
    {
        loop_core& core = *callback_->core_;
        if (callback_->cancelled() || core.is_closed())
            return;
        core.insert_timer(*callback_);
        // On a single loop only: it does not expire before this.
        callback_.detach()->refs_.fetch_sub(handle - queue, std::memory_order_acq_rel);
    }

  private:
    callback_ptr callback_;
};

bool callback::start_at(steady_time when)
{
    be_timer(when);
    timed_ = true;
    if (core_->single() && !core_->on_loop())
        return core_->post(arrival(callback_ptr(this)), node_kind::arrival);
    refs_.store(handle + queue, std::memory_order_relaxed);
    std::unique_ptr<callback, queue_release> queued(this);
    std::optional<loop_core::admission> admitted;
    if (!core_->single() && !admitted.emplace(*core_))
        return false;
    core_->insert_timer(*this);
    queued.release();
    return true;
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
            queue_release()(this);
    }
    else
        core_->post([self = callback_ptr(this)] {
            if (self->core_->erase_timer(*self))
                queue_release()(self.get());
        });
}

void callback::on_expire(timer_node* n)
{
    auto* self = static_cast<callback*>(n);
    if (!self->core_->single())
        self->core_->track(*self);
    if (!self->core_->schedule(*self))
        self->act(self, verb::discard);
}

void callback::on_drop(timer_node* n)
{
    auto* self = static_cast<callback*>(n);
    if (self->leave_pending(state::taken))
        self->manage_(self, operation::release);
}

void callback::perform(verb v)
{
    if (!core_->single())
        core_->untrack(*this);
    if (!leave_pending(state::taken))
        return;
    if (v == verb::discard || core_->is_closed())
    {
        manage_(this, operation::release);
        return;
    }
    if (!core_->debug())
    {
        call();
        return;
    }
    std::string origin = core_->take_origin(this);
    steady_time const begin = std::chrono::steady_clock::now();
    call(origin);
    auto const took = std::chrono::steady_clock::now() - begin;
    if (took >= core_->options().slow_callback)
    {
        exception_context slow{"slow callback on loop \"" + core_->options().name + '"'};
        slow.origin = std::move(origin);
        slow.took = took;
        core_->report(slow);
    }
}

void callback::call(std::string const& origin) noexcept
{
    try
    {
        if (!locals_in_use()) [[likely]]
            manage_(this, operation::call);
        else
        {
            locals_scope const scope(std::move(locals_));
            manage_(this, operation::call);
        }
    }
    catch (...)
    {
        report_failure(origin);
    }
}

void callback::report_failure(std::string const& origin) noexcept
{
    exception_context failed{"exception in a callback", std::current_exception()};
    try
    {
        failed.origin = origin;
    }
    catch (...)
    {
        // Out of memory: the report does without.
    }
    core_->report(failed);
}

} // namespace polyloop::detail
