// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.strand

#include <polyloop/loop/strand.hpp>

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/seeds.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/defer.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/execution.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

static_assert(asio::execution::is_executor<strand>::value);

BOOST_AUTO_TEST_CASE(a_strand_is_a_context_of_its_own)
{
    event_loop loop;
    strand const a(loop, "mine"), b(loop);
    BOOST_TEST(a.as_context().kind() == context_kind::strand);
    BOOST_TEST(a.as_context().name() == "mine");
    BOOST_TEST(a.as_context().id() != b.as_context().id());
    BOOST_TEST(&a.loop() == &loop);
    BOOST_TEST(!a.running_in_this_thread());
    std::vector<context> seen;
    bool inside = false;
    asio::post(a, [&] {
        inside = a.running_in_this_thread() && !b.running_in_this_thread();
        seen.push_back(this_context::current());
    });
    asio::post(b, [&] { seen.push_back(this_context::current()); });
    test::run_ready(loop);
    BOOST_REQUIRE(seen.size() == 2u);
    BOOST_TEST(seen[0] == a.as_context());
    BOOST_TEST(seen[1] == b.as_context());
    BOOST_TEST(inside);
}

BOOST_AUTO_TEST_CASE(copies_are_the_same_strand)
{
    event_loop loop;
    strand a(loop);
    strand const b(loop), copy(a);
    BOOST_TEST(bool(copy == a));
    BOOST_TEST(bool(a != b));
    a = b;
    BOOST_TEST(bool(a == b));
    strand moved(std::move(a));
    BOOST_TEST(bool(moved == b));
    BOOST_TEST(bool(asio::require(b, asio::execution::blocking.never) == b));
}

BOOST_AUTO_TEST_CASE(a_strand_on_a_closed_loop_is_refused_and_one_that_outlives_it_drops)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            strand const s(loop);
            loop.close();
            BOOST_CHECK_EXCEPTION(strand{loop}, system_error,
                                  fails_with(error::loop_closed));
            auto const held = std::make_shared<int>();
            bool ran = false;
            asio::post(s, [held, &ran] { ran = true; });
            asio::dispatch(s, [held, &ran] { ran = true; });
            BOOST_TEST(held.use_count() == 1);
            BOOST_TEST(!ran);
        }
}

BOOST_AUTO_TEST_CASE(handlers_run_in_the_order_in_which_they_were_posted)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            strand const s(loop);
            std::vector<int> order;
            for (int i = 0; i != 500; ++i)
                if (i % 2)
                    asio::post(s, [&, i] { order.push_back(i); });
                else
                    asio::defer(s, [&, i] { order.push_back(i); });
            asio::post(s, [&] { loop.stop(); });
            loop.run_forever();
            BOOST_TEST(order.size() == 500u);
            BOOST_TEST(std::is_sorted(order.begin(), order.end()));
        }
}

BOOST_AUTO_TEST_CASE(dispatch_runs_at_once_inside_the_strand_and_post_and_defer_do_not)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            strand const s(loop);
            std::string order;
            asio::post(s, [&] {
                asio::post(s, [&] { order += 'd'; });
                asio::defer(s, [&] {
                    order += 'e';
                    loop.stop();
                });
                asio::dispatch(s, [&] {
                    order += 'a';
                    asio::dispatch(s, [&] { order += 'b'; });
                });
                order += 'c';
            });
            loop.run_forever();
            BOOST_TEST(order == "abcde");
        }
}

BOOST_AUTO_TEST_CASE(dispatch_overtakes_nothing_that_was_posted_before)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            strand const s(loop);
            std::string order;
            loop.call_soon([&] {
                asio::post(s, [&] { order += 'a'; });
                asio::dispatch(s, [&] { order += 'b'; });
                asio::dispatch(s, [&] {
                    order += 'c';
                    loop.stop();
                });
            });
            loop.run_forever();
            BOOST_TEST(order == "abc");
        }
}

BOOST_AUTO_TEST_CASE(never_two_handlers_at_once_on_a_shared_loop)
{
    test::for_seeds(5, [](test::engine& e) {
        constexpr int strands = 5, threads = 3, each = 2000;
        event_loop loop({.concurrency = threads});
        struct state
        {
            strand s;
            std::atomic<int> inside = 0;
            int unguarded = 0; // only the strand protects it
            std::vector<std::vector<int>> order;
        };
        std::vector<std::unique_ptr<state>> states;
        for (int i = 0; i != strands; ++i)
            states.push_back(std::unique_ptr<state>(
                new state{strand(loop), 0, 0, std::vector<std::vector<int>>(threads)}));
        std::atomic<bool> overlapped = false;
        std::latch done(threads * each);
        test::running running(loop, threads);
        std::vector<std::thread> posters;
        for (int t = 0; t != threads; ++t)
            posters.emplace_back([&, t, mine = test::engine(e())]() mutable {
                for (int i = 0; i != each; ++i)
                {
                    state& st = *states[test::draw(mine, 0, strands - 1)];
                    auto f = [&, t, i] {
                        if (st.inside++ != 0 || !st.s.running_in_this_thread())
                            overlapped = true;
                        ++st.unguarded;
                        st.order[t].push_back(i);
                        --st.inside;
                        done.count_down();
                    };
                    if (test::draw(mine, 0, 1))
                        asio::post(st.s, f);
                    else
                        asio::dispatch(st.s, f);
                }
            });
        for (std::thread& t : posters)
            t.join();
        done.wait();
        running.join();
        BOOST_TEST(!overlapped);
        int total = 0;
        for (auto const& st : states)
        {
            total += st->unguarded;
            for (auto const& o : st->order)
                BOOST_TEST(std::is_sorted(o.begin(), o.end()));
        }
        BOOST_TEST(total == threads * each);
    });
}

