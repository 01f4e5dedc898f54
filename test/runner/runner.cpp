// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE runner.runner

#include <polyloop/runner/runner.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/standard_error.hpp"

#include <polyloop/policy/default_policy.hpp>
#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/sync/event.hpp>
#include <polyloop/task/fiber_local.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;

namespace {

/// A default policy that remembers what it was asked.
class recording_policy : public default_policy
{
  public:
    event_loop& get_event_loop() override
    {
        ++gets;
        return default_policy::get_event_loop();
    }
    void set_event_loop(std::shared_ptr<event_loop> loop) override
    {
        loop ? ++sets : ++clears;
        default_policy::set_event_loop(std::move(loop));
    }
    std::shared_ptr<event_loop> new_event_loop() override
    {
        ++news;
        return default_policy::new_event_loop();
    }

    int gets = 0;
    int sets = 0;
    int clears = 0;
    int news = 0;
};

/// A fiber that waits for ever, and counts how often it is cancelled.
auto waiting(std::atomic<int>& cancelled)
{
    return [&cancelled] {
        try
        {
            this_fiber::sleep_for(24h);
        }
        catch (...)
        {
            // Only who was cancelled may wait once more: what ends with its loop may not.
            this_fiber::sleep_for(1ms);
            ++cancelled;
            throw;
        }
    };
}

} // namespace

BOOST_AUTO_TEST_CASE(S47_construction_makes_no_loop)
{
    auto policy = std::make_shared<recording_policy>();
    runner r({.policy = policy});
    BOOST_TEST(policy->news == 0);
    r.get_loop();
    BOOST_TEST(policy->news == 1);
    r.get_loop();
    BOOST_TEST(policy->news == 1);
}

BOOST_AUTO_TEST_CASE(S48_a_closed_runner_refuses)
{
    runner r;
    r.run([] {});
    r.close();
    test::fails_with const closed(error::runner_closed);
    BOOST_CHECK_EXCEPTION(r.get_loop(), boost::system::system_error, closed);
    BOOST_CHECK_EXCEPTION(r.run([] {}), boost::system::system_error, closed);
}

BOOST_AUTO_TEST_CASE(S49_close_before_use_leaves_it_usable_and_twice_does_nothing)
{
    runner r;
    r.close();
    BOOST_TEST(r.run([] { return 1; }) == 1);
    r.close();
    r.close();
}

BOOST_AUTO_TEST_CASE(S50_the_policy_makes_the_loop_and_it_is_set_exactly_once)
{
    auto policy = std::make_shared<recording_policy>();
    {
        runner r({.policy = policy});
        r.run([] {});
        r.run([] {});
        BOOST_TEST(policy->news == 1);
        BOOST_TEST(policy->sets == 1);
        BOOST_TEST(&policy->get_event_loop() == &r.get_loop());
    }
    BOOST_TEST(policy->clears == 1);
    BOOST_CHECK_EXCEPTION(policy->get_event_loop(), boost::system::system_error,
                          test::fails_with(error::no_current_loop));
}

BOOST_AUTO_TEST_CASE(S51_with_a_loop_factory_the_loop_is_not_set)
{
    auto policy = std::make_shared<recording_policy>();
    auto mine = std::make_shared<event_loop>(loop_options{.name = "mine"});
    for (auto const& p : {std::shared_ptr<event_loop_policy>(), // the process's
                          std::shared_ptr<event_loop_policy>(policy)})
    {
        scoped_policy const scope(policy);
        runner r({.policy = p, .loop_factory = [&] {
                      return mine->is_closed() ? mine = std::make_shared<event_loop>() : mine;
                  }});
        event_loop* const ran = r.run([] { return &get_running_loop(); });
        BOOST_TEST(ran == mine.get());
    }
    BOOST_TEST(policy->news == 0);
    BOOST_TEST(policy->sets == 0);
    BOOST_TEST(policy->clears == 0);
    BOOST_TEST(mine->is_closed());
}

