// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// The short examples, each run as a process of its own.
#define BOOST_TEST_MODULE example_programs

#include "support/policies.hpp"
#include "support/process.hpp"
#include "support/sanitizers.hpp"

#include <polyloop/loop/backend.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <string>
#include <utility>

namespace asio = boost::asio;
namespace data = boost::unit_test::data;
using test::process;
using arguments = process::arguments;

namespace
{
std::string program(std::string const& name)
{
    return std::string(POLYLOOP_EXAMPLE_DIR) + '/' + name;
}

bool contains(std::string const& text, std::string const& part)
{
    return text.find(part) != text.npos;
}

std::string const policies[] = {"default", test::name_of_this_kind, "strand loops=2",
    "fiber loops=2 placement=least_tasks", "shared loops=2"};
} // namespace

BOOST_AUTO_TEST_CASE(a_custom_policy_overrides_one_operation)
{
    process p(program("custom_policy"));
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.err() == "");
    BOOST_TEST(contains(p.out(), "by default: no loop is bound"));
    BOOST_TEST(contains(p.out(), "main thread: loop-"));
    BOOST_TEST(contains(p.out(), "other thread: loop-"));
}

BOOST_AUTO_TEST_CASE(a_policy_whose_context_is_a_tenant)
{
    process p(program("tenant_policy"));
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.err() == "");
    BOOST_TEST(p.out().starts_with("another run: "), p.out());
    BOOST_TEST(contains(p.out(), "the tenants are in another run"));
    BOOST_TEST(contains(p.out(), "\nada: ada/ada\nbob: bob/bob\nnobody: loop-"));
    BOOST_TEST(contains(p.out(), "\nagain: ada/ada\n"));
}

BOOST_AUTO_TEST_CASE(a_policy_that_hands_out_one_prepared_loop)
{
    process p(program("prepared_loop"));
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.err() == "");
    BOOST_TEST(contains(p.out(), "ran on prepared, 1 signal, 1 error\n"));
    BOOST_TEST(contains(p.out(), "again: the prepared loop was given out"));
}

BOOST_AUTO_TEST_CASE(backend_info_says_what_a_loop_waits_with)
{
    process p(program("backend_info"));
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.err() == "");
    polyloop::backend const here = polyloop::current_backend();
    std::string const name(to_string(here));
    BOOST_TEST(contains(p.out(), "backend:   " + name + " ("));
    BOOST_TEST(contains(p.out(), "Asio was compiled for " + name));
    BOOST_TEST(contains(p.out(), "ran\n"));
    bool const completes = is_proactor(here);
    BOOST_TEST(contains(p.out(), completes ? "proactor:  accepted" : "selector:  accepted"));
    BOOST_TEST(contains(p.out(), completes ? "selector:  refused, " : "proactor:  refused, "));
    process wrong(program("backend_info"), {"--fast"});
    BOOST_TEST(wrong.wait() == 2);
}

BOOST_DATA_TEST_CASE(a_policy_that_counts_and_logs, data::make(policies), policy)
{
    process p(program("counting_policy"), {policy});
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.out() == "20 tasks placed, 0 loops asked for\n");
    for (char const* const part : {"made ", "bound ", "started ", "stopped\n", "unbound\n"})
        BOOST_TEST(contains(p.err(), part));
}

BOOST_DATA_TEST_CASE(an_adopted_io_context_gains_fibers, data::make(policies), policy)
{
    process p(program("adopt_io_context"), {}, {{"POLYLOOP_POLICY", policy}});
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.err() == "");
    BOOST_TEST(p.out() == "a handler answered the fiber: HELLO\n");
}

BOOST_DATA_TEST_CASE(coroutines_run_under_every_policy, data::make(policies), policy)
{
    process p(program("coroutines"), {policy});
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.err() == "");
    for (char const* const part : {"1 on ", "2 on ", "3 on ", "4 on ", "cancelled: "})
        BOOST_TEST(contains(p.out(), part));
}

