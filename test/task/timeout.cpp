// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.timeout

#include <polyloop/task/timeout.hpp>

#include "support/cancel.hpp"
#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

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

boost::system::error_code const timed_out =
    make_error_code(boost::asio::error::basic_errors::timed_out);
boost::system::error_code const aborted =
    make_error_code(boost::asio::error::basic_errors::operation_aborted);

void wait_for_ever()
{
    this_fiber::sleep_for(24h);
}

/// Waits so that other tasks and timers have their turn, until `done` holds.
template <class F>
void yield_until(F done)
{
    while (!done())
        this_fiber::yield();
}

int requests()
{
    return this_fiber::current_task().cancelling();
}

} // namespace

BOOST_AUTO_TEST_CASE(what_ends_in_time_gives_its_result)
{
    test::under_every_policy([] {
        BOOST_TEST(timeout(1h, [] { return 42; }) == 42);
        BOOST_TEST(*timeout(1h, [] { return std::make_unique<int>(7); }) == 7);
        int target = 0;
        BOOST_TEST(&timeout(1h, [&target]() -> int& { return target; }) == &target);
        timeout(1h, [] { this_fiber::sleep_for(1us); });
        timeout(std::chrono::hours::max(), [] { this_fiber::yield(); });
        timeout(std::chrono::nanoseconds::max(), [] { this_fiber::yield(); });
        timeout_at(std::chrono::steady_clock::time_point::max(), [] { this_fiber::yield(); });
        timeout_at(std::chrono::system_clock::time_point::max(), [] { this_fiber::yield(); });
        timeout_at(std::chrono::sys_days::max(), [] { this_fiber::yield(); });
        timeout_at(std::chrono::system_clock::now() + 1h, [] { this_fiber::yield(); });
        BOOST_TEST(requests() == 0);
    });
}

BOOST_AUTO_TEST_CASE(what_takes_too_long_throws_timed_out)
{
    test::under_every_policy([] {
        auto const before = get_running_loop().time(); // counted from the batch's time
        BOOST_TEST(test::code_of([] { timeout(2ms, wait_for_ever); }) == timed_out);
        BOOST_TEST((std::chrono::steady_clock::now() - before >= 2ms));
        BOOST_TEST(test::code_of([] {
                       timeout_at(std::chrono::steady_clock::now() + 1ms, wait_for_ever);
                   }) == timed_out);
        BOOST_TEST(requests() == 0);
        this_fiber::yield(); // nothing is left to be delivered
    });
}

BOOST_AUTO_TEST_CASE(an_operation_and_a_join_are_cut_short)
{
    test::under_every_policy([] {
        asio::steady_timer timer(get_running_loop().get_executor(), 24h);
        BOOST_TEST(test::code_of([&] { timeout(1ms, [&] { timer.async_wait(use_fiber); }); }) ==
                   timed_out);
        // As `await task` does, a join that is cut short cancels the joined task.
        task<> joined = spawn(wait_for_ever);
        BOOST_TEST(test::code_of([&] { timeout(1ms, [&] { joined.join(); }); }) == timed_out);
        BOOST_TEST(joined.cancelled());
    });
}

BOOST_AUTO_TEST_CASE(a_limit_of_nothing_starts_the_callable_and_cuts_its_first_wait)
{
    test::under_every_policy([] {
        for (auto limit : {0ns, -1ns, std::chrono::nanoseconds::min()})
        {
            bool started = false;
            BOOST_TEST(test::code_of([&] {
                           timeout(limit, [&] {
                               started = true;
                               this_fiber::yield();
                           });
                       }) == timed_out);
            BOOST_TEST(started);
            BOOST_TEST(timeout(limit, [] { return 1; }) == 1);
            this_fiber::yield();
        }
        auto const over_at = [](auto when) {
            return test::code_of([&] { timeout_at(when, [] { this_fiber::yield(); }); });
        };
        BOOST_TEST(over_at(std::chrono::steady_clock::time_point::min()) == timed_out);
        BOOST_TEST(over_at(std::chrono::system_clock::time_point::min()) == timed_out);
        BOOST_TEST(over_at(std::chrono::sys_days::min()) == timed_out);
        BOOST_TEST(over_at(std::chrono::system_clock::now() - 1s) == timed_out);
        BOOST_TEST(requests() == 0);
    });
}

