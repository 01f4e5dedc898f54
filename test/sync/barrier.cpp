#define BOOST_TEST_MODULE sync.barrier

#include <polyloop/sync/barrier.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/sync/event.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <future>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

boost::system::error_code aborted_code()
{
    return asio::error::operation_aborted;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_barrier_is_for_one_party_at_least)
{
    test::fails_with const refused(error::bad_config, {"parties"});
    BOOST_CHECK_EXCEPTION(barrier(0), boost::system::system_error, refused);
    BOOST_CHECK_EXCEPTION(barrier(-3), boost::system::system_error, refused);
    barrier alone(1);
    BOOST_TEST(alone.wait() == 0u);
    BOOST_TEST(alone.wait_for(0s).value() == 0u);
    BOOST_TEST(alone.parties() == 1u);
}

BOOST_AUTO_TEST_CASE(all_of_every_kind_wait_for_all_round_after_round)
{
    test::under_every_policy([] {
        constexpr int rounds = 20;
        constexpr std::size_t parties = 6;
        barrier b(parties);
        std::vector<std::atomic<int>> arrived(rounds), places(parties);
        std::atomic<bool> early = false;
        auto check = [&](int round, std::size_t place) {
            if (arrived[round] != parties)
                early = true;
            ++places[place];
        };
        auto in_fiber = [&] {
            for (int i = 0; i != rounds; ++i)
            {
                ++arrived[i];
                check(i, b.wait());
            }
        };
        auto in_coroutine = [&]() -> asio::awaitable<void> {
            for (int i = 0; i != rounds; ++i)
            {
                ++arrived[i];
                check(i, co_await b.async_wait(asio::use_awaitable));
            }
        };
        std::vector<task<>> tasks;
        for (int i = 0; i != 2; ++i)
        {
            tasks.push_back(spawn(in_fiber));
            tasks.push_back(spawn(in_coroutine));
        }
        std::thread a(in_fiber), c(in_fiber);
        for (auto& t : tasks)
            t.join();
        a.join();
        c.join();
        BOOST_TEST(!early);
        BOOST_TEST(b.n_waiting() == 0u);
        for (auto& n : places)
            BOOST_TEST(n == rounds);
    });
}

BOOST_AUTO_TEST_CASE(who_leaves_by_a_cancel_or_a_limit_leaves_it_whole)
{
    test::under_every_policy([] {
        barrier b(2);
        auto cancelled = spawn([&b] { b.wait(); });
        while (b.n_waiting() != 1)
            this_fiber::yield();
        cancelled.cancel();
        auto const ec = test::code_of([&cancelled] { cancelled.join(); });
        BOOST_TEST(ec == aborted_code());
        auto late = spawn([&b] { return b.wait_for(2ms).has_value(); });
        BOOST_TEST(!late.join());
        auto coroutine = spawn([&b]() -> asio::awaitable<bool> {
            auto [e, place] =
                co_await b.async_wait_for(2ms, asio::as_tuple(asio::use_awaitable));
            co_return e == asio::error::timed_out;
        });
        BOOST_TEST(coroutine.join());
        BOOST_TEST(b.n_waiting() == 0u);
        BOOST_TEST(!b.broken());
        auto first = spawn([&b] { return b.wait(); });
        while (b.n_waiting() != 1)
            this_fiber::yield();
        BOOST_TEST(b.wait() == 1u);
        BOOST_TEST(first.join() == 0u);
    });
}

BOOST_AUTO_TEST_CASE(abort_breaks_it_until_it_is_reset)
{
    test::under_every_policy([] {
        auto const broken = make_error_code(error::broken_barrier);
        barrier b(3);
        auto waiting = spawn([&b] { return test::code_of([&b] { b.wait(); }); });
        auto limited = spawn([&b] { return test::code_of([&b] { b.wait_for(24h); }); });
        while (b.n_waiting() != 2)
            this_fiber::yield();
        b.abort();
        BOOST_TEST(waiting.join() == broken);
        BOOST_TEST(limited.join() == broken);
        BOOST_TEST(b.broken());
        BOOST_CHECK_EXCEPTION(b.wait(), boost::system::system_error,
                              test::fails_with(error::broken_barrier, {"reset"}));
        BOOST_TEST(std::get<0>(b.async_wait(asio::as_tuple(use_fiber))) == broken);
        b.reset();
        BOOST_TEST(!b.broken());
        auto again = spawn([&b] { return test::code_of([&b] { b.wait(); }); });
        while (b.n_waiting() != 1)
            this_fiber::yield();
        b.reset();
        BOOST_TEST(again.join() == broken);
        BOOST_TEST(!b.broken());
        BOOST_TEST(!b.wait_for(0s));
    });
}

