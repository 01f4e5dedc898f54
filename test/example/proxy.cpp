// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// example/proxy between bare sockets.
#define BOOST_TEST_MODULE example_proxy

#include "support/clients.hpp"
#include "support/process.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <chrono>
#include <csignal>
#include <future>
#include <list>
#include <string>
#include <thread>
#include <utility>

#include <sys/socket.h>

namespace asio = boost::asio;
namespace data = boost::unit_test::data;
using asio::ip::tcp;
using boost::system::error_code;
using test::contains;
using test::process;
using test::raw_client;

namespace {

/// A host to which there is a proxy.
struct host
{
    asio::io_context io;
    tcp::acceptor acceptor{io, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
};

/// The proxy, and the host behind it.
struct proxied : host, test::serving
{
    explicit proxied(process::arguments args = {}) : serving("proxy", to_host(args))
    {
    }
    process::arguments to_host(process::arguments& args)
    {
        args.insert(args.end(),
                    {"--to", "localhost:" + std::to_string(acceptor.local_endpoint().port())});
        return args;
    }
    tcp::socket accept()
    {
        return acceptor.accept();
    }
};

std::string read_all(tcp::socket& s, error_code& ec)
{
    std::string text;
    asio::read(s, asio::dynamic_buffer(text), ec);
    return text;
}
std::string read(tcp::socket& s, std::size_t n)
{
    std::string text(n, '\0');
    asio::read(s, asio::buffer(text));
    return text;
}
void write(tcp::socket& s, std::string const& text)
{
    asio::write(s, asio::buffer(text));
}

std::string message(std::size_t size, unsigned seed)
{
    std::string bytes(size, '\0');
    for (char& c : bytes)
        c = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
    return bytes;
}

} // namespace

BOOST_DATA_TEST_CASE(bytes_go_both_ways_at_once, data::make(test::serving_policies), policy)
{
    proxied p({"--policy", policy});
    struct pair
    {
        explicit pair(proxied& by) : client(by.where), host(by.accept())
        {
        }
        raw_client client;
        tcp::socket host;
    };
    std::list<pair> pairs;
    for (int i = 0; i != 8; ++i)
        pairs.emplace_back(p);
    std::string const out = message(3000000, 1), back = message(2000000, 2);
    for (pair& each : pairs)
    {
        auto writes = std::async(std::launch::async, [&] { each.client.send(out); });
        auto answers = std::async(std::launch::async, [&] { write(each.host, back); });
        auto reads = std::async(std::launch::async, [&] { return read(each.host, out.size()); });
        BOOST_TEST((each.client.read(back.size()) == back));
        BOOST_TEST((reads.get() == out));
    }
    pairs.clear();
    p.stop();
}

BOOST_DATA_TEST_CASE(each_way_ends_apart, data::make(test::serving_policies), policy)
{
    proxied p({"--policy", policy});
    error_code ec;

    // The client has said all, and is answered for long after.
    raw_client client(p.where);
    tcp::socket host = p.accept();
    client.send("question");
    client.shutdown_send();
    BOOST_TEST(read_all(host, ec) == "question");
    BOOST_TEST(ec == asio::error::eof);
    std::string const back = message(1000000, 3);
    auto answers = std::async(std::launch::async, [&] {
        write(host, back);
        host.shutdown(tcp::socket::shutdown_send);
    });
    BOOST_TEST((client.read_all() == back));
    BOOST_TEST(client.end() == asio::error::eof);
    answers.get();

    // And the reverse.
    raw_client talker(p.where);
    tcp::socket silent = p.accept();
    write(silent, "greeting");
    silent.shutdown(tcp::socket::shutdown_send);
    BOOST_TEST(talker.read_all() == "greeting");
    BOOST_TEST(talker.end() == asio::error::eof);
    talker.send("on and on");
    BOOST_TEST(read(silent, 9) == "on and on");
    talker.shutdown_send();
    BOOST_TEST(read_all(silent, ec) == "");
    BOOST_TEST(ec == asio::error::eof);
    p.stop();
}

BOOST_AUTO_TEST_CASE(a_break_is_handed_on_as_a_break)
{
    proxied p;
    std::size_t const idle = test::open_descriptors(p.program);
    for (bool const by_client : {true, false})
    {
        raw_client client(p.where);
        tcp::socket host = p.accept();
        client.send("a");
        BOOST_TEST(read(host, 1) == "a");
        if (by_client)
        {
            error_code ec;
            client.reset();
            BOOST_TEST(read_all(host, ec) == "");
            BOOST_TEST(ec == asio::error::connection_reset);
        }
        else
        {
            host.set_option(tcp::socket::linger(true, 0));
            host.close();
            BOOST_TEST(client.read_all() == "");
            BOOST_TEST(client.end() == asio::error::connection_reset);
        }
    }
    // What the first one needed once, the loop keeps: its resolver's and its sockets' parts.
    BOOST_TEST(test::eventually([&] { return test::open_descriptors(p.program) <= idle + 2; }));
    p.stop();
}

BOOST_AUTO_TEST_CASE(a_host_that_refuses_is_told)
{
    asio::io_context io;
    tcp::acceptor closed(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    std::string const to = "127.0.0.1:" + std::to_string(closed.local_endpoint().port());
    closed.close();
    // Why the second cannot be found depends on where the test runs.
    for (auto const& [name, why] : {std::pair<std::string, std::string>{to, "Connection refused"},
                                    {"no.such.host.invalid:80", ""}})
    {
        process proxy(test::example("proxy"), {"--to", name});
        raw_client client(test::listening(proxy));
        BOOST_TEST(client.read_all() == "");
        BOOST_TEST(client.end() == asio::error::connection_reset);
        std::string const said = proxy.wait_for_error_line("cannot connect to " + name + ": ");
        BOOST_TEST(contains(said, why), said);
    }
}

BOOST_AUTO_TEST_CASE(connecting_has_a_deadline)
{
    // A backlog that is full: the system lets further clients wait.
    asio::io_context io;
    tcp::acceptor full(io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    full.listen(0);
    std::list<tcp::socket> waiting;
    for (int i = 0; i != 4; ++i)
    {
        tcp::socket& s = waiting.emplace_back(io, tcp::v4());
        s.native_non_blocking(true);
        auto const at = full.local_endpoint();
        ::connect(s.native_handle(), at.data(), static_cast<::socklen_t>(at.size()));
    }
    std::string const to = "127.0.0.1:" + std::to_string(full.local_endpoint().port());
    process proxy(test::example("proxy"), {"--to", to, "--limit-connect", "0.3"});
    raw_client client(test::listening(proxy));
    BOOST_TEST(client.read_all() == "");
    BOOST_TEST(client.end() == asio::error::connection_reset);
    proxy.wait_for_error_line("cannot connect to " + to + ": Connection timed out");
}

BOOST_AUTO_TEST_CASE(who_says_nothing_for_long_is_cut_off)
{
    proxied p({"--limit-idle", "2"});
    raw_client silent(p.where);
    tcp::socket host = p.accept();
    raw_client listener(p.where);
    tcp::socket talker = p.accept();
    silent.send("a");
    BOOST_TEST(read(host, 1) == "a");
    auto const ended = std::async(std::launch::async, [&] {
        return silent.read_all() + (silent.end() == asio::error::connection_reset ? "" : "?");
    });
    // A byte now and then in one direction keeps both, for longer than the limit.
    auto const begin = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - begin < std::chrono::seconds(4))
    {
        write(talker, "b");
        BOOST_TEST(listener.read(1) == "b");
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    BOOST_TEST((ended.wait_for(std::chrono::seconds(0)) == std::future_status::ready));
    error_code ec;
    BOOST_TEST(read_all(host, ec) == "");
    BOOST_TEST(ec == asio::error::connection_reset);
    listener.shutdown_send();
    talker.close();
    p.stop();
}

BOOST_AUTO_TEST_CASE(a_stop_cuts_off_what_does_not_end)
{
    proxied p({"--limit-stop", "0.2"});
    raw_client client(p.where);
    tcp::socket host = p.accept();
    client.send("a");
    BOOST_TEST(read(host, 1) == "a");
    p.program.signal(SIGTERM);
    p.program.wait_for_line("stopped, 1 connections cut off");
    BOOST_TEST(p.program.wait() == 0);
    BOOST_TEST(p.program.err() == "");
    BOOST_TEST(client.read_all() == "");
}

BOOST_AUTO_TEST_CASE(bad_options_are_named)
{
    for (auto const& [args, said] : {
             std::pair<process::arguments, std::string>{{}, "--to is missing"},
             {{"--to", "host"}, "--to \"host\": must be host:port"},
             {{"--to", ":80"}, "--to \":80\""},
             {{"--to", "host:"}, "--to \"host:\""},
             {{"--to", "a:1", "--limit-idle", "x"}, "--limit-idle \"x\""},
             {{"--to", "a:1", "--limit-connect", "-1"}, "--limit-connect \"-1\""},
         })
    {
        process p(test::example("proxy"), args);
        BOOST_TEST(p.wait() == 2);
        BOOST_TEST(contains(p.err(), said), p.err());
        BOOST_TEST(p.out() == "");
    }
}