BOOST_AUTO_TEST_CASE(factories_and_policies_that_give_null_are_refused)
{
    struct null_policy : default_policy
    {
        std::shared_ptr<event_loop> new_event_loop() override
        {
            return nullptr;
        }
    };
    test::fails_with const bad(error::bad_config, {"null"});
    BOOST_CHECK_EXCEPTION(
        run([] {}, {.loop_factory = [] { return std::shared_ptr<event_loop>(); }}),
        boost::system::system_error, bad);
    BOOST_CHECK_EXCEPTION(run([] {}, {.policy = std::make_shared<null_policy>()}),
                          boost::system::system_error, bad);
}

BOOST_AUTO_TEST_CASE(S52_debug)
{
    auto debug = [](std::optional<bool> want, bool before) {
        return run([] { return get_running_loop().get_debug(); },
                   {.loop_factory =
                        [before] {
                            return std::make_shared<event_loop>(loop_options{.debug = before});
                        },
                    .debug = want});
    };
    BOOST_TEST(debug(std::nullopt, true));
    BOOST_TEST(!debug(std::nullopt, false));
    BOOST_TEST(debug(true, false));
    BOOST_TEST(!debug(false, true));
    for (bool want : {true, false})
    {
        auto on = [] {
            std::vector<bool> all;
            for (auto const& l : get_event_loop_policy()->loops())
                all.push_back(l->get_debug());
            return all;
        };
        auto const policy = std::make_shared<fiber_policy>(
            pool_options{.loops = 3, .loop = {.debug = !want}});
        BOOST_TEST(run(on, {.policy = policy, .debug = want}) == std::vector<bool>(3, want));
    }
}

BOOST_AUTO_TEST_CASE(S53_S68_a_run_inside_a_running_loop_is_refused_before_anything_is_made)
{
    test::under_every_policy([] {
        auto policy = std::make_shared<recording_policy>();
        test::fails_with const nested(error::nested_run);
        bool ran = false;
        BOOST_CHECK_EXCEPTION(run([&ran] { ran = true; }, {.policy = policy}),
                              boost::system::system_error, nested);
        runner r({.policy = policy});
        BOOST_CHECK_EXCEPTION(r.run([&ran] { ran = true; }), boost::system::system_error,
                              nested);
        BOOST_TEST(!ran);
        BOOST_TEST(policy->news == 0);
    });
}

BOOST_AUTO_TEST_CASE(S54_main_is_any_callable_or_coroutine)
{
    BOOST_TEST(run([] { return std::string("fiber"); }) == "fiber");
    BOOST_TEST(run([]() -> asio::awaitable<std::string> { co_return "coroutine"; }) ==
               "coroutine");
    BOOST_TEST(*run([p = std::make_unique<int>(3)]() mutable { return std::move(p); }) == 3);
    int target = 0;
    decltype(auto) got = run([&]() -> int& { return target; });
    static_assert(std::is_same_v<decltype(got), int&>);
    BOOST_TEST(&got == &target);
    BOOST_CHECK_EXCEPTION(run(std::function<void()>()), boost::system::system_error,
                          test::fails_with(error::bad_config));
}

BOOST_AUTO_TEST_CASE(S55_a_main_that_is_refused_leaves_the_runner_initialized)
{
    auto policy = std::make_shared<recording_policy>();
    runner r({.policy = policy});
    BOOST_CHECK_EXCEPTION(r.run(static_cast<void (*)()>(nullptr)), boost::system::system_error,
                          test::fails_with(error::bad_config));
    BOOST_TEST(policy->news == 1);
    BOOST_TEST(policy->sets == 1);
    BOOST_TEST(r.run([] { return 2; }) == 2);
    r.close();
    BOOST_TEST(policy->news == 1);
    BOOST_TEST(policy->clears == 1);
}

BOOST_AUTO_TEST_CASE(S57_values_for_one_run_alone_are_those_of_a_task_in_it)
{
    fiber_local<int> value(1);
    runner r;
    r.run([&] { value.set(2); }); // S56
    r.run([&] {
        int const inside = spawn([&] {
                               value.set(3);
                               return spawn([&] { return value.get(); }).join();
                           }).join();
        BOOST_TEST(inside == 3);
    });
    BOOST_TEST(r.run([&] { return value.get(); }) == 2);
}

