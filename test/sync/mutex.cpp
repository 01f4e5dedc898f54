#define BOOST_TEST_MODULE sync.mutex

#include <polyloop/sync/mutex.hpp>

#include "support/error.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

test::fails_with const aborted(
    make_error_code(boost::asio::error::basic_errors::operation_aborted));
test::fails_with const deadlock(
    make_error_code(boost::system::errc::resource_deadlock_would_occur));

boost::system::error_code aborted_code()
{
    return boost::asio::error::operation_aborted;
}

/// Gives whoever is about to wait the turns to do so; where it runs on another loop, it may come late,
/// which no check depends on.
void let_it_wait()
{
    for (int i = 0; i != 3; ++i)
        this_fiber::yield();
}

/// What `start(handler)` ends with, as a code: thread sanitizer does not see the counts of an
/// exception that two threads hold.
template <class F>
boost::system::error_code end_of(F start)
{
    auto const promise = std::make_shared<std::promise<boost::system::error_code>>();
    auto future = promise->get_future();
    start([promise](boost::system::error_code ec, auto const&...) { promise->set_value(ec); });
    return future.get();
}

} // namespace

BOOST_AUTO_TEST_CASE(a_plain_thread_locks_and_unlocks_without_any_loop)
{
    polyloop::mutex m;
    m.lock();
    BOOST_TEST(!std::async(std::launch::async, [&m] { return m.try_lock(); }).get());
    m.unlock();
    BOOST_TEST(m.try_lock());
    m.unlock();
}

BOOST_AUTO_TEST_CASE(the_guards_of_the_standard_library_work)
{
    event_loop loop;
    run_until_complete(loop, [] {
        polyloop::mutex a, b;
        {
            std::scoped_lock const both(a, b);
            BOOST_TEST(!spawn([&] { return a.try_lock() || b.try_lock(); }).join());
        }
        std::unique_lock lock(a, std::defer_lock);
        BOOST_TEST(lock.try_lock_for(1h));
        lock.unlock();
        BOOST_TEST(lock.try_lock_until(std::chrono::system_clock::now() + 1h));
        lock.unlock();
        BOOST_TEST(lock.try_lock());
    });
}

BOOST_AUTO_TEST_CASE(waiters_are_served_in_order_and_try_lock_does_not_overtake)
{
    event_loop loop;
    run_until_complete(loop, [] {
        polyloop::mutex m;
        std::vector<int> order;
        std::vector<task<>> all;
        m.lock();
        for (int i = 0; i != 4; ++i)
            all.push_back(spawn([&, i] {
                std::lock_guard const lock(m);
                order.push_back(i);
            }));
        this_fiber::yield();
        m.unlock();
        BOOST_TEST(!m.try_lock()); // it is the first waiter's, who has not run yet
        BOOST_TEST(order.empty());
        for (auto& t : all)
            t.join();
        BOOST_TEST((order == std::vector{0, 1, 2, 3}));
        BOOST_TEST(m.try_lock());
        m.unlock();
    });
}

BOOST_AUTO_TEST_CASE(misuse_is_named)
{
    test::under_every_policy([] {
        polyloop::mutex m;
        BOOST_CHECK_EXCEPTION(m.unlock(), boost::system::system_error,
                              test::fails_with(error::not_owner, {"unlock"}));
        m.lock();
        BOOST_CHECK_EXCEPTION(m.lock(), boost::system::system_error, deadlock);
        BOOST_CHECK_EXCEPTION(m.try_lock_for(1h), boost::system::system_error, deadlock);
        BOOST_TEST(!m.try_lock());
        auto other = spawn([&m] { return test::code_of([&m] { m.unlock(); }); });
        BOOST_TEST(other.join() == make_error_code(error::not_owner));
        auto thread = std::async(std::launch::async,
                                 [&m] { return test::code_of([&m] { m.unlock(); }); });
        BOOST_TEST(thread.get() == make_error_code(error::not_owner));
        m.unlock();
        try
        {
            m.lock();
            m.lock();
        }
        catch (boost::system::system_error const& e)
        {
            BOOST_TEST((e.code() == std::errc::resource_deadlock_would_occur));
        }
        m.unlock();
    });
}

BOOST_AUTO_TEST_CASE(in_a_bare_handler_only_what_need_not_wait_goes_through)
{
    event_loop loop;
    run_until_complete(loop, [&loop] {
        polyloop::mutex m;
        boost::system::error_code free, refused, limited;
        bool late = true;
        auto in_handler = [&](auto f) {
            std::promise<void> done;
            auto future = done.get_future();
            loop.call_soon([&] {
                f();
                done.set_value();
            });
            while (future.wait_for(0s) != std::future_status::ready)
                this_fiber::yield();
        };
        in_handler([&] {
            free = test::code_of([&] {
                m.lock();
                m.unlock();
            });
        });
        m.lock();
        in_handler([&] {
            refused = test::code_of([&] { m.lock(); });
            limited = test::code_of([&] { m.try_lock_for(1h); });
            late = m.try_lock_for(0s) || m.try_lock_until(std::chrono::steady_clock::now());
        });
        m.unlock();
        BOOST_TEST(!free);
        BOOST_TEST(refused == make_error_code(error::not_in_fiber));
        BOOST_TEST(limited == make_error_code(error::not_in_fiber));
        BOOST_TEST(!late);
    });
}

