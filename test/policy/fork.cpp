// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// Children of a process that runs loops: each test is a process of its own, which forks.
#define BOOST_TEST_MODULE policy.fork
#define BOOST_TEST_NO_MAIN

#include <polyloop/policy/event_loop_policy.hpp>

#include "support/child.hpp"
#include "support/error.hpp"
#include "support/policies.hpp"
#include "support/sanitizers.hpp"

#include <polyloop/context/per_process.hpp>
#include <polyloop/io/tcp_listener.hpp>
#include <polyloop/io/tcp_stream.hpp>
#include <polyloop/loop/loop_group.hpp>
#include <polyloop/loop/strand.hpp>
#include <polyloop/loop/timer.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/server/server.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/to_thread.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/detached.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/write.hpp>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace polyloop;
using namespace std::chrono_literals;
using test::child;
using test::child_arguments;
using test::child_process;
using test::say;

// The thread sanitizer knows no threads that a child of several threads makes; the address
// sanitizer's own locks stay as another thread had them.
#if defined(POLYLOOP_TEST_TSAN) || defined(POLYLOOP_TEST_ASAN)
#define POLYLOOP_TEST_NO_THREADS_IN_CHILD 1
#endif

#if defined(POLYLOOP_TEST_ASAN)
// A child ends with what its parent had.
extern "C" char const* __asan_default_options()
{
    return "detect_leaks=0";
}
#endif

namespace {

#if defined(POLYLOOP_TEST_NO_THREADS_IN_CHILD)
constexpr bool threads_in_children = false;
#else
constexpr bool threads_in_children = true;
#endif

/// A pool in a child makes threads.
bool works_in_a_child(std::string const& policy)
{
    return threads_in_children || policy == "default" || policy.ends_with("loops=1");
}

/// Calls `f` in a forked child, which ends with what it gives; gives the same, or the negated
/// number of the signal that ended it.
int in_a_fork(std::function<int()> const& f)
{
    pid_t const pid = ::fork();
    if (pid == 0)
    {
        ::alarm(60);
        try
        {
            ::_exit(f());
        }
        catch (std::exception const& e)
        {
            say(std::string("in the fork: ") + e.what());
        }
        ::_exit(98);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// What a loop can do: timers, tasks, threads of the executor, and a connection over sockets of
/// either kind. Gives 7.
int work()
{
    server s = start_server({asio::ip::address_v4::loopback(), 0}, [](tcp_stream peer) {
        char data[16];
        while (auto const n = peer.read_some(asio::buffer(data)))
            asio::write(peer, asio::buffer(data, n));
    });
    int sum = 0;
    for (int i = 0; i != 3; ++i)
    {
        tcp::socket client(get_running_loop().get_executor());
        client.async_connect(s.endpoint(), use_fiber);
        asio::async_write(client, asio::buffer("x", 1), use_fiber);
        char answer = 0;
        asio::async_read(client, asio::buffer(&answer, 1), use_fiber);
        sum += answer == 'x';
    }
    this_fiber::sleep_for(1ms);
    sum += spawn([] { return 2; }).join();
    sum += threads_in_children ? to_thread([] { return 2; }).join() : 2;
    s.close();
    return sum;
}

} // namespace

child const forks_in_a_run("forks_in_a_run", [](child_arguments const& args) {
    int const result = run(
        [] {
            int const before = work();
            int const seen = in_a_fork([] {
                int wrong = 0;
                wrong |= try_get_running_loop() ? 1 : 0;
                wrong |= test::code_of([] { get_running_loop(); }) == error::no_running_loop ? 0 : 2;
                wrong |= test::code_of([] { get_event_loop(); }) == error::no_current_loop ? 0 : 4;
                wrong |= this_context::kind() == context_kind::thread ? 0 : 8;
                wrong |= test::code_of([] { this_fiber::yield(); }) == error::not_in_fiber ? 0 : 16;
                return wrong;
            });
            return before == 7 && work() == 7 ? seen : 100;
        },
        {.policy = make_policy(args[0])});
    say("seen " + std::to_string(result));
    return 0;
});

BOOST_AUTO_TEST_CASE(S16_a_child_finds_no_running_loop_and_no_bound_one)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("forks_in_a_run", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "seen 0\n");
        BOOST_TEST(p.err() == "");
    });
}

