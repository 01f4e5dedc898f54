// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.debug

#include <polyloop/loop/event_loop.hpp>

#include <polyloop/loop/strand.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/sync/event.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/task_group.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/standard_error.hpp"

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;

namespace {

void hold_thread(std::chrono::nanoseconds how_long)
{
    auto const end = std::chrono::steady_clock::now() + how_long;
    while (std::chrono::steady_clock::now() < end)
        continue;
}

bool has(std::string const& text, std::string const& part)
{
    if (text.find(part) != text.npos)
        return true;
    std::cerr << '"' << text << "\" does not say \"" << part << "\"\n";
    return false;
}

std::string here(int line)
{
    return std::string(__FILE__) + ':' + std::to_string(line) + ' ';
}

/// Those reports whose message begins so.
std::vector<exception_context> of(test::reports const& all, std::string const& begin)
{
    std::vector<exception_context> out;
    for (auto const& c : all.all())
        if (c.message.starts_with(begin))
            out.push_back(c);
    return out;
}

loop_options debugged(unsigned concurrency = 1)
{
    return {.concurrency = concurrency, .debug = true, .slow_callback = 100ms};
}

} // namespace

// -- slow turns --------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S81_a_slow_callback_is_reported_with_its_place_and_its_time)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop(debugged(concurrency));
            test::reports reports(loop);
            loop.call_soon([] { hold_thread(101ms); });
            int const line = __LINE__ - 1;
            loop.call_soon([&] { loop.stop(); });
            loop.run_forever();
            loop.close();
            auto const slow = of(reports, "slow callback");
            BOOST_REQUIRE(slow.size() == 1u);
            BOOST_TEST(bool(slow[0].took >= 101ms));
            BOOST_TEST(has(slow[0].origin, here(line)));
            BOOST_TEST(has(slow[0].message, loop.name()));
        }
}

BOOST_AUTO_TEST_CASE(S81_a_slow_turn_of_a_fiber_is_reported_with_its_name)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop(debugged(concurrency));
            test::reports reports(loop);
            int line = 0;
            run_until_complete(loop, [&] {
                auto const body = [] {
                    this_fiber::yield();
                    hold_thread(101ms);
                    this_fiber::yield();
                };
                line = __LINE__ + 1;
                auto slow = spawn(loop, body, {.name = "slowpoke", .key = {}});
                auto quick = spawn(loop, [&] {
                    while (!slow.done())
                        this_fiber::yield(); // many turns, none of them long
                });
                slow.join();
                quick.join();
            });
            loop.close();
            auto slow = of(reports, "slow turn");
            std::erase_if(slow, [](auto const& c) { return c.task != "slowpoke"; });
            BOOST_REQUIRE(slow.size() == 1u);
            BOOST_TEST(bool(slow[0].took >= 101ms));
            BOOST_TEST(has(slow[0].origin, here(line)));
            BOOST_TEST(has(slow[0].message, loop.name()));
        }
}

BOOST_AUTO_TEST_CASE(S81_a_turn_that_an_operation_of_Asio_began_is_timed_as_well)
{
    event_loop loop(debugged());
    test::reports reports(loop);
    run_until_complete(loop, [&] {
        asio::steady_timer t(loop.get_executor(), 1ms);
        t.async_wait(use_fiber);
        hold_thread(101ms);
    });
    loop.close();
    auto const slow = of(reports, "slow turn");
    BOOST_REQUIRE(slow.size() == 1u);
    BOOST_TEST(slow[0].task == "main");
}

BOOST_AUTO_TEST_CASE(S81_a_slow_turn_of_a_coroutine_is_reported)
{
    event_loop loop(debugged());
    test::reports reports(loop);
    run_until_complete(loop, []() -> asio::awaitable<void> {
        asio::steady_timer t(co_await asio::this_coro::executor, 1ms);
        co_await t.async_wait(asio::use_awaitable);
        hold_thread(101ms);
    });
    loop.close();
    auto const slow = of(reports, "slow turn");
    BOOST_REQUIRE(slow.size() == 1u);
    BOOST_TEST(slow[0].task == "main");
}

