// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/timer_queue.hpp>

#include <boost/assert.hpp>

#include <algorithm>
#include <new>

namespace polyloop::detail {

namespace {

// So that there is always room for one: then a slot can be worked off without memory.
constexpr std::size_t least_heap = 16;

// Entries of a slot that `next_exact` looks at.
constexpr unsigned few = 16;

} // namespace

timer_queue::timer_queue(steady_time now) : now_(tick_of(now))
{
    heap_.reserve(least_heap);
}

steady_time timer_queue::time_of(std::uint64_t tick) noexcept
{
    return steady_time(std::chrono::nanoseconds(static_cast<std::int64_t>(tick << tick_shift)));
}

bool timer_queue::first_slot(unsigned& place, std::uint64_t& start) const noexcept
{
    for (unsigned level = 0; level != levels; ++level)
        if (occupied_[level])
        {
            auto const slot = static_cast<unsigned>(std::countr_zero(occupied_[level]));
            unsigned const shift = level * level_bits;
            std::uint64_t const above = ~std::uint64_t(0) << shift << level_bits;
            start = (now_ & above) | (std::uint64_t(slot) << shift);
            place = level * slots + slot;
            return true;
        }
    return false;
}

steady_time timer_queue::next() const noexcept
{
    if (slot_under_way()) // all of the heap is of this slot's time or before
        return heap_.empty() ? time_of(now_) : std::min(heap_.front()->when, time_of(now_));
    if (!heap_.empty())
        return heap_.front()->when;
    unsigned place;
    std::uint64_t start;
    return first_slot(place, start) ? time_of(start) : steady_time::max();
}

steady_time timer_queue::next_exact() const noexcept
{
    unsigned place;
    std::uint64_t start;
    if (slot_under_way() || !heap_.empty() || !first_slot(place, start))
        return next();
    steady_time first = steady_time::max();
    unsigned seen = 0;
    for (timer_node const* n = wheel_[place]; n; n = n->next)
    {
        if (++seen > few)
            return time_of(start);
        first = std::min(first, n->when);
    }
    return first;
}

/// Moves to the next slot that has come at `tick`, which is under way then, or to `tick` itself.
bool timer_queue::advance(std::uint64_t tick) noexcept
{
    unsigned place;
    std::uint64_t start;
    if (first_slot(place, start) && start <= tick)
    {
        now_ = start;
        under_way_ = place;
        return true;
    }
    now_ = std::max(now_, tick);
    under_way_ = no_place;
    return false;
}

/// One entry of the slot under way, to a lower level or the heap. False where the heap has no
/// room, and no memory to grow.
bool timer_queue::move_on() noexcept
{
    timer_node& n = *wheel_[under_way_];
    std::uint64_t const tick = tick_of(n.when);
    if (tick <= now_ && heap_.size() == heap_.capacity())
        try
        {
            heap_.reserve(2 * heap_.size());
        }
        catch (std::bad_alloc const&)
        {
            return false;
        }
    --size_; // as if it were set anew
    if (!(wheel_[under_way_] = n.next))
        occupied_[under_way_ / slots] &= ~(std::uint64_t(1) << (under_way_ % slots));
    else
        n.next->prev = nullptr;
    n.place = timer_node::nowhere;
    insert(n);
    return true;
}

timer_node* timer_queue::pop_due(steady_time now, std::size_t& budget) noexcept
{
    for (; budget != 0; --budget)
    {
        // Without memory what is on the heap goes first, to make room: timers of one tick may
        // be out of order then.
        if (slot_under_way() && move_on())
            continue;
        if (!heap_.empty())
        {
            // Else nothing is due: all that is on the wheel is later.
            timer_node* const n = heap_.front();
            if (n->when > now)
                return nullptr;
            erase(*n);
            --budget;
            return n;
        }
        if (!advance(tick_of(now)))
            return nullptr;
    }
    return nullptr;
}

void timer_queue::heap_set(std::size_t i, timer_node* n) noexcept
{
    heap_[i] = n;
    n->place = static_cast<std::uint32_t>(timer_node::heap_base + i);
}

void timer_queue::heap_push(timer_node& n)
{
    heap_.push_back(&n);
    heap_set(heap_.size() - 1, &n);
    sift_up(heap_.size() - 1);
}

void timer_queue::heap_erase(std::size_t i) noexcept
{
    timer_node* const last = heap_.back();
    heap_.pop_back();
    if (i == heap_.size())
        return;
    heap_set(i, last);
    sift_up(i);
    sift_down(last->place - timer_node::heap_base);
}

void timer_queue::sift_up(std::size_t i) noexcept
{
    timer_node* const n = heap_[i];
    while (i != 0 && n->when < heap_[(i - 1) / 2]->when)
    {
        heap_set(i, heap_[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_set(i, n);
}

void timer_queue::sift_down(std::size_t i) noexcept
{
    timer_node* const n = heap_[i];
    for (std::size_t child; (child = 2 * i + 1) < heap_.size(); i = child)
    {
        if (child + 1 < heap_.size() && heap_[child + 1]->when < heap_[child]->when)
            ++child;
        if (!(heap_[child]->when < n->when))
            break;
        heap_set(i, heap_[child]);
    }
    heap_set(i, n);
}

} // namespace polyloop::detail
