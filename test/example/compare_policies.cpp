// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// example/compare_policies with small loads.
#define BOOST_TEST_MODULE example_compare_policies

#include "support/process.hpp"

#include <polyloop/policy/pool_policy.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/src.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <utility>
#include <vector>

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
    arguments all{"--connections", "4", "--duration", "0.2", "--warmup", "0.02"};
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
        BOOST_TEST(number("cpu_us_per_request") > 0);
        BOOST_TEST(number("spread") >= 0);
        BOOST_TEST(number("spread") <= 1);
        std::string const policy(row.at("policy").as_string());
        std::size_t const at = policy.find("loops=");
        double const loops = at == policy.npos ? 1 : std::stod(policy.substr(at + 6));
        BOOST_TEST(number("loops") == loops);
        // Round robin over four connections.
        if (!contains(policy, "placement") &&
            (loops <= 2 || policy.starts_with("shared")))
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
        {"--connections", "--size", "--duration", "--warmup", "--policy", "--style",
            "--json", "--html", "--serve", "--port", "--help", "spread"})
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

// wait() returns only when nobody holds the outputs, and so no child is left.
BOOST_AUTO_TEST_CASE(no_process_is_left_behind_by_a_signal)
{
    for (int const signal : {SIGINT, SIGTERM, SIGKILL})
    {
        process p(program,
            {"--connections", "2", "--warmup", "0", "--duration", "0.05", "--policy",
                extra});
        p.wait_for_line("[ 1/");
        p.signal(signal);
        BOOST_TEST(p.wait() == -signal);
    }
}