BOOST_AUTO_TEST_CASE(what_ends_although_its_time_was_over_has_its_way)
{
    test::under_every_policy([] {
        BOOST_TEST(timeout(1ms, [] {
                       try
                       {
                           wait_for_ever();
                       }
                       catch (boost::system::system_error const&)
                       {
                       }
                       BOOST_TEST(requests() == 1);
                       return 5;
                   }) == 5);
        BOOST_TEST(requests() == 0);
        BOOST_CHECK_THROW(timeout(1ms,
                                  [] {
                                      try
                                      {
                                          wait_for_ever();
                                      }
                                      catch (boost::system::system_error const&)
                                      {
                                          throw std::logic_error("of its own");
                                      }
                                  }),
                          std::logic_error);
        BOOST_TEST(requests() == 0);
        this_fiber::yield();
    });
}

BOOST_AUTO_TEST_CASE(an_expiry_that_was_not_delivered_is_revoked)
{
    // It expires while the fiber waits for what cannot be cancelled: the request stays for the next
    // suspension, which does not come.
    event_loop loop;
    run_until_complete(loop, [&loop] {
        auto initiation = [&loop](auto handler) {
            auto shared = std::make_shared<decltype(handler)>(std::move(handler));
            loop.call_later(3ms, [shared] { std::move (*shared)(); });
        };
        BOOST_TEST(timeout(1ms, [&] {
                       asio::async_initiate<use_fiber_t const, void()>(initiation, use_fiber);
                       return requests();
                   }) == 1);
        BOOST_TEST(requests() == 0);
        this_fiber::yield();
    });
}

BOOST_AUTO_TEST_CASE(the_inner_of_two_leaves_the_outer_alone)
{
    test::under_every_policy([] {
        bool inner_timed_out = false;
        timeout(1h, [&] {
            inner_timed_out = test::code_of([] { timeout(1ms, wait_for_ever); }) == timed_out;
            this_fiber::yield();
        });
        BOOST_TEST(inner_timed_out);
        // The outer one cancels, and passes through the inner one as it is.
        boost::system::error_code inner;
        BOOST_TEST(test::code_of([&] {
                       timeout(1ms, [&] {
                           inner = test::code_of([] { timeout(1h, wait_for_ever); });
                           detail::throw_error(inner);
                       });
                   }) == timed_out);
        BOOST_TEST(inner == aborted);
        BOOST_TEST(requests() == 0);
    });
}

BOOST_AUTO_TEST_CASE(of_two_that_expire_together_the_outer_one_speaks)
{
    event_loop loop;
    run_until_complete(loop, [] {
        boost::system::error_code inner;
        auto const when = std::chrono::steady_clock::now() - 1s;
        BOOST_TEST(test::code_of([&] {
                       timeout_at(when, [&] {
                           inner = test::code_of([&] { timeout_at(when, wait_for_ever); });
                           detail::throw_error(inner);
                       });
                   }) == timed_out);
        BOOST_TEST(inner == aborted);
        BOOST_TEST(requests() == 0);
    });
}

