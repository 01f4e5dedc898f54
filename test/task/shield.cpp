// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.shield

#include <polyloop/task/shield.hpp>

#include "support/cancel.hpp"
#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/timeout.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;

namespace {

boost::system::error_code const aborted =
    make_error_code(boost::asio::error::basic_errors::operation_aborted);

void wait_for_ever()
{
    this_fiber::sleep_for(24h);
}

template <class F>
void yield_until(F done)
{
    while (!done())
        this_fiber::yield();
}

} // namespace

BOOST_AUTO_TEST_CASE(it_gives_the_result)
{
    test::under_every_policy([] {
        BOOST_TEST(shield([] { return 42; }) == 42);
        BOOST_TEST(*shield([] { return std::make_unique<int>(7); }) == 7);
        BOOST_CHECK_THROW(shield([] { throw std::logic_error("own"); }), std::logic_error);
        auto const me = this_fiber::id();
        BOOST_TEST(shield([] { return this_fiber::id(); }) != me);
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_caller_stays_and_is_cancelled_at_its_next_wait)
{
    test::under_every_policy([] {
        std::atomic<bool> inside = false, go_on = false;
        std::atomic<int> ended = 0;
        task<bool> t = spawn([&] {
            int const value = shield([&] {
                inside = true;
                yield_until([&] { return go_on.load(); });
                ++ended;
                return 5;
            });
            bool const right = value == 5 && this_fiber::cancelled();
            return test::code_of([] { this_fiber::yield(); }) == aborted && right;
        });
        yield_until([&] { return inside.load(); });
        t.cancel();
        for (int i = 0; i != 5; ++i)
            this_fiber::yield();
        BOOST_TEST(!t.done());
        go_on = true;
        BOOST_TEST(t.join());
        BOOST_TEST(ended == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_task_is_joined_without_being_cancelled)
{
    test::under_every_policy([] {
        std::atomic<bool> go_on = false, waits = false;
        task<int> inner = spawn([&] {
            yield_until([&] { return go_on.load(); });
            return 3;
        });
        task<int> outer = spawn([&] {
            waits = true;
            return shield(inner);
        });
        yield_until([&] { return waits.load(); });
        this_fiber::yield();
        outer.cancel();
        this_fiber::yield();
        go_on = true;
        BOOST_TEST(outer.join() == 3);
        BOOST_TEST(inner.join() == 3);
        // What cancels a join under a deadline stops before a shield.
        task<> still = spawn([] { this_fiber::sleep_for(3ms); });
        timeout(1ms, [&] { shield(still); });
        BOOST_TEST(!still.cancelled());
    });
}

BOOST_AUTO_TEST_CASE(the_shielded_task_itself_can_be_cancelled)
{
    test::under_every_policy([] {
        BOOST_TEST(test::code_of([] {
                       shield([] {
                           this_fiber::current_task().cancel();
                           wait_for_ever();
                       });
                   }) == aborted);
        BOOST_TEST(!this_fiber::cancelled());
        this_fiber::yield();
    });
}

BOOST_AUTO_TEST_CASE(a_coroutine_shields_too)
{
    test::under_every_policy([] {
        std::atomic<bool> inside = false, go_on = false;
        task<bool> t = spawn([&]() -> asio::awaitable<bool> {
            int const value = co_await shield([&]() -> asio::awaitable<int> {
                inside = true;
                asio::steady_timer timer(co_await asio::this_coro::executor);
                while (!go_on)
                {
                    timer.expires_after(50us);
                    co_await timer.async_wait(asio::use_awaitable);
                }
                co_return 5;
            });
            bool met = false;
            try
            {
                asio::steady_timer timer(co_await asio::this_coro::executor, 24h);
                co_await timer.async_wait(asio::use_awaitable);
            }
            catch (boost::system::system_error const&)
            {
                met = true;
            }
            co_return value == 5 && met;
        });
        yield_until([&] { return inside.load(); });
        t.cancel();
        for (int i = 0; i != 5; ++i)
            this_fiber::yield();
        BOOST_TEST(!t.done());
        go_on = true;
        BOOST_TEST(t.join());
    });
}

BOOST_AUTO_TEST_CASE(in_a_coroutine_a_cancellation_under_way_is_told_once)
{
    // When another thread asks for it: its message then comes during the shield, or after.
    for (bool const before : {true, false})
    {
        int met = 0;
        event_loop loop;
        run_until_complete(loop, [&] {
            spawn([&]() -> asio::awaitable<void> {
                auto const me = this_fiber::current_task();
                asio::steady_timer timer(co_await asio::this_coro::executor);
                auto inner = [&]() -> asio::awaitable<void> {
                    asio::steady_timer own(co_await asio::this_coro::executor, 1ms);
                    if (before)
                        co_await own.async_wait(asio::use_awaitable);
                    else
                        test::cancel_from_a_thread(me);
                };
                if (before)
                    test::cancel_from_a_thread(me);
                co_await shield(inner);
                for (bool more = true; more;)
                {
                    timer.expires_after(5ms);
                    more = false;
                    try
                    {
                        co_await timer.async_wait(asio::use_awaitable);
                    }
                    catch (boost::system::system_error const&)
                    {
                        ++met;
                        more = true;
                    }
                }
            }).join();
        });
        BOOST_TEST(met == 1);
    }
}

BOOST_AUTO_TEST_CASE(it_needs_a_fiber)
{
    BOOST_CHECK_EXCEPTION(shield([] {}), boost::system::system_error,
                          test::fails_with(error::not_in_fiber));
    event_loop loop;
    run_until_complete(loop, [] {
        BOOST_CHECK_EXCEPTION(shield(this_fiber::current_task()), boost::system::system_error,
                              test::fails_with(error::self_join));
    });
}

BOOST_AUTO_TEST_CASE(closing_a_loop_unwinds_the_shielded_first)
{
    std::vector<std::string> order;
    {
        event_loop loop;
        (void)spawn(loop, [&] {
            int on_the_frame = 1;
            try
            {
                shield([&] {
                    (void)test::code_of(wait_for_ever);
                    on_the_frame = 2;
                    order.push_back("inner");
                });
                order.push_back("outer " + std::to_string(on_the_frame));
                shield([] {});
            }
            catch (boost::system::system_error const& e)
            {
                order.push_back(e.code() == aborted ? "aborted" : "wrong");
            }
        });
        test::run_ready(loop);
        test::run_ready(loop);
    }
    BOOST_TEST((order == std::vector<std::string>{"inner", "outer 2", "aborted"}));
}
