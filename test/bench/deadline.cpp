// A deadline is set and cancelled while so many are live, itself included: what a wait
// does that ends in time. One operation is both. The deadlines lie, in no order, half a
// minute to a minute ahead.

#include "bench.hpp"

#include <polyloop/loop/event_loop.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/intrusive/list.hpp>

#include <uv.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

namespace
{

using bench::batch;
using std::chrono::milliseconds;
namespace asio = boost::asio;

milliseconds delay(std::size_t i)
{
    return milliseconds(30'000 + i * 7919 % 30'011);
}

/// Calls `set(timer, n)` and `cancel(timer)` for one timer, with one `n` after the other,
/// and `between()` after each batch. Sets all the others before.
template <class Set, class Cancel, class Between>
void measure(benchmark::State& state, Set set, Cancel cancel, Between between)
{
    std::size_t const others = static_cast<std::size_t>(state.range(0)) - 1;
    for (std::size_t i = 0; i != others; ++i)
        set(i, i);
    std::size_t n = 0;
    while (state.KeepRunningBatch(batch))
    {
        for (int i = 0; i != batch; ++i)
        {
            set(others, n++);
            cancel(others);
        }
        between();
    }
    for (std::size_t i = 0; i != others; ++i)
        cancel(i);
    between();
}

void counts(benchmark::internal::Benchmark* b)
{
    b->Arg(1)->Arg(1000)->Arg(1'000'000);
    // Else a million timers would be set up again and again to find out how many
    // iterations to do.
    b->Iterations(1 << 19);
}

// -- the limit: a wheel of one level, wide enough for all of them

class wheel
{
public:
    struct node : boost::intrusive::list_base_hook<
                      boost::intrusive::link_mode<boost::intrusive::normal_link>>
    {
        std::uint64_t when = 0;
    };

    void insert(node& n) { slots_[n.when >> 20 & (size - 1)].push_back(n); }
    void erase(node& n)
    {
        list::node_algorithms::unlink(list::value_traits::to_node_ptr(n));
    }

private:
    using list =
        boost::intrusive::list<node, boost::intrusive::constant_time_size<false>>;
    static constexpr std::size_t size = 1 << 16; // of a millisecond each
    std::vector<list> slots_{size};
};

void limit(benchmark::State& state)
{
    wheel w;
    std::vector<wheel::node> nodes(static_cast<std::size_t>(state.range(0)));
    std::uint64_t now = 1'000'000'000;
    measure(
        state,
        [&](std::size_t i, std::size_t n)
        {
            nodes[i].when =
                now + static_cast<std::uint64_t>(delay(n).count()) * 1'000'000;
            w.insert(nodes[i]);
        },
        [&](std::size_t i) { w.erase(nodes[i]); },
        [&] { benchmark::DoNotOptimize(++now); });
}
BENCHMARK(limit)->Name("deadline/limit")->Apply(counts);

// -- polyloop: what every wait with a deadline does

void ours(benchmark::State& state)
{
    bench::on_polyloop(
        [&]
        {
            auto& core = polyloop::get_running_loop().core();
            std::vector<polyloop::detail::timer_node> nodes(
                static_cast<std::size_t>(state.range(0)));
            for (auto& n : nodes)
                n.expire = [](polyloop::detail::timer_node*) {};
            measure(
                state,
                [&](std::size_t i, std::size_t n)
                {
                    nodes[i].when = core.time() + delay(n);
                    core.insert_timer(nodes[i]);
                },
                [&](std::size_t i) { core.erase_timer(nodes[i]); }, [] {});
        });
}
BENCHMARK(ours)->Name("deadline/polyloop")->Apply(counts);

void ours_call_later(benchmark::State& state)
{
    bench::on_polyloop(
        [&]
        {
            auto& loop = polyloop::get_running_loop();
            std::vector<polyloop::callback_handle> handles(
                static_cast<std::size_t>(state.range(0)));
            measure(
                state,
                [&](std::size_t i, std::size_t n)
                { handles[i] = loop.call_later(delay(n), [] {}); },
                [&](std::size_t i) { handles[i].cancel(); }, [] {});
        });
}
BENCHMARK(ours_call_later)->Name("deadline/polyloop_call_later")->Apply(counts);

// -- Asio: the handlers of the cancelled waits run once for each batch

void asio_timer(benchmark::State& state)
{
    bench::asio_loop io;
    using timer = asio::basic_waitable_timer<std::chrono::steady_clock,
        asio::wait_traits<std::chrono::steady_clock>, bench::asio_executor>;
    std::vector<timer> timers;
    timers.reserve(static_cast<std::size_t>(state.range(0)));
    for (std::int64_t i = 0; i != state.range(0); ++i)
        timers.emplace_back(io.get_executor());
    measure(
        state,
        [&](std::size_t i, std::size_t n)
        {
            timers[i].expires_after(delay(n));
            timers[i].async_wait([](boost::system::error_code) {});
        },
        [&](std::size_t i) { timers[i].cancel(); }, [&] { io.poll(); });
}
BENCHMARK(asio_timer)->Name("deadline/asio_steady_timer")->Apply(counts);

// -- libuv

void libuv(benchmark::State& state)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    std::vector<uv_timer_t> timers(static_cast<std::size_t>(state.range(0)));
    for (uv_timer_t& t : timers)
        uv_timer_init(&loop, &t);
    measure(
        state,
        [&](std::size_t i, std::size_t n)
        {
            uv_timer_start(
                &timers[i], [](uv_timer_t*) {},
                static_cast<std::uint64_t>(delay(n).count()), 0);
        },
        [&](std::size_t i) { uv_timer_stop(&timers[i]); },
        [&] { uv_update_time(&loop); });
    for (uv_timer_t& t : timers)
        uv_close(reinterpret_cast<uv_handle_t*>(&t), nullptr);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}
BENCHMARK(libuv)->Name("deadline/libuv")->Apply(counts);

} // namespace
