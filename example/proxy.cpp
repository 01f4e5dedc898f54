// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// A TCP proxy: what a client sends goes to a host, and what that answers comes back. Each
// way has a fiber and an end of its own, so that one may go on when the other is over.

#include "server_program.hpp"

#include <polyloop.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/socket_base.hpp>
#include <boost/asio/write.hpp>
#include <boost/program_options.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace asio = boost::asio;
namespace po = boost::program_options;
using asio::ip::tcp;
using boost::system::error_code;
using time_point = std::chrono::steady_clock::time_point;

namespace
{
struct target
{
    std::string host, service;
    std::chrono::nanoseconds connect_limit, idle_limit;

    std::string name() const { return host + ':' + service; }
};

// tag::proxy[]
/// One way, to its end; false where that was none that the other side may be told of.
bool pump(
    polyloop::tcp_stream& from, polyloop::tcp_stream& to, std::atomic<time_point>& last)
{
    std::array<char, 16384> data;
    error_code ec;
    while (auto const n = from.read_some(asio::buffer(data), ec))
    {
        last = polyloop::get_running_loop().time();
        asio::write(to, asio::buffer(data, n), ec);
        if (ec)
            return false;
    }
    if (ec != asio::error::eof)
        return false;
    to.shutdown(asio::socket_base::shutdown_send, ec);
    return !ec;
}

/// A break is handed on as a break: a plain end would say that this was all.
void reset(polyloop::tcp_stream& s)
{
    error_code ignored;
    s.set_option(asio::socket_base::linger(true, 0), ignored);
    s.close();
}

void serve(polyloop::tcp_stream client, target const& to)
{
    polyloop::tcp_stream host;
    error_code ec;
    host.expires_after(to.connect_limit);
    host.connect(to.host, to.service, ec);
    host.expires_never();
    if (ec)
    {
        std::cerr << "cannot connect to " + to.name() + ": " + ec.message() + '\n';
        reset(client);
        return;
    }
    client.set_option(tcp::no_delay(true));
    host.set_option(tcp::no_delay(true));

    auto& loop = polyloop::get_running_loop();
    std::atomic<time_point> last = loop.time();
    polyloop::task_group pumps;
    std::vector<polyloop::task<bool>> ways{
        pumps.spawn(loop, [&] { return pump(client, host, last); }),
        pumps.spawn(loop, [&] { return pump(host, client, last); })};
    bool good = true;
    while (good && !ways.empty())
    {
        auto [done, pending] = polyloop::wait(
            ways, last.load() + to.idle_limit, polyloop::return_when::first_completed);
        for (auto& way : done)
            good = way.join() && good;
        ways = std::move(pending);
        if (done.empty() && loop.time() - last.load() >= to.idle_limit)
            good = false;
    }
    if (!good)
    {
        pumps.cancel();
        pumps.join();
        reset(client);
        reset(host);
    }
}
// end::proxy[]

target parse(po::variables_map const& given)
{
    if (!given.contains("to"))
        throw bad_option("--to is missing: name a host and its port, host:port");
    std::string const& word = given["to"].as<std::string>();
    auto const colon = word.rfind(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == word.size())
        throw bad_option(quoted("to", word) + ": must be host:port");
    std::string host = word.substr(0, colon);
    if (host.front() == '[' && host.back() == ']') // an IPv6 address
        host = host.substr(1, host.size() - 2);
    return {
        .host = host,
        .service = word.substr(colon + 1),
        .connect_limit = seconds(given, "limit-connect"),
        .idle_limit = seconds(given, "limit-idle"),
    };
}
} // namespace

int main(int argc, char** argv)
try
{
    po::options_description options("A TCP proxy under any policy");
    add_server_options(options);
    auto add = options.add_options();
    add("to", po::value<std::string>(), "host:port, where connections are handed on to");
    add("limit-connect", po::value<std::string>()->default_value("10"),
        "seconds for finding the host and connecting to it");
    add("limit-idle", po::value<std::string>()->default_value("300"),
        "seconds without a byte in either direction, after which both are cut off");
    auto const given = read_options(argc, argv, options);
    if (given.contains("help"))
    {
        std::cout << options;
        return 0;
    }

    auto const where = where_to_listen(given);
    auto const limit = seconds(given, "limit-stop");
    target const to = parse(given);
    auto const handle = [&](polyloop::tcp_stream client) {
        serve(std::move(client), to);
    };
    polyloop::run(
        [&] { serve_until_stopped(where, handle, how_to_serve(given), limit, [] {}); },
        how_to_run(given));
}
catch (std::exception const& e)
{
    return failed("proxy", e);
}
