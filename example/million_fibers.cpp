// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// How many fibers fit into a machine: spawns them on one loop, each with a stack of its
// own above a guard page, lets all of them wait at once, wakes and joins them, and tells
// what it took: million_fibers --fibers 1000000

#include "command_line.hpp"

#include <polyloop.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/program_options.hpp>

#include <chrono>
#include <cstddef>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <sys/resource.h>

namespace po = boost::program_options;
using clock_type = std::chrono::steady_clock;

namespace
{
std::size_t peak_resident()
{
    rusage u{};
    getrusage(RUSAGE_SELF, &u);
    return static_cast<std::size_t>(u.ru_maxrss) * 1024;
}

/// What the kernel needs to know where the pages are; not part of the resident size.
std::size_t page_tables()
{
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;)
        if (std::size_t n = 0; word == "VmPTE:" && status >> n)
            return n * 1024;
    return 0;
}

/// A line on the standard error for each tenth.
class progress
{
public:
    progress(std::string what, std::size_t all)
        : what_(std::move(what))
        , all_(all)
    {
    }

    void at(std::size_t n)
    {
        if (all_ < 10 || n * 10 / all_ == tenths_)
            return;
        tenths_ = n * 10 / all_;
        std::cerr << what_ << ' ' << n << " of " << all_ << " after " << std::fixed
                  << std::setprecision(2) << passed() / 1e9 << " s, "
                  << (peak_resident() >> 20) << " MiB\n";
    }

    double nanoseconds_each() const { return passed() / static_cast<double>(all_); }

private:
    double passed() const
    {
        return std::chrono::duration<double, std::nano>(clock_type::now() - begin_)
            .count();
    }

    std::string what_;
    std::size_t all_;
    std::size_t tenths_ = 0;
    clock_type::time_point begin_ = clock_type::now();
};

/// What the fibers touch. Theirs as well, since where something fails they outlive who
/// spawned them.
struct crowd
{
    // What all of them wait for: a task that itself waits until it is told to end.
    boost::asio::steady_timer told{polyloop::get_running_loop().io_context(),
        boost::asio::steady_timer::time_point::max()};
    polyloop::task<> gate;
    std::size_t waiting = 0, woken = 0;
};

struct figures
{
    double spawn, wait, join;
    std::size_t resident, tables;
};

figures measure(std::size_t count)
{
    figures f{};
    std::size_t const before = peak_resident();
    auto const all = std::make_shared<crowd>();
    all->gate = polyloop::spawn([all] {
        boost::system::error_code ended;
        all->told.async_wait(polyloop::use_fiber[ended]);
    });
    polyloop::this_fiber::yield(); // it waits before memory is short
    std::vector<polyloop::task<>> fibers;
    fibers.reserve(count);

    progress spawned("spawned", count);
    try
    {
        while (fibers.size() != count)
        {
            fibers.push_back(polyloop::spawn([all] {
                ++all->waiting;
                all->gate.join();
                ++all->woken;
            }));
            spawned.at(fibers.size());
        }
    }
    catch (std::bad_alloc const&)
    {
        for (auto& one : fibers)
            one.cancel(); // it never starts
        throw;
    }
    f.spawn = spawned.nanoseconds_each();

    // They start in the order in which they were spawned, so if the first that does not
    // wait has ended, it found no stack, and those behind it will not either.
    progress begun("waiting", count);
    while (all->waiting != count && !fibers[all->waiting].done())
    {
        polyloop::this_fiber::yield();
        begun.at(all->waiting);
    }
    std::size_t const waited = all->waiting;
    f.wait = begun.nanoseconds_each();
    f.resident = peak_resident() - before;
    f.tables = page_tables();
    if (all->woken != 0)
        throw std::logic_error("some did not wait");

    progress joined("joined", count);
    all->told.cancel();
    std::string trouble;
    for (std::size_t i = 0; i != count; ++i)
    {
        try
        {
            fibers[i].join();
        }
        catch (boost::system::system_error const& e)
        {
            trouble = e.what();
        }
        fibers[i] = {}; // its stack may go
        joined.at(i + 1);
    }
    f.join = joined.nanoseconds_each();
    if (!trouble.empty())
        throw std::runtime_error(
            "only " + std::to_string(waited) + " fibers fit: " + trouble);
    if (all->woken != count)
        throw std::logic_error("some were lost");
    return f;
}

} // namespace

int main(int argc, char** argv)
try
{
    po::options_description options("Options");
    auto add = options.add_options();
    add("fibers", po::value<std::string>()->default_value("100000"),
        "how many live at once");
    add("help", "print this");
    po::variables_map const given = read_options(argc, argv, options);
    if (given.contains("help"))
    {
        std::cout << options;
        return 0;
    }
    auto const count = number<std::size_t>(given, "fibers", 1, 100'000'000);

    // A loop of its own, so that all fibers are on one.
    figures const f = polyloop::run(
        [&] { return measure(count); }, {.policy = polyloop::make_policy("default")});
    std::cout << count << " fibers, each guarded, all waiting at once\n"
              << std::fixed << std::setprecision(0) << "spawn " << f.spawn << " ns each\n"
              << "first run until it waits " << f.wait << " ns each\n"
              << "wake, end and join " << f.join << " ns each\n"
              << "resident " << f.resident / count << " bytes each\n"
              << "peak resident size " << (peak_resident() >> 20) << " MiB\n"
              << "page tables " << (f.tables >> 20) << " MiB\n";
}
catch (std::exception const& e)
{
    return failed("million_fibers", e);
}
