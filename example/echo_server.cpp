// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// An echo server under any policy: --policy "fiber loops=4", or POLYLOOP_POLICY. SIGINT
// and SIGTERM end it: it accepts no more, and its connections have a second to end by
// themselves.

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

// tag::handler[]
void echo(polyloop::tcp::socket client)
{
    client.set_option(polyloop::tcp::no_delay(true));
    std::array<char, 16384> data;
    // Until the client closes: the server takes what that throws for the end it is.
    while (auto n = client.async_read_some(asio::buffer(data), polyloop::use_fiber))
        asio::async_write(client, asio::buffer(data, n), polyloop::use_fiber);
}
// end::handler[]

// tag::serve[]
void serve(polyloop::tcp::endpoint const& where)
{
    asio::signal_set signals(
        polyloop::get_running_loop().get_executor(), SIGINT, SIGTERM);
    polyloop::server server = polyloop::start_server(where, echo);
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
    std::string address, policy;
    int port = 0;
    po::options_description options("An echo server under any policy");
    auto add = options.add_options();
    add("help", "tell the options");
    add("port", po::value(&port)->default_value(0), "0 is any");
    add("address", po::value(&address)->default_value("127.0.0.1"), "where to listen");
    add("policy", po::value(&policy), "in place of POLYLOOP_POLICY: \"fiber loops=2\"");
    po::variables_map given;
    po::store(po::parse_command_line(argc, argv, options), given);
    po::notify(given);
    if (given.contains("help"))
    {
        std::cout << options;
        return 0;
    }

    boost::system::error_code ec;
    auto const ip = asio::ip::make_address(address, ec);
    if (ec)
        throw po::error("--address " + address + ": not an IP address");
    if (port < 0 || port > 65535)
        throw po::error("--port " + std::to_string(port) + ": must be from 0 to 65535");

    polyloop::run_options how;
    if (given.contains("policy"))
        how.policy = polyloop::make_policy(policy);
    polyloop::run([&] { serve({ip, static_cast<unsigned short>(port)}); }, how);
}
catch (std::exception const& e)
{
    std::cerr << "echo_server: " << e.what() << '\n';
    auto const* coded = dynamic_cast<boost::system::system_error const*>(&e);
    bool const refused = coded && coded->code() != polyloop::error::bad_config;
    return refused ? 1 : 2; // 2: an option or the policy's text is wrong
}
