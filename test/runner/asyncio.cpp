// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// asyncio's statements where an application meets them: inside of a run, under every policy.
#define BOOST_TEST_MODULE runner.asyncio

#include <polyloop/runner/runner.hpp>

#include "support/environment.hpp"
#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/standard_error.hpp"

#include <polyloop/sync/event.hpp>
#include <polyloop/task/fiber_local.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/to_thread.hpp>

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <iterator>
#include <latch>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;
using boost::system::system_error;
using test::fails_with;

namespace {

template <class F>
void yield_until(F done)
{
    while (!done())
        this_fiber::yield();
}

/// Calls `f(loop, policy)` for a loop that each policy made, and that no run has.
template <class F>
void with_a_loop_of_every_policy(F f)
{
    test::for_every_policy([&](char const* text) {
        auto const policy = make_policy(text);
        auto const loop = policy->new_event_loop();
        f(*loop, *policy);
        loop->close();
    });
}

} // namespace

// -- which loop --------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S9_S22_new_loops_are_fresh_and_not_current_under_every_policy)
{
    test::under_every_policy([] {
        event_loop& here = get_running_loop();
        auto const a = new_event_loop(), b = new_event_loop();
        BOOST_TEST(a != b);
        BOOST_TEST(a.get() != &here);
        BOOST_TEST(&get_event_loop() == &here);
        // What is set is the policy's that is in force, though the running loop comes first.
        event_loop_policy& mine = *get_event_loop_policy();
        set_event_loop(a);
        BOOST_TEST(&mine.get_event_loop() == a.get());
        BOOST_TEST(&get_event_loop() == &here);
        set_event_loop(nullptr);
        BOOST_CHECK_EXCEPTION(mine.get_event_loop(), system_error,
                              fails_with(error::no_current_loop));
    });
}

BOOST_AUTO_TEST_CASE(S12_S13_S14_S15_the_running_loop_wins_under_every_policy)
{
    test::under_every_policy([] {
        event_loop& here = get_running_loop();
        BOOST_TEST(try_get_running_loop() == &here);
        auto const other = new_event_loop();
        event_loop_policy& mine = *get_event_loop_policy();
        set_event_loop(other); // of this context
        BOOST_TEST(&mine.get_event_loop() == other.get());
        BOOST_TEST(&get_event_loop() == &here);
        set_event_loop(nullptr);
        // In a callback, too, though its thread has bound another.
        bool bound = false, wins = false;
        event called;
        here.call_soon([&] {
            set_event_loop(other);
            bound = &mine.get_event_loop() == other.get();
            wins = &get_event_loop() == &here;
            set_event_loop(nullptr);
            called.set();
        });
        called.wait();
        BOOST_TEST(bound);
        BOOST_TEST(wins);
        boost::system::error_code elsewhere;
        event_loop* none = &here;
        std::thread([&] {
            elsewhere = test::code_of([] { get_running_loop(); });
            none = try_get_running_loop();
        }).join();
        BOOST_TEST(elsewhere == error::no_running_loop);
        BOOST_TEST(none == nullptr);
    });
}

BOOST_AUTO_TEST_CASE(S10_S18_S20_S21_S24_bindings_under_every_policy)
{
    with_a_loop_of_every_policy([](event_loop& loop, event_loop_policy& policy) {
        test::fails_with const none(error::no_current_loop);
        BOOST_CHECK_EXCEPTION(policy.get_event_loop(), system_error, none);
        policy.set_event_loop(loop.shared_from_this());
        BOOST_TEST(&policy.get_event_loop() == &loop);
        BOOST_TEST(!loop.is_running());
        boost::system::error_code there;
        std::weak_ptr<event_loop> left;
        std::thread([&] {
            there = test::code_of([&] { policy.get_event_loop(); });
            auto const own = policy.new_event_loop();
            policy.set_event_loop(own);
            left = own;
        }).join();
        BOOST_TEST(there == error::no_current_loop);
        BOOST_TEST(left.expired());
        loop.close();
        BOOST_TEST(&policy.get_event_loop() == &loop); // a closed one, too
        policy.set_event_loop(nullptr);
        BOOST_CHECK_EXCEPTION(policy.get_event_loop(), system_error, none);
    });
}