BOOST_AUTO_TEST_CASE(a_limit_ends_the_wait_and_leaves_the_queue_whole)
{
    test::under_every_policy([] {
        polyloop::mutex m;
        m.lock();
        auto t = spawn([&m] {
            // A limit counts from the time of the loop's batch.
            auto const before = get_running_loop().time();
            bool const got = m.try_lock_for(2ms);
            return !got && std::chrono::steady_clock::now() - before >= 2ms;
        });
        auto u = spawn([&m] { return m.try_lock_until(std::chrono::system_clock::now() + 2ms); });
        BOOST_TEST(t.join());
        BOOST_TEST(!u.join());
        auto late = spawn([&m] {
            if (!m.try_lock_for(std::chrono::hours::max()))
                return false;
            m.unlock();
            return true;
        });
        let_it_wait();
        m.unlock();
        BOOST_TEST(late.join());
    });
}

BOOST_AUTO_TEST_CASE(limits_of_any_clock_saturate)
{
    polyloop::mutex m;
    m.lock();
    using hours = std::chrono::time_point<std::chrono::system_clock, std::chrono::hours>;
    std::atomic<int> timed_out = 0;
    std::thread past([&] {
        timed_out += !m.try_lock_until(std::chrono::system_clock::time_point::min());
        timed_out += !m.try_lock_until(std::chrono::steady_clock::time_point::min());
        timed_out += !m.try_lock_until(hours::min());
        timed_out += !m.try_lock_for(std::chrono::hours::min());
        timed_out += !m.try_lock_for(std::chrono::duration<double>(-1e300));
    });
    past.join();
    BOOST_TEST(timed_out == 5);
    // The file clock's present lies before its epoch.
    std::atomic<int> locked = 0;
    std::vector<std::thread> future;
    future.emplace_back([&] {
        locked += m.try_lock_until(std::chrono::file_clock::time_point::max());
        m.unlock();
    });
    future.emplace_back([&] {
        locked += m.try_lock_until(hours::max());
        m.unlock();
    });
    future.emplace_back([&] {
        locked += m.try_lock_for(std::chrono::duration<double>(1e300));
        m.unlock();
    });
    m.unlock();
    for (std::thread& t : future)
        t.join();
    BOOST_TEST(locked == 3);
}

