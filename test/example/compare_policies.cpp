// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// example/compare_policies with small loads.
#define BOOST_TEST_MODULE example_compare_policies

#include "compare_policies/histogram.hpp"
#include "support/process.hpp"

#include <polyloop/policy/pool_policy.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/src.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

namespace asio = boost::asio;
namespace data = boost::unit_test::data;
namespace fs = std::filesystem;
namespace json = boost::json;
using test::process;

namespace
{
std::string const program = std::string(POLYLOOP_EXAMPLE_DIR) + "/compare_policies";
std::string const extra = "fiber loops=2 placement=least_tasks";

using arguments = process::arguments;

arguments small(arguments more)
{
    arguments all{
        "--connections", "4", "--duration", "0.2", "--rounds", "2", "--warmup", "0.02"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

bool contains(std::string const& text, std::string const& part)
{
    return text.find(part) != text.npos;
}

/// Those that every run has.
std::set<std::string> default_policies()
{
    std::string const cores = std::to_string(polyloop::usable_processors());
    std::set<std::string> all{"default"};
    for (std::string const name : {"strand", "fiber", "shared"})
        all.insert({name + " loops=1", name + " loops=" + cores});
    return all;
}

struct directory
{
    directory()
    {
        std::string name = (fs::temp_directory_path() / "polyloop-XXXXXX").string();
        if (!mkdtemp(name.data()))
            throw std::system_error(errno, std::generic_category(), name);
        path = name;
    }
    ~directory()
    {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }

    fs::path path;
};

std::string content(fs::path const& file)
{
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
}

std::size_t count(std::string const& text, std::string const& part)
{
    std::size_t n = 0;
    for (std::size_t at = 0; (at = text.find(part, at)) != text.npos; at += part.size())
        ++n;
    return n;
}

void check_row(json::object const& row)
{
    BOOST_TEST_CONTEXT(row)
    {
        auto number = [&](char const* name) { return row.at(name).to_number<double>(); };
        BOOST_TEST(number("requests") > 0);
        BOOST_TEST(number("errors") == 0);
        BOOST_TEST(number("rps") > 0);
        BOOST_TEST(number("p50_us") > 0);
        BOOST_TEST(number("p99_us") >= number("p50_us"));
        BOOST_TEST(number("p999_us") >= number("p99_us"));
        BOOST_TEST(number("max_us") >= number("p999_us"));
        json::array const& rounds = row.at("rps_rounds").as_array();
        BOOST_TEST(rounds.size() == 2U);
        double sum = 0;
        for (json::value const& r : rounds)
            sum += r.to_number<double>();
        BOOST_TEST(number("rps") == sum / 2, boost::test_tools::tolerance(1e-9));
        BOOST_TEST(number("cpu_us_per_request") > 0);
        BOOST_TEST(number("spread") >= 0);
        BOOST_TEST(number("spread") <= 1);
        std::string const policy(row.at("policy").as_string());
        std::size_t const at = policy.find("loops=");
        double const loops = at == policy.npos ? 1 : std::stod(policy.substr(at + 6));
        BOOST_TEST(number("loops") == loops);
        // Round robin, as even as so many can be.
        if (!contains(policy, "placement"))
            BOOST_TEST(number("spread") == 1);
    }
}

void check_rows(json::value const& report, std::set<std::string> const& policies)
{
    json::array const& rows = report.at("rows").as_array();
    std::set<std::pair<std::string, std::string>> seen, wanted;
    for (json::value const& r : rows)
    {
        check_row(r.as_object());
        seen.emplace(
            r.at("policy").as_string().c_str(), r.at("style").as_string().c_str());
    }
    for (std::string const& policy : policies)
        for (char const* const style : {"fiber", "coroutine"})
            wanted.emplace(policy, style);
    BOOST_TEST((seen == wanted));
    BOOST_TEST(rows.size() == wanted.size());
}

struct bad_call
{
    arguments given;
    std::string word, known;

    friend std::ostream& operator<<(std::ostream& out, bad_call const& b)
    {
        return out << b.given[0] << ' ' << b.word;
    }
};

bad_call const bad_calls[] = {
    {{"--polcy", "fiber"}, "\"--polcy\"", "--policy"},
    {{"--conn", "4"}, "\"--conn\"", "--connections"},
    {{"fiber"}, "\"fiber\"", "--policy"},
    {{"--connections", "0"}, "\"0\"", "from 1 to"},
    {{"--connections", "-4"}, "\"-4\"", "from 1 to"},
    {{"--connections", "4x"}, "\"4x\"", "from 1 to"},
    {{"--size", "99999999999999999999"}, "\"99999999999999999999\"", "from 1 to"},
    {{"--duration", "nan"}, "\"nan\"", "from 0.01 to"},
    {{"--duration", "soon"}, "\"soon\"", "from 0.01 to"},
    {{"--warmup", "-1"}, "\"-1\"", "from 0 to"},
    {{"--client-threads", "0"}, "\"0\"", "from 1 to"},
    {{"--style", "goto"}, "\"goto\"", "fiber, coroutine, both"},
    {{"--policy", "fibre"}, "\"fibre\"", "strand"},
    {{"--policy", "fiber loops=-1"}, "\"loops=-1\"", "from 1 to"},
    {{"--policy", ""}, "\"\"", "strand"},
    {{"--json"}, "--json", "missing"},
    {{"--port", "1"}, "--port", "--serve"},
    {{"--serve", "--port", "65536"}, "\"65536\"", "65535"},
    {{"--serve", "--style", "both"}, "\"both\"", "fiber, coroutine"},
    {{"--serve", "--policy", "default", "--policy", "fiber"}, "\"fiber\"", "one policy"},
    {{"--serve", "--json", "-"}, "--json", "--serve"},
    {{"--serve", "--rounds", "3"}, "--rounds", "--serve"},
    {{"--rounds", "0"}, "\"0\"", "from 1 to"},
    {{"--size", "16777216"}, "\"16777216\"", "64 connections"},
    {{"--json", "-", "--html", "-"}, "\"-\"", "--json"},
    {{"--json", "out", "--html", "./x/../out"}, "\"./x/../out\"", "--json"},
};
} // namespace

BOOST_AUTO_TEST_CASE(json_on_the_standard_output_is_alone_there)
{
    process p(program, small({"--json", "-", "--policy", extra}));
    BOOST_TEST(p.wait() == 0);
    auto policies = default_policies();
    policies.insert(extra);
    json::value const report = json::parse(p.out());
    check_rows(report, policies);

    // The table, and a verdict at the end.
    for (std::string const& policy : policies)
        BOOST_TEST(contains(p.err(), policy));
    std::string const verdict(report.at("verdict").as_string());
    BOOST_TEST(p.err().ends_with(verdict + '\n'));
    BOOST_TEST(
        (contains(verdict, "served this load best") || contains(verdict, "noise")));
}

BOOST_AUTO_TEST_CASE(a_page_on_the_standard_output_is_alone_there)
{
    process p(program, small({"--html", "-", "--style", "fiber"}));
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.out().starts_with("<!DOCTYPE html>"));
    BOOST_TEST(p.out().ends_with("</html>\n"));
    BOOST_TEST(contains(p.out(), "fiber style</span>"));
    BOOST_TEST(!contains(p.out(), "coroutine style</span>"));
}

BOOST_AUTO_TEST_CASE(files_are_written)
{
    directory const d;
    fs::path const out = d.path / "out.json", page = d.path / "out.html";
    process p(program,
        small({"--json", out.string(), "--html", page.string(), "--size", "100000",
            "--client-threads", "2"}));
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(p.err() == "");
    json::value const report = json::parse(content(out));
    check_rows(report, default_policies());

    std::string const html = content(page);
    std::size_t const rows = report.at("rows").as_array().size();
    BOOST_TEST(html.starts_with("<!DOCTYPE html>"));
    BOOST_TEST(html.ends_with("</html>\n"));
    BOOST_TEST(contains(html, "<svg"));
    BOOST_TEST(count(html, "<rect ") == 3 * rows);
    BOOST_TEST(count(html, "<svg") == count(html, "</svg>"));
    for (char const* const outside : {"http:", "https:", "src=", "href=", "url("})
        BOOST_TEST(!contains(html, outside));
    BOOST_TEST(!contains(html, "nan"));
}

BOOST_AUTO_TEST_CASE(one_style_is_enough_and_each_policy_is_there_once)
{
    process p(program,
        small({"--json", "-", "--style", "coroutine", "--policy", " fiber  loops=1"}));
    BOOST_TEST(p.wait() == 0);
    json::value const report = json::parse(p.out());
    BOOST_TEST(report.at("rows").as_array().size() == default_policies().size());
    for (json::value const& r : report.at("rows").as_array())
        BOOST_TEST(r.at("style").as_string().c_str() == "coroutine");
}

BOOST_DATA_TEST_CASE(a_bad_option_is_named, data::make(bad_calls), bad)
{
    process p(program, bad.given);
    BOOST_TEST(p.wait() == 2);
    BOOST_TEST(p.out() == "");
    BOOST_TEST_CONTEXT(p.err())
    {
        BOOST_TEST(contains(p.err(), bad.word));
        BOOST_TEST(contains(p.err(), bad.known));
    }
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_written_is_known_at_once)
{
    process p(program, {"--html", "/nowhere/out.html"});
    BOOST_TEST(p.wait() == 1);
    BOOST_TEST(p.out() == "");
    BOOST_TEST(contains(p.err(), "/nowhere/out.html"));
}

BOOST_AUTO_TEST_CASE(help_tells_the_options)
{
    process p(program, {"--help"});
    BOOST_TEST(p.wait() == 0);
    for (char const* const option :
        {"--connections", "--size", "--duration", "--rounds", "--warmup", "--policy",
            "--style", "--json", "--html", "--serve", "--port", "--help", "spread"})
        BOOST_TEST(contains(p.out(), option));
}

BOOST_AUTO_TEST_CASE(the_server_alone)
{
    for (std::string const style : {"fiber", "coroutine"})
        for (char const* const policy :
            {"default", "strand loops=2", "fiber loops=2", "shared"})
        {
            process p(program, {"--serve", "--policy", policy, "--style", style});
            std::string const line = p.wait_for_line("listening on 127.0.0.1:");
            auto const port = std::stoi(line.substr(line.rfind(':') + 1));
            asio::io_context io;
            asio::ip::tcp::socket client(io);
            client.connect(
                {asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)});
            asio::write(client, asio::buffer("hello", 5));
            std::string reply(5, '\0');
            asio::read(client, asio::buffer(reply));
            BOOST_TEST(reply == "hello");
            p.signal(style == "fiber" ? SIGINT : SIGTERM);
            BOOST_TEST(p.wait() == 0);
            BOOST_TEST(p.err() == "");
        }
}

