// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// http_server over TLS: Asio's SSL stream on a stream for fibers, with its blocking
// handshake, read, write and shutdown.

#include "http_session.hpp"
#include "server_program.hpp"

#include <polyloop.hpp>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/program_options.hpp>

#include <chrono>
#include <iostream>
#include <string>

namespace po = boost::program_options;
namespace ssl = boost::asio::ssl;

namespace
{
ssl::context make_context(po::variables_map const& given)
{
    auto file = [&](std::string const& name) {
        if (!given.contains(name))
            throw bad_option("--" + name + " is missing: name a PEM file");
        return given[name].as<std::string>();
    };
    auto check = [&](std::string const& name, error_code const& ec) {
        if (ec)
            throw bad_option(quoted(name, file(name)) + ": " + ec.message());
    };
    ssl::context c(ssl::context::tls_server);
    c.set_options(ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1);
    error_code ec;
    c.use_certificate_chain_file(file("certificate"), ec);
    check("certificate", ec);
    c.use_private_key_file(file("key"), ssl::context::pem, ec);
    check("key", ec);
    return c;
}

// tag::serve[]
void serve(polyloop::tcp_stream& connection, ssl::context& context, http_service& service,
    std::chrono::nanoseconds handshake_limit)
{
    connection.set_option(boost::asio::ip::tcp::no_delay(true));
    ssl::stream<polyloop::tcp_stream&> secure(connection, context);
    error_code ec;
    connection.expires_after(handshake_limit);
    secure.handshake(ssl::stream_base::server, ec);
    if (ec)
        return;
    bool const answered = serve_requests(secure, connection, service);
    connection.expires_after(std::chrono::seconds(1));
    secure.shutdown(ec); // says that this is the end, and waits for the client's word
    if (answered)
        close_gently(connection);
}
// end::serve[]
} // namespace

int main(int argc, char** argv)
try
{
    po::options_description options("An HTTPS server under any policy");
    add_http_options(options);
    auto add = options.add_options();
    add("certificate", po::value<std::string>(),
        "PEM file: the server's, and those between it and the root");
    add("key", po::value<std::string>(), "PEM file: the private key of the certificate");
    add("limit-handshake", po::value<std::string>()->default_value("10"),
        "seconds that a client may take for the handshake");
    auto const given = read_options(argc, argv, options);
    if (given.contains("help"))
    {
        std::cout << options;
        return 0;
    }

    auto const where = where_to_listen(given);
    auto const limit = seconds(given, "limit-stop");
    auto const handshake_limit = seconds(given, "limit-handshake");
    auto service = make_http_service(given);
    auto context = make_context(given);
    auto const handle = [&](polyloop::tcp_stream connection) {
        serve(connection, context, service, handshake_limit);
    };
    polyloop::run(
        [&] {
            serve_until_stopped(
                where, handle, how_to_serve(given), limit, [&] { service.open.stop(); });
        },
        how_to_run(given));
}
catch (std::exception const& e)
{
    return failed("https_server", e);
}
