// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.executor

#include <polyloop/loop/event_loop.hpp>

#include <polyloop/loop/strand.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/use_fiber.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

BOOST_AUTO_TEST_CASE(the_work_runs_elsewhere_and_its_result_arrives_on_the_loop)
{
    event_loop loop;
    std::thread::id worked;
    std::thread::id completed;
    event_loop* loop_there = &loop;
    std::string result;
    std::exception_ptr error = std::make_exception_ptr(1);
    loop.run_in_executor(
        [&] {
            worked = std::this_thread::get_id();
            loop_there = try_get_running_loop();
            return std::string("read");
        },
        [&](std::exception_ptr e, std::string r) {
            completed = std::this_thread::get_id();
            error = e;
            result = std::move(r);
            loop.stop();
        });
    loop.run_forever();
    BOOST_TEST(!error);
    BOOST_TEST(result == "read");
    BOOST_TEST((completed == std::this_thread::get_id()));
    BOOST_TEST((worked != completed));
    BOOST_TEST(loop_there == nullptr);
}

BOOST_AUTO_TEST_CASE(nothing_is_a_result_too)
{
    event_loop loop;
    bool worked = false, completed = false;
    loop.run_in_executor([&] { worked = true; },
                         [&](std::exception_ptr e) {
                             completed = !e;
                             loop.stop();
                         });
    loop.run_forever();
    BOOST_TEST(worked);
    BOOST_TEST(completed);
}

