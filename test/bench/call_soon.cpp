// A callback queues a hundred more and is then called again: one operation is one
// callback, queued and run. The same through a strand.

#include "bench.hpp"

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/loop/strand.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/intrusive/slist.hpp>

#include <array>

namespace
{

using bench::batch;
namespace asio = boost::asio;

int ran = 0;
void body()
{
    benchmark::DoNotOptimize(++ran);
}

/// `post` is what is measured. Runs until the benchmark has had enough.
template <class Post>
struct poster
{
    benchmark::State& state;
    Post post;

    void operator()()
    {
        if (!state.KeepRunningBatch(batch))
            return;
        for (int i = 0; i != batch; ++i)
            post(body);
        post([this] { (*this)(); });
    }
};

// -- the limit: a node and a queue, and the call through it

struct node : boost::intrusive::slist_base_hook<
                  boost::intrusive::link_mode<boost::intrusive::normal_link>>
{
    void (*run)() = nullptr;
};

void limit(benchmark::State& state)
{
    using namespace boost::intrusive;
    std::array<node, batch> nodes;
    slist<node, cache_last<true>, constant_time_size<false>> queue;
    while (state.KeepRunningBatch(batch))
    {
        for (node& n : nodes)
        {
            n.run = body;
            queue.push_back(n);
        }
        while (!queue.empty())
        {
            node& n = queue.front();
            queue.pop_front();
            n.run();
        }
    }
}
BENCHMARK(limit)->Name("call_soon/limit");
BENCHMARK(limit)->Name("strand_post/limit");

// -- polyloop

void ours(benchmark::State& state)
{
    polyloop::event_loop loop;
    poster p{state, [&](auto f) { loop.call_soon(f); }};
    loop.call_soon([&] { p(); });
    loop.io_context().run();
}
BENCHMARK(ours)->Name("call_soon/polyloop");

void ours_strand(benchmark::State& state)
{
    polyloop::event_loop loop;
    polyloop::strand const s(loop);
    poster p{state, [&](auto f) { asio::post(s, f); }};
    p.post([&] { p(); });
    loop.io_context().run();
}
BENCHMARK(ours_strand)->Name("strand_post/polyloop");

// -- Asio

void asio_post(benchmark::State& state)
{
    bench::asio_loop io;
    poster p{state, [ex = io.get_executor()](auto f) { asio::post(ex, f); }};
    p.post([&] { p(); });
    io.run();
}
BENCHMARK(asio_post)->Name("call_soon/asio_post");

void asio_strand(benchmark::State& state)
{
    bench::asio_loop io;
    auto const s = asio::make_strand(io.get_executor());
    poster p{state, [&](auto f) { asio::post(s, f); }};
    p.post([&] { p(); });
    io.run();
}
BENCHMARK(asio_strand)->Name("strand_post/asio_strand");

} // namespace
