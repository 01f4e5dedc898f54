// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// Programs whose loop or runner goes away at each of their suspensions in turn: nothing is
// leaked, and nothing hangs.
#define BOOST_TEST_MODULE task.abandon

#include <polyloop/io/local_stream.hpp>
#include <polyloop/io/tcp_listener.hpp>
#include <polyloop/io/tcp_stream.hpp>
#include <polyloop/io/udp_socket.hpp>
#include <polyloop/loop/timer.hpp>
#include <polyloop/sync/barrier.hpp>
#include <polyloop/sync/channel.hpp>
#include <polyloop/sync/condition_variable.hpp>
#include <polyloop/sync/event.hpp>
#include <polyloop/sync/mutex.hpp>
#include <polyloop/sync/semaphore.hpp>
#include <polyloop/sync/shared_mutex.hpp>
#include <polyloop/task/exception_group.hpp>
#include <polyloop/task/gather.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/shield.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/task_group.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/timeout.hpp>
#include <polyloop/task/to_thread.hpp>
#include <polyloop/task/use_fiber.hpp>
#include <polyloop/task/wait.hpp>

#include "support/policies.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <ostream>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;
namespace asio = boost::asio;
namespace data = boost::unit_test::data;

namespace {

/// Something that has to be destroyed as often as it is made.
class counted
{
  public:
    static inline std::atomic<int> alive = 0;

    counted() : memory_(std::make_unique<int>(1))
    {
        ++alive;
    }
    counted(counted const&) : counted()
    {
    }
    counted& operator=(counted const&) = default;
    ~counted()
    {
        --alive;
    }

  private:
    std::shared_ptr<int> memory_;
};

/// What a program tells before each of its waits. At the k-th, something happens to it.
class watch
{
  public:
    watch(int k, std::function<void()> happening) : k_(k), happening_(std::move(happening))
    {
    }

    void wait()
    {
        if (++n_ == k_)
            happening_();
    }
    int count() const
    {
        return n_;
    }

  private:
    int const k_;
    std::function<void()> const happening_;
    std::atomic<int> n_ = 0;
};

// -- the programs ------------------------------------------------------------------------------

void nested(watch& w, int depth)
{
    counted const c;
    auto a = spawn([&w, depth, c] {
        w.wait();
        this_fiber::yield();
        if (depth != 0)
            nested(w, depth - 1);
    });
    auto b = spawn([&w, c] {
        w.wait();
        this_fiber::sleep_for(1ms);
        return c;
    });
    // A fiber that throws past `a` and `b` must not leave them with a dead `w`; they hold
    // nothing else of this frame.
    w.wait();
    a.join();
    w.wait();
    b.join_for(1h);
}

void nested_program(watch& w)
{
    nested(w, 3);
}

void detached_program(watch& w)
{
    for (int i = 0; i != 5; ++i)
        (void)spawn([&w, i, c = counted()] {
            w.wait();
            this_fiber::sleep_for(i * 100us);
            w.wait();
            this_fiber::yield();
        });
    w.wait();
    this_fiber::sleep_for(1ms);
}

/// Waits once more on its way out.
struct slow_to_leave
{
    watch& w;
    counted c = {};

