// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE io.udp_socket

#include <polyloop/io/udp_socket.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"

#include <polyloop/io/local_datagram_socket.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/timeout.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/ip/multicast.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

using namespace polyloop;
using namespace std::chrono_literals;
using boost::system::error_code;
using boost::system::system_error;

namespace {

using udp = asio::ip::udp;
using local = asio::local::datagram_protocol;

udp::endpoint const any_port(asio::ip::address_v4::loopback(), 0);

test::fails_with const aborted(make_error_code(asio::error::operation_aborted));
test::fails_with const timed_out(make_error_code(asio::error::timed_out));

/// Two local sockets that are connected to each other.
std::pair<local_datagram_socket, local_datagram_socket>
local_pair(event_loop& loop = get_running_loop())
{
    local::socket a(loop.io_context()), b(loop.io_context());
    asio::local::connect_pair(a, b);
    return {local_datagram_socket(loop, std::move(a)), local_datagram_socket(loop, std::move(b))};
}

/// A name for a local socket, and the file away in the end.
struct socket_path
{
    socket_path()
    {
        std::string pattern = (std::filesystem::temp_directory_path() / "polyloop.XXXXXX").string();
        BOOST_REQUIRE(::mkdtemp(pattern.data()) != nullptr);
        directory = pattern;
    }
    ~socket_path()
    {
        std::filesystem::remove_all(directory);
    }
    local::endpoint endpoint(char const* name) const
    {
        return local::endpoint((directory / name).string());
    }

    std::filesystem::path directory;
};

static_assert(std::is_nothrow_move_constructible_v<udp_socket>);
static_assert(!std::is_copy_constructible_v<udp_socket>);

} // namespace

BOOST_AUTO_TEST_CASE(datagrams_come_whole_and_with_their_sender)
{
    test::under_every_policy([] {
        udp_socket server(any_port), client(any_port);
        udp::endpoint const where = server.local_endpoint();
        BOOST_TEST(where.port() != 0);
        auto echo = spawn([&] {
            for (int i = 0; i != 20; ++i)
            {
                std::array<char, 64> data;
                udp::endpoint from;
                std::size_t const n = server.receive_from(asio::buffer(data), from);
                server.send_to(asio::buffer(data, n), from);
            }
        });
        for (int i = 0; i != 20; ++i)
        {
            std::string const text = std::string(static_cast<std::size_t>(i), '.');
            BOOST_TEST(client.send_to(asio::buffer(text), where) == text.size()); // also none
            std::array<char, 64> data;
            udp::endpoint from;
            std::size_t const n = client.receive_from(asio::buffer(data), from);
            BOOST_TEST(std::string(data.data(), n) == text);
            BOOST_TEST((from == where));
        }
        echo.join();
    });
}

BOOST_AUTO_TEST_CASE(several_buffers_are_one_datagram)
{
    test::under_every_policy([] {
        auto [a, b] = local_pair();
        std::array<asio::const_buffer, 3> const out{asio::buffer("ab", 2), asio::const_buffer(),
                                                    asio::buffer("cde", 3)};
        BOOST_TEST(a.send(out) == 5u);
        BOOST_TEST(a.send(asio::buffer("f", 1)) == 1u);
        char x[2], y[9];
        std::array<asio::mutable_buffer, 2> const in{asio::buffer(x), asio::buffer(y)};
        BOOST_TEST(b.receive(in) == 5u);
        BOOST_TEST(std::string(x, 2) + std::string(y, 3) == "abcde");
        BOOST_TEST(b.receive(in) == 1u);
        BOOST_TEST(x[0] == 'f');
    });
}

BOOST_AUTO_TEST_CASE(what_finds_no_room_is_lost_as_with_asio)
{
    test::under_every_policy([] {
        udp_socket a(any_port), b(any_port);
        a.send_to(asio::buffer("abcdef", 6), b.local_endpoint());
        a.send_to(asio::buffer("next", 4), b.local_endpoint());
        char little[3];
        BOOST_TEST(b.receive(asio::buffer(little), asio::socket_base::message_peek) == 3u);
        error_code ec;
        BOOST_TEST(b.receive(asio::buffer(little), ec) == 3u);
        BOOST_TEST(!ec);
        BOOST_TEST(std::string(little, 3) == "abc");
        char enough[8];
        BOOST_TEST(b.receive(asio::buffer(enough)) == 4u);
        BOOST_TEST(std::string(enough, 4) == "next");
    });
}

