// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// example/http_server and real clients: curl, wrk, and bare sockets.
#define BOOST_TEST_MODULE example_http_server

#include "support/clients.hpp"
#include "support/process.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <csignal>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace asio = boost::asio;
namespace data = boost::unit_test::data;
using test::contains;
using test::process;
using test::raw_client;

namespace {

std::string const page = "This is an HTTP server on fibers.\n";
std::string const get = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";

struct http_server : test::serving
{
    explicit http_server(process::arguments const& args = {})
        : serving("http_server", args), url("http://127.0.0.1:" + std::to_string(where.port()))
    {
    }

    std::string url;
};

std::string status(process::arguments args)
{
    args.insert(args.begin(), {"-s", "-o", "/dev/null", "-w", "%{http_code}"});
    return test::run("curl", args).out;
}

/// A response whose length is told, by the bare socket.
std::string response(raw_client& client, bool with_body = true)
{
    std::string const head = client.read_to("\r\n\r\n");
    std::string const field = "Content-Length: ";
    auto const at = head.find(field);
    if (at == head.npos || !with_body)
        return head;
    return head + client.read(std::stoul(head.substr(at + field.size())));
}

/// What a broken request is told before the connection ends.
void check_refused(raw_client& client, std::string const& expected)
{
    std::string const told = client.read_all();
    BOOST_TEST(contains(told, "HTTP/1.1 " + expected), told);
    BOOST_TEST(contains(told, "Connection: close\r\n"), told);
    BOOST_TEST(client.end() == asio::error::eof);
}

} // namespace

BOOST_DATA_TEST_CASE(curl_asks_several_things_on_one_connection, data::make(test::serving_policies), policy)
{
    http_server server({"--policy", policy});
    auto const asked =
        test::run("curl", {"-s", "-w", "[%{http_code} %{num_connects}]", server.url + "/",
                           server.url + "/nothing", server.url + "/?a=b"});
    BOOST_TEST(asked.code == 0);
    BOOST_TEST(asked.out == page + "[200 1]Not Found[404 0]" + page + "[200 0]");
    server.stop();
}

BOOST_DATA_TEST_CASE(many_requests_under_every_policy, data::make(test::serving_policies), policy)
{
    http_server server({"--policy", policy});
    auto const load = test::run("wrk", {"-t1", "-c50", "-d1s", server.url + "/"});
    BOOST_TEST(load.code == 0);
    BOOST_TEST(contains(load.out, "requests in"), load.out);
    BOOST_TEST(!contains(load.out, " 0 requests in"), load.out);
    BOOST_TEST(!contains(load.out, "Socket errors"), load.out);
    BOOST_TEST(!contains(load.out, "Non-2xx"), load.out);
    server.stop();
}

BOOST_AUTO_TEST_CASE(pipelined_requests_are_answered_in_their_order)
{
    http_server server;
    raw_client client(server.where);
    // The last one comes in two pieces, the first of which comes along with the others.
    client.send(get +
                "HEAD / HTTP/1.1\r\nHost: here\r\n\r\n"
                "POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nabc" +
                "GET /nothing HTTP/1.1\r\nHo");
    std::string const first = response(client);
    BOOST_TEST(first.starts_with("HTTP/1.1 200 OK\r\n"), first);
    BOOST_TEST(first.ends_with("\r\n\r\n" + page), first);
    std::string const second = response(client, false);
    BOOST_TEST(contains(second, "Content-Length: " + std::to_string(page.size())), second);
    std::string const third = response(client);
    BOOST_TEST(third.ends_with("\r\n\r\nabc"), third);
    client.send("st: here\r\nConnection: close\r\n\r\n");
    std::string const last = client.read_all();
    BOOST_TEST(last.starts_with("HTTP/1.1 404 Not Found\r\n"), last);
    BOOST_TEST(contains(last, "Connection: close\r\n"), last);
    BOOST_TEST(client.end() == asio::error::eof);
}

BOOST_AUTO_TEST_CASE(a_client_that_ends_its_side_has_its_answers)
{
    http_server server;
    raw_client client(server.where);
    client.send(get + get);
    client.shutdown_send();
    BOOST_TEST(test::count(client.read_all(), page) == 2u);
    BOOST_TEST(client.end() == asio::error::eof);
}

BOOST_AUTO_TEST_CASE(head_has_no_body)
{
    http_server server;
    auto const asked = test::run("curl", {"-sI", server.url + "/"});
    BOOST_TEST(asked.code == 0);
    BOOST_TEST(asked.out.starts_with("HTTP/1.1 200 OK\r\n"));
    BOOST_TEST(contains(asked.out, "Content-Length: " + std::to_string(page.size()) + "\r\n"));
    BOOST_TEST(asked.out.ends_with("\r\n\r\n"));
}

