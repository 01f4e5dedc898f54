// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// example/chat and members by bare sockets.
#define BOOST_TEST_MODULE example_chat

#include "support/clients.hpp"
#include "support/process.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <memory>
#include <string>
#include <vector>

namespace asio = boost::asio;
namespace data = boost::unit_test::data;
using test::contains;
using test::process;
using test::raw_client;

namespace {

struct chat : test::serving
{
    explicit chat(process::arguments const& args = {}) : serving("chat", args)
    {
    }
};

std::string const question = "your name?\n";

/// One who has read that it has joined.
struct member : raw_client
{
    member(chat& c, std::string const& name, int receive_buffer = 0)
        : raw_client(c.where, receive_buffer)
    {
        BOOST_TEST(read_line() == question);
        send(name + "\r\n");
        BOOST_TEST(read_line() == "* " + name + " has joined\n");
    }
};

} // namespace

BOOST_DATA_TEST_CASE(everybody_reads_everything_in_the_same_order, data::make(test::serving_policies), policy)
{
    chat c({"--policy", policy});
    std::vector<std::unique_ptr<member>> all;
    std::vector<std::string> read(8);
    for (std::size_t i = 0; i != read.size(); ++i)
        all.push_back(std::make_unique<member>(c, "m" + std::to_string(i)));
    std::size_t const lines = 50;
    for (std::size_t n = 0; n != lines; ++n)
        for (std::size_t i = 0; i != read.size(); ++i)
            all[i]->send("line " + std::to_string(n) + '\n');
    for (std::size_t i = 0; i != read.size(); ++i)
    {
        for (std::size_t n = i + 1; n != read.size(); ++n) // those who came later
            BOOST_TEST(all[i]->read_line() == "* m" + std::to_string(n) + " has joined\n");
        for (std::size_t n = 0; n != lines * read.size(); ++n)
            read[i] += all[i]->read_line();
        BOOST_TEST((read[i] == read[0]));
    }
    for (std::size_t i = 0; i != read.size(); ++i) // and each one's own in his order
        for (std::size_t n = 0, at = 0; n != lines; ++n)
        {
            at = read[0].find("m" + std::to_string(i) + ": line " + std::to_string(n) + '\n', at);
            BOOST_TEST_REQUIRE(at != std::string::npos);
        }
    for (auto const& m : all)
        m->shutdown_send();
    for (auto const& m : all)
        m->read_all();
    c.stop();
}

BOOST_AUTO_TEST_CASE(joining_and_leaving_is_told)
{
    chat c;
    member ann(c, "ann");
    {
        member bob(c, "bob");
        BOOST_TEST(ann.read_line() == "* bob has joined\n");
        bob.send("hello\n");
        BOOST_TEST(ann.read_line() == "bob: hello\n");
        BOOST_TEST(bob.read_line() == "bob: hello\n");
    }
    BOOST_TEST(ann.read_line() == "* bob has left\n");
    member again(c, "bob"); // the name is free
    BOOST_TEST(ann.read_line() == "* bob has joined\n");
    again.reset();
    BOOST_TEST(ann.read_line() == "* bob has left\n");
    ann.send("I go\nnow");
    ann.shutdown_send();
    BOOST_TEST(ann.read_all() == "ann: I go\n"); // half a line is none
    c.stop();
}

BOOST_AUTO_TEST_CASE(names_are_single_and_of_letters)
{
    chat c;
    member ann(c, "ann");
    raw_client late(c.where);
    BOOST_TEST(late.read_line() == question);
    for (std::string const bad : {"", "a b", "a:", "* ann has left", "a-name-that-is-too-long"})
    {
        late.send(bad + '\n');
        BOOST_TEST(late.read_line() == "* 1 to 20 letters, digits, _ or -; your name?\n");
    }
    late.send("ann\n");
    BOOST_TEST(late.read_line() == "* ann is taken; your name?\n");
    // An empty line is none, and control characters are not passed on.
    late.send("ben\n\n\x1b[2Jred\n");
    BOOST_TEST(late.read_line() == "* ben has joined\n");
    BOOST_TEST(ann.read_line() == "* ben has joined\n");
    BOOST_TEST(ann.read_line() == "ben: [2Jred\n");
    c.stop();
}

