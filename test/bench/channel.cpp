// An item goes from one fiber to another and back, through two channels. One operation is
// one round trip: two items, two waits. Then the same with a deadline on every wait,
// where one operation is one wait.

#include "bench.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/experimental/channel.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/context/detail/fcontext.hpp>
#include <boost/fiber/buffered_channel.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/unbuffered_channel.hpp>

#include <polyloop/sync/channel.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/timeout.hpp>

#include <chrono>
#include <memory>
#include <variant>

namespace
{

namespace asio = boost::asio;
namespace fc = boost::context::detail;
using namespace std::chrono_literals;

constexpr int last = -1; // ends the other fiber

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
    for (auto _ : state)
        t = fc::jump_fcontext(t.fctx, nullptr);
    stacks.deallocate(stack);
}
BENCHMARK(limit)->Name("channel_round_trip/limit");
BENCHMARK(limit)->Name("mutex_round_trip/limit");
BENCHMARK(limit)->Name("condition_round_trip/limit");
BENCHMARK(limit)->Name("semaphore_round_trip/limit");
BENCHMARK(limit)->Name("event_round_trip/limit");

/// `send(channel, item)`, `receive(channel)`; `fork(f)` gives what is to be joined.
template <class Channel, class Fork, class Send, class Receive>
void round_trips(benchmark::State& state, Channel& there, Channel& back,
    int per_iteration, Fork fork, Send send, Receive receive)
{
    auto other = fork(
        [&]
        {
            for (;;)
            {
                int const item = receive(there);
                if (item == last)
                    return;
                send(back, item + 1);
            }
        });
    int item = 0;
    while (state.KeepRunningBatch(per_iteration))
    {
        send(there, item & 0xffff);
        item = receive(back);
    }
    send(there, last);
    other.join();
}

// -- polyloop

template <class Receive>
void on_polyloop(benchmark::State& state, int per_iteration, Receive receive)
{
    bench::on_polyloop(
        [&]
        {
            polyloop::channel<int> there(1), back(1);
            round_trips(
                state, there, back, per_iteration,
                [](auto f) { return polyloop::spawn(f); },
                [](auto& c, int i) { c.send(i); }, receive);
        });
}

void ours(benchmark::State& state)
{
    on_polyloop(state, 1, [](auto& c) { return c.receive(); });
}
BENCHMARK(ours)->Name("channel_round_trip/polyloop");

void ours_wait(benchmark::State& state)
{
    on_polyloop(state, 2, [](auto& c) { return c.receive(); });
}
BENCHMARK(ours_wait)->Name("wait/polyloop");

void ours_deadline(benchmark::State& state)
{
    on_polyloop(state, 2, [](auto& c) { return *c.try_receive_for(30s); });
}
BENCHMARK(ours_deadline)->Name("wait_with_deadline/polyloop");

void ours_timeout(benchmark::State& state)
{
    on_polyloop(state, 2,
        [](auto& c) { return polyloop::timeout(30s, [&] { return c.receive(); }); });
}
BENCHMARK(ours_timeout)->Name("wait_with_deadline/polyloop_timeout");

// -- Boost.Fiber

auto const fork_fiber = [](auto f)
{ return boost::fibers::fiber(std::allocator_arg, bench::make_stack_pool(), f); };
auto const push = [](auto& c, int i) { c.push(i); };
auto const pop = [](auto& c) { return c.value_pop(); };
auto const pop_wait = [](auto& c)
{
    int i = last;
    c.pop_wait_for(i, 30s);
    return i;
};

void boost_fiber(benchmark::State& state)
{
    boost::fibers::buffered_channel<int> there(2), back(2);
    round_trips(state, there, back, 1, fork_fiber, push, pop);
}
BENCHMARK(boost_fiber)->Name("channel_round_trip/boost_fiber");

void boost_fiber_unbuffered(benchmark::State& state)
{
    boost::fibers::unbuffered_channel<int> there, back;
    round_trips(state, there, back, 1, fork_fiber, push, pop);
}
BENCHMARK(boost_fiber_unbuffered)->Name("channel_round_trip/boost_fiber_unbuffered");

void boost_fiber_wait(benchmark::State& state)
{
    boost::fibers::buffered_channel<int> there(2), back(2);
    round_trips(state, there, back, 2, fork_fiber, push, pop);
}
BENCHMARK(boost_fiber_wait)->Name("wait/boost_fiber");