BOOST_AUTO_TEST_CASE(a_fiber_may_use_the_asynchronous_forms)
{
    // With a limit the wait has a timer, which outlives it for a moment.
    test::under_every_policy([] {
        polyloop::mutex m;
        std::atomic<int> count = 0;
        std::vector<task<>> all;
        for (int i = 0; i != 4; ++i)
            all.push_back(spawn([&] {
                for (int k = 0; k != 20; ++k)
                {
                    m.async_lock_for(1h, use_fiber);
                    ++count;
                    this_fiber::yield();
                    m.unlock();
                }
            }));
        for (auto& t : all)
            t.join();
        BOOST_TEST(count == 80);
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_waiter_leaves_and_those_behind_it_go_on)
{
    test::under_every_policy([] {
        polyloop::mutex m;
        m.lock();
        std::atomic<int> waiting = 0;
        auto wait = [&] {
            ++waiting;
            std::lock_guard const lock(m);
        };
        auto a = spawn(wait), b = spawn(wait), c = spawn(wait);
        while (waiting != 3)
            this_fiber::yield();
        let_it_wait();
        a.cancel();
        c.cancel();
        BOOST_CHECK_EXCEPTION(a.join(), boost::system::system_error, aborted);
        BOOST_CHECK_EXCEPTION(c.join(), boost::system::system_error, aborted);
        m.unlock();
        b.join();
        BOOST_TEST(m.try_lock());
        m.unlock();
    });
}

BOOST_AUTO_TEST_CASE(a_cancel_after_the_grant_waits_for_the_next_suspension)
{
    event_loop loop;
    run_until_complete(loop, [] {
        polyloop::mutex m;
        m.lock();
        auto t = spawn([&m] {
            m.lock();
            m.unlock();
            return test::code_of([] { this_fiber::yield(); });
        });
        this_fiber::yield();
        m.unlock(); // granted, and not run yet
        t.cancel();
        BOOST_TEST(t.join() == aborted_code());
    });
}

BOOST_AUTO_TEST_CASE(a_pending_cancel_does_not_disturb_a_lock_that_is_free)
{
    event_loop loop;
    run_until_complete(loop, [] {
        polyloop::mutex m;
        auto t = spawn([&m] {
            this_fiber::current_task().cancel();
            m.lock();
            m.unlock();
            auto other = spawn([&m] {
                m.lock();
                this_fiber::yield();
                this_fiber::yield();
                m.unlock();
            });
            auto const ec = test::code_of([] { this_fiber::yield(); });
            this_fiber::yield();
            this_fiber::current_task().cancel();
            auto const contended = test::code_of([&m] { m.lock(); });
            other.join();
            return ec == aborted_code() && contended == aborted_code();
        });
        BOOST_TEST(t.join());
    });
}

BOOST_AUTO_TEST_CASE(fibers_threads_and_coroutines_exclude_each_other)
{
    test::under_every_policy([] {
        polyloop::mutex m;
        int plain = 0; // guarded by m
        bool inside = false, broken = false;
        constexpr int rounds = 100;
        auto body = [&] {
            broken = broken || inside;
            inside = true;
            ++plain;
            inside = false;
        };
        std::vector<task<>> tasks;
        for (int i = 0; i != 4; ++i)
        {
            tasks.push_back(spawn([&, i] {
                for (int n = 0; n != rounds; ++n)
                {
                    m.lock();
                    body();
                    if (n % 8 == i)
                        this_fiber::yield(); // waits with the lock held
                    m.unlock();
                }
            }));
            tasks.push_back(spawn([&]() -> asio::awaitable<void> {
                for (int n = 0; n != rounds; ++n)
                {
                    co_await m.async_lock(asio::use_awaitable);
                    body();
                    m.unlock();
                }
            }));
        }
        std::vector<std::thread> threads;
        for (int i = 0; i != 2; ++i)
            threads.emplace_back([&] {
                for (int n = 0; n != rounds; ++n)
                {
                    std::lock_guard const lock(m);
                    body();
                }
            });
        for (auto& t : tasks)
            t.join();
        for (auto& t : threads)
            t.join();
        BOOST_TEST(plain == 10 * rounds);
        BOOST_TEST(!broken);
    });
}

BOOST_AUTO_TEST_CASE(async_lock_serves_every_token)
{
    event_loop loop;
    run_until_complete(loop, [] {
        polyloop::mutex m;
        m.async_lock(use_fiber);
        BOOST_CHECK_EXCEPTION(m.async_lock(use_fiber), boost::system::system_error, deadlock);
        m.unlock();
        bool called = false;
        m.async_lock([&called](boost::system::error_code ec) { called = !ec; });
        BOOST_TEST(!called); // never inside the call
        while (!called)
            this_fiber::yield();
        m.unlock(); // the owner is the context that called
    });
    polyloop::mutex m;
    std::future<void> f = m.async_lock(asio::use_future);
    f.get();
    auto const limited = end_of([&m](auto h) { m.async_lock_for(1ms, h); });
    BOOST_TEST((limited == asio::error::timed_out));
    auto const late = end_of([&m](auto h) { m.async_lock_for(0s, h); });
    BOOST_TEST((late == asio::error::timed_out));
    auto patient = m.async_lock_until(std::chrono::steady_clock::now() + 1h, asio::use_future);
    m.unlock();
    patient.get();
    m.unlock();
}

BOOST_AUTO_TEST_CASE(a_coroutine_that_waits_can_be_cancelled)
{
    test::under_every_policy([] {
        polyloop::mutex m;
        m.lock();
        std::atomic<bool> waits = false;
        auto t = spawn([&]() -> asio::awaitable<bool> {
            waits = true;
            auto [ec] = co_await m.async_lock(asio::as_tuple(asio::use_awaitable));
            co_return ec == aborted_code();
        });
        while (!waits)
            this_fiber::yield();
        t.cancel();
        BOOST_TEST(t.join());
        m.unlock();
        BOOST_TEST(m.try_lock());
        m.unlock();
    });
}

BOOST_AUTO_TEST_CASE(random_waits_cancels_and_limits_lose_no_grant)
{
    test::for_seeds(20, [](test::engine& e) {
        char const* const policy = test::every_policy[test::draw(e, 0, 6)];
        run(
            [&e] {
                polyloop::mutex m;
                std::atomic<int> held = 0, inside = 0;
                std::atomic<bool> broken = false;
                std::vector<task<>> tasks;
                std::vector<unsigned> plans;
                for (int i = 0; i != 24; ++i)
                    plans.push_back(test::draw(e, 0u, 1000000u));
                for (unsigned plan : plans)
                    tasks.push_back(spawn([&, plan] {
                        test::engine own(plan);
                        for (int n = 0; n != 30; ++n)
                        {
                            bool const got =
                                plan % 3 ? m.try_lock_for(test::draw(own, 0, 60) * 1us)
                                         : (m.lock(), true);
                            if (!got)
                                continue;
                            if (++inside != 1)
                                broken = true;
                            ++held;
                            --inside;
                            if (plan % 2)
                                test::code_of([] { this_fiber::yield(); });
                            m.unlock();
                        }
                    }));
                for (auto& t : tasks)
                {
                    if (test::draw(e, 0, 2) == 0)
                        t.cancel();
                    if (test::draw(e, 0, 2) == 0)
                        this_fiber::yield();
                }
                for (auto& t : tasks)
                    test::code_of([&t] { t.join(); });
                BOOST_TEST(!broken);
                BOOST_TEST(m.try_lock());
                m.unlock();
            },
            {.policy = make_policy(policy)});
    });
}
