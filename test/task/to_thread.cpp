// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.to_thread

#include <polyloop/task/to_thread.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/timeout.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <latch>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;

namespace {

boost::system::error_code const aborted =
    make_error_code(boost::asio::error::basic_errors::operation_aborted);

template <class F>
void yield_until(F done)
{
    while (!done())
        this_fiber::yield();
}

} // namespace

BOOST_AUTO_TEST_CASE(S78_it_runs_elsewhere_and_gives_the_result)
{
    test::under_every_policy([] {
        auto const here = std::this_thread::get_id();
        BOOST_TEST((to_thread([] { return std::this_thread::get_id(); }).join() != here));
        BOOST_TEST(*to_thread([] { return std::make_unique<int>(7); }).join() == 7);
        int target = 0;
        BOOST_TEST(&to_thread([&]() -> int& { return target; }).join() == &target);
        to_thread([&] { target = 4; }).join();
        BOOST_TEST(target == 4);
        struct no_default
        {
            explicit no_default(int v) : value(v)
            {
            }
            int value;
        };
        BOOST_TEST(to_thread([] { return no_default(5); }).join().value == 5);
        auto const failing = [] { throw std::logic_error("there"); };
        BOOST_CHECK_THROW(to_thread(failing).join(), std::logic_error);
    });
}

BOOST_AUTO_TEST_CASE(the_loop_goes_on_while_a_fiber_waits)
{
    test::under_every_policy([] {
        std::latch go_on(1);
        auto blocked = to_thread([&] { go_on.wait(); });
        spawn([] { this_fiber::sleep_for(100us); }).join();
        BOOST_TEST(!blocked.done());
        go_on.count_down();
        blocked.join();
    });
}

BOOST_AUTO_TEST_CASE(cancelling_it_ends_the_task_and_not_the_work)
{
    test::under_every_policy([] {
        auto go_on = std::make_shared<std::latch>(1);
        auto ended = std::make_shared<std::latch>(1);
        auto begun = std::make_shared<std::latch>(1);
        auto t = to_thread([=] {
            begun->count_down();
            go_on->wait();
            ended->count_down();
            return 1;
        });
        yield_until([&] { return begun->try_wait(); });
        t.cancel();
        BOOST_TEST(test::code_of([&] { t.join(); }) == aborted);
        BOOST_TEST(!ended->try_wait());
        go_on->count_down();
        ended->wait();
        BOOST_TEST(test::code_of([] {
                       timeout(1ms, [] {
                           to_thread([] { std::this_thread::sleep_for(5ms); }).join();
                       });
                   }) == make_error_code(asio::error::timed_out));
    });
}

BOOST_AUTO_TEST_CASE(run_in_executor_works_for_fibers_and_can_be_cancelled)
{
    test::under_every_policy([] {
        event_loop& loop = get_running_loop();
        BOOST_TEST(loop.run_in_executor([] { return 6; }, use_fiber) == 6);
        BOOST_CHECK_THROW(
            loop.run_in_executor([] { throw std::logic_error("there"); }, use_fiber),
            std::logic_error);
        auto go_on = std::make_shared<std::latch>(1);
        BOOST_CHECK_EXCEPTION(loop.run_in_executor([go_on] { go_on->wait(); }, use_fiber(1ms)),
                              boost::system::system_error,
                              test::fails_with(make_error_code(asio::error::timed_out)));
        go_on->count_down();
        auto started = std::make_shared<std::latch>(1);
        auto hold = std::make_shared<std::latch>(1);
        auto t = spawn(loop, [started, hold]() -> asio::awaitable<int> {
            // A name of its own: GCC 12 destroys the captures of a temporary here twice.
            auto work = [started, hold] {
                started->count_down();
                hold->wait();
                return 1;
            };
            co_return co_await get_running_loop().run_in_executor(work, asio::use_awaitable);
        });
        yield_until([&] { return started->try_wait(); });
        t.cancel();
        BOOST_TEST(test::code_of([&] { t.join(); }) == aborted);
        hold->count_down();
    });
}

BOOST_AUTO_TEST_CASE(S78_it_needs_a_running_loop_with_an_executor)
{
    BOOST_CHECK_EXCEPTION((void)to_thread([] {}), boost::system::system_error,
                          test::fails_with(error::no_running_loop));
    event_loop loop;
    run_until_complete(loop, [&loop] {
        loop.core().shut_default_executor();
        BOOST_CHECK_EXCEPTION((void)to_thread([] {}), boost::system::system_error,
                              test::fails_with(error::executor_shut_down));
    });
}

BOOST_AUTO_TEST_CASE(a_loop_that_is_closed_does_not_wait_for_it)
{
    auto go_on = std::make_shared<std::latch>(1);
    auto begun = std::make_shared<std::latch>(1);
    task<> t;
    {
        event_loop loop;
        loop.call_soon([&] {
            t = to_thread([=] {
                begun->count_down();
                go_on->wait();
            });
        });
        test::run_until(loop, [&] { return begun->try_wait(); });
    }
    BOOST_TEST(t.cancelled());
    go_on->count_down();
}

BOOST_AUTO_TEST_CASE(ends_and_cancellations_may_meet)
{
    test::for_seeds(3, [](test::engine& e) {
        auto const seed = e();
        test::under_every_policy([seed] {
            test::engine draws(seed);
            for (int i = 0; i != 20; ++i)
            {
                auto const limit = std::chrono::microseconds(test::draw(draws, 0, 200));
                auto t = to_thread([limit] {
                    if (limit > 100us)
                        std::this_thread::yield();
                    return std::make_shared<int>(3);
                });
                this_fiber::sleep_for(limit);
                t.cancel();
                auto const end = test::code_of([&] { BOOST_TEST(*t.join() == 3); });
                BOOST_TEST((!end || end == aborted));
            }
        });
    });
}
