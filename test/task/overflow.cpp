// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// How a process ends whose fiber needs more stack than it has, and that other faults are left
// to whom they belong. Each case is a child of this program, told by an environment
// variable what to do.
#define BOOST_TEST_MODULE task.overflow
#define BOOST_TEST_NO_MAIN
#define BOOST_TEST_ALTERNATIVE_INIT_API

#include "support/process.hpp"
#include "support/sanitizers.hpp"

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <boost/test/unit_test.hpp>

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace polyloop;

namespace {

// -- what children do --------------------------------------------------------------------------

[[gnu::noinline]] int recurse(int n)
{
    char volatile frame[200];
    frame[0] = static_cast<char>(n);
    return n == 0 ? 0 : recurse(n + 1) + frame[0];
}

/// Frames that are larger than a page, and touched at their lower end only.
[[gnu::noinline]] int recurse_in_strides(int n)
{
    char volatile frame[24 * 1024];
    frame[0] = static_cast<char>(n);
    return n == 0 ? 0 : recurse_in_strides(n + 1) + frame[0];
}

[[gnu::noinline]] void write_to_null()
{
    *reinterpret_cast<int volatile*>(8) = 1;
}

sigjmp_buf back;

void jump_back(int)
{
    siglongjmp(back, 1);
}

void say_and_exit(int, siginfo_t* info, void*)
{
    bool const right = info->si_addr == reinterpret_cast<void*>(8);
    char const text[] = "the program's own handler\n";
    if (right && ::write(1, text, sizeof text - 1) > 0)
        ::_exit(7);
    ::_exit(8);
}

void with_info(int number, void (*f)(int, siginfo_t*, void*))
{
    struct sigaction a = {};
    a.sa_sigaction = f;
    a.sa_flags = SA_SIGINFO;
    ::sigaction(number, &a, nullptr);
}

void run_fiber(void (*f)(), loop_options o = {.name = "lagoon", .stacks = {.size = 40'000}})
{
    event_loop loop(std::move(o));
    run_until_complete(loop, [&] { spawn(loop, f, {.name = "diver"}).join(); });
    loop.close();
}

void overflow()
{
    recurse(1);
}

int child(std::string const& what)
{
    ::rlimit const no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    if (what == "overflow")
        run_fiber(overflow);
    else if (what == "overflow by large frames")
        run_fiber([] { recurse_in_strides(1); });
    else if (what == "unnamed")
    {
        event_loop loop;
        run_until_complete(loop, [&] { spawn(loop, overflow).join(); });
    }
    else if (what == "several threads")
        run_fiber(overflow,
                  {.name = "lagoon", .concurrency = 2, .stacks = {.size = 40'000}});
    else if (what == "other thread")
        std::thread([] { run_fiber(overflow); }).join();
    else if (what == "after waiting")
        run_fiber([] {
            this_fiber::yield();
            overflow();
        });
    else if (what == "switched off")
        run_fiber(overflow, {.stacks = {.report_overflow = false}});
    else if (what == "overflow of a program with a handler")
    {
        with_info(SIGSEGV, [](int, siginfo_t*, void*) { ::_exit(9); });
        run_fiber(overflow);
    }
    else if (what == "null in a fiber")
        run_fiber(write_to_null);
    else if (what == "null elsewhere")
    {
        run_fiber([] {});
        write_to_null();
    }
    else if (what == "null in a thread without fibers")
    {
        run_fiber([] {});
        std::thread(write_to_null).join();
    }
    else if (what == "handler with info")
    {
        with_info(SIGSEGV, say_and_exit);
        run_fiber(write_to_null);
    }
    else if (what == "handler that jumps")
    {
        std::signal(SIGSEGV, jump_back);
        for (int i = 0; i != 3; ++i)
            run_fiber([] {
                if (sigsetjmp(back, 1) == 0)
                    write_to_null();
                else
                    std::puts("jumped");
            });
    }
    else if (what == "bus")
        run_fiber([] {
            std::FILE* const f = std::tmpfile(); // empty: nothing lies behind the mapping
            void* const p = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, ::fileno(f), 0);
            (void)*static_cast<char volatile*>(p);
        });
    else if (what == "sent")
        run_fiber([] { ::raise(SIGSEGV); });
    else if (what == "ignored")
    {
        std::signal(SIGSEGV, SIG_IGN);
        run_fiber([] {
            ::raise(SIGSEGV);
            std::puts("alive");
        });
    }
    else if (what == "threads come and go")
    {
        for (int i = 0; i != 50; ++i)
            std::thread([] { run_fiber([] {}); }).join();
        stack_t s = {};
        std::thread([&] {
            char own[65536];
            s.ss_sp = own;
            s.ss_size = sizeof own;
            ::sigaltstack(&s, nullptr);
            run_fiber([] {});
            stack_t now = {};
            ::sigaltstack(nullptr, &now);
            if (now.ss_sp != own)
                ::_exit(10);
            s.ss_flags = SS_DISABLE;
            ::sigaltstack(&s, nullptr);
        }).join();
        std::puts("done");
    }
    else
        return 11;
    return 0;
}

// -- what is expected of them --------------------------------------------------------------------

struct outcome
{
    int status;
    std::string out, err;
};

outcome of(std::string const& what)
{
    test::process p("/proc/self/exe", {}, {{"POLYLOOP_TEST_CHILD", what}});
    int const status = p.wait();
    return {status, p.out(), p.err()};
}

bool says(std::string const& text, std::string const& part)
{
    return text.find(part) != text.npos;
}

#if defined(POLYLOOP_TEST_ASAN) || defined(POLYLOOP_TEST_TSAN)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

/// Dead by the signal; a sanitizer that handles it itself makes an exit of it, and has its say.
bool died(outcome const& o, int number)
{
    if (sanitized && o.status > 0)
        return says(o.err, "Sanitizer");
    return o.status == -number;
}

} // namespace

BOOST_AUTO_TEST_CASE(an_overflow_names_the_fiber_its_stack_and_the_remedy)
{
    for (char const* const what : {"overflow", "several threads", "other thread", "after waiting",
                                   "overflow by large frames"})
        BOOST_TEST_CONTEXT(what)
        {
            outcome const o = of(what);
            BOOST_TEST(died(o, SIGSEGV));
            BOOST_TEST(says(o.err, "stack overflow in fiber \"diver\" (fiber-"));
            BOOST_TEST(says(o.err, "loop \"lagoon\""));
            BOOST_TEST(says(o.err, "40960 bytes"));
            BOOST_TEST(says(o.err, "raise loop_options::stacks.size"));
        }
}

BOOST_AUTO_TEST_CASE(a_fiber_without_a_name_is_told_by_its_id)
{
    outcome const o = of("unnamed");
    BOOST_TEST(died(o, SIGSEGV));
    BOOST_TEST(says(o.err, "stack overflow in fiber fiber-"));
    BOOST_TEST(says(o.err, "131072 bytes"));
}

BOOST_AUTO_TEST_CASE(switched_off_it_is_a_bare_fault)
{
    outcome const o = of("switched off");
    BOOST_TEST(o.status != 0);
    BOOST_TEST(!says(o.err, "polyloop"));
}

BOOST_AUTO_TEST_CASE(after_the_message_the_fault_goes_where_it_went_before)
{
    outcome const o = of("overflow of a program with a handler");
    // It has no alternate stack of its own to run on, so it cannot run: the signal ends it.
    BOOST_TEST((o.status == -SIGSEGV || o.status == 9));
    BOOST_TEST(says(o.err, "stack overflow in fiber \"diver\""));
}

BOOST_AUTO_TEST_CASE(other_faults_end_the_process_as_ever)
{
    for (char const* const what :
         {"null in a fiber", "null elsewhere", "null in a thread without fibers", "sent"})
        BOOST_TEST_CONTEXT(what)
        {
            outcome const o = of(what);
            BOOST_TEST(died(o, SIGSEGV));
            BOOST_TEST(!says(o.err, "polyloop: stack overflow"));
        }
    outcome const o = of("bus");
    BOOST_TEST(died(o, SIGBUS));
    BOOST_TEST(!says(o.err, "polyloop: stack overflow"));
}

BOOST_AUTO_TEST_CASE(other_faults_keep_their_handlers)
{
    outcome const info = of("handler with info");
    BOOST_TEST(info.status == 7);
    BOOST_TEST(info.out == "the program's own handler\n");
    BOOST_TEST(info.err == "");
    outcome const jump = of("handler that jumps");
    BOOST_TEST(jump.status == 0);
    BOOST_TEST(jump.out == "jumped\njumped\njumped\n");
    outcome const ignored = of("ignored");
    BOOST_TEST(ignored.status == 0);
    BOOST_TEST(ignored.out == "alive\n");
}

BOOST_AUTO_TEST_CASE(signal_stacks_end_with_their_threads_and_a_thread_keeps_its_own)
{
    outcome const o = of("threads come and go");
    BOOST_TEST(o.status == 0);
    BOOST_TEST(o.out == "done\n");
}

int main(int argc, char** argv)
{
    if (char const* const what = std::getenv("POLYLOOP_TEST_CHILD"))
        return child(what);
    return boost::unit_test::unit_test_main([] { return true; }, argc, argv);
}