// -- life of a loop ----------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S26_S27_S28_S34_inside_of_a_run_no_loop_is_run_and_none_closed)
{
    test::under_every_policy([] {
        event_loop& here = get_running_loop();
        BOOST_CHECK_EXCEPTION(here.run_forever(), system_error,
                              fails_with(error::loop_already_running));
        BOOST_CHECK_EXCEPTION(here.close(), system_error, fails_with(error::loop_is_running));
        auto const other = new_event_loop();
        BOOST_CHECK_EXCEPTION(other->run_forever(), system_error,
                              fails_with(error::another_loop_running));
        other->close();
        other->close(); // once more
        BOOST_CHECK_EXCEPTION(other->run_forever(), system_error,
                              fails_with(error::loop_closed));
    });
}

BOOST_AUTO_TEST_CASE(S25_S29_S35_S37_S39_loops_of_every_policy_stop_run_again_and_close)
{
    with_a_loop_of_every_policy([](event_loop& loop, event_loop_policy&) {
        for (int i = 0; i != 2; ++i)
        {
            event_loop* seen = nullptr;
            loop.call_soon([&] {
                seen = &get_running_loop();
                loop.stop();
            });
            loop.run_forever();
            BOOST_TEST(seen == &loop);
            BOOST_TEST(try_get_running_loop() == nullptr);
            BOOST_TEST(!loop.is_running());
        }
        auto const held = std::make_shared<int>();
        loop.call_soon([held] {});
        loop.call_later(1h, [held] {});
        loop.close();
        BOOST_TEST(held.use_count() == 1);
        fails_with const closed(error::loop_closed);
        BOOST_CHECK_EXCEPTION(loop.run_forever(), system_error, closed);
        BOOST_CHECK_EXCEPTION(loop.call_soon([] {}), system_error, closed);
        BOOST_CHECK_EXCEPTION(loop.call_soon_threadsafe([] {}), system_error, closed);
        BOOST_CHECK_EXCEPTION(loop.call_later(1s, [] {}), system_error, closed);
        BOOST_CHECK_EXCEPTION((void)spawn(loop, [] {}), system_error, closed);
        BOOST_CHECK_EXCEPTION(loop.run_in_executor([] {}, [](std::exception_ptr) {}),
                              system_error, closed);
    });
}

BOOST_AUTO_TEST_CASE(S31_S32_loops_of_every_policy_stopped_before_they_run)
{
    with_a_loop_of_every_policy([](event_loop& loop, event_loop_policy&) {
        int ran = 0;
        std::function<void()> const again = [&] {
            ++ran;
            loop.call_soon(again);
        };
        loop.call_soon(again);
        bool late = false;
        loop.call_later(24h, [&] { late = true; });
        loop.stop();
        loop.run_forever(); // one iteration, without waiting
        // A loop of several threads has no batches: it goes round while it looks for I/O.
        if (loop.options().concurrency == 1)
            BOOST_TEST(ran == 1);
        else
            BOOST_TEST((ran >= 1 && ran <= 3));
        BOOST_TEST(!late);
        loop.stop();
        BOOST_CHECK_EXCEPTION(run_until_complete(loop, [] { this_fiber::sleep_for(24h); }),
                              system_error, fails_with(error::loop_stopped));
        BOOST_TEST(run_until_complete(loop, [] { return 5; }) == 5);
        BOOST_CHECK_THROW(run_until_complete(loop, [] { throw std::logic_error("x"); }),
                          std::logic_error);
    });
}

BOOST_AUTO_TEST_CASE(S33_a_task_of_any_loop_may_be_awaited_under_every_policy)
{
    test::under_every_policy([] {
        auto loops = get_event_loop_policy()->loops();
        if (loops.empty())
            loops.push_back(get_running_loop().shared_from_this());
        for (auto const& l : loops)
            BOOST_TEST(spawn(*l, [] { return &get_running_loop(); }).join() == l.get());
    });
}

