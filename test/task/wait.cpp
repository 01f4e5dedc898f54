// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.wait

#include <polyloop/task/wait.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/shield.hpp>
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

BOOST_AUTO_TEST_CASE(all_means_all)
{
    test::under_every_policy([] {
        std::vector<task<int>> tasks;
        for (int i = 0; i != 10; ++i)
            tasks.push_back(spawn([i] {
                this_fiber::yield();
                if (i == 3)
                    throw std::logic_error("kept in its task");
                return i;
            }));
        auto [done, pending] = polyloop::wait(tasks);
        BOOST_TEST(done.size() == 10u);
        BOOST_TEST(pending.empty());
        for (int i = 0; i != 10; ++i)
            BOOST_TEST((done[i] == tasks[i]));
        BOOST_CHECK_THROW(done[3].join(), std::logic_error);
    });
}

BOOST_AUTO_TEST_CASE(first_completed_leaves_the_others_alone)
{
    test::under_every_policy([] {
        std::atomic<bool> go_on = false;
        auto waiting = [&] {
            return spawn([&] {
                yield_until([&] { return go_on.load(); });
                return 1;
            });
        };
        std::vector<task<int>> tasks{waiting(), spawn([] { return 2; }), waiting()};
        auto [done, pending] = polyloop::wait(tasks, return_when::first_completed);
        BOOST_REQUIRE(done.size() == 1u);
        BOOST_TEST((done[0] == tasks[1]));
        BOOST_TEST(pending.size() == 2u);
        BOOST_TEST(pending[0].cancelling() == 0);
        // One that is done already does not wait at all.
        BOOST_TEST(polyloop::wait(tasks, return_when::first_completed).done.size() == 1u);
        go_on = true;
        BOOST_TEST(polyloop::wait(pending).done.size() == 2u);
    });
}

BOOST_AUTO_TEST_CASE(first_failed_takes_no_cancellation_for_a_failure)
{
    test::under_every_policy([] {
        std::atomic<bool> go_on = false;
        std::vector<task<>> tasks{spawn(wait_for_ever), spawn([] {}), spawn(wait_for_ever),
                                  spawn([&] {
                                      yield_until([&] { return go_on.load(); });
                                      throw std::logic_error("failed");
                                  })};
        tasks[0].cancel();
        go_on = true;
        auto const [done, pending] = polyloop::wait(tasks, return_when::first_failed);
        BOOST_TEST(tasks[3].done());
        BOOST_REQUIRE(pending.size() >= 1u);
        BOOST_TEST(!tasks[2].done());
        BOOST_CHECK_THROW(tasks[3].join(), std::logic_error);
        // Where none fails it is all.
        std::vector<task<>> rest{spawn([] { this_fiber::yield(); }), tasks[2]};
        tasks[2].cancel();
        BOOST_TEST(polyloop::wait(rest, return_when::first_failed).done.size() == 2u);
    });
}

BOOST_AUTO_TEST_CASE(a_limit_ends_the_wait_and_nothing_else)
{
    test::under_every_policy([] {
        std::vector<task<>> tasks{spawn(wait_for_ever), spawn([] {})};
        tasks[1].join(); // on a loop of its own it may take longer than the limit
        auto const start = std::chrono::steady_clock::now();
        auto const [done, pending] = polyloop::wait(tasks, 2ms);
        BOOST_TEST((std::chrono::steady_clock::now() - start >= 2ms));
        BOOST_REQUIRE(done.size() == 1u);
        BOOST_TEST((done[0] == tasks[1]));
        BOOST_REQUIRE(pending.size() == 1u);
        BOOST_TEST(pending[0].cancelling() == 0);
        BOOST_TEST(polyloop::wait(pending, -1h).pending.size() == 1u);
        BOOST_TEST(polyloop::wait(pending, std::chrono::steady_clock::now()).done.empty());
        BOOST_TEST(polyloop::wait(pending, std::chrono::system_clock::now() + 1ms).done.empty());
        BOOST_TEST(polyloop::wait(pending, std::chrono::sys_days::min()).done.empty());
        BOOST_TEST(polyloop::wait(pending, std::chrono::nanoseconds::min()).done.empty());
        BOOST_TEST(polyloop::wait(done, std::chrono::hours::max()).done.size() == 1u);
        BOOST_TEST(polyloop::wait(done, std::chrono::system_clock::time_point::max())
                       .done.size() == 1u);
        tasks[0].cancel();
        BOOST_TEST(polyloop::wait(tasks, 1h).done.size() == 2u);
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_caller_leaves_the_tasks_alone)
{
    test::under_every_policy([] {
        std::atomic<bool> waits = false;
        std::vector<task<>> tasks{spawn(wait_for_ever)};
        task<> t = spawn([&] {
            waits = true;
            (void)polyloop::wait(tasks);
        });
        yield_until([&] { return waits.load(); });
        t.cancel();
        BOOST_TEST(test::code_of([&] { t.join(); }) == aborted);
        BOOST_TEST(tasks[0].cancelling() == 0);
        tasks[0].cancel();
    });
}

BOOST_AUTO_TEST_CASE(nothing_to_wait_for_is_refused)
{
    BOOST_CHECK_EXCEPTION((void)polyloop::wait(std::vector<task<>>()),
                          boost::system::system_error, test::fails_with(error::bad_config));
    BOOST_CHECK_EXCEPTION((void)polyloop::wait(std::vector<task<>>(1)),
                          boost::system::system_error, test::fails_with(error::empty_handle));
}

BOOST_AUTO_TEST_CASE(a_plain_thread_waits_too)
{
    event_loop loop;
    test::running const thread(loop);
    std::vector<task<>> tasks{spawn(loop, wait_for_ever), spawn(loop, [] {})};
    BOOST_TEST(polyloop::wait(tasks, return_when::first_completed).done.size() == 1u);
    BOOST_TEST(polyloop::wait(tasks, 1ms).pending.size() == 1u);
}

BOOST_AUTO_TEST_CASE(ends_limits_and_cancellations_may_meet)
{
    test::for_seeds(5, [](test::engine& e) {
        auto const seed = e();
        test::under_every_policy([seed] {
            test::engine draws(seed);
            for (int i = 0; i != 20; ++i)
            {
                auto const limit = std::chrono::microseconds(test::draw(draws, 0, 300));
                auto const when = static_cast<return_when>(test::draw(draws, 0, 2));
                bool const cancelled = test::draw(draws, 0, 2) == 0;
                std::vector<std::chrono::microseconds> lengths(test::draw(draws, 1, 5));
                for (auto& l : lengths)
                    l = std::chrono::microseconds(test::draw(draws, 0, 300));
                task<bool> t = spawn([=] {
                    std::vector<task<>> all;
                    for (auto const l : lengths)
                        all.push_back(spawn([l] { this_fiber::sleep_for(l); }));
                    bool right = true;
                    try
                    {
                        auto const r = polyloop::wait(all, limit, when);
                        right = r.done.size() + r.pending.size() == all.size();
                    }
                    catch (boost::system::system_error const&)
                    {
                        right = this_fiber::cancelled();
                    }
                    for (auto& x : all)
                        shield(x);
                    return right;
                });
                if (cancelled)
                {
                    this_fiber::sleep_for(
                        std::chrono::microseconds(test::draw(draws, 0, 300)));
                    t.cancel();
                }
                auto const end = test::code_of([&] { BOOST_TEST(t.join()); });
                BOOST_TEST((!end || (cancelled && end == aborted)));
            }
        });
    });
}
