// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.callback_handle

#include <polyloop/loop/callback_handle.hpp>

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/loop/tcp.hpp>
#include <polyloop/task/spawn.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/seeds.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <latch>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;
using boost::system::system_error;
using test::fails_with;

namespace {

int plain_calls = 0;

void plain_function()
{
    ++plain_calls;
}

} // namespace

// -- call_soon ------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S40_call_soon_is_first_in_first_out_and_runs_each_callback_once)
{
    event_loop loop;
    std::vector<int> order;
    for (int i = 0; i != 1000; ++i)
        loop.call_soon([&order, i] { order.push_back(i); });
    test::run_ready(loop);
    test::run_ready(loop);
    std::vector<int> expected(1000);
    std::iota(expected.begin(), expected.end(), 0);
    BOOST_TEST(order == expected);
}

BOOST_AUTO_TEST_CASE(S40_what_a_callback_queues_runs_in_the_next_iteration)
{
    event_loop loop;
    std::string order;
    loop.call_soon([&] {
        order += 'a';
        loop.call_soon([&] {
            order += 'c';
            loop.call_soon([&] { order += 'd'; });
        });
    });
    loop.call_soon([&] { order += 'b'; });
    for (char const* so_far : {"ab", "abc", "abcd"})
    {
        test::run_ready(loop);
        BOOST_TEST(order == so_far);
    }
}

BOOST_AUTO_TEST_CASE(S40_io_is_polled_between_iterations)
{
    event_loop loop;
    tcp::acceptor acceptor(loop.get_executor(),
                           {boost::asio::ip::address_v4::loopback(), 0});
    tcp::socket near(loop.get_executor()), far(loop.get_executor());
    near.connect(acceptor.local_endpoint());
    acceptor.accept(far);

    bool received = false;
    char byte;
    far.async_read_some(boost::asio::buffer(&byte, 1),
                        [&](boost::system::error_code, std::size_t) {
                            received = true;
                            loop.stop();
                        });
    boost::asio::write(near, boost::asio::buffer("x", 1));
    // A callback that queues itself for ever: I/O must be met all the same.
    struct again
    {
        event_loop& loop;
        void operator()() const
        {
            loop.call_soon(*this);
        }
    };
    loop.call_soon(again{loop});
    loop.run_forever();
    BOOST_TEST(received);
}

BOOST_AUTO_TEST_CASE(S40_callbacks_and_spawned_fibers_start_in_the_order_of_the_calls)
{
    test::for_seeds(20, [](test::engine& e) {
        event_loop loop;
        std::vector<int> order;
        auto add = [&](int i) {
            if (test::draw(e, 0, 1))
                loop.call_soon([&order, i] { order.push_back(i); });
            else
                (void)spawn(loop, [&order, i] { order.push_back(i); });
        };
        for (int i = 0; i != 50; ++i) // from outside of the run
            add(i);
        loop.call_soon([&] {
            for (int i = 50; i != 100; ++i) // and from within
                add(i);
        });
        test::run_until(loop, [&] { return order.size() == 100; });
        BOOST_TEST(std::is_sorted(order.begin(), order.end()));
    });
}

BOOST_AUTO_TEST_CASE(any_callable_will_do_a_move_only_one_too)
{
    event_loop loop;
    plain_calls = 0;
    int sum = 0;
    auto five = std::make_unique<int>(5);
    loop.call_soon([&sum, n = std::move(five)] { sum += *n; });
    loop.call_soon(&plain_function);
    loop.call_soon(plain_function);
    std::function<void()> const f = [&] { sum += 10; };
    loop.call_soon(f);
    loop.call_soon([&, big = std::array<char, 4096>{}] { sum += 100 + big[0]; });
    test::run_ready(loop);
    BOOST_TEST(plain_calls == 2);
    BOOST_TEST(sum == 115);
}

BOOST_AUTO_TEST_CASE(an_empty_callable_is_refused)
{
    event_loop loop;
    std::function<void()> none;
    void (*null)() = nullptr;
    auto refused = fails_with(error::bad_config);
    BOOST_CHECK_EXCEPTION(loop.call_soon(none), system_error, refused);
    BOOST_CHECK_EXCEPTION(loop.call_soon(std::function<void()>()), system_error, refused);
    BOOST_CHECK_EXCEPTION(loop.call_soon(null), system_error, refused);
    BOOST_CHECK_EXCEPTION(loop.call_soon_threadsafe(none), system_error, refused);
    BOOST_CHECK_EXCEPTION(loop.call_later(1s, none), system_error, refused);
    BOOST_CHECK_EXCEPTION(loop.call_at(loop.time(), null), system_error, refused);
}

