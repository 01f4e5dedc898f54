// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.adopted

#include <polyloop/loop/event_loop.hpp>

#include <polyloop/loop/strand.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;

// A loop over an io_context that the application owns and runs itself.

BOOST_AUTO_TEST_CASE(the_loop_sits_on_the_applications_io_context)
{
    asio::io_context io;
    event_loop loop(io);
    BOOST_TEST(&loop.io_context() == &io);
    BOOST_TEST(bool(loop.get_executor() == io.get_executor()));
    event_loop* seen = nullptr;
    loop.call_soon([&] { seen = &get_running_loop(); });
    BOOST_TEST(io.run() > 0u);
    BOOST_TEST(seen == &loop);
    BOOST_TEST(try_get_running_loop() == nullptr);
    BOOST_TEST(!loop.is_running());
}

BOOST_AUTO_TEST_CASE(run_forever_runs_an_adopted_loop_too)
{
    asio::io_context io;
    event_loop loop(io);
    std::string order;
    asio::post(io, [&] { order += 'f'; });
    loop.call_soon([&] {
        order += 'c';
        loop.stop();
    });
    loop.run_forever();
    BOOST_TEST(order == "fc");
    // The io_context is fit for the application's own run afterwards.
    asio::post(io, [&] { order += 'f'; });
    io.run();
    BOOST_TEST(order == "fcf");
}

BOOST_AUTO_TEST_CASE(an_idle_adopted_loop_is_no_work)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            asio::io_context io;
            event_loop loop(io, {.concurrency = concurrency});
            BOOST_TEST(io.run() == 0u);
            io.restart();
            bool ran = false;
            loop.call_soon([&] { ran = true; });
            io.run();
            BOOST_TEST(ran);
        }
}

BOOST_AUTO_TEST_CASE(a_waiting_fiber_is_work)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            asio::io_context io;
            event_loop loop(io, {.concurrency = concurrency});
            auto const t = spawn(loop, [] { this_fiber::sleep_for(5ms); });
            auto const waits = spawn(loop, [t = t]() mutable { t.join(); });
            io.run();
            BOOST_TEST(t.done());
            BOOST_TEST(waits.done());
        }
}

BOOST_AUTO_TEST_CASE(a_callback_that_is_not_due_yet_is_work)
{
    asio::io_context io;
    event_loop loop(io);
    bool fired = false;
    loop.call_later(5ms, [&] { fired = true; });
    io.run();
    BOOST_TEST(fired);
}

// Each of these would take an hour, were the cancelled deadline still work.

BOOST_AUTO_TEST_CASE(the_last_deadline_cancelled_in_a_callback_is_no_work)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            asio::io_context io;
            event_loop loop(io, {.concurrency = concurrency});
            callback_handle h;
            loop.call_soon([&] {
                h = loop.call_later(1h, [] {});
                loop.call_soon([&] { h.cancel(); });
            });
            io.run();
            BOOST_TEST(h.cancelled());
        }
}

BOOST_AUTO_TEST_CASE(the_last_deadline_cancelled_before_the_run_is_no_work)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            asio::io_context io;
            event_loop loop(io, {.concurrency = concurrency});
            callback_handle h = loop.call_later(1h, [] {});
            h.cancel();
            io.run();
            BOOST_TEST(h.cancelled());
        }
}

BOOST_AUTO_TEST_CASE(the_last_deadline_cancelled_in_a_foreign_handler_is_no_work)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            asio::io_context io;
            event_loop loop(io, {.concurrency = concurrency});
            callback_handle h = loop.call_later(1h, [] {});
            asio::steady_timer later(io, 5ms);
            later.async_wait([&](boost::system::error_code) { h.cancel(); });
            io.run();
            BOOST_TEST(h.cancelled());
        }
}

BOOST_AUTO_TEST_CASE(the_last_deadline_cancelled_by_another_thread_is_no_work)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            asio::io_context io;
            event_loop loop(io, {.concurrency = concurrency});
            std::latch armed(1);
            callback_handle h = loop.call_later(1h, [] {});
            loop.call_later(1ms, [&] { armed.count_down(); });
            std::thread runner([&] { io.run(); });
            armed.wait();
            h.cancel();
            runner.join();
            BOOST_TEST(h.cancelled());
        }
}

BOOST_AUTO_TEST_CASE(a_deadline_after_a_cancelled_one_is_work_again)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            asio::io_context io;
            event_loop loop(io, {.concurrency = concurrency});
            int fired = 0;
            loop.call_soon([&] {
                loop.call_later(1h, [&] { fired += 100; }).cancel();
                loop.call_later(5ms, [&] {
                    ++fired;
                    loop.call_later(2ms, [] {}).cancel();
                    loop.call_later(5ms, [&] { ++fired; });
                });
            });
            io.run();
            BOOST_TEST(fired == 2);
        }
}