    ~slow_to_leave()
    {
        try
        {
            w.wait();
            this_fiber::sleep_for(100us);
        }
        catch (...) // refused while the loop unwinds
        {
        }
    }
};

void cleanup_program(watch& w)
{
    std::vector<task<>> all;
    for (int i = 0; i != 3; ++i)
        all.push_back(spawn([&w, c = counted()] {
            slow_to_leave const s{w};
            w.wait();
            this_fiber::sleep_for(1h);
        }));
    w.wait();
    this_fiber::yield();
    for (auto& t : all)
        t.cancel();
    for (auto& t : all)
        try
        {
            w.wait();
            t.join();
        }
        catch (boost::system::system_error const&)
        {
        }
}

void socket_program(watch& w)
{
    using stream = asio::local::stream_protocol::socket;
    auto& io = get_running_loop().io_context();
    auto ends = std::make_shared<std::pair<stream, stream>>(stream(io), stream(io));
    asio::local::connect_pair(ends->first, ends->second);
    auto echo = spawn(get_running_loop(), [&w, ends, c = counted()] {
        std::shared_ptr<void> const hang_up(nullptr, [&](void*) {
            boost::system::error_code ignored;
            ends->second.close(ignored);
        });
        char byte[1];
        for (int i = 0; i != 3; ++i)
        {
            w.wait();
            asio::async_read(ends->second, asio::buffer(byte), use_fiber);
            w.wait();
            asio::async_write(ends->second, asio::buffer(byte), use_fiber);
        }
    });
    char byte[1] = {'x'};
    for (int i = 0; i != 3; ++i)
    {
        w.wait();
        asio::async_write(ends->first, asio::buffer(byte), use_fiber);
        w.wait();
        asio::async_read(ends->first, asio::buffer(byte), use_fiber);
    }
    asio::steady_timer t(io, 100us);
    w.wait();
    t.async_wait(use_fiber);
    w.wait();
    echo.join();
}

/// The same on streams, which wait in another way, with one that is accepted, and datagrams.
void stream_program(watch& w)
{
    event_loop& loop = get_running_loop();
    asio::local::stream_protocol::socket a(loop.io_context()), b(loop.io_context());
    asio::local::connect_pair(a, b);
    struct ends
    {
        local_stream first, second;
        tcp_listener listener;
        udp_socket from, to;
    };
    auto const loopback = asio::ip::address_v4::loopback();
    auto all = std::make_shared<ends>(
        ends{local_stream(loop, std::move(a)), local_stream(loop, std::move(b)),
             tcp_listener(loop, {loopback, 0}), udp_socket(loop, {loopback, 0}),
             udp_socket(loop, {loopback, 0})});
    auto echo = spawn(loop, [&w, all, c = counted()] {
        std::shared_ptr<void> const hang_up(nullptr, [&](void*) { all->second.close(); });
        char byte[1];
        for (int i = 0; i != 3; ++i)
        {
            w.wait();
            asio::read(all->second, asio::buffer(byte));
            w.wait();
            asio::write(all->second, asio::buffer(byte));
        }
        w.wait();
        tcp_stream peer = all->listener.accept();
        w.wait();
        peer.read_some(asio::buffer(byte));
    });
    char byte[1] = {'x'};
    for (int i = 0; i != 3; ++i)
    {
        w.wait();
        asio::write(all->first, asio::buffer(byte));
        w.wait();
        if (i == 1)
            asio::async_read(all->first, asio::buffer(byte), use_fiber);
        else
            asio::read(all->first, asio::buffer(byte));
    }
    tcp_stream peer(loop);
    w.wait();
    peer.connect(all->listener.local_endpoint());
    all->to.expires_after(1h);
    auto receives = spawn(loop, [&w, all, c = counted()] {
        char none;
        w.wait();
        all->to.receive(asio::buffer(&none, 1));
    });
    w.wait();
    this_fiber::yield();
    all->from.send_to(asio::buffer(byte), all->to.local_endpoint());
    w.wait();
    receives.join();
    // Nobody waits for it: it is there until the loop ends, or the stream.
    peer.async_read_some(asio::buffer(byte),
                         [c = counted()](boost::system::error_code, std::size_t) {});
    w.wait();
    this_fiber::yield();
    peer.close();
    w.wait();
    echo.join_for(1h);
}

asio::awaitable<counted> doze(watch& w)
{
    counted const c;
    asio::steady_timer t(co_await asio::this_coro::executor, 100us);
    w.wait();
    co_await t.async_wait(asio::use_awaitable);
    co_return c;
}

void coroutine_program(watch& w)
{
    auto outer = spawn([&w]() -> asio::awaitable<counted> {
        counted const c;
        auto inner = spawn([&w] { return doze(w); });
        co_await doze(w);
        w.wait();
        co_return co_await inner.async_join(asio::use_awaitable);
    });
    auto second = spawn([&w] { return doze(w); });
    w.wait();
    outer.join();
    w.wait();
    second.join();
}

void callbacks_program(watch& w)
{
    event_loop& loop = get_running_loop();
    // Not a timer that is cancelled: on a loop of several threads that may come before the wait.
    auto called = std::make_shared<event>();
    loop.call_later(200us, [called, c = counted()] { called->set(); });
    loop.call_later(1h, [c = counted()] {});
    w.wait();
    called->wait();
    loop.call_soon([c = counted()] {});
    w.wait();
    this_fiber::yield();
}

/// Every object of the room `sync`, with and without a limit. What is waited for is shared, as the
/// fibers end in any order.
void sync_program(watch& w)
{
    struct objects
    {
        mutex m;
        shared_mutex shared;
        condition_variable told;
        semaphore permits{0};
        barrier both{2};
        channel<counted> items{1};
        event over;
        bool tell = false;
    };
    auto all = std::make_shared<objects>();
    auto waits = spawn([&w, all, c = counted()] {
        {
            w.wait();
            std::unique_lock lock(all->m);
            w.wait();
            all->told.wait(lock, [&] { return all->tell; });
            all->tell = false;
            w.wait();
            all->told.wait_for(lock, 1h, [&] { return all->tell; });
        }
        w.wait();
        all->permits.acquire();
        w.wait();
        all->permits.try_acquire_for(1h);
        w.wait();
        all->both.wait();
        w.wait();
        all->both.wait_for(1h);
        w.wait();
        all->items.receive();
        w.wait();
        all->items.try_receive_for(1h);
        w.wait();
        std::shared_lock const lock(all->shared);
        w.wait();
        all->over.wait_for(1h);
    });
    auto meets = spawn([all, c = counted()] {
        all->both.wait();
        all->both.wait();
    });
    auto sends = spawn([all, c = counted()] {
        for (int i = 0; i != 3; ++i)
            all->items.send(counted());
    });
    for (int i = 0; i != 2; ++i)
    {
        for (bool told = false; !told && !waits.done(); w.wait(), this_fiber::yield())
        {
            std::lock_guard const lock(all->m);
            told = !all->tell;
            all->tell = true;
        }
        all->told.notify_one();
    }
    all->permits.release(2);
    {
        w.wait();
        std::lock_guard const alone(all->shared);
        w.wait();
        this_fiber::yield();
    }
    w.wait();
    this_fiber::sleep_for(100us); // so that there is more than one handler
    all->over.set();
    w.wait();
    waits.join();
    w.wait();
    meets.join_for(1h);
}

/// The same in coroutines.
void async_sync_program(watch& w)
{
    struct objects
    {
        mutex m;
        semaphore permits{0};
        channel<counted> items{1};
        event over;
    };
    auto all = std::make_shared<objects>();
    auto waits = spawn([&w, all]() -> asio::awaitable<void> {
        counted const c;
        w.wait();
        co_await all->m.async_lock(asio::use_awaitable);
        std::lock_guard const lock(all->m, std::adopt_lock);
        w.wait();
        co_await all->permits.async_acquire(asio::use_awaitable);
        w.wait();
        co_await all->items.async_receive(asio::use_awaitable);
        w.wait();
        co_await all->over.async_wait_for(1h, asio::use_awaitable);
    });
    auto sends = spawn([&w, all, c = counted()] {
        w.wait();
        all->items.send(counted());
        w.wait();
        all->permits.release();
    });
    all->over.async_wait([all, c = counted()](boost::system::error_code) {});
    w.wait();
    sends.join();
    w.wait();
    this_fiber::sleep_for(100us); // so that there is more than one handler
    all->over.set();
    w.wait();
    waits.join();
}

/// Tasks that are waited for together, and what waits beside the loop.
void group_program(watch& w)
{
    auto nap = [&w, c = counted()] {
        w.wait();
        this_fiber::sleep_for(100us);
        return c;
    };
    w.wait();
    with_task_group([&](task_group& g) {
        (void)g.spawn(nap);
        w.wait();
        (void)g.spawn(nap);
        w.wait();
        this_fiber::yield();
    });
    w.wait();
    (void)gather(spawn(nap), spawn(nap));
    std::vector<task<counted>> some;
    some.push_back(spawn(nap));
    some.push_back(spawn(nap));
    w.wait();
    (void)wait(some);
    w.wait();
    (void)shield(nap);
    w.wait();
    (void)timeout(1h, nap);
    w.wait();
    to_thread([] {}).join(); // what it holds may end a little later than the loop
    timer t;
    t.expires_after(100us);
    w.wait();
    t.wait();
    asio::steady_timer s(get_running_loop().io_context(), 100us);
    w.wait();
    s.async_wait(use_fiber(1h));
}

struct program
{
    char const* name;
    void (*run)(watch&);
};

std::ostream& operator<<(std::ostream& out, program const& p)
{
    return out << p.name;
}

program const programs[] = {
    {"nested", nested_program},       {"detached", detached_program},
    {"cleanup", cleanup_program},     {"sockets", socket_program},
    {"streams", stream_program},      {"coroutines", coroutine_program},
    {"callbacks", callbacks_program}, {"sync", sync_program},
    {"async_sync", async_sync_program}, {"groups", group_program},
};

/// Calls `attempt(k)`, which gives the number of waits it saw, for k = 1, 2, ... until the program
/// is over before the k-th; that it is at some time shows that every wait was tried.
void at_each_wait(std::function<int(int)> const& attempt)
{
    int k = 1;
    while (attempt(k) >= k)
    {
        BOOST_TEST(counted::alive == 0, "wait " << k << ": " << counted::alive << " alive");
        counted::alive = 0;
        BOOST_TEST_REQUIRE(++k < 1000);
    }
    BOOST_TEST(counted::alive == 0);
    BOOST_TEST(k > 1);
}

struct failure : std::runtime_error
{
    failure() : std::runtime_error("the k-th wait")
    {
    }
};

} // namespace

