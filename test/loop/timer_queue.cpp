// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.timer_queue

#include <polyloop/loop/detail/timer_queue.hpp>

#include "support/seeds.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <ratio>
#include <vector>

using namespace polyloop::detail;
using namespace std::chrono_literals;

namespace {

steady_time at(std::chrono::nanoseconds t)
{
    return steady_time(t);
}

/// The queue beside a std::multimap that says what it should do.
class pair_of_queues
{
  public:
    pair_of_queues(steady_time now, std::size_t nodes)
        : now_(now), queue_(now), nodes_(nodes), places_(nodes, model_.end())
    {
    }

    void insert(std::size_t i, steady_time when)
    {
        nodes_[i].when = when;
        queue_.insert(nodes_[i]);
        places_[i] = model_.emplace(when, i);
    }

    /// Whether both agree on what was there.
    bool erase(std::size_t i)
    {
        bool const there = places_[i] != model_.end();
        if (there)
        {
            model_.erase(places_[i]);
            places_[i] = model_.end();
        }
        return queue_.erase(nodes_[i]) == there;
    }

    bool queued(std::size_t i) const
    {
        return nodes_[i].queued();
    }

    /// Whether at `now` exactly those come out that the model says, in order of time.
    bool advance(steady_time now)
    {
        now_ = now;
        while (timer_node* const n = queue_.pop_due(now))
        {
            auto const i = static_cast<std::size_t>(n - nodes_.data());
            if (model_.empty() || n->when != model_.begin()->first || n->when > now ||
                places_[i] == model_.end() || n->queued())
                return false;
            model_.erase(places_[i]);
            places_[i] = model_.end();
        }
        return model_.empty() || model_.begin()->first > now;
    }

    /// The same in one step with a budget, after which what is due may be left.
    bool advance(steady_time now, std::size_t budget)
    {
        now_ = now;
        std::size_t const most = budget;
        std::size_t out = 0;
        while (timer_node* const n = queue_.pop_due(now, budget))
        {
            auto const i = static_cast<std::size_t>(n - nodes_.data());
            if (model_.empty() || n->when != model_.begin()->first || n->when > now)
                return false;
            model_.erase(places_[i]);
            places_[i] = model_.end();
            ++out;
        }
        return out <= most && (budget == 0 || model_.empty() || model_.begin()->first > now);
    }

    /// Never later than the first entry, and in the future once what is due is out.
    bool next_is_right() const
    {
        steady_time const next = queue_.next(), exact = queue_.next_exact();
        if (model_.empty())
            return next == steady_time::max() && exact == next;
        return next <= exact && exact <= model_.begin()->first;
    }

    bool sizes_agree() const
    {
        return queue_.size() == model_.size() && queue_.empty() == model_.empty();
    }

    steady_time now() const
    {
        return now_;
    }

    steady_time next() const
    {
        return queue_.next();
    }
    steady_time next_exact() const
    {
        return queue_.next_exact();
    }

    bool empty() const
    {
        return model_.empty();
    }

  private:
    using model = std::multimap<steady_time, std::size_t>;

    steady_time now_;
    timer_queue queue_;
    std::vector<timer_node> nodes_;
    model model_;
    std::vector<model::iterator> places_;
};

/// A delay of any order of magnitude: from within the tick to years.
std::chrono::nanoseconds any_delay(test::engine& e)
{
    auto const bits = test::draw(e, 0, 57);
    return std::chrono::nanoseconds(
        test::draw(e, std::int64_t(0), std::int64_t(1) << bits));
}

bool no_memory = false;

} // namespace

// Fails where it is told to.
BOOST_NOINLINE void* operator new(std::size_t n)
{
    if (void* const p = no_memory ? nullptr : std::malloc(n ? n : 1))
        return p;
    throw std::bad_alloc();
}
BOOST_NOINLINE void operator delete(void* p) noexcept
{
    std::free(p);
}
BOOST_NOINLINE void operator delete(void* p, std::size_t) noexcept
{
    std::free(p);
}

