// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.gather

#include <polyloop/task/gather.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/timeout.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;

namespace {

boost::system::error_code const aborted =
    make_error_code(boost::asio::error::basic_errors::operation_aborted);

void wait_for_ever()
{
    this_fiber::sleep_for(24h);
}

template <class F>
void yield_until(F done)
{
    while (!done())
        this_fiber::yield();
}

} // namespace

BOOST_AUTO_TEST_CASE(it_gives_all_results_in_order)
{
    test::under_every_policy([] {
        int target = 0;
        auto const [a, b, c, d] =
            gather(spawn([] {
                       this_fiber::sleep_for(1ms);
                       return 1;
                   }),
                   spawn([] { return std::string("two"); }), spawn([] {}),
                   spawn([&]() -> int& { return target; }));
        BOOST_TEST(a == 1);
        BOOST_TEST(b == "two");
        BOOST_TEST((c == std::monostate()));
        BOOST_TEST(&d.get() == &target);
        BOOST_TEST(*std::get<0>(gather(spawn([] { return std::make_unique<int>(3); }))) == 3);

        std::vector<task<int>> many;
        for (int i = 0; i != 50; ++i)
            many.push_back(spawn([i] {
                for (int j = 0; j != i % 3; ++j)
                    this_fiber::yield();
                return i;
            }));
        std::vector<int> const results = gather(many);
        for (int i = 0; i != 50; ++i)
            BOOST_TEST(results[i] == i);
        BOOST_TEST(gather(std::vector<task<int>>()).empty());
        std::atomic<int> ended = 0;
        gather(std::vector<task<>>{spawn([&] { ++ended; }), spawn([&] { ++ended; })});
        BOOST_TEST(ended == 2);
    });
}

BOOST_AUTO_TEST_CASE(the_first_error_is_thrown_and_the_others_go_on)
{
    test::under_every_policy([] {
        std::atomic<bool> go_on = false;
        task<int> other = spawn([&] {
            yield_until([&] { return go_on.load(); });
            return 1;
        });
        BOOST_CHECK_EXCEPTION(
            gather(other, spawn([]() -> int { throw std::logic_error("second"); })),
            std::logic_error, [](auto const& e) { return e.what() == std::string("second"); });
        BOOST_TEST(!other.done());
        task<int> cancelled = spawn([] {
            wait_for_ever();
            return 0;
        });
        cancelled.cancel();
        BOOST_TEST(test::code_of([&] { gather(std::vector{other, cancelled}); }) == aborted);
        BOOST_TEST(!other.done());
        go_on = true;
        BOOST_TEST(other.join() == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_caller_cancels_all_and_waits_for_them)
{
    test::under_every_policy([] {
        for (bool const one_fails : {false, true})
        {
            std::atomic<int> started = 0, ended = 0;
            auto patient = [&](bool fails) {
                return spawn([&, fails] {
                    ++started;
                    (void)test::code_of(wait_for_ever);
                    ++ended;
                    if (fails)
                        throw std::logic_error("in the clean-up");
                    this_fiber::yield();
                    detail::throw_cancelled();
                });
            };
            task<> t = spawn([&] {
                gather(patient(false), patient(one_fails), patient(false));
            });
            yield_until([&] { return started == 3; });
            t.cancel();
            if (one_fails)
                BOOST_CHECK_THROW(t.join(), std::logic_error);
            else
                BOOST_TEST(test::code_of([&] { t.join(); }) == aborted);
            BOOST_TEST(ended == 3);
        }
    });
}

BOOST_AUTO_TEST_CASE(a_plain_thread_gathers_too)
{
    event_loop loop;
    test::running const thread(loop);
    auto const [a, b] = gather(spawn(loop, [] { return 1; }), spawn(loop, [] { return 2; }));
    BOOST_TEST(a + b == 3);
}

BOOST_AUTO_TEST_CASE(a_bare_handler_gathers_what_is_done)
{
    event_loop loop;
    auto t = spawn(loop, [] { return 1; });
    boost::system::error_code before, after;
    loop.call_soon([&] { before = test::code_of([&] { gather(t, spawn(wait_for_ever)); }); });
    run_until_complete(loop, t);
    loop.call_soon([&] { after = test::code_of([&] { gather(t, t); }); });
    test::run_ready(loop);
    BOOST_TEST(before == error::not_in_fiber);
    BOOST_TEST(!after);
}

BOOST_AUTO_TEST_CASE(ends_and_cancellations_may_meet_on_any_threads)
{
    test::for_seeds(5, [](test::engine& e) {
        auto const seed = e();
        test::under_every_policy([seed] {
            test::engine draws(seed);
            for (int i = 0; i != 20; ++i)
            {
                int const n = test::draw(draws, 1, 8);
                int const failing = test::draw(draws, -3, n - 1);
                bool const cancelled = test::draw(draws, 0, 2) == 0;
                task<bool> t = spawn([=] {
                    std::vector<task<int>> all;
                    for (int j = 0; j != n; ++j)
                        all.push_back(spawn([j, failing] {
                            for (int k = 0; k != j % 4; ++k)
                                this_fiber::yield();
                            if (j == failing)
                                throw std::logic_error("chosen");
                            return j;
                        }));
                    try
                    {
                        std::vector<int> const r = gather(all);
                        return failing < 0 && r.back() == n - 1;
                    }
                    catch (std::logic_error const&)
                    {
                        return failing >= 0;
                    }
                    catch (boost::system::system_error const&)
                    {
                        return this_fiber::cancelled();
                    }
                });
                if (cancelled)
                {
                    this_fiber::sleep_for(std::chrono::microseconds(test::draw(draws, 0, 50)));
                    t.cancel();
                }
                auto const end = test::code_of([&] { BOOST_TEST(t.join()); });
                BOOST_TEST((!end || (cancelled && end == aborted)));
            }
        });
    });
}
