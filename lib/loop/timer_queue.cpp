// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/timer_queue.hpp>

#include <boost/assert.hpp>

#include <algorithm>
#include <utility>

namespace polyloop::detail {

timer_queue::timer_queue(steady_time now) : now_(tick_of(now))
{
}

steady_time timer_queue::time_of(std::uint64_t tick) noexcept
{
    return steady_time(std::chrono::nanoseconds(static_cast<std::int64_t>(tick << tick_shift)));
}

bool timer_queue::first_slot(unsigned& level, unsigned& slot,
                             std::uint64_t& start) const noexcept
{
    for (level = 0; level != levels; ++level)
        if (occupied_[level])
        {
            slot = static_cast<unsigned>(std::countr_zero(occupied_[level]));
            unsigned const shift = level * level_bits;
            std::uint64_t const above = ~std::uint64_t(0) << shift << level_bits;
            start = (now_ & above) | (std::uint64_t(slot) << shift);
            return true;
        }
    return false;
}

steady_time timer_queue::next() const noexcept
{
    if (!heap_.empty())
        return heap_.front()->when;
    unsigned level, slot;
    std::uint64_t start;
    return first_slot(level, slot, start) ? time_of(start) : steady_time::max();
}

void timer_queue::advance(std::uint64_t tick)
{
    unsigned level, slot;
    std::uint64_t start;
    while (first_slot(level, slot, start) && start <= tick)
    {
        now_ = start;
        timer_node* n = std::exchange(wheel_[level * slots + slot], nullptr);
        occupied_[level] &= ~(std::uint64_t(1) << slot);
        while (n)
        {
            timer_node* const following = n->next;
            std::uint64_t const t = tick_of(n->when);
            if (t <= now_)
                heap_push(*n);
            else
                link(*n, t);
            n = following;
        }
    }
    now_ = std::max(now_, tick);
}

timer_node* timer_queue::pop_due(steady_time now)
{
    advance(tick_of(now));
    if (heap_.empty() || heap_.front()->when > now)
        return nullptr;
    timer_node* const n = heap_.front();
    erase(*n);
    return n;
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
