// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.timer

#include <polyloop/loop/timer.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/timeout.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;
using boost::system::error_code;
using clock_type = std::chrono::steady_clock;

namespace {

error_code const aborted = make_error_code(boost::asio::error::basic_errors::operation_aborted);

/// A cancellation slot that has no memory for its handler.
struct full_slot
{
    bool is_connected() const noexcept
    {
        return true;
    }
    template <class F>
    void assign(F&&) const
    {
        throw std::bad_alloc();
    }
    void clear() const noexcept
    {
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(waits_end_at_the_expiry_and_never_before)
{
    for (unsigned concurrency : {1u, 3u})
    {
        event_loop loop({.concurrency = concurrency});
        timer t(loop, 2ms);
        auto const due = t.expiry();
        int completed = 0;
        bool early = false;
        for (int i = 0; i != 3; ++i)
            t.async_wait([&](error_code ec) {
                early = early || ec || clock_type::now() < due;
                if (++completed == 3)
                    loop.stop();
            });
        loop.run_forever();
        BOOST_TEST(completed == 3);
        BOOST_TEST(!early);
        // What has expired completes at once, though never within the call.
        bool inside = true, ended = false;
        loop.call_soon([&] {
            t.async_wait([&](error_code ec) {
                ended = !ec && !inside;
                loop.stop();
            });
            inside = false;
        });
        loop.run_forever();
        BOOST_TEST(ended);
    }
}

BOOST_AUTO_TEST_CASE(timers_complete_in_order_of_expiry)
{
    event_loop loop;
    auto const start = clock_type::now();
    std::vector<timer> timers;
    std::vector<int> order;
    for (int const i : {3, 1, 4, 0, 2})
    {
        timers.emplace_back(loop, start + i * 1us);
        timers.back().async_wait([&, i](error_code) {
            order.push_back(i);
            if (order.size() == 5)
                loop.stop();
        });
    }
    loop.run_forever();
    BOOST_TEST((order == std::vector{0, 1, 2, 3, 4}));
}

BOOST_AUTO_TEST_CASE(cancelling_and_moving_the_expiry_abort_what_waits)
{
    event_loop loop;
    timer t(loop, 24h);
    std::vector<int> ended;
    auto wait = [&](int i) {
        t.async_wait([&ended, i](error_code ec) { ended.push_back(ec == aborted ? i : -i); });
    };
    wait(1);
    wait(2);
    wait(3);
    BOOST_TEST(t.cancel_one() == 1u);
    BOOST_TEST(ended.empty()); // not within the call
    test::run_ready(loop);
    BOOST_TEST((ended == std::vector{1}));
    BOOST_TEST(t.cancel() == 2u);
    BOOST_TEST(t.cancel() == 0u);
    BOOST_TEST(t.cancel_one() == 0u);
    test::run_ready(loop);
    BOOST_TEST((ended == std::vector{1, 2, 3}));
    wait(4);
    BOOST_TEST(t.expires_after(1us) == 1u);
    wait(5);
    test::run_until(loop, [&] { return ended.size() == 5; });
    BOOST_TEST((ended == std::vector{1, 2, 3, 4, -5}));
    // From near to far and back, before and while the loop looks at it.
    BOOST_TEST(t.expires_after(24h) == 0u);
    wait(6);
    loop.call_soon([&] {
        BOOST_TEST(t.expires_at(clock_type::now()) == 1u);
        wait(7);
        BOOST_TEST(t.expires_at(clock_type::time_point::max()) == 1u);
        wait(8);
        BOOST_TEST(t.expires_at(clock_type::time_point::min()) == 1u);
        wait(9);
    });
    test::run_until(loop, [&] { return ended.size() == 9; });
    BOOST_TEST(ended.back() == -9);
}

BOOST_AUTO_TEST_CASE(one_wait_is_cancelled_through_its_slot)
{
    event_loop loop;
    timer t(loop, 24h);
    asio::cancellation_signal signal;
    std::optional<error_code> one, other;
    t.async_wait(asio::bind_cancellation_slot(signal.slot(), [&](error_code ec) { one = ec; }));
    t.async_wait([&](error_code ec) { other = ec; });
    loop.call_soon([&] { signal.emit(asio::cancellation_type::terminal); });
    test::run_until(loop, [&] { return one.has_value(); });
    BOOST_TEST((one == aborted));
    BOOST_TEST(!other.has_value());
    BOOST_TEST(t.cancel() == 1u);
    test::run_ready(loop);
    BOOST_TEST((other == aborted));
}

BOOST_AUTO_TEST_CASE(the_extremes_of_durations_saturate)
{
    event_loop loop;
    timer t(loop);
    using std::chrono::nanoseconds;
    auto const never = [&] { return t.expiry() == timer::time_point::max(); };
    t.expires_after(std::chrono::hours::max());
    BOOST_TEST(never());
    t.expires_after(nanoseconds::max());
    BOOST_TEST(never());
    bool fired = false;
    t.async_wait([&](error_code ec) { fired = !ec; });
    int done = 0;
    timer least(loop), past(loop, timer::time_point::min()), none(loop, nanoseconds::min());
    least.expires_after(std::chrono::hours::min());
    for (timer* const now : {&least, &past, &none})
        now->async_wait([&](error_code ec) { done += !ec; });
    test::run_until(loop, [&] { return done == 3; });
    BOOST_TEST(!fired);
}

BOOST_AUTO_TEST_CASE(a_wait_that_cannot_begin_leaves_no_trace)
{
    event_loop loop;
    timer t(loop, 1ms);
    auto const token = std::make_shared<int>();
    BOOST_CHECK_THROW(t.async_wait(asio::bind_cancellation_slot(
                          full_slot(), [token](error_code) { BOOST_ERROR("called"); })),
                      std::bad_alloc);
    BOOST_TEST(token.use_count() == 1);
    BOOST_TEST(t.cancel() == 0u);
    bool called = false;
    t.async_wait([&](error_code ec) { called = !ec; });
    test::run_until(loop, [&] { return called; });
}

BOOST_AUTO_TEST_CASE(fibers_coroutines_and_threads_wait)
{
    test::under_every_policy([] {
        event_loop& loop = get_running_loop();
        timer t(loop, 1ms);
        t.wait();
        BOOST_TEST((clock_type::now() >= t.expiry()));
        t.wait(); // over
        t.expires_after(24h);
        BOOST_TEST(test::code_of([&] { timeout(1ms, [&] { t.wait(); }); }) ==
                   asio::error::timed_out);
        BOOST_TEST(test::code_of([&] { t.async_wait(use_fiber(1ms)); }) ==
                   asio::error::timed_out);
        spawn(loop, []() -> asio::awaitable<void> {
            timer own(get_running_loop(), 1ms);
            co_await own.async_wait(asio::use_awaitable);
            own.expires_after(24h);
            error_code met;
            try
            {
                own.wait();
            }
            catch (boost::system::system_error const& e)
            {
                met = e.code();
            }
            BOOST_ASSERT(met == error::not_in_fiber);
        }).join();
    });
    event_loop loop;
    timer t(loop, 1ms);
    t.wait();
    BOOST_TEST((clock_type::now() >= t.expiry()));
    error_code in_handler;
    loop.call_soon([&] {
        timer own;
        own.wait(); // expired from the start
        own.expires_after(24h);
        in_handler = test::code_of([&] { own.wait(); });
    });
    test::run_ready(loop);
    BOOST_TEST(in_handler == error::not_in_fiber);
    BOOST_CHECK_EXCEPTION(timer(), boost::system::system_error,
                          test::fails_with(error::no_running_loop));
}

BOOST_AUTO_TEST_CASE(a_timer_is_moved_and_destroyed_with_its_waits)
{
    event_loop loop;
    std::vector<error_code> ended;
    auto note = [&](error_code ec) { ended.push_back(ec); };
    {
        timer a(loop, 24h);
        a.async_wait(note);
        timer b(std::move(a));
        BOOST_TEST(b.cancel() == 1u);
        b.async_wait(note);
    }
    test::run_ready(loop);
    BOOST_TEST(ended.size() == 2u);
    BOOST_TEST(ended.back() == aborted);
    // What is assigned to ends its waits, as long as the other one lives.
    timer first(loop, 24h), second(loop, 24h);
    first.async_wait(note);
    first = std::move(second);
    test::run_ready(loop);
    BOOST_TEST(ended.size() == 3u);
    BOOST_TEST(ended.back() == aborted);
    // One that fires is gone in its own handler.
    std::optional<timer> own(std::in_place, loop, 0ms);
    own->async_wait([&](error_code) {
        own.reset();
        loop.stop();
    });
    loop.run_forever();
    BOOST_TEST(!own);
}

BOOST_AUTO_TEST_CASE(what_a_handler_throws_leaves_the_others_alone)
{
    event_loop loop;
    test::reports r(loop);
    timer t(loop, 1us);
    int ended = 0;
    for (int i = 0; i != 3; ++i)
        t.async_wait([&](error_code) {
            ++ended;
            throw std::runtime_error("in a handler");
        });
    test::run_until(loop, [&] { return ended == 3; });
    test::run_ready(loop);
    BOOST_TEST(r.size() == 3u);
}

BOOST_AUTO_TEST_CASE(a_closed_loop_drops_waits_and_refuses_new_ones)
{
    auto const token = std::make_shared<int>();
    std::optional<timer> t;
    {
        event_loop loop;
        t.emplace(loop, 24h);
        t->async_wait([token](error_code) { BOOST_ERROR("called"); });
        BOOST_TEST(token.use_count() == 2);
        test::run_ready(loop);
        t->async_wait([token](error_code) { BOOST_ERROR("called"); });
        loop.close();
        BOOST_TEST(token.use_count() == 1);
        BOOST_CHECK_EXCEPTION(t->async_wait([](error_code) {}), boost::system::system_error,
                              test::fails_with(error::loop_closed));
    }
    BOOST_TEST(t->cancel() == 0u);
}

BOOST_AUTO_TEST_CASE(an_adopted_context_runs_dry_when_nothing_waits)
{
    asio::io_context io;
    event_loop loop(io);
    timer t(loop, 1ms);
    error_code ended = aborted;
    t.async_wait([&](error_code ec) { ended = ec; });
    io.run();
    BOOST_TEST(!ended);
    io.restart();
    t.expires_after(24h);
    t.async_wait([&](error_code ec) { ended = ec; });
    asio::post(io, [&] { t.cancel(); });
    io.run();
    BOOST_TEST(ended == aborted);
}

BOOST_AUTO_TEST_CASE(other_threads_may_set_and_cancel_it)
{
    test::for_seeds(5, [](test::engine& e) {
        for (unsigned concurrency : {1u, 3u})
        {
            event_loop loop({.concurrency = concurrency});
            test::running const threads(loop, concurrency);
            timer t(loop);
            std::atomic<int> ended = 0;
            int waits = 0;
            for (int i = 0; i != 100; ++i)
            {
                auto const d = std::chrono::microseconds(test::draw(e, 0, 100));
                switch (test::draw(e, 0, 4))
                {
                case 0:
                    t.expires_after(d);
                    break;
                case 1:
                    t.cancel();
                    break;
                case 2:
                    t.cancel_one();
                    break;
                default:
                    t.async_wait([&](error_code) { ++ended; });
                    ++waits;
                }
                test::jitter(e);
            }
            t.expires_after(0s);
            t.async_wait(asio::use_future).wait();
            while (ended != waits)
                std::this_thread::yield();
        }
    });
}
