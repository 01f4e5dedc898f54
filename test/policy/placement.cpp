// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE policy.placement

#include <polyloop/policy/placement.hpp>

#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/policy/registry.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/task/this_fiber.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/seeds.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

namespace {

using group = std::vector<std::shared_ptr<event_loop>>;

group make_group(std::size_t n)
{
    group g;
    for (std::size_t i = 0; i != n; ++i)
        g.push_back(std::make_shared<event_loop>());
    return g;
}

void add_tasks(event_loop& loop, std::size_t n)
{
    for (std::size_t i = 0; i != n; ++i)
        (void)spawn(loop, [] {}); // nobody runs the loop: they live on
}

/// How often each of the loops is chosen.
template <class Strategy>
std::vector<int> choices(Strategy&& choose, group const& g, int times)
{
    std::vector<int> n(g.size());
    for (int i = 0; i != times; ++i)
        ++n.at(choose(placement_request{}, g));
    return n;
}

} // namespace

// -- the strategies -------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(round_robin_takes_one_after_the_other)
{
    group const g = make_group(3);
    placement::round_robin choose;
    for (std::size_t i = 0; i != 9; ++i)
        BOOST_TEST(choose({}, g) == i % 3);
}

BOOST_AUTO_TEST_CASE(round_robin_is_even_from_several_threads)
{
    group const g = make_group(4);
    placement::strategy choose = placement::round_robin();
    constexpr int threads = 4, each = 1000;
    std::vector<std::vector<int>> counts(threads);
    std::vector<std::thread> all;
    for (int t = 0; t != threads; ++t)
        all.emplace_back([&, t] { counts[t] = choices(choose, g, each); });
    for (std::thread& t : all)
        t.join();
    for (std::size_t l = 0; l != g.size(); ++l)
    {
        int sum = 0;
        for (auto const& c : counts)
            sum += c[l];
        BOOST_TEST(sum == threads * each / 4);
    }
}

BOOST_AUTO_TEST_CASE(least_tasks_takes_the_emptiest)
{
    test::for_seeds(20, [](test::engine& e) {
        group const g = make_group(5);
        for (auto const& l : g)
            add_tasks(*l, test::draw(e, std::size_t(1), std::size_t(6)));
        for (int i = 0; i != 30; ++i)
        {
            std::size_t const chosen = placement::least_tasks()({}, g);
            for (auto const& l : g)
                BOOST_TEST(g[chosen]->task_count() <= l->task_count());
            add_tasks(*g[chosen], 1);
        }
        auto const [least, most] =
            std::minmax_element(g.begin(), g.end(), [](auto const& a, auto const& b) {
                return a->task_count() < b->task_count();
            });
        BOOST_TEST((*most)->task_count() - (*least)->task_count() <= 1u);
    });
}

BOOST_AUTO_TEST_CASE(two_choices_never_takes_the_more_loaded_of_two)
{
    group const two = make_group(2);
    add_tasks(*two[0], 3);
    BOOST_TEST(choices(placement::two_choices(), two, 200)[0] == 0);
    add_tasks(*two[1], 4);
    BOOST_TEST(choices(placement::two_choices(), two, 200)[1] == 0);

    // Of more, the one with most tasks is never the less loaded of any two that differ.
    group const four = make_group(4);
    for (std::size_t i = 0; i != four.size(); ++i)
        add_tasks(*four[i], i);
    std::vector<int> const n = choices(placement::two_choices(), four, 2000);
    BOOST_TEST(n[3] == 0);
    for (int i = 0; i != 3; ++i)
        BOOST_TEST(n[i] > 0);
    BOOST_TEST(n[0] > n[1]); // 1/2, 1/3 and 1/6 of all
    BOOST_TEST(n[1] > n[2]);
}

BOOST_AUTO_TEST_CASE(two_choices_among_equals_uses_all)
{
    group const g = make_group(3);
    for (int n : choices(placement::two_choices(), g, 2000))
        BOOST_TEST(n > 0);
    BOOST_TEST(choices(placement::two_choices(), make_group(1), 10)[0] == 10);
}

BOOST_AUTO_TEST_CASE(by_key_keeps_equal_keys_together)
{
    group const g = make_group(4);
    placement::by_key const choose;
    std::set<std::size_t> used;
    for (int i = 0; i != 100; ++i)
    {
        std::string const key = "user-" + std::to_string(i);
        std::size_t const chosen = choose({.key = key}, g);
        used.insert(chosen);
        BOOST_TEST(choose({.key = std::string(key), .name = "another name"}, g) ==
                   chosen);
        BOOST_TEST(choose({.kind = context_kind::strand, .key = key}, g) == chosen);
        BOOST_TEST(choose({.name = key}, g) == chosen); // the name takes its place
    }
    BOOST_TEST(used.size() == g.size());
}

