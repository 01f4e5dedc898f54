// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.callback_handle_timed

#include <polyloop/loop/callback_handle.hpp>

#include <polyloop/loop/event_loop.hpp>

#include "support/loops.hpp"
#include "support/seeds.hpp"

#include <boost/asio/post.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <ratio>
#include <string>
#include <vector>

using namespace polyloop;
namespace asio = boost::asio;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_CASE(S42_timers_fire_in_order_of_expiry_and_never_early)
{
    for (unsigned concurrency : {1u, 2u})
        test::for_seeds(5, [&](test::engine& e) {
            event_loop loop({.concurrency = concurrency});
            struct firing
            {
                event_loop::time_point due, at;
            };
            std::vector<firing> fired;
            constexpr std::size_t count = 300;
            auto const start = loop.time();
            for (std::size_t i = 0; i != count; ++i)
            {
                auto const due =
                    start + std::chrono::microseconds(test::draw(e, 0, 30'000));
                callback_handle const h = loop.call_at(due, [&, due] {
                    fired.push_back({due, std::chrono::steady_clock::now()});
                    if (fired.size() == count)
                        loop.stop();
                });
                BOOST_TEST(bool(h.when() == due));
            }
            loop.run_forever(); // by one thread, whatever the concurrency
            BOOST_TEST(fired.size() == count);
            BOOST_TEST(std::is_sorted(fired.begin(), fired.end(),
                [](firing const& a, firing const& b) { return a.due < b.due; }));
            for (firing const& f : fired)
                BOOST_TEST(bool(f.at >= f.due));
        });
}

BOOST_AUTO_TEST_CASE(S42_timers_that_were_set_before_the_run_fire_in_order_however_many)
{
    event_loop loop;
    constexpr int count = 100'000; // more than a batch may take its time for
    auto const last = loop.time();
    std::vector<int> fired;
    for (int i = 0; i != count; ++i)
        loop.call_at(last - std::chrono::milliseconds(i), [&, i] {
            fired.push_back(i);
            if (fired.size() == count)
                loop.stop();
        });
    loop.run_forever();
    BOOST_TEST(std::is_sorted(fired.rbegin(), fired.rend()));
}

BOOST_AUTO_TEST_CASE(many_timers_that_are_due_at_once_leave_room_for_others_and_keep_their_order)
{
    static constexpr int count = 200'000;
    for (unsigned concurrency : {1u, 2u})
    {
        event_loop loop({.concurrency = concurrency});
        int served = 0; // turns of another handler, before the first of them
        std::vector<int> fired;
        fired.reserve(count + 1);
        auto fire = [&](int i) {
            fired.push_back(i);
            if (fired.size() == count + 1)
                loop.stop();
        };
        std::function<void()> other = [&] {
            if (!fired.empty())
                return;
            ++served;
            asio::post(loop.io_context(), other);
        };
        loop.call_soon([&] {
            // All within one tick of the queue, since the first of the next one may fire before the
            // others are looked at.
            constexpr std::chrono::nanoseconds tick(1 << 20);
            std::chrono::nanoseconds const now = loop.time().time_since_epoch();
            std::chrono::steady_clock::time_point const start(now - now % tick + 2 * tick);
            auto const when = [start](int i) { return start + i * 1ns; };
            for (int i = 0; i != count; ++i)
                if (i != count / 2)
                    loop.call_at(when(i), [&fire, i] { fire(i); });
            // While some are left, for a time before theirs.
            loop.call_at(when(0), [&, when] {
                fire(0);
                loop.call_at(when(count / 2), [&fire] { fire(count / 2); });
            });
            while (std::chrono::steady_clock::now() < when(count))
                ; // all are due now
            asio::post(loop.io_context(), other);
        });
        loop.run_forever(); // by one thread
        BOOST_TEST(served > 20);
        BOOST_TEST(fired.size() == count + 1u);
        BOOST_TEST(std::is_sorted(fired.begin(), fired.end()));
    }
}

BOOST_AUTO_TEST_CASE(S42_call_later_counts_from_the_loops_time)
{
    event_loop loop;
    bool exact = false;
    loop.call_soon([&] {
        auto const now = loop.time();
        callback_handle h = loop.call_later(90min, [] {});
        exact = h.when() == now + 90min && loop.time() == now; // one read per batch
        h.cancel();
    });
    test::run_ready(loop);
    BOOST_TEST(exact);
    auto const a = loop.time();
    auto const b = loop.time();
    BOOST_TEST(bool(a <= b));
}

BOOST_AUTO_TEST_CASE(S42_durations_saturate)
{
    using std::chrono::duration;
    constexpr double infinity = std::numeric_limits<double>::infinity();
    event_loop loop;
    int never = 0;
    auto late = [&] { ++never; };
    std::vector<callback_handle> far{
        loop.call_later(std::chrono::hours::max(), late),
        loop.call_later(std::chrono::nanoseconds::max(), late),
        loop.call_later(duration<double>(infinity), late),
        loop.call_later(duration<double>(1e300), late),
        loop.call_later(std::chrono::years::max(), late),
        loop.call_at(event_loop::time_point::max(), late)};
    for (callback_handle const& h : far)
        BOOST_TEST(bool(h.when() == event_loop::time_point::max()));

    int at_once = 0;
    auto due = [&] { ++at_once; };
    loop.call_later(-1s, due);
    loop.call_later(std::chrono::hours::min(), due);
    loop.call_later(duration<double>(-infinity), due);
    loop.call_later(duration<double>(std::numeric_limits<double>::quiet_NaN()), due);
    loop.call_later(duration<int, std::pico>(1), due);
    loop.call_at(event_loop::time_point::min(), due);
    test::run_until(loop, [&] { return at_once == 6; });
    BOOST_TEST(never == 0);
}

BOOST_AUTO_TEST_CASE(an_earlier_timer_overtakes_one_that_is_armed)
{
    event_loop loop;
    std::string order;
    loop.call_later(20ms, [&] {
        order += 'b';
        loop.stop();
    });
    loop.call_soon([&] { loop.call_later(1ms, [&] { order += 'a'; }); });
    loop.run_forever();
    BOOST_TEST(order == "ab");
}
