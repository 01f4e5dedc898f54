#define BOOST_TEST_MODULE sync.condition_variable

#include <polyloop/sync/condition_variable.hpp>

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
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <deque>
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

BOOST_AUTO_TEST_CASE(a_notification_releases_one_or_all_in_order)
{
    event_loop loop;
    run_until_complete(loop, [] {
        polyloop::mutex m;
        condition_variable c;
        std::vector<int> order;
        std::vector<task<>> all;
        c.notify_one(); // nobody waits: nothing stays
        for (int i = 0; i != 4; ++i)
            all.push_back(spawn([&, i] {
                std::unique_lock lock(m);
                c.wait(lock);
                BOOST_TEST(lock.owns_lock());
                order.push_back(i);
            }));
        this_fiber::yield();
        c.notify_one();
        this_fiber::yield();
        BOOST_TEST((order == std::vector{0}));
        c.notify_all();
        for (auto& t : all)
            t.join();
        BOOST_TEST((order == std::vector{0, 1, 2, 3}));
        BOOST_TEST(m.try_lock());
        m.unlock();
    });
}

BOOST_AUTO_TEST_CASE(waiting_needs_the_lock)
{
    test::under_every_policy([] {
        polyloop::mutex m;
        condition_variable c;
        test::fails_with const refused(error::not_owner, {"condition"});
        std::unique_lock lock(m, std::defer_lock);
        BOOST_CHECK_EXCEPTION(c.wait(lock), boost::system::system_error, refused);
        BOOST_CHECK_EXCEPTION(c.wait_for(lock, 1h), boost::system::system_error, refused);
        BOOST_CHECK_EXCEPTION(c.async_wait(lock, use_fiber), boost::system::system_error,
                              refused);
        lock.lock();
        auto other = spawn([&] { return test::code_of([&] { c.wait(lock); }); });
        BOOST_TEST(other.join() == make_error_code(error::not_owner));
        std::unique_lock<polyloop::mutex> none;
        BOOST_CHECK_EXCEPTION(c.wait(none), boost::system::system_error, refused);
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_wait_holds_the_lock_when_it_throws)
{
    test::under_every_policy([] {
        polyloop::mutex m;
        condition_variable c;
        std::atomic<bool> waits = false;
        auto t = spawn([&] {
            std::unique_lock lock(m);
            waits = true;
            auto const ec = test::code_of([&] { c.wait(lock); });
            bool const held = lock.owns_lock() && test::code_of([&m] { m.lock(); }) ==
                                                      boost::system::errc::resource_deadlock_would_occur;
            return held && ec == aborted_code();
        });
        while (!waits)
            this_fiber::yield();
        m.lock(); // given only when it waits
        t.cancel();
        this_fiber::yield();
        BOOST_TEST(!t.done());
        m.unlock();
        BOOST_TEST(t.join());
    });
}

BOOST_AUTO_TEST_CASE(a_notification_comes_before_a_later_cancel_and_is_not_lost_by_an_earlier_one)
{
    event_loop loop;
    run_until_complete(loop, [] {
        polyloop::mutex m;
        condition_variable c;
        auto wait = [&] {
            std::unique_lock lock(m);
            return test::code_of([&] { c.wait(lock); });
        };
        auto notified = spawn(wait), second = spawn(wait);
        this_fiber::yield();
        c.notify_one();
        notified.cancel(); // too late: for its next suspension, which does not come
        BOOST_TEST(!notified.join());
        auto third = spawn(wait);
        this_fiber::yield();
        second.cancel();
        c.notify_one(); // the third's
        BOOST_TEST(second.join() == aborted_code());
        BOOST_TEST(!third.join());
    });
}

BOOST_AUTO_TEST_CASE(the_forms_with_a_limit)
{
    test::under_every_policy([] {
        polyloop::mutex m;
        condition_variable c;
        std::unique_lock lock(m);
        BOOST_TEST((c.wait_for(lock, 1ms) == std::cv_status::timeout));
        BOOST_TEST(lock.owns_lock());
        BOOST_TEST((c.wait_for(lock, 0s) == std::cv_status::timeout));
        BOOST_TEST((c.wait_until(lock, std::chrono::system_clock::now() + 1ms) ==
                    std::cv_status::timeout));
        BOOST_TEST(!c.wait_for(lock, 1ms, [] { return false; }));
        BOOST_TEST(c.wait_for(lock, 0s, [] { return true; }));
        bool ready = false;
        auto t = spawn([&] {
            std::lock_guard const guard(m);
            ready = true;
            c.notify_all();
        });
        BOOST_TEST(c.wait_for(lock, std::chrono::hours::max(), [&] { return ready; }));
        lock.unlock();
        t.join();
    });
}

BOOST_AUTO_TEST_CASE(a_bare_handler_may_notify_and_not_wait)
{
    event_loop loop;
    run_until_complete(loop, [&loop] {
        polyloop::mutex m;
        condition_variable c;
        boost::system::error_code refused;
        std::unique_lock lock(m);
        loop.call_soon([&] {
            std::unique_lock own(m);
            refused = test::code_of([&] { c.wait(own); });
            own.unlock();
            c.notify_one();
        });
        c.wait(lock);
        BOOST_TEST(refused == make_error_code(error::not_in_fiber));
    });
}

BOOST_AUTO_TEST_CASE(a_coroutine_waits_with_its_lock)
{
    test::under_every_policy([] {
        polyloop::mutex m;
        condition_variable c;
        bool ready = false;
        std::atomic<int> waiting = 0;
        auto t = spawn([&]() -> asio::awaitable<bool> {
            co_await m.async_lock(asio::use_awaitable);
            std::unique_lock lock(m, std::adopt_lock);
            ++waiting;
            while (!ready)
                co_await c.async_wait(lock, asio::use_awaitable);
            co_return lock.owns_lock();
        });
        auto cancelled = spawn([&]() -> asio::awaitable<bool> {
            co_await m.async_lock(asio::use_awaitable);
            std::unique_lock lock(m, std::adopt_lock);
            ++waiting;
            auto [ec] = co_await c.async_wait(lock, asio::as_tuple(asio::use_awaitable));
            co_return lock.owns_lock() && ec == aborted_code();
        });
        auto late = spawn([&]() -> asio::awaitable<bool> {
            co_await m.async_lock(asio::use_awaitable);
            std::unique_lock lock(m, std::adopt_lock);
            auto [ec] = co_await c.async_wait_for(lock, 1ms, asio::as_tuple(asio::use_awaitable));
            co_return lock.owns_lock() && ec == asio::error::timed_out;
        });
        BOOST_TEST(late.join());
        while (waiting != 2)
            this_fiber::yield();
        {
            std::lock_guard const guard(m);
            cancelled.cancel();
        }
        BOOST_TEST(cancelled.join());
        {
            std::lock_guard const guard(m);
            ready = true;
        }
        c.notify_all();
        BOOST_TEST(t.join());
        BOOST_TEST(m.try_lock());
        m.unlock();
    });
}

BOOST_AUTO_TEST_CASE(a_notification_may_come_before_an_asynchronous_wait_has_begun_to_wait)
{
    // The handler is called on another thread, and has the lock, while the call still goes on.
    std::atomic<bool> over = false;
    polyloop::mutex m;
    condition_variable c;
    std::thread notifier([&] {
        while (!over)
            c.notify_one();
    });
    bool owned = true;
    for (int i = 0; i != 500; ++i)
    {
        std::unique_lock lock(m);
        c.async_wait(lock, asio::use_future).get();
        owned = owned && lock.owns_lock() && lock.mutex() == &m;
    }
    over = true;
    notifier.join();
    BOOST_TEST(owned);
}

BOOST_AUTO_TEST_CASE(who_waits_for_the_mutex_ends_with_its_context_too)
{
    polyloop::mutex m;
    condition_variable c;
    auto const alive = std::make_shared<int>();
    {
        asio::io_context io;
        std::unique_lock lock(m);
        c.async_wait(lock, asio::bind_executor(io.get_executor(),
                                               [alive](boost::system::error_code) {}));
        BOOST_TEST(!lock.owns_lock());
        m.lock();
        c.notify_one(); // to the mutex
    }
    BOOST_TEST(alive.use_count() == 1);
    m.unlock();
    BOOST_TEST(m.try_lock());
    m.unlock();
}

BOOST_AUTO_TEST_CASE(closing_a_loop_waits_for_who_holds_the_mutex)
{
    polyloop::mutex m;
    condition_variable c;
    event held, closing;
    bool locked = false;
    std::thread holder;
    {
        event_loop loop;
        (void)spawn(loop, [&] {
            std::unique_lock lock(m);
            try
            {
                c.wait(lock);
            }
            catch (boost::system::system_error const&)
            {
                locked = lock.owns_lock();
            }
        });
        (void)spawn(loop, [&] {
            (void)test::code_of([] { this_fiber::sleep_for(24h); });
            closing.set();
        });
        test::run_ready(loop);
        test::run_ready(loop);
        holder = std::thread([&] {
            std::lock_guard const guard(m);
            held.set();
            closing.wait();
            std::this_thread::sleep_for(20ms); // longer than a close without waits takes
        });
        held.wait();
    }
    holder.join();
    BOOST_TEST(locked);
    BOOST_TEST(m.try_lock());
    m.unlock();
}

BOOST_AUTO_TEST_CASE(a_queue_between_fibers_threads_and_coroutines_loses_nothing)
{
    test::for_seeds(15, [](test::engine& e) {
        char const* const policy = test::every_policy[test::draw(e, 0, 6)];
        bool const cancels = test::draw(e, 0, 1);
        run(
            [&] {
                polyloop::mutex m;
                condition_variable filled, emptied;
                std::deque<int> items;
                int made = 0, used = 0;
                bool over = false;
                auto make = [&] {
                    for (int n = 0; n != 60; ++n)
                    {
                        std::unique_lock lock(m);
                        emptied.wait(lock, [&] { return items.size() < 3; });
                        items.push_back(n);
                        ++made;
                        lock.unlock();
                        filled.notify_one();
                    }
                };
                auto use = [&] {
                    for (;;)
                    {
                        std::unique_lock lock(m);
                        while (!filled.wait_for(lock, 100us,
                                                [&] { return over || !items.empty(); }))
                        {
                        }
                        if (items.empty())
                            return;
                        items.pop_front();
                        ++used;
                        emptied.notify_one();
                    }
                };
                auto use_async = [&]() -> asio::awaitable<void> {
                    for (;;)
                    {
                        co_await m.async_lock(asio::use_awaitable);
                        std::unique_lock lock(m, std::adopt_lock);
                        while (!over && items.empty())
                            co_await filled.async_wait(lock, asio::use_awaitable);
                        if (items.empty())
                            co_return;
                        items.pop_front();
                        ++used;
                        emptied.notify_one();
                    }
                };
                std::vector<task<>> makers, users;
                for (int i = 0; i != 4; ++i)
                {
                    makers.push_back(spawn(make));
                    users.push_back(i == 3 ? spawn(use_async) : spawn(use));
                }
                // Joining a thread would block a loop whose fibers may own the lock.
                event thread_made, thread_used;
                std::thread maker([&] {
                    make();
                    thread_made.set();
                });
                std::thread user([&] {
                    use();
                    thread_used.set();
                });
                if (cancels)
                {
                    this_fiber::yield();
                    makers[0].cancel();
                    users[0].cancel();
                }
                for (auto& t : makers)
                    test::code_of([&t] { t.join(); });
                thread_made.wait();
                {
                    std::lock_guard const guard(m);
                    over = true;
                }
                filled.notify_all();
                for (auto& t : users)
                    test::code_of([&t] { t.join(); });
                thread_used.wait();
                maker.join();
                user.join();
                BOOST_TEST(made == used);
                BOOST_TEST(items.empty());
                BOOST_TEST(made >= 240);
            },
            {.policy = make_policy(policy)});
    });
}

BOOST_AUTO_TEST_CASE(who_notified_may_destroy_it_while_the_waiter_is_cancelled)
{
    test::for_seeds(20, [](test::engine& engine) {
        run(
            [&engine] {
                for (int i = 0; i != 50; ++i)
                {
                    mutex m;
                    auto c = std::make_unique<condition_variable>();
                    condition_variable* const raw = c.get();
                    std::atomic<event_loop*> at = nullptr;
                    auto waiter = spawn([&, raw] {
                        std::unique_lock lock(m);
                        at = &get_running_loop();
                        raw->wait_for(lock, 24h);
                    });
                    test::until_it_waits(at);
                    auto notifier = spawn([&m, c = std::move(c)]() mutable {
                        std::unique_lock const lock(m);
                        c->notify_one();
                        c.reset();
                    });
                    test::jitter(engine);
                    waiter.cancel();
                    notifier.join();
                    test::code_of([&waiter] { waiter.join(); });
                }
            },
            {.policy = make_policy("fiber loops=3")});
    });
}