child const child_runs("child_runs", [](child_arguments const& args) {
    auto const mine = [&]() -> run_options {
        if (args[0] == "own")
            return {.policy = make_policy(args[1])};
        return {}; // the process's
    };
    if (args[0] == "set")
        set_event_loop_policy(make_policy(args[1]));
    int const result = run(
        [&] {
            int const before = work();
            int const there = in_a_fork([&] {
                int const first = run(work, mine());
                return first == 7 ? run(work, mine()) : 90;
            });
            return before == 7 && work() == 7 ? there : 100;
        },
        mine());
    say("there " + std::to_string(result));
    return 0;
});

BOOST_AUTO_TEST_CASE(S17_a_child_that_starts_a_loop_of_its_own_works_and_so_does_its_parent)
{
    test::for_every_policy([](std::string const& policy) {
        if (!works_in_a_child(policy))
            return;
        for (std::string const way : {"own", "set", "environment"})
            BOOST_TEST_CONTEXT("policy of " << way)
            {
                child_process p("child_runs", {way, policy},
                                {{"POLYLOOP_POLICY", way == "environment" ? policy : ""}});
                BOOST_TEST(p.wait() == 0);
                BOOST_TEST(p.out() == "there 7\n");
                BOOST_TEST(p.err() == "");
            }
    });
}

child const binds("binds", [](child_arguments const&) {
    auto const loop = new_event_loop();
    set_event_loop(loop);
    int const there = in_a_fork([&] {
        if (test::code_of([] { get_event_loop(); }) != error::no_current_loop)
            return 1;
        // The parent's loop is not the child's to run or to close.
        if (test::code_of([&] { loop->run_forever(); }) != error::loop_closed)
            return 2;
        loop->close();
        auto const own = new_event_loop();
        set_event_loop(own);
        if (&get_event_loop() != own.get())
            return 3;
        int const n = run_until_complete(*own, work);
        own->close();
        return n;
    });
    int const here = run_until_complete(get_event_loop(), work);
    say(std::to_string(there) + ' ' + std::to_string(here));
    return 0;
});

BOOST_AUTO_TEST_CASE(S17_bindings_are_not_inherited_and_the_parents_loop_is_left_alone)
{
    child_process p("binds");
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.out() == "7 7\n");
    BOOST_TEST(p.err() == "");
}

child const hands_over("hands_over", [](child_arguments const& args) {
    int const result = run(
        [] {
            event_loop& loop = get_running_loop();
            int ends[2];
            if (::pipe(ends) != 0)
                return 95;
            loop.add_reader(ends[0], [] {});
            loop.add_signal_handler(SIGUSR2, [] {});
            callback_handle later = loop.call_later(24h, [] {});
            strand const s = make_strand();
            timer t(loop, 24h);
            auto const pool = std::make_shared<asio::thread_pool>(1);
            task<> waits = spawn(loop, [] { this_fiber::sleep_for(24h); });
            int const there = in_a_fork([&] {
                int right = 0;
                auto const refused = [&](auto&& f) {
                    right += test::code_of(f) == error::loop_closed;
                };
                refused([&] { loop.run_forever(); });
                refused([&] { loop.call_soon([] {}); });
                refused([&] { loop.call_soon_threadsafe([] {}); });
                refused([&] { loop.call_later(1ms, [] {}); });
                refused([&] { loop.call_at(loop.time(), [] {}); });
                refused([&] { loop.add_reader(ends[0], [] {}); });
                refused([&] { loop.add_writer(ends[1], [] {}); });
                refused([&] { loop.add_signal_handler(SIGUSR2, [] {}); });
                refused([&] { (void)spawn(loop, [] {}); });
                refused([&] { (void)spawn(s, [] {}); });
                refused([&] { loop.run_in_executor([] {}, asio::detached); });
                refused([&] { loop.set_default_executor(pool); });
                refused([&] { waits.join(); });
                refused([&] { waits.join_for(24h); });
                waits.cancel();
                bool wrong = loop.remove_reader(ends[0]) || loop.remove_writer(ends[1]) ||
                             loop.remove_signal_handler(SIGUSR2) || loop.is_running() ||
                             !loop.is_closed();
                (void)test::code_of([&] {
                    t.expires_after(1ms);
                    t.async_wait([](boost::system::error_code) {});
                });
                later.cancel();
                loop.stop();
                loop.close();
                return wrong ? 94 : right;
            });
            int const here = work();
            later.cancel();
            bool const unharmed = !waits.done();
            waits.cancel();
            bool const watched = loop.remove_reader(ends[0]) && loop.remove_signal_handler(SIGUSR2);
            ::close(ends[0]);
            ::close(ends[1]);
            return here == 7 && watched && unharmed ? there : 100;
        },
        {.policy = make_policy(args[0])});
    say("refused " + std::to_string(result));
    return 0;
});

