// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// An HTTP server: Beast's blocking read and write, with a fiber for each connection, under
// any policy. Each client has limits in bytes and time. SIGINT and SIGTERM end it: it
// accepts no more, answers what it was asked, and cuts off what takes too long.

#include "http_session.hpp"
#include "server_program.hpp"

#include <polyloop.hpp>

#include <boost/asio/ip/tcp.hpp>
#include <boost/program_options.hpp>

#include <iostream>

int main(int argc, char** argv)
try
{
    boost::program_options::options_description options(
        "An HTTP server under any policy");
    add_http_options(options);
    auto const given = read_options(argc, argv, options);
    if (given.contains("help"))
    {
        std::cout << options;
        return 0;
    }

    auto const where = where_to_listen(given);
    auto const limit = seconds(given, "limit-stop");
    auto service = make_http_service(given);
    // tag::serve[]
    auto const serve = [&](polyloop::tcp_stream connection) {
        connection.set_option(boost::asio::ip::tcp::no_delay(true));
        if (serve_requests(connection, connection, service))
            close_gently(connection);
    };
    polyloop::run(
        [&] {
            serve_until_stopped(
                where, serve, how_to_serve(given), limit, [&] { service.open.stop(); });
        },
        how_to_run(given));
    // end::serve[]
}
catch (std::exception const& e)
{
    return failed("http_server", e);
}
