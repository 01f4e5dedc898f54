// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// The smallest server: each connection has a fiber of its own, written as if it blocked,
// until the client closes, which ends it. POLYLOOP_POLICY decides on which loops they
// run.

// tag::server[]
#include <polyloop.hpp>
#include <boost/asio/write.hpp>
#include <iostream>

void echo(polyloop::tcp_stream peer)
{
    char data[4096];
    while (auto n = peer.read_some(boost::asio::buffer(data)))
        boost::asio::write(peer, boost::asio::buffer(data, n));
}

int main()
{
    polyloop::run([] {
        auto server =
            polyloop::start_server({boost::asio::ip::address_v4::loopback(), 0}, echo);
        std::cout << "listening on " << server.endpoint() << std::endl;
        server.serve_forever();
    });
}
// end::server[]
