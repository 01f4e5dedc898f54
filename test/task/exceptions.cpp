// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.exceptions

#include <polyloop/task/spawn.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/timeout.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/config.hpp>
#include <boost/test/unit_test.hpp>

#include <cerrno>
#include <exception>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;

// What C and C++ keep per thread belongs to the fiber that waits.

namespace {

// Apart, as a compiler may keep the address of a thread-local across a suspension.
BOOST_NOINLINE int get_errno()
{
    return errno;
}
BOOST_NOINLINE void set_errno(int e)
{
    errno = e;
}
BOOST_NOINLINE std::thread::id thread_now()
{
    return std::this_thread::get_id();
}
BOOST_NOINLINE int uncaught()
{
    return std::uncaught_exceptions();
}

/// The number that the exception being handled holds; -1 for none.
BOOST_NOINLINE int handled()
{
    std::exception_ptr const e = std::current_exception();
    if (!e)
        return -1;
    try
    {
        std::rethrow_exception(e);
    }
    catch (int n)
    {
        return n;
    }
}

/// Waits in its destructor, and says what it saw before and after.
struct waits_in_destructor
{
    std::function<void()> wait;
    std::vector<int>& seen;

    ~waits_in_destructor()
    {
        seen.push_back(uncaught());
        wait();
        seen.push_back(uncaught());
    }
};

/// Everything at once, with `wait` at each place where a fiber may suspend. Says whether all of it
/// was the fiber's own.
bool all_is_its_own(int number, std::function<void()> const& wait)
{
    bool right = handled() == -1 && uncaught() == 0;
    set_errno(number);
    wait();
    right = right && get_errno() == number;

    std::vector<int> seen;
    try
    {
        waits_in_destructor const one{wait, seen};
        try
        {
            waits_in_destructor const two{wait, seen};
            throw number;
        }
        catch (int n)
        {
            right = right && n == number && uncaught() == 0;
            wait();
            right = right && handled() == number;
            try
            {
                throw number + 1000;
            }
            catch (int)
            {
                wait();
                right = right && handled() == number + 1000;
                // A whole wait within a handler within a handler.
                try
                {
                    wait();
                    throw; // the inner one
                }
                catch (int again)
                {
                    right = right && again == number + 1000;
                }
            }
            wait();
            right = right && handled() == number;
            throw; // the outer one, through a destructor that waits
        }
    }
    catch (int n)
    {
        right = right && n == number;
        wait();
        right = right && handled() == number;
    }
    return right && seen == std::vector{1, 1, 1, 1} && handled() == -1 && uncaught() == 0 &&
           get_errno() == number;
}

/// Runs fibers of a loop stage by stage, each stage on another thread: a fiber's `pause` ends on the
/// thread of the next stage.
class stages
{
  public:
    explicit stages(event_loop& loop) : loop_(loop)
    {
    }
    ~stages()
    {
        over_.count_down();
        for (std::thread& t : threads_)
            t.join();
    }

    template <class F>
    auto add(F f)
    {
        ++running_;
        return spawn(loop_, [this, f] {
            auto result = f();
            leave();
            return result;
        });
    }

    void pause()
    {
        asio::async_initiate<use_fiber_t const, void()>(
            [this](auto handler) {
                auto h = std::make_shared<decltype(handler)>(std::move(handler));
                paused_.push_back([h] { std::move (*h)(); });
                leave();
            },
            use_fiber);
    }

    /// Returns when every fiber has paused or ended; says whether one has paused.
    bool run()
    {
        std::promise<void> done;
        threads_.emplace_back([this, &done] {
            loop_.run_forever();
            done.set_value();
            over_.wait(); // so that no later thread has the same id
        });
        done.get_future().wait();
        auto const resumed = std::exchange(paused_, {});
        running_ = static_cast<int>(resumed.size());
        for (auto const& f : resumed)
            f();
        return !resumed.empty();
    }

  private:
    void leave()
    {
        if (--running_ == 0)
            loop_.stop();
    }

    event_loop& loop_;
    int running_ = 0; // touched by one thread at a time
    std::vector<std::function<void()>> paused_;
    std::vector<std::thread> threads_;
    std::latch over_{1};
};

} // namespace