BOOST_AUTO_TEST_CASE(http_1_0_closes_unless_it_is_asked_to_keep)
{
    http_server server;
    raw_client client(server.where);
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    BOOST_TEST(contains(response(client), "Connection: keep-alive\r\n"));
    client.send("GET / HTTP/1.0\r\n\r\n");
    BOOST_TEST(client.read_all().ends_with(page));
    BOOST_TEST(client.end() == asio::error::eof);
}

BOOST_AUTO_TEST_CASE(what_is_posted_comes_back)
{
    http_server server({"--limit-body", "200000"});
    test::temporary_directory files;
    std::string const content(200000, 'x');
    std::string const file = files.write("body", content);
    for (process::arguments const& how : {process::arguments{},
                                          {"-H", "Expect: 100-continue"},
                                          {"-H", "Transfer-Encoding: chunked"}})
    {
        process::arguments args{"-s", "-v", "--data-binary", '@' + file};
        args.insert(args.end(), how.begin(), how.end());
        args.push_back(server.url + "/echo");
        auto const asked = test::run("curl", args);
        BOOST_TEST(asked.code == 0);
        BOOST_TEST((asked.out == content));
        if (how.size() == 2 && contains(how[1], "100"))
            BOOST_TEST(contains(asked.err, "HTTP/1.1 100 Continue"), asked.err);
    }
}

BOOST_AUTO_TEST_CASE(a_body_beyond_the_limit_is_refused)
{
    http_server server({"--limit-body", "1000"});
    test::temporary_directory files;
    for (std::size_t const size : {1001u, 5000000u})
    {
        std::string const file = '@' + files.write("body", std::string(size, 'x'));
        std::string const url = server.url + "/echo";
        BOOST_TEST(status({"--data-binary", file, url}) == "413");
        BOOST_TEST(status({"-H", "Transfer-Encoding: chunked", "--data-binary", file, url}) ==
                   "413");
    }
    BOOST_TEST(status({"--data-binary", '@' + files.write("body", std::string(1000, 'x')),
                       server.url + "/echo"}) == "200");
    // Who sends it all the same, and reads later, is told too.
    raw_client eager(server.where);
    eager.send("POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 500000\r\n\r\n" +
               std::string(500000, 'x'));
    check_refused(eager, "413 Payload Too Large\r\n");
    server.stop();
}

BOOST_AUTO_TEST_CASE(a_header_beyond_the_limit_is_refused)
{
    http_server server({"--limit-header", "1000"});
    std::string const url = server.url + '/';
    BOOST_TEST(status({"-H", "X: " + std::string(1000, 'x'), url}) == "431");
    BOOST_TEST(status({"-H", "X: " + std::string(100000, 'x'), url}) == "431");
    BOOST_TEST(status({url + std::string(1000, 'x')}) == "431");
    BOOST_TEST(status({"-H", "X: " + std::string(500, 'x'), url}) == "200");
    server.stop();
}

BOOST_AUTO_TEST_CASE(what_is_no_request_is_refused)
{
    http_server server;
    for (std::string const garbage : {
             "garbage\r\n\r\n",
             "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS is spoken next door\r\n\r\n",
             "GET / HTTP/1.1\r\n\r\n", // no host
             "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
             "GET / HTTP/9.9\r\nHost: here\r\n\r\n",
             "GET / HTTP/1.1\r\nHost: here\r\nno colon\r\n\r\n",
             "POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: -1\r\n\r\n",
             "POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\n"
             "Content-Length: 2\r\n\r\nab",
             "POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n",
         })
        BOOST_TEST_CONTEXT(garbage)
        {
            raw_client client(server.where);
            client.send(garbage);
            if (garbage.starts_with("GET / HTTP/1.1\r\n\r\n") || contains(garbage, "Host: b"))
                BOOST_TEST(contains(response(client), "HTTP/1.1 400 Bad Request\r\n"));
            else
                check_refused(client, "400 Bad Request\r\n");
        }
    BOOST_TEST(status({"-X", "DELETE", server.url + "/"}) == "405");
    BOOST_TEST(status({server.url + "/echo"}) == "405");
    BOOST_TEST(status({server.url + "/"}) == "200");
    server.stop();
}

BOOST_AUTO_TEST_CASE(a_request_has_a_deadline)
{
    http_server server({"--limit-request", "0.2"});
    for (std::string const part :
         {"G", "GET / HTTP/1.1\r\nHost: here\r\nX: ",
          "POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nabc"})
    {
        raw_client client(server.where);
        client.send(part);
        check_refused(client, "408 Request Timeout\r\n");
    }
    server.stop();
}

BOOST_AUTO_TEST_CASE(a_client_that_asks_nothing_is_left)
{
    http_server server({"--limit-idle", "0.2"});
    raw_client silent(server.where), spoke(server.where);
    spoke.send(get);
    BOOST_TEST(response(spoke).ends_with(page));
    BOOST_TEST(spoke.read_all() == "");
    BOOST_TEST(spoke.end() == asio::error::eof);
    BOOST_TEST(silent.read_all() == "");
    BOOST_TEST(silent.end() == asio::error::eof);
}

