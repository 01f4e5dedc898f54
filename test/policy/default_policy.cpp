// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE policy.default_policy

#include <polyloop/policy/default_policy.hpp>

#include <polyloop/runner/runner.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"

#include <boost/asio/post.hpp>
#include <boost/test/unit_test.hpp>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

BOOST_AUTO_TEST_CASE(S7_get_never_gives_nothing)
{
    default_policy p;
    BOOST_CHECK_EXCEPTION(p.get_event_loop(), system_error,
                          fails_with(error::no_current_loop));
    auto const loop = p.new_event_loop();
    p.set_event_loop(loop);
    BOOST_TEST(&p.get_event_loop() == loop.get());
    p.set_event_loop(nullptr);
}

BOOST_AUTO_TEST_CASE(S9_new_event_loop_is_fresh_each_time_and_not_made_current)
{
    default_policy p({.name = "mine", .concurrency = 2});
    auto const a = p.new_event_loop();
    auto const b = p.new_event_loop();
    BOOST_REQUIRE(a);
    BOOST_REQUIRE(b);
    BOOST_TEST(a != b);
    BOOST_TEST(a->name() == "mine");
    BOOST_TEST(b->options().concurrency == 2u);
    BOOST_TEST(!a->is_closed());
    BOOST_CHECK_EXCEPTION(p.get_event_loop(), system_error,
                          fails_with(error::no_current_loop));
}

BOOST_AUTO_TEST_CASE(S11_no_thread_is_given_a_loop_that_it_has_not_set)
{
    // The main thread neither, whether or not it has unset one before.
    struct counting : default_policy
    {
        std::shared_ptr<event_loop> new_event_loop() override
        {
            ++made;
            return default_policy::new_event_loop();
        }
        int made = 0;
    };
    counting p;
    for (int i = 0; i != 2; ++i)
    {
        BOOST_CHECK_EXCEPTION(p.get_event_loop(), system_error,
                              fails_with(error::no_current_loop));
        p.set_event_loop(nullptr);
    }
    std::thread([&] { (void)test::code_of([&] { p.get_event_loop(); }); }).join();
    BOOST_TEST(p.made == 0);
}

BOOST_AUTO_TEST_CASE(S10_the_error_names_the_thread)
{
    default_policy p;
    BOOST_CHECK_EXCEPTION(
        p.get_event_loop(), system_error,
        fails_with(error::no_current_loop, {"thread", "set_event_loop"}));
    std::optional<system_error> caught;
    std::thread([&] {
        this_context::set_thread_name("worker-9");
        try
        {
            p.get_event_loop();
        }
        catch (system_error const& e)
        {
            caught = e;
        }
    }).join();
    BOOST_REQUIRE(caught);
    BOOST_TEST(fails_with(error::no_current_loop, {"worker-9"})(*caught));
}

BOOST_AUTO_TEST_CASE(S18_a_binding_is_the_threads_own)
{
    default_policy p;
    auto const mine = p.new_event_loop();
    p.set_event_loop(mine);
    std::thread([&] {
        p.set_event_loop(p.new_event_loop());
        p.set_event_loop(nullptr);
    }).join();
    BOOST_TEST(&p.get_event_loop() == mine.get());

    // Of the thread, whatever runs on it.
    event_loop other;
    std::vector<event_loop*> seen;
    auto note = [&] { seen.push_back(&p.get_event_loop()); };
    asio::post(strand(other), note);
    other.call_soon(note);
    run_until_complete(other, note);
    BOOST_REQUIRE(seen.size() == 3u);
    for (event_loop* l : seen)
        BOOST_TEST(l == mine.get());
    p.set_event_loop(nullptr);
}

BOOST_AUTO_TEST_CASE(S18_two_policies_know_nothing_of_each_other)
{
    default_policy a, b;
    auto const loop = a.new_event_loop();
    a.set_event_loop(loop);
    BOOST_CHECK_THROW(b.get_event_loop(), system_error);
    b.set_event_loop(nullptr);
    BOOST_TEST(&a.get_event_loop() == loop.get());
    a.set_event_loop(nullptr);
}

BOOST_AUTO_TEST_CASE(S20_null_unbinds_any_number_of_times)
{
    default_policy p;
    p.set_event_loop(nullptr);
    for (int i = 0; i != 3; ++i)
    {
        p.set_event_loop(p.new_event_loop());
        BOOST_CHECK_NO_THROW(p.get_event_loop());
        p.set_event_loop(nullptr);
        p.set_event_loop(nullptr);
        BOOST_CHECK_EXCEPTION(p.get_event_loop(), system_error,
                              fails_with(error::no_current_loop));
    }
}

BOOST_AUTO_TEST_CASE(
    S21_binding_neither_starts_nor_closes_a_loop_and_a_closed_one_may_be_bound)
{
    default_policy p;
    auto const loop = p.new_event_loop();
    p.set_event_loop(loop);
    BOOST_TEST(!loop->is_running());
    auto const next = p.new_event_loop();
    p.set_event_loop(next);
    BOOST_TEST(!loop->is_closed());
    next->close();
    BOOST_TEST(&p.get_event_loop() == next.get());
    p.set_event_loop(loop);
    p.set_event_loop(next);
    BOOST_TEST(&p.get_event_loop() == next.get());
    p.set_event_loop(nullptr);
    BOOST_TEST(!loop->is_closed());
}