BOOST_AUTO_TEST_CASE(S58_what_is_left_over_goes_on_in_the_next_run_and_ends_at_close)
{
    std::atomic<int> cancelled = 0;
    std::atomic<int> steps = 0;
    runner r;
    task<> left = r.run([&] {
        return task<>(spawn([&] {
            for (;;)
            {
                ++steps;
                this_fiber::sleep_for(100us);
            }
        }));
    });
    BOOST_TEST(!left.done());
    int const before = steps;
    r.run([&] {
        while (steps < before + 3)
            this_fiber::yield();
        (void)spawn(waiting(cancelled));
        this_fiber::yield();
    });
    BOOST_TEST(cancelled == 0);
    r.close();
    BOOST_TEST(cancelled == 1);
    BOOST_TEST(left.cancelled());
}

BOOST_AUTO_TEST_CASE(S59_leaving_the_scope_closes_also_when_main_threw)
{
    std::shared_ptr<event_loop> loop;
    BOOST_CHECK_THROW(
        {
            runner r({.loop_factory = [&] { return loop = std::make_shared<event_loop>(); }});
            r.run([] { throw std::logic_error("main"); });
        },
        std::logic_error);
    BOOST_TEST(loop->is_closed());
}

BOOST_AUTO_TEST_CASE(S69_run_passes_result_and_exception_through_and_closes_its_loop)
{
    test::under_every_policy([] {}); // returns at all
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT(text)
        {
            auto policy = make_policy(text);
            std::shared_ptr<event_loop> first, second;
            BOOST_CHECK_THROW(run(
                                  [&]() -> int {
                                      first = get_running_loop().shared_from_this();
                                      throw std::logic_error("main");
                                  },
                                  {.policy = policy}),
                              std::logic_error);
            BOOST_TEST(first->is_closed());
            BOOST_TEST(policy->loops().empty());
            int const result = run(
                [&] {
                    second = get_running_loop().shared_from_this();
                    return 4;
                },
                {.policy = policy});
            BOOST_TEST(result == 4);
            BOOST_TEST(second->is_closed());
            BOOST_TEST(first != second);
            std::weak_ptr<event_loop> const gone = std::exchange(first, nullptr);
            BOOST_TEST(gone.expired());
        }
}

BOOST_AUTO_TEST_CASE(S70_leftovers_of_every_loop_are_cancelled_and_awaited)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT(text)
        {
            std::atomic<int> cancelled = 0;
            std::atomic<int> waiting_now = 0;
            std::vector<task<>> left;
            run(
                [&] {
                    for (int i = 0; i != 20; ++i)
                    {
                        left.push_back(spawn([&] {
                            ++waiting_now;
                            waiting(cancelled)();
                        }));
                        left.push_back(spawn([&]() -> asio::awaitable<void> {
                            ++waiting_now;
                            asio::steady_timer t(co_await asio::this_coro::executor, 24h);
                            co_await t.async_wait(asio::use_awaitable);
                        }));
                    }
                    while (waiting_now != 40)
                        this_fiber::yield();
                },
                {.policy = make_policy(text)});
            BOOST_TEST(cancelled == 20);
            for (auto& t : left)
                BOOST_TEST(t.cancelled());
        }
}

