// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// What a policy leaves behind: threads that come and go, and the end of the process.
#define BOOST_TEST_MODULE policy.process
#define BOOST_TEST_NO_MAIN

#include <polyloop/policy/event_loop_policy.hpp>

#include "support/child.hpp"
#include "support/environment.hpp"
#include "support/error.hpp"
#include "support/policies.hpp"
#include "support/sanitizers.hpp"
#include "support/seeds.hpp"

#include <polyloop/policy/default_policy.hpp>
#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/sync/event.hpp>
#include <polyloop/task/fiber_local.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace polyloop;
using test::child;
using test::child_arguments;
using test::child_process;
using test::say;

#if defined(POLYLOOP_TEST_ASAN)
// Programs that end inside of a run do so with all that it has.
extern "C" char const* __asan_default_options()
{
    return "detect_leaks=0";
}
#endif

namespace {

std::atomic<long> blocks = 0; // allocated and not freed

std::size_t open_descriptors()
{
    std::size_t n = 0;
    for ([[maybe_unused]] auto const& entry :
         std::filesystem::directory_iterator("/proc/self/fd"))
        ++n;
    return n;
}

} // namespace

// Counts what lives, for the whole program.
void* operator new(std::size_t n)
{
    if (void* const p = std::malloc(n ? n : 1))
    {
        blocks.fetch_add(1, std::memory_order_relaxed);
        return p;
    }
    throw std::bad_alloc();
}
void* operator new(std::size_t n, std::nothrow_t const&) noexcept
{
    void* const p = std::malloc(n ? n : 1);
    if (p)
        blocks.fetch_add(1, std::memory_order_relaxed);
    return p;
}
void operator delete(void* p) noexcept
{
    if (p)
        blocks.fetch_sub(1, std::memory_order_relaxed);
    std::free(p);
}
void operator delete(void* p, std::size_t) noexcept
{
    operator delete(p);
}
void operator delete(void* p, std::nothrow_t const&) noexcept
{
    operator delete(p);
}

// -- threads -----------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S24_ten_thousand_threads_that_come_and_go_leave_nothing_behind)
{
    struct counted_loop : event_loop
    {
        counted_loop()
        {
            ++live();
        }
        ~counted_loop()
        {
            --live();
        }
        static std::atomic<int>& live()
        {
            static std::atomic<int> n = 0;
            return n;
        }
    };
    for (char const* const text : {"default", "strand loops=2", "fiber loops=2", "shared loops=2"})
        BOOST_TEST_CONTEXT("policy \"" << text << '"')
        {
            scoped_policy const scope(make_policy(text));
            std::atomic<int> wrong = 0;
            auto const wave = [&](int threads) {
                std::vector<std::thread> all;
                for (int i = 0; i != threads; ++i)
                    all.emplace_back([&wrong] {
                        auto loop = std::make_shared<counted_loop>();
                        set_event_loop(loop);
                        wrong += &get_event_loop() != loop.get();
                        loop->call_soon([] {});
                        wrong += run_until_complete(get_event_loop(), [] {
                                     this_fiber::yield();
                                     return 1;
                                 }) != 1;
                        (void)spawn(*loop, [] {}); // and something undone
                    });
                for (auto& t : all)
                    t.join();
            };
            wave(20); // what is made once
            long const before = blocks;
            std::size_t const open = open_descriptors();
            constexpr int threads = 2500; // of each of the four
            for (int done = 0; done != threads; done += 20)
                wave(20);
            BOOST_TEST(wrong == 0);
            BOOST_TEST(counted_loop::live() == 0);
            BOOST_TEST(open_descriptors() == open);
            BOOST_TEST(blocks - before < 100); // not one for each
        }
}

BOOST_AUTO_TEST_CASE(S5_S8_policies_are_replaced_by_several_threads_while_loops_run)
{
    std::atomic<bool> over = false;
    std::vector<std::thread> threads;
    for (int t = 0; t != 2; ++t)
        threads.emplace_back([&over] {
            for (unsigned i = 0; !over; ++i)
            {
                if (i % 3 == 0)
                    set_event_loop_policy(nullptr);
                else
                    set_event_loop_policy(
                        make_policy(i % 3 == 1 ? "fiber loops=2" : "shared loops=2"));
                std::this_thread::yield();
            }
        });
    int good = 0;
    for (int i = 0; i != 100; ++i)
        good += run([] {
            auto const mine = get_event_loop_policy();
            task<int> all[4];
            for (auto& t : all)
                t = spawn([mine] {
                    this_fiber::yield();
                    return get_event_loop_policy() == mine ? 1 : 0;
                });
            int sum = 0;
            for (auto& t : all)
                sum += t.join();
            return sum == 4 ? 1 : 0;
        });
    over = true;
    for (auto& t : threads)
        t.join();
    set_event_loop_policy(nullptr);
    BOOST_TEST(good == 100);
}

