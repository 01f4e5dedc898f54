// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_TIMER_QUEUE_HPP
#define POLYLOOP_LOOP_DETAIL_TIMER_QUEUE_HPP

#include <polyloop/config.hpp>

#include <boost/assert.hpp>

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace polyloop::detail {

using steady_time = std::chrono::steady_clock::time_point;

/// `t + d` that stops at the ends of the clock instead of running over.
inline steady_time saturating_add(steady_time t, std::chrono::nanoseconds d) noexcept
{
    using duration = steady_time::duration;
    if (d > duration::zero() && t.time_since_epoch() > duration::max() - d)
        return steady_time::max();
    if (d < duration::zero() && t.time_since_epoch() < duration::min() - d)
        return steady_time::min();
    return t + d;
}

/// Any duration as nanoseconds, saturating; what is finer is rounded up, so that a wait is never
/// too short.
template <class Rep, class Period>
std::chrono::nanoseconds to_nanoseconds(std::chrono::duration<Rep, Period> d) noexcept
{
    using wide = std::chrono::duration<long double, std::nano>;
    wide const w(d);
    if (w >= wide(std::chrono::nanoseconds::max()))
        return std::chrono::nanoseconds::max();
    if (w <= wide(std::chrono::nanoseconds::min()))
        return std::chrono::nanoseconds::min();
    if (w != w) // not a number: no wait at all
        return std::chrono::nanoseconds::zero();
    return std::chrono::ceil<std::chrono::nanoseconds>(d);
}

inline std::chrono::nanoseconds to_nanoseconds(std::chrono::nanoseconds d) noexcept
{
    return d;
}

/// A point in time of any clock on the steady one: as far from now as it is there now. What is
/// finer is rounded up; the extremes saturate.
template <class Clock, class Duration>
steady_time to_steady(std::chrono::time_point<Clock, Duration> t)
{
    std::chrono::nanoseconds const n = to_nanoseconds(t.time_since_epoch());
    if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>)
        return steady_time(n);
    else
    {
        if (n == n.max() || n == n.min())
            return steady_time(n);
        // On the steady clock's type, as differences of two time points may run over.
        auto const passed = to_nanoseconds(Clock::now().time_since_epoch());
        auto const left = saturating_add(steady_time(n), -passed).time_since_epoch();
        return saturating_add(std::chrono::steady_clock::now(), left);
    }
}

struct timer_node
{
    timer_node() noexcept
        : when(), prev(nullptr), next(nullptr), expire(nullptr), dropped(nullptr), place(nowhere)
    {
    }
    /// Of no use before it is assigned to: for what seldom is a timer.
    struct unset
    {
    };
    explicit timer_node(unset) noexcept
    {
    }

    steady_time when;
    timer_node* prev;
    timer_node* next;
    void (*expire)(timer_node*);
    void (*dropped)(timer_node*); ///< of a tracked one: its loop is closed
    std::uint32_t place;          ///< slot, or heap_base + index, or nowhere

    static constexpr std::uint32_t nowhere = ~std::uint32_t(0);
    static constexpr std::uint32_t tracked = nowhere - 1;
    static constexpr std::uint32_t heap_base = 1u << 16;

    bool queued() const noexcept
    {
        return place < tracked;
    }
};

/// The timers of one loop: a hashed hierarchical wheel (Varghese and Lauck, 1987) for what
/// is far, a binary heap for what falls into the present tick.
///
/// Inserting and erasing is O(1) for all but the timers of the present tick (about a
/// millisecond), which are kept in exact order. Knows no clock and no loop: the caller says
/// what time it is. Not thread-safe.
///
/// Invariants
/// - An entry lies on the level of the highest group of six bits in which its tick differs from
///   `now_`, so every level's first occupied slot is the next to come, and the lowest occupied
///   level comes first.
/// - The exception is the slot under way, whose entries move on one by one. Its time is `now_`, so
///   nobody joins it, and until it is empty it comes before all other slots.
class timer_queue
{
  public:
    POLYLOOP_DECL explicit timer_queue(steady_time now);

    bool empty() const noexcept
    {
        return size_ == 0;
    }

    std::size_t size() const noexcept
    {
        return size_;
    }