BOOST_AUTO_TEST_CASE(S70_the_steps_of_a_shutdown_come_in_their_order)
{
    std::mutex mutex;
    std::vector<std::string> steps;
    auto const note = [&](std::string what) {
        std::lock_guard const lock(mutex);
        steps.push_back(std::move(what));
    };
    struct noting_policy : fiber_policy
    {
        explicit noting_policy(std::function<void(std::string)> f)
            : fiber_policy({.loops = 2}), note(std::move(f))
        {
        }
        void stop() override
        {
            if (!loops().empty())
                note("stop");
            fiber_policy::stop();
        }
        void set_event_loop(std::shared_ptr<event_loop> l) override
        {
            if (!l)
                note(get_event_loop().is_closed() ? "unset closed" : "unset");
            fiber_policy::set_event_loop(std::move(l));
        }
        std::function<void(std::string)> note;
    };
    // Tells of its end, which comes with the callbacks that a closed loop drops.
    struct end
    {
        explicit end(std::function<void(std::string)> f) : note(std::move(f))
        {
        }
        ~end()
        {
            note("close");
        }
        std::function<void(std::string)> note;
    };
    std::latch go(1);
    run(
        [&] {
            get_running_loop().call_later(24h, [e = std::make_shared<end>(note)] {});
            event ready, begun;
            (void)spawn([&] {
                ready.set();
                (void)test::code_of([] { this_fiber::sleep_for(24h); });
                note("cancelled");
                this_fiber::sleep_for(1ms); // is waited for
                note("cleaned");
                go.count_down();
            });
            get_running_loop().run_in_executor(
                [&] {
                    begun.set();
                    go.wait();
                    note("executor");
                },
                [](std::exception_ptr) {});
            ready.wait();
            begun.wait();
        },
        {.policy = std::make_shared<noting_policy>(note)});
    BOOST_TEST(steps == (std::vector<std::string>{"cancelled", "cleaned", "executor", "stop",
                                                  "unset", "close"}),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(S72_a_task_that_cleans_up_may_spawn_and_its_child_is_caught_in_the_next_round)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT(text)
        {
            std::atomic<int> helped = 0;
            std::atomic<int> children = 0;
            std::atomic<bool> child_waits = false;
            std::atomic<bool> ready = false;
            run(
                [&] {
                    (void)spawn([&] {
                        try
                        {
                            ready = true;
                            this_fiber::sleep_for(24h);
                        }
                        catch (boost::system::system_error const&)
                        {
                            // On this loop, whose round is under way: neither is cancelled in it.
                            event_loop& here = get_running_loop();
                            helped = spawn(here, [] {
                                         this_fiber::yield();
                                         return 1;
                                     }).join();
                            (void)spawn(here, [&] {
                                child_waits = true;
                                waiting(children)();
                            }); // left behind
                            while (!child_waits)
                                this_fiber::yield();
                        }
                    });
                    while (!ready)
                        this_fiber::yield();
                },
                {.policy = make_policy(text)});
            BOOST_TEST(helped == 1);
            BOOST_TEST(children == 1);
        }
}

BOOST_AUTO_TEST_CASE(S73_errors_of_leftovers_are_reported_once_to_the_handler_of_the_main_loop)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT(text)
        {
            std::mutex mutex;
            std::vector<exception_context> seen;
            std::atomic<int> ready = 0;
            event_loop* handled_by = nullptr;
            event_loop* main = nullptr;
            run(
                [&] {
                    main = &get_running_loop();
                    main->set_exception_handler([&](event_loop& l, exception_context const& c) {
                        std::lock_guard const lock(mutex);
                        handled_by = &l;
                        seen.push_back(c);
                    });
                    auto const loops = get_event_loop_policy()->loops();
                    event_loop& there = loops.empty() ? *main : *loops.back();
                    for (int i = 0; i != 3; ++i)
                        (void)spawn(
                            there,
                            [&] {
                                try
                                {
                                    ++ready;
                                    this_fiber::sleep_for(24h);
                                }
                                catch (boost::system::system_error const&)
                                {
                                    throw std::logic_error("while cleaning up");
                                }
                            },
                            {.name = "untidy", .key = {}});
                    while (ready != 3)
                        this_fiber::yield();
                },
                {.policy = make_policy(text), .debug = true});
            BOOST_TEST(seen.size() == 3u);
            BOOST_TEST(handled_by == main);
            for (auto const& c : seen)
            {
                BOOST_TEST(c.task == "untidy");
                BOOST_TEST(c.message.find("shutdown") != std::string::npos);
                BOOST_TEST(c.origin.find("runner.cpp:") != std::string::npos);
                BOOST_CHECK_THROW(std::rethrow_exception(c.exception), std::logic_error);
            }
        }
}

BOOST_AUTO_TEST_CASE(S74_a_leftover_that_swallows_the_cancel_is_silent)
{
    std::vector<exception_context> seen;
    run([&] {
        get_running_loop().set_exception_handler(
            [&](event_loop&, exception_context const& c) { seen.push_back(c); });
        (void)spawn([] { (void)test::code_of([] { this_fiber::sleep_for(24h); }); });
        this_fiber::yield();
    });
    BOOST_TEST(seen.empty());
}