BOOST_AUTO_TEST_CASE(a_callable_ends_right_after_its_call)
{
    event_loop loop;
    auto const held = std::make_shared<int>();
    long after = 0;
    callback_handle const h = loop.call_soon([held] {});
    loop.call_soon([&] { after = held.use_count(); });
    test::run_ready(loop);
    BOOST_TEST(after == 1);
    BOOST_TEST(!h.cancelled());
}

// -- call_soon_threadsafe -------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S41_call_soon_threadsafe_wakes_a_blocked_loop)
{
    event_loop loop;
    test::running const threads(loop);
    for (int i = 0; i != 200; ++i)
    {
        std::latch called(1);
        loop.call_soon_threadsafe([&] { called.count_down(); });
        called.wait();
    }
    BOOST_TEST(loop.is_running());
}

BOOST_AUTO_TEST_CASE(S41_nothing_is_lost_and_each_thread_keeps_its_order)
{
    test::for_seeds(5, [](test::engine& e) {
        constexpr int threads = 4, each = 2000;
        event_loop loop;
        std::vector<std::vector<int>> seen(threads);
        int total = 0;
        std::vector<std::thread> callers;
        for (int t = 0; t != threads; ++t)
            callers.emplace_back([&, t, mine = test::engine(e())]() mutable {
                for (int i = 0; i != each; ++i)
                {
                    loop.call_soon_threadsafe([&, t, i] {
                        seen[t].push_back(i);
                        if (++total == threads * each)
                            loop.stop();
                    });
                    if (i % 64 == 0)
                        test::jitter(mine);
                }
            });
        loop.run_forever();
        for (std::thread& t : callers)
            t.join();
        for (auto const& s : seen)
        {
            BOOST_TEST(s.size() == static_cast<std::size_t>(each));
            BOOST_TEST(std::is_sorted(s.begin(), s.end()));
        }
    });
}

BOOST_AUTO_TEST_CASE(S80_call_soon_of_another_thread_is_refused_in_debug_mode)
{
    event_loop loop({.name = "mine", .debug = true});
    loop.call_soon([] {}); // it does not run: no harm
    {
        test::running const threads(loop);
        auto refused = fails_with(error::wrong_thread, {"mine"});
        BOOST_CHECK_EXCEPTION(loop.call_soon([] {}), system_error, refused);
        BOOST_CHECK_EXCEPTION(loop.call_later(1h, [] {}), system_error, refused);
        BOOST_CHECK_EXCEPTION(loop.call_at(loop.time(), [] {}), system_error, refused);
        BOOST_CHECK_NO_THROW(loop.call_soon_threadsafe([] {}));
        loop.set_debug(false);
        BOOST_CHECK_NO_THROW(loop.call_soon([] {}));
    }
}

// -- cancel ---------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S43_a_cancelled_callback_never_runs_and_cancel_is_idempotent)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            bool ran = false;
            std::vector<callback_handle> handles{
                loop.call_soon([&] { ran = true; }),
                loop.call_later(0s, [&] { ran = true; }),
                loop.call_later(1h, [&] { ran = true; })};
            for (callback_handle& h : handles)
            {
                BOOST_TEST(!h.cancelled());
                h.cancel();
                h.cancel();
                BOOST_TEST(h.cancelled());
            }
            test::run_ready(loop);
            test::run_ready(loop);
            BOOST_TEST(!ran);
        }
}

BOOST_AUTO_TEST_CASE(S43_cancel_releases_the_callable_at_once)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            auto const held = std::make_shared<int>();
            auto check = [&] {
                bool good = true;
                for (callback_handle h : {loop.call_soon([held] {}),
                                          loop.call_soon_threadsafe([held] {}),
                                          loop.call_later(1h, [held] {})})
                {
                    long const before = held.use_count();
                    h.cancel();
                    good = good && held.use_count() == before - 1;
                }
                return good && held.use_count() == 1;
            };
            BOOST_TEST(check()); // outside of a run
            bool inside = false;
            loop.call_soon([&] { inside = check(); });
            test::run_ready(loop);
            BOOST_TEST(inside);
        }
}