BOOST_AUTO_TEST_CASE(a_connected_socket_hears_its_peer_alone)
{
    test::under_every_policy([] {
        udp_socket server(any_port), stranger(any_port);
        udp_socket client;
        client.connect(server.local_endpoint()); // opens it
        BOOST_TEST((client.remote_endpoint() == server.local_endpoint()));
        udp::endpoint const here = client.local_endpoint();
        stranger.send_to(asio::buffer("no", 2), here);
        client.send(asio::buffer("ping", 4));
        char got[8];
        udp::endpoint from;
        BOOST_TEST(server.receive_from(asio::buffer(got), from) == 4u);
        BOOST_TEST((from == here));
        server.send_to(asio::buffer("pong", 4), from);
        BOOST_TEST(client.receive(asio::buffer(got)) == 4u);
        BOOST_TEST(std::string(got, 4) == "pong");
        // Nobody there any more: the system tells so later.
        server.close();
        error_code ec;
        client.send(asio::buffer("ping", 4), ec);
        BOOST_TEST(!ec);
        client.receive(asio::buffer(got), ec);
        BOOST_TEST(ec == asio::error::connection_refused);
    });
}

BOOST_AUTO_TEST_CASE(limits_and_cancelled_tasks_end_waits_and_lose_nothing)
{
    test::under_every_policy([] {
        auto [a, b] = local_pair();
        char byte = 0;
        b.expires_after(1ms);
        BOOST_CHECK_EXCEPTION(b.receive(asio::buffer(&byte, 1)), system_error, timed_out);
        a.send(asio::buffer("a", 1));
        error_code ec;
        b.receive(asio::buffer(&byte, 1), ec); // over, whatever is there by now
        BOOST_TEST(ec == asio::error::timed_out);
        b.expires_never();
        BOOST_TEST(b.receive(asio::buffer(&byte, 1)) == 1u);
        BOOST_CHECK_EXCEPTION(timeout(1ms, [&, &s = b] { s.receive(asio::buffer(&byte, 1)); }),
                              system_error, timed_out);
        std::atomic<bool> begun = false;
        auto waits = spawn([&, &s = b] {
            begun = true;
            char one;
            s.receive(asio::buffer(&one, 1));
        });
        while (!begun)
            this_fiber::yield();
        waits.cancel();
        BOOST_CHECK_EXCEPTION(waits.join(), system_error, aborted);
        a.send(asio::buffer("k", 1));
        BOOST_TEST(b.receive(asio::buffer(&byte, 1)) == 1u);
        BOOST_TEST(byte == 'k');
    });
}

BOOST_AUTO_TEST_CASE(close_and_cancel_come_from_anywhere)
{
    test::under_every_policy([] {
        for (bool const by_thread : {false, true})
            for (bool const closes : {false, true})
            {
                udp_socket s(any_port);
                std::atomic<bool> begun = false;
                std::atomic<bool> over = false;
                auto waits = spawn([&] {
                    begun = true;
                    char byte;
                    error_code const ec =
                        test::code_of([&] { s.receive(asio::buffer(&byte, 1)); });
                    over = true;
                    return ec;
                });
                while (!begun)
                    this_fiber::yield();
                auto end = [&] {
                    while (!over) // it may not be waiting yet
                    {
                        closes ? s.close() : s.cancel();
                        by_thread ? std::this_thread::yield() : this_fiber::yield();
                    }
                };
                if (by_thread)
                {
                    std::thread ends(end);
                    while (!over)
                        this_fiber::yield();
                    ends.join();
                }
                else
                    end();
                error_code const ec = waits.join();
                BOOST_TEST((ec == asio::error::operation_aborted ||
                            (closes && ec == asio::error::bad_descriptor)));
                BOOST_TEST(s.is_open() == !closes);
                if (!closes)
                    continue;
                error_code later;
                s.send_to(asio::buffer("x", 1), any_port, later);
                BOOST_TEST(later == asio::error::bad_descriptor);
                s.open(); // and again
                s.bind(any_port);
                BOOST_TEST(s.local_endpoint().port() != 0);
            }
    });
}

