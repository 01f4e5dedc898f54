// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_SERVER_PROGRAM_HPP
#define POLYLOOP_EXAMPLE_SERVER_PROGRAM_HPP

// What servers of this directory have in common: where they listen, under which policy
// they run, and how they end.

#include "command_line.hpp"

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/policy/registry.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/server/server.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/program_options.hpp>

#include <chrono>
#include <csignal>
#include <iostream>
#include <string>
#include <utility>

inline void add_server_options(boost::program_options::options_description& options)
{
    namespace po = boost::program_options;
    auto add = options.add_options();
    auto text = [] { return po::value<std::string>(); };
    add("help", "tell the options");
    add("port", text()->default_value("0"), "0 is any");
    add("address", text()->default_value("127.0.0.1"), "where to listen");
    add("policy", text(), "in place of POLYLOOP_POLICY: \"fiber loops=2\"");
    add("limit-connections", text()->default_value("0"),
        "at once; further clients wait; 0 is no limit");
    add("limit-stop", text()->default_value("5"),
        "seconds that a stop leaves to what is under way");
}

inline polyloop::tcp::endpoint where_to_listen(
    boost::program_options::variables_map const& given)
{
    auto const port = number<unsigned short>(given, "port", 0, 65535);
    std::string const& address = given["address"].as<std::string>();
    boost::system::error_code ec;
    auto const ip = boost::asio::ip::make_address(address, ec);
    if (ec)
        throw bad_option(quoted("address", address) + ": not an IP address");
    return {ip, port};
}

inline polyloop::run_options how_to_run(
    boost::program_options::variables_map const& given)
{
    polyloop::run_options how;
    if (given.contains("policy"))
        how.policy = polyloop::make_policy(given["policy"].as<std::string>());
    return how;
}

inline polyloop::server_options how_to_serve(
    boost::program_options::variables_map const& given)
{
    polyloop::server_options how;
    how.max_connections =
        number<std::size_t>(given, "limit-connections", 0, 1'000'000'000);
    return how;
}

/// Seconds, with decimals.
inline std::chrono::nanoseconds seconds(
    boost::program_options::variables_map const& given, std::string const& name)
{
    std::chrono::duration<double> const n(number<double>(given, name, 0, 1e6));
    return std::chrono::duration_cast<std::chrono::nanoseconds>(n);
}

/// Serves until SIGINT or SIGTERM, then accepts no more, calls `at_stop`, and leaves the
/// connections that are under way `limit` to end by themselves. What is left then, the
/// run cancels.
template <class Handler, class AtStop>
void serve_until_stopped(polyloop::tcp::endpoint const& where, Handler handler,
    polyloop::server_options const& how, std::chrono::nanoseconds limit, AtStop at_stop)
{
    boost::asio::signal_set signals(
        polyloop::get_running_loop().get_executor(), SIGINT, SIGTERM);
    polyloop::server server = listening(
        where, [&] { return polyloop::start_server(where, std::move(handler), how); });
    std::cout << "listening on " << server.endpoint() << std::endl;

    signals.async_wait(polyloop::use_fiber);
    server.close();
    at_stop();
    std::cout << "stopping, " << server.connections() << " connections" << std::endl;
    auto ended = polyloop::spawn([server]() mutable { server.wait_closed(); });
    if (ended.join_for(limit))
        std::cout << "stopped" << std::endl;
    else
        std::cout << "stopped, " << server.connections() << " connections cut off"
                  << std::endl;
}

#endif