BOOST_AUTO_TEST_CASE(closing_takes_no_work_of_the_applications_away)
{
    for (bool cancel : {false, true})
        for (unsigned concurrency : {1u, 2u})
            BOOST_TEST_CONTEXT("concurrency " << concurrency << ", cancel " << cancel)
            {
                asio::io_context io;
                {
                    event_loop loop(io, {.concurrency = concurrency});
                    loop.call_soon([&] {
                        callback_handle h = loop.call_later(1h, [] {});
                        if (cancel)
                            h.cancel();
                        io.stop();
                    });
                    io.run();
                    io.restart();
                }
                bool fired = false;
                asio::steady_timer mine(io, 20ms);
                mine.async_wait([&](boost::system::error_code) { fired = true; });
                io.run();
                BOOST_TEST(fired);
                BOOST_TEST(io.run() == 0u);
            }
}

BOOST_AUTO_TEST_CASE(closing_lets_the_applications_run_end)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            asio::io_context io;
            std::optional<event_loop> loop(std::in_place, io,
                                           loop_options{.concurrency = concurrency});
            auto const t = spawn(*loop, [] { this_fiber::sleep_for(1h); });
            bool ran = false;
            loop->call_later(1h, [&] { ran = true; });
            io.poll();
            loop->close();
            BOOST_TEST(t.done());
            io.restart();
            io.run();
            loop.reset();
            io.restart();
            io.run();
            BOOST_TEST(!ran);
        }
}

BOOST_AUTO_TEST_CASE(the_io_context_may_run_handlers_of_a_loop_that_is_gone)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            asio::io_context io;
            bool ran = false;
            {
                event_loop loop(io, {.concurrency = concurrency});
                loop.call_soon([&] { ran = true; });
                loop.call_soon_threadsafe([&] { ran = true; });
                loop.call_later(1ms, [&] { ran = true; });
                loop.call_later(2ms, [&] { ran = true; }).cancel();
                asio::post(strand(loop), [&] { ran = true; });
            }
            io.run();
            BOOST_TEST(!ran);
        }
}

BOOST_AUTO_TEST_CASE(a_second_loop_may_follow_on_the_same_io_context)
{
    asio::io_context io;
    for (int i = 0; i != 3; ++i)
    {
        event_loop loop(io);
        BOOST_TEST(run_until_complete(loop, [i] {
                       this_fiber::sleep_for(1ms);
                       return i;
                   }) == i);
    }
}

// -- errors of the application's own handlers -----------------------------------------

BOOST_AUTO_TEST_CASE(what_a_foreign_handler_throws_leaves_the_applications_own_run)
{
    asio::io_context io;
    event_loop loop(io);
    test::reports reports(loop);
    asio::post(io, [] { throw std::runtime_error("mine"); });
    BOOST_CHECK_THROW(io.run(), std::runtime_error);
    BOOST_TEST(reports.size() == 0u);
    BOOST_TEST(try_get_running_loop() == nullptr);
    io.restart(); // as after every exception
    // And the loop still works.
    bool ran = false;
    loop.call_soon([&] { ran = true; });
    io.run();
    BOOST_TEST(ran);
}

BOOST_AUTO_TEST_CASE(S45_what_a_callback_throws_does_not_leave_the_applications_own_run)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            asio::io_context io;
            event_loop loop(io, {.concurrency = concurrency});
            test::reports reports(loop);
            loop.call_soon([] { throw std::runtime_error("ours"); });
            loop.call_later(0s, [] { throw std::runtime_error("ours too"); });
            asio::post(strand(loop), [] { throw std::runtime_error("and ours"); });
            BOOST_CHECK_NO_THROW(io.run());
            BOOST_TEST(reports.size() == 3u);
        }
}

BOOST_AUTO_TEST_CASE(
    several_threads_of_the_application_run_a_loop_that_knows_their_number)
{
    constexpr int tasks = 200;
    asio::io_context io;
    event_loop loop(io, {.concurrency = 3});
    std::atomic<int> done = 0;
    for (int i = 0; i != tasks; ++i)
        (void)spawn(loop, [&] {
            for (int j = 0; j != 20; ++j)
                this_fiber::yield();
            ++done;
        });
    std::vector<std::thread> threads;
    for (int i = 0; i != 3; ++i)
        threads.emplace_back([&] { io.run(); });
    for (std::thread& t : threads)
        t.join();
    BOOST_TEST(done == tasks);
    BOOST_TEST(loop.task_count() == 0u);
}
