// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.task

#include <polyloop/task/task.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/to_thread.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;
namespace aborted_error = boost::asio::error;

namespace {

test::fails_with const aborted(
    make_error_code(boost::asio::error::basic_errors::operation_aborted));

/// A fiber that waits until it is cancelled, and says what it met.
auto waiting(std::atomic<int>& cancellations)
{
    return [&cancellations] {
        try
        {
            this_fiber::sleep_for(24h);
        }
        catch (boost::system::system_error const& e)
        {
            if (e.code() == aborted_error::operation_aborted)
                ++cancellations;
            throw;
        }
    };
}

struct reports
{
    explicit reports(event_loop& l) : loop(l)
    {
        loop.set_exception_handler([this](event_loop&, exception_context const& c) {
            std::lock_guard const lock(mutex);
            seen.push_back(c);
        });
    }
    ~reports()
    {
        loop.set_exception_handler({});
    }

    event_loop& loop;
    std::mutex mutex;
    std::vector<exception_context> seen;
};

} // namespace

BOOST_AUTO_TEST_CASE(join_gives_the_result)
{
    test::under_every_policy([] {
        BOOST_TEST(spawn([] { return 42; }).join() == 42);
        BOOST_TEST(*spawn([] { return std::make_unique<int>(7); }).join() == 7);
        int target = 0;
        task<int&> reference = spawn([&target]() -> int& { return target; });
        BOOST_TEST(&reference.join() == &target);
        spawn([&target] { target = 3; }).join();
        BOOST_TEST(target == 3);
    });
}

BOOST_AUTO_TEST_CASE(every_joiner_gets_a_copy)
{
    test::under_every_policy([] {
        task<std::string> t = spawn([] { return std::string("shared"); });
        std::vector<task<std::string>> joiners;
        for (int i = 0; i != 10; ++i)
            joiners.push_back(spawn([t]() mutable { return t.join(); }));
        for (auto& j : joiners)
            BOOST_TEST(j.join() == "shared");
        BOOST_TEST(t.join() == "shared");
    });
}

BOOST_AUTO_TEST_CASE(a_result_that_cannot_be_copied_goes_to_the_first_join)
{
    run([] {
        auto t = spawn([] { return std::make_unique<int>(1); });
        BOOST_TEST(*t.join() == 1);
        BOOST_CHECK_EXCEPTION(t.join(), boost::system::system_error,
                              test::fails_with(error::result_taken));
    });
}

BOOST_AUTO_TEST_CASE(exceptions_cross_join_and_are_not_reported_then)
{
    test::under_every_policy([] {
        reports r(get_running_loop());
        auto t = spawn([]() -> int { throw std::logic_error("from the task"); });
        BOOST_CHECK_EXCEPTION(t.join(), std::logic_error, [](std::logic_error const& e) {
            return e.what() == std::string("from the task");
        });
        BOOST_TEST(t.done());
        BOOST_TEST(!t.cancelled());
        t = {};
        this_fiber::yield();
        BOOST_TEST(r.seen.empty());
    });
}

