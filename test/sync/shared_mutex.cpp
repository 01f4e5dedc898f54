#define BOOST_TEST_MODULE sync.shared_mutex

#include <polyloop/sync/shared_mutex.hpp>

#include "support/error.hpp"
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

BOOST_AUTO_TEST_CASE(readers_share_and_a_writer_is_alone)
{
    event_loop loop;
    run_until_complete(loop, [] {
        polyloop::shared_mutex m;
        {
            std::shared_lock const a(m), b(m);
            BOOST_TEST(!m.try_lock());
            BOOST_TEST(spawn([&m] {
                           std::shared_lock const c(m, std::try_to_lock);
                           return c.owns_lock();
                       }).join());
        }
        {
            std::unique_lock const a(m);
            BOOST_TEST(!m.try_lock_shared());
            BOOST_TEST(!spawn([&m] { return m.try_lock_shared_for(0s); }).join());
        }
        std::unique_lock w(m, 1h);
        BOOST_TEST(w.owns_lock());
        w.unlock();
        std::shared_lock r(m, std::chrono::system_clock::now() + 1h);
        BOOST_TEST(r.owns_lock());
    });
}

BOOST_AUTO_TEST_CASE(misuse_is_named)
{
    test::under_every_policy([] {
        polyloop::shared_mutex m;
        test::fails_with const not_owner(error::not_owner);
        test::fails_with const deadlock(
            make_error_code(boost::system::errc::resource_deadlock_would_occur));
        BOOST_CHECK_EXCEPTION(m.unlock(), boost::system::system_error, not_owner);
        BOOST_CHECK_EXCEPTION(m.unlock_shared(), boost::system::system_error, not_owner);
        m.lock();
        BOOST_CHECK_EXCEPTION(m.lock(), boost::system::system_error, deadlock);
        BOOST_CHECK_EXCEPTION(m.lock_shared(), boost::system::system_error, deadlock);
        BOOST_CHECK_EXCEPTION(m.unlock_shared(), boost::system::system_error, not_owner);
        auto other = spawn([&m] { return test::code_of([&m] { m.unlock(); }); });
        BOOST_TEST(other.join() == make_error_code(error::not_owner));
        m.unlock();
        m.lock_shared();
        BOOST_CHECK_EXCEPTION(m.unlock(), boost::system::system_error, not_owner);
        m.unlock_shared();
    });
}

BOOST_AUTO_TEST_CASE(first_come_first_served_whatever_is_wanted)
{
    event_loop loop;
    run_until_complete(loop, [] {
        polyloop::shared_mutex m;
        std::vector<char> order;
        std::vector<task<>> all;
        auto read = [&] {
            std::shared_lock const lock(m);
            order.push_back('r');
            this_fiber::yield();
            order.push_back('e');
        };
        auto write = [&] {
            std::unique_lock const lock(m);
            order.push_back('w');
            this_fiber::yield();
            order.push_back('x');
        };
        m.lock_shared();
        all.push_back(spawn(write));
        all.push_back(spawn(read));
        all.push_back(spawn(read));
        all.push_back(spawn(write));
        this_fiber::yield();
        BOOST_TEST(!m.try_lock_shared()); // a writer waits
        m.unlock_shared();
        for (auto& t : all)
            t.join();
        BOOST_TEST((std::string(order.begin(), order.end()) == "wxrreewx"));
    });
}

BOOST_AUTO_TEST_CASE(readers_behind_a_writer_that_gives_up_go_on)
{
    test::under_every_policy([] {
        polyloop::shared_mutex m;
        m.lock_shared();
        std::atomic<int> waiting = 0;
        auto writer = spawn([&] {
            ++waiting;
            m.lock();
        });
        auto late = spawn([&m] { return m.try_lock_for(3ms); });
        while (waiting != 1)
            this_fiber::yield();
        auto reader = spawn([&] {
            ++waiting;
            std::shared_lock const lock(m);
        });
        auto coroutine = spawn([&]() -> asio::awaitable<void> {
            ++waiting;
            co_await m.async_lock_shared(asio::use_awaitable);
            m.unlock_shared();
        });
        while (waiting != 3)
            this_fiber::yield();
        writer.cancel();
        auto const ec = test::code_of([&writer] { writer.join(); });
        BOOST_TEST(ec == aborted_code());
        BOOST_TEST(!late.join());
        reader.join();
        coroutine.join();
        m.unlock_shared();
        BOOST_TEST(m.try_lock());
        m.unlock();
    });
}

