// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// Runs one TCP server under every policy, drives it from a process of its own, and says
// which policy served the load best. --help tells the options.

#include "handlers.hpp"
#include "load.hpp"
#include "options.hpp"
#include "report.hpp"

#include <polyloop/policy/registry.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/signal_set.hpp>

#include <cmath>
#include <csignal>
#include <exception>
#include <fstream>
#include <iostream>
#include <numeric>

#include <sys/resource.h>

namespace asio = boost::asio;
using polyloop::tcp;

namespace
{
/// Of this process: the load's own is not in it.
double processor_time_us()
{
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    auto const us = [](timeval t) {
        return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
    };
    return us(used.ru_utime) + us(used.ru_stime);
}

/// Standard deviation of the rate, over the parts of the measured time.
double deviation(std::vector<std::uint64_t> const& parts, seconds duration)
{
    double const n = static_cast<double>(parts.size());
    double const mean = std::accumulate(parts.begin(), parts.end(), 0.0) / n;
    double squares = 0;
    for (std::uint64_t const p : parts)
        squares += (static_cast<double>(p) - mean) * (static_cast<double>(p) - mean);
    return std::sqrt(squares / (n - 1)) * n / duration.count();
}

// Under shared_policy the one loop is run by several threads.
unsigned threads(std::vector<std::shared_ptr<polyloop::event_loop>> const& loops)
{
    unsigned n = 0;
    for (auto const& loop : loops)
        n += loop->options().concurrency;
    return std::max(n, 1U);
}

/// The main task of a run.
void drive(options const& o, row& r, loop_shares& shares)
{
    load_process load;
    polyloop::server server =
        start_echo({asio::ip::address_v4::loopback(), 0}, r.how, shares);
    auto const loops = polyloop::get_event_loop_policy()->loops();
    r.loops = threads(loops);

    load.begin(o, server.endpoint().port());
    load.wait_measured_time_begins();
    double const before = processor_time_us();
    load.wait_measured_time_ends();
    double const used = processor_time_us() - before;
    r.load = load.result();

    r.rps = static_cast<double>(r.load.requests) / o.duration.count();
    r.rps_deviation = deviation(r.load.parts, o.duration);
    if (r.load.requests != 0)
        r.cpu_us_per_request = used / static_cast<double>(r.load.requests);
    r.spread = shares.spread(loops);
    server.close();
}

row measure(options const& o, std::string const& policy, style how)
{
    row r;
    r.policy = policy;
    r.how = how;
    loop_shares shares; // outlives the run and so the handlers
    try
    {
        polyloop::run(
            [&] { drive(o, r, shares); }, {.policy = polyloop::make_policy(policy)});
    }
    catch (std::exception const& e)
    {
        ++r.load.errors;
        r.load.trouble = e.what();
    }
    return r;
}

/// Opened before anything is measured: what cannot be written should be known at once.
std::ofstream open(std::string const& name)
{
    std::ofstream file(name);
    if (!file)
        throw std::runtime_error("cannot write " + name);
    return file;
}

int compare(options const& o)
{
    bool const json_on_output = o.json == "-";
    std::ostream& talk = json_on_output ? std::cerr : std::cout;
    std::ofstream json, html;
    if (!o.json.empty() && !json_on_output)
        json = open(o.json);
    if (!o.html.empty())
        html = open(o.html);

    std::vector<row> rows;
    bool good = true;
    table shown(talk, o);
    for (std::string const& policy : o.policies)
        for (style const how : o.styles)
        {
            rows.push_back(measure(o, policy, how));
            shown.add(rows.back());
            good = good && rows.back().good();
        }
    talk << '\n' << verdict(rows) << std::endl;

    if (!o.json.empty())
        write_json(json_on_output ? std::cout : json, o, rows);
    if (!o.html.empty())
        write_html(html, o, rows);
    for (std::ostream* out : {&std::cout, static_cast<std::ostream*>(&json),
             static_cast<std::ostream*>(&html)})
        if (!out->flush())
            throw std::runtime_error("cannot write all of the results");
    return good ? 0 : 1;
}

int serve(options const& o)
{
    polyloop::run_options how;
    if (!o.policies.empty())
        how.policy = polyloop::make_policy(o.policies.front());
    loop_shares shares;
    polyloop::run(
        [&] {
            asio::signal_set signals(
                polyloop::get_running_loop().get_executor(), SIGINT, SIGTERM);
            auto server = start_echo(
                {asio::ip::address_v4::loopback(), o.port}, o.styles.front(), shares);
            std::cout << "listening on " << server.endpoint() << std::endl;
            signals.async_wait(polyloop::use_fiber);
            server.close();
        },
        how);
    return 0;
}

/// Both processes have a descriptor for each connection.
void need_descriptors(options const& o)
{
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < o.connections + 64)
        throw bad_option("--connections \"" + std::to_string(o.connections) +
            "\": the system allows a process only " + std::to_string(limit.rlim_cur) +
            " open files (ulimit -n)");
}

int run_job(options const& o)
{
    switch (o.what)
    {
    case options::job::help:
        print_help(std::cout);
        return 0;
    case options::job::load:
        return run_load();
    case options::job::serve:
        need_descriptors(o);
        return serve(o);
    case options::job::compare:
        need_descriptors(o);
        return compare(o);
    }
    return 1;
}

} // namespace

int main(int argc, char** argv)
try
{
    return run_job(parse_options(argc, argv));
}
catch (bad_option const& e)
{
    std::cerr << "compare_policies: " << e.what() << '\n';
    return 2;
}
catch (boost::system::system_error const& e)
{
    std::cerr << "compare_policies: " << e.what() << '\n';
    return e.code() == polyloop::error::bad_config ? 2 : 1; // 2: POLYLOOP_POLICY's text
}
catch (std::exception const& e)
{
    std::cerr << "compare_policies: " << e.what() << '\n';
    return 1;
}