BOOST_AUTO_TEST_CASE(S16_S17_to_a_child_the_loops_of_its_parent_are_closed)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("hands_over", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "refused 14\n");
        BOOST_TEST(p.err() == "");
    });
}

child const forks_between_runs("forks_between_runs", [](child_arguments const& args) {
    auto r = std::make_unique<runner>(run_options{.policy = make_policy(args[0])});
    int const before = r->run(work);
    int const there = in_a_fork([&] {
        bool const refused = test::code_of([&] { r->run(work); }) == error::loop_closed;
        r->close();
        bool const closed = test::code_of([&] { r->run(work); }) == error::runner_closed;
        r.reset();
        return refused && closed ? run(work, {.policy = make_policy("default")}) : 90;
    });
    int const in_destructor = in_a_fork([&] {
        r.reset();
        return 7;
    });
    int const after = r->run(work);
    r->close();
    say(std::to_string(before) + ' ' + std::to_string(there) + ' ' +
        std::to_string(in_destructor) + ' ' + std::to_string(after));
    return 0;
});

BOOST_AUTO_TEST_CASE(S17_a_runner_in_a_child_leaves_the_run_to_the_parent)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("forks_between_runs", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "7 7 7 7\n");
        BOOST_TEST(p.err() == "");
    });
}

child const group("group", [](child_arguments const&) {
    auto g = std::make_unique<loop_group>();
    for (int i = 0; i != 2; ++i)
        g->add(std::make_shared<event_loop>());
    g->start();
    event_loop& first = *g->loops().front();
    int const before = spawn(first, work).join();
    int const there = in_a_fork([&] {
        g->stop();
        g->join();
        g.reset();
        return 7;
    });
    int const after = spawn(first, work).join();
    g->stop();
    g->join();
    say(std::to_string(before) + ' ' + std::to_string(there) + ' ' + std::to_string(after));
    return 0;
});

BOOST_AUTO_TEST_CASE(S17_a_group_of_loops_in_a_child_joins_no_thread_of_the_parents)
{
    child_process p("group");
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.out() == "7 7 7\n");
    BOOST_TEST(p.err() == "");
}

child const binds_beside("binds_beside", [](child_arguments const&) {
    auto const loop = new_event_loop();
    set_event_loop(loop); // so that the thread's end matters to the policy
    std::atomic<bool> over = false;
    std::thread busy([&] {
        while (!over)
        {
            set_event_loop(loop);
            set_event_loop(nullptr);
        }
    });
    int good = 0;
    for (int i = 0; i != 100; ++i)
        good += in_a_fork([]() -> int { std::exit(5); }) == 5;
    over = true;
    busy.join();
    set_event_loop(nullptr);
    say("good " + std::to_string(good));
    return 0;
});

