// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include "options.hpp"

#include "../command_line.hpp"

#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/policy/registry.hpp>

#include <boost/algorithm/string/trim_all.hpp>
#include <boost/program_options.hpp>

#include <algorithm>
#include <filesystem>
#include <ostream>
#include <string_view>
#include <system_error>

namespace po = boost::program_options;

namespace
{
char const introduction[] =
    R"(Usage: compare_policies [options]

Runs one echo server under every policy, its handler written as a fiber and as a
coroutine, drives it over loopback from a process of its own, checks every byte that
comes back, and says which policy served this load best.

)";

char const explanation[] = R"(
All rows are measured in one round, then all again, so that a slow minute of the machine
is everybody's. Each row of the table is one policy with one style:
  loops       threads that run loops; under "shared" they all run the same one
  requests    messages that came back whole while it was measured
  errors      wrong bytes, connections refused or closed early, and answers that did not
              come within five seconds of the end; the measuring process's own failure
              counts as one
  req/s       requests per second, the mean of the rounds
  p50 p99 p99.9 max
              latencies in microseconds, from the first byte sent to the last received,
              of all requests that were on their way while it was measured: those
              that were answered after the end are in
  cpu us/req  processor time of the server's process, in microseconds per request
  spread      connections on the loop that got fewest over those on the loop that got
              most, over the best that this can be where they do not divide evenly: 1 is
              even, 0 leaves a loop without any. With fewer connections than loops, one
              over the most. Where there is one loop, - in the table and 1 in the JSON

One policy served the load better than another if Welch's t-test of their rounds says so
with 1 % to err. Two rounds hardly ever suffice for that.

--json and --html write FILE.tmp and rename it at the end. SIGINT and SIGTERM end the
measurement: what was measured until then is printed and written.

The exit code is 0 if every row has requests and no errors, 1 if not, 2 where the options
are wrong, and 130 or 143 after SIGINT or SIGTERM.
)";

std::vector<style> styles(std::string const& word)
{
    if (word == "both")
        return {style::fiber, style::coroutine};
    for (style const s : {style::fiber, style::coroutine})
        if (word == to_string(s))
            return {s};
    throw bad_option(
        quoted("style", word) + ": no such style; known are fiber, coroutine, both");
}

std::string checked_policy(std::string const& word)
{
    try
    {
        (void)polyloop::make_policy(word);
    }
    catch (boost::system::system_error const& e)
    {
        throw bad_option(quoted("policy", word) + ": " + e.what());
    }
    return boost::algorithm::trim_all_copy(word);
}

/// Each policy with one loop and with one for each processor, and what the user adds.
std::vector<std::string> policies_to_compare(std::vector<std::string> const& further)
{
    std::vector<std::string> all;
    auto add = [&](std::string const& text) {
        if (std::find(all.begin(), all.end(), text) == all.end())
            all.push_back(text);
    };
    add("default");
    for (std::string const name : {"strand", "fiber", "shared"})
        for (unsigned const loops : {1U, polyloop::usable_processors()})
            add(name + " loops=" + std::to_string(loops));
    for (std::string const& text : further)
        add(text);
    return all;
}

po::options_description known_options()
{
    auto text = [](char const* otherwise) {
        return po::value<std::string>()->default_value(otherwise);
    };
    unsigned const half = std::max(1U, polyloop::usable_processors() / 2);
    po::options_description known("Options");
    auto add = known.add_options();
    add("help", "print this");
    add("connections", text("64"),
        "connections at once, each with one message on its way");
    add("size", text("256"), "bytes in a message");
    add("duration", text("1.5"),
        "seconds for which a row is measured, in all rounds together");
    add("rounds", text("5"), "how many times all rows are measured, one after the other");
    add("warmup", text("0.1"), "seconds of load before each measurement");
    add("policy", po::value<std::vector<std::string>>(),
        "a further policy, as \"fiber loops=2 placement=least_tasks\"; may be repeated");
    add("style", po::value<std::string>(),
        "fiber, coroutine, or both (the default, but for --serve: fiber)");
    add("client-threads", text(std::to_string(half).c_str()),
        "threads of the process that makes the load");
    add("json", po::value<std::string>(),
        "write the table as JSON; - is the standard output, and all else then goes "
        "to the standard error");
    add("html", po::value<std::string>(),
        "write it as one HTML file with charts; - as for --json");
    add("serve",
        "only start the server, under --policy or POLYLOOP_POLICY, until SIGINT or "
        "SIGTERM");
    add("port", text("0"), "the port for --serve; 0 is any, and it prints which");
    return known;
}