void boost_fiber_deadline(benchmark::State& state)
{
    boost::fibers::buffered_channel<int> there(2), back(2);
    round_trips(state, there, back, 2, fork_fiber, push, pop_wait);
}
BENCHMARK(boost_fiber_deadline)->Name("wait_with_deadline/boost_fiber");

// -- Asio's channels, between coroutines

using coroutine = asio::awaitable<void, bench::asio_executor>;
constexpr asio::use_awaitable_t<bench::asio_executor> await;
using asio_channel = asio::experimental::channel<bench::asio_executor,
    void(boost::system::error_code, int)>;

coroutine answer(asio_channel& there, asio_channel& back)
{
    for (;;)
    {
        int const item = co_await there.async_receive(await);
        if (item == last)
            co_return;
        co_await back.async_send({}, item + 1, await);
    }
}

coroutine ask(benchmark::State& state, asio_channel& there, asio_channel& back)
{
    int item = 0;
    for (auto _ : state)
    {
        co_await there.async_send({}, item & 0xffff, await);
        item = co_await back.async_receive(await);
    }
    co_await there.async_send({}, last, await);
}

void asio_channels(benchmark::State& state)
{
    bench::asio_loop io;
    asio_channel there(io.get_executor(), 1), back(io.get_executor(), 1);
    asio::co_spawn(io.get_executor(), answer(there, back), asio::detached);
    asio::co_spawn(io.get_executor(), ask(state, there, back), asio::detached);
    io.run();
}
BENCHMARK(asio_channels)->Name("channel_round_trip/asio_channel");

/// Both sides receive in the given way: a wait each.
template <class Receive>
coroutine answer_waits(asio_channel& there, asio_channel& back, Receive receive)
{
    for (int item; (item = co_await receive(there)) != last;)
        co_await back.async_send({}, item + 1, await);
}

template <class Receive>
coroutine ask_waits(
    benchmark::State& state, asio_channel& there, asio_channel& back, Receive receive)
{
    int item = 0;
    while (state.KeepRunningBatch(2))
    {
        co_await there.async_send({}, item & 0xffff, await);
        item = co_await receive(back);
    }
    co_await there.async_send({}, last, await);
}

template <class Receive>
void asio_waits(benchmark::State& state, Receive receive)
{
    bench::asio_loop io;
    asio_channel there(io.get_executor(), 1), back(io.get_executor(), 1);
    asio::co_spawn(io.get_executor(), answer_waits(there, back, receive), asio::detached);
    asio::co_spawn(io.get_executor(), ask_waits(state, there, back, receive), asio::detached);
    io.run();
}

using receiving = asio::awaitable<int, bench::asio_executor>;

receiving plain_receive(asio_channel& c)
{
    co_return co_await c.async_receive(await);
}

/// Asio's documented way before it had cancel_after: whichever is first cancels the other.
receiving limited_receive(asio_channel& c)
{
    using namespace asio::experimental::awaitable_operators;
    asio::basic_waitable_timer<std::chrono::steady_clock,
        asio::wait_traits<std::chrono::steady_clock>, bench::asio_executor>
        timer(c.get_executor(), 30s);
    auto const first = co_await (c.async_receive(await) || timer.async_wait(await));
    co_return std::get<0>(first);
}

void asio_wait(benchmark::State& state)
{
    asio_waits(state, plain_receive);
}
BENCHMARK(asio_wait)->Name("wait/asio_coroutines");

void asio_deadline(benchmark::State& state)
{
    asio_waits(state, limited_receive);
}
BENCHMARK(asio_deadline)->Name("wait_with_deadline/asio_coroutines");

// -- and between fibers of asio::spawn, which hold their stacks

using yield_context = asio::basic_yield_context<bench::asio_executor>;

void asio_spawn(benchmark::State& state)
{
    bench::asio_loop io;
    asio_channel there(io.get_executor(), 1), back(io.get_executor(), 1);
    asio::spawn(
        io.get_executor(),
        [&](yield_context yield)
        {
            for (int item; (item = there.async_receive(yield)) != last;)
                back.async_send({}, item + 1, yield);
        },
        asio::detached);
    asio::spawn(
        io.get_executor(),
        [&](yield_context yield)
        {
            int item = 0;
            for (auto _ : state)
            {
                there.async_send({}, item & 0xffff, yield);
                item = back.async_receive(yield);
            }
            there.async_send({}, last, yield);
        },
        asio::detached);
    io.run();
}
BENCHMARK(asio_spawn)->Name("channel_round_trip/asio_spawn");

} // namespace