BOOST_AUTO_TEST_CASE(a_straggler_is_named_and_cut_off)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT(text)
        {
            std::mutex mutex;
            std::vector<exception_context> seen;
            std::atomic<bool> ready = false;
            run(
                [&] {
                    get_running_loop().set_exception_handler(
                        [&](event_loop&, exception_context const& c) {
                            std::lock_guard const lock(mutex);
                            seen.push_back(c);
                        });
                    (void)spawn(
                        [&] {
                            for (bool ended = false; !ended;)
                                try
                                {
                                    ready = true;
                                    this_fiber::sleep_for(24h);
                                    ended = true;
                                }
                                catch (boost::system::system_error const&)
                                {
                                    // Gives in only when its loop unwinds.
                                    ended = get_running_loop().is_closed();
                                }
                        },
                        {.name = "stubborn", .key = {}});
                    while (!ready)
                        this_fiber::yield();
                },
                {.policy = make_policy(text), .shutdown_timeout = 20ms});
            BOOST_REQUIRE(seen.size() == 1u);
            BOOST_TEST(seen[0].task == "stubborn");
            BOOST_TEST(seen[0].waits_for.find("point in time") != std::string::npos);
            BOOST_TEST(seen[0].message.starts_with("shutdown: cancelled, has not ended within"));
            BOOST_TEST(seen[0].message.find("run_options::shutdown_timeout") != std::string::npos);
        }
}