BOOST_AUTO_TEST_CASE(ten_thousand_timers_agree_with_a_multimap)
{
    test::for_seeds(30, [](test::engine& e) {
        constexpr std::size_t count = 10'000;
        pair_of_queues q(at(any_delay(e)), count);
        bool agree = true;
        for (int step = 0; step != 60'000 && agree; ++step)
        {
            std::size_t const i = test::draw(e, std::size_t(0), count - 1);
            switch (test::draw(e, 0, 9))
            {
            case 0: // some time passes
                agree = q.advance(saturating_add(q.now(), any_delay(e) / 4096));
                break;
            case 1: // exactly up to what comes next
                if (!q.empty())
                    agree = q.advance(std::max(q.now(), q.next()));
                break;
            case 2:
            case 3:
                agree = q.erase(i);
                break;
            default:
                if (!q.queued(i))
                    q.insert(i, saturating_add(q.now(), any_delay(e) - 1us));
            }
            agree = agree && q.sizes_agree() && q.next_is_right();
        }
        BOOST_TEST(agree);
        BOOST_TEST(q.advance(steady_time::max())); // all that is left, in order
        BOOST_TEST(q.empty());
        BOOST_TEST(q.sizes_agree());
    });
}

BOOST_AUTO_TEST_CASE(waking_at_next_meets_every_timer_and_none_early)
{
    test::for_seeds(20, [](test::engine& e) {
        constexpr std::size_t count = 10'000;
        pair_of_queues q(at(any_delay(e)), count);
        for (std::size_t i = 0; i != count; ++i)
            q.insert(i, saturating_add(q.now(), any_delay(e)));
        bool agree = true;
        int wakes = 0;
        while (agree && !q.empty())
        {
            // A loop sleeps until then; time must go on, or it would spin.
            steady_time const wake = std::max(q.next(), q.now());
            agree = q.next_is_right() && q.advance(wake) &&
                    (q.empty() || q.next() > q.now());
            ++wakes;
        }
        BOOST_TEST(agree);
        // An entry is met at most once on each of the eight levels, and once in its tick.
        BOOST_TEST(wakes <= 9 * static_cast<int>(count));
    });
}

BOOST_AUTO_TEST_CASE(in_small_steps_the_order_is_the_same_whoever_comes_and_goes_meanwhile)
{
    test::for_seeds(10, [](test::engine& e) {
        constexpr std::size_t count = 5'000;
        pair_of_queues q(at(any_delay(e)), count);
        bool agree = true;
        for (int step = 0; step != 30'000 && agree; ++step)
        {
            std::size_t const i = test::draw(e, std::size_t(0), count - 1);
            steady_time const later = saturating_add(q.now(), any_delay(e) / 64);
            switch (test::draw(e, 0, 9))
            {
            case 0:
                agree = q.advance(later, test::draw(e, 0, 100));
                break;
            case 1:
            case 2: // the clock stands still
                agree = q.advance(q.now(), test::draw(e, 0, 100));
                break;
            case 3:
                agree = q.erase(i);
                break;
            case 4: // into the past
                if (!q.queued(i))
                    q.insert(i, saturating_add(q.now(), -any_delay(e) / 64));
                break;
            default:
                if (!q.queued(i))
                    q.insert(i, later);
            }
            agree = agree && q.sizes_agree() && q.next_is_right();
        }
        BOOST_TEST(agree);
        BOOST_TEST(q.advance(steady_time::max()));
        BOOST_TEST(q.empty());
    });
}

BOOST_AUTO_TEST_CASE(a_far_timer_is_met_by_two_wakes)
{
    test::for_seeds(200, [](test::engine& e) {
        constexpr std::size_t count = 10; // so few that they may share a slot
        pair_of_queues q(at(any_delay(e)), count);
        std::size_t const n = test::draw(e, std::size_t(1), count);
        for (std::size_t i = 0; i != n; ++i)
            q.insert(i, saturating_add(q.now(), any_delay(e)));
        std::size_t wakes = 0;
        // As a loop does: the first time by the slot, then exactly.
        for (steady_time wake = q.next(); !q.empty(); wake = q.next_exact(), ++wakes)
            if (!q.advance(std::max(wake, q.now())))
                break;
        BOOST_TEST(q.empty());
        BOOST_TEST(wakes <= n + 1);
    });
}

BOOST_AUTO_TEST_CASE(without_memory_no_timer_is_lost)
{
    constexpr std::size_t count = 10'000;
    timer_queue q(at(1h));
    std::vector<timer_node> nodes(count);
    for (std::size_t i = 0; i != count; ++i)
    {
        // In some ticks, far more than one has room for.
        nodes[i].when = at(2h + i * 300ns);
        q.insert(nodes[i]);
    }
    std::vector<steady_time> out;
    out.reserve(count);
    no_memory = true;
    while (timer_node* const n = q.pop_due(at(3h)))
        out.push_back(n->when);
    no_memory = false;
    BOOST_TEST(out.size() == count);
    BOOST_TEST(q.empty());
    // Those of one tick, and no others, may have changed places.
    bool ordered = true;
    for (std::size_t i = 1; i < out.size(); ++i)
        ordered = ordered && out[i] > out[i - 1] - 2ms;
    BOOST_TEST(ordered);
}

BOOST_AUTO_TEST_CASE(timers_of_one_tick_come_in_exact_order)
{
    test::for_seeds(20, [](test::engine& e) {
        constexpr std::size_t count = 1'000;
        pair_of_queues q(at(1h), count);
        for (std::size_t i = 0; i != count; ++i)
            q.insert(i, at(1h) + std::chrono::nanoseconds(test::draw(e, 0, 999'999)));
        for (std::size_t i = 0; i < count; i += 3)
            BOOST_TEST(q.erase(i));
        for (auto t = 1h + 0us; t <= 1h + 1ms; t += 10us)
            BOOST_TEST(q.advance(at(t)));
        BOOST_TEST(q.empty());
    });
}

BOOST_AUTO_TEST_CASE(the_ends_of_the_clock)
{
    timer_queue q(at(1h));
    std::vector<timer_node> nodes(4);
    nodes[0].when = steady_time::max();
    nodes[1].when = steady_time::min();
    nodes[2].when = at(-1ns);
    nodes[3].when = steady_time::max() - 1ns;
    for (timer_node& n : nodes)
        q.insert(n);
    BOOST_TEST(bool(q.next() <= steady_time::min()));
    BOOST_TEST(q.pop_due(at(0ns)) == &nodes[1]);
    BOOST_TEST(q.pop_due(at(0ns)) == &nodes[2]);
    BOOST_TEST(q.pop_due(at(100'000h)) == nullptr);
    BOOST_TEST(q.size() == 2u);
    BOOST_TEST(q.pop_due(steady_time::max() - 1ns) == &nodes[3]);
    BOOST_TEST(q.pop_due(steady_time::max() - 1ns) == nullptr);
    BOOST_TEST(q.pop_due(steady_time::max()) == &nodes[0]);
    BOOST_TEST(q.empty());
    BOOST_TEST(bool(q.next() == steady_time::max()));
}

BOOST_AUTO_TEST_CASE(a_clock_that_stands_still_or_is_asked_with_an_older_time)
{
    timer_queue q(at(1h));
    timer_node early, late;
    early.when = at(1h + 5ms);
    late.when = at(1h + 10ms);
    q.insert(late);
    BOOST_TEST(q.pop_due(at(1h + 7ms)) == nullptr);
    q.insert(early); // already past
    BOOST_TEST(q.pop_due(at(1h + 4ms)) == nullptr);
    BOOST_TEST(q.pop_due(at(1h + 7ms)) == &early);
    BOOST_TEST(q.pop_due(at(1h + 7ms)) == nullptr);
    BOOST_TEST(q.pop_due(at(1h + 10ms)) == &late);
}

BOOST_AUTO_TEST_CASE(erase_tells_whether_it_was_queued)
{
    timer_queue q(at(1h));
    timer_node n;
    BOOST_TEST(!n.queued());
    BOOST_TEST(!q.erase(n));
    for (auto when : {1h - 1s, 1h + 1s, 1h + 1'000'000s})
    {
        n.when = at(when);
        q.insert(n);
        BOOST_TEST(n.queued());
        BOOST_TEST(q.erase(n));
        BOOST_TEST(!n.queued());
        BOOST_TEST(!q.erase(n));
        BOOST_TEST(q.empty());
    }
}

BOOST_AUTO_TEST_CASE(saturating_add_stops_at_the_ends)
{
    BOOST_TEST(bool(saturating_add(at(1s), 1s) == at(2s)));
    BOOST_TEST(bool(saturating_add(at(1s), -3s) == at(-2s)));
    BOOST_TEST(bool(saturating_add(at(1s), std::chrono::nanoseconds::max()) ==
                    steady_time::max()));
    BOOST_TEST(bool(saturating_add(steady_time::max(), 1ns) == steady_time::max()));
    BOOST_TEST(bool(saturating_add(at(-2ns), std::chrono::nanoseconds::min()) ==
                    steady_time::min()));
    BOOST_TEST(bool(saturating_add(steady_time::min(), std::chrono::nanoseconds::max()) ==
                    at(-1ns)));
}

BOOST_AUTO_TEST_CASE(to_nanoseconds_takes_any_duration_and_rounds_up)
{
    using std::chrono::duration;
    using std::chrono::nanoseconds;
    using limits = std::numeric_limits<double>;
    BOOST_TEST(bool(to_nanoseconds(3s) == 3s));
    BOOST_TEST(bool(to_nanoseconds(-3s) == -3s));
    BOOST_TEST(bool(to_nanoseconds(duration<double>(0.25)) == 250ms));
    BOOST_TEST(bool(to_nanoseconds(duration<int, std::pico>(1)) == 1ns));
    BOOST_TEST(bool(to_nanoseconds(duration<int, std::pico>(1001)) == 2ns));
    BOOST_TEST(bool(to_nanoseconds(std::chrono::hours::max()) == nanoseconds::max()));
    BOOST_TEST(bool(to_nanoseconds(std::chrono::hours::min()) == nanoseconds::min()));
    BOOST_TEST(bool(to_nanoseconds(std::chrono::seconds::max()) == nanoseconds::max()));
    BOOST_TEST(bool(to_nanoseconds(nanoseconds::max()) == nanoseconds::max()));
    BOOST_TEST(
        bool(to_nanoseconds(duration<double>(limits::infinity())) == nanoseconds::max()));
    BOOST_TEST(bool(to_nanoseconds(duration<double>(-limits::infinity())) ==
                    nanoseconds::min()));
    BOOST_TEST(bool(to_nanoseconds(duration<float>(1e30f)) == nanoseconds::max()));
    BOOST_TEST(bool(to_nanoseconds(duration<double>(limits::quiet_NaN())) == 0ns));
    // The last value before the edge, where a double cannot tell them apart.
    BOOST_TEST(
        bool(to_nanoseconds(duration<double, std::nano>(9.3e18)) == nanoseconds::max()));
    BOOST_TEST(
        bool(to_nanoseconds(duration<double, std::nano>(9.2e18)) < nanoseconds::max()));
}