BOOST_AUTO_TEST_CASE(S83_turns_are_timed_from_when_a_running_loop_is_told_and_until_then)
{
    event_loop loop({.debug = false, .slow_callback = 100ms});
    test::reports reports(loop);
    run_until_complete(loop, [&] {
        hold_thread(101ms);
        this_fiber::yield();
        loop.set_debug(true);
        this_fiber::sleep_for(1us);
        hold_thread(101ms);
        this_fiber::yield();
        loop.set_debug(false);
        this_fiber::sleep_for(1us);
        hold_thread(101ms);
        this_fiber::yield();
    });
    loop.close();
    // The turn in which it was switched on may count, or not.
    auto const n = of(reports, "slow turn").size();
    BOOST_TEST(n >= 1u);
    BOOST_TEST(n <= 2u);
}

BOOST_AUTO_TEST_CASE(S81_nothing_is_timed_when_debug_mode_is_off)
{
    event_loop loop({.debug = false, .slow_callback = 0ns});
    test::reports reports(loop);
    loop.call_soon([] { hold_thread(1ms); });
    run_until_complete(loop, [] { hold_thread(1ms); });
    BOOST_TEST(reports.size() == 0u);
}

BOOST_AUTO_TEST_CASE(S81_under_every_policy_turns_are_timed)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT("policy \"" << text << '"')
        {
            std::atomic<int> slow = 0;
            std::vector<std::shared_ptr<event_loop>> loops;
            run(
                [&] {
                    loops = get_event_loop_policy()->loops();
                    if (loops.empty())
                        loops.push_back(get_running_loop().shared_from_this());
                    for (auto const& l : loops)
                        l->set_exception_handler([&](event_loop&, exception_context const& c) {
                            slow += c.task == "slowpoke" && c.took >= 100ms;
                        });
                    for (int i = 0; i != 3; ++i)
                        spawn([] { hold_thread(101ms); }, {.name = "slowpoke", .key = {}}).join();
                },
                {.policy = make_policy(text), .debug = true});
            BOOST_TEST(slow == 3);
            loops.clear();
        }
}

// -- where things were made --------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S82_what_fails_is_reported_with_where_it_was_made)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop(debugged(concurrency));
            test::reports reports(loop);
            auto const fails = [] { throw std::runtime_error("failed"); };
            std::vector<int> lines;
            loop.call_soon(fails); lines.push_back(__LINE__);
            loop.call_soon_threadsafe(fails); lines.push_back(__LINE__);
            loop.call_later(0s, fails); lines.push_back(__LINE__);
            loop.call_at(loop.time(), fails); lines.push_back(__LINE__);
            (void)spawn(loop, fails); lines.push_back(__LINE__);
            (void)spawn(loop, fails, {.name = "named", .key = {}}); lines.push_back(__LINE__);
            (void)spawn(strand(loop), fails); lines.push_back(__LINE__);
            run_until_complete(loop, [&] {
                (void)spawn(fails, {.name = {}, .key = "k"}); lines.push_back(__LINE__);
                (void)spawn(fails); lines.push_back(__LINE__);
                while (reports.size() != 9)
                    this_fiber::yield();
            });
            std::vector<std::string> said;
            for (auto const& c : reports.all())
                said.push_back(c.origin);
            for (int const line : lines)
                BOOST_TEST(std::ranges::any_of(
                               said, [&](auto const& o) { return o.starts_with(here(line)); }),
                           "line " << line);
            loop.close();
        }
}

BOOST_AUTO_TEST_CASE(S82_nothing_is_kept_when_debug_mode_is_off)
{
    event_loop loop({.debug = false});
    test::reports reports(loop);
    loop.call_soon([] { throw 1; });
    (void)spawn(loop, [] { throw 1; });
    test::run_ready(loop);
    BOOST_REQUIRE(reports.size() == 2u);
    for (auto const& c : reports.all())
        BOOST_TEST(c.origin == "");
}

BOOST_AUTO_TEST_CASE(S82_the_place_of_a_cancelled_callback_is_not_taken_for_anothers)
{
    event_loop loop({.debug = true});
    test::reports reports(loop);
    for (int i = 0; i != 10; ++i)
        loop.call_soon([] {}).cancel();
    loop.set_debug(false);
    for (int i = 0; i != 10; ++i)
        loop.call_soon([] { throw 1; }); // in the same memory
    loop.set_debug(true);
    test::run_ready(loop);
    loop.close();
    BOOST_REQUIRE(reports.size() == 10u);
    for (auto const& c : reports.all())
        BOOST_TEST(c.origin == "");
}

