// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TEST_SUPPORT_LOOPS_HPP
#define POLYLOOP_TEST_SUPPORT_LOOPS_HPP

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <atomic>
#include <cstddef>
#include <latch>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace test {

/// One run that does what was ready before it, and no more.
inline void run_ready(polyloop::event_loop& loop)
{
    loop.stop();
    loop.run_forever();
}

/// Runs until `done()` holds, which is asked in each turn of the loop.
template <class F>
void run_until(polyloop::event_loop& loop, F done)
{
    struct check
    {
        polyloop::event_loop& loop;
        F& done;
        void operator()() const
        {
            if (done())
                loop.stop();
            else
                loop.call_soon(*this);
        }
    };
    loop.call_soon(check{loop, done});
    loop.run_forever();
}

/// Until a fiber waits that, last of all before that, said at `at` where it runs. In a fiber.
inline void until_it_waits(std::atomic<polyloop::event_loop*> const& at)
{
    while (!at)
        polyloop::this_fiber::yield();
    polyloop::spawn(*at.load(), [] {}).join(); // its loop has come to somebody else
}

/// Threads that run a loop while the object lives; all of them are in it after the
/// constructor.
class running
{
  public:
    explicit running(polyloop::event_loop& loop, unsigned threads = 1)
        : loop_(loop), met_(static_cast<std::ptrdiff_t>(threads) + 1)
    {
        for (unsigned i = 0; i != threads; ++i)
            threads_.emplace_back([&loop] { loop.run_forever(); });
        // Each of these holds a thread until all have one.
        for (unsigned i = 0; i != threads; ++i)
            loop.call_soon_threadsafe([this] { met_.arrive_and_wait(); });
        met_.arrive_and_wait();
    }

    running(running const&) = delete;
    running& operator=(running const&) = delete;

    ~running()
    {
        join();
    }

    void join()
    {
        if (threads_.empty())
            return;
        loop_.stop();
        for (std::thread& t : threads_)
            t.join();
        threads_.clear();
    }

  private:
    polyloop::event_loop& loop_;
    std::latch met_;
    std::vector<std::thread> threads_;
};

/// An exception handler that keeps what it is told.
class reports
{
  public:
    explicit reports(polyloop::event_loop& loop)
    {
        loop.set_exception_handler(
            [this](polyloop::event_loop&, polyloop::exception_context const& c) {
                std::lock_guard const lock(mutex_);
                all_.push_back(c);
            });
    }

    reports(reports const&) = delete;
    reports& operator=(reports const&) = delete;

    std::size_t size() const
    {
        std::lock_guard const lock(mutex_);
        return all_.size();
    }

    /// All that was thrown, in order, as text.
    std::vector<std::string> thrown() const
    {
        std::lock_guard const lock(mutex_);
        std::vector<std::string> out;
        for (auto const& c : all_)
            out.push_back(polyloop::describe_exception(c.exception));
        return out;
    }

    std::vector<polyloop::exception_context> all() const
    {
        std::lock_guard const lock(mutex_);
        return all_;
    }

  private:
    mutable std::mutex mutex_;
    std::vector<polyloop::exception_context> all_;
};

} // namespace test

#endif
