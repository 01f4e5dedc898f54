// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.event_loop

#include <polyloop/loop/event_loop.hpp>

#include <polyloop/loop/tcp.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/unit_test.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

namespace {

/// Two connected sockets on the loop.
struct connection
{
    tcp::socket near;
    tcp::socket far;

    explicit connection(event_loop& loop)
        : near(loop.get_executor())
        , far(loop.get_executor())
    {
        tcp::acceptor acceptor(loop.get_executor(),
                               {boost::asio::ip::address_v4::loopback(), 0});
        near.connect(acceptor.local_endpoint());
        acceptor.accept(far);
    }
};

} // namespace

// -- the running loop -----------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S14_get_running_loop_outside_of_a_loop_is_an_error)
{
    BOOST_CHECK_EXCEPTION(get_running_loop(), system_error,
                          fails_with(error::no_running_loop));
    event_loop never_run;
    BOOST_CHECK_THROW(get_running_loop(), system_error);
}

BOOST_AUTO_TEST_CASE(S15_try_get_running_loop_gives_null_and_no_error)
{
    BOOST_TEST(try_get_running_loop() == nullptr);
    event_loop loop;
    event_loop* seen = nullptr;
    loop.call_soon([&] { seen = try_get_running_loop(); });
    test::run_ready(loop);
    BOOST_TEST(seen == &loop);
    BOOST_TEST(try_get_running_loop() == nullptr);
}

BOOST_AUTO_TEST_CASE(S29_running_loop_is_set_per_thread_and_cleared_when_the_run_ends)
{
    event_loop a, b;
    event_loop* in_a = nullptr;
    event_loop* in_b = nullptr;
    a.call_soon([&] {
        std::thread([&] {
            b.call_soon([&] { in_b = &get_running_loop(); });
            test::run_ready(b);
        }).join();
        in_a = &get_running_loop();
    });
    test::run_ready(a);
    BOOST_TEST(in_a == &a);
    BOOST_TEST(in_b == &b);
    BOOST_TEST(try_get_running_loop() == nullptr);
}

BOOST_AUTO_TEST_CASE(S29_running_loop_is_cleared_although_a_handler_threw_anything)
{
    event_loop loop;
    test::reports reports(loop);
    boost::asio::post(loop.io_context(), [] { throw 42; });
    loop.call_soon([] { throw std::string("no std::exception"); });
    test::run_ready(loop);
    test::run_ready(loop);
    BOOST_TEST(reports.size() == 2u);
    BOOST_TEST(try_get_running_loop() == nullptr);
    BOOST_TEST(!loop.is_running());
}

BOOST_AUTO_TEST_CASE(the_loop_runs_in_foreign_handlers_of_its_io_context)
{
    event_loop loop;
    event_loop* seen = nullptr;
    boost::asio::post(loop.io_context(), [&] {
        seen = &get_running_loop();
        loop.stop();
    });
    loop.run_forever();
    BOOST_TEST(seen == &loop);
}

// -- refusals of a run ----------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S25_a_closed_loop_does_not_run)
{
    event_loop loop;
    loop.close();
    BOOST_CHECK_EXCEPTION(loop.run_forever(), system_error,
                          fails_with(error::loop_closed));
    BOOST_CHECK_EXCEPTION(run_until_complete(loop, [] {}), system_error,
                          fails_with(error::loop_closed));
}

BOOST_AUTO_TEST_CASE(S26_a_running_loop_does_not_run_again)
{
    event_loop loop;
    boost::system::error_code inside, until_complete;
    loop.call_soon([&] {
        inside = test::code_of([&] { loop.run_forever(); });
        until_complete = test::code_of([&] { run_until_complete(loop, [] {}); });
    });
    test::run_ready(loop);
    BOOST_TEST(inside == error::loop_already_running);
    BOOST_TEST(until_complete == error::loop_already_running);
    BOOST_TEST(loop.task_count() == 0u);

    test::running const elsewhere(loop);
    BOOST_CHECK_EXCEPTION(loop.run_forever(), system_error,
                          fails_with(error::loop_already_running, {loop.name()}));
}

BOOST_AUTO_TEST_CASE(S27_a_thread_runs_one_loop_at_a_time)
{
    event_loop outer, inner;
    boost::system::error_code code;
    outer.call_soon([&] { code = test::code_of([&] { inner.run_forever(); }); });
    test::run_ready(outer);
    BOOST_TEST(code == error::another_loop_running);
    BOOST_TEST(!inner.is_running());
    test::run_ready(inner); // unharmed
}

BOOST_AUTO_TEST_CASE(S28_closed_then_this_running_then_another_running)
{
    event_loop outer, closed, busy, idle;
    closed.close();
    test::running const elsewhere(busy);
    std::vector<boost::system::error_code> codes;
    outer.call_soon([&] {
        for (event_loop* l : {&closed, &busy, &idle})
            codes.push_back(test::code_of([l] { l->run_forever(); }));
    });
    test::run_ready(outer);
    BOOST_REQUIRE(codes.size() == 3u);
    BOOST_TEST(codes[0] == error::loop_closed);
    BOOST_TEST(codes[1] == error::loop_already_running);
    BOOST_TEST(codes[2] == error::another_loop_running);
}