// -- wrong threads -----------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S80_call_soon_and_call_at_refuse_another_thread_while_the_loop_runs)
{
    for (bool const debug : {false, true})
        BOOST_TEST_CONTEXT("debug " << debug)
        {
            event_loop loop({.debug = debug});
            std::vector<boost::system::error_code> codes;
            auto const all = [&] {
                codes.push_back(test::code_of([&] { loop.call_soon([] {}); }));
                codes.push_back(test::code_of([&] { loop.call_later(1s, [] {}); }));
                codes.push_back(test::code_of([&] { loop.call_at(loop.time(), [] {}); }));
                codes.push_back(test::code_of([&] { loop.call_soon_threadsafe([] {}); }));
            };
            all(); // nothing runs: not looked at
            {
                test::running const threads(loop);
                if (debug) // else it is the caller's fault, and a race
                    all();
            }
            std::vector<boost::system::error_code> expected(4);
            if (debug)
            {
                expected.insert(expected.end(), 3, error::wrong_thread);
                expected.emplace_back();
            }
            BOOST_TEST((codes == expected));
            loop.close();
        }
}

// -- what is left ------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(tasks_that_end_with_their_loop_are_reported_with_what_they_wait_for)
{
    for (bool const debug : {false, true})
        for (unsigned const concurrency : {1u, 2u})
            BOOST_TEST_CONTEXT("debug " << debug << ", concurrency " << concurrency)
            {
                event_loop loop({.concurrency = concurrency, .debug = debug});
                test::reports reports(loop);
                event never;
                std::vector<task<>> all;
                auto const keep = [&](std::string name, auto f) {
                    all.push_back(spawn(loop, f, {.name = std::move(name), .key = {}}));
                };
                keep("sleeper", [] { this_fiber::sleep_for(24h); });
                keep("joiner", [&] { all[0].join(); });
                keep("waiter", [&] { never.wait(); });
                keep("timer", [&] {
                    asio::steady_timer t(loop.get_executor(), 24h);
                    t.async_wait(use_fiber);
                });
                run_until_complete(loop, [&] {
                    for (int i = 0; i != 8; ++i)
                        this_fiber::yield();
                });
                test::run_ready(loop);
                loop.close();
                auto const left = of(reports, "task destroyed while it was pending");
                BOOST_TEST(left.size() == (debug ? 4u : 0u));
                for (auto const& c : left)
                {
                    BOOST_TEST(has(c.origin, __FILE__));
                    BOOST_TEST(has(c.waits_for, c.task == "sleeper"  ? "time"
                                                : c.task == "joiner" ? "\"sleeper\""
                                                : c.task == "waiter" ? "another context"
                                                                     : "Asio"));
                }
            }
}

BOOST_AUTO_TEST_CASE(a_straggler_of_a_shutdown_is_named_once_with_what_it_waits_for)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT("policy \"" << text << '"')
        {
            std::mutex mutex;
            std::string said;
            int times = 0;
            std::atomic<bool> ready = false;
            auto const note = [&](event_loop&, exception_context const& c) {
                std::lock_guard const lock(mutex);
                if (c.message.find("stubborn") != std::string::npos || c.task == "stubborn")
                    ++times;
                said += describe(c) + '\n';
            };
            run(
                [&] {
                    get_running_loop().set_exception_handler(note);
                    for (auto const& l : get_event_loop_policy()->loops())
                        l->set_exception_handler(note);
                    (void)spawn(
                        [&] {
                            ready = true;
                            while (!get_running_loop().is_closed())
                                (void)test::code_of([] { this_fiber::sleep_for(24h); });
                        },
                        {.name = "stubborn", .key = {}});
                    while (!ready)
                        this_fiber::yield();
                },
                {.policy = make_policy(text), .debug = true, .shutdown_timeout = 20ms});
            BOOST_TEST(times == 1);
            BOOST_TEST(has(said, "waiting for a point in time"));
            BOOST_TEST(has(said, "made at " + std::string(__FILE__)));
        }
}

BOOST_AUTO_TEST_CASE(an_error_that_nobody_retrieved_is_reported_with_where_the_task_was_spawned)
{
    event_loop loop({.debug = true});
    test::reports reports(loop);
    (void)spawn(loop, [] { throw std::runtime_error("lost"); }, {.name = "loser", .key = {}});
    auto kept = spawn(loop, [] { throw std::runtime_error("kept"); });
    test::run_ready(loop);
    BOOST_CHECK_THROW(kept.join(), std::runtime_error);
    kept = {};
    loop.close();
    BOOST_REQUIRE(reports.size() == 1u);
    auto const c = reports.all()[0];
    BOOST_TEST(c.task == "loser");
    BOOST_TEST(has(c.origin, __FILE__));
    BOOST_TEST(has(describe_exception(c.exception), "lost"));
}