BOOST_AUTO_TEST_CASE(the_server_alone_heeds_the_environment)
{
    process p(program, {"--serve"}, {{"POLYLOOP_POLICY", "fibre"}});
    BOOST_TEST(p.wait() == 2);
    BOOST_TEST(contains(p.err(), "\"fibre\""));
    BOOST_TEST(contains(p.err(), "strand"));
}

BOOST_AUTO_TEST_CASE(a_port_that_is_taken_is_named)
{
    process first(program, {"--serve"});
    std::string const line = first.wait_for_line("listening on ");
    std::string const where = line.substr(line.rfind(' ') + 1);
    process second(program, {"--serve", "--port", where.substr(where.rfind(':') + 1)});
    BOOST_TEST(second.wait() == 1);
    BOOST_TEST(second.err() ==
        "compare_policies: cannot listen on " + where + ": Address already in use\n");
}

// -- how it ends

namespace
{
/// So many rounds that it does not end by itself.
arguments long_run(std::string const& file)
{
    return {"--connections", "2", "--warmup", "0", "--duration", "1", "--rounds", "100",
        "--style", "fiber", "--json", file};
}
} // namespace

// wait() returns only when nobody holds the outputs, and so no child is left.
BOOST_AUTO_TEST_CASE(a_signal_ends_it_with_what_was_measured_and_leaves_no_process)
{
    for (int const signal : {SIGINT, SIGTERM})
    {
        directory const d;
        std::string const file = (d.path / "out.json").string();
        std::ofstream(file) << "of an earlier run";
        process p(program, long_run(file));
        p.wait_for_line("round 1 of 100");
        BOOST_TEST(content(file) == "of an earlier run");
        p.signal(signal);
        BOOST_TEST(p.wait() == 128 + signal);
        BOOST_TEST(contains(p.out(), "Interrupted"));
        json::value const report = json::parse(content(file));
        BOOST_TEST(report.at("interrupted").as_bool());
        BOOST_TEST(report.at("rows").as_array().size() == default_policies().size());
        BOOST_TEST(!fs::exists(file + ".tmp"));
    }
}

