// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// Real signals to real processes.
#define BOOST_TEST_MODULE runner.signals
#define BOOST_TEST_NO_MAIN

#include <polyloop/runner/runner.hpp>

#include "support/child.hpp"
#include "support/error.hpp"
#include "support/policies.hpp"
#include "support/sanitizers.hpp"

#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/signal_set.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

using namespace polyloop;
using namespace std::chrono_literals;
using test::child;
using test::child_arguments;
using test::child_process;
using test::say;

namespace {

run_options under(child_arguments const& args)
{
    run_options o;
    if (!args.empty())
        o.policy = make_policy(args[0]);
    return o;
}

/// Waits until it is cancelled; says when it begins.
void wait_for_ever()
{
    say("ready");
    this_fiber::sleep_for(24h);
}

std::string disposition(int number)
{
    struct sigaction now = {};
    ::sigaction(number, nullptr, &now);
    return now.sa_handler == SIG_DFL ? "default" : now.sa_handler == SIG_IGN ? "ignored" : "handled";
}

/// How a run ended, and what SIGINT does afterwards.
template <class F>
int report(F&& run_it)
{
    try
    {
        run_it();
    }
    catch (boost::system::system_error const& e)
    {
        say(e.code() == error::interrupted                ? "interrupted"
            : e.code() == asio::error::operation_aborted  ? "aborted"
                                                          : e.what());
    }
    say("afterwards " + disposition(SIGINT));
    return 0;
}

std::atomic<int> user_signals = 0; // any thread may be the one that is told

void on_user_signal(int)
{
    ++user_signals;
    [[maybe_unused]] auto const n = ::write(1, "user's\n", 7);
}

} // namespace

child const waits("waits", [](child_arguments const& args) {
    return report([&] {
        run(
            [] {
                try
                {
                    wait_for_ever();
                }
                catch (boost::system::system_error const&)
                {
                    this_fiber::sleep_for(1ms); // may wait while it cleans up
                    say("cleaned");
                    throw;
                }
            },
            under(args));
    });
});

BOOST_AUTO_TEST_CASE(S62_S64_the_first_SIGINT_cancels_the_main_task_and_the_run_is_interrupted)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("waits", {policy});
        p.wait_for_line("ready");
        p.signal(SIGINT);
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "ready\ncleaned\ninterrupted\nafterwards default\n");
        BOOST_TEST(p.err() == "");
    });
}

child const coroutine_waits("coroutine_waits", [](child_arguments const& args) {
    return report([&] {
        run(
            []() -> asio::awaitable<void> {
                asio::steady_timer t(co_await asio::this_coro::executor, 24h);
                say("ready");
                co_await t.async_wait(asio::use_awaitable);
            },
            under(args));
    });
});

BOOST_AUTO_TEST_CASE(S62_S64_a_coroutine_is_interrupted_as_well)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("coroutine_waits", {policy});
        p.wait_for_line("ready");
        p.signal(SIGINT);
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "ready\ninterrupted\nafterwards default\n");
    });
}

child const swallows("swallows", [](child_arguments const& args) {
    return report([&] {
        int const result = run(
            [] {
                (void)test::code_of(wait_for_ever);
                return 3;
            },
            under(args));
        say("result " + std::to_string(result));
    });
});

BOOST_AUTO_TEST_CASE(S66_a_main_task_that_swallows_the_cancel_has_its_result)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("swallows", {policy});
        p.wait_for_line("ready");
        p.signal(SIGINT);
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "ready\nresult 3\nafterwards default\n");
    });
}

child const goes_on("goes_on", [](child_arguments const& args) {
    return report([&] {
        run(
            [] {
                (void)test::code_of(wait_for_ever); // swallows the first
                try
                {
                    wait_for_ever();
                }
                catch (...)
                {
                    say("closed"); // by the end of the run, whose cancel is the next
                    throw;
                }
            },
            under(args));
    });
});

BOOST_AUTO_TEST_CASE(S63_the_second_SIGINT_leaves_the_main_task_at_once)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("goes_on", {policy});
        p.wait_for_line("ready");
        p.signal(SIGINT);
        // The line itself is no sign that it is the second.
        while (p.out() != "ready\nready\n")
            p.wait_for_more();
        p.signal(SIGINT);
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "ready\nready\nclosed\ninterrupted\nafterwards default\n");
    });
}

