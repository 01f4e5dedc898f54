#define BOOST_TEST_MODULE sync.event

#include <polyloop/sync/event.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/sync/barrier.hpp>
#include <polyloop/sync/channel.hpp>
#include <polyloop/sync/condition_variable.hpp>
#include <polyloop/sync/mutex.hpp>
#include <polyloop/sync/semaphore.hpp>
#include <polyloop/sync/shared_mutex.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
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

BOOST_AUTO_TEST_CASE(set_and_clear_say_what_is_set)
{
    event e;
    BOOST_TEST(!e.is_set());
    e.clear();
    e.set();
    e.set();
    BOOST_TEST(e.is_set());
    e.wait();
    BOOST_TEST(e.wait_for(0s));
    BOOST_TEST(e.wait_until(std::chrono::steady_clock::time_point::min()));
    e.clear();
    BOOST_TEST(!e.is_set());
    BOOST_TEST(!e.wait_for(0s));
    BOOST_TEST(!e.wait_for(1ms));
    BOOST_TEST(!e.wait_until(std::chrono::steady_clock::now()));
}

BOOST_AUTO_TEST_CASE(the_limits_of_every_wait_saturate)
{
    event_loop loop;
    run_until_complete(loop, [] {
        using polyloop::condition_variable, polyloop::mutex, polyloop::shared_mutex;
        event never, soon;
        semaphore none(0), one(0);
        barrier lonely(2), pair(2);
        condition_variable silent, told;
        mutex m;
        shared_mutex locked, free_soon;
        channel<int> empty(1), filled(1), full(1), drained(1);
        locked.lock();
        free_soon.lock();
        full.send(1);
        drained.send(1);

        using std::chrono::hours, std::chrono::nanoseconds, std::chrono::years;
        auto const at_once = [&](auto limit) {
            std::unique_lock lock(m);
            return !never.wait_for(limit) && !none.try_acquire_for(limit) &&
                   !lonely.wait_for(limit) &&
                   silent.wait_for(lock, limit) == std::cv_status::timeout &&
                   !locked.try_lock_shared_for(limit) && !locked.try_lock_for(limit) &&
                   !empty.try_receive_for(limit) && !full.try_send_for(2, limit);
        };
        auto const least = [&](auto limit) { // as another one than who has the lock
            return spawn([&, limit] { return at_once(limit); }).join();
        };
        BOOST_TEST(least(nanoseconds::min()));
        BOOST_TEST(least(hours::min()));
        BOOST_TEST(least(years::min()));
        BOOST_TEST(least(std::chrono::duration<double>(-1e300)));

        auto const most = [&](auto limit) {
            std::atomic<int> waiting = 0;
            std::vector<task<bool>> all;
            auto const wait = [&](auto f) {
                all.push_back(spawn([&waiting, f] {
                    ++waiting;
                    return bool(f());
                }));
            };
            wait([&, limit] { return soon.wait_for(limit); });
            wait([&, limit] { return one.try_acquire_for(limit); });
            wait([&, limit] { return pair.wait_for(limit); });
            wait([&, limit] {
                std::unique_lock lock(m);
                return told.wait_for(lock, limit) == std::cv_status::no_timeout;
            });
            wait([&, limit] {
                std::shared_lock const lock(free_soon, limit);
                return lock.owns_lock();
            });
            wait([&, limit] { return filled.try_receive_for(limit); });
            wait([&, limit] { return drained.try_send_for(2, limit); });
            while (waiting != 7)
                this_fiber::yield();
            for (int i = 0; i != 3; ++i)
                this_fiber::yield();
            bool good = true;
            for (auto const& t : all)
                good = good && !t.done();
            soon.set();
            one.release();
            pair.wait();
            told.notify_one();
            free_soon.unlock();
            filled.send(1);
            drained.receive();
            for (auto& t : all)
                good = t.join() && good;
            soon.clear();
            free_soon.lock();
            return good;
        };
        BOOST_TEST(most(nanoseconds::max()));
        BOOST_TEST(most(hours::max()));
        BOOST_TEST(most(years::max()));
        BOOST_TEST(most(std::chrono::duration<double>(1e300)));
        locked.unlock();
        free_soon.unlock();
    });
}