BOOST_AUTO_TEST_CASE(a_directory_is_served_and_nothing_outside)
{
    test::temporary_directory files;
    files.write("secret.txt", "secret");
    files.write("root/index.html", "<p>index</p>");
    files.write("root/a/b.txt", "b");
    files.write("root/a/index.html", "<p>a</p>");
    files.write("root/.hidden/c.txt", "secret");
    files.write("root/.d.txt", "secret");
    std::filesystem::create_symlink(files / "secret.txt", files / "root/link.txt");
    std::filesystem::create_symlink(files / ".", files / "root/up");
    http_server server({"--root", files / "root"});

    auto fetched = [&](std::string const& target) {
        return test::run("curl", {"-s", "--path-as-is", "-w", "[%{http_code} %{content_type}]",
                                  server.url + target})
            .out;
    };
    BOOST_TEST(fetched("/") == "<p>index</p>[200 text/html]");
    BOOST_TEST(fetched("/index.html") == "<p>index</p>[200 text/html]");
    BOOST_TEST(fetched("/a/b.txt") == "b[200 text/plain]");
    BOOST_TEST(fetched("/a/") == "<p>a</p>[200 text/html]");
    for (std::string const target :
         {"/../secret.txt", "/a/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt",
          "/link.txt", "/up/secret.txt", "/.hidden/c.txt", "/.d.txt", "//etc/passwd",
          "/a/../index.html", "/a"})
        BOOST_TEST(fetched(target) == "Not Found[404 text/plain]", target);
    server.stop();
}

BOOST_DATA_TEST_CASE(a_stop_is_graceful, data::make(test::serving_policies), policy)
{
    http_server server({"--policy", policy});
    raw_client idle(server.where), silent(server.where), busy(server.where);
    idle.send(get);
    BOOST_TEST(response(idle).ends_with(page));
    // The server has the first part when it has said this.
    busy.send("POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 6\r\n"
              "Expect: 100-continue\r\n\r\nabc");
    BOOST_TEST(contains(busy.read_to("\r\n\r\n"), "100 Continue"));

    server.program.signal(SIGTERM);
    server.program.wait_for_line("stopping, ");
    for (raw_client* const c : {&idle, &silent})
    {
        BOOST_TEST(c->read_all() == "");
        BOOST_TEST(c->end().failed());
    }
    // In the end new ones are refused; until then they may be taken.
    for (boost::system::error_code ec; !ec;)
    {
        asio::io_context io;
        asio::ip::tcp::socket late(io);
        late.connect(server.where, ec);
    }
    busy.send("def");
    std::string const last = busy.read_all();
    BOOST_TEST(last.ends_with("\r\n\r\nabcdef"), last);
    BOOST_TEST(contains(last, "Connection: close\r\n"), last);
    BOOST_TEST(busy.end() == asio::error::eof);
    busy.socket().close();
    BOOST_TEST(server.program.wait() == 0);
    BOOST_TEST(server.program.err() == "");
    BOOST_TEST(contains(server.program.out(), "stopped\n"), server.program.out());
}

BOOST_AUTO_TEST_CASE(what_takes_too_long_is_cut_off_at_a_stop)
{
    http_server server({"--limit-stop", "0.2"});
    raw_client busy(server.where);
    busy.send("POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 6\r\n"
              "Expect: 100-continue\r\n\r\n");
    BOOST_TEST(contains(busy.read_to("\r\n\r\n"), "100 Continue"));
    server.program.signal(SIGINT);
    server.program.wait_for_line("stopped, 1 connections cut off");
    BOOST_TEST(server.program.wait() == 0);
    BOOST_TEST(server.program.err() == "");
    BOOST_TEST(busy.read_all() == "");
}

BOOST_AUTO_TEST_CASE(bad_options_are_named)
{
    for (process::arguments const& bad : {process::arguments{"--limit-body", "-1"},
                                          {"--limit-header", "0"},
                                          {"--limit-request", "soon"},
                                          {"--limit-idle", "-1"},
                                          {"--limit-connections", "x"},
                                          {"--limit-stop", ""},
                                          {"--port", "x"},
                                          {"--address", "here"},
                                          {"--policy", "fibre"},
                                          {"--rot", "x"}})
    {
        process p(test::example("http_server"), bad);
        BOOST_TEST(p.wait() == 2);
        bool const known = bad[0] != "--rot";
        BOOST_TEST(contains(p.err(), '"' + (known ? bad[1] : bad[0]) + '"'), p.err());
        BOOST_TEST(p.out() == "");
    }
    process p(test::example("http_server"), {"--root", "/nowhere"});
    BOOST_TEST(p.wait() == 1);
    BOOST_TEST(contains(p.err(), "/nowhere"), p.err());

    process help(test::example("http_server"), {"--help"});
    BOOST_TEST(help.wait() == 0);
    for (char const* const option :
         {"--port", "--address", "--policy", "--root", "--limit-header", "--limit-body",
          "--limit-request", "--limit-idle", "--limit-stop"})
        BOOST_TEST(contains(help.out(), option));
}
