// A fiber is made, runs, ends and is joined: one at a time, and a hundred before the
// first of them is joined. One operation is one fiber.

#include "bench.hpp"

#include <polyloop/task/spawn.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/context/detail/fcontext.hpp>
#include <boost/context/fiber.hpp>
#include <boost/fiber/fiber.hpp>

#include <array>
#include <exception>
#include <memory>
#include <utility>

namespace
{

using bench::batch;
namespace asio = boost::asio;
namespace fc = boost::context::detail;

int ran = 0; // what each fiber does, so that none of them is nothing
void body()
{
    benchmark::DoNotOptimize(++ran);
}

// -- the limit: boost::context::fiber, the barest thing with a stack of its own that it
// gives back

boost::context::fiber make_bare(bench::stack_pool& stacks)
{
    return {std::allocator_arg, stacks,
        [](boost::context::fiber&& back)
        {
            body();
            return std::move(back);
        }};
}

void limit(benchmark::State& state)
{
    auto stacks = bench::make_stack_pool();
    for (auto _ : state)
        make_bare(stacks).resume();
}
BENCHMARK(limit)->Name("spawn_join/limit");

void limit_batch(benchmark::State& state)
{
    auto stacks = bench::make_stack_pool();
    std::array<boost::context::fiber, batch> all;
    while (state.KeepRunningBatch(batch))
    {
        for (auto& f : all)
            f = make_bare(stacks);
        for (auto& f : all)
            f = std::move(f).resume();
    }
}
BENCHMARK(limit_batch)->Name("spawn_batch/limit");

// Even less: no callable, no unwinding, and nothing that frees the stack but the maker.
void limit_fcontext(benchmark::State& state)
{
    auto stacks = bench::make_stack_pool();
    for (auto _ : state)
    {
        auto stack = stacks.allocate();
        fc::jump_fcontext(fc::make_fcontext(stack.sp, stack.size,
                              [](fc::transfer_t t)
                              {
                                  body();
                                  fc::jump_fcontext(t.fctx, nullptr);
                              }),
            nullptr);
        stacks.deallocate(stack);
    }
}
BENCHMARK(limit_fcontext)->Name("spawn_join/limit_fcontext");

// -- polyloop

void ours(benchmark::State& state)
{
    bench::on_polyloop(
        [&]
        {
            for (auto _ : state)
                polyloop::spawn(body).join();
        });
}
BENCHMARK(ours)->Name("spawn_join/polyloop");

void ours_batch(benchmark::State& state)
{
    bench::on_polyloop(
        [&]
        {
            std::array<polyloop::task<>, batch> all;
            while (state.KeepRunningBatch(batch))
            {
                for (auto& t : all)
                    t = polyloop::spawn(body);
                for (auto& t : all)
                    t.join();
            }
        });
}
BENCHMARK(ours_batch)->Name("spawn_batch/polyloop");

// -- Boost.Fiber

void boost_fiber(benchmark::State& state)
{
    auto stacks = bench::make_stack_pool();
    for (auto _ : state)
        boost::fibers::fiber(std::allocator_arg, stacks, body).join();
}
BENCHMARK(boost_fiber)->Name("spawn_join/boost_fiber");

void boost_fiber_batch(benchmark::State& state)
{
    auto stacks = bench::make_stack_pool();
    std::array<boost::fibers::fiber, batch> all;
    while (state.KeepRunningBatch(batch))
    {
        for (auto& f : all)
            f = boost::fibers::fiber(std::allocator_arg, stacks, body);
        for (auto& f : all)
            f.join();
    }
}
BENCHMARK(boost_fiber_batch)->Name("spawn_batch/boost_fiber");

// -- asio::spawn: starts, and ends, inside of what started it; the post now and then lets
// go of the processor's stack, which would overflow

using yield_context = asio::basic_yield_context<bench::asio_executor>;

/// Starts the next when the last has ended.
template <class Start>
struct chain
{
    bench::asio_loop& io;
    benchmark::State& state;
    Start start;
    int left = 0;

    void next()
    {
        constexpr int depth = 20;
        if (left == 0)
        {
            if (!state.KeepRunningBatch(depth))
                return;
            left = depth;
            asio::post(io, [this] { next(); });
            return;
        }
        --left;
        start([this](std::exception_ptr) { next(); });
    }
};

void asio_spawn(benchmark::State& state)
{
    bench::asio_loop io;
    auto stacks = bench::make_stack_pool();
    chain c{io, state,
        [&](auto done)
        {
            asio::spawn(
                io.get_executor(), std::allocator_arg, stacks,
                [](yield_context) { body(); }, std::move(done));
        }};
    c.next();
    io.run();
}
BENCHMARK(asio_spawn)->Name("spawn_join/asio_spawn");

/// Starts the next hundred when the last of these has ended.
template <class Start>
struct rounds
{
    benchmark::State& state;
    Start start;
    int left = 0;

    void next()
    {
        if (!state.KeepRunningBatch(batch))
            return;
        left = batch;
        for (int i = 0; i != batch; ++i)
            start(
                [this](std::exception_ptr)
                {
                    if (--left == 0)
                        next();
                });
    }
};

void asio_spawn_batch(benchmark::State& state)
{
    bench::asio_loop io;
    auto stacks = bench::make_stack_pool();
    rounds r{state,
        [&](auto done)
        {
            asio::spawn(
                io.get_executor(), std::allocator_arg, stacks,
                [](yield_context) { body(); }, std::move(done));
        }};
    r.next();
    io.run();
}
BENCHMARK(asio_spawn_batch)->Name("spawn_batch/asio_spawn");

// -- Asio's coroutines

using coroutine = asio::awaitable<void, bench::asio_executor>;
constexpr asio::use_awaitable_t<bench::asio_executor> await;

coroutine child()
{
    body();
    co_return;
}

coroutine one_at_a_time(benchmark::State& state, bench::asio_executor ex)
{
    for (auto _ : state)
        co_await asio::co_spawn(ex, child(), await);
}

void asio_coroutine(benchmark::State& state)
{
    bench::asio_loop io;
    asio::co_spawn(
        io.get_executor(), one_at_a_time(state, io.get_executor()), asio::detached);
    io.run();
}
BENCHMARK(asio_coroutine)->Name("spawn_join/asio_coroutine");

void asio_coroutine_batch(benchmark::State& state)
{
    bench::asio_loop io;
    rounds r{state,
        [&](auto done) { asio::co_spawn(io.get_executor(), child(), std::move(done)); }};
    r.next();
    io.run();
}
BENCHMARK(asio_coroutine_batch)->Name("spawn_batch/asio_coroutine");

} // namespace
