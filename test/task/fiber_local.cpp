// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.fiber_local

#include <polyloop/task/fiber_local.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/shield.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/task_group.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/to_thread.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_CASE(it_has_its_initial_value_until_it_is_set)
{
    fiber_local<int> with(3);
    fiber_local<std::string> without;
    BOOST_TEST(with.get() == 3);
    BOOST_TEST(with.get_or(4) == 3);
    BOOST_TEST(!with.is_set());
    BOOST_CHECK_EXCEPTION(without.get(), boost::system::system_error,
                          test::fails_with(error::no_value));
    BOOST_TEST(without.get_or("other") == "other");
    (void)without.set("set");
    BOOST_TEST(without.get() == "set");
    BOOST_TEST(without.get_or("other") == "set");
    BOOST_TEST(without.is_set());
    BOOST_TEST(with.get() == 3);
}

BOOST_AUTO_TEST_CASE(tasks_inherit_a_copy_at_spawn)
{
    test::under_every_policy([] {
        fiber_local<int> v(0), w(0);
        (void)v.set(1);
        task<int> t = spawn([&] {
            int const inherited = v.get();
            (void)v.set(10);
            this_fiber::yield();
            return inherited + v.get();
        });
        (void)v.set(2); // after the spawn
        BOOST_TEST(t.join() == 11);
        BOOST_TEST(v.get() == 2);
        // Many at once, each with its own across its waits.
        std::vector<task<bool>> all;
        for (int i = 0; i != 30; ++i)
        {
            (void)w.set(i);
            all.push_back(spawn([&, i] {
                bool right = w.get() == i && v.get() == 2;
                (void)v.set(i);
                for (int j = 0; j != 5; ++j)
                {
                    this_fiber::sleep_for(20us);
                    right = right && v.get() == i + j && w.get() == i;
                    (void)v.set(i + j + 1);
                }
                return right && spawn([&] { return v.get(); }).join() == i + 5;
            }));
        }
        for (auto& x : all)
            BOOST_TEST(x.join());
        BOOST_TEST(w.get() == 29);
    });
}

BOOST_AUTO_TEST_CASE(whatever_makes_tasks_hands_values_on)
{
    test::under_every_policy([] {
        fiber_local<std::string> v;
        (void)v.set("here");
        BOOST_TEST(to_thread([&] { return v.get(); }).join() == "here");
        BOOST_TEST(shield([&] { return v.get(); }) == "here");
        with_task_group([&](task_group& g) {
            BOOST_TEST(g.spawn([&] { return v.get(); }).join() == "here");
        });
        auto coroutine = [&]() -> asio::awaitable<std::string> {
            std::string const before = v.get();
            (void)v.set("own");
            asio::steady_timer t(co_await asio::this_coro::executor, 1us);
            co_await t.async_wait(asio::use_awaitable);
            co_return before + v.get();
        };
        BOOST_TEST(spawn(coroutine).join() == "hereown");
        BOOST_TEST(v.get() == "here");
    });
}

BOOST_AUTO_TEST_CASE(S44_callbacks_inherit_when_they_are_registered)
{
    fiber_local<int> v(0);
    event_loop loop;
    int soon = -1, later = -1, from_outside = -1, nested = -1;
    loop.call_soon([&] {
        from_outside = v.get();
        (void)v.set(5); // its own
        loop.call_soon([&] { nested = v.get(); });
    });
    run_until_complete(loop, [&] {
        (void)v.set(1);
        loop.call_soon([&] { soon = v.get(); });
        loop.call_later(1us, [&] { later = v.get(); });
        (void)v.set(2);
        this_fiber::sleep_for(2ms);
    });
    BOOST_TEST(from_outside == 0);
    BOOST_TEST(nested == 5);
    BOOST_TEST(soon == 1);
    BOOST_TEST(later == 1);
    BOOST_TEST(v.get() == 0);
}

BOOST_AUTO_TEST_CASE(each_thread_has_its_own)
{
    fiber_local<int> v(0);
    (void)v.set(1);
    int other = -1, other_set = -1;
    std::thread([&] {
        other = v.get();
        (void)v.set(2);
        other_set = v.get();
    }).join();
    BOOST_TEST(other == 0);
    BOOST_TEST(other_set == 2);
    BOOST_TEST(v.get() == 1);
}

BOOST_AUTO_TEST_CASE(S56_a_runner_keeps_values_from_run_to_run)
{
    for (char const* const text : test::every_policy)
    {
        fiber_local<std::string> v;
        (void)v.set("before");
        runner r({.policy = make_policy(text)});
        r.run([&] {
            BOOST_TEST(v.get() == "before");
            (void)v.set("first run");
        });
        BOOST_TEST(v.get() == "before"); // a copy
        r.run([&] { BOOST_TEST(v.get() == "first run"); });
        try
        {
            r.run([&] {
                (void)v.set("failed");
                throw 1;
            });
        }
        catch (int)
        {
        }
        r.run([&] { BOOST_TEST(v.get() == "failed"); });
        r.close();
        (void)v.set("after");
        run([&] { BOOST_TEST(v.get() == "after"); }, {.policy = make_policy(text)});
    }
}

BOOST_AUTO_TEST_CASE(a_token_takes_a_set_back)
{
    event_loop loop;
    run_until_complete(loop, [] {
        fiber_local<int> v, other;
        auto first = v.set(1);
        auto second = v.set(2);
        v.reset(second);
        BOOST_TEST(v.get() == 1);
        auto const bad = test::fails_with(error::bad_config);
        BOOST_CHECK_EXCEPTION(v.reset(second), boost::system::system_error, bad);
        BOOST_CHECK_EXCEPTION(other.reset(first), boost::system::system_error, bad);
        spawn([&] {
            BOOST_CHECK_EXCEPTION(v.reset(first), boost::system::system_error, bad);
        }).join();
        v.reset(first);
        BOOST_TEST(!v.is_set());
    });
}

BOOST_AUTO_TEST_CASE(a_binding_ends_with_its_scope)
{
    test::under_every_policy([] {
        fiber_local<int> v(0);
        {
            auto const one = v.bind(1);
            this_fiber::yield();
            {
                auto const two = v.bind(2);
                BOOST_TEST(spawn([&] { return v.get(); }).join() == 2);
            }
            BOOST_TEST(v.get() == 1);
        }
        BOOST_TEST(!v.is_set());
    });
}

BOOST_AUTO_TEST_CASE(values_end_with_the_last_context_that_has_them)
{
    auto const value = std::make_shared<int>(1);
    {
        fiber_local<std::shared_ptr<int>> v;
        event_loop loop;
        run_until_complete(loop, [&] {
            auto token = v.set(value);
            BOOST_TEST(value.use_count() == 2);
            task<> t = spawn([&] {
                BOOST_TEST(value.use_count() == 2); // shared, not copied
                BOOST_TEST(v.get() == value);
                (void)v.set(nullptr);
            });
            t.join();
            v.reset(token);
        });
        BOOST_TEST(value.use_count() == 1);
    }
}
