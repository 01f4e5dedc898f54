// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// An echo server under any policy: --policy "fiber loops=4", or POLYLOOP_POLICY. SIGINT
// and SIGTERM end it: it accepts no more, and its connections have a second to end by
// themselves.

#include "command_line.hpp"

#include <polyloop.hpp>

#include <boost/asio/signal_set.hpp>
#include <boost/asio/write.hpp>
#include <boost/program_options.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <iostream>
#include <string>

namespace asio = boost::asio;
namespace po = boost::program_options;

void echo(polyloop::tcp::socket client)
{
    client.set_option(polyloop::tcp::no_delay(true));
    std::array<char, 16384> data;
    // Until the client closes: the server takes what that throws for the end it is.
    while (auto n = client.async_read_some(asio::buffer(data), polyloop::use_fiber))
        asio::async_write(client, asio::buffer(data, n), polyloop::use_fiber);
}

// tag::serve[]
void serve(polyloop::tcp::endpoint const& where)
{
    asio::signal_set signals(
        polyloop::get_running_loop().get_executor(), SIGINT, SIGTERM);
    polyloop::server server = // where it fails, the error names the address
        listening(where, [&] { return polyloop::start_server(where, echo); });
    std::cout << "listening on " << server.endpoint() << std::endl;

    signals.async_wait(polyloop::use_fiber);
    server.close();
    auto ended = polyloop::spawn([server]() mutable { server.wait_closed(); });
    ended.join_for(std::chrono::seconds(1)); // what is left then, the run cancels
    std::cout << "stopped" << std::endl;
}
// end::serve[]

int main(int argc, char** argv)
try
{
    po::options_description options("An echo server under any policy");
    auto add = options.add_options();
    add("help", "tell the options");
    add("port", po::value<std::string>()->default_value("0"), "0 is any");
    add("address", po::value<std::string>()->default_value("127.0.0.1"),
        "where to listen");
    add("policy", po::value<std::string>(),
        "in place of POLYLOOP_POLICY: \"fiber loops=2\"");
    po::variables_map const given = read_options(argc, argv, options);
    if (given.contains("help"))
    {
        std::cout << options;
        return 0;
    }

    auto const port = number<unsigned short>(given, "port", 0, 65535);
    boost::system::error_code ec;
    auto const ip = asio::ip::make_address(given["address"].as<std::string>(), ec);
    if (ec)
        throw bad_option(quoted("address", given["address"].as<std::string>()) +
            ": not an IP address");

    polyloop::run_options how;
    if (given.contains("policy"))
        how.policy = polyloop::make_policy(given["policy"].as<std::string>());
    polyloop::run([&] { serve({ip, port}); }, how);
}
catch (std::exception const& e)
{
    return failed("echo_server", e);
}