BOOST_AUTO_TEST_CASE(an_error_that_nobody_joins_reaches_the_exception_handler_once)
{
    event_loop loop;
    reports r(loop);
    run_until_complete(loop, [] {
        // The handle goes first, then the task ends.
        (void)spawn([] { throw std::logic_error("first"); }, {.name = "thrower", .key = {}});
        this_fiber::yield();
        this_fiber::yield();
        // The task ends first, then the handle goes.
        auto t = spawn([] { throw std::logic_error("second"); });
        while (!t.done())
            this_fiber::yield();
    });
    BOOST_TEST_REQUIRE(r.seen.size() == 2u);
    BOOST_TEST(r.seen[0].task == "thrower");
    BOOST_CHECK_THROW(std::rethrow_exception(r.seen[0].exception), std::logic_error);
    BOOST_TEST(describe_exception(r.seen[1].exception).find("second") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_dropped_handle_detaches)
{
    test::under_every_policy([] {
        std::promise<void> ran;
        (void)spawn([&ran] {
            this_fiber::yield();
            ran.set_value();
        });
        auto done = ran.get_future();
        while (done.wait_for(0s) != std::future_status::ready)
            this_fiber::yield();
    });
}

BOOST_AUTO_TEST_CASE(the_callable_is_destroyed_before_the_joiner_goes_on)
{
    test::under_every_policy([] {
        auto token = std::make_shared<int>();
        std::weak_ptr<int> const watch = token;
        spawn([t = std::move(token)] { this_fiber::yield(); }).join();
        BOOST_TEST(watch.expired());
    });
}

BOOST_AUTO_TEST_CASE(join_from_a_plain_thread_blocks_it)
{
    test::under_every_policy([] {
        task<int> t = spawn([] {
            this_fiber::sleep_for(1ms);
            return 5;
        });
        std::promise<int> got;
        std::thread other([t, &got]() mutable { got.set_value(t.join()); });
        BOOST_TEST(t.join() == 5);
        other.join();
        BOOST_TEST(got.get_future().get() == 5);
    });
}

BOOST_AUTO_TEST_CASE(join_in_a_bare_handler_is_refused_unless_the_task_is_done)
{
    event_loop loop;
    run_until_complete(loop, [&loop] {
        auto done = spawn([] { return 1; });
        done.join();
        auto pending = spawn([] { this_fiber::sleep_for(24h); });
        boost::system::error_code refused;
        int got = 0;
        auto checked = std::make_shared<std::promise<void>>();
        auto future = checked->get_future();
        loop.call_soon([&, checked] {
            got = done.join();
            refused = test::code_of([&] { pending.join(); });
            checked->set_value();
        });
        while (future.wait_for(0s) != std::future_status::ready)
            this_fiber::yield();
        BOOST_TEST(got == 1);
        BOOST_TEST(refused == make_error_code(error::not_in_fiber));
        pending.cancel();
    });
}

BOOST_AUTO_TEST_CASE(a_task_cannot_join_itself)
{
    test::under_every_policy([] {
        auto t = spawn([] {
            return test::code_of([] { this_fiber::current_task().join(); });
        });
        BOOST_TEST(t.join() == make_error_code(error::self_join));
    });
}

BOOST_AUTO_TEST_CASE(join_for_says_whether_the_task_is_done)
{
    test::under_every_policy([] {
        std::atomic<bool> go = false;
        auto t = spawn([&go] {
            while (!go)
                this_fiber::sleep_for(1ms);
        });
        auto const before = std::chrono::steady_clock::now();
        BOOST_TEST(!t.join_for(5ms));
        BOOST_TEST((std::chrono::steady_clock::now() - before >= 5ms));
        BOOST_TEST(!t.join_for(0s));
        BOOST_TEST(!t.join_for(-1h));
        go = true;
        BOOST_TEST(t.join_for(std::chrono::hours::max()));
        BOOST_TEST(t.join_for(0s));
    });
}

BOOST_AUTO_TEST_CASE(join_for_from_a_plain_thread)
{
    test::under_every_policy([] {
        std::atomic<bool> go = false;
        auto t = spawn([&go] {
            while (!go)
                this_fiber::sleep_for(1ms);
        });
        auto results = std::async(std::launch::async, [&, t]() mutable {
            bool const early = t.join_for(2ms);
            go = true;
            return std::pair(early, t.join_for(std::chrono::hours::max()));
        });
        t.join();
        auto const [early, late] = results.get();
        BOOST_TEST(!early);
        BOOST_TEST(late);
    });
}

BOOST_AUTO_TEST_CASE(async_join_serves_coroutines_and_futures)
{
    test::under_every_policy([] {
        auto t = spawn([] {
            this_fiber::sleep_for(1ms);
            return 6;
        });
        auto c = spawn([t]() mutable -> asio::awaitable<int> {
            co_return co_await t.async_join(asio::use_awaitable) + 1;
        });
        std::future<int> f = t.async_join(asio::use_future);
        BOOST_TEST(c.join() == 7);
        BOOST_TEST(t.async_join(use_fiber) == 6);
        while (f.wait_for(0s) != std::future_status::ready)
            this_fiber::yield();
        BOOST_TEST(f.get() == 6);
        auto failing = spawn([] { throw std::logic_error("x"); });
        auto [e] = failing.async_join(asio::as_tuple(use_fiber));
        BOOST_CHECK_THROW(std::rethrow_exception(e), std::logic_error);
    });
}

BOOST_AUTO_TEST_CASE(async_join_takes_a_limit)
{
    test::under_every_policy([] {
        std::atomic<bool> go_on = false;
        task<int> slow = spawn([&] {
            while (!go_on)
                this_fiber::yield();
            return 3;
        });
        auto const joined = [](task<int> t, auto limit) {
            return spawn([t, limit]() mutable -> asio::awaitable<int> {
                try
                {
                    co_return co_await t.async_join_for(limit, asio::use_awaitable);
                }
                catch (boost::system::system_error const& e)
                {
                    co_return e.code() == asio::error::timed_out ? -1 : -2;
                }
            });
        };
        BOOST_TEST(joined(slow, 1ms).join() == -1);
        BOOST_TEST(joined(slow, -1h).join() == -1);
        BOOST_TEST(slow.cancelling() == 0);
        BOOST_TEST(!slow.join_until(std::chrono::system_clock::now()));
        task<int> in_time = joined(slow, 24h);
        go_on = true;
        BOOST_TEST(in_time.join() == 3);
        BOOST_TEST(slow.join_until(std::chrono::system_clock::time_point::max()));
        auto late = slow.async_join_until(std::chrono::steady_clock::now(), asio::use_future);
        BOOST_TEST((to_thread([&] { return late.get(); }).join() == 3)); // done: no limit is late
    });
}

BOOST_AUTO_TEST_CASE(a_context_that_ends_takes_its_joiners_along)
{
    auto const alive = std::make_shared<int>();
    event_loop loop;
    task<> t = spawn(loop, [] { this_fiber::sleep_for(24h); });
    test::run_ready(loop);
    test::run_ready(loop);
    {
        event_loop other;
        t.async_join(asio::bind_executor(other.get_executor(), [alive](std::exception_ptr) {}));
        t.async_join_for(24h, asio::bind_executor(other.get_executor(),
                                                  [alive](std::exception_ptr) {}));
    }
    BOOST_TEST(alive.use_count() == 1);
    t.cancel();
    test::run_ready(loop);
    test::run_ready(loop);
    BOOST_TEST(t.done());
}

BOOST_AUTO_TEST_CASE(cancel_is_delivered_once_at_the_present_wait)
{
    test::under_every_policy([] {
        std::atomic<int> delivered = 0;
        std::atomic<bool> waits = false;
        auto t = spawn([&] {
            try
            {
                waits = true;
                this_fiber::sleep_for(24h);
            }
            catch (boost::system::system_error const&)
            {
                ++delivered;
            }
            this_fiber::sleep_for(1ms); // the next wait is undisturbed
            return 9;
        });
        while (!waits)
            this_fiber::yield();
        BOOST_TEST(t.cancel());
        BOOST_TEST(t.join() == 9);
        BOOST_TEST(delivered == 1);
        BOOST_TEST(!t.cancelled());
        BOOST_TEST(t.cancelling() == 1);
        BOOST_TEST(!t.cancel());
    });
}

BOOST_AUTO_TEST_CASE(cancelling_a_running_task_meets_its_next_wait)
{
    test::under_every_policy([] {
        auto t = spawn([] {
            task<> me = this_fiber::current_task();
            me.cancel();
            bool const asked = this_fiber::cancelled();
            auto const ec = test::code_of([] { this_fiber::yield(); });
            this_fiber::yield();
            return asked && ec == aborted_error::operation_aborted;
        });
        BOOST_TEST(t.join());
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_task_says_so_and_join_throws)
{
    test::under_every_policy([] {
        std::atomic<int> delivered = 0;
        auto t = spawn(waiting(delivered));
        this_fiber::yield();
        t.cancel();
        BOOST_CHECK_EXCEPTION(t.join(), boost::system::system_error, aborted);
        BOOST_TEST(t.cancelled());
        BOOST_TEST(t.done());
    });
}

BOOST_AUTO_TEST_CASE(a_task_that_never_started_never_starts)
{
    event_loop loop;
    run_until_complete(loop, [] {
        bool started = false;
        auto fiber = spawn([&started] { started = true; });
        auto coroutine = spawn([&started]() -> asio::awaitable<void> {
            started = true;
            co_return;
        });
        fiber.cancel();
        coroutine.cancel();
        BOOST_CHECK_EXCEPTION(fiber.join(), boost::system::system_error, aborted);
        BOOST_CHECK_EXCEPTION(coroutine.join(), boost::system::system_error, aborted);
        BOOST_TEST(!started);
    });
}

BOOST_AUTO_TEST_CASE(uncancel_revokes_what_was_not_delivered)
{
    test::under_every_policy([] {
        auto t = spawn([] {
            task<> me = this_fiber::current_task();
            me.cancel();
            me.cancel();
            int const two = me.cancelling();
            int const one = me.uncancel();
            int const none = me.uncancel();
            int const still_none = me.uncancel();
            this_fiber::yield(); // undisturbed
            return two == 2 && one == 1 && none == 0 && still_none == 0;
        });
        BOOST_TEST(t.join());
    });
}

BOOST_AUTO_TEST_CASE(cancelling_a_joiner_cancels_the_joined)
{
    test::under_every_policy([] {
        std::atomic<int> delivered = 0;
        std::atomic<bool> joins = false;
        auto inner = spawn(waiting(delivered));
        auto outer = spawn([inner, &joins]() mutable {
            joins = true;
            inner.join();
        });
        while (!joins)
            this_fiber::yield();
        outer.cancel();
        BOOST_CHECK_EXCEPTION(outer.join(), boost::system::system_error, aborted);
        BOOST_TEST(inner.done());
        BOOST_TEST(inner.cancelled());
        BOOST_TEST(outer.cancelled());
    });
}

BOOST_AUTO_TEST_CASE(cancelling_a_caller_of_join_for_leaves_the_joined_alone)
{
    test::under_every_policy([] {
        std::atomic<bool> go = false;
        std::atomic<bool> joins = false;
        auto inner = spawn([&go] {
            while (!go)
                this_fiber::sleep_for(1ms);
        });
        auto outer = spawn([inner, &joins]() mutable {
            joins = true;
            inner.join_for(24h);
        });
        while (!joins)
            this_fiber::yield();
        outer.cancel();
        BOOST_CHECK_EXCEPTION(outer.join(), boost::system::system_error, aborted);
        BOOST_TEST(!inner.done());
        go = true;
        inner.join();
        BOOST_TEST(!inner.cancelled());
    });
}

BOOST_AUTO_TEST_CASE(a_coroutine_is_cancelled_once_and_may_clean_up)
{
    test::under_every_policy([] {
        std::atomic<bool> waits = false;
        auto t = spawn([&waits]() -> asio::awaitable<int> {
            asio::steady_timer timer(co_await asio::this_coro::executor, 24h);
            waits = true;
            auto [ec] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
            timer.expires_after(1ms); // a later wait is undisturbed
            co_await timer.async_wait(asio::use_awaitable);
            co_return ec == aborted_error::operation_aborted ? 1 : 0;
        });
        while (!waits)
            this_fiber::yield();
        t.cancel();
        BOOST_TEST(t.join() == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_coroutine_that_is_cancelled_while_it_runs_meets_it_at_its_next_wait)
{
    test::under_every_policy([] {
        auto t = spawn([]() -> asio::awaitable<bool> {
            this_fiber::current_task().cancel();
            asio::steady_timer timer(co_await asio::this_coro::executor, 24h);
            auto [ec] = co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
            co_return ec == aborted_error::operation_aborted;
        });
        BOOST_TEST(t.join());
    });
}

BOOST_AUTO_TEST_CASE(empty_handles_are_refused)
{
    task<int> t;
    BOOST_TEST(!t.valid());
    test::fails_with const empty(error::empty_handle);
    BOOST_CHECK_EXCEPTION(t.join(), boost::system::system_error, empty);
    BOOST_CHECK_EXCEPTION(t.done(), boost::system::system_error, empty);
    BOOST_CHECK_EXCEPTION(t.cancel(), boost::system::system_error, empty);
    BOOST_CHECK_EXCEPTION(t.id(), boost::system::system_error, empty);
    BOOST_CHECK_EXCEPTION(t.async_join(asio::use_future), boost::system::system_error, empty);
}

BOOST_AUTO_TEST_CASE(names_and_ids)
{
    run([] {
        auto t = spawn([] { return std::pair(this_fiber::id(), this_fiber::name()); },
                       {.name = "reader", .key = {}});
        auto u = spawn([]() -> asio::awaitable<task_id> { co_return this_fiber::id(); });
        BOOST_TEST((t.join() == std::pair(t.id(), std::string("reader"))));
        BOOST_TEST(t.name() == "reader");
        BOOST_TEST(u.join() == u.id());
        BOOST_TEST(u.name() == "fiber-" + std::to_string(u.id()));
        BOOST_TEST(u.id() != t.id());
    });
}

BOOST_AUTO_TEST_CASE(handles_outlive_their_loop)
{
    task<int> finished, pending, unborn;
    task<> coroutine;
    {
        event_loop loop;
        run_until_complete(loop, [&] {
            finished = spawn([] { return 11; });
            pending = spawn([] {
                this_fiber::sleep_for(24h);
                return 0;
            });
            coroutine = spawn([]() -> asio::awaitable<void> {
                asio::steady_timer timer(co_await asio::this_coro::executor, 24h);
                co_await timer.async_wait(asio::use_awaitable);
            });
            finished.join();
            this_fiber::yield();
        });
        unborn = spawn(loop, [] { return 1; });
    }
    BOOST_TEST(finished.join() == 11);
    BOOST_TEST(finished.join() == 11);
    for (task<> t : {task<>(pending), task<>(unborn), coroutine})
    {
        BOOST_TEST(t.done());
        BOOST_TEST(t.cancelled());
        BOOST_CHECK_EXCEPTION(t.join(), boost::system::system_error, aborted);
        BOOST_TEST(!t.cancel());
    }
}

BOOST_AUTO_TEST_CASE(a_finished_task_is_joined_asynchronously_when_its_loop_is_gone)
{
    task<int> t;
    {
        event_loop loop;
        t = spawn(loop, [] { return 12; });
        run_until_complete(loop, t);
    }
    BOOST_TEST(t.async_join(asio::use_future).get() == 12);
}

BOOST_AUTO_TEST_CASE(a_task_that_is_cancelled_before_its_loop_runs_never_starts)
{
    event_loop loop;
    bool started = false;
    task<> fiber = spawn(loop, [&started] { started = true; });
    task<> coroutine = spawn(loop, [&started]() -> asio::awaitable<void> {
        started = true;
        co_return;
    });
    fiber.cancel();
    coroutine.cancel();
    run_until_complete(loop, [&] {
        BOOST_CHECK_EXCEPTION(fiber.join(), boost::system::system_error, aborted);
        BOOST_CHECK_EXCEPTION(coroutine.join(), boost::system::system_error, aborted);
    });
    BOOST_TEST(!started);
}

BOOST_AUTO_TEST_CASE(join_in_an_applications_own_handler_is_refused)
{
    asio::io_context io;
    event_loop loop(io);
    task<int> t = spawn(loop, [] { return 1; });
    boost::system::error_code refused;
    asio::post(io, [&] { refused = test::code_of([&t] { t.join(); }); });
    // Behind it, so that the task is not done before.
    t = spawn(loop, [] {
        this_fiber::sleep_for(1ms);
        return 1;
    });
    io.run();
    BOOST_TEST(refused == make_error_code(error::not_in_fiber));
    BOOST_TEST(t.join() == 1);
}

BOOST_AUTO_TEST_CASE(tasks_join_across_loops_from_many_threads)
{
    // Chains of joins over three loops of a thread each: nothing is lost, whoever comes first.
    run(
        [] {
            std::atomic<int> sum = 0;
            std::vector<task<int>> tails;
            for (int chain = 0; chain != 50; ++chain)
            {
                task<int> t = spawn([] { return 0; });
                for (int link = 0; link != 20; ++link)
                    t = spawn([t, &sum, link]() mutable {
                        if (link % 3 == 0)
                            this_fiber::yield();
                        ++sum;
                        return t.join() + 1;
                    });
                tails.push_back(t);
            }
            int total = 0;
            for (auto& t : tails)
                total += t.join();
            BOOST_TEST(total == 50 * 20);
            BOOST_TEST(sum == 50 * 20);
        },
        {.policy = make_policy("fiber loops=3")});
}
