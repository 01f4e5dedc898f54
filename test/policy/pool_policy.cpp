// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE policy.pool_policy

#include <polyloop/policy/pool_policy.hpp>

#include <polyloop/policy/registry.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/sync/event.hpp>
#include <polyloop/task/this_fiber.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/seeds.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <sched.h>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

namespace {

cpu_set_t allowed()
{
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    return set;
}

/// The loops of `n` contexts that `make` makes one after the other, as a task of a run.
template <class F>
std::set<event_loop*> loops_of(int n, F make)
{
    std::set<event_loop*> found;
    for (int i = 0; i != n; ++i)
        found.insert(make());
    return found;
}

event_loop* loop_of_a_fiber()
{
    auto t = spawn([] { return &get_running_loop(); });
    return t.join();
}

event_loop* loop_of_a_coroutine()
{
    auto t =
        spawn([]() -> asio::awaitable<event_loop*> { co_return &get_running_loop(); });
    return t.join();
}

event_loop* loop_of_a_strand()
{
    return &make_strand().loop();
}

} // namespace

// -- the placement rules --------------------------------------------------------------

BOOST_AUTO_TEST_CASE(rule_2_a_fiber_policy_spreads_fibers_and_coroutines_and_not_strands)
{
    run(
        [] {
            event_loop* const here = &get_running_loop();
            BOOST_TEST(loops_of(9, loop_of_a_fiber).size() == 3u);
            BOOST_TEST(loops_of(9, loop_of_a_coroutine).size() == 3u);
            BOOST_TEST(loops_of(9, loop_of_a_strand) ==
                           std::set<event_loop*>{here}, // rule 3
                       boost::test_tools::per_element());
        },
        {.policy = std::make_shared<fiber_policy>(pool_options{.loops = 3})});
}

BOOST_AUTO_TEST_CASE(rule_2_a_strand_policy_spreads_strands_and_fibers_stay)
{
    run(
        [] {
            event_loop* const here = &get_running_loop();
            BOOST_TEST(loops_of(9, loop_of_a_strand).size() == 3u);
            BOOST_TEST(loops_of(9, loop_of_a_fiber) == std::set<event_loop*>{here},
                       boost::test_tools::per_element());
            for (int i = 0; i != 6; ++i)
            {
                strand const s = make_strand();
                auto t = spawn(s, [&] {
                    return &get_running_loop() == &s.loop() &&
                        loop_of_a_fiber() == &s.loop();
                });
                BOOST_TEST(t.join());
            }
        },
        {.policy = std::make_shared<strand_policy>(pool_options{.loops = 3})});
}

BOOST_AUTO_TEST_CASE(rule_1_a_fibers_own_binding_decides_where_its_children_live)
{
    auto const p = std::make_shared<fiber_policy>(pool_options{.loops = 3});
    run(
        [&] {
            auto const loops = p->loops();
            auto t = spawn([&] {
                set_event_loop(loops[2]);
                auto found = loops_of(6, loop_of_a_fiber);
                found.merge(loops_of(6, loop_of_a_strand));
                return found;
            });
            BOOST_TEST(t.join() == std::set<event_loop*>{loops[2].get()},
                       boost::test_tools::per_element());

            // Its children do not inherit it, and it ends with the fiber.
            auto u = spawn([&] {
                set_event_loop(loops[2]);
                auto child = spawn([] { return loops_of(6, loop_of_a_fiber).size(); });
                return child.join();
            });
            BOOST_TEST(u.join() == 3u);
            BOOST_TEST(loops_of(6, loop_of_a_fiber).size() == 3u);

            auto v = spawn([&] {
                set_event_loop(loops[2]);
                set_event_loop(nullptr);
                return loops_of(6, loop_of_a_fiber).size();
            });
            BOOST_TEST(v.join() == 3u);
        },
        {.policy = p});
}

BOOST_AUTO_TEST_CASE(rule_1_a_strands_own_binding_decides_too)
{
    auto const p = std::make_shared<strand_policy>(pool_options{.loops = 3});
    run(
        [&] {
            auto const loops = p->loops();
            strand const s(get_running_loop());
            std::set<event_loop*> bound, other;
            asio::post(s, [&] {
                set_event_loop(loops[1]);
                bound = loops_of(6, loop_of_a_strand);
            });
            asio::post(s, [&] { bound.merge(loops_of(6, loop_of_a_strand)); });
            auto t = spawn(s, [] {});
            t.join();
            BOOST_TEST(bound == std::set<event_loop*>{loops[1].get()},
                       boost::test_tools::per_element());
            strand const free(get_running_loop());
            asio::post(free, [&] { other = loops_of(6, loop_of_a_strand); });
            spawn(free, [] {}).join();
            BOOST_TEST(other.size() == 3u);
        },
        {.policy = p});
}