BOOST_AUTO_TEST_CASE(S17_a_thread_of_a_child_ends_whatever_others_bound_at_the_fork)
{
    if (!threads_in_children)
        return; // the sanitizer's own locks are not whole in such a child
    child_process p("binds_beside");
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.out() == "good 100\n");
    BOOST_TEST(p.err() == "");
}

/// One of somebody's own, with a run at a time and a loop for everybody.
class policy_of_ones_own : public event_loop_policy
{
  public:
    event_loop& get_event_loop() override
    {
        std::lock_guard const lock(state_->mutex);
        if (!state_->bound)
            throw boost::system::system_error(error::no_current_loop);
        return *state_->bound;
    }
    void set_event_loop(std::shared_ptr<event_loop> loop) override
    {
        std::lock_guard const lock(state_->mutex);
        state_->bound = std::move(loop);
    }
    std::shared_ptr<event_loop> new_event_loop() override
    {
        return std::make_shared<event_loop>();
    }
    void start(std::shared_ptr<event_loop> main) override
    {
        std::lock_guard const lock(state_->mutex);
        if (!state_->loops.empty())
            throw boost::system::system_error(error::policy_in_use);
        state_->loops = {std::move(main)};
    }
    void stop() override
    {
        std::lock_guard const lock(state_->mutex);
        state_->loops.clear();
    }
    std::vector<std::shared_ptr<event_loop>> loops() const override
    {
        std::lock_guard const lock(state_->mutex);
        return state_->loops;
    }

  private:
    struct state
    {
        mutable std::mutex mutex;
        std::shared_ptr<event_loop> bound;
        std::vector<std::shared_ptr<event_loop>> loops;
    };
    per_process<state> state_;
};

child const forks_under_ones_own("forks_under_ones_own", [](child_arguments const& args) {
    auto const policy = std::make_shared<policy_of_ones_own>();
    if (args[0] == "set")
        set_event_loop_policy(policy);
    std::atomic<bool> over = false;
    std::thread asks([&] { // so that the lock is another thread's at many a fork
        while (threads_in_children && !over) // else the allocator's is, which stays so
            (void)policy->loops();
    });
    int good = 0;
    run(
        [&] {
            for (int i = 0; i != 50; ++i)
                good += in_a_fork([&] {
                    int wrong = 0;
                    wrong |= policy->loops().empty() ? 0 : 1;
                    wrong |= test::code_of([&] { policy->get_event_loop(); }) ==
                                     error::no_current_loop
                                 ? 0
                                 : 2;
                    if (run([] { return spawn([] { return 5; }).join(); }, {.policy = policy}) !=
                        5)
                        wrong |= 4;
                    return wrong;
                }) == 0;
        },
        {.policy = policy});
    over = true;
    asks.join();
    // The parent's is as it was.
    good += run([&] { return policy->loops().size() == 1; }, {.policy = policy});
    say("good " + std::to_string(good));
    return 0;
});

BOOST_AUTO_TEST_CASE(S16_S17_a_policy_of_ones_own_begins_anew_in_a_child)
{
    for (std::string const way : {"set", "own"})
        BOOST_TEST_CONTEXT("policy of " << way)
        {
            child_process p("forks_under_ones_own", {way});
            BOOST_TEST(p.wait() == 0);
            BOOST_TEST(p.out() == "good 51\n");
            BOOST_TEST(p.err() == "");
        }
}

child const child_ends_normally("child_ends_normally", [](child_arguments const&) {
    // What is static in the child ends with it, the parent's loop among it.
    static std::shared_ptr<event_loop> loop = std::make_shared<event_loop>();
    static task<> waiting = spawn(*loop, [] { this_fiber::sleep_for(24h); });
    int const here = run_until_complete(*loop, work);
    pid_t const pid = ::fork();
    if (pid == 0)
        std::exit(5);
    int status = 0;
    ::waitpid(pid, &status, 0);
    int const after = run_until_complete(*loop, work);
    say(std::to_string(here) + ' ' + std::to_string(WEXITSTATUS(status)) + ' ' +
        std::to_string(after));
    return 0;
});