BOOST_AUTO_TEST_CASE(a_signal_before_anything_is_measured_leaves_an_earlier_file)
{
    directory const d;
    std::string const file = (d.path / "out.json").string();
    std::ofstream(file) << "of an earlier run";
    process p(program, {"--duration", "3600", "--json", file});
    p.wait_for_line("64 connections");
    p.signal(SIGINT);
    BOOST_TEST(p.wait() == 128 + SIGINT);
    BOOST_TEST(content(file) == "of an earlier run");
    BOOST_TEST(!fs::exists(file + ".tmp"));
}

BOOST_AUTO_TEST_CASE(a_kill_leaves_an_earlier_file_and_no_process)
{
    directory const d;
    std::string const file = (d.path / "out.json").string();
    std::ofstream(file) << "of an earlier run";
    process p(program, long_run(file));
    p.wait_for_line("round 1 of 100");
    p.signal(SIGKILL);
    BOOST_TEST(p.wait() == -SIGKILL);
    BOOST_TEST(content(file) == "of an earlier run");
}

BOOST_AUTO_TEST_CASE(what_is_no_plain_file_is_written_as_it_is)
{
    directory const d;
    fs::path const link = d.path / "link.json", file = d.path / "out.json";
    std::ofstream(file) << "of an earlier run";
    fs::create_symlink("out.json", link);
    process p(program,
        small({"--style", "fiber", "--json", link.string(), "--html", "/dev/null"}));
    BOOST_TEST(p.wait() == 0);
    BOOST_TEST(fs::is_symlink(link));
    BOOST_TEST(json::parse(content(file)).at("rows").as_array().size() ==
        default_policies().size());
    BOOST_TEST(fs::is_character_file("/dev/null"));
}