child const too_late("too_late", [](child_arguments const& args) {
    std::atomic<unsigned> held = 0;
    std::latch released(1);
    auto const runs = std::this_thread::get_id();
    runner r(under(args));
    report([&] {
        r.run([&] {
            // Nobody shall look at the signal before main is done: of a loop of several threads all
            // are held but the one that waits for main.
            while (std::this_thread::get_id() != runs)
                this_fiber::yield();
            event_loop& loop = get_running_loop();
            unsigned const others = loop.options().concurrency - 1;
            for (unsigned i = 0; i != others; ++i)
                loop.call_soon_threadsafe([&] {
                    ++held;
                    released.wait();
                });
            while (held != others)
                std::this_thread::yield();
            ::raise(SIGINT);
        });
        say("not interrupted");
    });
    released.count_down();
    r.close();
    return 0;
});

BOOST_AUTO_TEST_CASE(S63_a_SIGINT_that_comes_when_main_is_done_is_not_lost)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("too_late", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "interrupted\nafterwards default\n");
    });
}

child const cancelled_besides("cancelled_besides", [](child_arguments const& args) {
    return report([&] {
        run(
            [] {
                try
                {
                    wait_for_ever();
                }
                catch (boost::system::system_error const&)
                {
                    this_fiber::current_task().cancel(); // somebody else's
                    throw;
                }
            },
            under(args));
    });
});

BOOST_AUTO_TEST_CASE(S65_where_somebody_else_cancelled_too_the_cancellation_comes_out)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("cancelled_besides", {policy});
        p.wait_for_line("ready");
        p.signal(SIGINT);
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "ready\naborted\nafterwards default\n");
    });
}

child const again_and_again("again_and_again", [](child_arguments const& args) {
    runner r(under(args));
    std::string wrong;
    for (int i = 0; i != 300; ++i)
    {
        // The signal and the end of main come at once: whoever is first, it is of this run.
        auto const code = test::code_of([&] { r.run([] { ::raise(SIGINT); }); });
        if (code && code != error::interrupted)
            wrong = code.message();
        auto const next = test::code_of([&] { r.run([] { this_fiber::yield(); }); });
        if (next)
            wrong = "the next run: " + next.message();
    }
    r.close();
    say(wrong.empty() ? "right" : wrong);
    return 0;
});

BOOST_AUTO_TEST_CASE(S67_a_signal_at_the_end_of_a_run_does_nothing_to_the_next_one)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("again_and_again", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "right\n");
    });
}

// -- whose signal it is ------------------------------------------------------------------

child const handled_by_user("handled_by_user", [](child_arguments const& args) {
    std::signal(SIGINT, on_user_signal);
    return report([&] {
        run(
            [] {
                say("ready " + disposition(SIGINT));
                while (user_signals != 2)
                    this_fiber::sleep_for(1ms); // throws if it is cancelled
                say(std::to_string(this_fiber::current_task().cancelling()));
            },
            under(args));
    });
});

BOOST_AUTO_TEST_CASE(S60_a_handler_of_the_users_is_left_alone)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("handled_by_user", {policy});
        p.wait_for_line("ready handled");
        p.signal(SIGINT);
        p.wait_for_line("user's");
        p.signal(SIGINT);
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "ready handled\nuser's\nuser's\n0\nafterwards handled\n");
    });
}

child const in_a_thread("in_a_thread", [](child_arguments const& args) {
    std::thread([&] { run(wait_for_ever, under(args)); }).join();
    return 0;
});

BOOST_AUTO_TEST_CASE(S60_a_run_outside_of_the_main_thread_takes_no_signal)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("in_a_thread", {policy});
        p.wait_for_line("ready");
        p.signal(SIGINT);
        BOOST_TEST(p.wait() == -SIGINT);
    });
}

child const takes_over("takes_over", [](child_arguments const& args) {
    return report([&] {
        run(
            [kind = args[1]] {
                if (kind == "signal_set")
                {
                    asio::signal_set signals(get_running_loop().get_executor(), SIGINT);
                    say("ready");
                    signals.async_wait(use_fiber);
                    say("user's");
                    signals.clear();
                    return;
                }
                auto me = this_fiber::current_task();
                std::atomic<bool> told = false;
                get_running_loop().add_signal_handler(SIGINT, [&, me]() mutable {
                    say("user's");
                    told = true;
                    me.cancel();
                });
                bool const cancelled =
                    test::code_of(wait_for_ever) == asio::error::operation_aborted;
                say(cancelled && told && me.cancelling() == 1 ? "cancelled once" : "wrong");
            },
            under(args));
    });
});

