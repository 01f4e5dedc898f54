#define BOOST_TEST_MODULE sync.semaphore

#include <polyloop/sync/semaphore.hpp>

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
#include <memory>
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

BOOST_AUTO_TEST_CASE(permits_are_counted)
{
    semaphore s(2);
    s.acquire();
    BOOST_TEST(s.available() == 1);
    BOOST_TEST(s.try_acquire());
    BOOST_TEST(!s.try_acquire());
    BOOST_TEST(!s.try_acquire_for(0s));
    BOOST_TEST(!s.try_acquire_for(1ms));
    s.release(0);
    BOOST_TEST(s.available() == 0);
    s.release(3);
    BOOST_TEST(s.available() == 3);
    BOOST_TEST(s.try_acquire_until(std::chrono::system_clock::now()));
}

BOOST_AUTO_TEST_CASE(counts_that_make_no_sense_are_refused)
{
    test::fails_with const refused(error::bad_config, {"permits"});
    BOOST_CHECK_EXCEPTION(semaphore(-1), boost::system::system_error, refused);
    semaphore s(semaphore::max());
    BOOST_CHECK_EXCEPTION(s.release(), boost::system::system_error, refused);
    BOOST_CHECK_EXCEPTION(s.release(-1), boost::system::system_error, refused);
    BOOST_TEST(s.available() == semaphore::max());
    s.acquire();
    BOOST_CHECK_EXCEPTION(s.release(2), boost::system::system_error, refused);
    s.release();
    BOOST_TEST(s.available() == semaphore::max());
}

