// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// How many fibers fit into a machine: spawns them on one loop, each with a stack of its own above
// a guard page, lets all of them wait at once, wakes and joins them, and tells what it took.
//
//     million_fibers --fibers 1000000

#include <polyloop.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/program_options.hpp>

#include <chrono>
#include <cstddef>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/resource.h>

namespace options = boost::program_options;
using clock_type = std::chrono::steady_clock;

namespace {

std::size_t peak_resident()
{
    rusage u = {};
    ::getrusage(RUSAGE_SELF, &u);
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
    progress(std::string what, std::size_t all) : what_(std::move(what)), all_(all)
    {
    }

    void at(std::size_t n)
    {
        if (all_ < 10 || n % (all_ / 10) != 0)
            return;
        std::chrono::duration<double> const passed = clock_type::now() - begin_;
        std::cerr << what_ << ' ' << n << " of " << all_ << " after " << std::fixed
                  << std::setprecision(2) << passed.count() << " s, "
                  << (peak_resident() >> 20) << " MiB\n";
    }

    double nanoseconds_each() const
    {
        std::chrono::duration<double, std::nano> const passed = clock_type::now() - begin_;
        return passed.count() / static_cast<double>(all_);
    }

  private:
    std::string what_;
    std::size_t all_;
    clock_type::time_point begin_ = clock_type::now();
};

struct figures
{
    double spawn, wait, join;
    std::size_t resident, tables;
};

figures measure(std::size_t count)
{
    namespace asio = boost::asio;
    figures f = {};
    std::size_t const before = peak_resident();

    // What all of them wait for: a task that itself waits until it is told to end.
    asio::steady_timer told(polyloop::get_running_loop().io_context(),
                            asio::steady_timer::time_point::max());
    auto gate = polyloop::spawn([&] {
        boost::system::error_code ended;
        told.async_wait(polyloop::use_fiber[ended]);
    });

    std::vector<polyloop::task<>> fibers;
    fibers.reserve(count);
    std::size_t waiting = 0, woken = 0;

    progress spawned("spawned", count);
    for (std::size_t i = 0; i != count; ++i)
    {
        fibers.push_back(polyloop::spawn([&] {
            ++waiting;
            gate.join();
            ++woken;
        }));
        spawned.at(i + 1);
    }
    f.spawn = spawned.nanoseconds_each();

    progress begun("waiting", count);
    std::size_t last = 0;
    while (waiting < count)
    {
        polyloop::this_fiber::yield();
        if (waiting / (count / 10 + 1) != last)
            begun.at((last = waiting / (count / 10 + 1)) * (count / 10));
    }
    f.wait = begun.nanoseconds_each();
    f.resident = peak_resident() - before;
    f.tables = page_tables();
    if (woken != 0)
        throw std::logic_error("some did not wait");

    progress joined("joined", count);
    told.cancel();
    for (std::size_t i = 0; i != count; ++i)
    {
        fibers[i].join();
        fibers[i] = {}; // its stack may go
        joined.at(i + 1);
    }
    f.join = joined.nanoseconds_each();
    if (woken != count)
        throw std::logic_error("some were lost");
    return f;
}

} // namespace

int main(int argc, char** argv)
try
{
    std::size_t count = 0;
    options::options_description known("Options");
    auto add = known.add_options();
    add("fibers", options::value(&count)->default_value(100'000), "how many live at once");
    add("help", "this text");
    options::variables_map given;
    options::store(options::parse_command_line(argc, argv, known), given);
    options::notify(given);
    if (given.contains("help"))
    {
        std::cout << known;
        return 0;
    }
    if (count == 0)
        throw options::error("--fibers wants at least 1");

    // A loop of its own, so that all fibers are on one.
    figures const f = polyloop::run([&] { return measure(count); },
                                    {.policy = polyloop::make_policy("default")});
    std::cout << count << " fibers, each guarded, all waiting at once\n"
              << std::fixed << std::setprecision(0)
              << "spawn " << f.spawn << " ns each\n"
              << "first run until it waits " << f.wait << " ns each\n"
              << "wake, end and join " << f.join << " ns each\n"
              << "resident " << f.resident / count << " bytes each\n"
              << "peak resident size " << (peak_resident() >> 20) << " MiB\n"
              << "page tables " << (f.tables >> 20) << " MiB\n";
}
catch (std::exception const& e)
{
    std::cerr << "million_fibers: " << e.what() << '\n';
    return 2;
}