BOOST_AUTO_TEST_CASE(coroutines_are_spread_over_the_loops)
{
    process p(program("coroutines"));
    BOOST_TEST(p.wait() == 0);
    auto loop = [&](std::string const& visit) {
        std::string const line = p.wait_for_line(visit);
        return line.substr(visit.size());
    };
    BOOST_TEST(loop("1 on ") != loop("2 on "));
    BOOST_TEST(loop("1 on ") == loop("3 on "));
}

BOOST_AUTO_TEST_CASE(a_factory_stands_in_place_of_a_policy)
{
    // That it is bad is not even noticed.
    for (char const* const policy : {"", "fibre"})
    {
        process p(program("run_with_factory"), {}, {{"POLYLOOP_POLICY", policy}});
        BOOST_TEST(p.wait() == 0);
        BOOST_TEST(p.err() == "");
        BOOST_TEST(p.out() == "run: hand-made\nrunner: 2 visits to one hand-made loop\n");
    }
}

BOOST_AUTO_TEST_CASE(many_fibers_wait_at_once_and_end)
{
    process p(program("million_fibers"), {"--fibers", "2000"});
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(contains(p.out(), "2000 fibers, each guarded, all waiting at once\n"));
    for (char const* const part :
        {"spawn ", "join ", "bytes each", "peak resident size "})
        BOOST_TEST(contains(p.out(), part));
    BOOST_TEST(contains(p.err(), "spawned 2000 of 2000"));
    BOOST_TEST(contains(p.err(), "joined 2000 of 2000"));
}

BOOST_AUTO_TEST_CASE(a_bad_number_of_fibers_is_named)
{
    for (arguments const& bad : {arguments{"--fibers", "0"}, {"--fibers", "-1"},
             {"--fibers", "x"}, {"--fiber", "1"}, {"1000"}})
    {
        process p(program("million_fibers"), bad);
        BOOST_TEST(p.wait() == 2);
        BOOST_TEST(
            contains(p.err(), '"' + (bad[0] == "--fibers" ? bad[1] : bad[0]) + '"'));
        BOOST_TEST(contains(p.err(), bad[0] == "--fibers" ? "from 1 to" : "--fibers"));
    }
}

#if !defined(POLYLOOP_TEST_ASAN) && !defined(POLYLOOP_TEST_TSAN) // they need it all
BOOST_AUTO_TEST_CASE(fibers_that_do_not_fit_are_said)
{
    for (auto const& [limit, said] :
        {std::pair("600000", "fibers fit: no memory for fiber stacks"),
            std::pair("30000", "bad_alloc")})
    {
        process p("/bin/sh",
            {"-c", "ulimit -v \"$1\" && exec \"$0\" --fibers 100000",
                program("million_fibers"), limit});
        BOOST_TEST(p.wait() == 1);
        BOOST_TEST(p.out() == "");
        BOOST_TEST(contains(p.err(), said), p.err());
    }
}
#endif

BOOST_AUTO_TEST_CASE(no_such_policy_is_said)
{
    process by_argument(program("coroutines"), {"fibre"});
    process by_environment(
        program("adopt_io_context"), {}, {{"POLYLOOP_POLICY", "fibre"}});
    for (process* const p : {&by_argument, &by_environment})
    {
        BOOST_TEST(p->wait() == 2);
        BOOST_TEST(contains(p->err(), "\"fibre\": no such policy; known are "));
    }
}

BOOST_DATA_TEST_CASE(the_minimal_server_echoes, data::make(policies), policy)
{
    process p(program("minimal_server"), {}, {{"POLYLOOP_POLICY", policy}});
    std::string const line = p.wait_for_line("listening on 127.0.0.1:");
    auto const port = std::stoi(line.substr(line.rfind(':') + 1));

    asio::io_context io;
    asio::ip::tcp::socket client(io);
    client.connect({asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)});
    std::string const sent = "twenty lines";
    asio::write(client, asio::buffer(sent));
    std::string received(sent.size(), '\0');
    asio::read(client, asio::buffer(received));
    BOOST_TEST(received == sent);
}