    /// Precondition: `!n.queued()`. Throws `std::bad_alloc`, and only for the present tick.
    void insert(timer_node& n);

    /// Returns whether it was queued.
    bool erase(timer_node& n) noexcept;

    /// When something may be due: exact for the present tick, else the start of the slot, so
    /// never too late. `steady_time::max()` where nothing is queued.
    POLYLOOP_DECL steady_time next() const noexcept;

    /// The same, and exact where few entries share the next slot: for who has the time to look.
    POLYLOOP_DECL steady_time next_exact() const noexcept;

    /// The earliest entry that is due at `now`, taken out; null where there is none, or where
    /// `budget` is spent before it is found. Each entry that is taken out or moved on costs one.
    /// Entries that are left meanwhile, and those that join, come in order of time all the same.
    POLYLOOP_DECL timer_node* pop_due(steady_time now, std::size_t& budget) noexcept;

    /// The same with all the time it takes.
    timer_node* pop_due(steady_time now) noexcept
    {
        std::size_t budget = static_cast<std::size_t>(-1);
        return pop_due(now, budget);
    }

  private:
    static constexpr unsigned level_bits = 6;
    static constexpr unsigned slots = 1u << level_bits;
    static constexpr unsigned levels = 8; // 48 bits of ticks: more than the clock has
    static constexpr unsigned tick_shift = 20;

    static std::uint64_t tick_of(steady_time t) noexcept;
    static steady_time time_of(std::uint64_t tick) noexcept;

    static constexpr unsigned no_place = levels * slots;

    void link(timer_node& n, std::uint64_t tick) noexcept;
    bool slot_under_way() const noexcept
    {
        return under_way_ != no_place && wheel_[under_way_];
    }
    bool advance(std::uint64_t tick) noexcept;
    bool move_on() noexcept;
    bool first_slot(unsigned& place, std::uint64_t& start) const noexcept;

    POLYLOOP_DECL void heap_push(timer_node& n);
    POLYLOOP_DECL void heap_erase(std::size_t i) noexcept;
    void sift_up(std::size_t i) noexcept;
    void sift_down(std::size_t i) noexcept;
    void heap_set(std::size_t i, timer_node* n) noexcept;

    std::uint64_t now_;
    std::size_t size_ = 0;
    unsigned under_way_ = no_place; ///< the place of a slot whose entries are being moved on
    std::array<std::uint64_t, levels> occupied_{};
    std::array<timer_node*, levels * slots> wheel_{};
    std::vector<timer_node*> heap_;
};

inline std::uint64_t timer_queue::tick_of(steady_time t) noexcept
{
    auto const ns = std::chrono::nanoseconds(t.time_since_epoch()).count();
    return ns < 0 ? 0 : static_cast<std::uint64_t>(ns) >> tick_shift;
}

inline void timer_queue::link(timer_node& n, std::uint64_t tick) noexcept
{
    unsigned const level = (63u - std::countl_zero(tick ^ now_)) / level_bits;
    unsigned const slot = (tick >> (level * level_bits)) & (slots - 1);
    unsigned const place = level * slots + slot;
    timer_node*& head = wheel_[place];
    n.prev = nullptr;
    n.next = head;
    if (head)
        head->prev = &n;
    head = &n;
    n.place = place;
    occupied_[level] |= std::uint64_t(1) << slot;
}

inline void timer_queue::insert(timer_node& n)
{
    BOOST_ASSERT(!n.queued());
    std::uint64_t const tick = tick_of(n.when);
    if (tick <= now_)
        heap_push(n);
    else
        link(n, tick);
    ++size_;
}

inline bool timer_queue::erase(timer_node& n) noexcept
{
    if (!n.queued())
        return false;
    --size_;
    if (n.place >= timer_node::heap_base) [[unlikely]]
    {
        heap_erase(n.place - timer_node::heap_base);
        n.place = timer_node::nowhere;
        return true;
    }
    if (n.prev)
        n.prev->next = n.next;
    else if (!(wheel_[n.place] = n.next))
        occupied_[n.place / slots] &= ~(std::uint64_t(1) << (n.place % slots));
    if (n.next)
        n.next->prev = n.prev;
    n.place = timer_node::nowhere;
    return true;
}

} // namespace polyloop::detail

#endif
