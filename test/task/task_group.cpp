// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.task_group

#include <polyloop/task/task_group.hpp>

#include "support/cancel.hpp"
#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/shield.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/timeout.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
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

int requests()
{
    return this_fiber::current_task().cancelling();
}

/// The texts of what the group that `f` throws holds, sorted; nothing if it throws none.
template <class F>
std::vector<std::string> errors_of(F&& f)
{
    std::vector<std::string> out;
    try
    {
        f();
    }
    catch (exception_group const& g)
    {
        for (auto const& e : g.exceptions())
            out.push_back(describe_exception(e));
    }
    std::ranges::sort(out);
    return out;
}

using strings = std::vector<std::string>;

void fail(char const* what)
{
    throw std::runtime_error(what);
}

std::string const first = "std::runtime_error: first";
std::string const second = "std::runtime_error: second";

} // namespace

BOOST_AUTO_TEST_CASE(it_ends_when_all_have_ended)
{
    test::under_every_policy([] {
        std::atomic<int> ended = 0;
        with_task_group([&](task_group& g) {
            for (int i = 0; i != 20; ++i)
                g.spawn([&ended] {
                     this_fiber::sleep_for(100us);
                     ++ended;
                 }).id();
            auto value = g.spawn([] { return 7; });
            BOOST_TEST(value.join() == 7);
        });
        BOOST_TEST(ended == 20);
        with_task_group([](task_group&) {}); // empty
        BOOST_TEST(requests() == 0);
    });
}

BOOST_AUTO_TEST_CASE(children_may_spawn_while_it_is_joined)
{
    test::under_every_policy([] {
        std::atomic<int> ended = 0;
        task_group g;
        (void)g.spawn([&] {
            for (int i = 0; i != 5; ++i)
                (void)g.spawn([&] {
                    this_fiber::yield();
                    (void)g.spawn([&] { ++ended; });
                });
        });
        g.join();
        BOOST_TEST(ended == 5);
        BOOST_TEST(g.size() == 0u);
        g.join(); // returns at once
        BOOST_CHECK_EXCEPTION((void)g.spawn([] {}), boost::system::system_error,
                              test::fails_with(error::group_closed));
    });
}

BOOST_AUTO_TEST_CASE(one_failure_cancels_the_rest_and_the_body)
{
    test::under_every_policy([] {
        std::atomic<int> cancelled = 0;
        bool body_cancelled = false;
        BOOST_TEST(errors_of([&] {
                       with_task_group([&](task_group& g) {
                           std::atomic<int> waiting = 0;
                           for (int i = 0; i != 3; ++i)
                               (void)g.spawn([&] {
                                   ++waiting;
                                   if (test::code_of(wait_for_ever) == aborted)
                                       ++cancelled;
                               });
                           (void)g.spawn([&] {
                               yield_until([&] { return waiting == 3; });
                               fail("first");
                           });
                           body_cancelled = test::code_of(wait_for_ever) == aborted;
                           detail::throw_error(aborted);
                       });
                   }) == strings{first});
        BOOST_TEST(cancelled == 3);
        BOOST_TEST(body_cancelled);
        BOOST_TEST(requests() == 0);
        this_fiber::yield(); // nothing is left to be delivered
    });
}