BOOST_AUTO_TEST_CASE(S17_a_child_that_ends_with_all_its_statics_disturbs_nothing)
{
    child_process p("child_ends_normally");
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.out() == "7 5 7\n");
    BOOST_TEST(p.err() == "");
}

child const executes("executes", [](child_arguments const& args) {
    int const result = run(
        [] {
            int good = 0;
            for (int i = 0; i != 5; ++i)
            {
                int const forked = in_a_fork([] {
                    ::execl("/bin/true", "true", nullptr);
                    return 97;
                });
                pid_t pid = 0;
                char word[] = "true";
                char* const argv[] = {word, nullptr};
                if (::posix_spawn(&pid, "/bin/true", nullptr, nullptr, argv, environ) != 0)
                    return 96;
                int status = 0;
                ::waitpid(pid, &status, 0);
                good += forked == 0 && status == 0 && work() == 7;
            }
            return good;
        },
        {.policy = make_policy(args[0])});
    say("good " + std::to_string(result));
    return 0;
});

BOOST_AUTO_TEST_CASE(S17_a_child_that_only_executes_a_program_disturbs_nothing)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("executes", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "good 5\n");
        BOOST_TEST(p.err() == "");
    });
}

child const signals_of_a_child("signals_of_a_child", [](child_arguments const& args) {
    int const result = run(
        [] {
            std::atomic<int> told = 0;
            event_loop& loop = get_running_loop();
            loop.add_signal_handler(SIGUSR1, [&] { ++told; });
            // Of the child they are those of a process that has set nothing.
            for (int const number : {SIGUSR1, SIGINT})
                if (in_a_fork([number] {
                        ::raise(number);
                        return 1;
                    }) != -number)
                    return 1;
            // And what the child's own loop handles is not the parent's.
            int const there = in_a_fork([] {
                return run([] {
                    std::atomic<int> mine = 0;
                    get_running_loop().add_signal_handler(SIGUSR1, [&] { ++mine; });
                    ::raise(SIGUSR1);
                    while (mine == 0)
                        this_fiber::yield();
                    return mine + 2;
                }, {.policy = make_policy("default")});
            });
            if (there != 3)
                return 2;
            work();
            if (told != 0)
                return 3;
            ::kill(::getpid(), SIGUSR1);
            while (told == 0)
                this_fiber::yield();
            return told + 10;
        },
        {.policy = make_policy(args[0])});
    say("result " + std::to_string(result));
    return 0;
});

BOOST_AUTO_TEST_CASE(S17_a_childs_signals_are_its_own)
{
    test::for_every_policy([](std::string const& policy) {
        child_process p("signals_of_a_child", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "result 11\n");
        BOOST_TEST(p.err() == "");
    });
}

child const forks_beside("forks_beside", [](child_arguments const& args) {
    // From a thread that runs no loop, while others are busy with everything.
    std::atomic<bool> begun = false, over = false;
    std::thread busy([&] {
        run(
            [&] {
                while (!over)
                {
                    if (work() != 7)
                        std::abort();
                    begun = true;
                }
            },
            {.policy = make_policy(args[0])});
    });
    // What the language makes at first use it locks: a child would wait for who was about to.
    while (!begun)
        std::this_thread::yield();
    int good = 0;
    for (int i = 0; i != 10; ++i)
        good += in_a_fork([] { return run(work, {.policy = make_policy("default")}); }) == 7;
    over = true;
    busy.join();
    say("good " + std::to_string(good));
    return 0;
});

BOOST_AUTO_TEST_CASE(S17_a_fork_while_loops_run_on_other_threads)
{
    if (!threads_in_children)
        return; // the sanitizer's own locks are not whole in such a child
    test::for_every_policy([](std::string const& policy) {
        child_process p("forks_beside", {policy});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.out() == "good 10\n");
        BOOST_TEST(p.err() == "");
    });
}
