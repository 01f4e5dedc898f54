// Which loop runs the calling thread? One operation is one question.

#include "bench.hpp"

#include <polyloop/loop/event_loop.hpp>

#include <boost/config.hpp>

namespace
{

using bench::batch;

thread_local void* where = &where;

BOOST_NOINLINE void* read_it() noexcept
{
    asm volatile(""); // else a compiler may call it once for all
    return where;
}

void limit(benchmark::State& state)
{
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i != batch; ++i)
            benchmark::DoNotOptimize(read_it());
}
BENCHMARK(limit)->Name("get_running_loop/limit");

void ours(benchmark::State& state)
{
    bench::on_polyloop(
        [&]
        {
            while (state.KeepRunningBatch(batch))
                for (int i = 0; i != batch; ++i)
                    benchmark::DoNotOptimize(&polyloop::get_running_loop());
        });
}
BENCHMARK(ours)->Name("get_running_loop/polyloop");

} // namespace
