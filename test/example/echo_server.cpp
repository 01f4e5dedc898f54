// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// example/echo_server over real sockets.
#define BOOST_TEST_MODULE example_echo_server

#include "support/policies.hpp"
#include "support/process.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <csignal>
#include <future>
#include <string>
#include <vector>

namespace asio = boost::asio;
namespace data = boost::unit_test::data;
using asio::ip::tcp;
using test::process;

namespace
{
std::string const program = std::string(POLYLOOP_EXAMPLE_DIR) + "/echo_server";

bool contains(std::string const& text, std::string const& part)
{
    return text.find(part) != text.npos;
}

tcp::endpoint listening(process& server, std::string const& address = "127.0.0.1")
{
    std::string const line = server.wait_for_line("listening on " + address + ':');
    auto const port = std::stoi(line.substr(line.rfind(':') + 1));
    return {asio::ip::make_address(address), static_cast<unsigned short>(port)};
}

std::string message(std::size_t size, unsigned seed)
{
    std::string bytes(size, '\0');
    for (char& c : bytes)
        c = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
    return bytes;
}

/// Whether what is sent comes back. Sends from a second thread, since a long message does
/// not fit into the buffers on its way.
bool echoes(tcp::socket& client, std::string const& sent)
{
    auto sending =
        std::async(std::launch::async, [&] { asio::write(client, asio::buffer(sent)); });
    std::string received(sent.size(), '\0');
    asio::read(client, asio::buffer(received));
    sending.get();
    return received == sent;
}

void check_it_echoes(tcp::endpoint const& where)
{
    asio::io_context io;
    std::vector<tcp::socket> clients;
    for (int i = 0; i != 8; ++i)
    {
        clients.emplace_back(io).connect(where);
        clients.back().set_option(tcp::no_delay(true));
    }
    unsigned seed = 1;
    for (std::size_t const size : {1UL, 100UL, 16384UL, 16385UL, 400000UL})
        for (tcp::socket& c : clients)
            BOOST_TEST(echoes(c, message(size, ++seed)));
}

std::string const policies[] = {"default", test::name_of_this_kind, "strand loops=1",
    "strand loops=2", "fiber", "fiber loops=2 placement=least_tasks", "fiber loops=3 placement=two_choices",
    "shared loops=1", "shared loops=2"};

std::string const some_policies[] = {
    "default", "strand loops=2", "fiber loops=2", "shared loops=2"};

struct bad_text
{
    std::string text, word, known;

    friend std::ostream& operator<<(std::ostream& out, bad_text const& b)
    {
        return out << b.text;
    }
};

bad_text const bad_texts[] = {
    {"fibre", "\"fibre\"", "fiber"},
    {"fiber loops=-1", "\"loops=-1\"", "from 1 to"},
    {"fiber loops=two", "\"loops=two\"", "from 1 to"},
    {"fiber loop=2", "\"loop=2\"", "loops"},
    {"strand placement=best", "\"placement=best\"", "least_tasks"},
    {"default loops=2", "\"loops=2\"", "no options"},
};
} // namespace

BOOST_DATA_TEST_CASE(serves_under_the_policy_of_its_option, data::make(policies), policy)
{
    process server(program, {"--port", "0", "--policy", policy});
    check_it_echoes(listening(server));
    server.signal(SIGTERM);
    BOOST_TEST(server.wait() == 0);
    BOOST_TEST(server.err() == "");
}

BOOST_DATA_TEST_CASE(
    serves_under_the_policy_of_the_environment, data::make(policies), policy)
{
    process server(program, {"--port", "0"}, {{"POLYLOOP_POLICY", policy}});
    check_it_echoes(listening(server));
    server.signal(SIGINT);
    BOOST_TEST(server.wait() == 0);
    BOOST_TEST(server.err() == "");
}

BOOST_AUTO_TEST_CASE(the_option_wins_over_the_environment)
{
    process server(
        program, {"--policy", "fiber loops=2"}, {{"POLYLOOP_POLICY", "fibre"}});
    check_it_echoes(listening(server));
}

BOOST_DATA_TEST_CASE(a_bad_policy_text_is_named, data::make(bad_texts), bad)
{
    auto check = [&](process& server) {
        BOOST_TEST(server.wait() == 2);
        BOOST_TEST(server.out() == "");
        BOOST_TEST_CONTEXT(server.err())
        {
            BOOST_TEST(contains(server.err(), bad.word));
            BOOST_TEST(contains(server.err(), bad.known));
        }
    };
    process by_option(program, {"--policy", bad.text});
    check(by_option);
    process by_environment(program, {}, {{"POLYLOOP_POLICY", bad.text}});
    check(by_environment);
    BOOST_TEST(contains(by_environment.err(), "POLYLOOP_POLICY"));
}

BOOST_AUTO_TEST_CASE(a_bad_option_is_named)
{
    for (std::vector<std::string> const& arguments : {
             std::vector<std::string>{"--prot", "0"},
             {"--port", "seven"},
             {"--port", "65536"},
             {"--port", "-1"},
             {"--address", "nowhere"},
             {"--por", "0"},
             {"stray"},
         })
    {
        process server(program, arguments);
        BOOST_TEST(server.wait() == 2);
        bool const known = arguments[0] == "--port" || arguments[0] == "--address";
        std::string const word = known ? arguments[1] : arguments[0];
        BOOST_TEST(contains(server.err(), '"' + word + '"'), server.err());
        if (arguments[0] == "--port")
            BOOST_TEST(contains(server.err(), "from 0 to 65535"), server.err());
        else if (!known)
            BOOST_TEST(contains(server.err(), "--port"), server.err());
    }
}

BOOST_AUTO_TEST_CASE(help_tells_the_options)
{
    process p(program, {"--help"});
    BOOST_TEST(p.wait() == 0);
    for (char const* const option : {"--port", "--policy", "--address", "--help"})
        BOOST_TEST(contains(p.out(), option));
}

BOOST_AUTO_TEST_CASE(listens_where_it_is_told)
{
    process first(program, {"--address", "127.0.0.2"});
    tcp::endpoint const where = listening(first, "127.0.0.2");
    check_it_echoes(where);

    // The same once more: the system's error, and not one of the options.
    process second(
        program, {"--address", "127.0.0.2", "--port", std::to_string(where.port())});
    BOOST_TEST(second.wait() == 1);
    BOOST_TEST(second.err() ==
        "echo_server: cannot listen on 127.0.0.2:" + std::to_string(where.port()) +
            ": Address already in use\n");
}

BOOST_DATA_TEST_CASE(a_stop_is_graceful, data::make(some_policies), policy)
{
    process server(program, {"--policy", policy});
    tcp::endpoint const where = listening(server);
    asio::io_context io;
    tcp::socket busy(io), idle(io);
    busy.connect(where);
    idle.connect(where);
    BOOST_TEST(echoes(busy, "before"));
    BOOST_TEST(echoes(idle, "before"));

    server.signal(SIGTERM);
    // Refused connections show that it has stopped accepting; until then they may be
    // taken.
    for (boost::system::error_code ec; !ec;)
    {
        tcp::socket late(io);
        late.connect(where, ec);
    }
    BOOST_TEST(echoes(busy, "after"));
    busy.close();

    // The idle one is cut off in the end.
    BOOST_TEST(server.wait() == 0);
    boost::system::error_code ec;
    std::array<char, 1> byte;
    BOOST_TEST(idle.read_some(asio::buffer(byte), ec) == 0U);
    BOOST_TEST(ec.failed());
    BOOST_TEST(contains(server.out(), "stopped"));
    BOOST_TEST(server.err() == "");
}
