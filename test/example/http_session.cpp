// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// A stop of example/http_server that comes at a moment of its own choice.
#define BOOST_TEST_MODULE example_http_session

#include "http_session.hpp"

#include <polyloop/io/tcp_listener.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/task/spawn.hpp>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/unit_test.hpp>

#include <functional>
#include <string>
#include <thread>
#include <utility>

namespace asio = boost::asio;
using polyloop::tcp_stream;

namespace {

std::string const get = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";

http_service service_with_limits()
{
    return {.what = resources(),
            .header_limit = 8192,
            .body_limit = 8192,
            .request_limit = std::chrono::seconds(10),
            .idle_limit = std::chrono::seconds(10)};
}

/// A connection to a session, on one loop.
struct served
{
    served()
    {
        polyloop::tcp_listener listener({asio::ip::address_v4::loopback(), 0});
        auto accepts = polyloop::spawn([&] { session = listener.accept(); });
        client.connect(listener.local_endpoint());
        accepts.join();
    }

    tcp_stream client, session;
};

/// Calls something once bytes have come, before whoever reads has them.
struct watched
{
    template <class Buffers>
    std::size_t read_some(Buffers const& buffers, error_code& ec)
    {
        std::size_t const n = stream.read_some(buffers, ec);
        if (n != 0)
            if (auto const f = std::exchange(on_bytes, {}))
                f();
        return n;
    }
    template <class Buffers>
    std::size_t read_some(Buffers const& buffers)
    {
        error_code ec;
        std::size_t const n = read_some(buffers, ec);
        if (ec)
            throw boost::system::system_error(ec);
        return n;
    }
    template <class Buffers>
    std::size_t write_some(Buffers const& buffers, error_code& ec)
    {
        return stream.write_some(buffers, ec);
    }
    template <class Buffers>
    std::size_t write_some(Buffers const& buffers)
    {
        return stream.write_some(buffers);
    }

    tcp_stream& stream;
    std::function<void()> on_bytes;
};

/// All that the client reads.
std::string answers(tcp_stream& client)
{
    std::string all;
    error_code ec;
    asio::read(client, asio::dynamic_buffer(all), ec);
    return all;
}

bool is_last_answer(std::string const& text)
{
    return text.starts_with("HTTP/1.1 200 OK") && text.ends_with("on fibers.\n") &&
           text.find("Connection: close") != text.npos;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_request_whose_first_byte_comes_with_the_stop_is_answered)
{
    polyloop::run([] {
        served s;
        http_service service = service_with_limits();
        bool answered = false;
        auto session = polyloop::spawn([&] {
            watched stream{s.session, [&] {
                               std::thread([&] { service.open.stop(); }).join();
                           }};
            answered = serve_requests(stream, s.session, service);
            s.session.close();
        });
        // In two parts, so that the session waits again.
        asio::write(s.client, asio::buffer(get.substr(0, 10)));
        while (!service.open.stopping())
            polyloop::this_fiber::yield();
        asio::write(s.client, asio::buffer(get.substr(10)));
        BOOST_TEST(is_last_answer(answers(s.client)));
        session.join();
        BOOST_TEST(answered);
    });
}

BOOST_AUTO_TEST_CASE(a_request_that_came_before_the_stop_is_answered)
{
    polyloop::run([] {
        for (bool const waits : {true, false})
        {
            served s;
            http_service service = service_with_limits();
            auto begin = [&] {
                return polyloop::spawn([&] {
                    serve_requests(s.session, s.session, service);
                    s.session.close();
                });
            };
            polyloop::task<> session;
            if (waits)
            {
                session = begin();
                polyloop::this_fiber::yield(); // for its first byte
            }
            asio::write(s.client, asio::buffer(get));
            service.open.stop(); // and nobody has looked at what came
            if (!waits)
                session = begin();
            BOOST_TEST(is_last_answer(answers(s.client)));
            session.join();
        }
    });
}

BOOST_AUTO_TEST_CASE(a_stop_ends_who_has_asked_for_nothing)
{
    polyloop::run([] {
        for (bool const waits : {true, false})
        {
            served s;
            http_service service = service_with_limits();
            if (!waits)
                service.open.stop();
            auto session = polyloop::spawn([&] {
                bool const answered = serve_requests(s.session, s.session, service);
                s.session.close();
                return answered;
            });
            polyloop::this_fiber::yield();
            service.open.stop();
            BOOST_TEST(!session.join());
            BOOST_TEST(answers(s.client) == "");
        }
    });
}
