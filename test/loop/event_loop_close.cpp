// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.event_loop_close

#include <polyloop/loop/event_loop.hpp>

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/seeds.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

namespace {

/// A callable whose move into the loop waits: the thread that hands it over has found the loop
/// open and has yet to bring it.
class held_up
{
  public:
    struct points
    {
        std::latch entered{1};
        std::latch go{1};
    };

    explicit held_up(points& p) : points_(&p)
    {
    }
    held_up(held_up&& other) noexcept
    {
        points* const p = std::exchange(other.points_, nullptr);
        if (!p)
            return;
        p->entered.count_down();
        p->go.wait();
    }
    void operator()() const
    {
    }

  private:
    points* points_ = nullptr;
};

/// A callable that is dropped by `close`: lets the other thread go on, and waits for its end.
auto let_go_when_dropped(held_up::points& at, std::thread& other)
{
    return [guard = std::shared_ptr<void>(nullptr, [&](void*) {
                at.go.count_down();
                other.join();
            })] {};
}

} // namespace

BOOST_AUTO_TEST_CASE(S34_a_running_loop_is_not_closed_and_a_second_close_does_nothing)
{
    event_loop loop;
    boost::system::error_code inside;
    loop.call_soon([&] { inside = test::code_of([&] { loop.close(); }); });
    test::run_ready(loop);
    BOOST_TEST(inside == error::loop_is_running);
    BOOST_TEST(!loop.is_closed());
    {
        test::running const elsewhere(loop);
        BOOST_CHECK_EXCEPTION(loop.close(), system_error,
                              fails_with(error::loop_is_running));
        BOOST_TEST(!loop.is_closed());
    }
    loop.close();
    BOOST_TEST(loop.is_closed());
    loop.close();
    BOOST_TEST(loop.is_closed());
}

BOOST_AUTO_TEST_CASE(S35_close_drops_callbacks_unrun_and_releases_them_at_once)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            auto const held = std::make_shared<int>();
            std::atomic<int> ran = 0;
            auto f = [held, &ran] { ++ran; };
            std::vector<callback_handle> handles;
            handles.push_back(loop.call_soon(f));
            handles.push_back(loop.call_soon_threadsafe(f));
            handles.push_back(loop.call_later(std::chrono::hours(1), f));
            handles.push_back(loop.call_later(std::chrono::nanoseconds(0), f));
            BOOST_TEST(held.use_count() == 6);
            loop.close();
            BOOST_TEST(held.use_count() == 2); // ours, and f's
            BOOST_TEST(ran == 0);
        }
}

BOOST_AUTO_TEST_CASE(S35_close_drops_callbacks_that_an_earlier_run_left)
{
    event_loop loop;
    auto const held = std::make_shared<int>();
    bool ran = false;
    loop.call_soon([&] {
        loop.call_later(std::chrono::hours(1), [held, &ran] { ran = true; });
        loop.call_later(std::chrono::milliseconds(1), [held, &ran] { ran = true; });
        loop.call_soon([held, &ran] { ran = true; });
    });
    test::run_ready(loop);
    BOOST_TEST(held.use_count() == 4);
    loop.close();
    BOOST_TEST(held.use_count() == 1);
    BOOST_TEST(!ran);
}

BOOST_AUTO_TEST_CASE(S35_close_drops_what_another_thread_hands_over_meanwhile)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            auto const held = std::make_shared<int>();
            held_up::points at;
            std::thread other([&] {
                (void)test::code_of([&] { loop.call_soon_threadsafe(held_up(at)); });
                (void)test::code_of([&] { loop.call_soon_threadsafe([held] {}); });
            });
            loop.call_later(std::chrono::hours(1), let_go_when_dropped(at, other));
            at.entered.wait();
            loop.close();
            BOOST_TEST(held.use_count() == 1);
        }
}

BOOST_AUTO_TEST_CASE(a_task_that_another_thread_spawns_meanwhile_is_refused_or_done_after_close)
{
    for (bool adopted : {false, true})
        for (unsigned concurrency : {1u, 2u})
            BOOST_TEST_CONTEXT("adopted " << adopted << ", concurrency " << concurrency)
            {
                asio::io_context io;
                loop_options const options{.concurrency = concurrency};
                auto loop = adopted ? std::make_unique<event_loop>(io, options)
                                    : std::make_unique<event_loop>(options);
                held_up::points at;
                task<> t;
                boost::system::error_code refused;
                std::thread other([&] {
                    refused = test::code_of([&] { t = spawn(*loop, held_up(at)); });
                });
                loop->call_later(std::chrono::hours(1), let_go_when_dropped(at, other));
                at.entered.wait();
                loop->close();
                BOOST_TEST((t ? t.done() : refused == error::loop_closed));
                loop.reset();
                io.run(); // nothing of the loop's waits in it that cannot be run
            }
}