BOOST_AUTO_TEST_CASE(a_line_has_a_limit)
{
    chat c({"--limit-line", "10"});
    member ann(c, "ann"), bob(c, "bob");
    BOOST_TEST(ann.read_line() == "* bob has joined\n");
    bob.send("0123456789\n");
    BOOST_TEST(ann.read_line() == "bob: 0123456789\n");
    BOOST_TEST(bob.read_line() == "bob: 0123456789\n");
    bob.send("0123456789+\n");
    BOOST_TEST(bob.read_line() == "* a line has at most 10 bytes\n");
    BOOST_TEST(ann.read_line() == "* bob has left\n");
    BOOST_TEST(bob.read_all() == "");
    c.stop();
}

BOOST_AUTO_TEST_CASE(who_says_no_name_is_left)
{
    chat c({"--limit-name", "0.2"});
    raw_client silent(c.where);
    BOOST_TEST(silent.read_all() == question);
    BOOST_TEST(silent.end() == asio::error::eof);
    c.stop();
}

BOOST_DATA_TEST_CASE(a_slow_member_is_dropped_and_stops_nobody, data::make(test::serving_policies), policy)
{
    chat c({"--policy", policy, "--limit-waiting", "5", "--limit-line", "100000", "--limit-write",
            "30"});
    member slow(c, "slow", 4096);
    member ann(c, "ann");
    std::string const text(60000, 'x');
    // Each line comes back to her before she says the next.
    int lines = 0;
    for (std::string line; line != "* slow was dropped, being too slow\n";)
    {
        ann.send(text + '\n');
        line = ann.read_line();
        if (line != "ann: " + text + '\n')
        {
            BOOST_TEST(line == "* slow was dropped, being too slow\n");
            break;
        }
        BOOST_TEST_REQUIRE(++lines != 10000);
    }
    BOOST_TEST(lines >= 5);
    // Now it reads: what it had missed, as far as it was kept, and why there is no more.
    std::string const late = slow.read_all();
    BOOST_TEST(late.ends_with("* you were dropped, being too slow\n"));
    BOOST_TEST(test::count(late, "ann: ") <= static_cast<unsigned>(lines));
    BOOST_TEST(test::count(late, "ann: ") >= 5u);
    member again(c, "slow");
    c.stop();
}

BOOST_AUTO_TEST_CASE(many_lines_at_once_drop_nobody_who_reads)
{
    chat c({"--policy", "default", "--limit-waiting", "10"});
    member ann(c, "ann"), bob(c, "bob");
    BOOST_TEST(ann.read_line() == "* bob has joined\n");
    std::string lines, expected;
    for (int n = 0; n != 500; ++n)
    {
        lines += std::to_string(n) + '\n';
        expected += "ann: " + std::to_string(n) + '\n';
    }
    ann.send(lines);
    BOOST_TEST((bob.read(expected.size()) == expected));
    BOOST_TEST((ann.read(expected.size()) == expected));
    c.stop();
}

BOOST_AUTO_TEST_CASE(who_reads_nothing_at_all_is_cut_off)
{
    chat c({"--limit-waiting", "2", "--limit-line", "100000", "--limit-write", "0.2"});
    member ann(c, "ann");
    std::size_t const without = test::open_descriptors(c.program);
    member slow(c, "slow", 4096);
    BOOST_TEST(ann.read_line() == "* slow has joined\n");
    std::string const text(60000, 'x');
    for (int lines = 0; lines != 10000; ++lines)
    {
        ann.send(text + '\n');
        std::string const line = ann.read_line();
        if (line.starts_with("* slow"))
            break; // dropped, or left when a line took too long
    }
    BOOST_TEST(test::eventually([&] { return test::open_descriptors(c.program) == without; }));
    BOOST_TEST(!slow.read_all().ends_with("being too slow\n"));
    c.stop();
}

BOOST_DATA_TEST_CASE(a_stop_is_told, data::make(test::serving_policies), policy)
{
    chat c({"--policy", policy});
    member ann(c, "ann");
    c.stop();
    BOOST_TEST(ann.read_all() == "* the server stops\n");
    BOOST_TEST(ann.end() == asio::error::eof);
}
