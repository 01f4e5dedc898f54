#include "idle_memory.hpp"

#include "bench.hpp"

#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <boost/asio/detached.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/operations.hpp>

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace
{

namespace asio = boost::asio;
using namespace std::chrono_literals;

long resident()
{
    long total = 0, pages = 0;
    std::ifstream("/proc/self/statm") >> total >> pages;
    return pages * ::sysconf(_SC_PAGESIZE);
}

/// Called by the last fiber that went to sleep. Nothing is taken down: that costs a
/// while.
[[noreturn]] void report(long before, long count)
{
    std::printf("%ld\n", (resident() - before) / count);
    std::fflush(stdout);
    ::_exit(0);
}

void polyloop_fibers(long count)
{
    bench::on_polyloop(
        [&]
        {
            std::vector<polyloop::task<>> all(static_cast<std::size_t>(count));
            long asleep = 0;
            polyloop::this_fiber::yield();
            long const before = resident();
            for (auto& t : all)
                t = polyloop::spawn(
                    [&]
                    {
                        if (++asleep == count)
                            report(before, count);
                        polyloop::this_fiber::sleep_for(1h);
                    });
            all.front().join();
        });
}

void asio_spawn(long count)
{
    bench::asio_loop io;
    auto stacks = bench::make_stack_pool();
    long asleep = 0;
    long const before = resident();
    for (long i = 0; i != count; ++i)
        asio::spawn(
            io.get_executor(), std::allocator_arg, stacks,
            [&](asio::basic_yield_context<bench::asio_executor> yield)
            {
                if (++asleep == count)
                    report(before, count);
                asio::steady_timer(io, 1h).async_wait(yield);
            },
            asio::detached);
    io.run();
}

void boost_fiber(long count)
{
    auto stacks = bench::make_stack_pool();
    std::vector<boost::fibers::fiber> all(static_cast<std::size_t>(count));
    long asleep = 0;
    long const before = resident();
    for (auto& f : all)
        f = boost::fibers::fiber(std::allocator_arg, stacks,
            [&]
            {
                if (++asleep == count)
                    report(before, count);
                boost::this_fiber::sleep_for(1h);
            });
    all.front().join();
}

void measure(benchmark::State& state, char const* system)
{
    std::string const command = "exec /proc/" + std::to_string(::getpid()) +
        "/exe --idle-memory " + system + ' ' + std::to_string(state.range(0)) + " 2>&1";
    for (auto _ : state)
    {
        std::FILE* const child = ::popen(command.c_str(), "r");
        char line[256] = "";
        bool const any = child && std::fgets(line, sizeof line, child) != nullptr;
        bool const good = child && ::pclose(child) == 0;
        long const bytes = any && good ? std::atol(line) : 0;
        if (bytes <= 0)
        {
            state.SkipWithError(any ? line : "the process ended early");
            break;
        }
        state.counters["bytes_per_fiber"] = static_cast<double>(bytes);
    }
}

BENCHMARK_CAPTURE(measure, limit, "page")
    ->Name("idle_fiber/limit")
    ->Arg(100'000)
    ->Iterations(1);
BENCHMARK_CAPTURE(measure, polyloop, "polyloop")
    ->Name("idle_fiber/polyloop")
    ->Arg(100'000)
    ->Iterations(1);
BENCHMARK_CAPTURE(measure, polyloop_million, "polyloop")
    ->Name("idle_fiber/polyloop")
    ->Arg(1'000'000)
    ->Iterations(1);
BENCHMARK_CAPTURE(measure, asio_spawn, "asio_spawn")
    ->Name("idle_fiber/asio_spawn")
    ->Arg(100'000)
    ->Iterations(1);
BENCHMARK_CAPTURE(measure, boost_fiber, "boost_fiber")
    ->Name("idle_fiber/boost_fiber")
    ->Arg(100'000)
    ->Iterations(1);

} // namespace

int bench::idle_memory_main(char const* system, long count)
{
    std::string_view const name = system;
    try
    {
        if (name == "page")
            std::printf("%ld\n", ::sysconf(_SC_PAGESIZE));
        else if (name == "polyloop")
            polyloop_fibers(count);
        else if (name == "asio_spawn")
            asio_spawn(count);
        else if (name == "boost_fiber")
            boost_fiber(count);
        else
            return 2;
        return name == "page" ? 0 : 1;
    }
    catch (std::exception const& e)
    {
        std::printf("%s\n", e.what());
        std::fflush(stdout);
        ::_exit(1); // the fibers that were made are of no interest
    }
}
