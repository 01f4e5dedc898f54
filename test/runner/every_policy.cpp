// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// asyncio's statements about policies and runs, where each policy might have an answer of its own.
#define BOOST_TEST_MODULE runner.every_policy

#include <polyloop/runner/runner.hpp>

#include "support/environment.hpp"
#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/standard_error.hpp"

#include <polyloop/policy/default_policy.hpp>
#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/sync/event.hpp>
#include <polyloop/task/fiber_local.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/to_thread.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/mpl/list.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <exception>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;
using boost::system::system_error;
using test::fails_with;

namespace {

boost::system::error_code code_in_a_thread(std::function<void()> const& f)
{
    boost::system::error_code code;
    std::thread([&] { code = test::code_of(f); }).join();
    return code;
}

bool signal_is_handled(int number)
{
    struct sigaction now = {};
    ::sigaction(number, nullptr, &now);
    return now.sa_handler != SIG_DFL;
}

std::size_t threads()
{
    auto const all = std::filesystem::directory_iterator("/proc/self/task");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

template <class Pool>
concept takes_as_executor =
    requires(event_loop& l, Pool&& p) { l.set_default_executor(std::forward<Pool>(p)); };

/// Overrides one operation of a policy, and leaves it the others.
template <class Policy>
struct names_its_loops : Policy
{
    std::shared_ptr<event_loop> new_event_loop() override
    {
        loop_options o;
        o.name = "mine-" + std::to_string(++made);
        return std::make_shared<event_loop>(std::move(o));
    }
    int made = 0;
};

template <class Policy>
struct knows_none : Policy
{
    event_loop& get_event_loop() override
    {
        throw system_error(make_error_code(error::no_current_loop), "never");
    }
};

using policies = boost::mpl::list<default_policy, test::policy_of_this_kind, strand_policy,
                                  fiber_policy, shared_policy>;

} // namespace

// -- the policy of the process -----------------------------------------------------------

BOOST_AUTO_TEST_CASE(S1_S4_S5_whichever_policy_is_the_default)
{
    test::for_every_policy([](std::string const& text) {
        test::environment const set("POLYLOOP_POLICY", text.c_str());
        set_event_loop_policy(nullptr);
        auto const first = get_event_loop_policy();
        BOOST_TEST(get_event_loop_policy() == first);
        auto const loop = new_event_loop();
        set_event_loop(loop);
        BOOST_TEST(&get_event_loop() == loop.get());
        set_event_loop_policy(nullptr);
        BOOST_TEST(get_event_loop_policy() != first);
        BOOST_CHECK_EXCEPTION(get_event_loop(), system_error, fails_with(error::no_current_loop));
        BOOST_TEST(!loop->is_closed());
        BOOST_TEST(&first->get_event_loop() == loop.get());
        first->set_event_loop(nullptr);
        loop->close();
        // Nor does it touch a run that is on.
        bool const same = run([] {
            auto const mine = get_event_loop_policy();
            auto const before = mine->loops();
            set_event_loop_policy(nullptr);
            return get_event_loop_policy() == mine && mine->loops() == before &&
                   spawn([] { return 1; }).join() == 1;
        });
        BOOST_TEST(same);
    });
    set_event_loop_policy(nullptr);
}

BOOST_AUTO_TEST_CASE(S7_S11_no_policy_gives_a_loop_that_was_not_set)
{
    test::for_every_policy([](std::string const& text) {
        auto const p = make_policy(text);
        for (int i = 0; i != 2; ++i)
        {
            BOOST_CHECK_EXCEPTION(p->get_event_loop(), system_error,
                                  fails_with(error::no_current_loop));
            BOOST_TEST(code_in_a_thread([&] { p->get_event_loop(); }) == error::no_current_loop);
            p->new_event_loop()->close(); // makes none current
        }
    });
}

BOOST_AUTO_TEST_CASE_TEMPLATE(S22_a_policy_that_overrides_one_operation_keeps_the_others, Policy,
                              policies)
{
    auto const p = std::make_shared<names_its_loops<Policy>>();
    scoped_policy const scope(p);
    auto const loop = new_event_loop();
    BOOST_TEST(loop->name() == "mine-1");
    set_event_loop(loop);
    BOOST_TEST(&get_event_loop() == loop.get());
    set_event_loop(nullptr);
    BOOST_CHECK_EXCEPTION(get_event_loop(), system_error, fails_with(error::no_current_loop));
    loop->close();
    BOOST_TEST(run([] { return get_running_loop().name(); }).starts_with("mine-"));
}

BOOST_AUTO_TEST_CASE_TEMPLATE(S23_a_run_asks_no_policy_for_its_loop, Policy, policies)
{
    int const result = run([] { return spawn([] { return 3; }).join(); },
                           {.policy = std::make_shared<knows_none<Policy>>()});
    BOOST_TEST(result == 3);
}

// -- loops -------------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S30_S40_stop_lets_what_is_ready_run_in_order_under_every_policy)
{
    test::for_every_policy([](std::string const& text) {
        auto const loop = make_policy(text)->new_event_loop();
        std::string order;
        loop->call_soon([&] {
            order += 'a';
            loop->stop();
            loop->call_soon([&] { order += 'c'; });
        });
        loop->call_soon([&] { order += 'b'; });
        loop->run_forever();
        BOOST_TEST(order == "ab");
        test::run_ready(*loop);
        BOOST_TEST(order == "abc");
        loop->close();
    });
}

BOOST_AUTO_TEST_CASE(S36_closing_removes_signal_handlers_under_every_policy)
{
    test::for_every_policy([](std::string const& text) {
        auto const loop = make_policy(text)->new_event_loop();
        loop->add_signal_handler(SIGUSR1, [] {});
        BOOST_TEST(signal_is_handled(SIGUSR1));
        loop->close();
        BOOST_TEST(!signal_is_handled(SIGUSR1));
        run([] { get_running_loop().add_signal_handler(SIGUSR1, [] {}); },
            {.policy = make_policy(text)});
        BOOST_TEST(!signal_is_handled(SIGUSR1));
    });
}

BOOST_AUTO_TEST_CASE(S38_an_unclosed_loop_is_reported_under_every_policy)
{
    test::for_every_policy([](std::string const& text) {
        for (bool const debug : {true, false})
        {
            auto loop = make_policy(text)->new_event_loop();
            loop->set_debug(debug);
            test::reports const reports(*loop);
            auto const held = std::make_shared<int>();
            loop->call_soon([held] {});
            loop.reset();
            BOOST_TEST(held.use_count() == 1); // closed all the same
            BOOST_TEST(reports.size() == (debug ? 1u : 0u));
        }
    });
}

BOOST_AUTO_TEST_CASE(S80_another_thread_is_refused_under_every_policy)
{
    test::for_every_policy([](std::string const& text) {
        boost::system::error_code soon, at, safe;
        bool several = false;
        run(
            [&] {
                event_loop& here = get_running_loop();
                several = here.options().concurrency > 1;
                soon = code_in_a_thread([&] { here.call_soon([] {}); });
                at = code_in_a_thread([&] { here.call_at(here.time(), [] {}); });
                safe = code_in_a_thread([&] { here.call_soon_threadsafe([] {}); });
            },
            {.policy = make_policy(text), .debug = true});
        // A loop of several threads has no wrong one.
        boost::system::error_code const expected =
            several ? boost::system::error_code() : make_error_code(error::wrong_thread);
        BOOST_TEST(soon == expected);
        BOOST_TEST(at == expected);
        BOOST_TEST(!safe);
    });
}

// -- the default executor ----------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S76_a_shut_executor_refuses_and_another_works_under_every_policy)
{
    test::for_every_policy([](std::string const& text) {
        boost::system::error_code work, task;
        bool on_another = false, back = false;
        asio::thread_pool other(1);
        run(
            [&] {
                event_loop& here = get_running_loop();
                auto const pool = here.core().shut_default_executor(); // as the shutdown does
                work = test::code_of(
                    [&] { here.run_in_executor([] {}, [](std::exception_ptr) {}); });
                task = test::code_of([] { to_thread([] {}).join(); });
                event done;
                asio::post(other, [&] {
                    on_another = other.get_executor().running_in_this_thread();
                    done.set();
                });
                done.wait();
                back = try_get_running_loop() == &here;
            },
            {.policy = make_policy(text)});
        BOOST_TEST(work == error::executor_shut_down);
        BOOST_TEST(task == error::executor_shut_down);
        BOOST_TEST(on_another);
        BOOST_TEST(back);
    });
}

BOOST_AUTO_TEST_CASE(S77_the_default_executor_is_lazy_and_ones_own_under_every_policy)
{
    static_assert(!takes_as_executor<std::shared_ptr<asio::io_context>> &&
                  !takes_as_executor<asio::thread_pool&> &&
                  takes_as_executor<std::shared_ptr<asio::thread_pool>>);
    test::for_every_policy([](std::string const& text) {
        boost::system::error_code none;
        bool lazy = false, mine = false;
        auto const pool = std::make_shared<asio::thread_pool>(1);
        run(
            [&] {
                event_loop& here = get_running_loop();
                std::size_t const before = threads();
                none = test::code_of([&] { here.set_default_executor(nullptr); });
                spawn([] {}).join();
                lazy = threads() <= before; // fewer where one that was joined is still listed
                here.set_default_executor(pool);
                std::atomic<bool> there = false;
                to_thread([&] { there = pool->get_executor().running_in_this_thread(); }).join();
                mine = there;
            },
            {.policy = make_policy(text)});
        BOOST_TEST(none == error::bad_config);
        BOOST_TEST(lazy);
        BOOST_TEST(mine);
    });
}

BOOST_AUTO_TEST_CASE(S78_to_thread_takes_values_along_and_errors_back_under_every_policy)
{
    test::for_every_policy([](std::string const& text) {
        fiber_local<int> value(1);
        int there = 0;
        std::string thrown;
        run(
            [&] {
                value.set(2);
                there = to_thread([&] { return value.get(); }).join();
                try
                {
                    to_thread([] { throw std::runtime_error("there"); }).join();
                }
                catch (std::runtime_error const& e)
                {
                    thrown = e.what();
                }
            },
            {.policy = make_policy(text)});
        BOOST_TEST(there == 2);
        BOOST_TEST(thrown == "there");
    });
    BOOST_TEST(test::code_of([] { (void)to_thread([] {}); }) == error::no_running_loop);
}

// -- runs --------------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S51_a_factorys_loop_is_not_set_under_every_policy)
{
    test::for_every_policy([](std::string const& text) {
        auto const p = make_policy(text);
        boost::system::error_code inside;
        runner r({.policy = p, .loop_factory = [&] { return p->new_event_loop(); }});
        r.run([&] { inside = test::code_of([&] { p->get_event_loop(); }); });
        BOOST_TEST(inside == error::no_current_loop);
        BOOST_CHECK_EXCEPTION(p->get_event_loop(), system_error,
                              fails_with(error::no_current_loop));
        auto const own = p->new_event_loop();
        p->set_event_loop(own);
        r.close();
        BOOST_TEST(&p->get_event_loop() == own.get()); // nor is it unset
        p->set_event_loop(nullptr);
        own->close();
    });
}

BOOST_AUTO_TEST_CASE(S53_a_runner_is_not_run_inside_of_its_own_run_which_goes_on)
{
    test::for_every_policy([](std::string const& text) {
        runner r({.policy = make_policy(text)});
        boost::system::error_code in_fiber, in_coroutine, in_callback;
        int beside = 0;
        auto const again = [&] { return test::code_of([&] { r.run([] {}); }); };
        int const result = r.run([&] {
            in_fiber = again();
            spawn([&]() -> asio::awaitable<void> {
                in_coroutine = again();
                co_return;
            }).join();
            event done;
            get_running_loop().call_soon([&] {
                in_callback = again();
                done.set();
            });
            done.wait();
            // No loop runs in a thread of one's own.
            std::thread([&] {
                beside = run([] { return 5; }, {.policy = make_policy("default")});
            }).join();
            return 6;
        });
        for (auto const& code : {in_fiber, in_coroutine, in_callback})
            BOOST_TEST(code == error::nested_run);
        BOOST_TEST(beside == 5);
        BOOST_TEST(result == 6);
        BOOST_TEST(r.run([] { return 7; }) == 7);
    });
}

BOOST_AUTO_TEST_CASE(S54_main_is_a_callable_or_a_coroutine_under_every_policy)
{
    test::for_every_policy([](std::string const& text) {
        auto const p = make_policy(text);
        BOOST_TEST(run([] { return 1; }, {.policy = p}) == 1);
        BOOST_TEST(run([]() -> asio::awaitable<int> { co_return 2; }, {.policy = p}) == 2);
        std::function<int()> const f = [] { return 3; };
        BOOST_TEST(run(f, {.policy = p}) == 3);
        BOOST_CHECK_EXCEPTION(run(std::function<int()>(), {.policy = p}), system_error,
                              fails_with(error::bad_config));
    });
}

BOOST_AUTO_TEST_CASE(S57_values_for_one_run_alone_under_every_policy)
{
    test::for_every_policy([](std::string const& text) {
        fiber_local<int> value(1);
        runner r({.policy = make_policy(text)});
        r.run([&] { value.set(2); });
        int const inside = r.run([&] {
            return spawn([&] {
                       value.set(3);
                       return spawn([&] { return value.get(); }).join();
                   })
                .join();
        });
        BOOST_TEST(inside == 3);
        BOOST_TEST(r.run([&] { return value.get(); }) == 2);
    });
}

BOOST_AUTO_TEST_CASE(S74_a_leftover_that_swallows_the_cancel_is_silent_under_every_policy)
{
    test::for_every_policy([](std::string const& text) {
        test::standard_error err;
        bool swallowed = false;
        run(
            [&] {
                std::atomic<bool> waits = false;
                (void)spawn([&] {
                    waits = true;
                    swallowed = test::code_of([] { this_fiber::sleep_for(24h); }) ==
                                asio::error::operation_aborted;
                });
                while (!waits)
                    this_fiber::yield();
            },
            {.policy = make_policy(text)});
        BOOST_TEST(swallowed);
        BOOST_TEST(err.text() == "");
    });
}