// -- callbacks ---------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S40_S41_S42_S43_callbacks_run_once_under_every_policy)
{
    test::under_every_policy([] {
        event_loop& here = get_running_loop();
        std::mutex mutex;
        std::vector<int> order;
        auto const note = [&](int n) {
            return [&, n] {
                std::lock_guard const lock(mutex);
                order.push_back(n);
            };
        };
        auto const seen = [&] {
            std::lock_guard const lock(mutex);
            return order.size();
        };
        std::vector<int> all(100);
        std::iota(all.begin(), all.end(), 0);
        for (int const n : all)
            here.call_soon(note(n));
        yield_until([&] { return seen() == 100; });
        if (here.options().concurrency != 1)
            std::ranges::sort(order); // several threads begin in order, and end as they like
        BOOST_TEST(order == all);

        order.clear();
        event woken; // nothing else is ready: the loop blocks
        std::thread other([&] {
            here.call_soon_threadsafe([&] {
                note(7)();
                woken.set();
            });
        });
        woken.wait();
        other.join();
        event last;
        std::atomic<bool> early = false;
        auto const before = std::chrono::steady_clock::now();
        callback_handle const timed = here.call_later(1ms, [&] {
            early = std::chrono::steady_clock::now() < before + 1ms;
            note(8)();
        });
        callback_handle cancelled = here.call_later(1ms, note(9));
        cancelled.cancel();
        cancelled.cancel();
        if (here.options().concurrency == 1) // else another thread may be quicker
        {
            callback_handle soon = here.call_soon(note(10));
            soon.cancel();
        }
        BOOST_TEST(cancelled.cancelled());
        // Behind what was cancelled, had it been left.
        here.call_later(2ms, [&] { last.set(); });
        last.wait();
        yield_until([&] { return seen() >= 2; });
        if (here.options().concurrency != 1)
            std::ranges::sort(order);
        BOOST_TEST(order == (std::vector{7, 8}));
        BOOST_TEST(!early);
        BOOST_REQUIRE(timed.when().has_value());
        BOOST_TEST((*timed.when() >= before + 1ms));
    });
}

BOOST_AUTO_TEST_CASE(S44_S45_values_and_errors_of_callbacks_under_every_policy)
{
    fiber_local<int> value(0);
    test::under_every_policy([&] {
        event_loop& here = get_running_loop();
        value.set(4);
        std::atomic<int> seen = 0, told = 0;
        here.set_exception_handler([&](event_loop&, exception_context const& c) {
            told += describe_exception(c.exception).find("callback") != std::string::npos;
        });
        here.call_soon([&] { seen = value.get(); });
        here.call_soon([] { throw std::runtime_error("of a callback"); });
        value.set(5);
        yield_until([&] { return seen != 0 && told != 0; });
        BOOST_TEST(seen == 4);
        BOOST_TEST(told == 1);
        here.set_exception_handler({});
    });
}

BOOST_AUTO_TEST_CASE(S46_a_handler_that_throws_has_the_default_one_told_under_every_policy)
{
    test::standard_error said;
    test::under_every_policy([] {
        event_loop& here = get_running_loop();
        event told, next;
        here.set_exception_handler([&](event_loop&, exception_context const&) {
            told.set();
            throw std::logic_error("of the handler");
        });
        here.call_soon([] { throw std::runtime_error("of a callback"); });
        told.wait();
        here.call_soon([&] { next.set(); }); // the loop goes on
        next.wait();
    });
    // When the runs have ended, as another thread may have been about to write.
    std::string const text = said.text();
    for (std::string const what : {"of the handler", "of a callback"})
    {
        std::size_t n = 0;
        for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1))
            ++n;
        BOOST_TEST(n == std::size(test::every_policy), text);
    }
}