BOOST_AUTO_TEST_CASE(a_release_serves_as_many_in_order_and_nobody_overtakes)
{
    event_loop loop;
    run_until_complete(loop, [] {
        semaphore s(0);
        std::vector<int> order;
        std::vector<task<>> all;
        for (int i = 0; i != 4; ++i)
            all.push_back(spawn([&, i] {
                s.acquire();
                order.push_back(i);
            }));
        this_fiber::yield();
        s.release(3);
        BOOST_TEST(!s.try_acquire());
        this_fiber::yield();
        BOOST_TEST((order == std::vector{0, 1, 2}));
        s.release(2);
        all.back().join();
        BOOST_TEST(s.available() == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_or_late_waiter_takes_no_permit)
{
    test::under_every_policy([] {
        semaphore s(0);
        std::atomic<int> waiting = 0;
        auto a = spawn([&] {
            ++waiting;
            s.acquire();
        });
        auto b = spawn([&]() -> asio::awaitable<bool> {
            ++waiting;
            auto [ec] = co_await s.async_acquire(asio::as_tuple(asio::use_awaitable));
            co_return ec == aborted_code();
        });
        auto c = spawn([&] { return s.try_acquire_for(2ms); });
        auto d = spawn([&]() -> asio::awaitable<bool> {
            auto [ec] = co_await s.async_acquire_for(2ms, asio::as_tuple(asio::use_awaitable));
            co_return ec == asio::error::timed_out;
        });
        while (waiting != 2)
            this_fiber::yield();
        a.cancel();
        b.cancel();
        auto const ec = test::code_of([&a] { a.join(); });
        BOOST_TEST(ec == aborted_code());
        BOOST_TEST(b.join());
        BOOST_TEST(!c.join());
        BOOST_TEST(d.join());
        s.release();
        BOOST_TEST(s.available() == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_cancel_after_the_permit_waits_for_the_next_suspension)
{
    event_loop loop;
    run_until_complete(loop, [] {
        semaphore s(0);
        auto t = spawn([&s] {
            s.acquire();
            return test::code_of([] { this_fiber::yield(); });
        });
        this_fiber::yield();
        s.release();
        t.cancel();
        BOOST_TEST(t.join() == aborted_code());
        BOOST_TEST(s.available() == 0);
    });
}

BOOST_AUTO_TEST_CASE(one_of_several_released_may_destroy_it_while_another_is_cancelled)
{
    test::for_seeds(20, [](test::engine& engine) {
        run(
            [&engine] {
                for (int i = 0; i != 50; ++i)
                {
                    auto s = std::make_shared<semaphore>(0);
                    semaphore* const raw = s.get();
                    std::atomic<int> waiting = 0;
                    auto owner = spawn([&waiting, s = std::move(s)]() mutable {
                        ++waiting;
                        s->acquire();
                        s.reset();
                    });
                    while (waiting != 1)
                        this_fiber::yield();
                    std::atomic<event_loop*> at = nullptr;
                    auto limited = spawn([&at, raw] {
                        at = &get_running_loop();
                        return raw->try_acquire_for(24h);
                    });
                    // It is there as long as the first has not been released.
                    test::until_it_waits(at);
                    auto releaser = spawn([raw] { raw->release(2); });
                    test::jitter(engine);
                    limited.cancel();
                    owner.join();
                    releaser.join();
                    test::code_of([&limited] { limited.join(); });
                }
            },
            {.policy = make_policy("fiber loops=3")});
    });
}

BOOST_AUTO_TEST_CASE(in_a_bare_handler_only_what_need_not_wait_goes_through)
{
    event_loop loop;
    run_until_complete(loop, [&loop] {
        semaphore s(1);
        event checked;
        boost::system::error_code free, refused;
        loop.call_soon([&] {
            free = test::code_of([&s] { s.acquire(); });
            refused = test::code_of([&s] { s.acquire(); });
            checked.set();
        });
        checked.wait();
        BOOST_TEST(!free);
        BOOST_TEST(refused == make_error_code(error::not_in_fiber));
    });
}

BOOST_AUTO_TEST_CASE(it_works_without_any_loop)
{
    semaphore s(0);
    std::future<void> f = s.async_acquire(asio::use_future);
    std::thread other([&s] { s.acquire(); });
    s.release(2);
    f.get();
    other.join();
    BOOST_TEST(s.available() == 0);
}

BOOST_AUTO_TEST_CASE(never_more_than_the_permits_are_out_and_none_is_lost)
{
    test::for_seeds(15, [](test::engine& e) {
        char const* const policy = test::every_policy[test::draw(e, 0, 6)];
        int const permits = test::draw(e, 1, 3);
        run(
            [&] {
                semaphore s(permits);
                std::atomic<int> out = 0;
                std::atomic<bool> broken = false;
                auto use = [&] {
                    if (++out > permits)
                        broken = true;
                    --out;
                    s.release();
                };
                std::vector<task<>> tasks;
                for (int i = 0; i != 12; ++i)
                {
                    unsigned const plan = test::draw(e, 0u, 1000000u);
                    if (i % 4 == 3)
                        tasks.push_back(spawn([&]() -> asio::awaitable<void> {
                            for (int n = 0; n != 40; ++n)
                            {
                                co_await s.async_acquire(asio::use_awaitable);
                                use();
                            }
                        }));
                    else
                        tasks.push_back(spawn([&, plan] {
                            test::engine own(plan);
                            for (int n = 0; n != 40; ++n)
                                if (plan % 2)
                                {
                                    s.acquire();
                                    use();
                                }
                                else if (s.try_acquire_for(test::draw(own, 0, 50) * 1us))
                                    use();
                                else
                                    this_fiber::yield();
                        }));
                }
                std::thread thread([&] {
                    for (int n = 0; n != 40; ++n)
                    {
                        s.acquire();
                        use();
                    }
                });
                for (int i : {0, 1, 5})
                    if (test::draw(e, 0, 1))
                    {
                        this_fiber::yield();
                        tasks[i].cancel();
                    }
                for (auto& t : tasks)
                    test::code_of([&t] { t.join(); });
                thread.join();
                BOOST_TEST(!broken);
                BOOST_TEST(s.available() == permits);
            },
            {.policy = make_policy(policy)});
    });
}
