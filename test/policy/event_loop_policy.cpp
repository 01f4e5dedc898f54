// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE policy.event_loop_policy

#include <polyloop/policy/event_loop_policy.hpp>

#include <polyloop/policy/default_policy.hpp>
#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/policy/registry.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/task/this_fiber.hpp>

#include "support/environment.hpp"
#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/seeds.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <latch>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

namespace {

/// Notes what is asked of it.
class noting : public event_loop_policy
{
  public:
    event_loop& get_event_loop() override
    {
        calls += 'g';
        if (!loop)
            throw system_error(make_error_code(error::no_current_loop));
        return *loop;
    }
    void set_event_loop(std::shared_ptr<event_loop> l) override
    {
        calls += l ? 's' : 'u';
        loop = std::move(l);
    }
    std::shared_ptr<event_loop> new_event_loop() override
    {
        calls += 'n';
        return std::make_shared<event_loop>();
    }
    std::string calls;
    std::shared_ptr<event_loop> loop;
};

/// Each test begins with an empty slot.
struct fresh
{
    fresh()
    {
        set_event_loop_policy(nullptr);
    }
    ~fresh()
    {
        set_event_loop_policy(nullptr);
    }
    test::environment const none{"POLYLOOP_POLICY", nullptr};
};

} // namespace

// -- the slot -------------------------------------------------------------------------

BOOST_FIXTURE_TEST_CASE(S1_the_default_is_made_once_and_later_calls_return_it, fresh)
{
    auto const p = get_event_loop_policy();
    BOOST_TEST(dynamic_cast<default_policy*>(p.get()));
    for (int i = 0; i != 3; ++i)
        BOOST_TEST(get_event_loop_policy() == p);
}

BOOST_FIXTURE_TEST_CASE(S1_concurrent_first_gets_agree_on_one_object, fresh)
{
    test::for_seeds(50, [](test::engine& e) {
        set_event_loop_policy(nullptr);
        constexpr int threads = 4;
        std::latch start(threads);
        std::vector<std::shared_ptr<event_loop_policy>> got(threads);
        std::vector<std::thread> all;
        for (int t = 0; t != threads; ++t)
            all.emplace_back([&, t, mine = test::engine(e())]() mutable {
                start.arrive_and_wait();
                test::jitter(mine);
                got[t] = get_event_loop_policy();
            });
        for (std::thread& t : all)
            t.join();
        BOOST_TEST(got[0]);
        for (auto const& p : got)
            BOOST_TEST(p == got[0]);
    });
}

BOOST_FIXTURE_TEST_CASE(S2_a_policy_set_on_one_thread_is_seen_on_another, fresh)
{
    auto const p = std::make_shared<noting>();
    std::thread([&] { set_event_loop_policy(p); }).join();
    BOOST_TEST(get_event_loop_policy() == p);
}

BOOST_AUTO_TEST_CASE(S3_S19_what_is_no_policy_or_no_loop_does_not_compile)
{
    static_assert(
        !std::is_invocable_v<decltype(&set_event_loop_policy), std::shared_ptr<int>>);
    static_assert(!std::is_invocable_v<decltype(&set_event_loop), std::shared_ptr<int>>);
    static_assert(!std::is_invocable_v<decltype(&event_loop_policy::set_event_loop),
                                       event_loop_policy&, std::shared_ptr<int>>);
}

BOOST_FIXTURE_TEST_CASE(S4_setting_null_makes_a_new_default_that_knows_no_loop, fresh)
{
    auto const first = get_event_loop_policy();
    set_event_loop(new_event_loop());
    BOOST_CHECK_NO_THROW(get_event_loop());
    set_event_loop_policy(nullptr);
    auto const second = get_event_loop_policy();
    BOOST_TEST(second);
    BOOST_TEST(second != first);
    BOOST_CHECK_EXCEPTION(get_event_loop(), system_error,
                          fails_with(error::no_current_loop));
    first->set_event_loop(nullptr);
}

BOOST_FIXTURE_TEST_CASE(S5_setting_a_policy_touches_no_loop_and_calls_no_policy, fresh)
{
    auto const old = std::make_shared<noting>();
    auto const next = std::make_shared<noting>();
    set_event_loop_policy(old);
    auto const loop = std::make_shared<event_loop>();
    {
        test::running const threads(*loop);
        set_event_loop_policy(next);
        BOOST_TEST(loop->is_running());
        std::latch alive(1);
        loop->call_soon_threadsafe([&] { alive.count_down(); });
        alive.wait();
    }
    BOOST_TEST(!loop->is_closed());
    BOOST_TEST(old->calls == "");
    BOOST_TEST(next->calls == "");
}