BOOST_AUTO_TEST_CASE(stragglers_that_say_the_same_are_counted)
{
    test::standard_error said;
    run(
        [] {
            for (int i = 0; i != 1000; ++i)
                (void)spawn([] {
                    while (!get_running_loop().is_closed())
                        (void)test::code_of([] { this_fiber::sleep_for(24h); });
                });
            this_fiber::yield();
        },
        {.shutdown_timeout = 0s});
    std::string const text = said.text();
    BOOST_TEST(std::ranges::count(text, '\n') == 4); // the first, the 10th, 100th, 1000th
    BOOST_TEST(text.find("(1000 times by now)") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(S75_S76_the_default_executor_is_joined_while_the_loop_runs_and_then_refuses)
{
    std::atomic<bool> worked = false;
    std::latch shutting_down(1);
    boost::system::error_code late;
    std::shared_ptr<event_loop> loop;
    run(
        [&] {
            loop->run_in_executor(
                [&] {
                    shutting_down.wait();
                    std::promise<void> turn;
                    loop->call_soon_threadsafe([&] { turn.set_value(); });
                    turn.get_future().wait();
                    worked = true;
                },
                [&](std::exception_ptr) {
                    late = test::code_of(
                        [&] { loop->run_in_executor([] {}, [](std::exception_ptr) {}); });
                });
            std::atomic<bool> ready = false;
            (void)spawn([&] {
                ready = true;
                (void)test::code_of([] { this_fiber::sleep_for(24h); });
                shutting_down.count_down();
            });
            while (!ready)
                this_fiber::yield();
        },
        {.loop_factory = [&] { return loop = std::make_shared<event_loop>(); }});
    BOOST_TEST(worked);
    BOOST_TEST(late == error::executor_shut_down);
}

BOOST_AUTO_TEST_CASE(S75_an_executor_that_outlasts_the_timeout_is_named_and_left_behind)
{
    std::latch begun(1);
    std::latch go(1);
    std::latch ended(1);
    std::string said;
    run(
        [&] {
            get_running_loop().set_exception_handler(
                [&](event_loop&, exception_context const& c) { said += c.message + '\n'; });
            get_running_loop().run_in_executor(
                [&] {
                    begun.count_down();
                    go.wait();
                    ended.count_down();
                },
                [](std::exception_ptr) {});
            begun.wait(); // what was not begun would be dropped
        },
        {.shutdown_timeout = 10ms}); // else for ever
    BOOST_TEST(said.find("executor") != std::string::npos);
    BOOST_TEST(said.find("shutdown") != std::string::npos);
    go.count_down();
    ended.wait();
}

BOOST_AUTO_TEST_CASE(a_task_that_an_executors_last_result_spawns_is_cancelled_too)
{
    std::atomic<int> cancelled = 0;
    std::string said;
    std::shared_ptr<event_loop> loop;
    std::latch shutting_down(1);
    run(
        [&] {
            loop->set_exception_handler(
                [&](event_loop&, exception_context const& c) { said += c.message + '\n'; });
            loop->run_in_executor(
                [&] {
                    shutting_down.wait();
                    std::promise<void> waits;
                    (void)spawn(*loop, [&] {
                        waits.set_value();
                        waiting(cancelled)();
                    });
                    waits.get_future().wait();
                },
                [](std::exception_ptr) {});
            std::atomic<bool> ready = false;
            (void)spawn([&] {
                ready = true;
                (void)test::code_of([] { this_fiber::sleep_for(24h); });
                shutting_down.count_down();
            });
            while (!ready)
                this_fiber::yield();
        },
        {.loop_factory = [&] { return loop = std::make_shared<event_loop>(); }});
    BOOST_TEST(cancelled == 1);
    BOOST_TEST(said == "");
}

BOOST_AUTO_TEST_CASE(close_inside_its_own_run_is_refused)
{
    runner r;
    r.run([&r] {
        BOOST_CHECK_EXCEPTION(r.close(), boost::system::system_error,
                              test::fails_with(error::loop_is_running));
    });
    BOOST_TEST(r.run([] { return 1; }) == 1);
}

BOOST_AUTO_TEST_CASE(stop_under_run_gives_loop_stopped_and_everything_is_closed)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT(text)
        {
            std::atomic<int> cancelled = 0;
            BOOST_CHECK_EXCEPTION(run(
                                      [&] {
                                          get_running_loop().stop();
                                          waiting(cancelled)();
                                      },
                                      {.policy = make_policy(text)}),
                                  boost::system::system_error,
                                  test::fails_with(error::loop_stopped));
            BOOST_TEST(cancelled == 1);
        }
}

BOOST_AUTO_TEST_CASE(debug_mode_with_leftovers_on_a_shared_loop)
{
    std::atomic<int> cancelled = 0;
    run(
        [&] {
            std::atomic<bool> ready = false;
            (void)spawn([&] {
                ready = true;
                waiting(cancelled)();
            });
            while (!ready)
                this_fiber::yield();
        },
        {.policy = make_policy("shared loops=3"), .debug = true});
    BOOST_TEST(cancelled == 1);
}

BOOST_AUTO_TEST_CASE(without_any_time_tasks_are_cancelled_once_and_told_apart)
{
    std::atomic<int> cancelled = 0;
    std::string said;
    run(
        [&] {
            get_running_loop().set_exception_handler(
                [&](event_loop&, exception_context const& c) { said += describe(c) + '\n'; });
            auto const tidy = [&] {
                if (test::code_of([] { this_fiber::sleep_for(24h); }))
                    ++cancelled;
            };
            (void)spawn(tidy, {.name = "tidy", .key = {}});
            (void)spawn(
                [] {
                    (void)test::code_of([] { this_fiber::sleep_for(24h); });
                    (void)spawn([] { this_fiber::sleep_for(24h); }, {.name = "late", .key = {}});
                },
                {.name = "parent", .key = {}});
            this_fiber::yield();
        },
        {.shutdown_timeout = 0s});
    BOOST_TEST(cancelled == 1);
    BOOST_TEST(said.find("\"tidy\"") == std::string::npos);
    BOOST_TEST(said.find("\"parent\"") == std::string::npos);
    BOOST_TEST(said.find("not cancelled, has not ended") != std::string::npos);
    BOOST_TEST(said.find("in task \"late\"") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(S71_every_step_is_taken_whatever_the_others_throw)
{
    struct failing_policy : default_policy
    {
        explicit failing_policy(std::string s) : step(std::move(s))
        {
        }
        void fail(char const* where) const
        {
            if (step == where)
                throw std::runtime_error(step);
        }
        std::vector<std::shared_ptr<event_loop>> loops() const override
        {
            fail("loops");
            return {};
        }
        void stop() override
        {
            ++stops;
            fail("stop");
        }
        void set_event_loop(std::shared_ptr<event_loop> l) override
        {
            bool const unbinds = !l;
            default_policy::set_event_loop(std::move(l));
            if (unbinds)
                fail("unbind");
        }
        std::string step;
        int stops = 0;
    };
    for (char const* const step : {"loops", "stop", "unbind"})
        BOOST_TEST_CONTEXT(step)
        {
            auto const policy = std::make_shared<failing_policy>(step);
            std::atomic<int> cancelled = 0;
            task<> left;
            std::weak_ptr<event_loop> loop;
            BOOST_CHECK_EXCEPTION(
                run(
                    [&] {
                        loop = get_running_loop().weak_from_this();
                        left = spawn(waiting(cancelled));
                        this_fiber::yield();
                    },
                    {.policy = policy}),
                std::runtime_error, [&](auto const& e) { return e.what() == policy->step; });
            BOOST_TEST(cancelled == 1);
            BOOST_TEST(left.cancelled());
            BOOST_TEST(policy->stops == 1);
            BOOST_TEST(loop.expired());
            BOOST_CHECK_EXCEPTION(policy->get_event_loop(), boost::system::system_error,
                                  test::fails_with(error::no_current_loop));
        }
}

BOOST_AUTO_TEST_CASE(S71_loops_are_closed_whatever_the_closing_of_others_throws)
{
    struct never_stopping : fiber_policy
    {
        never_stopping() : fiber_policy({.loops = 3})
        {
        }
        void stop() override
        {
            throw std::runtime_error("not stopped");
        }
    };
    auto const policy = std::make_shared<never_stopping>();
    std::vector<std::shared_ptr<event_loop>> loops;
    BOOST_CHECK_THROW(run([&] { loops = policy->loops(); }, {.policy = policy}),
                      std::runtime_error);
    BOOST_REQUIRE(loops.size() == 3u);
    BOOST_TEST(loops[0]->is_closed());
    policy->fiber_policy::stop();
    for (auto const& l : loops)
        l->close();
}

BOOST_AUTO_TEST_CASE(a_policy_may_count_nothing_or_the_main_loop_among_its_loops)
{
    struct loose_policy : default_policy
    {
        void start(std::shared_ptr<event_loop> main) override
        {
            all = {nullptr, other, main, other};
        }
        std::vector<std::shared_ptr<event_loop>> loops() const override
        {
            return all;
        }
        std::shared_ptr<event_loop> other = std::make_shared<event_loop>();
        std::vector<std::shared_ptr<event_loop>> all;
    };
    auto const policy = std::make_shared<loose_policy>();
    std::atomic<int> cancelled = 0;
    run(
        [&] {
            (void)spawn(waiting(cancelled));
            this_fiber::yield();
        },
        {.policy = policy, .debug = true});
    BOOST_TEST(cancelled == 1);
    BOOST_TEST(policy->other->is_closed());
}

BOOST_AUTO_TEST_CASE(a_policy_that_keeps_its_loops_is_not_kept_by_them)
{
    struct hoarding_policy : default_policy
    {
        std::shared_ptr<event_loop> new_event_loop() override
        {
            return kept = default_policy::new_event_loop();
        }
        void start(std::shared_ptr<event_loop>) override
        {
            if (fails)
                throw std::runtime_error("not now");
        }
        std::shared_ptr<event_loop> kept;
        bool fails = false;
    };
    for (bool fails : {false, true})
    {
        auto policy = std::make_shared<hoarding_policy>();
        std::weak_ptr<hoarding_policy> const seen = policy;
        policy->fails = fails;
        if (fails)
            BOOST_CHECK_THROW(run([] {}, {.policy = policy}), std::runtime_error);
        else
            run([] {}, {.policy = policy});
        policy.reset();
        BOOST_TEST(seen.expired());
    }
}

BOOST_AUTO_TEST_CASE(a_second_run_that_is_refused_leaves_the_first_ones_binding)
{
    for (char const* const text : {"strand loops=2", "fiber loops=2", "shared loops=2"})
        BOOST_TEST_CONTEXT(text)
        {
            auto const policy = make_policy(text);
            runner first({.policy = policy});
            event_loop& loop = first.get_loop();
            BOOST_CHECK_EXCEPTION(run([] {}, {.policy = policy}), boost::system::system_error,
                                  test::fails_with(error::policy_in_use));
            BOOST_TEST(&policy->get_event_loop() == &loop);
        }
}

BOOST_AUTO_TEST_CASE(a_run_that_is_refused_leaves_no_loop_that_was_not_closed)
{
    struct made
    {
        std::shared_ptr<event_loop_policy> policy;
        char const* name;
    };
    pool_options const o{.loops = 3, .loop = {.debug = true}};
    struct refusing : default_policy
    {
        refusing() : default_policy({.debug = true})
        {
        }
        void start(std::shared_ptr<event_loop>) override
        {
            throw std::runtime_error("not now");
        }
    };
    struct runs_short : fiber_policy // of loops
    {
        using fiber_policy::fiber_policy;
        std::shared_ptr<event_loop> new_event_loop() override
        {
            if (++made == 3)
                throw std::runtime_error("no more");
            return fiber_policy::new_event_loop();
        }
        int made = 0;
    };
    for (auto const& [policy, name] :
         {made{std::make_shared<strand_policy>(o), "strand"},
          made{std::make_shared<fiber_policy>(o), "fiber"},
          made{std::make_shared<shared_policy>(o), "shared"}})
        BOOST_TEST_CONTEXT(name)
        {
            test::standard_error said;
            runner first({.policy = policy});
            first.get_loop();
            BOOST_CHECK_EXCEPTION(run([] {}, {.policy = policy}), boost::system::system_error,
                                  test::fails_with(error::policy_in_use));
            first.close();
            BOOST_TEST(said.text() == "");
        }
    test::standard_error said;
    BOOST_CHECK_THROW(run([] {}, {.policy = std::make_shared<refusing>()}), std::runtime_error);
    BOOST_CHECK_THROW(run([] {}, {.policy = std::make_shared<runs_short>(o)}), std::runtime_error);
    BOOST_TEST(said.text() == "");
}

BOOST_AUTO_TEST_CASE(a_close_that_cannot_run_its_loop_ends_everything_all_the_same)
{
    for (bool destroyed : {false, true})
        BOOST_TEST_CONTEXT("by the destructor " << destroyed)
        {
            auto const policy = std::make_shared<fiber_policy>(pool_options{.loops = 2});
            std::latch begun(1);
            std::latch go(1);
            std::latch ended(1);
            auto r = std::make_unique<runner>(run_options{.policy = policy});
            r->run([&] {
                get_running_loop().run_in_executor(
                    [&] {
                        begun.count_down();
                        go.wait();
                        ended.count_down();
                    },
                    [](std::exception_ptr) {});
            });
            begun.wait(); // else it would be dropped
            std::weak_ptr<event_loop> const loop = r->get_loop().weak_from_this();
            boost::system::error_code refused;
            event_loop other;
            other.call_soon([&] {
                if (destroyed)
                    r.reset();
                else
                    refused = test::code_of([&] { r->close(); });
            });
            test::standard_error said;
            test::run_ready(other); // else for ever
            if (destroyed) // the loop and its handler are gone
                BOOST_TEST(said.text().find("another event loop") != std::string::npos);
            else
                BOOST_TEST(refused == error::another_loop_running);
            BOOST_TEST(policy->loops().empty());
            BOOST_TEST(loop.expired());
            go.count_down();
            ended.wait();
        }
}

BOOST_AUTO_TEST_CASE(a_negative_shutdown_timeout_is_refused)
{
    BOOST_CHECK_EXCEPTION(run([] {}, {.shutdown_timeout = -1s}), boost::system::system_error,
                          test::fails_with(error::bad_config, {"shutdown_timeout"}));
}

BOOST_AUTO_TEST_CASE(runs_on_several_threads_at_once)
{
    std::vector<std::thread> threads;
    std::atomic<int> sum = 0;
    for (int i = 0; i != 4; ++i)
        threads.emplace_back([&sum] {
            for (char const* const text : test::every_policy)
                sum += run([] { return spawn([] { return 1; }).join(); },
                           {.policy = make_policy(text)});
        });
    for (auto& t : threads)
        t.join();
    BOOST_TEST(sum == 4 * static_cast<int>(std::size(test::every_policy)));
}