BOOST_AUTO_TEST_CASE(a_set_releases_all_who_wait_of_every_kind)
{
    test::under_every_policy([] {
        event e;
        std::atomic<int> waiting = 0, released = 0;
        std::vector<task<>> tasks;
        std::vector<std::thread> threads;
        for (int i = 0; i != 3; ++i)
        {
            tasks.push_back(spawn([&] {
                ++waiting;
                e.wait();
                ++released;
            }));
            tasks.push_back(spawn([&]() -> asio::awaitable<void> {
                ++waiting;
                co_await e.async_wait(asio::use_awaitable);
                ++released;
            }));
            tasks.push_back(spawn([&] {
                ++waiting;
                if (e.wait_for(24h))
                    ++released;
            }));
            threads.emplace_back([&] {
                ++waiting;
                e.wait();
                ++released;
            });
        }
        while (waiting != 12)
            this_fiber::yield();
        BOOST_TEST(released == 0);
        e.set();
        for (auto& t : tasks)
            t.join();
        for (auto& t : threads)
            t.join();
        BOOST_TEST(released == 12);
        e.wait();
    });
}

BOOST_AUTO_TEST_CASE(who_was_released_stays_so_when_the_flag_is_cleared)
{
    event_loop loop;
    run_until_complete(loop, [] {
        event e;
        bool released = false;
        auto t = spawn([&] {
            e.wait();
            released = true;
        });
        this_fiber::yield();
        e.set();
        e.clear();
        BOOST_TEST(!released);
        t.join();
        BOOST_TEST(!e.is_set());
    });
}

BOOST_AUTO_TEST_CASE(a_released_waiter_may_destroy_the_event)
{
    test::under_every_policy([] {
        for (int i = 0; i != 200; ++i)
        {
            auto e = std::make_unique<event>();
            event& ref = *e;
            auto setter = spawn([&ref] { ref.set(); });
            auto waiter = spawn([e = std::move(e)]() mutable {
                e->wait();
                e.reset();
            });
            waiter.join();
            setter.join();
        }
    });
}