BOOST_AUTO_TEST_CASE(a_task_of_a_group_says_where_the_group_was_asked)
{
    event_loop loop(debugged());
    test::reports reports(loop);
    run_until_complete(loop, [&] {
        with_task_group([&](task_group& g) {
            (void)g.spawn(loop, [] { hold_thread(101ms); }, {.name = "child", .key = {}});
        });
    });
    loop.close();
    auto const slow = of(reports, "slow turn");
    BOOST_REQUIRE(slow.size() == 1u);
    BOOST_TEST(slow[0].task == "child");
    BOOST_TEST(has(slow[0].origin, __FILE__));
}

// -- the default handler -----------------------------------------------------------------

BOOST_AUTO_TEST_CASE(the_same_report_again_is_counted_and_nothing_is_lost)
{
    test::standard_error err;
    {
        event_loop loop({.name = "busy"});
        for (int i = 0; i != 25; ++i)
            loop.call_soon([] { throw std::runtime_error("again"); });
        loop.call_soon([] { throw std::runtime_error("once"); });
        for (int i = 0; i != 3; ++i)
            (void)spawn(loop, [] { throw std::runtime_error("task"); }); // fiber-1, fiber-2 ...
        test::run_ready(loop);
        loop.close();
    }
    std::string const text = err.text();
    auto const lines = [&](std::string const& word) {
        int n = 0;
        for (auto at = text.find(word); at != text.npos; at = text.find(word, at + 1))
            ++n;
        return n;
    };
    BOOST_TEST(lines("again") == 3, text);
    BOOST_TEST(has(text, "again (10 times by now)"));
    BOOST_TEST(has(text, "again (25 times in all)"));
    BOOST_TEST(lines("once") == 1);
    BOOST_TEST(lines(": task") == 2, text);
    BOOST_TEST(has(text, "(3 times in all)"));
}

BOOST_AUTO_TEST_CASE(a_handler_that_throws_each_time_is_counted_as_well)
{
    test::standard_error err;
    {
        event_loop loop;
        loop.set_exception_handler([](event_loop&, exception_context const&) {
            throw std::runtime_error("handler");
        });
        for (int i = 0; i != 25; ++i)
            loop.call_soon([] { throw std::runtime_error("callback"); });
        test::run_ready(loop);
        loop.close();
    }
    std::string const text = err.text();
    for (std::string const word : {": handler", ": callback"})
    {
        BOOST_TEST(has(text, word + '\n'));
        BOOST_TEST(has(text, word + " (10 times by now)\n"));
        BOOST_TEST(has(text, word + " (25 times in all)\n"));
    }
    BOOST_TEST(std::count(text.begin(), text.end(), '\n') == 6, text);
}

BOOST_AUTO_TEST_CASE(what_comes_again_after_a_minute_is_written)
{
    detail::report_log log;
    test::standard_error err;
    detail::report_log::clock::time_point const begin{};
    log.write({"seldom"}, begin);
    log.write({"seldom"}, begin + 59s);
    log.write({"seldom"}, begin + 61s);
    log.flush();
    std::string const text = err.text();
    BOOST_TEST(text == "polyloop: seldom\npolyloop: seldom (3 times by now)\n");
}

BOOST_AUTO_TEST_CASE(a_great_number_of_different_reports_is_written_in_full)
{
    detail::report_log log;
    test::standard_error err;
    for (int i = 0; i != 1000; ++i)
        for (int twice = 0; twice != 2; ++twice)
            log.write({"number " + std::to_string(i) + '.'}, {});
    log.flush();
    std::string const text = err.text();
    for (int i = 0; i != 1000; ++i)
    {
        std::string const line = "number " + std::to_string(i) + '.';
        BOOST_TEST(has(text, line + '\n'));
        BOOST_TEST(has(text, line + " (2 times in all)\n"));
    }
}

BOOST_AUTO_TEST_CASE(durations_do_not_make_reports_different)
{
    detail::report_log log;
    test::standard_error err;
    exception_context c{"slow"};
    for (int i = 1; i != 4; ++i)
    {
        c.took = std::chrono::milliseconds(i);
        log.write(c, {});
    }
    log.flush();
    BOOST_TEST(has(err.text(), "slow, 0.003000 s long (3 times in all)"));
}
