// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE runner.runner

#include <polyloop/runner/runner.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"

#include <polyloop/policy/default_policy.hpp>
#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
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
            std::weak_ptr<event_loop> loop;
            BOOST_CHECK_THROW(run(
                                  [&]() -> int {
                                      auto all = get_event_loop_policy()->loops();
                                      if (!all.empty())
                                          loop = all.back();
                                      throw std::logic_error("main");
                                  },
                                  {.policy = policy}),
                              std::logic_error);
            BOOST_TEST(loop.expired());
            BOOST_TEST(policy->loops().empty());
            BOOST_TEST(run([] { return 4; }, {.policy = policy}) == 4); // and once more
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

BOOST_AUTO_TEST_CASE(S72_a_task_that_cleans_up_may_spawn_and_its_child_is_caught_in_the_next_round)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT(text)
        {
            std::atomic<int> helped = 0;
            std::atomic<int> children = 0;
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
                            // Joined: it is not cancelled beneath its parent in the same round.
                            helped = spawn([] {
                                         this_fiber::sleep_for(1ms);
                                         return 1;
                                     }).join();
                            (void)spawn(waiting(children)); // left behind
                            this_fiber::sleep_for(1ms);
                        }
                    });
                    while (!ready)
                        this_fiber::yield();
                },
                {.policy = make_policy(text)});
            BOOST_TEST(helped == 1);
            BOOST_TEST(children <= 1); // one that had not started yet never starts
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
                    for (int i = 0; i != 3; ++i)
                        (void)spawn(
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
                {.policy = make_policy(text)});
            BOOST_TEST(seen.size() == 3u);
            BOOST_TEST(handled_by == main);
            for (auto const& c : seen)
            {
                BOOST_TEST(c.task == "untidy");
                BOOST_TEST(c.message.find("shutdown") != std::string::npos);
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
            std::string said;
            std::atomic<bool> ready = false;
            run(
                [&] {
                    get_running_loop().set_exception_handler(
                        [&](event_loop&, exception_context const& c) {
                            std::lock_guard const lock(mutex);
                            said += c.message + '\n';
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
            BOOST_TEST(said.find("\"stubborn\"") != std::string::npos);
            BOOST_TEST(said.find("shutdown") != std::string::npos);
        }
}

BOOST_AUTO_TEST_CASE(S75_S76_the_default_executor_is_joined_and_then_refuses)
{
    std::atomic<bool> worked = false;
    std::atomic<bool> go = false;
    boost::system::error_code late;
    std::shared_ptr<event_loop> loop;
    run(
        [&] {
            // Goes on after main has ended; the shutdown waits for it.
            get_running_loop().run_in_executor(
                [&] {
                    while (!go)
                        std::this_thread::yield();
                    worked = true;
                },
                [&](std::exception_ptr) {
                    late = test::code_of(
                        [&] { loop->run_in_executor([] {}, [](std::exception_ptr) {}); });
                });
            go = true;
        },
        {.loop_factory = [&] { return loop = std::make_shared<event_loop>(); }});
    BOOST_TEST(worked);
    BOOST_TEST((!late || late == make_error_code(error::executor_shut_down)));
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
