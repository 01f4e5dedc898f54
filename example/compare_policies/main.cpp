// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// Runs one TCP server under every policy, drives it from a process of its own, and says
// which policy served the load best. --help tells the options.

#include "../command_line.hpp"
#include "handlers.hpp"
#include "load.hpp"
#include "measure.hpp"
#include "options.hpp"
#include "report.hpp"
#include "result_file.hpp"

#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/policy/registry.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/signal_set.hpp>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace asio = boost::asio;

namespace
{
int compare(options const& o)
{
    bool const output_is_taken = o.json == "-" || o.html == "-";
    std::ostream& talk = output_is_taken ? std::cerr : std::cout;
    // Before anything is measured: what cannot be written should be known at once.
    result_file json(o.json), html(o.html);

    std::vector<row> rows;
    for (std::string const& policy : o.policies)
        for (style const how : o.styles)
        {
            rows.emplace_back().policy = policy;
            rows.back().how = how;
        }
    interruption interrupted;
    table shown(talk, o);
    auto in_last_round = [&](std::size_t round) { return round == o.rounds; };
    for (std::size_t round = 1; round <= o.rounds && !interrupted.signal(); ++round)
    {
        if (in_last_round(round))
            shown.head();
        for (row& r : rows)
        {
            round_result const one = measure(o, r.policy, r.how, interrupted);
            if (interrupted.signal())
                break;
            r.add(one, o.duration / o.rounds);
            if (in_last_round(round))
                shown.add(r);
            else
                shown.progress(round, r);
        }
    }

    int const signal = interrupted.signal();
    std::erase_if(rows, [](row const& r) { return r.rps_rounds.empty(); });
    if (!rows.empty())
    {
        shown.rest(rows);
        talk << '\n' << verdict(o, rows) << std::endl;
        json.fill([&](std::ostream& out) { write_json(out, o, rows); });
        html.fill([&](std::ostream& out) { write_html(out, o, rows); });
    }
    if (!std::cout.flush())
        throw std::runtime_error("cannot write all of the results");
    if (signal != 0)
        return 128 + signal; // as a shell has it
    return std::ranges::all_of(rows, &row::good) ? 0 : 1;
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

/// As many as the system allows.
rlim_t raise_limit_of_descriptors()
{
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

/// Both processes have a descriptor for each connection, and a loop has some of its own.
void need_descriptors(options const& o)
{
    constexpr unsigned of_a_loop = 4, others = 64;
    unsigned loops = o.client_threads; // a loop each, in the other process
    for (std::string const& policy : o.policies)
        if (auto const at = policy.find("loops="); at != policy.npos)
            loops = std::max(loops, unsigned(std::stoi(policy.substr(at + 6))));
    loops = std::max(loops, polyloop::usable_processors());
    rlim_t const needed = o.connections + loops * of_a_loop + others;
    if (rlim_t const limit = raise_limit_of_descriptors(); limit < needed)
        throw bad_option("--connections \"" + std::to_string(o.connections) +
            "\": with " + std::to_string(loops) + " loops that takes " +
            std::to_string(needed) + " open files, and the system allows a process " +
            std::to_string(limit) + " (ulimit -n)");
}

/// Where the standard descriptors are closed, sockets would get their numbers.
void fill_standard_descriptors()
{
    for (int const fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (fcntl(fd, F_GETFD) == -1)
            open("/dev/null", O_RDWR); // gets the lowest number that is free
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
        raise_limit_of_descriptors();
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
    fill_standard_descriptors();
    return run_job(parse_options(argc, argv));
}
catch (std::exception const& e)
{
    return failed("compare_policies", e);
}