BOOST_AUTO_TEST_CASE(what_the_work_throws_reaches_the_handler)
{
    event_loop loop;
    std::vector<std::string> errors;
    int left = 2;
    auto note = [&](std::exception_ptr e) {
        errors.push_back(describe_exception(e));
        if (--left == 0)
            loop.stop();
    };
    loop.run_in_executor([]() -> int { throw std::runtime_error("no disk"); },
                         [&](std::exception_ptr e, int) { note(e); });
    loop.run_in_executor([] { throw std::runtime_error("no disk"); }, note);
    loop.run_forever();
    for (std::string const& e : errors)
        BOOST_TEST(e.find("no disk") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_waiting_work_keeps_an_applications_io_context_going)
{
    asio::io_context io;
    event_loop loop(io);
    std::latch go(1);
    bool completed = false;
    loop.run_in_executor([&] { go.wait(); },
                         [&](std::exception_ptr) { completed = true; });
    asio::post(io, [&] { go.count_down(); });
    io.run();
    BOOST_TEST(completed);
}

BOOST_AUTO_TEST_CASE(the_completion_runs_on_the_handlers_executor)
{
    event_loop loop;
    strand const s(loop);
    bool in_strand = false;
    loop.run_in_executor([] { return 1; },
                         asio::bind_executor(s, [&](std::exception_ptr, int) {
                             in_strand = s.running_in_this_thread();
                             loop.stop();
                         }));
    loop.run_forever();
    BOOST_TEST(in_strand);
}

BOOST_AUTO_TEST_CASE(with_other_completion_tokens)
{
    event_loop loop;
    std::future<int> f = loop.run_in_executor([] { return 3; }, asio::use_future);
    BOOST_TEST(run_until_complete(loop, [&] {
                   return loop.run_in_executor([] { return 4; }, use_fiber);
               }) == 4);
    BOOST_TEST(f.get() == 3);
    BOOST_CHECK_THROW(
        run_until_complete(loop,
                           [&] {
                               return loop.run_in_executor(
                                   []() -> int { throw std::out_of_range("x"); },
                                   use_fiber);
                           }),
        std::out_of_range);
    BOOST_TEST(run_until_complete(loop, [&]() -> asio::awaitable<int> {
                   co_return co_await loop.run_in_executor([] { return 5; },
                                                           asio::use_awaitable);
               }) == 5);
}

BOOST_AUTO_TEST_CASE(move_only_work_and_results)
{
    event_loop loop;
    std::unique_ptr<int> result;
    loop.run_in_executor(
        [n = std::make_unique<int>(6)]() mutable { return std::move(n); },
        [&](std::exception_ptr, std::unique_ptr<int> r) {
            result = std::move(r);
            loop.stop();
        });
    loop.run_forever();
    BOOST_REQUIRE(result);
    BOOST_TEST(*result == 6);
}

BOOST_AUTO_TEST_CASE(S77_a_pool_of_ones_own_is_used_and_null_refused)
{
    auto const pool = std::make_shared<asio::thread_pool>(1);
    event_loop loop;
    BOOST_CHECK_EXCEPTION(loop.set_default_executor(nullptr), system_error,
                          fails_with(error::bad_config));
    loop.set_default_executor(pool);
    bool mine = false;
    loop.run_in_executor([&] { mine = pool->get_executor().running_in_this_thread(); },
                         [&](std::exception_ptr) { loop.stop(); });
    loop.run_forever();
    BOOST_TEST(mine);
}

BOOST_AUTO_TEST_CASE(S77_the_default_executor_is_made_at_its_first_use)
{
    // By name, not by number: one that was joined before may not quite have left the system.
    auto const all = [] {
        std::set<std::string> names;
        for (auto const& entry : std::filesystem::directory_iterator("/proc/self/task"))
            names.insert(entry.path().filename().string());
        return names;
    };
    std::set<std::string> known = all();
    auto const new_ones = [&] {
        std::size_t n = 0;
        for (std::string const& name : all())
            n += known.insert(name).second;
        return n;
    };
    event_loop loop;
    loop.call_soon([] {});
    test::run_ready(loop);
    BOOST_TEST(new_ones() == 0u);
    loop.run_in_executor([] {}, [&](std::exception_ptr) { loop.stop(); });
    BOOST_TEST(new_ones() > 0u);
    loop.run_forever();
    loop.run_in_executor([] {}, [&](std::exception_ptr) { loop.stop(); });
    BOOST_TEST(new_ones() == 0u); // the same one
    loop.run_forever();
}

BOOST_AUTO_TEST_CASE(S76_a_shut_executor_refuses)
{
    event_loop loop;
    loop.run_in_executor([] {}, [&](std::exception_ptr) { loop.stop(); });
    loop.run_forever();
    loop.core().shut_default_executor();
    BOOST_CHECK_EXCEPTION(loop.run_in_executor([] {}, [](std::exception_ptr) {}),
                          system_error, fails_with(error::executor_shut_down));
    // Another one works: any executor of Asio, whose result comes back to the loop.
    asio::thread_pool other(1);
    bool there = false;
    asio::post(other, [&] {
        there = other.get_executor().running_in_this_thread();
        loop.call_soon_threadsafe([&] { loop.stop(); });
    });
    loop.run_forever();
    BOOST_TEST(there);
}

BOOST_AUTO_TEST_CASE(S35_close_drops_work_that_did_not_begin)
{
    auto const pool = std::make_shared<asio::thread_pool>(1);
    std::latch begun(1), go(1);
    auto const held = std::make_shared<int>();
    bool ran = false;
    event_loop loop;
    loop.set_default_executor(pool);
    loop.run_in_executor(
        [&] {
            begun.count_down();
            go.wait();
        },
        [](std::exception_ptr) {});
    loop.run_in_executor([held, &ran] { ran = true; }, [](std::exception_ptr) {});
    begun.wait();
    loop.close();
    go.count_down();
    pool->join();
    BOOST_TEST(!ran);
}

BOOST_AUTO_TEST_CASE(S35_close_does_not_wait_for_the_executor)
{
    std::latch begun(1), go(1), ended(1);
    event_loop loop;
    loop.run_in_executor(
        [&] {
            begun.count_down();
            go.wait();
            ended.count_down();
        },
        [](std::exception_ptr) {});
    begun.wait();
    loop.close(); // else it would wait for ever
    go.count_down();
    ended.wait();
    BOOST_TEST(loop.is_closed());
}

BOOST_AUTO_TEST_CASE(replacing_the_executor_waits_for_nobody_and_loses_no_work)
{
    event_loop loop;
    auto first = std::make_shared<asio::thread_pool>(1);
    loop.set_default_executor(std::move(first)); // its only owner is the loop now
    std::latch begun(1), go(1);
    int done = 0;
    auto count = [&](std::exception_ptr) {
        if (++done == 2)
            loop.stop();
    };
    loop.run_in_executor(
        [&] {
            begun.count_down();
            go.wait();
        },
        count);
    loop.run_in_executor([] {}, count); // not begun
    begun.wait();
    loop.set_default_executor(std::make_shared<asio::thread_pool>(1)); // else for ever
    go.count_down();
    loop.run_forever();
    BOOST_TEST(done == 2);
}

BOOST_AUTO_TEST_CASE(a_replaced_executor_that_somebody_owns_is_left_alone)
{
    event_loop loop;
    auto const mine = std::make_shared<asio::thread_pool>(1);
    loop.set_default_executor(mine);
    loop.set_default_executor(std::make_shared<asio::thread_pool>(1));
    std::latch ran(1);
    asio::post(*mine, [&] { ran.count_down(); });
    ran.wait();
}

BOOST_AUTO_TEST_CASE(S37_a_closed_loop_takes_no_executor)
{
    event_loop loop;
    loop.close();
    BOOST_CHECK_EXCEPTION(loop.set_default_executor(std::make_shared<asio::thread_pool>(1)),
                          system_error, fails_with(error::loop_closed));
}

namespace {

/// A result whose default cannot be made, though it has one.
struct no_default
{
    no_default()
    {
        throw std::runtime_error("no default");
    }
    explicit no_default(int n) : number(n)
    {
    }
    int number = 0;
};

} // namespace

BOOST_AUTO_TEST_CASE(a_result_needs_no_default_where_there_is_one)
{
    event_loop loop;
    int got = 0;
    loop.run_in_executor([] { return no_default(5); },
                         [&](std::exception_ptr, no_default r) {
                             got = r.number;
                             loop.stop();
                         });
    loop.run_forever();
    BOOST_TEST(got == 5);
}

BOOST_AUTO_TEST_CASE(a_handler_that_cannot_be_told_of_an_error_is_dropped_and_the_loop_told)
{
    event_loop loop;
    std::string told;
    loop.set_exception_handler([&](event_loop&, exception_context const& c) {
        told = describe_exception(c.exception);
    });
    bool called = false;
    auto const guard = std::make_shared<int>();
    loop.run_in_executor([]() -> no_default { throw std::logic_error("work"); },
                         [&, guard](std::exception_ptr, no_default) { called = true; });
    loop.core().shut_default_executor()->join();
    test::run_ready(loop);
    BOOST_TEST(guard.use_count() == 1);
    BOOST_TEST(!called);
    BOOST_TEST(told.find("no default") != std::string::npos);
    // A fiber that waits for it is not left behind.
    BOOST_TEST(test::code_of([] {
        event_loop other;
        other.set_exception_handler([](event_loop&, exception_context const&) {});
        run_until_complete(other, [&] {
            other.run_in_executor([]() -> no_default { throw std::logic_error("work"); },
                                  use_fiber);
        });
    }) == asio::error::operation_aborted);
}

BOOST_AUTO_TEST_CASE(empty_work_is_refused)
{
    event_loop loop;
    auto const none = [](std::exception_ptr) {};
    auto const refused = fails_with(error::bad_config);
    BOOST_CHECK_EXCEPTION(loop.run_in_executor(std::function<void()>(), none), system_error,
                          refused);
    BOOST_CHECK_EXCEPTION(loop.run_in_executor(static_cast<void (*)()>(nullptr), none),
                          system_error, refused);
}
