// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// example/https_server and real clients: curl, openssl s_client, wrk, and bare sockets. The
// certificates are made here.
#define BOOST_TEST_MODULE example_https_server

#include "support/clients.hpp"
#include "support/process.hpp"

#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <memory>
#include <string>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace asio = boost::asio;
namespace data = boost::unit_test::data;
using test::contains;
using test::process;
using test::raw_client;

namespace {

std::string const page = "This is an HTTP server on fibers.\n";
/// A certificate that signs itself.
struct certificate
{
    explicit certificate(std::string const& name)
        : file(files() / (name + ".pem")), key(files() / (name + ".key"))
    {
        auto const made = test::run(
            "openssl", {"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-keyout", key, "-out", file, "-days", "2", "-subj",
                        "/CN=" + name, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"});
        BOOST_REQUIRE_MESSAGE(made.code == 0, made.err);
    }

    static test::temporary_directory const& files()
    {
        static test::temporary_directory const all;
        return all;
    }

    std::string file, key;
};

certificate const& good()
{
    static certificate const c("good");
    return c;
}
certificate const& other()
{
    static certificate const c("other");
    return c;
}

struct https_server : test::serving
{
    explicit https_server(process::arguments args = {})
        : serving("https_server", with_certificate(args)), port(std::to_string(where.port())),
          url("https://localhost:" + port)
    {
    }
    static process::arguments with_certificate(process::arguments& args)
    {
        args.insert(args.end(), {"--certificate", good().file, "--key", good().key});
        return args;
    }

    std::string port, url;
};

test::finished curl(process::arguments args)
{
    args.insert(args.begin(), {"-sS", "--cacert", good().file});
    return test::run("curl", args);
}

/// `openssl s_client`, whose input this process writes.
class s_client
{
  public:
    explicit s_client(std::string const& port, process::arguments more = {})
        : s_client(port, more, make_pipe())
    {
    }
    ~s_client()
    {
        ::close(input_);
    }
    s_client(s_client const&) = delete;
    s_client& operator=(s_client const&) = delete;

    void send(std::string const& text)
    {
        BOOST_TEST_REQUIRE(::write(input_, text.data(), text.size()) ==
                           static_cast<ssize_t>(text.size()));
    }
    process& program()
    {
        return *program_;
    }

  private:
    struct ends
    {
        int read, write;
    };
    static ends make_pipe()
    {
        int both[2];
        BOOST_TEST_REQUIRE(::pipe2(both, O_CLOEXEC) == 0);
        return {both[0], both[1]};
    }
    s_client(std::string const& port, process::arguments const& more, ends pipe)
        : input_(pipe.write)
    {
        process::arguments args{"openssl",
                                "s_client",
                                "-connect",
                                "127.0.0.1:" + port,
                                "-CAfile",
                                good().file,
                                "-verify_return_error"};
        args.insert(args.end(), more.begin(), more.end());
        program_ =
            std::make_unique<process>("/usr/bin/env", args, process::environment(), pipe.read);
        ::close(pipe.read);
    }

    int input_;
    std::unique_ptr<process> program_;
};

} // namespace

BOOST_DATA_TEST_CASE(curl_asks_several_things_on_one_connection, data::make(test::serving_policies), policy)
{
    https_server server({"--policy", policy});
    auto const asked = curl({"-w", "[%{http_code} %{num_connects}]", server.url + "/",
                             server.url + "/nothing", server.url + "/"});
    BOOST_TEST(asked.code == 0);
    BOOST_TEST(asked.err == "");
    BOOST_TEST(asked.out == page + "[200 1]Not Found[404 0]" + page + "[200 0]");
    server.stop();
}

BOOST_DATA_TEST_CASE(many_requests_under_every_policy, data::make(test::serving_policies), policy)
{
    https_server server({"--policy", policy});
    auto const load =
        test::run("wrk", {"-t1", "-c20", "-d1s", "https://127.0.0.1:" + server.port + "/"});
    BOOST_TEST(load.code == 0);
    BOOST_TEST(contains(load.out, "requests in"), load.out);
    BOOST_TEST(!contains(load.out, " 0 requests in"), load.out);
    BOOST_TEST(!contains(load.out, "Socket errors"), load.out);
    BOOST_TEST(!contains(load.out, "Non-2xx"), load.out);
    server.stop();
}

BOOST_AUTO_TEST_CASE(long_bodies_come_back_whole)
{
    https_server server;
    std::string const content(1000000, 'x');
    std::string const file = certificate::files().write("body", content);
    auto const asked = curl({"--data-binary", '@' + file, server.url + "/echo"});
    BOOST_TEST(asked.code == 0);
    BOOST_TEST((asked.out == content));
    certificate::files().write("body", content + content);
    auto const refused = curl({"-o", "/dev/null", "-w", "%{http_code}", "--data-binary", '@' + file,
                               server.url + "/echo"});
    BOOST_TEST(refused.out == "413");
    server.stop();
}

BOOST_AUTO_TEST_CASE(a_client_that_trusts_another_leaves)
{
    https_server server;
    auto const asked = test::run("curl", {"-sS", "--cacert", other().file, server.url + "/"});
    BOOST_TEST(asked.code == 60); // curl: the peer's certificate cannot be authenticated
    BOOST_TEST(asked.out == "");
    BOOST_TEST(curl({server.url + "/"}).out == page);
    server.stop();
}

BOOST_AUTO_TEST_CASE(old_versions_of_tls_are_refused)
{
    https_server server;
    s_client old(server.port, {"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"});
    BOOST_TEST(old.program().wait() != 0);
    s_client lowest(server.port, {"-tls1_2"});
    lowest.send("GET / HTTP/1.0\r\n\r\n");
    lowest.program().wait_for_line("fibers");
    BOOST_TEST(lowest.program().wait() == 0);
    server.stop();
}

BOOST_AUTO_TEST_CASE(tls_ends_by_its_own_word)
{
    https_server server({"--limit-idle", "0.2"});
    for (bool const asks : {true, false}) // and where the server gives up waiting
    {
        s_client client(server.port);
        client.program().wait_for_line("Verify return code: 0 (ok)");
        if (asks)
            client.send("GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
        BOOST_TEST(client.program().wait() == 0);
        BOOST_TEST(contains(client.program().out(), page) == asks);
        BOOST_TEST(contains(client.program().out(), "closed\n"), client.program().out());
        // What it says where the connection ends without that word.
        BOOST_TEST(!contains(client.program().err(), "unexpected eof"), client.program().err());
        BOOST_TEST(!contains(client.program().out(), "errno"), client.program().out());
    }
    server.stop();
}

BOOST_AUTO_TEST_CASE(a_stop_ends_tls_by_its_own_word)
{
    https_server server;
    s_client client(server.port);
    client.program().wait_for_line("Verify return code: 0 (ok)");
    server.stop();
    BOOST_TEST(client.program().wait() == 0);
    BOOST_TEST(contains(client.program().out(), "closed\n"), client.program().out());
    BOOST_TEST(!contains(client.program().err(), "unexpected eof"), client.program().err());
}

BOOST_AUTO_TEST_CASE(a_handshake_has_a_deadline)
{
    https_server server({"--limit-handshake", "0.2"});
    for (std::string const part : {"", "\x16\x03\x01\x02"})
    {
        raw_client client(server.where);
        client.send(part);
        client.read_all();
        BOOST_TEST(client.end() == asio::error::eof);
    }
    BOOST_TEST(curl({server.url + "/"}).out == page);
    server.stop();
}

BOOST_AUTO_TEST_CASE(who_does_not_speak_tls_is_left)
{
    https_server server;
    for (std::string const& garbage :
         {std::string("GET / HTTP/1.1\r\nHost: here\r\n\r\n"), std::string(100000, '\0'),
          std::string("\x16\x03\x01\xff\xff") + std::string(70000, 'x')})
    {
        raw_client client(server.where);
        client.send(garbage);
        client.read_all();
        BOOST_TEST(client.end().failed());
    }
    raw_client(server.where).reset();
    BOOST_TEST(curl({server.url + "/"}).out == page);
    server.stop();
}

BOOST_AUTO_TEST_CASE(bad_options_are_named)
{
    std::string const no_file = certificate::files() / "none";
    for (auto const& [args, said] : {
             std::pair<process::arguments, std::string>{{}, "--certificate is missing"},
             {{"--certificate", good().file}, "--key is missing"},
             {{"--certificate", no_file, "--key", good().key}, "--certificate \"" + no_file},
             {{"--certificate", good().file, "--key", no_file}, "--key \"" + no_file},
             {{"--certificate", good().file, "--key", other().key}, "mismatch"},
             {{"--certificate", good().key, "--key", good().key}, "--certificate \""},
         })
    {
        process p(test::example("https_server"), args);
        BOOST_TEST(p.wait() == 2);
        BOOST_TEST(contains(p.err(), said), p.err());
        BOOST_TEST(p.out() == "");
    }
}