BOOST_AUTO_TEST_CASE(n_threads_may_run_a_loop_of_concurrency_n_and_one_more_may_not)
{
    constexpr unsigned n = 4;
    event_loop loop({.concurrency = n});
    test::running threads(loop, n);
    BOOST_TEST(loop.is_running());
    BOOST_CHECK_EXCEPTION(loop.run_forever(), system_error,
                          fails_with(error::loop_already_running));
    threads.join();
    BOOST_TEST(!loop.is_running());

    // All places are free again.
    test::running const again(loop, n);
    BOOST_TEST(loop.is_running());
}

// -- stop -----------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S30_stop_lets_the_batch_finish_and_what_it_schedules_waits)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            std::string order;
            loop.call_soon([&] {
                order += 'a';
                loop.stop();
                loop.call_soon([&] { order += 'c'; });
            });
            loop.call_soon([&] {
                order += 'b';
                loop.call_soon([&] { order += 'd'; });
            });
            loop.run_forever();
            BOOST_TEST(order == "ab");
            test::run_ready(loop);
            BOOST_TEST(order == "abcd");
        }
}

BOOST_AUTO_TEST_CASE(S31_stop_before_run_forever_runs_one_iteration)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            std::string order;
            loop.call_soon([&] {
                order += 'a';
                loop.call_soon([&] { order += 'b'; });
            });
            loop.stop();
            loop.run_forever(); // returns although nobody stops it any more
            if (concurrency == 1)
                BOOST_TEST(order == "a");
            else // which has no batches
                BOOST_TEST(order.starts_with("a"));

            loop.stop();
            loop.stop(); // once more is no more
            loop.run_forever();
            BOOST_TEST(order == "ab");
        }
}

BOOST_AUTO_TEST_CASE(S31_that_iteration_polls_io_and_does_not_block)
{
    event_loop loop;
    connection c(loop);
    char byte = 0;
    boost::asio::async_read(c.far, boost::asio::buffer(&byte, 1),
                            [](boost::system::error_code, std::size_t) {});
    loop.stop();
    loop.run_forever(); // nothing can be read: it returns
    BOOST_TEST(byte == 0);

    boost::asio::write(c.near, boost::asio::buffer("x", 1));
    loop.stop();
    loop.run_forever();
    BOOST_TEST(byte == 'x');
}

BOOST_AUTO_TEST_CASE(S31_a_timer_that_is_due_fires_in_that_iteration)
{
    event_loop loop;
    bool fired = false;
    loop.call_later(std::chrono::nanoseconds(0), [&] { fired = true; });
    test::run_ready(loop);
    if (!fired) // due now, but its turn may be the next iteration's
        test::run_ready(loop);
    BOOST_TEST(fired);
}

BOOST_AUTO_TEST_CASE(stop_from_another_thread_wakes_a_blocked_loop)
{
    for (unsigned concurrency : {1u, 3u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            for (int i = 0; i != 50; ++i)
            {
                test::running threads(loop, concurrency);
                threads.join();
            }
            BOOST_TEST(!loop.is_running());
        }
}

BOOST_AUTO_TEST_CASE(stop_from_many_threads_at_once_ends_one_run)
{
    event_loop loop;
    for (int i = 0; i != 50; ++i)
    {
        test::running threads(loop);
        std::vector<std::thread> stoppers;
        for (int j = 0; j != 4; ++j)
            stoppers.emplace_back([&] { loop.stop(); });
        for (std::thread& t : stoppers)
            t.join();
        threads.join();
        // Stops that came after the end belong to the next run; this takes them away.
        test::run_ready(loop);
    }
    BOOST_TEST(!loop.is_running());
}

BOOST_AUTO_TEST_CASE(S39_a_stopped_loop_runs_again)
{
    event_loop loop;
    int runs = 0;
    for (int i = 0; i != 3; ++i)
    {
        loop.call_soon([&] {
            ++runs;
            loop.stop();
        });
        loop.run_forever();
    }
    BOOST_TEST(runs == 3);
    BOOST_TEST(run_until_complete(loop, [] { return 7; }) == 7);
}

BOOST_AUTO_TEST_CASE(
    S32_run_until_complete_gives_the_result_or_the_error_or_says_it_was_stopped)
{
    event_loop loop;
    BOOST_TEST(run_until_complete(loop, [] { return std::string("done"); }) == "done");
    BOOST_CHECK_THROW(run_until_complete(loop, [] { throw std::out_of_range("far"); }),
                      std::out_of_range);
    auto waiting = spawn(loop, [] { this_fiber::sleep_for(std::chrono::hours(1)); });
    loop.call_soon([&] { loop.stop(); });
    BOOST_CHECK_EXCEPTION(run_until_complete(loop, waiting), system_error,
                          fails_with(error::loop_stopped));
}

BOOST_AUTO_TEST_CASE(a_run_keeps_its_loop_until_it_ends)
{
    auto loop = std::make_shared<event_loop>();
    std::weak_ptr<event_loop> const seen = loop;
    bool alive = false;
    event_loop& l = *loop;
    l.call_soon([&] {
        loop.reset(); // the last owner but the run
        alive = !seen.expired() && &get_running_loop() == seen.lock().get();
        get_running_loop().stop();
    });
    l.run_forever();
    BOOST_TEST(alive);
    BOOST_TEST(seen.expired());
}