BOOST_FIXTURE_TEST_CASE(S8_concurrent_sets_leave_the_slot_with_one_of_them, fresh)
{
    test::for_seeds(20, [](test::engine& e) {
        std::set<std::shared_ptr<event_loop_policy>> mine;
        std::vector<std::thread> threads;
        std::atomic<bool> good = true;
        for (int t = 0; t != 4; ++t)
        {
            auto const p = std::make_shared<noting>();
            mine.insert(p);
            threads.emplace_back([&good, p, own = test::engine(e())]() mutable {
                for (int i = 0; i != 200; ++i)
                {
                    set_event_loop_policy(p);
                    test::jitter(own);
                    good = good && get_event_loop_policy();
                }
            });
        }
        for (std::thread& t : threads)
            t.join();
        BOOST_TEST(good);
        BOOST_TEST(mine.contains(get_event_loop_policy()));
    });
}

BOOST_FIXTURE_TEST_CASE(a_replaced_policy_is_let_go, fresh)
{
    auto p = std::make_shared<noting>();
    std::weak_ptr<noting> const w = p;
    set_event_loop_policy(std::move(p));
    BOOST_TEST(!w.expired());
    set_event_loop_policy(nullptr);
    BOOST_TEST(w.expired());
}

// -- scoped_policy --------------------------------------------------------------------

BOOST_FIXTURE_TEST_CASE(scoped_policy_puts_the_same_old_object_back, fresh)
{
    auto const outer = get_event_loop_policy();
    auto const a = std::make_shared<noting>();
    auto const b = std::make_shared<noting>();
    {
        scoped_policy const one(a);
        BOOST_TEST(get_event_loop_policy() == a);
        {
            scoped_policy const two(b);
            BOOST_TEST(get_event_loop_policy() == b);
        }
        BOOST_TEST(get_event_loop_policy() == a);
        try
        {
            scoped_policy const three(b);
            throw 1;
        }
        catch (int)
        {
        }
        BOOST_TEST(get_event_loop_policy() == a);
    }
    BOOST_TEST(get_event_loop_policy() == outer);
}

BOOST_FIXTURE_TEST_CASE(scoped_policy_of_null_is_a_new_default_for_the_scope, fresh)
{
    auto const mine = std::make_shared<noting>();
    set_event_loop_policy(mine);
    {
        scoped_policy const scope(nullptr);
        auto const inside = get_event_loop_policy();
        BOOST_TEST(dynamic_cast<default_policy*>(inside.get()));
        BOOST_TEST(get_event_loop_policy() == inside);
    }
    BOOST_TEST(get_event_loop_policy() == mine);
}

// -- the module's operations ----------------------------------------------------------

BOOST_FIXTURE_TEST_CASE(S22_the_modules_operations_go_through_the_policy, fresh)
{
    auto const p = std::make_shared<noting>();
    set_event_loop_policy(p);
    auto const loop = new_event_loop();
    set_event_loop(loop);
    BOOST_TEST(&get_event_loop() == loop.get());
    set_event_loop(nullptr);
    BOOST_TEST(p->calls == "nsgu");
}

BOOST_FIXTURE_TEST_CASE(S12_get_event_loop_gives_the_running_loop_and_asks_no_policy,
                        fresh)
{
    auto const p = std::make_shared<noting>();
    set_event_loop_policy(p);
    event_loop loop;
    std::vector<event_loop*> seen;
    auto note = [&] { seen.push_back(&get_event_loop()); };
    loop.call_soon(note);
    asio::post(loop.io_context(), note);
    asio::post(strand(loop), note);
    test::run_until(loop, [&] { return seen.size() == 3; });
    run_until_complete(loop, note);
    for (event_loop* l : seen)
        BOOST_TEST(l == &loop);
    BOOST_TEST(p->calls == "");
}

BOOST_FIXTURE_TEST_CASE(S13_although_another_loop_is_bound_to_the_thread, fresh)
{
    auto const bound = new_event_loop();
    set_event_loop(bound);
    event_loop loop;
    event_loop* seen = nullptr;
    run_until_complete(loop, [&] { seen = &get_event_loop(); });
    BOOST_TEST(seen == &loop);
    BOOST_TEST(&get_event_loop() == bound.get());
    set_event_loop(nullptr);
}

BOOST_FIXTURE_TEST_CASE(S14_get_running_loop_never_asks_the_policy, fresh)
{
    set_event_loop(new_event_loop());
    BOOST_CHECK_EXCEPTION(get_running_loop(), system_error,
                          fails_with(error::no_running_loop));
    BOOST_TEST(try_get_running_loop() == nullptr);
    set_event_loop(nullptr);
}