BOOST_AUTO_TEST_CASE(a_binding_keeps_its_loop_alive_until_it_is_replaced)
{
    default_policy p;
    std::weak_ptr<event_loop> first, second;
    {
        auto loop = p.new_event_loop();
        first = loop;
        p.set_event_loop(std::move(loop));
    }
    BOOST_TEST(!first.expired());
    {
        auto loop = p.new_event_loop();
        second = loop;
        p.set_event_loop(std::move(loop));
    }
    BOOST_TEST(first.expired());
    BOOST_TEST(!second.expired());
    p.set_event_loop(nullptr);
    BOOST_TEST(second.expired());
}

BOOST_AUTO_TEST_CASE(
    S24_a_binding_ends_with_its_thread_and_so_does_a_loop_that_nothing_else_holds)
{
    default_policy p;
    auto const kept = p.new_event_loop();
    std::weak_ptr<event_loop> lone;
    auto const held = std::make_shared<int>();
    bool ran = false;
    for (int i = 0; i != 20; ++i)
    {
        std::thread([&] {
            p.set_event_loop(kept);
        }).join();
        BOOST_TEST(kept.use_count() == 1);
        BOOST_TEST(!kept->is_closed());

        std::thread([&] {
            auto loop = p.new_event_loop();
            lone = loop;
            loop->call_soon([held, &ran] { ran = true; });
            loop->call_later(std::chrono::hours(1), [held, &ran] { ran = true; });
            p.set_event_loop(std::move(loop));
        }).join();
        BOOST_TEST(lone.expired());
        BOOST_TEST(held.use_count() == 1);
        BOOST_TEST(!ran);
    }
}

BOOST_AUTO_TEST_CASE(S24_a_loop_with_waiting_fibers_ends_with_its_thread_too)
{
    default_policy p;
    std::weak_ptr<event_loop> lone;
    task<> waiting;
    bool unwound = false;
    std::thread([&] {
        auto loop = p.new_event_loop();
        lone = loop;
        p.set_event_loop(loop);
        struct guard
        {
            bool& flag;
            ~guard()
            {
                flag = true;
            }
        };
        waiting = spawn(*loop, [&] {
            guard const g{unwound};
            this_fiber::sleep_for(std::chrono::hours(1));
        });
        run_until_complete(*loop, [] { this_fiber::yield(); });
    }).join();
    BOOST_TEST(lone.expired());
    BOOST_TEST(unwound);
    BOOST_TEST(waiting.done());
    BOOST_TEST(waiting.cancelled());
}

BOOST_AUTO_TEST_CASE(bindings_end_with_the_policy_and_a_thread_may_outlive_it)
{
    std::weak_ptr<event_loop> loop;
    std::thread([&] {
        auto p = std::make_unique<default_policy>();
        auto made = p->new_event_loop();
        loop = made;
        p->set_event_loop(std::move(made));
        p.reset();
        BOOST_TEST(loop.expired());
    }).join();
    BOOST_TEST(loop.expired());
}

BOOST_AUTO_TEST_CASE(everything_that_a_loop_spawns_stays_on_it)
{
    std::set<event_loop*> loops;
    run(
        [&] {
            for (int i = 0; i != 8; ++i)
            {
                auto t = spawn([&] { return &get_running_loop(); });
                loops.insert(t.join());
                loops.insert(&make_strand().loop());
            }
            loops.insert(&get_running_loop());
        },
        {.policy = std::make_shared<default_policy>()});
    BOOST_TEST(loops.size() == 1u);
}

BOOST_AUTO_TEST_CASE(one_that_places_elsewhere_is_asked_although_a_loop_runs)
{
    struct elsewhere : default_policy
    {
        event_loop other;
        event_loop& place(placement_request const&) override
        {
            return other;
        }
    };
    auto const mine = std::make_shared<elsewhere>();
    auto const placed = [] { return &make_strand().loop(); };
    event_loop loop;
    BOOST_TEST(run_until_complete(loop, placed) == &loop);
    {
        scoped_policy const scope(mine);
        BOOST_TEST(run_until_complete(loop, placed) == &mine->other);
    }
    BOOST_TEST(run_until_complete(loop, placed) == &loop);
}

BOOST_AUTO_TEST_CASE(without_a_running_loop_it_places_on_the_bound_one_or_refuses)
{
    default_policy p;
    BOOST_CHECK_EXCEPTION(p.place({}), system_error, fails_with(error::no_current_loop));
    auto const bound = p.new_event_loop();
    p.set_event_loop(bound);
    for (context_kind k :
         {context_kind::thread, context_kind::strand, context_kind::fiber})
        BOOST_TEST(&p.place({.kind = k}) == bound.get());
    event_loop running;
    event_loop* placed = nullptr;
    running.call_soon([&] { placed = &p.place({}); });
    test::run_ready(running);
    BOOST_TEST(placed == &running);
    BOOST_TEST(p.unit() == context_kind::thread);
    p.set_event_loop(nullptr);
}