BOOST_AUTO_TEST_CASE(S60_who_handles_the_signal_inside_the_run_takes_over)
{
    test::for_every_policy([](std::string const& policy) {
        for (std::string const kind : {"signal_set", "add_signal_handler"})
        {
            child_process p("takes_over", {policy, kind});
            p.wait_for_line("ready");
            p.signal(SIGINT);
            BOOST_TEST(p.wait() == 0);
            BOOST_TEST(p.out() == (kind == "signal_set"
                                       ? "ready\nuser's\nafterwards default\n"
                                       : "ready\nuser's\ncancelled once\nafterwards default\n"));
        }
    });
}

child const handler_comes_or_goes("handler_comes_or_goes", [](child_arguments const& args) {
    return report([&] {
        run(
            [kind = args[1]] {
                event_loop& loop = get_running_loop();
                if (kind == "comes")
                {
                    ::raise(SIGINT);
                    loop.add_signal_handler(SIGINT, [] { say("user's"); });
                    wait_for_ever();
                }
                loop.add_signal_handler(SIGINT, [] {});
                ::raise(SIGINT);
                loop.remove_signal_handler(SIGINT);
            },
            under(args));
    });
});

BOOST_AUTO_TEST_CASE(S60_whose_a_signal_is_depends_on_who_handles_it_when_it_comes)
{
    test::for_every_policy([](std::string const& policy) {
        child_process comes("handler_comes_or_goes", {policy, "comes"});
        BOOST_TEST(comes.wait() == 0);
        BOOST_TEST(comes.out() == "ready\ninterrupted\nafterwards default\n");
        child_process goes("handler_comes_or_goes", {policy, "goes"});
        BOOST_TEST(goes.wait() == 0);
        BOOST_TEST(goes.out() == "afterwards default\n");
    });
}

child const without_descriptors("without_descriptors", [](child_arguments const& args) {
    runner r(under(args));
    r.get_loop(); // the loops have what they need
    ::rlimit const few{64, 64};
    ::setrlimit(RLIMIT_NOFILE, &few);
    std::vector<int> all;
    for (int d; (d = ::dup(0)) != -1;)
        all.push_back(d);
    bool ran = false;
    r.run([&] { ran = true; });
    say(ran ? "ran, " + disposition(SIGINT) : "not run");
    return 0;
});

BOOST_AUTO_TEST_CASE(S61_where_a_handler_cannot_be_installed_the_run_goes_on_without)
{
#if defined(POLYLOOP_TEST_ASAN)
    return; // with it goes UBSan, which takes good objects for bad ones without a descriptor
#endif
    test::for_every_policy([](std::string const& policy) {
        child_process p("without_descriptors", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "ran, default\n");
        BOOST_TEST(p.err() == "");
    });
}

child const replaces("replaces", [](child_arguments const& args) {
    return report([&] { run([] { std::signal(SIGINT, SIG_IGN); }, under(args)); });
});

BOOST_AUTO_TEST_CASE(S67_what_replaced_the_runs_handler_stays)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("replaces", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "afterwards ignored\n");
    });
}

child const counts_anew("counts_anew", [](child_arguments const& args) {
    runner r(under(args));
    report([&] { r.run([] { (void)test::code_of(wait_for_ever); }); });
    report([&] { r.run([] { (void)test::code_of(wait_for_ever); }); });
    return report([&] { r.close(); });
});

BOOST_AUTO_TEST_CASE(S67_each_run_counts_anew_and_puts_the_default_back)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("counts_anew", {policy});
        p.wait_for_line("ready");
        p.signal(SIGINT);
        while (p.out() != "ready\nafterwards default\nready\n")
            p.wait_for_more();
        p.signal(SIGINT);
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "ready\nafterwards default\nready\nafterwards default\n"
                              "afterwards default\n");
    });
}

// -- around a run ------------------------------------------------------------------------

/// A result that brings the signal when `run` hands it out: main is done, the shutdown not begun.
struct interrupts_when_taken
{
    interrupts_when_taken() = default;
    interrupts_when_taken(interrupts_when_taken&&) noexcept
    {
        static bool done = false;
        if (!try_get_running_loop() && !std::exchange(done, true))
            ::raise(SIGINT);
    }
};