BOOST_AUTO_TEST_CASE(same_loop_takes_the_callers_own_or_the_first)
{
    group const g = make_group(3);
    placement::same_loop const choose;
    BOOST_TEST(choose({}, g) == 0u);
    std::vector<std::size_t> chosen;
    for (auto const& l : g)
    {
        l->call_soon([&] { chosen.push_back(choose({}, g)); });
        test::run_ready(*l);
    }
    event_loop stranger;
    stranger.call_soon([&] { chosen.push_back(choose({}, g)); });
    test::run_ready(stranger);
    BOOST_TEST(chosen == (std::vector<std::size_t>{0, 1, 2, 0}),
               boost::test_tools::per_element());
}

// -- in a run -------------------------------------------------------------------------

namespace {

/// The loops on which `n` fibers, spawned by the main task one after the other, found
/// themselves.
std::map<event_loop*, int> spread(std::shared_ptr<event_loop_policy> p, int n,
                                  spawn_options options = {})
{
    std::map<event_loop*, int> found;
    run(
        [&] {
            for (int i = 0; i != n; ++i)
            {
                auto t = spawn([] { return &get_running_loop(); }, options);
                ++found[t.join()];
            }
        },
        {.policy = std::move(p)});
    return found;
}

} // namespace

BOOST_AUTO_TEST_CASE(round_robin_spreads_a_runs_fibers_evenly)
{
    auto const found = spread(make_policy("fiber loops=4"), 40);
    BOOST_TEST(found.size() == 4u);
    for (auto const& [loop, n] : found)
        BOOST_TEST(n == 10);
}

BOOST_AUTO_TEST_CASE(least_tasks_fills_loops_with_waiting_fibers_evenly)
{
    run(
        [] {
            std::vector<task<>> waiting;
            for (int i = 0; i != 29; ++i)
                waiting.push_back(
                    spawn([] { this_fiber::sleep_for(std::chrono::hours(1)); }));
            // 30 with the main task.
            for (auto const& l : get_event_loop_policy()->loops())
                BOOST_TEST(l->task_count() == 10u);
        },
        {.policy = make_policy("fiber loops=3 placement=least_tasks")});
}

BOOST_AUTO_TEST_CASE(by_key_and_same_loop_in_a_run)
{
    BOOST_TEST(spread(make_policy("fiber loops=4 placement=by_key"), 20, {.key = "one"})
                   .size() == 1u);
    BOOST_TEST(spread(make_policy("fiber loops=4 placement=same_loop"), 20).size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_callable_of_ones_own_chooses_and_sees_the_request)
{
    std::vector<std::string> asked;
    std::size_t loops = 0;
    auto last = [&](placement_request const& r, placement::loops l) {
        asked.push_back(std::string(r.key) + '/' + std::string(r.name) + '/' +
                        std::string(to_string(r.kind)));
        loops = l.size();
        return l.size() - 1;
    };
    auto const p = std::make_shared<fiber_policy>(pool_options{.loops = 3}, last);
    event_loop* found = nullptr;
    run(
        [&] {
            auto t = spawn([] { return &get_running_loop(); }, {.name = "n", .key = "k"});
            found = t.join();
            BOOST_TEST(found == p->loops().back().get());
        },
        {.policy = p});
    BOOST_TEST(loops == 3u);
    BOOST_TEST(asked == std::vector<std::string>{"k/n/fiber"},
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(an_index_out_of_range_and_an_exception_reach_whoever_spawns)
{
    int call = 0;
    auto odd = [&](placement_request const&, placement::loops l) -> std::size_t {
        if (++call == 1)
            return l.size();
        if (call == 2)
            throw std::out_of_range("cannot choose");
        return 0;
    };
    run(
        [] {
            BOOST_CHECK_EXCEPTION((void)spawn([] {}), system_error,
                                  fails_with(error::bad_config, {"2", "placement"}));
            BOOST_CHECK_THROW((void)spawn([] {}), std::out_of_range);
            auto t = spawn([] { return 3; });
            BOOST_TEST(t.join() == 3);
        },
        {.policy = std::make_shared<fiber_policy>(pool_options{.loops = 2}, odd)});
}

BOOST_AUTO_TEST_CASE(an_empty_callable_is_refused)
{
    BOOST_CHECK_EXCEPTION(fiber_policy({}, placement::strategy()), system_error,
                          fails_with(error::bad_config, {"placement"}));
}
