// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include "options.hpp"

#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/policy/registry.hpp>

#include <boost/algorithm/string/trim_all.hpp>
#include <boost/program_options.hpp>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <type_traits>

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
Each row of the table is one policy with one style:
  loops       threads that run loops; under "shared" they all run the same one
  requests    messages that came back whole while it was measured
  errors      wrong bytes, connections refused or closed early, and answers that never
              came; the measuring process's own failure counts as one
  req/s       requests per second
  p50 p99 p99.9
              latencies in microseconds, from the first byte sent to the last received
  cpu us/req  processor time of the server's process, in microseconds per request
  spread      connections on the loop that got fewest over those on the loop that got
              most: 1 is even, 0 leaves a loop without any; 1 where there is one loop

The exit code is 0 if every row has requests and no errors, 1 if not, and 2 where the
options are wrong.
)";

std::string quoted(std::string const& name, std::string const& word)
{
    return "--" + name + " \"" + word + '"';
}

template <class T>
T number(po::variables_map const& given, std::string const& name, T least, T most)
{
    std::string const& word = given[name].as<std::string>();
    T n{};
    auto const [end, error] = std::from_chars(word.data(), word.data() + word.size(), n);
    bool const whole = error == std::errc() && end == word.data() + word.size();
    if (!whole || !(n >= least && n <= most))
    {
        std::ostringstream what;
        what << quoted(name, word) << ": must be a "
             << (std::is_integral_v<T> ? "whole number" : "number") << " from " << least
             << " to " << most;
        throw bad_option(what.str());
    }
    return n;
}

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

struct description
{
    description()
        : visible("Options")
        , hidden("Hidden")
    {
        auto text = [](char const* otherwise) {
            return po::value<std::string>()->default_value(otherwise);
        };
        unsigned const half = std::max(1U, polyloop::usable_processors() / 2);
        auto add = visible.add_options();
        add("help", "print this");
        add("connections", text("64"),
            "connections at once, each with one message on its way");
        add("size", text("256"), "bytes in a message");
        add("duration", text("1.5"), "seconds for which a row is measured");
        add("warmup", text("0.3"), "seconds of load before that");
        add("policy", po::value<std::vector<std::string>>(),
            "a further policy, as \"fiber loops=2 placement=least_tasks\"; may be "
            "repeated");
        add("style", po::value<std::string>(),
            "fiber, coroutine, or both (the default, but for --serve: fiber)");
        add("client-threads", text(std::to_string(half).c_str()),
            "threads of the process that makes the load");
        add("json", po::value<std::string>(),
            "write the table as JSON; - is the standard output, and all else then goes "
            "to "
            "the standard error");
        add("html", po::value<std::string>(), "write it as one HTML file with charts");
        add("serve",
            "only start the server, under --policy or POLYLOOP_POLICY, until SIGINT "
            "or SIGTERM");
        add("port", text("0"), "the port for --serve; 0 is any, and it prints which");
        hidden.add_options()("load", "drive a server as told on the standard input")(
            "word", po::value<std::vector<std::string>>());
    }

    std::string names() const
    {
        std::string all;
        for (auto const& o : visible.options())
            all += (all.empty() ? "--" : ", --") + o->long_name();
        return all;
    }

    po::options_description visible, hidden;
};

po::variables_map read(int argc, char const* const* argv, description const& known)
try
{
    po::options_description all;
    all.add(known.visible).add(known.hidden);
    po::positional_options_description words;
    words.add("word", -1);
    int const exact =
        po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    po::variables_map given;
    po::store(po::command_line_parser(argc, argv)
                  .options(all)
                  .positional(words)
                  .style(exact)
                  .run(),
        given);
    if (given.contains("word"))
        throw bad_option('"' + given["word"].as<std::vector<std::string>>().front() +
            "\": not an option; known are " + known.names());
    return given;
}
catch (po::unknown_option const& e)
{
    throw bad_option(
        '"' + e.get_option_name() + "\": no such option; known are " + known.names());
}
catch (po::error const& e)
{
    throw bad_option(e.what());
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
    po::variables_map const given = read(argc, argv, description());
    options o;
    if (given.contains("help") || given.contains("load"))
    {
        o.what = given.contains("help") ? options::job::help : options::job::load;
        return o;
    }
    bool const serve = given.contains("serve");
    if (serve)
    {
        o.what = options::job::serve;
        refuse_beside(given, "with --serve",
            {"connections", "size", "duration", "warmup", "client-threads", "json",
                "html"});
    }
    else
        refuse_beside(given, "without --serve", {"port"});

    o.connections = number(given, "connections", 1U, 20000U);
    o.client_threads = std::min(number(given, "client-threads", 1U, 256U), o.connections);
    o.size = number<std::size_t>(given, "size", 1, 1 << 24);
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
    return o;
}

void print_help(std::ostream& out)
{
    out << introduction << description().visible << explanation;
}