BOOST_AUTO_TEST_CASE(S43_cancel_of_what_ran_or_runs_does_nothing)
{
    event_loop loop;
    callback_handle own;
    bool finished = false;
    own = loop.call_soon([&, alive = std::make_shared<bool>(true)] {
        own.cancel();
        finished = *alive;
    });
    test::run_ready(loop);
    BOOST_TEST(finished);
    BOOST_TEST(!own.cancelled());
    own.cancel();
    BOOST_TEST(!own.cancelled());
}

BOOST_AUTO_TEST_CASE(S43_a_callback_cancels_another_of_its_batch)
{
    event_loop loop;
    bool ran = false;
    callback_handle second;
    loop.call_soon([&] { second.cancel(); });
    second = loop.call_soon([&] { ran = true; });
    test::run_ready(loop);
    BOOST_TEST(!ran);
}

BOOST_AUTO_TEST_CASE(cancel_from_other_threads_while_the_loop_runs_them)
{
    for (unsigned concurrency : {1u, 2u})
        test::for_seeds(5, [&](test::engine& e) {
            constexpr int count = 2000;
            event_loop loop({.concurrency = concurrency});
            test::running threads(loop, concurrency);
            std::vector<std::atomic<int>> ran(count);
            auto const held = std::make_shared<int>();
            std::vector<callback_handle> handles;
            for (int i = 0; i != count; ++i)
            {
                auto f = [&ran, i, held] { ++ran[i]; };
                switch (test::draw(e, 0, 2))
                {
                case 0:
                    handles.push_back(loop.call_soon_threadsafe(f));
                    break;
                case 1:
                    handles.push_back(loop.call_later(1us * test::draw(e, 0, 500), f));
                    break;
                case 2:
                    handles.push_back(loop.call_later(1h, f));
                    break;
                }
                if (test::draw(e, 0, 1))
                    handles[test::draw(e, 0, i)].cancel();
            }
            for (callback_handle& h : handles)
                h.cancel();
            threads.join();
            // Each either ran once or was cancelled, and nobody is kept.
            for (int i = 0; i != count; ++i)
                BOOST_TEST(ran[i] == (handles[i].cancelled() ? 0 : 1));
            BOOST_TEST(held.use_count() == 1);
        });
}

BOOST_AUTO_TEST_CASE(handles_are_copied_and_dropped_by_other_threads_while_the_loop_runs)
{
    test::for_seeds(10, [](test::engine& e) {
        constexpr int count = 2000;
        event_loop loop;
        auto const held = std::make_shared<int>();
        int ran = 0;
        std::vector<std::atomic<callback_handle*>> given(count);
        std::atomic<bool> over = false;
        auto drop = [&](test::engine own) {
            while (!over)
                for (auto& place : given)
                    if (std::unique_ptr<callback_handle> const h{place.exchange(nullptr)})
                    {
                        callback_handle const copy = *h;
                        test::jitter(own);
                    }
        };
        std::thread one(drop, test::engine(e())), two(drop, test::engine(e()));
        int made = 0;
        std::function<void()> make = [&] {
            for (int i = test::draw(e, 1, 20); i != 0 && made != count; --i)
            {
                callback_handle const h = test::draw(e, 0, 1)
                                              ? loop.call_soon([&ran, held] { ++ran; })
                                              : loop.call_later(0s, [&ran, held] { ++ran; });
                if (test::draw(e, 0, 2)) // else it is dropped here
                    given[static_cast<std::size_t>(made)] = new callback_handle(h);
                ++made;
            }
            if (ran == count)
                loop.stop();
            else
                loop.call_soon(make);
        };
        loop.call_soon(make);
        loop.run_forever();
        over = true;
        one.join();
        two.join();
        for (auto& place : given)
            delete place.exchange(nullptr);
        BOOST_TEST(ran == count);
        BOOST_TEST(held.use_count() == 1);
    });
}

BOOST_AUTO_TEST_CASE(an_empty_handle_refers_to_nothing_and_a_handle_outlives_its_loop)
{
    callback_handle h;
    BOOST_TEST(!h);
    BOOST_TEST(!h.cancelled());
    BOOST_TEST(!h.when().has_value());
    h.cancel();
    callback_handle timed;
    {
        event_loop loop;
        h = loop.call_soon([] {});
        timed = loop.call_later(1h, [] {});
        BOOST_TEST(bool(h));
        BOOST_TEST(!h.when().has_value());
    }
    h.cancel();
    timed.cancel();
    BOOST_TEST(timed.when().has_value());
}