BOOST_AUTO_TEST_CASE(whatever_a_thread_hands_over_until_it_is_refused_ends_with_close)
{
    for (bool adopted : {false, true})
        for (unsigned concurrency : {1u, 2u})
            test::for_seeds(50, [&](test::engine& e) {
                asio::io_context io;
                loop_options const options{.concurrency = concurrency};
                auto loop = adopted ? std::make_unique<event_loop>(io, options)
                                    : std::make_unique<event_loop>(options);
                auto const held = std::make_shared<int>();
                std::vector<task<>> tasks;
                std::latch begun(1);
                std::thread other([&] {
                    (void)test::code_of([&] {
                        for (bool first = true;; first = false)
                        {
                            tasks.push_back(spawn(*loop, [] {}));
                            loop->call_soon_threadsafe([held] {});
                            loop->call_later(std::chrono::hours(1), [held] {});
                            if (first)
                                begun.count_down();
                        }
                    });
                });
                begun.wait();
                test::jitter(e);
                loop->close();
                other.join();
                for (auto const& t : tasks)
                    BOOST_REQUIRE(t.done());
                BOOST_TEST(held.use_count() == 1);
                loop.reset();
                io.run();
            });
}

BOOST_AUTO_TEST_CASE(a_loop_with_waiting_fibers_may_end_inside_another_loop)
{
    for (bool in_fiber : {false, true})
        BOOST_TEST_CONTEXT("in a fiber " << in_fiber)
        {
            auto inner = std::make_unique<event_loop>();
            int unwound = 0;
            for (int i = 0; i != 3; ++i)
                (void)spawn(*inner, [&] {
                    try
                    {
                        this_fiber::sleep_for(std::chrono::hours(1));
                    }
                    catch (system_error const&)
                    {
                        unwound += try_get_running_loop() == inner.get();
                        throw;
                    }
                });
            std::thread([&] { test::run_ready(*inner); }).join(); // now they wait
            event_loop outer;
            auto end = [&] {
                auto const me = this_context::current();
                inner->close();
                inner.reset();
                return this_context::current() == me && &get_running_loop() == &outer;
            };
            bool good = false;
            if (in_fiber)
                good = run_until_complete(outer, end);
            else
            {
                outer.call_soon([&] { good = end(); });
                test::run_ready(outer);
            }
            BOOST_TEST(good);
            BOOST_TEST(unwound == 3);
        }
}

BOOST_AUTO_TEST_CASE(S37_after_close_everything_is_refused)
{
    event_loop loop;
    loop.close();
    auto refused = fails_with(error::loop_closed);
    BOOST_CHECK_EXCEPTION(loop.call_soon([] {}), system_error, refused);
    BOOST_CHECK_EXCEPTION(loop.call_soon_threadsafe([] {}), system_error, refused);
    BOOST_CHECK_EXCEPTION(loop.call_later(std::chrono::seconds(1), [] {}), system_error,
                          refused);
    BOOST_CHECK_EXCEPTION(loop.call_at(loop.time(), [] {}), system_error, refused);
    BOOST_CHECK_EXCEPTION((void)spawn(loop, [] {}), system_error, refused);
    BOOST_CHECK_EXCEPTION(
        loop.run_in_executor([] {}, [](std::exception_ptr) {}), system_error, refused);
    BOOST_TEST(loop.is_closed());
    loop.stop(); // harmless
}

BOOST_AUTO_TEST_CASE(S38_an_unclosed_loop_is_reported_in_debug_mode_and_closed_by_its_end)
{
    for (bool debug : {false, true})
    {
        auto const held = std::make_shared<int>();
        std::vector<std::string> told;
        {
            event_loop loop({.name = "forgotten", .debug = debug});
            loop.set_exception_handler([&](event_loop&, exception_context const& c) {
                told.push_back(c.message);
            });
            loop.call_soon([held] {});
        }
        BOOST_TEST(held.use_count() == 1);
        BOOST_REQUIRE(told.size() == (debug ? 1u : 0u));
        if (debug)
            BOOST_TEST(told[0].find("\"forgotten\"") != std::string::npos);
    }
}