// -- the base class -------------------------------------------------------------------

BOOST_FIXTURE_TEST_CASE(the_base_places_on_the_running_loop_and_else_asks_get_event_loop,
                        fresh)
{
    auto const p = std::make_shared<noting>();
    p->loop = std::make_shared<event_loop>();
    BOOST_TEST(&p->place({}) == p->loop.get());
    BOOST_TEST(p->calls == "g");
    event_loop running;
    event_loop* placed = nullptr;
    running.call_soon([&] { placed = &p->place({.kind = context_kind::strand}); });
    test::run_ready(running);
    BOOST_TEST(placed == &running);
    BOOST_TEST(p->calls == "g");
    p->loop = nullptr;
    BOOST_CHECK_EXCEPTION(p->place({}), system_error, fails_with(error::no_current_loop));
    BOOST_TEST(p->loops().empty());
    p->start(std::make_shared<event_loop>());
    p->stop();
}

BOOST_FIXTURE_TEST_CASE(spawn_and_make_strand_ask_the_policy_in_force, fresh)
{
    auto const p = std::make_shared<noting>();
    p->loop = std::make_shared<event_loop>();
    set_event_loop_policy(p);
    strand const s = make_strand("placed");
    BOOST_TEST(&s.loop() == p->loop.get());
    BOOST_TEST(s.as_context().name() == "placed");
    auto t = spawn([] { return &get_running_loop(); });
    BOOST_TEST(run_until_complete(*p->loop, t) == p->loop.get());
    p->loop = nullptr;
    BOOST_CHECK_EXCEPTION((void)spawn([] {}), system_error,
                          fails_with(error::no_current_loop));
    BOOST_CHECK_EXCEPTION((void)make_strand(), system_error,
                          fails_with(error::no_current_loop));
}

// -- policies of runs -----------------------------------------------------------------

BOOST_FIXTURE_TEST_CASE(S23_run_works_with_a_policy_whose_get_event_loop_always_throws,
                        fresh)
{
    class refusing : public default_policy
    {
      public:
        event_loop& get_event_loop() override
        {
            throw std::logic_error("get_event_loop was asked");
        }
    };
    set_event_loop_policy(std::make_shared<refusing>());
    BOOST_TEST(run([] {
                   auto t = spawn([] { return &get_event_loop(); });
                   return t.join() == &get_running_loop();
               }) == true);
}

BOOST_FIXTURE_TEST_CASE(the_policy_of_a_run_is_in_force_in_all_its_loops_and_nowhere_else,
                        fresh)
{
    auto const outside = std::make_shared<noting>();
    set_event_loop_policy(outside);
    auto const mine = std::make_shared<fiber_policy>(pool_options{.loops = 3});
    std::set<event_loop*> loops;
    bool inside = true, in_callback = false, other_thread = false;
    run(
        [&] {
            for (int i = 0; i != 12; ++i)
            {
                auto t = spawn([&] {
                    return std::pair(&get_running_loop(),
                                     get_event_loop_policy() == mine);
                });
                auto const [loop, same] = t.join();
                loops.insert(loop);
                inside = inside && same;
            }
            get_running_loop().call_soon(
                [&] { in_callback = get_event_loop_policy() == mine; });
            this_fiber::yield();
            this_fiber::yield();
            std::thread([&] {
                other_thread = get_event_loop_policy() == outside;
            }).join();
        },
        {.policy = mine});
    BOOST_TEST(inside);
    BOOST_TEST(in_callback);
    BOOST_TEST(other_thread);
    BOOST_TEST(loops.size() == 3u);
    BOOST_TEST(get_event_loop_policy() == outside);
    BOOST_TEST(outside->calls == "");
}

BOOST_FIXTURE_TEST_CASE(two_threads_run_two_pools_at_once, fresh)
{
    auto const outside = get_event_loop_policy();
    std::latch both(2), end(2);
    std::atomic<int> good = 0;
    auto one = [&](std::shared_ptr<event_loop_policy> mine) {
        run(
            [&] {
                both.arrive_and_wait();
                for (int i = 0; i != 50; ++i)
                {
                    auto t = spawn([&] { return get_event_loop_policy() == mine; });
                    good += t.join();
                }
                end.arrive_and_wait(); // both runs were on all the time
            },
            {.policy = mine});
    };
    std::thread a(one, make_policy("fiber loops=2"));
    std::thread b(one, make_policy("strand loops=2"));
    a.join();
    b.join();
    BOOST_TEST(good == 100);
    BOOST_TEST(get_event_loop_policy() == outside);
}
