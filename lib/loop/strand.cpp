// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/strand.hpp>

#include <polyloop/loop/event_loop.hpp>

namespace polyloop {

strand::strand(event_loop& loop, std::string name) : impl_(new detail::strand_core(loop.core()))
{
    impl_->core().require_open();
    impl_->set_name(std::move(name));
}

context strand::as_context() const
{
    detail::strand_core const& s = *impl_;
    return {s.kind(), s.id(), s.name()};
}

namespace detail {
namespace {

// A strand that never runs dry gives the thread back to the io_context after so many handlers.
constexpr unsigned run_length = 64;

} // namespace

strand_core::strand_core(loop_core& core)
    : context_node(context_kind::strand), core_(&core), runner_(*this)
{
    set_id(draw_context_ids());
}

bool strand_core::schedule(ready_node& n)
{
    if (core_->single())
        return core_->schedule(n);
    {
        std::lock_guard const lock(mutex_);
        queue_.push(n);
        if (std::exchange(scheduled_, true))
            return true;
        intrusive_ptr_add_ref(this);
    }
    if (core_->schedule(runner_))
        return true;
    strand_ptr const last(this, false);
    // Closed. What the other threads queued meanwhile is theirs no longer, so it is dropped here.
    ready_queue refused;
    {
        std::lock_guard const lock(mutex_);
        scheduled_ = false;
        std::swap(refused, queue_);
    }
    bool mine = false;
    while (ready_node* const r = refused.pop())
        if (r == &n)
            mine = true;
        else
            r->act(r, ready_node::verb::discard);
    return !mine;
}

void strand_core::run(ready_node* n, ready_node::verb v)
{
    strand_core& self = static_cast<runner*>(n)->strand;
    strand_ptr last;
    if (self.core_->debug())
        this_frame().resumes_plainly = false; // so that the turns of fibers are timed
    for (unsigned i = 0;; ++i)
    {
        ready_node* next;
        {
            std::lock_guard const lock(self.mutex_);
            if (!self.queue_.front())
            {
                self.scheduled_ = false;
                last = strand_ptr(&self, false); // freed after the lock
                return;
            }
            if ((i == run_length || std::exchange(self.give_way_, false)) &&
                v == ready_node::verb::run)
                break;
            next = self.queue_.pop();
        }
        try
        {
            // While the loop unwinds, what ends the waits of its tasks still comes this way.
            bool const dead = self.core_->is_closed() &&
                              !(self.core_->on_loop() && self.core_->ending());
            next->act(next, dead ? ready_node::verb::discard : v);
        }
        catch (...)
        {
            self.core_->report({"exception in a handler of strand \"" + self.name() + '"',
                               std::current_exception()});
        }
    }
    if (!self.core_->schedule(self.runner_))
        run(n, ready_node::verb::discard);
}

} // namespace detail
} // namespace polyloop