BOOST_AUTO_TEST_CASE(a_binding_of_a_fiber_ends_with_it_and_lets_its_loop_go)
{
    std::weak_ptr<event_loop> lone;
    bool alive_inside = false;
    run(
        [&] {
            for (int i = 0; i != 10; ++i)
            {
                auto t = spawn([&] {
                    auto made = new_event_loop();
                    lone = made;
                    set_event_loop(std::move(made));
                    this_fiber::yield();
                    alive_inside = !lone.expired();
                });
                t.join();
                BOOST_TEST(alive_inside);
                // The fiber has ended as soon as somebody else runs on its loop.
                spawn([] {}).join();
                BOOST_TEST(lone.expired());
            }
        },
        {.policy = std::make_shared<fiber_policy>(pool_options{.loops = 1})});
}

BOOST_AUTO_TEST_CASE(
    rule_3_outside_of_any_loop_the_bound_one_then_the_runners_own_then_an_error)
{
    fiber_policy p({.loops = 2});
    auto const place_strand = [&] { return &p.place({.kind = context_kind::strand}); };
    BOOST_CHECK_EXCEPTION(place_strand(), system_error,
                          fails_with(error::no_current_loop));
    BOOST_CHECK_EXCEPTION(p.place({}), system_error, fails_with(error::no_current_loop));
    auto const main = p.new_event_loop();
    p.start(main);
    BOOST_TEST(place_strand() == main.get());
    auto const bound = std::make_shared<event_loop>();
    p.set_event_loop(bound);
    BOOST_TEST(place_strand() == bound.get());
    // The unit itself is spread all the same.
    std::set<event_loop*> units;
    for (int i = 0; i != 4; ++i)
        units.insert(&p.place({}));
    BOOST_TEST(units.size() == 2u);
    BOOST_TEST(!units.contains(bound.get()));
    p.stop();
    BOOST_TEST(&p.place({}) == bound.get());
    p.set_event_loop(nullptr);
    BOOST_CHECK_EXCEPTION(p.place({}), system_error, fails_with(error::no_current_loop));
}

BOOST_AUTO_TEST_CASE(
    S9_new_event_loop_is_fresh_and_the_runs_loops_begin_with_the_runners_own)
{
    for (char const* text : {"strand loops=2", "fiber loops=2", "shared loops=2"})
        BOOST_TEST_CONTEXT(text)
        {
            auto const p = make_policy(text);
            auto const a = p->new_event_loop(), b = p->new_event_loop();
            BOOST_TEST(a != b);
            BOOST_CHECK_THROW(p->get_event_loop(), system_error);
            BOOST_TEST(p->loops().empty());
            p->start(a);
            BOOST_REQUIRE(!p->loops().empty());
            BOOST_TEST(p->loops().front() == a);
            p->stop();
            BOOST_TEST(p->loops().empty());
            BOOST_TEST(!a->is_closed());
            p->stop(); // once more does nothing
        }
}

// -- shared_policy --------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_shared_policy_has_one_loop_and_several_threads)
{
    constexpr unsigned threads = 3;
    auto const p = std::make_shared<shared_policy>(pool_options{.loops = threads});
    std::mutex m;
    std::set<std::thread::id> ids;
    run(
        [&] {
            auto found = loops_of(6, loop_of_a_fiber);
            found.merge(loops_of(6, loop_of_a_strand));
            BOOST_TEST(found == std::set<event_loop*>{&get_running_loop()},
                       boost::test_tools::per_element());
            BOOST_TEST(p->loops().size() == 1u);
            // Each holds its thread until all have one.
            std::latch all(threads);
            std::vector<task<>> tasks;
            for (unsigned i = 0; i != threads; ++i)
                tasks.push_back(spawn([&] {
                    {
                        std::lock_guard const lock(m);
                        ids.insert(std::this_thread::get_id());
                    }
                    all.arrive_and_wait();
                }));
            for (task<>& t : tasks)
                t.join();
        },
        {.policy = p});
    BOOST_TEST(ids.size() == threads);
}