BOOST_AUTO_TEST_CASE(errors_are_the_systems)
{
    test::under_every_policy([] {
        udp_socket a(any_port);
        BOOST_CHECK_EXCEPTION(udp_socket(a.local_endpoint()), system_error,
                              test::fails_with(make_error_code(asio::error::address_in_use)));
        udp_socket closed;
        BOOST_TEST(!closed.is_open());
        char byte = 0;
        udp::endpoint from;
        auto const refused = test::fails_with(make_error_code(asio::error::bad_descriptor));
        BOOST_CHECK_EXCEPTION(closed.receive(asio::buffer(&byte, 1)), system_error, refused);
        BOOST_CHECK_EXCEPTION(closed.receive_from(asio::buffer(&byte, 1), from), system_error,
                              refused);
        BOOST_CHECK_EXCEPTION(closed.send(asio::buffer(&byte, 1)), system_error, refused);
        BOOST_CHECK_EXCEPTION(closed.bind(any_port), system_error, refused);
        BOOST_CHECK_EXCEPTION(closed.async_receive(asio::buffer(&byte, 1), use_fiber),
                              system_error, refused);
        std::string const much(70'000, 'x'); // more than a datagram can be
        BOOST_CHECK_EXCEPTION(a.send_to(asio::buffer(much), a.local_endpoint()), system_error,
                              test::fails_with(make_error_code(asio::error::message_size)));
        error_code ec;
        a.send(asio::buffer("x", 1), ec); // to whom?
        BOOST_TEST(ec);
    });
}

BOOST_AUTO_TEST_CASE(options_are_asios)
{
    test::under_every_policy([] {
        udp_socket a(any_port);
        a.set_option(asio::socket_base::receive_buffer_size(8192));
        asio::socket_base::receive_buffer_size size;
        a.get_option(size);
        BOOST_TEST(size.value() >= 8192);
        a.set_option(asio::ip::multicast::enable_loopback(false));
        asio::ip::multicast::enable_loopback loopback;
        a.get_option(loopback);
        BOOST_TEST(!loopback.value());
        a.send_to(asio::buffer("abc", 3), a.local_endpoint());
        char got[4];
        BOOST_TEST(a.receive(asio::buffer(got), asio::socket_base::message_peek) == 3u);
        BOOST_TEST(a.available() == 3u);
    });
}

BOOST_AUTO_TEST_CASE(any_token_does)
{
    test::under_every_policy([] {
        udp_socket a(any_port), b(any_port);
        auto echo = spawn([&]() -> asio::awaitable<std::string> {
            std::array<char, 16> data;
            udp::endpoint from;
            std::size_t const n =
                co_await b.async_receive_from(asio::buffer(data), from, asio::use_awaitable);
            co_await b.async_send_to(asio::buffer(data, n), from, asio::use_awaitable);
            co_return std::string(data.data(), n);
        });
        BOOST_TEST(a.async_send_to(asio::buffer("hello", 5), b.local_endpoint(), use_fiber) ==
                   5u);
        char got[8];
        auto const [ec, n] = a.async_receive(asio::buffer(got), asio::as_tuple(use_fiber));
        BOOST_TEST(!ec);
        BOOST_TEST(std::string(got, n) == "hello");
        BOOST_TEST(echo.join() == "hello");
        a.connect(b.local_endpoint());
        BOOST_TEST(a.async_send(asio::buffer("x", 1), use_fiber) == 1u);
        BOOST_TEST(b.async_receive(asio::buffer(got), use_fiber) == 1u);
        // cancelled, timed out
        auto waits = spawn([&]() -> asio::awaitable<void> {
            char byte;
            co_await b.async_receive(asio::buffer(&byte, 1), asio::use_awaitable);
        });
        this_fiber::yield();
        waits.cancel();
        BOOST_CHECK_EXCEPTION(waits.join(), system_error, aborted);
        b.expires_after(1ms);
        BOOST_CHECK_EXCEPTION(b.async_receive(asio::buffer(got), use_fiber), system_error,
                              timed_out);
    });
}

BOOST_AUTO_TEST_CASE(sockets_of_asio_come_in_and_go_out)
{
    test::under_every_policy([] {
        event_loop& loop = get_running_loop();
        udp_socket s(loop, udp::socket(loop.io_context(), any_port));
        udp_socket other(any_port);
        udp::endpoint const here = s.local_endpoint();
        other.send_to(asio::buffer("abc", 3), here);
        char got[3];
        BOOST_TEST(s.receive(asio::buffer(got)) == 3u);
        udp::socket back = s.release();
        BOOST_TEST(!s.is_open());
        other.send_to(asio::buffer("def", 3), here);
        BOOST_TEST(back.async_receive(asio::buffer(got), use_fiber) == 3u);
        BOOST_TEST(std::string(got, 3) == "def");
        BOOST_CHECK_THROW((udp_socket(loop, udp::socket(loop.io_context()))), system_error);
    });
}

namespace {

int longest_local_queue()
{
    int n = 0;
    std::ifstream("/proc/sys/net/unix/max_dgram_qlen") >> n;
    return n;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_full_local_peer_is_waited_for_where_the_system_tells_of_room)
{
    test::under_every_policy([] {
        auto [a, b] = local_pair();
        std::string const text(1000, 'x');
        int const total = 2000; // more than the system keeps
        auto sends = spawn([&, &s = a] {
            for (int i = 0; i != total; ++i)
                s.send(asio::buffer(text));
        });
        std::array<char, 1000> data;
        for (int i = 0; i != total; ++i)
            BOOST_REQUIRE(b.receive(asio::buffer(data)) == text.size());
        sends.join();
        // Not connected to each other: it tells of nothing. Where the system lets a peer have many
        // datagrams waiting, the sender's own buffer is full before that, which is told.
        if (longest_local_queue() > 64)
            return;
        socket_path path;
        local_datagram_socket full(path.endpoint("full"));
        local_datagram_socket sender(path.endpoint("sender"));
        error_code ec;
        for (int i = 0; i != total && !ec; ++i)
            sender.send_to(asio::buffer(text), path.endpoint("full"), ec);
        BOOST_TEST(ec == asio::error::no_buffer_space);
        local::endpoint from;
        BOOST_TEST(full.receive_from(asio::buffer(data), from) == text.size());
        BOOST_TEST((from == path.endpoint("sender")));
        sender.send_to(asio::buffer(text), path.endpoint("full"));
    });
}

BOOST_AUTO_TEST_CASE(a_plain_thread_blocks_and_a_bare_handler_is_refused)
{
    event_loop loop;
    test::running const runs(loop);
    udp_socket a(loop, any_port), b(loop, any_port);
    std::thread far([&] {
        char got[4];
        udp::endpoint from;
        b.receive_from(asio::buffer(got), from);
        b.send_to(asio::buffer("pong", 4), from);
    });
    a.send_to(asio::buffer("ping", 4), b.local_endpoint()); // this thread runs no loop
    std::string got(4, ' ');
    BOOST_TEST(a.receive(asio::buffer(got)) == 4u);
    far.join();
    BOOST_TEST(got == "pong");

    std::promise<error_code> refused;
    loop.call_soon_threadsafe([&] {
        char byte;
        refused.set_value(test::code_of([&] { a.receive(asio::buffer(&byte, 1)); }));
    });
    BOOST_TEST(refused.get_future().get() == error::not_in_fiber);
}

BOOST_AUTO_TEST_CASE(a_loop_that_ends_ends_the_waits)
{
    for (unsigned const threads : {1u, 2u})
    {
        auto const handler = std::make_shared<int>();
        std::optional<udp_socket> outlives;
        char one;
        {
            event_loop loop(loop_options{.concurrency = threads});
            udp_socket waited(loop, any_port);
            outlives.emplace(loop, any_port);
            auto t = spawn(loop, [&] {
                char byte;
                waited.receive(asio::buffer(&byte, 1));
            });
            waited.async_receive(asio::buffer(&one, 1), [handler](error_code, std::size_t) {});
            test::run_ready(loop);
            test::run_ready(loop);
            loop.close();
            BOOST_CHECK_EXCEPTION(t.join(), system_error, aborted);
        }
        BOOST_TEST(handler.use_count() == 1);
        error_code ec;
        outlives->receive(asio::buffer(&one, 1), ec);
        BOOST_TEST(ec == error::loop_closed);
    }
}

BOOST_AUTO_TEST_CASE(others_have_their_turn_while_datagrams_never_end)
{
    event_loop loop;
    run_until_complete(loop, [] {
        auto [a, b] = local_pair();
        bool stop = false;
        auto talks = spawn([&, &s = a, &r = b] {
            char byte = 'x';
            while (!stop)
            {
                s.send(asio::buffer(&byte, 1));
                r.receive(asio::buffer(&byte, 1)); // there is always one
            }
        });
        this_fiber::sleep_for(1ms);
        stop = true;
        talks.join();
    });
}
