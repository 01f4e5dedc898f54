// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// The memory of fibers' stacks: who gets it, who has to give it back, and where it ends.
#define BOOST_TEST_MODULE task.stacks

#include <polyloop/sync/event.hpp>
#include <polyloop/task/stack_usage.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/sanitizers.hpp"
#include "support/seeds.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace polyloop;
using namespace std::chrono_literals;
using boost::system::system_error;
using test::fails_with;

#if defined(POLYLOOP_TEST_ASAN)
// Where a variable lies is to tell where the stack is.
extern "C" char const* __asan_default_options()
{
    return "detect_stack_use_after_return=0";
}
#endif

namespace {

constexpr std::size_t page = 4096;

std::uintptr_t page_here()
{
    char here = 0;
    return reinterpret_cast<std::uintptr_t>(&here) / page;
}

/// Of the given pages, those that take memory. Ranges that are mapped no more count as none.
[[maybe_unused]] std::size_t resident(std::vector<std::uintptr_t> const& pages)
{
    std::size_t n = 0;
    for (std::uintptr_t const p : pages)
    {
        unsigned char in = 0;
        if (::mincore(reinterpret_cast<void*>(p * page), page, &in) == 0)
            n += in & 1;
    }
    return n;
}

/// Fibers that live all at once, each on a stack of its own; gives the topmost page of each.
/// Their handles are dropped at the end, on the loop.
[[maybe_unused]] std::vector<std::uintptr_t> crowd(event_loop& loop, std::size_t n)
{
    std::vector<std::uintptr_t> pages(n);
    std::vector<task<>> all;
    for (std::size_t i = 0; i != n; ++i)
        all.push_back(spawn(loop, [&, i] {
            pages[i] = page_here();
            this_fiber::yield();
        }));
    for (auto& t : all)
        t.join();
    return pages;
}

/// Runs `f` in a child process; 0 if it returned true.
template <class F>
int in_child(F f)
{
    pid_t const child = ::fork();
    if (child == 0)
        ::_exit(f() ? 0 : 1);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// From here on the kernel is one from before the cheap guards.
[[maybe_unused]] bool forbid_guard_advice()
{
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 102, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program{static_cast<unsigned short>(std::size(code)), code};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/// Whether reading at `p` faults, found out in a way that does not. By a bare system call, as a
/// sanitizer has an opinion of what lies there.
bool faults(std::uintptr_t p)
{
    int pipe_ends[2];
    BOOST_TEST_REQUIRE(::pipe(pipe_ends) == 0);
    bool const refused =
        ::syscall(SYS_write, pipe_ends[1], p, 1) == -1 && errno == EFAULT;
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);
    return refused;
}

/// The lowest address of the calling fiber's stack, by going down until nothing can be read.
std::uintptr_t end_of_stack()
{
    std::uintptr_t p = page_here() * page;
    while (!faults(p))
        p -= page;
    return p + page;
}

[[gnu::noinline]] int use(std::size_t bytes)
{
    auto* const p = static_cast<char volatile*>(__builtin_alloca(bytes + 1));
    for (std::size_t i = 0; i < bytes; i += 64)
        p[i] = 1;
    return p[0];
}

loop_options of(stack_options s, unsigned concurrency = 1)
{
    return {.concurrency = concurrency, .debug = false, .stacks = s};
}

} // namespace

BOOST_AUTO_TEST_CASE(a_stack_is_as_large_as_asked_and_ends_in_a_guard)
{
    for (std::size_t const size : {std::size_t(16) * 1024, std::size_t(100'000)})
    {
        event_loop loop(of({.size = size}));
        run_until_complete(loop, [&] {
            std::uintptr_t const top = (page_here() + 1) * page;
            std::size_t const rounded = (size + page - 1) / page * page;
            BOOST_TEST(top - end_of_stack() == rounded);
        });
        loop.close();
    }
}

BOOST_AUTO_TEST_CASE(every_stack_has_its_guard_after_reuse_too)
{
    event_loop loop(of({.size = 16 * 1024, .keep = 3, .idle = 0ns}));
    run_until_complete(loop, [&] {
        for (int round = 0; round != 3; ++round)
        {
            std::size_t guarded = 0;
            std::vector<task<>> all;
            for (int i = 0; i != 200; ++i)
                all.push_back(spawn(loop, [&] {
                    std::uintptr_t const low = end_of_stack();
                    guarded += (page_here() + 1) * page - low == 16 * 1024;
                    this_fiber::yield();
                }));
            for (auto& t : all)
                t.join();
            BOOST_TEST(guarded == 200u);
        }
    });
}

BOOST_AUTO_TEST_CASE(the_stack_of_an_ended_fiber_serves_the_next)
{
    event_loop loop(of({}));
    run_until_complete(loop, [&] {
        std::set<std::uintptr_t> seen;
        for (int i = 0; i != 1000; ++i)
            seen.insert(spawn(loop, [] { return page_here(); }).join());
        BOOST_TEST(seen.size() < 5u);
    });
}

#if !defined(POLYLOOP_TEST_ASAN) && !defined(POLYLOOP_TEST_TSAN)
// Sanitizers shift what lies where.

BOOST_AUTO_TEST_CASE(memory_of_more_stacks_than_are_kept_goes_back_at_once)
{
    for (std::size_t const keep : {0u, 1u, 10u, 500u})
        BOOST_TEST_CONTEXT("keep " << keep)
        {
            event_loop loop(of({.keep = keep, .idle = 1h}));
            run_until_complete(loop, [&] {
                for (int round = 0; round != 3; ++round)
                    BOOST_TEST(resident(crowd(loop, 400)) <= keep + keep / 2); // put aside
                if (keep == 500)
                    BOOST_TEST(resident(crowd(loop, 400)) == 400u);
            });
        }
}

BOOST_AUTO_TEST_CASE(the_same_on_a_loop_of_several_threads)
{
    for (std::size_t const keep : {0u, 10u, 500u})
        BOOST_TEST_CONTEXT("keep " << keep)
        {
            event_loop loop(of({.keep = keep, .idle = 1h}, 2));
            run_until_complete(loop, [&] {
                for (int round = 0; round != 3; ++round)
                    BOOST_TEST(resident(crowd(loop, 400)) <= keep);
            });
        }
}

BOOST_AUTO_TEST_CASE(kept_stacks_that_are_not_needed_go_back_while_fewer_are)
{
    for (unsigned const concurrency : {1u, 2u})
    {
        event_loop loop(of({.idle = 0ns}, concurrency));
        run_until_complete(loop, [&] {
            auto const pages = crowd(loop, 1000);
            std::size_t const before = resident(pages);
            BOOST_TEST(before > 500u);
            for (int i = 0; i != 256 * 100; ++i)
                spawn(loop, [] {}).join();
            BOOST_TEST(resident(pages) < 20u);
        });
    }
}

BOOST_AUTO_TEST_CASE(kept_stacks_that_are_not_needed_go_back_while_nothing_is_spawned)
{
    for (unsigned const concurrency : {1u, 2u})
    {
        event_loop loop(of({.idle = 1ms}, concurrency));
        for (int round = 0; round != 2; ++round)
        {
            std::vector<std::uintptr_t> pages;
            run_until_complete(loop, [&] { pages = crowd(loop, 1000); });
            BOOST_TEST(resident(pages) > 500u);
            test::running const thread(loop); // with nothing to do
            while (resident(pages) != 0)
                std::this_thread::yield();
        }
        run_until_complete(loop, [&] {
            auto const pages = crowd(loop, 1000);
            while (resident(pages) > 1) // the fiber's own may be among them
                this_fiber::yield();
        });
    }
}

BOOST_AUTO_TEST_CASE(an_adopted_context_without_work_does_not_wait_for_idle_stacks)
{
    asio::io_context io;
    event_loop loop(io, of({.idle = 1h}));
    auto const t = spawn(loop, [&] { crowd(loop, 100); });
    io.run();
    BOOST_TEST(t.done());
}

BOOST_AUTO_TEST_CASE(a_touched_stack_is_resident_before_its_fiber_runs)
{
    event_loop loop(of({.touch = 5 * page}));
    run_until_complete(loop, [&] {
        auto count = [&] {
            std::uintptr_t const top = page_here();
            return resident({top, top - 1, top - 2, top - 3, top - 4, top - 5});
        };
        BOOST_TEST(spawn(loop, count).join() == 5u);
    });
}

#endif

BOOST_AUTO_TEST_CASE(stacks_come_from_and_go_back_to_any_thread)
{
    test::for_seeds(5, [](test::engine& e) {
        event_loop loop(of({.size = 16 * 1024, .keep = test::draw<std::size_t>(e, 0, 20),
                            .idle = 0ns}));
        std::atomic<int> ran = 0;
        {
            test::running const threads(loop);
            std::vector<std::thread> others;
            for (int i = 0; i != 3; ++i)
                others.emplace_back([&, seed = e()] {
                    test::engine mine(seed);
                    std::vector<task<>> held;
                    for (int n = 0; n != 300; ++n)
                    {
                        held.push_back(spawn(loop, [&] {
                            ++ran;
                            spawn(loop, [&] { ++ran; }).join();
                        }));
                        if (test::draw(mine, 0, 3) == 0)
                            held.clear();
                        test::jitter(mine);
                    }
                    for (auto& t : held)
                        t.join();
                });
            for (auto& t : others)
                t.join();
            loop.call_soon_threadsafe([] {});
            while (ran != 1800)
                std::this_thread::yield();
        }
        BOOST_TEST(ran == 1800);
    });
}

BOOST_AUTO_TEST_CASE(a_handle_keeps_its_stack_beyond_the_loop)
{
    std::vector<task<std::string>> held;
    {
        event_loop loop(of({.keep = 1}));
        run_until_complete(loop, [&] {
            for (int i = 0; i != 50; ++i)
                held.push_back(spawn(loop, [i] { return std::string(100, 'a' + i % 26); }));
            for (auto& t : held)
                t.join();
        });
    }
    for (int i = 0; i != 50; ++i)
        BOOST_TEST(held[static_cast<std::size_t>(i)].join() ==
                   std::string(100, static_cast<char>('a' + i % 26)));
}

// -- guards by mprotect ------------------------------------------------------------------------

#if !defined(POLYLOOP_TEST_TSAN) // knows fewer fibers than the limit, and no fork

BOOST_AUTO_TEST_CASE(without_the_advice_guards_are_made_by_protection)
{
    int const status = in_child([] {
        if (!forbid_guard_advice())
            return false;
        event_loop loop(of({.size = 16 * 1024}));
        return run_until_complete(loop, [] {
            return (page_here() + 1) * page - end_of_stack() == 16 * 1024;
        });
    });
    BOOST_TEST(status == 0);
}

#if !defined(POLYLOOP_TEST_ASAN) // runs out of mappings, and of addresses, itself

// Each holds the error that it ended by, and there is no memory for one for each of them.
BOOST_AUTO_TEST_CASE(fibers_without_address_space_share_one_error)
{
    int const status = in_child([] {
        event_loop loop(of({.size = 16 * 1024}));
        event gate;
        constexpr std::size_t many = 50'000;
        std::vector<task<>> all;
        for (std::size_t i = 0; i != many; ++i)
            all.push_back(spawn(loop, [&] { gate.wait(); }));
        std::size_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        rlimit const limit{pages * page + (32u << 20), RLIM_INFINITY};
        if (::setrlimit(RLIMIT_AS, &limit) != 0)
            return false;
        test::run_ready(loop);

        std::size_t refused = 0;
        std::set<system_error const*> errors;
        for (task<>& t : all)
            try
            {
                if (t.done())
                    t.join();
            }
            catch (system_error const& e)
            {
                ++refused;
                if (e.code().value() != ENOMEM || !std::strstr(e.what(), "stacks.size"))
                    return false;
                errors.insert(&e);
            }
        gate.set();
        test::run_ready(loop);
        return refused > many / 2 && refused < many && errors.size() == 1 &&
               std::ranges::all_of(all, [](task<> const& t) { return t.done(); });
    });
    BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(a_guard_that_cannot_be_made_is_an_error_that_names_the_limit)
{
    std::size_t limit = 0;
    std::ifstream("/proc/sys/vm/max_map_count") >> limit;
    if (limit == 0 || limit > 100'000)
    {
        BOOST_TEST_MESSAGE("vm.max_map_count is " << limit << ": too far to go");
        return;
    }
    int const status = in_child([limit] {
        if (!forbid_guard_advice())
            return false;
        event_loop loop(of({.size = 16 * 1024}));
        event gate;
        std::vector<task<>> waiting, refused;
        for (std::size_t i = 0; i != limit; ++i)
            waiting.push_back(spawn(loop, [&] { gate.wait(); }));
        test::run_ready(loop);
        auto const first_refused = std::partition(waiting.begin(), waiting.end(),
                                                  [](task<> const& t) { return !t.done(); });
        std::move(first_refused, waiting.end(), std::back_inserter(refused));
        waiting.erase(first_refused, waiting.end());
        if (refused.empty() || waiting.size() < limit / 4)
            return false;
        for (task<>& t : refused)
            try
            {
                t.join();
                return false;
            }
            catch (system_error const& e)
            {
                if (!std::strstr(e.what(), "vm.max_map_count") || e.code().value() != ENOMEM)
                    return false;
            }
        // What there is works on, and new ones do as soon as some have ended.
        gate.set();
        return run_until_complete(loop, [&] {
            for (task<>& t : waiting)
                t.join();
            return spawn(get_running_loop(), [] { return true; }).join();
        });
    });
    BOOST_TEST(status == 0);
}
#endif

#endif

// -- usage -------------------------------------------------------------------------------------

BOOST_DATA_TEST_CASE(in_debug_mode_the_peak_of_a_stack_is_known,
                     boost::unit_test::data::make({1u, 2u}), concurrency)
{
    event_loop loop({.concurrency = concurrency, .debug = true});
    run_until_complete(loop, [&] {
        // One at a time, so that they share a stack: each has a peak of its own.
        for (std::size_t const n : {60'000u, 1'000u, 30'000u, 0u})
        {
            std::size_t inside = 0;
            auto t = spawn(loop, [&] {
                use(n);
                inside = this_fiber::stack_usage();
            });
            t.join();
            std::size_t const after = stack_usage(t);
            BOOST_TEST(inside > n);
            BOOST_TEST(inside < n + 20'000);
            BOOST_TEST(after >= inside);
            BOOST_TEST(after < n + 20'000);
        }
    });
    loop.close();
}

BOOST_AUTO_TEST_CASE(elsewhere_the_question_is_an_error)
{
    event_loop plain(of({}));
    task<> ended;
    run_until_complete(plain, [&] {
        BOOST_CHECK_EXCEPTION(this_fiber::stack_usage(), system_error,
                              fails_with(error::option_unsupported, {"debug"}));
        ended = spawn(plain, [] {});
        BOOST_CHECK_EXCEPTION(stack_usage(ended), system_error,
                              fails_with(error::not_in_fiber, {"join"}));
        ended.join();
        BOOST_CHECK_EXCEPTION(stack_usage(ended), system_error,
                              fails_with(error::option_unsupported));
        auto c = spawn(plain, []() -> boost::asio::awaitable<void> { co_return; });
        c.join();
        BOOST_CHECK_EXCEPTION(stack_usage(c), system_error, fails_with(error::not_in_fiber));
    });
    BOOST_CHECK_EXCEPTION(this_fiber::stack_usage(), system_error,
                          fails_with(error::not_in_fiber));
    BOOST_CHECK_EXCEPTION(stack_usage(task<>()), system_error, fails_with(error::empty_handle));
}