BOOST_AUTO_TEST_CASE(in_a_bare_handler_only_what_need_not_wait_goes_through)
{
    event_loop loop;
    run_until_complete(loop, [&loop] {
        polyloop::shared_mutex m;
        event checked;
        boost::system::error_code free, refused;
        loop.call_soon([&] {
            free = test::code_of([&m] { m.lock_shared(); });
            refused = test::code_of([&m] { m.lock(); });
            m.unlock_shared();
            checked.set();
        });
        checked.wait();
        BOOST_TEST(!free);
        BOOST_TEST(refused == make_error_code(error::not_in_fiber));
    });
}

BOOST_AUTO_TEST_CASE(it_works_without_any_loop)
{
    polyloop::shared_mutex m;
    std::future<void> a = m.async_lock_shared(asio::use_future);
    std::future<void> b = m.async_lock_shared_for(1h, asio::use_future);
    a.get();
    b.get();
    auto const late = end_of([&m](auto h) { m.async_lock_for(1ms, h); });
    BOOST_TEST((late == asio::error::timed_out));
    std::future<void> w = m.async_lock(asio::use_future);
    BOOST_TEST(!m.try_lock_shared());
    m.unlock_shared();
    m.unlock_shared();
    w.get();
    m.unlock();
}

BOOST_AUTO_TEST_CASE(random_readers_and_writers_exclude_each_other_and_lose_no_grant)
{
    test::for_seeds(15, [](test::engine& e) {
        char const* const policy = test::every_policy[test::draw(e, 0, 6)];
        run(
            [&] {
                polyloop::shared_mutex m;
                std::atomic<int> readers = 0, writers = 0;
                std::atomic<bool> broken = false;
                auto read = [&] {
                    ++readers;
                    if (writers != 0)
                        broken = true;
                    --readers;
                };
                auto write = [&] {
                    if (++writers != 1 || readers != 0)
                        broken = true;
                    --writers;
                };
                std::vector<task<>> tasks;
                for (int i = 0; i != 12; ++i)
                {
                    unsigned const plan = test::draw(e, 0u, 1000000u);
                    if (i % 4 == 3)
                        tasks.push_back(spawn([&, plan]() -> asio::awaitable<void> {
                            for (unsigned n = 0; n != 30; ++n)
                                if ((plan + n) % 3 == 0)
                                {
                                    co_await m.async_lock(asio::use_awaitable);
                                    write();
                                    m.unlock();
                                }
                                else
                                {
                                    co_await m.async_lock_shared(asio::use_awaitable);
                                    read();
                                    m.unlock_shared();
                                }
                        }));
                    else
                        tasks.push_back(spawn([&, plan] {
                            test::engine own(plan);
                            for (int n = 0; n != 30; ++n)
                            {
                                auto const limit = test::draw(own, 0, 80) * 1us;
                                if (test::draw(own, 0, 2) == 0)
                                {
                                    if (plan % 2 ? (m.lock(), true) : m.try_lock_for(limit))
                                    {
                                        write();
                                        m.unlock();
                                    }
                                }
                                else if (plan % 2 ? (m.lock_shared(), true)
                                                  : m.try_lock_shared_for(limit))
                                {
                                    read();
                                    if (n % 4 == 0)
                                        test::code_of([] { this_fiber::yield(); });
                                    m.unlock_shared();
                                }
                            }
                        }));
                }
                std::thread thread([&] {
                    for (int n = 0; n != 30; ++n)
                    {
                        std::unique_lock const lock(m);
                        write();
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
                BOOST_TEST(m.try_lock());
                m.unlock();
            },
            {.policy = make_policy(policy)});
    });
}