BOOST_AUTO_TEST_CASE(whatever_other_fibers_do)
{
    test::under_every_policy([] {
        std::function<void()> const waits[] = {
            [] { this_fiber::yield(); },
            [] { this_fiber::sleep_for(10us); },
            [] { spawn([] { this_fiber::yield(); }).join(); },
            [] {
                asio::steady_timer t(get_running_loop().get_executor(), 5us);
                t.async_wait(use_fiber);
            },
            [] { (void)test::code_of([] { timeout(5us, [] { this_fiber::sleep_for(1h); }); }); },
        };
        std::vector<task<bool>> all;
        for (int i = 0; i != 60; ++i)
            all.push_back(spawn([i, wait = waits[i % 5]] {
                bool right = true;
                for (int j = 0; j != 5; ++j)
                    right = all_is_its_own(i, wait) && right;
                return right;
            }));
        for (auto& t : all)
            BOOST_TEST(t.join());
    });
}

BOOST_AUTO_TEST_CASE(whichever_thread_it_goes_on_on)
{
    event_loop loop({.concurrency = 2});
    stages s(loop);
    std::vector<task<bool>> all;
    for (int i = 0; i != 5; ++i)
        all.push_back(s.add([&s, i] {
            int waits = 0, moves = 0;
            auto wait = [&] {
                std::thread::id const before = thread_now();
                s.pause();
                ++waits;
                moves += thread_now() != before;
            };
            bool const right = all_is_its_own(i, wait);
            return right && waits > 0 && moves == waits;
        }));
    int rounds = 0;
    while (s.run())
        ++rounds;
    BOOST_TEST(rounds > 0);
    for (auto& t : all)
        BOOST_TEST(t.join());
}

BOOST_AUTO_TEST_CASE(on_a_loop_of_several_threads_at_once)
{
    test::for_seeds(3, [](test::engine& e) {
        event_loop loop({.concurrency = 4});
        std::vector<task<bool>> all;
        for (int i = 0; i != 40; ++i)
        {
            auto const nap = std::chrono::microseconds(test::draw(e, 0, 20));
            all.push_back(spawn(loop, [i, nap] {
                bool right = true;
                for (int j = 0; j != 20; ++j)
                    right = all_is_its_own(i,
                                           [nap] {
                                               if (nap < 10us)
                                                   this_fiber::yield();
                                               else
                                                   this_fiber::sleep_for(nap);
                                           }) &&
                            right;
                return right;
            }));
        }
        test::running const threads(loop, 4);
        for (auto& t : all)
            BOOST_TEST(t.join());
    });
}

BOOST_AUTO_TEST_CASE(handlers_and_new_fibers_begin_with_nothing)
{
    event_loop loop;
    run_until_complete(loop, [&loop] {
        int in_callback = 0, in_fiber = 0, uncaught_there = -1;
        std::vector<int> seen;
        try
        {
            waits_in_destructor const w{[&] {
                                            loop.call_soon([&] {
                                                in_callback = handled();
                                                uncaught_there = uncaught();
                                            });
                                            spawn([&] { in_fiber = handled(); }).join();
                                        },
                                        seen};
            throw 1;
        }
        catch (int)
        {
        }
        BOOST_TEST(in_callback == -1);
        BOOST_TEST(in_fiber == -1);
        BOOST_TEST(uncaught_there == 0);
        BOOST_TEST((seen == std::vector{1, 1}));
    });
}

BOOST_AUTO_TEST_CASE(a_thread_that_runs_a_loop_in_a_handler_keeps_its_own)
{
    event_loop loop;
    int inside = 0;
    try
    {
        throw 7;
    }
    catch (int)
    {
        set_errno(3);
        BOOST_TEST(run_until_complete(loop, [&] {
            inside = handled();
            set_errno(4);
            return all_is_its_own(1, [] { this_fiber::yield(); });
        }));
        BOOST_TEST(handled() == 7);
        try
        {
            throw;
        }
        catch (int n)
        {
            BOOST_TEST(n == 7);
        }
    }
    BOOST_TEST(inside == -1);
}

BOOST_AUTO_TEST_CASE(a_cancellation_met_in_a_handler_leaves_the_handled_one_alone)
{
    test::under_every_policy([] {
        task<bool> t = spawn([] {
            bool right = false;
            try
            {
                throw 5;
            }
            catch (int)
            {
                right = test::code_of([] {
                            timeout(1ms, [] { this_fiber::sleep_for(1h); });
                        }) == make_error_code(asio::error::timed_out);
                right = right && handled() == 5;
                try
                {
                    throw;
                }
                catch (int n)
                {
                    right = right && n == 5;
                }
            }
            return right && handled() == -1;
        });
        BOOST_TEST(t.join());
    });
}