BOOST_AUTO_TEST_CASE(one_of_several_released_may_destroy_it_while_another_is_cancelled)
{
    test::for_seeds(20, [](test::engine& engine) {
        run(
            [&engine] {
                for (int i = 0; i != 50; ++i)
                {
                    auto e = std::make_shared<event>();
                    event* const raw = e.get();
                    auto owner = spawn([e = std::move(e)]() mutable {
                        e->wait();
                        e.reset();
                    });
                    std::atomic<event_loop*> at = nullptr;
                    auto limited = spawn([&at, raw] {
                        at = &get_running_loop();
                        return raw->wait_for(24h);
                    });
                    test::until_it_waits(at);
                    auto setter = spawn([raw] { raw->set(); });
                    test::jitter(engine);
                    limited.cancel();
                    owner.join();
                    setter.join();
                    test::code_of([&limited] { limited.join(); });
                }
            },
            {.policy = make_policy("fiber loops=3")});
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_waiter_throws_and_others_wait_on)
{
    test::under_every_policy([] {
        event e;
        std::atomic<int> waiting = 0;
        auto wait = [&] {
            ++waiting;
            e.wait();
        };
        auto a = spawn(wait), b = spawn(wait);
        auto c = spawn([&]() -> asio::awaitable<bool> {
            ++waiting;
            auto [ec] = co_await e.async_wait(asio::as_tuple(asio::use_awaitable));
            co_return ec == aborted_code();
        });
        while (waiting != 3)
            this_fiber::yield();
        a.cancel();
        c.cancel();
        auto const ec = test::code_of([&a] { a.join(); });
        BOOST_TEST(ec == aborted_code());
        BOOST_TEST(c.join());
        BOOST_TEST(!b.done());
        e.set();
        b.join();
    });
}

BOOST_AUTO_TEST_CASE(a_cancel_after_the_set_waits_for_the_next_suspension)
{
    event_loop loop;
    run_until_complete(loop, [] {
        event e;
        auto t = spawn([&e] {
            e.wait();
            return test::code_of([] { this_fiber::yield(); });
        });
        this_fiber::yield();
        e.set();
        t.cancel();
        BOOST_TEST(t.join() == aborted_code());
    });
}

BOOST_AUTO_TEST_CASE(handlers_that_wait_end_with_their_context)
{
    auto const alive = std::make_shared<int>();
    auto const foreign = [](event& e, std::shared_ptr<int> kept) -> asio::awaitable<void> {
        co_await e.async_wait(asio::use_awaitable);
        *kept = 1;
    };
    event e;
    int called = 0;
    {
        asio::io_context io;
        event_loop adopted(io);
        event_loop loop;
        for (auto const& ex : {loop.get_executor(), io.get_executor()})
        {
            auto handler = [&called, alive](boost::system::error_code) { ++called; };
            e.async_wait(asio::bind_executor(ex, handler));
            e.async_wait_for(24h, asio::bind_executor(ex, handler));
            e.async_wait(asio::bind_executor(asio::make_strand(ex), handler));
            asio::co_spawn(ex, foreign(e, alive), asio::detached);
        }
        loop.call_soon([&] {
            e.async_wait([&called, alive](boost::system::error_code) { ++called; });
        });
        test::run_ready(loop);
        test::run_ready(loop);
        io.poll();
    }
    BOOST_TEST(alive.use_count() == 1);
    e.set(); // nobody is left
    BOOST_TEST(called == 0);
    BOOST_TEST(*alive == 0);
}

BOOST_AUTO_TEST_CASE(a_context_may_end_while_another_thread_sets)
{
    test::for_seeds(200, [](test::engine& engine) {
        event e;
        std::atomic<int> done = 0;
        auto io = std::make_unique<asio::io_context>();
        auto const alive = std::make_shared<int>();
        for (int i = 0; i != 3; ++i)
            e.async_wait(asio::bind_executor(
                io->get_executor(), [&done, alive](boost::system::error_code) { ++done; }));
        std::thread setter([&] { e.set(); });
        test::jitter(engine);
        io.reset();
        setter.join();
        BOOST_TEST(done == 0);
        BOOST_TEST(alive.use_count() == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_limit_ends_the_wait)
{
    test::under_every_policy([] {
        event e;
        auto t = spawn([&e] { return e.wait_for(2ms); });
        auto u = spawn([&e] { return e.wait_until(std::chrono::system_clock::now() + 2ms); });
        auto v = spawn([&e]() -> asio::awaitable<bool> {
            auto [ec] = co_await e.async_wait_for(2ms, asio::as_tuple(asio::use_awaitable));
            co_return ec == asio::error::timed_out;
        });
        BOOST_TEST(!t.join());
        BOOST_TEST(!u.join());
        BOOST_TEST(v.join());
    });
}

BOOST_AUTO_TEST_CASE(in_a_bare_handler_only_a_set_event_goes_through)
{
    event_loop loop;
    run_until_complete(loop, [&loop] {
        event e, checked;
        boost::system::error_code refused, free;
        bool late = true;
        loop.call_soon([&] {
            refused = test::code_of([&e] { e.wait(); });
            late = e.wait_for(0s);
            e.set();
            free = test::code_of([&e] { e.wait(); });
            checked.set();
        });
        checked.wait();
        BOOST_TEST(refused == make_error_code(error::not_in_fiber));
        BOOST_TEST(!late);
        BOOST_TEST(!free);
    });
}

BOOST_AUTO_TEST_CASE(an_event_outlives_runs_and_works_without_any)
{
    event e;
    std::future<void> f = e.async_wait(asio::use_future);
    run([&e] {
        auto t = spawn([&e] { e.wait(); });
        this_fiber::yield();
        t.cancel();
        test::code_of([&t] { t.join(); });
    });
    std::thread other([&e] { e.set(); });
    e.wait();
    f.get();
    other.join();
    run([&e] { e.wait(); });
}

BOOST_AUTO_TEST_CASE(a_flag_in_turns_loses_no_wake_up)
{
    // Two who wake one another in turn, over loops and threads, with limits that sometimes meet
    // the set.
    test::for_seeds(10, [](test::engine& engine) {
        char const* const policy = test::every_policy[test::draw(engine, 0, 6)];
        bool const threaded = test::draw(engine, 0, 1);
        run(
            [&] {
                event ping, pong;
                constexpr int turns = 500;
                auto wait = [](event& e) {
                    while (!e.wait_for(50us))
                    {
                    }
                    e.clear();
                };
                auto answer = [&] {
                    for (int i = 0; i != turns; ++i)
                    {
                        wait(ping);
                        pong.set();
                    }
                };
                auto t = threaded ? task<>() : spawn(answer);
                std::thread thread(threaded ? std::thread(answer) : std::thread());
                for (int i = 0; i != turns; ++i)
                {
                    ping.set();
                    wait(pong);
                }
                if (threaded)
                    thread.join();
                else
                    t.join();
                BOOST_TEST(!ping.is_set());
            },
            {.policy = make_policy(policy)});
    });
}