BOOST_AUTO_TEST_CASE(a_reset_or_a_cancel_does_not_touch_who_was_released)
{
    event_loop loop;
    run_until_complete(loop, [] {
        barrier b(2);
        auto first = spawn([&b] {
            auto const place = b.wait();
            return std::pair(place, test::code_of([] { this_fiber::yield(); }));
        });
        this_fiber::yield();
        BOOST_TEST(b.wait() == 1u);
        b.reset();
        b.abort();
        first.cancel();
        BOOST_TEST((first.join() == std::pair(std::size_t(0), aborted_code())));
    });
}

BOOST_AUTO_TEST_CASE(in_a_bare_handler_the_last_party_goes_through)
{
    event_loop loop;
    run_until_complete(loop, [&loop] {
        barrier b(2);
        event checked;
        boost::system::error_code refused;
        auto first = spawn([&] {
            checked.wait();
            return b.wait();
        });
        loop.call_soon([&] {
            refused = test::code_of([&b] { b.wait(); });
            checked.set();
        });
        while (b.n_waiting() != 1)
            this_fiber::yield();
        BOOST_TEST(refused == make_error_code(error::not_in_fiber));
        std::optional<std::size_t> last;
        loop.call_soon([&] { last = b.wait(); });
        BOOST_TEST(first.join() == 0u);
        BOOST_TEST(last.value() == 1u);
    });
}

BOOST_AUTO_TEST_CASE(random_leavers_lose_no_round)
{
    test::for_seeds(15, [](test::engine& e) {
        char const* const policy = test::every_policy[test::draw(e, 0, 6)];
        run(
            [&] {
                // Each releases the others only if all of them are there in the end.
                constexpr int parties = 4, rounds = 50;
                barrier b(parties);
                std::vector<task<>> tasks;
                for (int i = 0; i != parties; ++i)
                    tasks.push_back(spawn([&b, plan = test::draw(e, 0u, 1000000u)] {
                        test::engine own(plan);
                        for (int n = 0; n != rounds; ++n)
                            while (!b.wait_for(test::draw(own, 1, 200) * 1us))
                                this_fiber::yield();
                    }));
                auto joined = spawn([&b] { b.wait(); });
                joined.cancel(); // too many by one, but it leaves
                for (auto& t : tasks)
                    t.join();
                test::code_of([&joined] { joined.join(); });
                BOOST_TEST(b.n_waiting() == 0u);
            },
            {.policy = make_policy(policy)});
    });
}

BOOST_AUTO_TEST_CASE(the_last_to_arrive_may_destroy_it_while_another_is_cancelled)
{
    test::for_seeds(20, [](test::engine& engine) {
        run(
            [&engine] {
                for (int i = 0; i != 50; ++i)
                {
                    auto b = std::make_unique<barrier>(2);
                    barrier* const raw = b.get();
                    std::atomic<event_loop*> at = nullptr;
                    auto limited = spawn([&at, raw] {
                        at = &get_running_loop();
                        return raw->wait_for(24h);
                    });
                    test::until_it_waits(at);
                    auto last = spawn([b = std::move(b)]() mutable {
                        test::code_of([&b] { b->wait(); });
                        b.reset();
                    });
                    test::jitter(engine);
                    limited.cancel();
                    if (test::code_of([&limited] { limited.join(); }))
                        last.cancel(); // which else waits for ever
                    test::code_of([&last] { last.join(); });
                }
            },
            {.policy = make_policy("fiber loops=3")});
    });
}
