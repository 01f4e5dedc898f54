// Two fibers take turns, by a mutex, a condition, semaphores, events. One operation is
// one round trip: a turn of each.

#include "bench.hpp"

#include <boost/fiber/condition_variable.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>
#include <boost/fiber/operations.hpp>

#include <polyloop/sync/condition_variable.hpp>
#include <polyloop/sync/event.hpp>
#include <polyloop/sync/mutex.hpp>
#include <polyloop/sync/semaphore.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <memory>
#include <mutex>

namespace
{

// -- the systems

struct boost_fiber
{
    using mutex = boost::fibers::mutex;
    using condition = boost::fibers::condition_variable;

    // It has none; this is the one of the textbooks.
    class semaphore
    {
    public:
        explicit semaphore(int count)
            : count_(count)
        {
        }
        void acquire()
        {
            std::unique_lock lock(mutex_);
            condition_.wait(lock, [this] { return count_ > 0; });
            --count_;
        }
        void release()
        {
            std::unique_lock lock(mutex_);
            ++count_;
            lock.unlock();
            condition_.notify_one();
        }

    private:
        mutex mutex_;
        condition condition_;
        int count_;
    };

    class event
    {
    public:
        void set()
        {
            std::unique_lock lock(mutex_);
            set_ = true;
            lock.unlock();
            condition_.notify_all();
        }
        void clear()
        {
            std::unique_lock const lock(mutex_);
            set_ = false;
        }
        void wait()
        {
            std::unique_lock lock(mutex_);
            condition_.wait(lock, [this] { return set_; });
        }

    private:
        mutex mutex_;
        condition condition_;
        bool set_ = false;
    };

    template <class F>
    static void run(F f)
    {
        f();
    }
    template <class F>
    static auto fork(F f)
    {
        return boost::fibers::fiber(std::allocator_arg, bench::make_stack_pool(), f);
    }
    static void yield() { boost::this_fiber::yield(); }
};

struct ours
{
    using mutex = polyloop::mutex;
    using condition = polyloop::condition_variable;
    using semaphore = polyloop::semaphore;
    using event = polyloop::event;

    template <class F>
    static void run(F f)
    {
        bench::on_polyloop(f);
    }
    template <class F>
    static auto fork(F f)
    {
        return polyloop::spawn(f);
    }
    static void yield() { polyloop::this_fiber::yield(); }
};

// -- the scenarios

// Each yields while it holds the mutex, so that the other has to wait for it, and then
// once more, so that a mutex which is not handed over comes to the other as well.
template <class System>
void mutex_round_trip(benchmark::State& state)
{
    System::run(
        [&]
        {
            typename System::mutex m;
            bool stop = false;
            long turns = 0;
            auto turn = [&](bool mine)
            {
                std::unique_lock lock(m);
                if (mine == (turns % 2 != 0))
                    ++turns;
                System::yield();
                lock.unlock();
                System::yield();
            };
            auto other = System::fork(
                [&]
                {
                    while (!stop)
                        turn(false);
                });
            long rounds = 0;
            for (auto _ : state)
            {
                turn(true);
                ++rounds;
            }
            stop = true;
            other.join();
            if (turns + 2 < rounds) // each was to have its turn in every round
                state.SkipWithError("the fibers did not take turns");
        });
}

template <class System>
void condition_round_trip(benchmark::State& state)
{
    System::run(
        [&]
        {
            typename System::mutex m;
            typename System::condition c;
            enum
            {
                mine,
                yours,
                over
            } turn = mine;
            auto other = System::fork(
                [&]
                {
                    std::unique_lock lock(m);
                    for (;;)
                    {
                        c.wait(lock, [&] { return turn != mine; });
                        if (turn == over)
                            return;
                        turn = mine;
                        c.notify_one();
                    }
                });
            std::unique_lock lock(m);
            for (auto _ : state)
            {
                turn = yours;
                c.notify_one();
                c.wait(lock, [&] { return turn == mine; });
            }
            turn = over;
            c.notify_one();
            lock.unlock();
            other.join();
        });
}

template <class System>
void semaphore_round_trip(benchmark::State& state)
{
    System::run(
        [&]
        {
            typename System::semaphore there(0), back(0);
            bool stop = false;
            auto other = System::fork(
                [&]
                {
                    for (;;)
                    {
                        there.acquire();
                        if (stop)
                            return;
                        back.release();
                    }
                });
            for (auto _ : state)
            {
                there.release();
                back.acquire();
            }
            stop = true;
            there.release();
            other.join();
        });
}

template <class System>
void event_round_trip(benchmark::State& state)
{
    System::run(
        [&]
        {
            typename System::event there, back;
            bool stop = false;
            auto other = System::fork(
                [&]
                {
                    for (;;)
                    {
                        there.wait();
                        there.clear();
                        if (stop)
                            return;
                        back.set();
                    }
                });
            for (auto _ : state)
            {
                there.set();
                back.wait();
                back.clear();
            }
            stop = true;
            there.set();
            other.join();
        });
}

BENCHMARK(mutex_round_trip<boost_fiber>)->Name("mutex_round_trip/boost_fiber");
BENCHMARK(condition_round_trip<boost_fiber>)->Name("condition_round_trip/boost_fiber");
BENCHMARK(semaphore_round_trip<boost_fiber>)->Name("semaphore_round_trip/boost_fiber");
BENCHMARK(event_round_trip<boost_fiber>)->Name("event_round_trip/boost_fiber");

BENCHMARK(mutex_round_trip<ours>)->Name("mutex_round_trip/polyloop");
BENCHMARK(condition_round_trip<ours>)->Name("condition_round_trip/polyloop");
BENCHMARK(semaphore_round_trip<ours>)->Name("semaphore_round_trip/polyloop");
BENCHMARK(event_round_trip<ours>)->Name("event_round_trip/polyloop");

} // namespace
