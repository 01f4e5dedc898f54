// What the scenarios share. Each scenario does the same work on every system; its time is
// that of one operation, which is what an iteration of Google Benchmark counts here.

#ifndef POLYLOOP_TEST_BENCH_BENCH_HPP
#define POLYLOOP_TEST_BENCH_BENCH_HPP

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/task/run_until_complete.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <utility>

namespace bench
{

namespace asio = boost::asio;

/// So many operations between two looks at the benchmark's own counter, which would else
/// be a part of what the cheapest of them seem to cost.
inline constexpr int batch = 100;

int measured_core();
int other_core();
void pin_to_core(int core);

/// The stack of every fiber here is as large as polyloop's own.
inline constexpr std::size_t stack_size = polyloop::stack_options().size;

/// As the documentation of Boost.Context, Boost.Fiber and asio::spawn advises who makes
/// many.
using stack_pool = boost::context::pooled_fixedsize_stack;
inline stack_pool make_stack_pool()
{
    return stack_pool(stack_size);
}

/// Runs `f` in a fiber of a loop with default options.
template <class F>
void on_polyloop(F&& f)
{
    polyloop::event_loop loop;
    polyloop::run_until_complete(loop, std::forward<F>(f));
}

/// One thread runs it, and it is told so.
struct asio_loop : asio::io_context
{
    asio_loop()
        : asio::io_context(1)
    {
    }
};
using asio_executor = asio::io_context::executor_type;

} // namespace bench

#endif