child const between_run_and_close("between_run_and_close", [](child_arguments const& args) {
    return report([&] {
        run(
            [] {
                std::atomic<bool> waits_now = false;
                (void)spawn([&] {
                    waits_now = true;
                    if (test::code_of([] { this_fiber::sleep_for(24h); }))
                        say("cleaned");
                });
                while (!waits_now)
                    this_fiber::yield();
                return interrupts_when_taken();
            },
            under(args));
        say("not interrupted");
    });
});

BOOST_AUTO_TEST_CASE(S63_a_SIGINT_between_the_main_task_and_the_shutdown_interrupts_the_run)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("between_run_and_close", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "cleaned\ninterrupted\nafterwards default\n");
        BOOST_TEST(p.err() == "");
    });
}

child const took_it_for_a_while("took_it_for_a_while", [](child_arguments const& args) {
    return report([&] {
        run(
            [] {
                // Which puts the default back when it ends.
                (void)asio::signal_set(get_running_loop().get_executor(), SIGINT);
                std::atomic<bool> waits_now = false;
                (void)spawn([&] {
                    waits_now = true;
                    if (test::code_of([] { this_fiber::sleep_for(24h); }))
                        ::raise(SIGINT); // in the shutdown
                    say("cleaned");
                });
                while (!waits_now)
                    this_fiber::yield();
            },
            under(args));
        say("not interrupted");
    });
});

BOOST_AUTO_TEST_CASE(S63_the_shutdown_takes_a_signal_back_that_the_main_task_had_for_a_while)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("took_it_for_a_while", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "cleaned\ninterrupted\nafterwards default\n");
    });
}

child const throws_in_between("throws_in_between", [](child_arguments const& args) {
    return report([&] {
        try
        {
            runner r(under(args));
            r.run([] { throw std::runtime_error("main's"); });
        }
        catch (std::runtime_error const& e)
        {
            say(e.what());
        }
        say("between " + disposition(SIGINT));
        runner never_run(under(args));
        runner never_closed(under(args));
        never_closed.run([] {});
        say("between " + disposition(SIGINT));
    });
});

BOOST_AUTO_TEST_CASE(S67_a_runner_has_no_signals_between_its_calls_however_they_end)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("throws_in_between", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "main's\nbetween default\nbetween default\nafterwards default\n");
    });
}

child const puts_ours_back("puts_ours_back", [](child_arguments const& args) {
    struct sigaction users = {};
    struct sigaction found = {};
    users.sa_handler = on_user_signal;
    report([&] { run([&] { ::sigaction(SIGINT, &users, &found); }, under(args)); });
    ::sigaction(SIGINT, &found, nullptr);
    report([&] {
        if (args[1] == "run")
            run(wait_for_ever, under(args));
        ::raise(SIGINT);
        say("swallowed");
    });
    return 0;
});

BOOST_AUTO_TEST_CASE(a_handler_of_a_run_that_is_put_back_after_it_hands_the_signal_on)
{
    test::for_every_policy([](std::string const& policy) {
        child_process alone("puts_ours_back", {policy, "alone"});
        BOOST_TEST(alone.wait() == -SIGINT);
        BOOST_TEST(alone.out() == "afterwards handled\n");
        child_process next("puts_ours_back", {policy, "run"}); // which the next run takes
        next.wait_for_line("ready");
        next.signal(SIGINT);
        BOOST_TEST(next.wait() == 0);
        BOOST_TEST(next.out() == "afterwards handled\nready\ninterrupted\nafterwards default\n");
    });
}

child const puts_ours_back_for_theirs("puts_ours_back_for_theirs", [](child_arguments const&) {
    std::signal(SIGUSR1, on_user_signal);
    event_loop loop;
    loop.add_signal_handler(SIGUSR1, [] {});
    struct sigaction ignored = {};
    struct sigaction found = {};
    ignored.sa_handler = SIG_IGN;
    ::sigaction(SIGUSR1, &ignored, &found);
    loop.remove_signal_handler(SIGUSR1);
    ::sigaction(SIGUSR1, &found, nullptr);
    ::raise(SIGUSR1);
    ::raise(SIGUSR1);
    return 0;
});

BOOST_AUTO_TEST_CASE(a_loops_handler_that_is_put_back_after_it_hands_the_signal_to_who_had_it)
{
    child_process p("puts_ours_back_for_theirs");
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.out() == "user's\nuser's\n");
}