BOOST_DATA_TEST_CASE(a_loop_destroyed_at_each_wait,
                     data::make(programs) * data::make({1u, 2u}), p, concurrency)
{
    for (bool const close : {true, false})
        at_each_wait([&](int k) {
            event_loop* here = nullptr;
            watch w(k, [&] { here->stop(); });
            {
                event_loop loop({.concurrency = concurrency, .debug = false});
                loop.set_exception_handler([](event_loop&, exception_context const&) {});
                here = &loop;
                try
                {
                    run_until_complete(loop, [&] { p.run(w); });
                }
                catch (boost::system::system_error const& e)
                {
                    BOOST_TEST(e.code() == make_error_code(error::loop_stopped));
                }
                if (close)
                    loop.close();
            }
            return w.count();
        });
}

BOOST_DATA_TEST_CASE(an_adopted_loop_destroyed_after_each_handler, data::make(programs), p)
{
    // The io_context ends before the loop, or after it.
    for (bool const context_first : {false, true})
        at_each_wait([&](int k) {
            watch w(0, [] {});
            int ran = 0;
            auto io = std::make_unique<asio::io_context>();
            auto loop = std::make_unique<event_loop>(*io, loop_options{.debug = false});
            loop->set_exception_handler([](event_loop&, exception_context const&) {});
            auto main = spawn(*loop, [&] { p.run(w); });
            while (ran != k && !main.done() && io->run_one() != 0)
                ++ran;
            bool const over = main.done();
            if (context_first)
                loop->close();
            loop.reset();
            io.reset();
            BOOST_TEST(main.done());
            return over ? ran - 1 : ran;
        });
}

