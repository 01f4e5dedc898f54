// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/io/detail/descriptor.hpp>

#include <polyloop/context/detail/one_thread.hpp>
#include <polyloop/io/detail/readiness.hpp>
#include <polyloop/task/detail/suspend.hpp>
#include <polyloop/task/detail/wait_name.hpp>

#include <boost/asio/error.hpp>

#include <unistd.h>

namespace polyloop::detail {

descriptor::descriptor(loop_core& core, int number, state_word::value state) noexcept
    : core_(&core), number_(number), word_(state)
{
}

descriptor::pointer descriptor::open(loop_core& core, int number, bool connected, bool whole)
{
    try
    {
        // What a new connection can take is known, what it has to give is not.
        pointer d(new descriptor(
            core, number, (connected ? writable_bit : 0) | (whole ? 0 : broken_bit)));
        readiness::of(core).add(*d);
        return d;
    }
    catch (...)
    {
        ::close(number);
        throw;
    }
}

bool descriptor::near_wait::on_interrupt(fiber_wait& base, reason)
{
    auto& w = static_cast<near_wait&>(base);
    near_wait* expected = &w;
    if (!w.waited.near(w.way).compare_exchange_strong(expected, nullptr))
        return false; // granted
    w.aborted = true;
    w.self.wake();
    return true;
}

wait_name const descriptor::near_wait::name(
    &near_wait::on_interrupt, [](fiber_wait const& base) {
        auto const& w = static_cast<near_wait const&>(base);
        return "socket " + std::to_string(w.waited.number_) +
               (w.way == direction::read ? " to be read" : " to be written");
    });

POLYLOOP_READS_FRAME near_end descriptor::wait_near(direction d, unsigned cancels) noexcept
{
    thread_frame& frame = frame_here;
    auto* const task = static_cast<task_base*>(frame.fiber);
    std::atomic<near_wait*>& place = near(d);
    if (!task || task->ready_node::kind != node_kind::fiber || frame.core != core_.get() ||
        !core_->single() || place.load(std::memory_order_relaxed)) [[unlikely]]
        return near_end::refused;
    auto& self = static_cast<fiber&>(*task);
    if (self.may_be_interrupted()) [[unlikely]]
        return near_end::refused;
    near_wait w(self, *this, d);
    if (one_thread())
        place.store(&w, std::memory_order_relaxed);
    else
        place.exchange(&w);
    if (this->cancels() != cancels && take_near(d)) [[unlikely]]
        return near_end::refused; // else somebody is about to wake it
    self.suspend_in(frame, w);
    return w.aborted ? near_end::aborted : near_end::ready;
}

boost::system::error_code descriptor::wait(direction d, deadline limit, unsigned cancels)
{
    blocker self;
    descriptor_waiter w;
    {
        section s(word_);
        if (this->cancels() != cancels) [[unlikely]]
            return boost::asio::error::operation_aborted;
        if (closed(s.value)) [[unlikely]]
            return boost::asio::error::bad_descriptor;
        if (ready(s.value, d))
            return {};
        if (limit.passed()) [[unlikely]]
            return boost::asio::error::timed_out;
        if (s.value & orphan_bit) [[unlikely]]
            return make_error_code(error::loop_closed);
        if (!self.may_wait()) [[unlikely]]
        {
            s.finish();
            try
            {
                self.refuse();
            }
            catch (boost::system::system_error const& e)
            {
                return e.code();
            }
        }
        self.prepare(w);
        queue(s, w, d);
    }
    switch (self.wait(w, place(d), limit))
    {
    case wait_end::granted:
        break;
    case wait_end::timed_out:
        return boost::asio::error::timed_out;
    case wait_end::cancelled:
        return boost::asio::error::operation_aborted;
    }
    if (w.aborted) [[unlikely]]
        return boost::asio::error::operation_aborted;
    return {};
}

bool descriptor::begin(descriptor_waiter& w, direction d, unsigned cancels) noexcept
{
    section s(word_);
    if ((s.value & orphan_bit) || this->cancels() != cancels)
    {
        w.aborted = true;
        return true;
    }
    if (closed(s.value) || ready(s.value, d))
        return true; // the attempt tells
    queue(s, w, d);
    return false;
}

void descriptor::edge_slowly(state_word::value bits) noexcept
{
    section s(word_);
    if (closed(s.value))
        return;
    s.value = ((s.value + one_edge) | bits) & ~listed_bit;
    for (direction const d : {direction::read, direction::write})
    {
        wait_list& list = d == direction::read ? readers_ : writers_;
        if (bits & bit(d))
        {
            s.release_all(list);
            grant_near(d);
        }
        else if (!list.empty())
            s.value |= listed_bit;
    }
}

/// Also who has begun, and does not wait.
void descriptor::abort_all(section& s) noexcept
{
    cancels_.store(cancels() + 1);
    for (wait_list* const list : {&readers_, &writers_})
    {
        for (waiter* w = list->front(); w; w = w->next)
            static_cast<descriptor_waiter*>(w)->aborted = true;
        s.release_all(*list);
    }
}

/// After that, without the lock.
void descriptor::abort_near() noexcept
{
    for (direction const d : {direction::read, direction::write})
        if (near_wait* const w = take_near(d))
        {
            w->aborted = true;
            w->self.wake();
        }
}

void descriptor::abort(state_word::value set) noexcept
{
    {
        section s(word_);
        s.value |= set;
        abort_all(s);
    }
    abort_near();
}

/// Ends the waits; false where that was done before.
bool descriptor::end() noexcept
{
    {
        section s(word_);
        if (closed(s.value))
            return false;
        s.value |= closed_bit;
        abort_all(s);
    }
    abort_near();
    return true;
}

/// False where the number was given back: it may be somebody else's by now.
bool descriptor::enter_use() noexcept
{
    unsigned n = users_.load(std::memory_order_relaxed);
    while (n != 0 && !users_.compare_exchange_weak(n, n + 1, std::memory_order_acquire,
                                                   std::memory_order_relaxed))
    {
    }
    return n != 0;
}

void descriptor::leave_use() noexcept
{
    if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1 && !released_)
        ::close(number_);
}

void descriptor::close() noexcept
{
    pointer const self(this); // whoever is woken may let go of it
    if (!end())
        return;
    if (core_->is_inherited())
    {
        ::close(number_); // the set is the parent's, too
        return;
    }
    set_->remove(*this);
    if (!core_->single() || core_->near() || one_thread())
    {
        leave_use();
        return;
    }
    // Once, as the end comes once.
    departure_.act = &descriptor::on_departure;
    departure_.kind = node_kind::handler;
    departure_.open = this;
    intrusive_ptr_add_ref(this);
    if (!core_->schedule(departure_))
        on_departure(&departure_, ready_node::verb::discard);
}

void descriptor::on_departure(ready_node* n, ready_node::verb) noexcept
{
    pointer const self(static_cast<departure*>(n)->open, false);
    self->leave_use();
}

int descriptor::release() noexcept
{
    if (!end())
        return -1;
    released_ = true;
    set_->remove(*this);
    leave_use();
    return number_;
}

void descriptor::give_back(int number) noexcept
{
    ::close(number);
}

bool descriptor::leave_readers(void* self, waiter& w)
{
    auto& d = *static_cast<descriptor*>(self);
    return leave_wait(d.word_, w, [&](section&) { d.readers_.erase(w); });
}

bool descriptor::leave_writers(void* self, waiter& w)
{
    auto& d = *static_cast<descriptor*>(self);
    return leave_wait(d.word_, w, [&](section&) { d.writers_.erase(w); });
}

} // namespace polyloop::detail