child const handlers_on_top("handlers_on_top", [](child_arguments const& args) {
    return report([&] {
        run(
            [] {
                event_loop& loop = get_running_loop();
                std::signal(SIGINT, on_user_signal);
                loop.add_signal_handler(SIGINT, [] { say("never"); });
                loop.remove_signal_handler(SIGINT);
                ::raise(SIGINT);
                // Not told of the signal, and so not cancelled.
                this_fiber::sleep_for(1ms);
                say("goes on");
            },
            under(args));
    });
});

BOOST_AUTO_TEST_CASE(S60_a_handler_of_the_users_inside_the_run_has_the_signal_back_after_a_loops)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("handlers_on_top", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "user's\ngoes on\nafterwards handled\n");
    });
}

// -- beyond asyncio ----------------------------------------------------------------------

child const with_options("with_options", [](child_arguments const& args) {
    run_options o = under(args);
    o.signals.clear();
    if (args[1] == "term")
        o.signals = {SIGINT, SIGTERM};
    return report([&] { run(wait_for_ever, o); });
});

BOOST_AUTO_TEST_CASE(SIGTERM_can_be_given_the_same_meaning)
{
    test::for_every_policy([](std::string const& policy) {
        for (int const number : {SIGINT, SIGTERM})
        {
            child_process p("with_options", {policy, "term"});
            p.wait_for_line("ready");
            p.signal(number);
            BOOST_TEST(p.wait() == 0);
            BOOST_TEST(p.out() == "ready\ninterrupted\nafterwards default\n");
        }
    });
    child_process by_default("waits");
    by_default.wait_for_line("ready");
    by_default.signal(SIGTERM);
    BOOST_TEST(by_default.wait() == -SIGTERM);
}

BOOST_AUTO_TEST_CASE(without_signals_in_the_options_the_default_stays)
{
    child_process p("with_options", {"default", "none"});
    p.wait_for_line("ready");
    p.signal(SIGINT);
    BOOST_TEST(p.wait() == -SIGINT);
}

BOOST_AUTO_TEST_CASE(a_number_that_is_no_signal_is_refused)
{
    for (int const bad : {0, -1, 65})
        BOOST_CHECK_EXCEPTION(run([] {}, {.signals = {bad}}), boost::system::system_error,
                              test::fails_with(error::bad_config, {"signals"}));
}

child const holds_up("holds_up", [](child_arguments const& args) {
    run_options o = under(args);
    o.shutdown_timeout = 24h;
    return report([&] {
        run(
            [] {
                std::atomic<bool> waits_now = false;
                (void)spawn(
                    [&] {
                        waits_now = true;
                        while (!get_running_loop().is_closed())
                            if (test::code_of([] { this_fiber::sleep_for(24h); }) &&
                                !get_running_loop().is_closed())
                                say("ready"); // cancelled, and waits again
                    },
                    {.name = "stubborn", .key = {}});
                while (!waits_now)
                    this_fiber::yield();
            },
            o);
    });
});

BOOST_AUTO_TEST_CASE(S70_S71_a_signal_ends_the_waiting_of_the_shutdown_and_everything_is_closed)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("holds_up", {policy});
        p.wait_for_line("ready");
        p.signal(SIGINT);
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "ready\ninterrupted\nafterwards default\n");
        BOOST_TEST(p.err().find("\"stubborn\"") != std::string::npos);
        BOOST_TEST(p.err().find("before a signal ended the waiting") != std::string::npos);
    });
}

child const holds_its_thread("holds_its_thread", [](child_arguments const&) {
    run([] {
        say("ready");
        for (;;)
            ::pause();
    });
    return 0;
});

BOOST_AUTO_TEST_CASE(a_loop_that_does_not_look_at_its_signals_leaves_the_third_to_the_system)
{
    child_process p("holds_its_thread");
    p.wait_for_line("ready");
    auto const limit = std::chrono::steady_clock::now() + 60s;
    int status = 0;
    // Signals of one number that come at once are one to the system, so more may be needed.
    while ((status = p.try_wait()) == test::process::still_running)
    {
        BOOST_REQUIRE(std::chrono::steady_clock::now() < limit);
        p.signal(SIGINT);
    }
    BOOST_TEST(status == -SIGINT);
}