BOOST_AUTO_TEST_CASE(a_thread_does_not_grow_by_the_policies_that_it_has_used)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT("policy \"" << text << '"')
        {
            long grown = 0;
            bool still_bound = false;
            std::thread([&] { // of its own, as others have used policies before
                auto const use = [&](int policies) {
                    for (int i = 0; i != policies; ++i)
                    {
                        auto const p = make_policy(text);
                        p->set_event_loop(p->new_event_loop());
                        p->set_event_loop(nullptr);
                    }
                };
                use(100); // what is made once
                long const before = blocks;
                use(1000);
                grown = blocks - before;
                auto const kept = make_policy(text);
                auto const loop = kept->new_event_loop();
                kept->set_event_loop(loop);
                use(100);
                still_bound = &kept->get_event_loop() == loop.get();
            }).join();
            BOOST_TEST(grown < 100);
            BOOST_TEST(still_bound);
        }
}

// -- the end of the process --------------------------------------------------------------

namespace {

std::shared_ptr<event_loop_policy> global_policy;
std::shared_ptr<event_loop> global_loop;
task<> global_task;

/// Constructed before everything of the library is used, so destroyed after it.
struct last
{
    ~last()
    {
        if (!asks)
            return;
        // Everything can still be asked, and still runs.
        set_event_loop_policy(nullptr);
        auto const loop = new_event_loop();
        set_event_loop(loop);
        int const n = run_until_complete(get_event_loop(), [] { return 7; });
        set_event_loop(nullptr);
        say("last " + std::to_string(n) + ' ' + std::to_string(run([] { return 8; })));
    }
    bool asks = false;
} at_the_end;

} // namespace

child const outlives_main("outlives_main", [](child_arguments const& args) {
    at_the_end.asks = true;
    global_policy = make_policy(args[0]);
    set_event_loop_policy(global_policy);
    global_loop = new_event_loop();
    set_event_loop(global_loop);
    global_task = spawn(*global_loop, [] { this_fiber::sleep_for(std::chrono::hours(24)); });
    run_until_complete(*global_loop, [] { this_fiber::yield(); });
    return run([] { return 3; }, {.policy = make_policy(args[0])});
});

BOOST_AUTO_TEST_CASE(a_policy_and_a_loop_in_globals_may_outlive_main)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT("policy \"" << text << '"')
        {
            child_process p("outlives_main", {text});
            BOOST_TEST(p.wait() == 3);
            BOOST_TEST(p.out() == "last 7 8\n");
            BOOST_TEST(p.err() == "");
        }
}

child const counts_reports("counts_reports", [](child_arguments const& args) {
    run(
        [] {
            event_loop& loop = get_running_loop();
            event last;
            for (int i = 0; i != 5; ++i)
                loop.call_soon([] { throw std::runtime_error("again"); });
            loop.call_soon([&] { last.set(); });
            last.wait();
            pid_t const pid = ::fork();
            if (pid == 0)
                std::exit(6); // with what its parent has counted
            int status = 0;
            ::waitpid(pid, &status, 0);
            std::exit(WEXITSTATUS(status));
        },
        {.policy = make_policy(args[0])});
    return 0;
});

BOOST_AUTO_TEST_CASE(exit_inside_of_a_run_loses_no_report_that_was_counted)
{
    for (char const* const text : {"default", "fiber loops=2", "strand loops=2"})
        BOOST_TEST_CONTEXT("policy \"" << text << '"')
        {
            child_process p("counts_reports", {text});
            BOOST_TEST(p.wait() == 6);
            std::string const err = p.err();
            BOOST_TEST(err.find("again (5 times in all)") != std::string::npos);
            BOOST_TEST(std::ranges::count(err, '\n') == 2); // the first, and the number
        }
}

child const exits_inside("exits_inside", [](child_arguments const& args) {
    set_event_loop_policy(make_policy(args[0]));
    std::string const where = args[1];
    auto const leave = [] {
        // Static destructors run while the loops do.
        say("exits");
        std::exit(4);
    };
    run([&] {
        // The others work, and hand over to each other, while the process ends.
        std::atomic<int> busy = 0;
        for (int i = 0; i != 8; ++i)
            (void)spawn([&] {
                ++busy;
                for (;;)
                    spawn([] { this_fiber::yield(); }).join();
            });
        while (busy != 8)
            this_fiber::yield();
        if (where == "main")
            leave();
        if (where == "fiber")
            (void)spawn(leave);
        if (where == "handler")
            get_event_loop_policy()->place({}).call_soon_threadsafe(leave);
        if (where == "strand")
            asio::post(make_strand(), leave);
        if (where == "thread")
            std::thread(leave).detach();
        this_fiber::sleep_for(std::chrono::hours(24));
    });
    return 0;
});

BOOST_AUTO_TEST_CASE(exit_inside_of_a_run_ends_the_process)
{
    for (char const* const text : test::every_policy)
        for (char const* const where : {"main", "fiber", "handler", "strand", "thread"})
            BOOST_TEST_CONTEXT("policy \"" << text << "\", in a " << where)
            {
                child_process p("exits_inside", {text, where});
                BOOST_TEST(p.wait() == 4);
                BOOST_TEST(p.out() == "exits\n");
                BOOST_TEST(p.err() == "");
            }
}