BOOST_AUTO_TEST_CASE(a_shared_policys_helpers_come_back_for_the_next_main_task)
{
    runner r({.policy = make_policy("shared loops=3")});
    for (int i = 0; i != 50; ++i)
        BOOST_TEST(r.run([&] {
            std::latch all(3);
            std::vector<task<>> tasks;
            for (int j = 0; j != 3; ++j)
                tasks.push_back(spawn([&] { all.arrive_and_wait(); }));
            for (task<>& t : tasks)
                t.join();
            return i;
        }) == i);
    r.close();
}

BOOST_AUTO_TEST_CASE(starting_and_stopping_at_once_loses_no_thread)
{
    for (char const* text : {"shared loops=4", "fiber loops=3", "strand loops=3"})
        BOOST_TEST_CONTEXT(text)
        {
            auto const p = make_policy(text);
            test::for_seeds(200, [&](test::engine& e) {
                p->start(p->new_event_loop());
                for (auto n = test::draw(e, 0, 10); n != 0; --n)
                    test::jitter(e);
                p->stop(); // joins: else it would wait for ever
                BOOST_TEST(p->loops().empty());
            });
        }
}

// -- one run at a time, options -------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_policy_object_serves_one_run_at_a_time)
{
    for (char const* text : {"strand loops=2", "fiber loops=2", "shared loops=2"})
        BOOST_TEST_CONTEXT(text)
        {
            auto const p = make_policy(text);
            boost::system::error_code second;
            run(
                [&] {
                    std::thread([&] {
                        second = test::code_of([&] { run([] {}, {.policy = p}); });
                    }).join();
                    // The first run is unharmed.
                    BOOST_TEST(!p->loops().empty());
                    spawn([] {}).join();
                },
                {.policy = p});
            BOOST_TEST(second == error::policy_in_use);
            BOOST_TEST(run([] { return 3; }, {.policy = p}) == 3); // free again
        }
}

BOOST_AUTO_TEST_CASE(pool_loops_refuse_to_go_without_locks)
{
    pool_options const o{.loops = 2, .loop = {.locking = false}};
    auto const refused = fails_with(error::bad_config, {"locking"});
    BOOST_CHECK_EXCEPTION(fiber_policy{o}, system_error, refused);
    BOOST_CHECK_EXCEPTION(strand_policy{o}, system_error, refused);
    BOOST_CHECK_EXCEPTION(shared_policy{o}, system_error, refused);
}

BOOST_AUTO_TEST_CASE(a_main_loop_without_locks_is_refused)
{
    for (char const* text : {"strand loops=2", "fiber loops=2"})
    {
        auto const p = make_policy(text);
        BOOST_CHECK_THROW(
            p->start(std::make_shared<event_loop>(loop_options{.locking = false})),
            system_error);
        BOOST_TEST(p->loops().empty());
        BOOST_CHECK_EXCEPTION(p->start(nullptr), system_error,
                              fails_with(error::bad_config));
    }
}

BOOST_AUTO_TEST_CASE(loops_are_made_with_the_options_given)
{
    pool_options const o{.loops = 3,
                         .loop = {.name = "mine", .concurrency = 7, .debug = true}};
    auto const f = std::make_shared<fiber_policy>(o);
    run(
        [&] {
            for (auto const& l : f->loops())
            {
                BOOST_TEST(l->get_debug());
                BOOST_TEST(l->options().concurrency == 1u); // the policy's to set
            }
        },
        {.policy = f});
    auto const shared = shared_policy(o).new_event_loop();
    BOOST_TEST(shared->options().concurrency == 3u);
    shared->close();
}

BOOST_AUTO_TEST_CASE(zero_loops_is_one_for_each_usable_processor)
{
    cpu_set_t const set = allowed();
    BOOST_TEST(usable_processors() == static_cast<unsigned>(CPU_COUNT(&set)));
    auto const p = std::make_shared<fiber_policy>();
    BOOST_TEST(run([&] { return p->loops().size(); }, {.policy = p}) ==
               usable_processors());
}