// -- runs --------------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S47_S48_S49_S55_S59_states_of_a_runner_under_every_policy)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT("policy \"" << text << '"')
        {
            auto const policy = make_policy(text);
            std::weak_ptr<event_loop> loop;
            BOOST_CHECK_THROW(
                {
                    runner r({.policy = policy});
                    BOOST_TEST(policy->loops().empty()); // nothing is made yet
                    BOOST_CHECK_EXCEPTION(policy->get_event_loop(), system_error,
                                          fails_with(error::no_current_loop));
                    r.close(); // of nothing
                    BOOST_CHECK_EXCEPTION(r.run(static_cast<void (*)()>(nullptr)), system_error,
                                          fails_with(error::bad_config));
                    // Initialized all the same: the loop is bound, and the pool is on.
                    event_loop& made = policy->get_event_loop();
                    BOOST_TEST(policy->loops().empty() == (text == std::string("default")));
                    BOOST_TEST(&r.get_loop() == &made);
                    loop = r.get_loop().weak_from_this();
                    BOOST_TEST(r.run([] { return 6; }) == 6);
                    r.run([] { throw std::logic_error("out of the scope"); });
                },
                std::logic_error);
            BOOST_TEST(loop.expired());
            BOOST_TEST(policy->loops().empty());
            BOOST_CHECK_EXCEPTION(policy->get_event_loop(), system_error,
                                  fails_with(error::no_current_loop));
            runner closed({.policy = policy});
            closed.run([] {});
            closed.close();
            closed.close();
            BOOST_CHECK_EXCEPTION(closed.run([] {}), system_error,
                                  fails_with(error::runner_closed));
            BOOST_CHECK_EXCEPTION(closed.get_loop(), system_error,
                                  fails_with(error::runner_closed));
        }
}

BOOST_AUTO_TEST_CASE(S50_S56_S58_runs_share_loop_values_and_what_is_left_under_every_policy)
{
    fiber_local<int> value(0);
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT("policy \"" << text << '"')
        {
            auto const policy = make_policy(text);
            runner r({.policy = policy});
            std::atomic<bool> go = false, went = false;
            event_loop* const first = r.run([&] {
                value.set(3);
                (void)spawn([&] {
                    while (!go)
                        this_fiber::sleep_for(100us);
                    went = true;
                });
                return &get_running_loop();
            });
            BOOST_TEST(&policy->get_event_loop() == first); // bound, once
            r.run([&] {
                BOOST_TEST(&get_running_loop() == first);
                BOOST_TEST(value.get() == 3);
                go = true;
                yield_until([&] { return went.load(); });
            });
            r.close();
            BOOST_CHECK_EXCEPTION(policy->get_event_loop(), system_error,
                                  fails_with(error::no_current_loop));
        }
}

BOOST_AUTO_TEST_CASE(S75_the_default_executor_is_waited_for_under_every_policy)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT("policy \"" << text << '"')
        {
            std::atomic<bool> worked = false;
            std::latch ended(1);
            run(
                [&] {
                    BOOST_TEST(to_thread([] { return 8; }).join() == 8);
                    std::latch begun(1);
                    get_running_loop().run_in_executor(
                        [&] {
                            begun.count_down();
                            ended.wait();
                            worked = true;
                        },
                        [](std::exception_ptr) {});
                    begun.wait();
                    std::atomic<bool> ready = false;
                    (void)spawn([&] {
                        ready = true;
                        (void)test::code_of([] { this_fiber::sleep_for(24h); });
                        ended.count_down(); // when the shutdown has begun
                    });
                    yield_until([&] { return ready.load(); });
                },
                {.policy = make_policy(text)});
            BOOST_TEST(worked); // it was waited for
        }
}

// -- debug mode --------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S52_S79_S83_debug_mode_reaches_all_loops_of_a_run)
{
    struct
    {
        char const* variable;
        std::optional<bool> option;
        bool expected;
    } const cases[] = {
        {nullptr, {}, false}, {"", {}, false},  {"0", {}, false},    {"1", {}, true},
        {"yes", {}, true},    {"1", false, false}, {nullptr, true, true},
    };
    for (char const* const text : test::every_policy)
        for (auto const& c : cases)
            BOOST_TEST_CONTEXT("policy \"" << text << "\", POLYLOOP_DEBUG="
                                           << (c.variable ? c.variable : "(unset)"))
            {
                test::environment const set("POLYLOOP_DEBUG", c.variable);
                bool const all = run(
                    [&] {
                        event_loop& here = get_running_loop();
                        for (auto const& l : get_event_loop_policy()->loops())
                            if (l->get_debug() != c.expected)
                                return false;
                        bool const as_told = here.get_debug() == c.expected;
                        here.set_debug(!c.expected);
                        bool const switched = here.get_debug() != c.expected;
                        here.set_debug(c.expected);
                        return as_told && switched;
                    },
                    {.policy = make_policy(text), .debug = c.option});
                BOOST_TEST(all);
            }
}