BOOST_AUTO_TEST_CASE(all_errors_are_kept_and_told_once)
{
    event_loop loop;
    test::reports r(loop);
    run_until_complete(loop, [] {
        BOOST_TEST((errors_of([&] {
                        with_task_group([&](task_group& g) {
                            (void)g.spawn([] {
                                if (test::code_of(wait_for_ever) == aborted)
                                    fail("second");
                            });
                            (void)g.spawn([] { wait_for_ever(); }); // cancelled: no error
                            (void)g.spawn([] { fail("first"); });
                            if (test::code_of(wait_for_ever) == aborted)
                                throw std::runtime_error("third");
                        });
                    }) == strings{first, second, "std::runtime_error: third"}));
        this_fiber::yield();
    });
    BOOST_TEST(r.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_body_that_throws_cancels_the_children)
{
    test::under_every_policy([] {
        std::optional<task<>> child;
        BOOST_TEST(errors_of([&] {
                       with_task_group([&](task_group& g) {
                           child = g.spawn(wait_for_ever);
                           fail("first");
                       });
                   }) == strings{first});
        BOOST_TEST(child->cancelled());
        BOOST_TEST(requests() == 0);
    });
}

BOOST_AUTO_TEST_CASE(a_cancellation_from_outside_cancels_the_children_and_goes_through)
{
    test::under_every_policy([] {
        for (bool const in_body : {false, true})
        {
            std::atomic<bool> waits = false;
            std::atomic<int> cancelled = 0;
            task<int> t = spawn([&, in_body] {
                auto const met = test::code_of([&] {
                    with_task_group([&](task_group& g) {
                        (void)g.spawn([&] {
                            waits = true;
                            if (test::code_of(wait_for_ever) == aborted)
                                ++cancelled;
                        });
                        if (in_body)
                            wait_for_ever();
                    });
                });
                return met == aborted ? requests() : -1;
            });
            yield_until([&] { return waits.load(); });
            t.cancel();
            BOOST_TEST(t.join() == 1);
            BOOST_TEST(cancelled == 1);
        }
    });
}

BOOST_AUTO_TEST_CASE(errors_come_before_a_cancellation_from_outside)
{
    test::under_every_policy([] {
        std::atomic<bool> waits = false;
        task<std::string> t = spawn([&] {
            std::string out;
            try
            {
                with_task_group([&](task_group& g) {
                    (void)g.spawn([&] {
                        waits = true;
                        (void)test::code_of(wait_for_ever);
                        fail("first");
                    });
                });
            }
            catch (exception_group const&)
            {
                out = "group";
            }
            // The cancellation is delivered at the next wait.
            if (test::code_of([] { this_fiber::yield(); }) == aborted)
                out += " then cancelled";
            return out + ' ' + std::to_string(requests());
        });
        yield_until([&] { return waits.load(); });
        t.cancel();
        BOOST_TEST(t.join() == "group then cancelled 1");
    });
}

BOOST_AUTO_TEST_CASE(cancel_ends_children_and_body_without_an_error)
{
    test::under_every_policy([] {
        task<> child;
        bool interrupted = false;
        with_task_group([&](task_group& g) {
            child = g.spawn(wait_for_ever);
            g.cancel();
            BOOST_CHECK_EXCEPTION((void)g.spawn([] {}), boost::system::system_error,
                                  test::fails_with(error::group_closed));
            interrupted = test::code_of(wait_for_ever) == aborted;
            detail::throw_error(aborted);
        });
        BOOST_TEST(interrupted);
        BOOST_TEST(child.cancelled());
        BOOST_TEST(requests() == 0);

        // By a child, and with a body that does not wait any more.
        with_task_group([](task_group& g) {
            (void)g.spawn(wait_for_ever);
            (void)g.spawn([&g] { g.cancel(); });
        });
        with_task_group([](task_group& g) { g.cancel(); });
        BOOST_TEST(requests() == 0);
        this_fiber::yield();
    });
}

BOOST_AUTO_TEST_CASE(a_plain_group_tells_its_owner_in_join)
{
    test::under_every_policy([] {
        task_group g;
        auto sibling = g.spawn(wait_for_ever);
        auto failing = g.spawn([] { fail("first"); });
        yield_until([&] { return failing.done() && sibling.done(); });
        this_fiber::yield(); // the owner is not interrupted
        BOOST_CHECK_EXCEPTION((void)g.spawn([] {}), boost::system::system_error,
                              test::fails_with(error::group_closed));
        BOOST_TEST(errors_of([&] { g.join(); }) == strings{first});
        BOOST_TEST(sibling.cancelled());
        g.join();
        BOOST_TEST(requests() == 0);
    });
}

BOOST_AUTO_TEST_CASE(groups_nest_and_so_do_their_errors)
{
    test::under_every_policy([] {
        bool seen = false;
        try
        {
            with_task_group([](task_group& outer) {
                (void)outer.spawn([] {
                    with_task_group([](task_group& inner) {
                        (void)inner.spawn([] { fail("first"); });
                    });
                });
                wait_for_ever();
            });
        }
        catch (exception_group const& g)
        {
            seen = true;
            BOOST_REQUIRE(g.size() == 1u);
            BOOST_TEST(errors_of([&] { std::rethrow_exception(g.exceptions()[0]); }) ==
                       strings{first});
            BOOST_TEST(g.leaves().size() == 1u);
            BOOST_TEST(std::string(g.what()).find(first) != std::string::npos);
        }
        BOOST_TEST(seen);
        // The body of an inner group that its own task interrupts, inside of an outer one.
        BOOST_TEST(errors_of([] {
                       with_task_group([](task_group&) {
                           with_task_group([](task_group& inner) {
                               (void)inner.spawn([] { fail("first"); });
                               wait_for_ever();
                           });
                       });
                   }).size() == 1u);
        BOOST_TEST(requests() == 0);
    });
}

BOOST_AUTO_TEST_CASE(a_group_under_a_deadline_is_timed_out_as_a_whole)
{
    test::under_every_policy([] {
        task<> child;
        BOOST_TEST(test::code_of([&] {
                       timeout(1ms, [&] {
                           with_task_group([&](task_group& g) { child = g.spawn(wait_for_ever); });
                       });
                   }) == make_error_code(asio::error::timed_out));
        BOOST_TEST(child.cancelled());
        BOOST_TEST(requests() == 0);
    });
}

BOOST_AUTO_TEST_CASE(destroying_a_group_cancels_waits_and_reports)
{
    event_loop loop;
    test::reports r(loop);
    run_until_complete(loop, [] {
        task<> child;
        bool ended = false;
        {
            task_group g;
            child = g.spawn([&] {
                if (test::code_of(wait_for_ever) == aborted)
                {
                    ended = true;
                    fail("first");
                }
            });
            this_fiber::yield();
        }
        BOOST_TEST(ended);
        BOOST_TEST(child.done());
        this_fiber::yield(); // the owner was not cancelled
    });
    BOOST_TEST(r.thrown() == strings{first});
}

BOOST_AUTO_TEST_CASE(a_plain_thread_may_own_one)
{
    event_loop loop;
    test::running const thread(loop);
    int ended = 0;
    with_task_group([&](task_group& g) {
        (void)g.spawn(loop, [&] {
            this_fiber::sleep_for(1ms);
            ++ended;
        });
    });
    BOOST_TEST(ended == 1);
    BOOST_TEST(errors_of([&] {
                   with_task_group([&](task_group& g) {
                       (void)g.spawn(loop, wait_for_ever);
                       (void)g.spawn(loop, [] { fail("first"); });
                   });
               }) == strings{first});
    task<> child;
    {
        task_group g;
        child = g.spawn(loop, wait_for_ever);
    }
    BOOST_TEST(child.cancelled());
}

BOOST_AUTO_TEST_CASE(a_bare_handler_cannot_wait_for_one)
{
    event_loop loop;
    boost::system::error_code in_with, in_join;
    task<> child;
    loop.call_soon([&] {
        in_with = test::code_of([] { with_task_group([](task_group&) {}); });
        task_group g;
        child = g.spawn(loop, wait_for_ever);
        in_join = test::code_of([&] { g.join(); });
    });
    run_until_complete(loop, [] { this_fiber::yield(); });
    BOOST_TEST(in_with == error::not_in_fiber);
    BOOST_TEST(in_join == error::not_in_fiber);
    run_until_complete(loop, [] { this_fiber::yield(); });
    BOOST_TEST(child.cancelled()); // by the group's destructor
}

BOOST_AUTO_TEST_CASE(a_coroutine_may_own_one)
{
    test::under_every_policy([] {
        spawn([]() -> asio::awaitable<void> {
            auto sleeping = []() -> asio::awaitable<void> {
                asio::steady_timer t(co_await asio::this_coro::executor, 24h);
                co_await t.async_wait(asio::use_awaitable);
            };
            std::atomic<int> ended = 0;
            co_await with_task_group([&](task_group& g) -> asio::awaitable<void> {
                for (int i = 0; i != 3; ++i)
                    (void)g.spawn([&]() -> asio::awaitable<void> {
                        ++ended;
                        co_return;
                    });
                (void)g.spawn([&] { ++ended; });
                co_return;
            });
            BOOST_ASSERT(ended == 4);

            strings told;
            try
            {
                co_await with_task_group([&](task_group& g) -> asio::awaitable<void> {
                    (void)g.spawn(sleeping);
                    (void)g.spawn([] { fail("first"); });
                    co_await sleeping();
                });
            }
            catch (exception_group const& e)
            {
                for (auto const& x : e.exceptions())
                    told.push_back(describe_exception(x));
            }
            BOOST_ASSERT(told == strings{first});
            BOOST_ASSERT(requests() == 0);

            co_await with_task_group([&](task_group& g) -> asio::awaitable<void> {
                (void)g.spawn(sleeping);
                g.cancel();
                co_await sleeping();
            });
            BOOST_ASSERT(requests() == 0);

            boost::system::error_code met;
            try
            {
                co_await timeout(1ms, [&]() -> asio::awaitable<void> {
                    co_await with_task_group([&](task_group& g) -> asio::awaitable<void> {
                        (void)g.spawn(sleeping);
                        co_return;
                    });
                });
            }
            catch (boost::system::system_error const& e)
            {
                met = e.code();
            }
            BOOST_ASSERT(met == asio::error::timed_out);
            asio::steady_timer t(co_await asio::this_coro::executor, 1us);
            co_await t.async_wait(asio::use_awaitable);
        }).join();
    });
}

// Loops of concurrency 1, where a request of another thread is a message.
BOOST_AUTO_TEST_CASE(a_cancellation_under_way_is_neither_lost_nor_told_twice)
{
    // When it is asked for, and how the group ends.
    enum class sent
    {
        before,
        by_the_child
    };
    for (sent const when : {sent::before, sent::by_the_child})
        for (bool const fails : {true, false})
        {
            bool told = false;
            int later = -1, left = -1;
            event_loop loop;
            run_until_complete(loop, [&] {
                spawn([&] {
                    auto const me = this_fiber::current_task();
                    if (when == sent::before)
                        test::cancel_from_a_thread(me);
                    auto const errors = errors_of([&] {
                        told = test::code_of([&] {
                                   with_task_group([&](task_group& g) {
                                       (void)g.spawn([&] {
                                           if (when == sent::by_the_child)
                                               test::cancel_from_a_thread(me);
                                           if (fails)
                                               fail("first");
                                           g.cancel();
                                       });
                                       wait_for_ever();
                                   });
                               }) == aborted;
                    });
                    BOOST_TEST((errors == (fails ? strings{first} : strings())));
                    later = test::cancelled_waits();
                    left = requests();
                }).join();
            });
            BOOST_TEST_CONTEXT("when " << int(when) << ", fails " << fails)
            {
                BOOST_TEST(told == !fails); // errors come first
                BOOST_TEST(later == (fails ? 1 : 0));
                BOOST_TEST(left == 1);
            }
        }
}

BOOST_AUTO_TEST_CASE(a_cancellation_met_in_the_body_is_told_again_after_the_errors)
{
    event_loop loop;
    run_until_complete(loop, [] {
        int later = -1;
        strings errors;
        spawn([&] {
            this_fiber::current_task().cancel();
            errors = errors_of([] {
                with_task_group([](task_group& g) {
                    (void)g.spawn([] {
                        (void)test::code_of(wait_for_ever);
                        fail("first");
                    });
                    boost::system::error_code const met =
                        test::code_of([] { this_fiber::yield(); });
                    shield([] { this_fiber::yield(); }); // the child starts
                    if (met)
                        throw boost::system::system_error(met);
                });
            });
            later = test::cancelled_waits();
        }).join();
        BOOST_TEST((errors == strings{first}));
        BOOST_TEST(later == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_cancellation_while_a_cancelled_group_waits_is_told)
{
    test::under_every_policy([] {
        for (bool const coroutine : {false, true})
        {
            std::atomic<task_group*> group = nullptr;
            std::atomic<bool> waits = false, leaves = false, go_on = false;
            auto child = [&] {
                waits = true;
                (void)test::code_of(wait_for_ever);
                leaves = true;
                shield([&] { yield_until([&] { return go_on.load(); }); });
            };
            task<> owner;
            if (coroutine)
                owner = spawn([&]() -> boost::asio::awaitable<void> {
                    auto body = [&](task_group& g) -> boost::asio::awaitable<void> {
                        (void)g.spawn(child);
                        group = &g;
                        co_return;
                    };
                    co_await with_task_group(body);
                });
            else
                owner = spawn([&] {
                    with_task_group([&](task_group& g) {
                        (void)g.spawn(child);
                        group = &g;
                    });
                });
            yield_until([&] { return waits.load() && group; });
            for (int i = 0; i != 5; ++i)
                this_fiber::yield(); // where it is on this loop, the owner waits by then
            group.load()->cancel();
            yield_until([&] { return leaves.load(); });
            owner.cancel();
            for (int i = 0; i != 5; ++i)
                this_fiber::yield();
            go_on = true;
            BOOST_TEST(test::code_of([&] { owner.join(); }) == aborted);
        }
    });
}

BOOST_AUTO_TEST_CASE(closing_a_loop_unwinds_groups)
{
    int ended = 0;
    {
        event_loop loop;
        (void)spawn(loop, [&] {
            try
            {
                with_task_group([&](task_group& g) {
                    (void)g.spawn([&] {
                        (void)test::code_of(wait_for_ever);
                        ++ended;
                    });
                });
            }
            catch (...)
            {
                ++ended;
                throw;
            }
        });
        test::run_ready(loop);
        test::run_ready(loop);
    }
    BOOST_TEST(ended == 2);
}

BOOST_AUTO_TEST_CASE(closing_a_loop_waits_for_children_elsewhere)
{
    std::atomic<bool> started = false;
    bool child_ended = false;
    int owners_ended = 0;
    event_loop elsewhere;
    test::running const run(elsewhere);
    {
        event_loop loop;
        auto const child = [&] {
            started = true;
            (void)test::code_of(wait_for_ever);
            std::this_thread::sleep_for(20ms); // longer than a close without waits takes
            child_ended = true;
        };
        (void)spawn(loop, [&] {
            (void)test::code_of([&] {
                with_task_group([&](task_group& g) { (void)g.spawn(elsewhere, child); });
            });
            owners_ended += child_ended;
        });
        while (!started)
            test::run_ready(loop);
    }
    BOOST_TEST(owners_ended == 1);
}

BOOST_AUTO_TEST_CASE(failures_cancellations_and_the_end_may_meet_on_any_threads)
{
    test::for_seeds(5, [](test::engine& e) {
        auto const seed = e();
        test::under_every_policy([seed] {
            test::engine draws(seed);
            for (int i = 0; i != 20; ++i)
            {
                int const children = test::draw(draws, 0, 8);
                int const failing = test::draw(draws, -2, children - 1);
                bool const cancelled = test::draw(draws, 0, 2) == 0;
                bool const by_itself = test::draw(draws, 0, 3) == 0;
                int const body_turns = test::draw(draws, 0, 5);
                std::vector<int> turns;
                for (int c = 0; c != children; ++c)
                    turns.push_back(test::draw(draws, 0, 5));
                std::atomic<int> live = 0;
                // To the end, since thread sanitizer does not see the counting in exception_ptr.
                std::vector<task<>> kept;
                task<bool> t = spawn([&] {
                    bool right = true, cut = false;
                    try
                    {
                        with_task_group([&](task_group& g) {
                            for (int c = 0; c != children; ++c)
                                kept.push_back(g.spawn([&, c] {
                                    struct counted
                                    {
                                        std::atomic<int>& n;
                                        explicit counted(std::atomic<int>& l) : n(l) { ++n; }
                                        ~counted() { --n; }
                                    } const count(live);
                                    for (int j = 0; j != turns[c]; ++j)
                                        this_fiber::yield();
                                    if (c == failing)
                                        fail("first");
                                }));
                            for (int j = 0; j != body_turns; ++j)
                                this_fiber::yield();
                            if (by_itself)
                                g.cancel();
                        });
                    }
                    catch (exception_group const& g)
                    {
                        right = failing >= 0 && g.size() == 1;
                    }
                    catch (boost::system::system_error const& x)
                    {
                        // Closed by the failure of a child before the last was spawned.
                        right = x.code() == aborted && requests() > 0;
                        cut = true;
                    }
                    right = right && live == 0;
                    if (!cut)
                        try
                        {
                            this_fiber::yield();
                            this_fiber::sleep_for(10us);
                        }
                        catch (boost::system::system_error const&)
                        {
                            right = right && requests() > 0;
                        }
                    return right && (cancelled || requests() == 0);
                });
                if (cancelled)
                {
                    this_fiber::sleep_for(std::chrono::microseconds(test::draw(draws, 0, 50)));
                    t.cancel();
                }
                auto const end = test::code_of([&] { BOOST_TEST(t.join()); });
                BOOST_TEST((!end || (cancelled && end == aborted)));
                BOOST_TEST(live == 0);
            }
        });
    });
}
