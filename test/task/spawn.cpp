// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.spawn

#include <polyloop/task/spawn.hpp>

#include "support/error.hpp"
#include "support/policies.hpp"
#include "support/sanitizers.hpp"

#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/to_thread.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;

namespace {

int free_function()
{
    return 3;
}

// Apart, as a compiler may keep the address of a thread's errno across a suspension.
[[gnu::noinline]] int get_errno()
{
    return errno;
}
[[gnu::noinline]] void set_errno(int e)
{
    errno = e;
}

struct move_only
{
    std::unique_ptr<int> value;
    int operator()()
    {
        return *value;
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(any_callable)
{
    test::under_every_policy([] {
        BOOST_TEST(spawn(free_function).join() == 3);
        BOOST_TEST(spawn(&free_function).join() == 3);
        BOOST_TEST(spawn(move_only{std::make_unique<int>(4)}).join() == 4);
        std::function<int()> const f = [] { return 5; };
        BOOST_TEST(spawn(f).join() == 5);
        BOOST_TEST(spawn([n = 0]() mutable { return ++n; }).join() == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_large_callable_does_not_fit_on_the_stack_and_works)
{
    test::under_every_policy([] {
        std::array<char, 10'000> large{};
        large.back() = 9;
        BOOST_TEST(spawn([large] { return static_cast<int>(large.back()); }).join() == 9);
        struct alignas(128) strict
        {
            int value = 8;
            char more[2000] = {};
        } aligned;
        auto t = spawn([aligned] {
            bool const straight = reinterpret_cast<std::uintptr_t>(&aligned) % 128 == 0;
            return straight ? aligned.value : 0;
        });
        BOOST_TEST(t.join() == 8);
    });
}

BOOST_AUTO_TEST_CASE(spawn_is_never_eager)
{
    test::under_every_policy([] {
        if (get_running_loop().options().concurrency > 1 ||
            get_event_loop_policy()->loops().size() > 1)
            return; // another thread may be quicker
        bool ran = false;
        auto t = spawn([&ran] { ran = true; });
        auto u = spawn([&ran]() -> asio::awaitable<void> {
            ran = true;
            co_return;
        });
        BOOST_TEST(!ran);
        t.join();
        u.join();
        BOOST_TEST(ran);
    });
}

BOOST_AUTO_TEST_CASE(spawn_goes_where_it_is_told)
{
    run(
        [] {
            auto const loops = get_event_loop_policy()->loops();
            BOOST_TEST_REQUIRE(loops.size() == 3u);
            for (auto const& l : loops)
            {
                BOOST_TEST(spawn(*l, [] { return &get_running_loop(); }).join() == l.get());
                strand const s(*l);
                auto t = spawn(s, [s] {
                    bool const inside = s.running_in_this_thread();
                    this_fiber::yield();
                    return inside && s.running_in_this_thread() &&
                           this_context::kind() == context_kind::fiber;
                });
                BOOST_TEST(t.join());
            }
        },
        {.policy = make_policy("fiber loops=3")});
}

BOOST_AUTO_TEST_CASE(a_task_stays_on_its_loop_through_every_wait)
{
    run(
        [] {
            std::vector<task<bool>> all;
            for (int i = 0; i != 60; ++i)
            {
                all.push_back(spawn([] {
                    event_loop* const home = &get_running_loop();
                    bool same = true;
                    for (int k = 0; k != 20; ++k)
                    {
                        k % 5 ? this_fiber::yield() : this_fiber::sleep_for(100us);
                        same = same && &get_running_loop() == home;
                    }
                    return same;
                }));
                all.push_back(spawn([]() -> asio::awaitable<bool> {
                    event_loop* const home = &get_running_loop();
                    asio::steady_timer timer(co_await asio::this_coro::executor, 1ms);
                    co_await timer.async_wait(asio::use_awaitable);
                    bool const same = &get_running_loop() == home;
                    co_await asio::post(asio::use_awaitable);
                    co_return same && &get_running_loop() == home;
                }));
            }
            for (auto& t : all)
                BOOST_TEST(t.join());
        },
        {.policy = make_policy("fiber loops=3")});
}

BOOST_AUTO_TEST_CASE(a_task_on_a_strand_never_runs_beside_another_of_it)
{
    test::under_every_policy([] {
        strand const s = make_strand();
        std::atomic<int> inside = 0;
        std::atomic<bool> clash = false;
        std::vector<task<>> all;
        for (int i = 0; i != 20; ++i)
            all.push_back(spawn(s, [&] {
                for (int k = 0; k != 20; ++k)
                {
                    if (++inside != 1)
                        clash = true;
                    --inside;
                    this_fiber::yield(); // waiting releases the strand
                }
            }));
        for (auto& t : all)
            t.join();
        BOOST_TEST(!clash);
    });
}

BOOST_AUTO_TEST_CASE(spawn_on_a_closed_loop_is_refused)
{
    event_loop loop;
    strand const s(loop);
    loop.close();
    test::fails_with const closed(error::loop_closed);
    BOOST_CHECK_EXCEPTION((void)spawn(loop, [] {}), boost::system::system_error, closed);
    BOOST_CHECK_EXCEPTION((void)spawn(s, [] {}), boost::system::system_error, closed);
}

BOOST_AUTO_TEST_CASE(spawn_without_a_loop_is_refused)
{
    boost::system::error_code ec;
    std::thread([&ec] { ec = test::code_of([] { (void)spawn([] {}); }); }).join();
    BOOST_TEST(ec == make_error_code(error::no_current_loop));
}

BOOST_AUTO_TEST_CASE(equal_keys_live_on_the_same_loop_by_key)
{
    run(
        [] {
            auto where = [](std::string key) {
                return spawn([] { return &get_running_loop(); }, {.name = {}, .key = key}).join();
            };
            for (std::string const key : {"a", "b", "c", "d"})
                BOOST_TEST(where(key) == where(key));
        },
        {.policy = make_policy("fiber loops=3 placement=by_key")});
}

BOOST_AUTO_TEST_CASE(what_belongs_to_the_thread_belongs_to_the_fiber)
{
    // Many fibers, each with an exception in the making and an errno of its own, on one thread and
    // on several.
    test::under_every_policy([] {
        std::vector<task<bool>> all;
        for (int i = 0; i != 50; ++i)
            all.push_back(spawn([i] {
                bool right = true;
                try
                {
                    throw i;
                }
                catch (int caught)
                {
                    set_errno(i);
                    this_fiber::yield();
                    right = get_errno() == i && caught == i;
                    std::exception_ptr const current = std::current_exception();
                    try
                    {
                        this_fiber::yield();
                        std::rethrow_exception(current);
                    }
                    catch (int again)
                    {
                        this_fiber::yield();
                        right = right && again == i;
                    }
                }
                return right && !std::current_exception() && std::uncaught_exceptions() == 0;
            }));
        for (auto& t : all)
            BOOST_TEST(t.join());
    });
}

BOOST_AUTO_TEST_CASE(a_deep_stack_is_there)
{
    event_loop loop({.stacks = {.size = 1024 * 1024}});
    auto deep = [](auto& self, int n) -> int {
        char volatile frame[4096];
        frame[0] = static_cast<char>(n);
        return n == 0 ? frame[0] : self(self, n - 1) + (frame[0] != 0);
    };
    BOOST_TEST(run_until_complete(loop, [&] { return deep(deep, 100); }) == 100);
}

BOOST_AUTO_TEST_CASE(ten_thousand_fibers_at_once)
{
    test::under_every_policy([] {
#if defined(POLYLOOP_TEST_TSAN)
        constexpr int count = 1'000; // it knows 8,128 threads, and counts fibers as such
#else
        constexpr int count = 10'000;
#endif
        std::atomic<int> waiting = 0;
        std::vector<task<int>> all;
        all.reserve(count);
        for (int i = 0; i != count; ++i)
            all.push_back(spawn([&waiting, i] {
                ++waiting;
                while (waiting != count)
                    this_fiber::sleep_for(1ms);
                return i;
            }));
        long sum = 0;
        for (auto& t : all)
            sum += t.join();
        BOOST_TEST(sum == long(count) * (count - 1) / 2);
    });
}

BOOST_AUTO_TEST_CASE(empty_callables_are_refused)
{
    event_loop loop;
    test::fails_with const refused(error::bad_config);
    using boost::system::system_error;
    BOOST_CHECK_EXCEPTION((void)spawn(loop, std::function<void()>()), system_error, refused);
    BOOST_CHECK_EXCEPTION((void)spawn(loop, std::function<asio::awaitable<void>()>()),
                          system_error, refused);
    BOOST_CHECK_EXCEPTION((void)spawn(loop, static_cast<int (*)()>(nullptr)), system_error,
                          refused);
    BOOST_CHECK_EXCEPTION((void)spawn(strand(loop), std::function<void()>()), system_error,
                          refused);
    BOOST_TEST(loop.task_count() == 0u);
    BOOST_TEST(run_until_complete(loop, free_function) == 3);
    BOOST_TEST(run_until_complete(loop, std::function<int()>(free_function)) == 3);
    BOOST_CHECK_EXCEPTION(run_until_complete(loop, [] {
                              (void)to_thread(std::function<void()>());
                          }),
                          system_error, refused);
}
