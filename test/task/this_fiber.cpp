// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.this_fiber

#include <polyloop/task/this_fiber.hpp>

#include "support/error.hpp"
#include "support/policies.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <limits>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

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

BOOST_AUTO_TEST_CASE(the_extremes_of_durations_saturate)
{
    test::under_every_policy([] {
        this_fiber::sleep_for(-1h);
        this_fiber::sleep_for(std::chrono::hours::min());
        this_fiber::sleep_for(-std::chrono::duration<double>(
            std::numeric_limits<double>::infinity()));
        this_fiber::sleep_until(clock_type::time_point::min());
        std::vector<task<>> endless;
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