BOOST_AUTO_TEST_CASE(
    pinned_each_loop_keeps_to_one_processor_and_the_run_puts_the_callers_back)
{
    cpu_set_t const before = allowed();
    for (char const* text : {"fiber pin=on", "strand pin=on", "shared pin=on"})
        BOOST_TEST_CONTEXT(text)
        {
            auto const p = make_policy(text);
            cpu_set_t inside;
            std::set<int> used;
            bool single = true;
            run(
                [&] {
                    inside = allowed();
                    for (auto const& l : p->loops())
                        spawn(*l, [&] {
                            cpu_set_t const set = allowed();
                            single = single && CPU_COUNT(&set) == 1;
                            for (int i = 0; i != CPU_SETSIZE; ++i)
                                if (CPU_ISSET(i, &set))
                                    used.insert(i);
                        }).join();
                },
                {.policy = p});
            BOOST_TEST(CPU_COUNT(&inside) == 1);
            BOOST_TEST(single);
            if (p->unit() != context_kind::thread)
                BOOST_TEST(used.size() == static_cast<std::size_t>(CPU_COUNT(&before)));
            cpu_set_t const after = allowed();
            BOOST_TEST(CPU_EQUAL(&after, &before));
        }
}

// -- loops of somebody's own ----------------------------------------------------------

namespace {

/// A pool whose second loop is what the test says.
class odd_policy : public fiber_policy
{
  public:
    using maker = std::function<std::shared_ptr<event_loop>(std::shared_ptr<event_loop> first)>;

    explicit odd_policy(maker m) : fiber_policy({.loops = 2}), make_(std::move(m))
    {
    }
    std::shared_ptr<event_loop> new_event_loop() override
    {
        if (first_)
            return make_(first_);
        return first_ = fiber_policy::new_event_loop();
    }

  private:
    maker make_;
    std::shared_ptr<event_loop> first_;
};

std::shared_ptr<event_loop> closed_loop()
{
    auto const l = std::make_shared<event_loop>();
    l->close();
    return l;
}

} // namespace

BOOST_AUTO_TEST_CASE(loops_that_no_pool_can_use_are_refused_before_main_runs)
{
    using loop_ptr = std::shared_ptr<event_loop>;
    odd_policy::maker const makers[] = {[](loop_ptr) { return loop_ptr(); },
                                        [](loop_ptr) { return closed_loop(); },
                                        [](loop_ptr first) { return first; }};
    for (auto const& m : makers)
    {
        auto const p = std::make_shared<odd_policy>(m);
        bool ran = false;
        BOOST_CHECK_EXCEPTION(run([&] { ran = true; }, {.policy = p}), system_error,
                              fails_with(error::bad_config));
        BOOST_TEST(!ran);
        BOOST_TEST(p->loops().empty());
        BOOST_CHECK_EXCEPTION(p->get_event_loop(), system_error,
                              fails_with(error::no_current_loop));
    }
}

BOOST_AUTO_TEST_CASE(a_closed_main_loop_is_refused)
{
    for (char const* text : {"strand loops=2", "fiber loops=2", "shared loops=2"})
        BOOST_TEST_CONTEXT(text)
        {
            auto const p = make_policy(text);
            auto const l = std::make_shared<event_loop>(loop_options{.concurrency = 2});
            l->close();
            BOOST_CHECK_EXCEPTION(p->start(l), system_error, fails_with(error::loop_closed));
            BOOST_TEST(p->loops().empty());
        }
}

BOOST_AUTO_TEST_CASE(a_shared_loop_that_others_run_too_is_reported_and_its_run_goes_on)
{
    auto const p = std::make_shared<shared_policy>(pool_options{.loops = 2});
    auto const main = p->new_event_loop();
    std::latch told(1);
    main->set_exception_handler([&](event_loop&, exception_context const&) { told.count_down(); });
    {
        test::running const others(*main, 2); // all the threads that it allows
        p->start(main);
        told.wait();
    }
    p->stop();
    main->set_exception_handler({});
}

BOOST_AUTO_TEST_CASE(a_task_that_stops_its_loop_ends_no_thread_of_the_pool)
{
    for (char const* text : {"strand loops=2", "fiber loops=2", "shared loops=2"})
        BOOST_TEST_CONTEXT(text)
        {
            auto const p = make_policy(text);
            auto stop_there = [&] {
                event_loop& there = *p->loops().back();
                spawn(there, [] { get_running_loop().stop(); }).join();
                spawn(there, [] {}).join(); // else for ever
                if (p->unit() == context_kind::thread)
                    event().wait(); // a main task that had ended by then would be no error
            };
            if (p->unit() == context_kind::thread) // the loop is the main task's, too
                BOOST_CHECK_EXCEPTION(run(stop_there, {.policy = p}), system_error,
                                      fails_with(error::loop_stopped));
            else
                run(stop_there, {.policy = p});
        }
}
