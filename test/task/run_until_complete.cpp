// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.run_until_complete

#include <polyloop/task/run_until_complete.hpp>

#include "support/error.hpp"

#include <polyloop/loop/loop_group.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <latch>
#include <memory>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_CASE(S32_gives_the_result_or_throws)
{
    event_loop loop;
    BOOST_TEST(run_until_complete(loop, [] { return 1; }) == 1);
    BOOST_TEST(run_until_complete(loop, []() -> asio::awaitable<int> { co_return 2; }) == 2);
    BOOST_CHECK_THROW(run_until_complete(loop, [] { throw std::logic_error("x"); }),
                      std::logic_error);
    BOOST_TEST(!loop.is_running());
    BOOST_TEST(run_until_complete(loop, [] { return 3; }) == 3); // S39
}

BOOST_AUTO_TEST_CASE(S32_stopped_early_is_an_error_and_the_task_goes_on_in_the_next_run)
{
    event_loop loop;
    int rounds = 0;
    task<int> main = spawn(loop, [&] {
        ++rounds;
        loop.stop();
        this_fiber::yield();
        ++rounds;
        return 5;
    });
    BOOST_CHECK_EXCEPTION(run_until_complete(loop, main), boost::system::system_error,
                          test::fails_with(error::loop_stopped));
    BOOST_TEST(rounds == 1);
    BOOST_TEST(run_until_complete(loop, main) == 5);
    BOOST_TEST(rounds == 2);
}

BOOST_AUTO_TEST_CASE(S28_errors_come_before_anything_is_made)
{
    event_loop loop;
    event_loop other;
    test::fails_with const already(error::loop_already_running);
    test::fails_with const another(error::another_loop_running);
    bool ran = false;
    run_until_complete(loop, [&] {
        BOOST_CHECK_EXCEPTION(run_until_complete(loop, [&ran] { ran = true; }),
                              boost::system::system_error, already);
        BOOST_CHECK_EXCEPTION(run_until_complete(other, [&ran] { ran = true; }),
                              boost::system::system_error, another);
        this_fiber::yield();
    });
    run_until_complete(other, [] { this_fiber::yield(); });
    loop.close();
    BOOST_CHECK_EXCEPTION(run_until_complete(loop, [&ran] { ran = true; }),
                          boost::system::system_error, test::fails_with(error::loop_closed));
    BOOST_TEST(!ran);
}

BOOST_AUTO_TEST_CASE(S33_a_task_of_another_loop_is_awaited)
{
    auto elsewhere = std::make_shared<event_loop>();
    loop_group group;
    group.add(elsewhere);
    group.start();
    for (int i = 0; i != 100; ++i)
    {
        event_loop loop;
        task<event_loop*> t = spawn(*elsewhere, [] { return &get_running_loop(); });
        BOOST_TEST(run_until_complete(loop, t) == elsewhere.get());
    }
}

BOOST_AUTO_TEST_CASE(on_a_loop_that_several_threads_run)
{
    event_loop loop({.concurrency = 3});
    std::atomic<bool> quit = false;
    std::atomic<int> left = 2;
    std::vector<std::thread> helpers;
    for (int i = 0; i != 2; ++i)
        helpers.emplace_back([&] {
            while (!quit)
                loop.run_forever();
            --left;
        });
    // The main task often ends on another thread before this one has entered the loop.
    for (int i = 0; i != 500; ++i)
        BOOST_TEST(run_until_complete(loop, [i] { return i; }) == i);
    quit = true;
    while (left != 0) // one that is about to enter may find the stop taken by the other
    {
        loop.stop();
        std::this_thread::yield();
    }
    for (std::thread& t : helpers)
        t.join();
}

BOOST_AUTO_TEST_CASE(on_an_adopted_loop)
{
    asio::io_context io;
    event_loop loop(io);
    bool foreign = false;
    asio::post(io, [&foreign] { foreign = true; });
    int const got = run_until_complete(loop, [] {
        asio::steady_timer t(get_running_loop().io_context(), 1ms);
        t.async_wait(use_fiber);
        return 8;
    });
    BOOST_TEST(got == 8);
    BOOST_TEST(foreign);
}

BOOST_AUTO_TEST_CASE(a_main_may_give_a_reference)
{
    event_loop loop;
    int target = 0;
    decltype(auto) got = run_until_complete(loop, [&]() -> int& { return target; });
    static_assert(std::is_same_v<decltype(got), int&>);
    BOOST_TEST(&got == &target);
}

BOOST_AUTO_TEST_CASE(S31_S32_a_stop_from_before_allows_one_iteration)
{
    event_loop loop;
    loop.stop();
    BOOST_TEST(run_until_complete(loop, [] { return 1; }) == 1);
    loop.stop();
    task<> slow = spawn(loop, [] { this_fiber::sleep_for(24h); });
    BOOST_CHECK_EXCEPTION(run_until_complete(loop, slow), boost::system::system_error,
                          test::fails_with(error::loop_stopped));
    BOOST_TEST(!slow.done());
}

BOOST_AUTO_TEST_CASE(one_main_task_of_a_shared_loop_ends_no_other)
{
    event_loop loop({.concurrency = 2});
    std::latch waiting(1);
    std::atomic<bool> go = false;
    boost::system::error_code stopped;
    int got = 0;
    std::thread other([&] {
        stopped = test::code_of([&] {
            got = run_until_complete(loop, [&] {
                waiting.count_down();
                while (!go)
                    this_fiber::yield();
                return 6;
            });
        });
    });
    waiting.wait();
    for (int i = 0; i != 20; ++i)
        BOOST_TEST(run_until_complete(loop, [i] { return i; }) == i);
    go = true;
    other.join();
    BOOST_TEST(!stopped);
    BOOST_TEST(got == 6);
}

BOOST_AUTO_TEST_CASE(a_stop_ends_every_run_of_a_shared_loop)
{
    event_loop loop({.concurrency = 2});
    std::latch waiting(2);
    boost::system::error_code stopped[2];
    auto run_one = [&](boost::system::error_code& ec) {
        ec = test::code_of([&] {
            run_until_complete(loop, [&] {
                waiting.count_down();
                this_fiber::sleep_for(24h);
            });
        });
    };
    std::thread a([&] { run_one(stopped[0]); });
    std::thread b([&] { run_one(stopped[1]); });
    waiting.wait();
    loop.stop();
    a.join();
    b.join();
    BOOST_TEST(stopped[0] == error::loop_stopped);
    BOOST_TEST(stopped[1] == error::loop_stopped);
}
