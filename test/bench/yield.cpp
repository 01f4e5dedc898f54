// A fiber lets another ready fiber go on: two of them yield to each other, and one
// operation is one switch. Both do so at the same place of the program, as fibers of a server
// do, since that decides whether the processor predicts the way back.

#include "bench.hpp"

#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/context/detail/fcontext.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/operations.hpp>

#include <memory>

namespace
{

using bench::batch;
namespace asio = boost::asio;
namespace fc = boost::context::detail;

[[gnu::noinline]] void turns(void yield())
{
    for (int i = 0; i != batch / 2; ++i)
        yield();
}

void bounce(fc::transfer_t t)
{
    for (;;)
        t = fc::jump_fcontext(t.fctx, nullptr);
}

void limit(benchmark::State& state)
{
    auto stacks = bench::make_stack_pool();
    auto stack = stacks.allocate();
    fc::transfer_t t{fc::make_fcontext(stack.sp, stack.size, bounce), nullptr};
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i != batch / 2; ++i)
            t = fc::jump_fcontext(t.fctx, nullptr);
    stacks.deallocate(stack);
}
BENCHMARK(limit)->Name("yield/limit");

void ours(benchmark::State& state)
{
    bench::on_polyloop(
        [&]
        {
            bool stop = false;
            auto other = polyloop::spawn(
                [&]
                {
                    while (!stop)
                        turns(polyloop::this_fiber::yield);
                });
            polyloop::this_fiber::yield(); // now it is at its own
            while (state.KeepRunningBatch(batch))
                turns(polyloop::this_fiber::yield);
            stop = true;
            other.join();
        });
}
BENCHMARK(ours)->Name("yield/polyloop");

void boost_fiber(benchmark::State& state)
{
    bool stop = false;
    boost::fibers::fiber other(std::allocator_arg, bench::make_stack_pool(),
        [&]
        {
            while (!stop)
                turns(boost::this_fiber::yield);
        });
    boost::this_fiber::yield();
    while (state.KeepRunningBatch(batch))
        turns(boost::this_fiber::yield);
    stop = true;
    other.join();
}
BENCHMARK(boost_fiber)->Name("yield/boost_fiber");

void asio_spawn(benchmark::State& state)
{
    bench::asio_loop io;
    auto stacks = bench::make_stack_pool();
    bool stop = false;
    using yield_context = asio::basic_yield_context<bench::asio_executor>;
    asio::spawn(
        io.get_executor(), std::allocator_arg, stacks,
        [&](yield_context yield)
        {
            while (state.KeepRunningBatch(batch))
                for (int i = 0; i != batch / 2; ++i)
                    asio::post(yield);
            stop = true;
        },
        asio::detached);
    asio::spawn(
        io.get_executor(), std::allocator_arg, stacks,
        [&](yield_context yield)
        {
            while (!stop)
                asio::post(yield);
        },
        asio::detached);
    io.run();
}
BENCHMARK(asio_spawn)->Name("yield/asio_spawn");

using coroutine = asio::awaitable<void, bench::asio_executor>;
constexpr asio::use_awaitable_t<bench::asio_executor> await;

coroutine count(benchmark::State& state, bool& stop)
{
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i != batch / 2; ++i)
            co_await asio::post(await);
    stop = true;
}

coroutine until(bool& stop)
{
    while (!stop)
        co_await asio::post(await);
}

void asio_coroutine(benchmark::State& state)
{
    bench::asio_loop io;
    bool stop = false;
    asio::co_spawn(io.get_executor(), count(state, stop), asio::detached);
    asio::co_spawn(io.get_executor(), until(stop), asio::detached);
    io.run();
}
BENCHMARK(asio_coroutine)->Name("yield/asio_coroutine");

} // namespace