BOOST_DATA_TEST_CASE(a_runner_closed_at_each_wait,
                     data::make(programs) * data::make(test::every_policy), p, policy)
{
    at_each_wait([&](int k) {
        event_loop* main_loop = nullptr;
        watch w(k, [&] { main_loop->stop(); });
        {
            runner r({.policy = make_policy(policy), .debug = false});
            r.get_loop().set_exception_handler([](event_loop&, exception_context const&) {});
            main_loop = &r.get_loop();
            try
            {
                r.run([&] { p.run(w); });
            }
            catch (boost::system::system_error const& e)
            {
                BOOST_TEST(e.code() == make_error_code(error::loop_stopped));
            }
        }
        return w.count();
    });
}

BOOST_DATA_TEST_CASE(a_run_whose_program_fails_at_each_wait,
                     data::make(programs) * data::make(test::every_policy), p, policy)
{
    at_each_wait([&](int k) {
        watch w(k, [] { throw failure(); });
        {
            runner r({.policy = make_policy(policy), .debug = false});
            r.get_loop().set_exception_handler([](event_loop&, exception_context const&) {});
            try
            {
                r.run([&] { p.run(w); });
            }
            catch (failure const&)
            {
            }
            catch (exception_group const&)
            {
                // That of a child, in a group.
            }
            catch (boost::system::system_error const& e)
            {
                // Of the task that it waited for, or of the other end.
                BOOST_TEST((e.code() == asio::error::operation_aborted ||
                            e.code() == asio::error::eof ||
                            e.code() == asio::error::connection_reset ||
                            e.code() == asio::error::broken_pipe));
            }
        }
        return w.count();
    });
}