BOOST_AUTO_TEST_CASE(a_fiber_on_a_strand_holds_it_and_releases_it_while_it_waits)
{
    for (unsigned concurrency : {1u, 3u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            strand const s(loop);
            std::atomic<int> inside = 0;
            std::atomic<bool> overlapped = false, held = true;
            std::vector<task<>> tasks;
            for (int i = 0; i != 8; ++i)
                tasks.push_back(spawn(s, [&] {
                    for (int j = 0; j != 100; ++j)
                    {
                        if (inside++ != 0)
                            overlapped = true;
                        held = held && s.running_in_this_thread();
                        --inside;
                        this_fiber::yield();
                    }
                }));
            test::running const threads(loop, concurrency);
            for (task<>& t : tasks)
                t.join();
            BOOST_TEST(!overlapped);
            BOOST_TEST(held);
        }
}

BOOST_AUTO_TEST_CASE(what_a_handler_throws_is_reported_and_the_next_one_runs)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            test::reports reports(loop);
            strand const s(loop);
            bool next = false;
            asio::post(s, [] { throw std::runtime_error("in the strand"); });
            asio::post(s, [] { throw 42; });
            asio::post(s, [&] {
                next = s.running_in_this_thread();
                loop.stop();
            });
            loop.run_forever();
            BOOST_REQUIRE(reports.size() == 2u);
            BOOST_TEST(reports.thrown()[0].find("in the strand") != std::string::npos);
            BOOST_TEST(next);
            BOOST_TEST(!s.running_in_this_thread());
        }
}

// -- as an executor of Asio -----------------------------------------------------------

BOOST_AUTO_TEST_CASE(it_goes_into_any_io_executor)
{
    event_loop loop;
    strand const s(loop);
    asio::any_io_executor const any = s;
    BOOST_TEST(&any.context() == &loop.io_context());
    BOOST_REQUIRE(any.target<strand>());
    BOOST_TEST(bool(*any.target<strand>() == s));
    bool inside = false;
    asio::post(any, [&] { inside = s.running_in_this_thread(); });
    test::run_ready(loop);
    BOOST_TEST(inside);
}

BOOST_AUTO_TEST_CASE(it_is_the_executor_of_sockets_and_timers_and_coroutines)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            namespace ip = asio::ip;
            event_loop loop({.concurrency = concurrency});
            strand const s(loop);
            ip::tcp::acceptor acceptor(s, {ip::address_v4::loopback(), 0});
            ip::tcp::socket near(s);
            asio::basic_stream_socket<ip::tcp, strand> far(s);
            near.connect(acceptor.local_endpoint());
            acceptor.accept(far);
            int inside = 0;
            auto note = [&] { inside += s.running_in_this_thread(); };
            char byte = 0;
            far.async_read_some(asio::buffer(&byte, 1),
                                [&](boost::system::error_code, std::size_t) { note(); });
            asio::co_spawn(
                s,
                [&]() -> asio::awaitable<void> {
                    note();
                    asio::steady_timer timer(co_await asio::this_coro::executor);
                    timer.expires_after(std::chrono::milliseconds(1));
                    co_await timer.async_wait(asio::use_awaitable);
                    note();
                    co_await asio::async_write(near, asio::buffer("x", 1),
                                               asio::use_awaitable);
                    note();
                },
                asio::detached);
            test::run_until(loop, [&] { return inside == 4; });
            BOOST_TEST(byte == 'x');
        }
}

BOOST_AUTO_TEST_CASE(tracked_work_keeps_an_applications_io_context_going)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            asio::io_context io;
            event_loop loop(io, {.concurrency = concurrency});
            bool ran = false;
            std::thread other;
            {
                auto tracked = asio::require(strand(loop),
                                             asio::execution::outstanding_work.tracked);
                auto copy = tracked;
                tracked = strand(loop); // one of two goes
                other = std::thread([&ran, work = std::move(copy)] {
                    asio::post(work, [&ran] { ran = true; });
                });
            }
            io.run();
            other.join();
            io.restart();
            io.run();
            BOOST_TEST(ran);
            io.restart();
            BOOST_TEST(io.poll() == 0u); // nothing is counted any more
            BOOST_TEST(io.stopped());
        }
}
