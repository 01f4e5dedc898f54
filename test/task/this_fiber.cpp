// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.this_fiber

#include <polyloop/task/this_fiber.hpp>

#include "support/error.hpp"
#include "support/policies.hpp"

#include <polyloop/loop/timer.hpp>
#include <polyloop/sync/event.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/timeout.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

namespace {

/// A clock that can be set back.
struct set_clock
{
    using duration = std::chrono::microseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<set_clock>;
    [[maybe_unused]] static constexpr bool is_steady = false;

    static time_point now()
    {
        return time_point(std::chrono::floor<duration>(clock_type::now().time_since_epoch()) -
                          set_back.load());
    }

    static inline std::atomic<duration> set_back = duration(0);
};

} // namespace

BOOST_AUTO_TEST_CASE(one_yield_gives_each_ready_fiber_of_the_loop_a_turn)
{
    event_loop loop;
    run_until_complete(loop, [] {
        std::vector<int> order;
        std::vector<task<>> all;
        for (int i = 0; i != 5; ++i)
            all.push_back(spawn([&order, i] {
                order.push_back(i);
                this_fiber::yield();
                order.push_back(i + 5);
            }));
        this_fiber::yield();
        BOOST_TEST((order == std::vector{0, 1, 2, 3, 4}));
        this_fiber::yield();
        BOOST_TEST((order == std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    });
}

BOOST_AUTO_TEST_CASE(a_yield_gives_way_on_a_loop_of_several_threads_too)
{
    // Run by one thread, so that the order is the loop's.
    event_loop loop({.concurrency = 2});
    std::vector<int> order;
    std::vector<task<>> all;
    for (int i = 0; i != 3; ++i)
        all.push_back(spawn(loop, [&order, i] {
            order.push_back(i);
            this_fiber::yield();
            order.push_back(i + 3);
        }));
    for (auto& t : all)
        run_until_complete(loop, t);
    BOOST_TEST((order == std::vector{0, 1, 2, 3, 4, 5}));
}

BOOST_AUTO_TEST_CASE(fibers_that_only_yield_do_not_starve_sockets_and_timers)
{
    test::under_every_policy([] {
        using local = asio::local::stream_protocol;
        event_loop& loop = get_running_loop();
        std::atomic<bool> stop = false;
        std::vector<task<>> spinning;
        for (int i = 0; i != 10; ++i)
            spinning.push_back(spawn(loop, [&stop] {
                while (!stop)
                    this_fiber::yield();
            }));
        local::socket a(loop.io_context()), b(loop.io_context());
        asio::local::connect_pair(a, b);
        auto echo = spawn(loop, [&b] {
            char c;
            for (int i = 0; i != 20; ++i)
            {
                b.async_read_some(asio::buffer(&c, 1), use_fiber);
                b.async_write_some(asio::buffer(&c, 1), use_fiber);
            }
        });
        char c = 'x';
        for (int i = 0; i != 20; ++i)
        {
            a.async_write_some(asio::buffer(&c, 1), use_fiber);
            a.async_read_some(asio::buffer(&c, 1), use_fiber);
            this_fiber::sleep_for(100us);
        }
        echo.join();
        stop = true;
        for (auto& t : spinning)
            t.join();
    });
}

BOOST_AUTO_TEST_CASE(timers_fire_beside_asio_sockets_that_are_always_ready)
{
    test::under_every_policy([] {
        using local = asio::local::stream_protocol;
        event_loop& loop = get_running_loop();
        std::atomic<bool> stop = false;
        std::vector<task<>> busy;
        for (int i = 0; i != 4; ++i)
            busy.push_back(spawn(loop, [&stop] {
                while (!stop)
                    this_fiber::yield();
            }));
        local::socket a(loop.io_context()), b(loop.io_context());
        asio::local::connect_pair(a, b);
        busy.push_back(spawn(loop, [&] {
            std::vector<char> const much(10'000);
            while (!stop)
                a.async_write_some(asio::buffer(much), use_fiber);
        }));
        busy.push_back(spawn(loop, [&] {
            char c;
            while (!stop)
                b.async_read_some(asio::buffer(&c, 1), use_fiber);
        }));
        for (int i = 0; i != 10; ++i)
        {
            this_fiber::sleep_for(100us);
            timer own(loop, 100us);
            own.async_wait(use_fiber);
            asio::steady_timer asios(loop.io_context(), 100us);
            asios.async_wait(use_fiber);
            event called;
            loop.call_soon_threadsafe([&] { loop.call_later(100us, [&] { called.set(); }); });
            called.wait();
            BOOST_CHECK_EXCEPTION(timeout(100us, [] { event().wait(); }),
                                  boost::system::system_error,
                                  test::fails_with(asio::error::timed_out));
        }
        stop = true;
        for (auto& t : busy)
        {
            t.cancel(); // who writes may wait for a reader that has gone
            t.join_for(std::chrono::hours(1));
        }
    });
}

BOOST_AUTO_TEST_CASE(slow_turns_let_other_handlers_run_between_them)
{
    event_loop loop;
    run_until_complete(loop, [&loop] {
        constexpr int turns = 800, first = 200;
        int turn = 0, served = 0;
        std::function<void()> other = [&] {
            ++served;
            if (turn < turns)
                asio::post(loop.io_context(), other);
        };
        std::vector<task<>> all;
        for (int i = 0; i != 8; ++i)
            all.push_back(spawn([&] {
                while (turn < turns)
                {
                    if (++turn == first)
                        served = 0; // what they cost has been seen by now
                    // Each lasts longer than a whole batch may.
                    auto const until = clock_type::now() + 150us;
                    while (clock_type::now() < until)
                        ;
                    this_fiber::yield();
                }
            }));
        asio::post(loop.io_context(), other);
        for (auto& t : all)
            t.join();
        BOOST_TEST(served >= (turns - first) / 4);
    });
}

BOOST_AUTO_TEST_CASE(no_sleep_at_all_is_one_yield)
{
    event_loop loop;
    run_until_complete(loop, [] {
        bool stop = false;
        int turns = 0;
        auto other = spawn([&] {
            while (!stop)
            {
                this_fiber::yield();
                ++turns;
            }
        });
        this_fiber::yield(); // it has begun
        int before = turns;
        auto const sleep = [&](auto d) {
            this_fiber::sleep_for(d);
            return turns - std::exchange(before, turns);
        };
        BOOST_TEST(sleep(0s) == 1);
        BOOST_TEST(sleep(-1ns) == 1);
        BOOST_TEST(sleep(std::chrono::hours::min()) == 1);
        BOOST_TEST(sleep(std::chrono::duration<double>(-0.5)) == 1);
        stop = true;
        other.join();
    });
    auto const cancelled = spawn(loop, [] {
        this_fiber::current_task().cancel();
        this_fiber::sleep_for(0s);
    });
    BOOST_TEST(test::code_of([&] { run_until_complete(loop, cancelled); }) ==
               asio::error::operation_aborted);
}

BOOST_AUTO_TEST_CASE(sleep_is_never_shorter_than_asked)
{
    test::under_every_policy([] {
        std::vector<task<bool>> all;
        for (int i = 0; i != 200; ++i)
            all.push_back(spawn([d = std::chrono::microseconds(i * 37)] {
                auto const before = clock_type::now();
                this_fiber::sleep_for(d);
                return clock_type::now() - before >= d;
            }));
        for (auto& t : all)
            BOOST_TEST(t.join());
        auto const until = clock_type::now() + 2ms;
        this_fiber::sleep_until(until);
        BOOST_TEST((clock_type::now() >= until));
    });
}

BOOST_AUTO_TEST_CASE(a_sleep_until_a_time_of_another_clock_is_not_shorter_by_that_clock)
{
    test::under_every_policy([] {
        using std::chrono::system_clock;
        auto const until = system_clock::now() + 2ms;
        this_fiber::sleep_until(until);
        BOOST_TEST((system_clock::now() >= until));
        this_fiber::sleep_until(std::chrono::time_point_cast<std::chrono::days>(until)); // past

        auto const by_ours = set_clock::now() + 5ms;
        auto sleeper = spawn([by_ours] {
            this_fiber::sleep_until(by_ours);
            return set_clock::now() >= by_ours;
        });
        this_fiber::sleep_for(1ms);
        set_clock::set_back = 10ms;
        BOOST_TEST(sleeper.join());
        set_clock::set_back = 0ms;
    });
}

BOOST_AUTO_TEST_CASE(the_extremes_of_durations_saturate)
{
    test::under_every_policy([] {
        this_fiber::sleep_for(-1h);
        this_fiber::sleep_for(std::chrono::hours::min());
        this_fiber::sleep_for(-std::chrono::duration<double>(
            std::numeric_limits<double>::infinity()));
        this_fiber::sleep_until(clock_type::time_point::min());
        this_fiber::sleep_until(std::chrono::system_clock::time_point::min());
        this_fiber::sleep_until(std::chrono::sys_days::min());
        this_fiber::sleep_for(std::chrono::nanoseconds::min());
        this_fiber::sleep_for(std::chrono::years::min());
        std::vector<task<>> endless;
        endless.push_back(
            spawn([] { this_fiber::sleep_until(std::chrono::system_clock::time_point::max()); }));
        endless.push_back(
            spawn([] { this_fiber::sleep_until(std::chrono::sys_days::max()); }));
        endless.push_back(spawn([] { this_fiber::sleep_for(std::chrono::nanoseconds::max()); }));
        endless.push_back(spawn([] { this_fiber::sleep_for(std::chrono::hours::max()); }));
        endless.push_back(
            spawn([] { this_fiber::sleep_until(clock_type::time_point::max()); }));
        endless.push_back(spawn([] {
            this_fiber::sleep_for(
                std::chrono::duration<double>(std::numeric_limits<double>::infinity()));
        }));
        this_fiber::sleep_for(2ms);
        for (auto& t : endless)
        {
            BOOST_TEST(!t.done());
            t.cancel();
            BOOST_TEST(test::code_of([&t] { t.join(); }) == asio::error::operation_aborted);
        }
    });
}

BOOST_AUTO_TEST_CASE(sleepers_wake_in_order_of_their_time)
{
    event_loop loop;
    run_until_complete(loop, [] {
        std::vector<int> order;
        std::vector<task<>> all;
        auto const start = clock_type::now() + 2ms;
        for (int i : {7, 2, 9, 4, 0, 8, 1, 6, 3, 5})
            all.push_back(spawn([&order, start, i] {
                this_fiber::sleep_until(start + i * 100us);
                order.push_back(i);
            }));
        for (auto& t : all)
            t.join();
        BOOST_TEST((order == std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    });
}

BOOST_AUTO_TEST_CASE(outside_of_a_task_it_is_refused)
{
    test::fails_with const refused(error::not_in_fiber);
    BOOST_CHECK_EXCEPTION(this_fiber::yield(), boost::system::system_error, refused);
    BOOST_CHECK_EXCEPTION(this_fiber::sleep_for(1s), boost::system::system_error, refused);
    BOOST_CHECK_EXCEPTION((void)this_fiber::current_task(), boost::system::system_error,
                          refused);
    BOOST_CHECK_EXCEPTION(this_fiber::id(), boost::system::system_error, refused);
    BOOST_CHECK_EXCEPTION(this_fiber::name(), boost::system::system_error, refused);
    BOOST_CHECK_EXCEPTION(this_fiber::cancelled(), boost::system::system_error, refused);
}

BOOST_AUTO_TEST_CASE(current_task_is_the_handle_of_the_running_task)
{
    test::under_every_policy([] {
        // Not given as the result: a task that keeps its own handle keeps itself.
        task<> seen;
        auto t = spawn([&] { seen = this_fiber::current_task(); });
        t.join();
        BOOST_TEST((seen == t));
        auto c = spawn([&]() -> asio::awaitable<void> {
            seen = this_fiber::current_task();
            co_return;
        });
        c.join();
        BOOST_TEST((seen == c));
    });
}
