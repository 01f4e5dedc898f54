// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.loop_group

#include <polyloop/loop/loop_group.hpp>

#include <polyloop/context/context.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/seeds.hpp"

#include <boost/test/unit_test.hpp>

#include <latch>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include <sched.h>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

namespace {

void fill(loop_group& group, unsigned n)
{
    for (unsigned i = 0; i != n; ++i)
        group.add(std::make_shared<event_loop>(
            loop_options{.name = "member-" + std::to_string(i)}));
}

/// Calls `f(i)` on each loop and waits for all.
template <class F>
void on_each(loop_group& group, F f)
{
    std::latch done(static_cast<std::ptrdiff_t>(group.size()));
    for (std::size_t i = 0; i != group.size(); ++i)
        group.loops()[i]->call_soon_threadsafe([&, i] {
            f(i);
            done.count_down();
        });
    done.wait();
}

cpu_set_t allowed()
{
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    return set;
}

} // namespace

BOOST_AUTO_TEST_CASE(each_loop_has_a_thread_of_its_own_that_bears_its_name)
{
    loop_group group;
    fill(group, 3);
    BOOST_TEST(group.size() == 3u);
    group.start();
    std::mutex m;
    std::set<std::thread::id> threads{std::this_thread::get_id()};
    std::set<std::string> names;
    bool right = true;
    on_each(group, [&](std::size_t i) {
        std::lock_guard const lock(m);
        threads.insert(std::this_thread::get_id());
        names.insert(std::string(this_context::current().name()));
        right = right && &get_running_loop() == group.loops()[i].get();
    });
    BOOST_TEST(right);
    BOOST_TEST(threads.size() == 4u);
    BOOST_TEST(names == (std::set<std::string>{"member-0", "member-1", "member-2"}),
               boost::test_tools::per_element());
    group.stop();
    group.join();
    for (auto const& l : group.loops())
    {
        BOOST_TEST(!l->is_running());
        BOOST_TEST(!l->is_closed());
    }
}

BOOST_AUTO_TEST_CASE(it_starts_again_after_a_stop)
{
    loop_group group;
    fill(group, 2);
    for (int i = 0; i != 20; ++i)
    {
        group.start();
        std::atomic<int> ran = 0;
        on_each(group, [&](std::size_t) { ++ran; });
        BOOST_TEST(ran == 2);
        group.stop();
        group.join();
    }
    group.join(); // once more does nothing
    group.stop();
}

BOOST_AUTO_TEST_CASE(a_stop_before_a_thread_got_going_is_not_lost)
{
    test::for_seeds(100, [](test::engine& e) {
        loop_group group;
        fill(group, 3);
        group.start();
        test::jitter(e);
        group.stop();
        group.join(); // else for ever
        BOOST_TEST(!group.loops()[0]->is_running());
    });
}

BOOST_AUTO_TEST_CASE(its_end_stops_and_joins)
{
    auto const loop = std::make_shared<event_loop>();
    {
        loop_group group;
        group.add(loop);
        group.start();
        std::latch running(1);
        loop->call_soon_threadsafe([&] { running.count_down(); });
        running.wait();
    }
    BOOST_TEST(!loop->is_running());
    BOOST_TEST(loop.use_count() == 1);
    {
        loop_group never_started;
        never_started.add(loop);
    }
    loop_group const empty;
    BOOST_TEST(empty.size() == 0u);
}

BOOST_AUTO_TEST_CASE(null_is_refused_and_so_is_a_loop_without_locks)
{
    loop_group group;
    BOOST_CHECK_EXCEPTION(group.add(nullptr), system_error,
                          fails_with(error::bad_config));
    BOOST_CHECK_THROW(
        group.add(std::make_shared<event_loop>(loop_options{.locking = false})),
        system_error);
    BOOST_TEST(group.size() == 0u);
}

BOOST_AUTO_TEST_CASE(pinned_each_loop_keeps_to_one_processor_in_turn)
{
    cpu_set_t const before = allowed();
    std::vector<int> cpus;
    for (int i = 0; i != CPU_SETSIZE; ++i)
        if (CPU_ISSET(i, &before))
            cpus.push_back(i);
    for (unsigned first : {0u, 1u})
    {
        loop_group group;
        fill(group, static_cast<unsigned>(cpus.size()) + 1); // counted round
        group.start(true, first);
        std::vector<cpu_set_t> sets(group.size());
        on_each(group, [&](std::size_t i) { sets[i] = allowed(); });
        for (std::size_t i = 0; i != sets.size(); ++i)
        {
            BOOST_TEST(CPU_COUNT(&sets[i]) == 1);
            BOOST_TEST(CPU_ISSET(cpus[(i + first) % cpus.size()], &sets[i]));
        }
        cpu_set_t const mine = allowed();
        BOOST_TEST(CPU_EQUAL(&mine, &before)); // the maker is left alone
    }
}

BOOST_AUTO_TEST_CASE(unpinned_they_may_use_what_their_maker_may)
{
    cpu_set_t const before = allowed();
    loop_group group;
    fill(group, 2);
    group.start();
    std::vector<cpu_set_t> sets(group.size());
    on_each(group, [&](std::size_t i) { sets[i] = allowed(); });
    for (cpu_set_t const& s : sets)
        BOOST_TEST(CPU_EQUAL(&s, &before));
}

BOOST_AUTO_TEST_CASE(a_stop_of_one_loop_ends_no_thread)
{
    loop_group group;
    fill(group, 2);
    group.start();
    for (int i = 0; i != 20; ++i)
    {
        on_each(group, [&](std::size_t n) {
            if (n == 1)
                get_running_loop().stop();
        });
        on_each(group, [](std::size_t) {}); // else for ever
    }
    group.loops()[0]->stop(); // from another thread
    on_each(group, [](std::size_t) {});
    group.stop();
    group.join();
}

BOOST_AUTO_TEST_CASE(closed_loops_and_those_it_has_are_refused)
{
    loop_group group;
    auto const loop = std::make_shared<event_loop>(loop_options{.name = "twice"});
    group.add(loop);
    BOOST_CHECK_EXCEPTION(group.add(loop), system_error,
                          fails_with(error::bad_config, {"twice", "already"}));
    auto const closed = std::make_shared<event_loop>(loop_options{.name = "over"});
    closed->close();
    BOOST_CHECK_EXCEPTION(group.add(closed), system_error,
                          fails_with(error::bad_config, {"over", "closed"}));
    BOOST_TEST(group.size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_loop_that_cannot_be_run_is_reported_and_the_others_run)
{
    loop_group group;
    fill(group, 2);
    std::string said;
    std::latch told(1);
    group.loops()[0]->set_exception_handler([&](event_loop&, exception_context const& c) {
        said = c.message;
        told.count_down();
    });
    test::running elsewhere(*group.loops()[0]);
    group.start();
    told.wait();
    std::latch ran(1);
    group.loops()[1]->call_soon_threadsafe([&] { ran.count_down(); });
    ran.wait();
    elsewhere.join();
    group.stop();
    group.join();
    BOOST_TEST(said.find("member-0") != std::string::npos);
    group.loops()[0]->set_exception_handler({});
}