BOOST_AUTO_TEST_CASE(closed_standard_descriptors_do_no_harm)
{
    directory const d;
    fs::path const file = d.path / "out.json";
    arguments all = small({"--json", file.string()});
    all.insert(all.begin(), {"-c", "exec \"$0\" \"$@\" <&- >&- 2>&-", program});
    process p("/bin/sh", all);
    BOOST_TEST(p.wait() == 0);
    check_rows(json::parse(content(file)), default_policies());
}

BOOST_AUTO_TEST_CASE(too_few_descriptors_are_said)
{
    process p("/bin/sh",
        {"-c", "ulimit -n 200 && exec \"$0\" --policy 'fiber loops=64'", program});
    BOOST_TEST(p.wait() == 2);
    BOOST_TEST(p.out() == "");
    BOOST_TEST(contains(p.err(), "64 loops"));
    BOOST_TEST(contains(p.err(), "ulimit -n"));
}

// -- the load alone, on servers of these tests

namespace
{
using asio::ip::tcp;
constexpr std::size_t message_size = 64;
using message = std::array<char, message_size>;

/// The process that makes the load, on connections that it has made to this one.
class load
{
public:
    load(std::size_t connections, double grace)
    {
        int ends[2];
        BOOST_TEST_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        link_.assign(asio::local::stream_protocol(), ends[0]);
        process_.emplace(program, arguments{"--load"}, process::environment(), ends[1]);
        ::close(ends[1]);
        tcp::acceptor acceptor(io_, {asio::ip::address_v4::loopback(), 0});
        json::object const plan{
            {"port", acceptor.local_endpoint().port()},
            {"connections", connections},
            {"threads", 1},
            {"size", message_size},
            {"warmup", 0},
            {"duration", 0.2},
            {"grace", grace},
        };
        asio::write(link_, asio::buffer(json::serialize(plan) + '\n'));
        while (clients.size() != connections)
            clients.push_back(acceptor.accept());
    }

    json::value result()
    {
        std::string line;
        asio::read_until(link_, asio::dynamic_buffer(line), '\n');
        BOOST_TEST(process_->wait() == 0);
        return json::parse(line);
    }

private:
    asio::io_context io_;
    asio::local::stream_protocol::socket link_{io_};
    std::optional<process> process_;

public:
    std::vector<tcp::socket> clients;
};

/// Until the client has closed, which it does when the measured time is over.
void echo(tcp::socket& client)
{
    message m;
    boost::system::error_code ec;
    while (asio::read(client, asio::buffer(m), ec) && !ec)
        asio::write(client, asio::buffer(m), ec);
}

histogram latency(json::value const& result)
{
    histogram h;
    h.add(json::value_to<histogram::places>(result.at("latency_ns")));
    return h;
}
} // namespace

BOOST_AUTO_TEST_CASE(a_request_that_is_answered_after_the_end_is_in_the_latencies)
{
    load l(3, 60);
    message starved;
    asio::read(l.clients[2], asio::buffer(starved));
    auto const asked = std::chrono::steady_clock::now();
    std::thread other([&] { echo(l.clients[1]); });
    echo(l.clients[0]);
    other.join();
    std::chrono::duration<double, std::nano> const waited =
        std::chrono::steady_clock::now() - asked;
    asio::write(l.clients[2], asio::buffer(starved));

    json::value const result = l.result();
    BOOST_TEST(result.at("errors").as_int64() == 0);
    auto const requests = result.at("requests").to_number<std::uint64_t>();
    BOOST_TEST(requests > 0U);
    // The last answer to each connection comes after the end.
    histogram const h = latency(result);
    BOOST_TEST(h.total() == requests + 3);
    BOOST_TEST(h.quantile(1) >= 0.99 * waited.count());
}

BOOST_AUTO_TEST_CASE(a_request_that_is_never_answered_is_an_error)
{
    load l(2, 1);
    echo(l.clients[0]);
    json::value const result = l.result();
    BOOST_TEST(result.at("errors").as_int64() == 1);
    BOOST_TEST(contains(result.at("trouble").as_string().c_str(), "no whole answer"));
}

BOOST_AUTO_TEST_CASE(the_processor_time_is_that_of_the_server)
{
    auto const used = [] {
        timespec t{};
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
    };
    double const before = used();
    load l(1, 60);
    echo(l.clients[0]);
    double const told = l.result().at("cpu_us").to_number<double>();
    BOOST_TEST(told > 0);
    BOOST_TEST(told <= used() - before);
}