bool same_place(std::string const& a, std::string const& b)
{
    namespace fs = std::filesystem;
    std::error_code ignored; // of names that are found to be no good when they are opened
    auto const place = [&](std::string const& name) {
        return fs::weakly_canonical(fs::absolute(name, ignored), ignored);
    };
    return a == b || (!b.empty() && place(a) == place(b));
}

void refuse_beside(po::variables_map const& given, char const* what,
    std::initializer_list<std::string> others)
{
    for (std::string const& name : others)
        if (given.contains(name) && !given[name].defaulted())
            throw bad_option("--" + name + ": of no use " + what);
}

} // namespace

std::string_view to_string(style s)
{
    return s == style::fiber ? "fiber" : "coroutine";
}

options parse_options(int argc, char const* const* argv)
{
    options o;
    if (argc == 2 && argv[1] == std::string_view("--load"))
    {
        o.what = options::job::load;
        return o;
    }
    po::variables_map const given = read_options(argc, argv, known_options());
    if (given.contains("help"))
    {
        o.what = options::job::help;
        return o;
    }
    bool const serve = given.contains("serve");
    if (serve)
    {
        o.what = options::job::serve;
        refuse_beside(given, "with --serve",
            {"connections", "size", "duration", "rounds", "warmup", "client-threads",
                "json", "html"});
    }
    else
        refuse_beside(given, "without --serve", {"port"});

    o.connections = number(given, "connections", 1U, 20000U);
    o.client_threads = std::min(number(given, "client-threads", 1U, 256U), o.connections);
    o.size = number<std::size_t>(given, "size", 1, 1 << 24);
    // Each keeps what it sends and what comes back.
    if (2 * o.size * o.connections > std::size_t(1) << 30)
        throw bad_option(quoted("size", given["size"].as<std::string>()) + ": with " +
            std::to_string(o.connections) +
            " connections the load would keep more than 1024 MiB of messages");
    o.rounds = number(given, "rounds", 1U, 100U);
    o.duration = seconds(number(given, "duration", 0.01, 3600.0));
    o.warmup = seconds(number(given, "warmup", 0.0, 3600.0));
    o.port = number<std::uint16_t>(given, "port", 0, 65535);

    if (given.contains("policy"))
        for (std::string const& word : given["policy"].as<std::vector<std::string>>())
            o.policies.push_back(checked_policy(word));
    if (!serve)
        o.policies = policies_to_compare(o.policies);
    else if (o.policies.size() > 1)
        throw bad_option(quoted("policy", o.policies[1]) + ": --serve takes one policy");

    std::string const all_styles = serve ? "fiber" : "both";
    o.styles =
        styles(given.contains("style") ? given["style"].as<std::string>() : all_styles);
    if (serve && o.styles.size() > 1)
        throw bad_option(
            "--style \"both\": --serve takes one style; known are fiber, coroutine");

    if (given.contains("json"))
        o.json = given["json"].as<std::string>();
    if (given.contains("html"))
        o.html = given["html"].as<std::string>();
    if (!o.json.empty() && same_place(o.json, o.html))
        throw bad_option(quoted("html", o.html) + ": --json writes there");
    return o;
}

void print_help(std::ostream& out)
{
    out << introduction << known_options() << explanation;
}