BOOST_AUTO_TEST_CASE(a_cancellation_from_outside_goes_through)
{
    test::under_every_policy([] {
        std::atomic<bool> waits = false;
        task<int> t = spawn([&waits] {
            boost::system::error_code const met = test::code_of([&] {
                timeout(1h, [&] {
                    waits = true;
                    wait_for_ever();
                });
            });
            BOOST_ASSERT(met == aborted);
            return requests();
        });
        yield_until([&] { return waits.load(); });
        t.cancel();
        BOOST_TEST(t.join() == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_cancellation_from_outside_wins_over_an_expiry)
{
    event_loop loop;
    run_until_complete(loop, [] {
        boost::system::error_code met;
        int left = -1;
        task<> t = spawn([&] {
            met = test::code_of([&] {
                timeout(0s, [&] {
                    this_fiber::current_task().cancel();
                    wait_for_ever();
                });
            });
            left = requests();
        });
        t.join();
        BOOST_TEST(met == aborted);
        BOOST_TEST(left == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_deadline_works_in_the_clean_up_after_a_cancellation)
{
    // The request that was met stands; the deadline's own is told from it.
    test::under_every_policy([] {
        std::atomic<bool> waits = false;
        task<std::string> t = spawn([&waits] {
            try
            {
                waits = true;
                wait_for_ever();
            }
            catch (boost::system::system_error const&)
            {
            }
            bool const expired =
                test::code_of([] { timeout(1ms, wait_for_ever); }) == timed_out;
            this_fiber::yield();
            bool const in_time = timeout(1h, [] {
                this_fiber::sleep_for(1us);
                return true;
            });
            this_fiber::yield();
            return std::string(expired && in_time ? "right " : "wrong ") +
                   std::to_string(requests());
        });
        yield_until([&] { return waits.load(); });
        t.cancel();
        BOOST_TEST(t.join() == "right 1");
    });
}

BOOST_AUTO_TEST_CASE(a_cancellation_that_was_on_its_way_is_not_swallowed)
{
    event_loop loop;
    run_until_complete(loop, [] {
        boost::system::error_code met;
        int left = -1;
        spawn([&] {
            this_fiber::current_task().cancel();
            met = test::code_of([] { timeout(0s, wait_for_ever); });
            left = requests();
        }).join();
        BOOST_TEST(met == aborted);
        BOOST_TEST(left == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_cancellation_under_way_at_the_expiry_is_told_once)
{
    event_loop loop;
    run_until_complete(loop, [] {
        boost::system::error_code met;
        int later = -1, left = -1;
        spawn([&] {
            auto const me = this_fiber::current_task();
            met = test::code_of([&] {
                timeout(1ms, [&] {
                    try
                    {
                        wait_for_ever();
                    }
                    catch (...)
                    {
                        test::cancel_from_a_thread(me);
                        throw;
                    }
                });
            });
            later = test::cancelled_waits();
            left = requests();
        }).join();
        BOOST_TEST(met == aborted);
        BOOST_TEST(later == 0);
        BOOST_TEST(left == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_cancellation_under_way_when_the_callable_returns_is_kept)
{
    event_loop loop;
    run_until_complete(loop, [] {
        int later = -1;
        spawn([&] {
            auto const me = this_fiber::current_task();
            timeout(1ms, [&] {
                (void)test::code_of(wait_for_ever);
                test::cancel_from_a_thread(me);
            });
            later = test::cancelled_waits();
        }).join();
        BOOST_TEST(later == 1);
    });
}

BOOST_AUTO_TEST_CASE(outside_of_a_task_it_is_refused)
{
    bool called = false;
    BOOST_CHECK_EXCEPTION(timeout(1s, [&] { called = true; }), boost::system::system_error,
                          test::fails_with(error::not_in_fiber));
    BOOST_TEST(!called);
}

BOOST_AUTO_TEST_CASE(a_coroutine_has_deadlines_too)
{
    test::under_every_policy([] {
        spawn([]() -> asio::awaitable<void> {
            asio::steady_timer timer(co_await asio::this_coro::executor, 24h);
            auto wait = [&]() -> asio::awaitable<int> {
                co_await timer.async_wait(asio::use_awaitable);
                co_return 1;
            };
            boost::system::error_code met, inner;
            try
            {
                co_await timeout(1ms, wait);
            }
            catch (boost::system::system_error const& e)
            {
                met = e.code();
            }
            BOOST_ASSERT(met == timed_out);
            BOOST_ASSERT(requests() == 0);

            // Nested, and the task goes on as if nothing had been.
            auto nested = [&]() -> asio::awaitable<void> {
                try
                {
                    co_await timeout(1h, wait);
                }
                catch (boost::system::system_error const& e)
                {
                    inner = e.code();
                    throw;
                }
            };
            met = {};
            try
            {
                co_await timeout(1ms, nested);
            }
            catch (boost::system::system_error const& e)
            {
                met = e.code();
            }
            BOOST_ASSERT(met == timed_out);
            BOOST_ASSERT(inner == aborted);
            timer.expires_after(1us);
            BOOST_ASSERT(co_await timeout_at(std::chrono::steady_clock::time_point::max(),
                                             wait) == 1);
            timer.expires_after(1us);
            BOOST_ASSERT(co_await wait() == 1);
        }).join();
    });
}

BOOST_AUTO_TEST_CASE(a_coroutine_that_is_cancelled_from_outside_is_not_timed_out)
{
    test::under_every_policy([] {
        std::atomic<bool> waits = false;
        task<int> t = spawn([&waits]() -> asio::awaitable<int> {
            asio::steady_timer timer(co_await asio::this_coro::executor, 24h);
            boost::system::error_code met;
            try
            {
                co_await timeout(1h, [&]() -> asio::awaitable<void> {
                    waits = true;
                    co_await timer.async_wait(asio::use_awaitable);
                });
            }
            catch (boost::system::system_error const& e)
            {
                met = e.code();
            }
            co_return met == aborted ? requests() : -1;
        });
        yield_until([&] { return waits.load(); });
        t.cancel();
        BOOST_TEST(t.join() == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_coroutine_that_is_destroyed_takes_its_deadline_back)
{
    event_loop loop;
    auto t = spawn(loop, []() -> asio::awaitable<void> {
        asio::steady_timer timer(co_await asio::this_coro::executor, 24h);
        co_await timeout(1h, [&]() -> asio::awaitable<void> {
            co_await timer.async_wait(asio::use_awaitable);
        });
    });
    test::run_ready(loop);
    loop.close();
    BOOST_TEST(t.cancelled());
}

BOOST_AUTO_TEST_CASE(closing_a_loop_unwinds_through_deadlines_as_a_cancellation)
{
    boost::system::error_code met;
    {
        event_loop loop;
        (void)spawn(loop, [&] {
            met = test::code_of([] { timeout(1h, [] { timeout(1h, wait_for_ever); }); });
        });
        test::run_ready(loop);
    }
    BOOST_TEST(met == aborted);
}

BOOST_AUTO_TEST_CASE(expiry_end_and_cancellation_may_meet_on_any_threads)
{
    // What is waited for ends just when the deadline does, and a third one cancels: whatever
    // comes first, the requests add up and nothing is delivered later.
    test::for_seeds(5, [](test::engine& e) {
        auto const seed = e();
        test::under_every_policy([seed] {
            test::engine draws(seed);
            for (int i = 0; i != 30; ++i)
            {
                auto const limit =
                    std::chrono::microseconds(test::draw(draws, 0, 1500));
                auto const length =
                    std::chrono::microseconds(test::draw(draws, 0, 1500));
                bool const cancelled = test::draw(draws, 0, 2) == 0;
                task<bool> t = spawn([limit, length] {
                    boost::system::error_code const met = test::code_of([&] {
                        timeout(limit, [&] { this_fiber::sleep_for(length); });
                    });
                    bool const asked = met == aborted;
                    bool right = !met || met == timed_out || asked;
                    if (asked)
                        right = right && requests() > 0;
                    else
                        try
                        {
                            this_fiber::yield();
                            this_fiber::sleep_for(1us);
                        }
                        catch (boost::system::system_error const&)
                        {
                            right = right && requests() > 0;
                        }
                    return right;
                });
                if (cancelled)
                {
                    this_fiber::sleep_for(
                        std::chrono::microseconds(test::draw(draws, 0, 1500)));
                    t.cancel();
                }
                boost::system::error_code const end =
                    test::code_of([&] { BOOST_TEST(t.join()); });
                BOOST_TEST((!end || (cancelled && end == aborted)));
            }
        });
    });
}
