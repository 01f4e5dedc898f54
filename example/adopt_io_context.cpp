// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// An Asio program that gains fibers and policies by a few lines, those between the
// `added` marks: its handlers, its io_context and its call of run() are what they were
// before.

#include <polyloop.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <cctype>
#include <exception>
#include <iostream>
#include <memory>
#include <string>

namespace asio = boost::asio;
using asio::ip::tcp;

/// Sends back in capitals what it reads, with plain handlers.
struct session : std::enable_shared_from_this<session>
{
    explicit session(tcp::socket s)
        : socket(std::move(s))
    {
    }

    void read()
    {
        auto done = [me = shared_from_this()](auto ec, auto n) {
            std::transform(me->data, me->data + n, me->data, ::toupper);
            if (!ec)
                me->write(n);
        };
        socket.async_read_some(asio::buffer(data), done);
    }

    void write(std::size_t n)
    {
        auto done = [me = shared_from_this()](auto ec, auto) {
            if (!ec)
                me->read();
        };
        asio::async_write(socket, asio::buffer(data, n), done);
    }

    tcp::socket socket;
    char data[1024];
};

void accept(tcp::acceptor& acceptor)
{
    acceptor.async_accept([&](auto ec, tcp::socket s) {
        if (ec)
            return;
        std::make_shared<session>(std::move(s))->read();
        accept(acceptor);
    });
}

int main()
try
{
    asio::io_context io;
    tcp::acceptor acceptor(io, {asio::ip::address_v4::loopback(), 0});
    accept(acceptor);

    std::string reply(5, '\0');
    // tag::added[]
    auto loop = std::make_shared<polyloop::event_loop>(io); // adopts, and does not run it
    polyloop::set_event_loop(loop); // for the policy: this thread's

    auto client = polyloop::spawn([&] { // a fiber beside the handlers above
        tcp::socket server(io);
        server.async_connect(acceptor.local_endpoint(), polyloop::use_fiber);
        asio::async_write(server, asio::buffer("hello", 5), polyloop::use_fiber);
        asio::async_read(server, asio::buffer(reply), polyloop::use_fiber);
        acceptor.close();
    });
    // end::added[]

    io.run(); // the application's own, as before

    // tag::added_end[]
    client.join(); // done: throws what the fiber threw
    polyloop::set_event_loop(nullptr);
    // end::added_end[]
    std::cout << "a handler answered the fiber: " << reply << '\n';
    return reply == "HELLO" ? 0 : 1;
}
catch (std::exception const& e) // no policy of the name in POLYLOOP_POLICY, say
{
    std::cerr << "adopt_io_context: " << e.what() << '\n';
    return 2;
}
