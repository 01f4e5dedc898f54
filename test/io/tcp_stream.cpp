// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE io.tcp_stream

#include <polyloop/io/tcp_stream.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/io/local_stream.hpp>
#include <polyloop/io/tcp_listener.hpp>
#include <polyloop/loop/backend.hpp>
#include <polyloop/loop/tcp.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/timeout.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace polyloop;
using namespace std::chrono_literals;
using boost::system::error_code;

namespace {

using tcp_endpoint = asio::ip::tcp::endpoint;
tcp_endpoint const any_port{asio::ip::address_v4::loopback(), 0};

/// Two ends of a connection, on the running loop.
struct connected
{
    connected() : connected(get_running_loop(), get_running_loop())
    {
    }
    connected(event_loop& first, event_loop& second) : a(first), b(second)
    {
        tcp_listener listener(any_port);
        auto accepts = spawn([&] { b = listener.accept(second); });
        a.connect(listener.local_endpoint());
        accepts.join();
    }

    tcp_stream a, b;
};

/// The far end is a plain socket, which blocks.
struct local_pair
{
    explicit local_pair(event_loop& loop = get_running_loop()) : near(loop)
    {
        int fds[2];
        BOOST_REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
        near = local_stream(loop, asio::local::stream_protocol(), fds[0]);
        far = fds[1];
    }
    ~local_pair()
    {
        if (far >= 0)
            ::close(far);
    }
    local_stream near;
    int far;
};

std::size_t open_descriptors()
{
    std::size_t n = 0;
    for (int fd = 0; fd != 1024; ++fd)
        n += ::fcntl(fd, F_GETFD) != -1;
    return n;
}

test::fails_with const aborted(make_error_code(asio::error::operation_aborted));
test::fails_with const timed_out(make_error_code(asio::error::timed_out));

static_assert(std::is_nothrow_move_constructible_v<tcp_stream>);
static_assert(!std::is_copy_constructible_v<tcp_stream>);

} // namespace

BOOST_AUTO_TEST_CASE(reads_and_writes_as_blocking_streams_do)
{
    test::under_every_policy([] {
        connected c;
        auto echo = spawn([&] {
            std::array<char, 64> data;
            error_code ec;
            for (std::size_t n; (n = c.b.read_some(asio::buffer(data), ec)) != 0;)
                asio::write(c.b, asio::buffer(data, n));
            return ec;
        });
        asio::write(c.a, asio::buffer("one line\nand more", 17));
        std::string got;
        asio::read_until(c.a, asio::dynamic_buffer(got), '\n');
        BOOST_TEST(got.substr(0, 9) == "one line\n");
        asio::read(c.a, asio::dynamic_buffer(got), asio::transfer_exactly(17 - got.size()));
        BOOST_TEST(got == "one line\nand more");
        c.a.shutdown(asio::socket_base::shutdown_send);
        BOOST_TEST(echo.join() == asio::error::eof);
        // half-closed: the other way worked to the end
        c.b.close();
        char byte;
        error_code ec;
        BOOST_TEST(c.a.read_some(asio::buffer(&byte, 1), ec) == 0u);
        BOOST_TEST(ec == asio::error::eof);
        BOOST_TEST(c.a.read_some(asio::buffer(&byte, 1), ec) == 0u); // and again
        BOOST_TEST(ec == asio::error::eof);
    });
}

BOOST_AUTO_TEST_CASE(several_buffers_go_in_one_call)
{
    test::under_every_policy([] {
        local_pair p;
        std::array<asio::const_buffer, 3> const out{asio::buffer("ab", 2), asio::const_buffer(),
                                                    asio::buffer("cde", 3)};
        BOOST_TEST(p.near.write_some(out) == 5u);
        char got[8];
        BOOST_TEST(::read(p.far, got, sizeof got) == 5);
        BOOST_TEST(std::string(got, 5) == "abcde");
        BOOST_REQUIRE(::write(p.far, "vwxyz", 5) == 5);
        char x[2], y[9];
        std::array<asio::mutable_buffer, 2> const in{asio::buffer(x), asio::buffer(y)};
        BOOST_TEST(p.near.read_some(in) == 5u);
        BOOST_TEST(std::string(x, 2) + std::string(y, 3) == "vwxyz");
        BOOST_TEST(p.near.read_some(asio::mutable_buffer()) == 0u); // nothing is asked for
    });
}

BOOST_AUTO_TEST_CASE(much_goes_through_a_full_buffer_both_ways_at_once)
{
    test::under_every_policy([] {
        connected c;
        std::string const all(3'000'000, 'x');
        auto pump = [&](tcp_stream& s) {
            auto writes = spawn([&] { return asio::write(s, asio::buffer(all)); });
            std::string got(all.size(), ' ');
            asio::read(s, asio::buffer(got));
            return writes.join() == all.size() && got == all;
        };
        auto other = spawn([&] { return pump(c.b); });
        BOOST_TEST(pump(c.a));
        BOOST_TEST(other.join());
    });
}

BOOST_AUTO_TEST_CASE(a_wait_is_cancelled_with_its_task_and_loses_nothing)
{
    test::under_every_policy([] {
        local_pair p;
        std::atomic<bool> begun = false;
        auto reads = spawn([&] {
            char byte;
            begun = true;
            p.near.read_some(asio::buffer(&byte, 1));
        });
        while (!begun)
            this_fiber::yield();
        reads.cancel();
        BOOST_CHECK_EXCEPTION(reads.join(), boost::system::system_error, aborted);
        BOOST_REQUIRE(::write(p.far, "k", 1) == 1);
        char byte = 0;
        BOOST_TEST(p.near.read_some(asio::buffer(&byte, 1)) == 1u);
        BOOST_TEST(byte == 'k');
    });
}

BOOST_AUTO_TEST_CASE(limits_end_waits_and_can_be_taken_back)
{
    test::under_every_policy([] {
        local_pair p;
        char byte = 0;
        p.near.expires_after(1ms);
        BOOST_CHECK_EXCEPTION(p.near.read_some(asio::buffer(&byte, 1)),
                              boost::system::system_error, timed_out);
        // over, whatever is there by now
        BOOST_REQUIRE(::write(p.far, "a", 1) == 1);
        error_code ec;
        p.near.read_some(asio::buffer(&byte, 1), ec);
        BOOST_TEST(ec == asio::error::timed_out);
        p.near.expires_never();
        BOOST_TEST(p.near.read_some(asio::buffer(&byte, 1)) == 1u);
        BOOST_TEST(byte == 'a');
        p.near.expires_after(1h);
        BOOST_REQUIRE(::write(p.far, "b", 1) == 1);
        BOOST_TEST(p.near.read_some(asio::buffer(&byte, 1)) == 1u);
        p.near.expires_at(std::chrono::steady_clock::time_point::min());
        p.near.read_some(asio::buffer(&byte, 1), ec);
        BOOST_TEST(ec == asio::error::timed_out);
        p.near.expires_at(std::chrono::system_clock::now() + 1ms);
        p.near.read_some(asio::buffer(&byte, 1), ec);
        BOOST_TEST(ec == asio::error::timed_out);
        for (auto const limit : {std::chrono::hours::max(), std::chrono::hours::min()})
        {
            p.near.expires_after(limit);
            BOOST_REQUIRE(::write(p.far, "c", 1) == 1);
            p.near.read_some(asio::buffer(&byte, 1), ec);
            BOOST_TEST(bool(ec) == (limit < 0h));
        }
        p.near.expires_at(std::chrono::system_clock::time_point::max());
        BOOST_TEST(p.near.read_some(asio::buffer(&byte, 1)) == 1u);
        BOOST_CHECK_EXCEPTION(timeout(1ms, [&] { p.near.read_some(asio::buffer(&byte, 1)); }),
                              boost::system::system_error, timed_out);
        // writing, into a buffer that is full
        std::string const much(1'000'000, 'x');
        p.near.expires_after(1ms);
        asio::write(p.near, asio::buffer(much), ec);
        BOOST_TEST(ec == asio::error::timed_out);
    });
}

BOOST_AUTO_TEST_CASE(close_and_cancel_come_from_anywhere)
{
    test::under_every_policy([] {
        for (bool const by_thread : {false, true})
            for (bool const closes : {false, true})
            {
                local_pair p;
                std::string const much(1'000'000, 'x'); // more than the kernel takes
                std::atomic<int> begun = 0;
                auto reads = spawn([&] {
                    ++begun;
                    char byte;
                    return test::code_of([&] { p.near.read_some(asio::buffer(&byte, 1)); });
                });
                auto writes = spawn([&] {
                    ++begun;
                    return test::code_of([&] { asio::write(p.near, asio::buffer(much)); });
                });
                while (begun != 2)
                    this_fiber::yield();
                std::atomic<bool> over = false;
                auto end = [&] {
                    // Until it meets them: they may not be waiting yet.
                    while (!over)
                    {
                        closes ? p.near.close() : p.near.cancel();
                        by_thread ? std::this_thread::yield() : this_fiber::yield();
                    }
                };
                auto joins = spawn([&] {
                    std::array const codes{reads.join(), writes.join()};
                    over = true;
                    return codes;
                });
                std::thread ends;
                if (by_thread)
                    ends = std::thread(end);
                else
                    end();
                auto const codes = joins.join();
                if (by_thread)
                    ends.join();
                for (error_code const ec : codes)
                    BOOST_TEST((ec == asio::error::operation_aborted ||
                                (closes && ec == asio::error::bad_descriptor)));
                BOOST_TEST(p.near.is_open() == !closes);
                char byte;
                if (closes)
                {
                    error_code ec;
                    p.near.read_some(asio::buffer(&byte, 1), ec);
                    BOOST_TEST(ec == asio::error::bad_descriptor);
                    BOOST_TEST(p.near.native_handle() == -1);
                }
            }
    });
}

BOOST_AUTO_TEST_CASE(what_begins_after_a_close_has_no_descriptor)
{
    test::under_every_policy([] {
        local_pair p;
        p.near.close();
        local_stream never;
        char byte = 0;
        for (local_stream* const s : {&p.near, &never})
        {
            auto const code = [](auto f) { return test::code_of(f); };
            error_code const codes[] = {
                code([&] { s->read_some(asio::buffer(&byte, 1)); }),
                code([&] { s->write_some(asio::buffer(&byte, 1)); }),
                code([&] { s->read_some(asio::mutable_buffer()); }),
                code([&] { s->async_read_some(asio::buffer(&byte, 1), use_fiber); }),
                code([&] { s->async_write_some(asio::buffer(&byte, 1), use_fiber); }),
                code([&] { s->async_read_some(asio::mutable_buffer(), use_fiber); }),
                code([&] { s->shutdown(asio::socket_base::shutdown_both); }),
                code([&] { s->available(); }),
                code([&] { s->remote_endpoint(); }),
            };
            for (error_code const& ec : codes)
                BOOST_TEST(ec == asio::error::bad_descriptor);
        }
    });
    event_loop loop;
    run_until_complete(loop, [] {
        local_stream never;
        char byte;
        bool called = false; // and not within the call
        never.async_read_some(asio::buffer(&byte, 1),
                              [&](error_code, std::size_t) { called = true; });
        BOOST_TEST(!called);
        while (!called)
            this_fiber::yield();
    });
}

BOOST_AUTO_TEST_CASE(what_began_before_a_close_is_aborted_wherever_it_is)
{
    event_loop loop;
    run_until_complete(loop, [] {
        char byte = 0;
        {
            local_pair p; // it gives way to others, before it reads
            BOOST_REQUIRE(::write(p.far, std::string(1000, 'x').data(), 1000) == 1000);
            p.near.read_some(asio::buffer(&byte, 1));
            auto reads = spawn([&] {
                return test::code_of([&] {
                    for (;;)
                        p.near.read_some(asio::buffer(&byte, 1));
                });
            });
            this_fiber::yield();
            p.near.close();
            BOOST_TEST(reads.join() == asio::error::operation_aborted);
        }
        local_pair p; // it may go on, and its completion is on its way
        BOOST_REQUIRE(::write(p.far, "ab", 2) == 2);
        p.near.read_some(asio::buffer(&byte, 1));
        auto begun = spawn([&] {
            return test::code_of(
                [&] { p.near.async_read_some(asio::buffer(&byte, 1), use_fiber); });
        });
        this_fiber::yield();
        p.near.close();
        BOOST_TEST(begun.join() == asio::error::operation_aborted);
    });
}

BOOST_AUTO_TEST_CASE(connecting_tells_what_the_system_says)
{
    test::under_every_policy([] {
        tcp_endpoint gone;
        {
            tcp_listener listener(any_port);
            gone = listener.local_endpoint();
        }
        tcp_stream s;
        BOOST_CHECK_EXCEPTION(s.connect(gone), boost::system::system_error,
                              test::fails_with(make_error_code(asio::error::connection_refused)));
        BOOST_TEST(!s.is_open());
        tcp_listener listener(any_port);
        std::vector<tcp_endpoint> const all{gone, listener.local_endpoint()};
        error_code ec;
        BOOST_TEST((s.connect(all.begin(), all.end(), ec) == all[1]));
        BOOST_TEST(!ec);
        BOOST_TEST((s.remote_endpoint() == all[1]));
        s.connect(all.begin(), all.begin(), ec);
        BOOST_TEST(ec == asio::error::not_found);
    });
}

BOOST_AUTO_TEST_CASE(options_and_endpoints_are_asios)
{
    test::under_every_policy([] {
        connected c;
        c.a.set_option(asio::ip::tcp::no_delay(true));
        asio::ip::tcp::no_delay on;
        c.a.get_option(on);
        BOOST_TEST(on.value());
        BOOST_TEST((c.a.local_endpoint() == c.b.remote_endpoint()));
        asio::write(c.a, asio::buffer("xyz", 3));
        char byte;
        c.b.read_some(asio::buffer(&byte, 1));
        BOOST_TEST(c.b.available() == 2u);
        tcp_stream closed;
        error_code ec;
        closed.set_option(asio::ip::tcp::no_delay(true), ec);
        BOOST_TEST(ec == asio::error::bad_descriptor);
        BOOST_CHECK_THROW(closed.local_endpoint(), boost::system::system_error);
        closed.read_some(asio::buffer(&byte, 1), ec);
        BOOST_TEST(ec == asio::error::bad_descriptor);
    });
}

BOOST_AUTO_TEST_CASE(any_token_does)
{
    test::under_every_policy([] {
        connected c;
        auto coroutine = spawn([&]() -> asio::awaitable<std::string> {
            std::string got(5, ' ');
            co_await asio::async_read(c.b, asio::buffer(got), asio::use_awaitable);
            co_await asio::async_write(c.b, asio::buffer("there", 5), asio::use_awaitable);
            co_return got;
        });
        BOOST_TEST(c.a.async_write_some(asio::buffer("hello", 5), use_fiber) == 5u);
        BOOST_TEST(coroutine.join() == "hello");
        char got[5];
        auto const [ec, n] = c.a.async_read_some(asio::buffer(got), asio::as_tuple(use_fiber));
        BOOST_TEST(!ec);
        BOOST_TEST(std::string(got, n) == "there");
        // cancelled, timed out, ended
        auto waits = spawn([&]() -> asio::awaitable<void> {
            char byte;
            co_await c.b.async_read_some(asio::buffer(&byte, 1), asio::use_awaitable);
        });
        this_fiber::yield();
        waits.cancel();
        BOOST_CHECK_EXCEPTION(waits.join(), boost::system::system_error, aborted);
        c.b.expires_after(1ms);
        char byte;
        BOOST_CHECK_EXCEPTION(c.b.async_read_some(asio::buffer(&byte, 1), use_fiber),
                              boost::system::system_error, timed_out);
        c.b.expires_never();
        c.a.close();
        BOOST_CHECK_EXCEPTION(c.b.async_read_some(asio::buffer(&byte, 1), use_fiber),
                              boost::system::system_error,
                              test::fails_with(make_error_code(asio::error::eof)));
    });
}

BOOST_AUTO_TEST_CASE(a_cancellation_that_finds_nobody_waiting_is_kept)
{
    event_loop loop;
    run_until_complete(loop, [] {
        local_pair p;
        char three[3];
        for (bool const of_the_task : {true, false})
        {
            BOOST_REQUIRE(::write(p.far, "abc", 3) == 3);
            // all that was asked for, so that more might be there: the next one tries
            BOOST_TEST(p.near.read_some(asio::buffer(three)) == 3u);
            auto reads = spawn([&] {
                return test::code_of(
                    [&] { p.near.async_read_some(asio::buffer(three), use_fiber); });
            });
            this_fiber::yield(); // it has begun, and its completion is on its way
            of_the_task ? void(reads.cancel()) : p.near.cancel();
            BOOST_TEST(reads.join() == asio::error::operation_aborted);
        }
    });
}

BOOST_AUTO_TEST_CASE(any_type_of_cancellation_ends_an_operation)
{
    event_loop loop;
    run_until_complete(loop, [] {
        for (auto const type : {asio::cancellation_type::total, asio::cancellation_type::partial,
                                asio::cancellation_type::terminal})
        {
            local_pair p;
            char byte;
            asio::cancellation_signal signal;
            error_code got;
            bool called = false;
            p.near.async_read_some(asio::buffer(&byte, 1),
                                   asio::bind_cancellation_slot(
                                       signal.slot(), [&](error_code ec, std::size_t) {
                                           got = ec;
                                           called = true;
                                       }));
            signal.emit(type);
            while (!called)
                this_fiber::yield();
            BOOST_TEST(got == asio::error::operation_aborted);
        }
    });
}

BOOST_AUTO_TEST_CASE(a_number_that_was_given_back_is_not_touched_again)
{
    for (unsigned const threads : {1u, 2u})
    {
        event_loop loop(loop_options{.concurrency = threads});
        run_until_complete(loop, [] {
            local_pair p;
            BOOST_REQUIRE(::write(p.far, "abc", 3) == 3);
            char byte;
            p.near.read_some(asio::buffer(&byte, 1)); // there is more
            std::atomic<bool> called = false;
            p.near.async_read_some(asio::buffer(&byte, 1),
                                   [&](error_code, std::size_t) { called = true; });
            int const number = p.near.native_handle();
            p.near.close();
            int const other = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
            BOOST_TEST(other == number);
            while (!called)
                this_fiber::yield();
            BOOST_TEST(::fcntl(other, F_GETFD) != -1);
            ::close(other);
        });
    }
}

BOOST_AUTO_TEST_CASE(a_read_that_ends_early_is_not_taken_for_the_last)
{
    event_loop loop;
    run_until_complete(loop, [] {
        // A descriptor that is sent along ends a read.
        local_pair p;
        BOOST_REQUIRE(::write(p.far, "abc", 3) == 3);
        ::iovec part{const_cast<char*>("def"), 3};
        alignas(::cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
        ::msghdr m{};
        m.msg_iov = &part;
        m.msg_iovlen = 1;
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        ::cmsghdr* const c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        *reinterpret_cast<int*>(CMSG_DATA(c)) = p.far;
        BOOST_REQUIRE(::sendmsg(p.far, &m, 0) == 3);
        std::string got(6, ' ');
        BOOST_TEST(asio::read(p.near, asio::buffer(got)) == 6u);
        BOOST_TEST(got == "abcdef");
        // So does urgent data.
        connected t;
        asio::write(t.a, asio::buffer("abc", 3));
        BOOST_REQUIRE(::send(t.a.native_handle(), "!", 1, MSG_OOB) == 1);
        asio::write(t.a, asio::buffer("def", 3));
        BOOST_TEST(asio::read(t.b, asio::buffer(got)) == 6u);
        BOOST_TEST(got == "abcdef");
    });
}

BOOST_AUTO_TEST_CASE(a_plain_thread_blocks_and_a_bare_handler_is_refused)
{
    event_loop loop;
    test::running const runs(loop);
    local_pair p(loop);
    bool answered = false;
    std::thread far([&] {
        char got[4];
        answered = ::read(p.far, got, sizeof got) == 4 && ::write(p.far, "pong", 4) == 4;
    });
    asio::write(p.near, asio::buffer("ping", 4)); // this thread runs no loop
    std::string got(4, ' ');
    asio::read(p.near, asio::buffer(got));
    far.join();
    BOOST_TEST(answered);
    BOOST_TEST(got == "pong");

    std::promise<error_code> refused;
    loop.call_soon_threadsafe([&] {
        char byte;
        refused.set_value(
            test::code_of([&] { p.near.read_some(asio::buffer(&byte, 1)); }));
    });
    BOOST_TEST(refused.get_future().get() == error::not_in_fiber);
}

BOOST_AUTO_TEST_CASE(sockets_of_asio_come_in_and_go_out)
{
    test::under_every_policy([] {
        event_loop& loop = get_running_loop();
        asio::ip::tcp::acceptor acceptor(loop.io_context(), any_port);
        tcp::socket client(loop.io_context());
        client.connect(acceptor.local_endpoint());
        tcp_stream s(loop, acceptor.accept());
        asio::write(client, asio::buffer("abc", 3));
        char got[3];
        BOOST_TEST(asio::read(s, asio::buffer(got)) == 3u);
        tcp::socket back = s.release();
        BOOST_TEST(!s.is_open());
        asio::write(client, asio::buffer("def", 3));
        BOOST_TEST(asio::async_read(back, asio::buffer(got), use_fiber) == 3u);
        BOOST_TEST(std::string(got, 3) == "def");
        BOOST_CHECK_THROW((tcp_stream(loop, tcp::socket(loop.io_context()))),
                          boost::system::system_error); // nothing is open
    });
}

BOOST_AUTO_TEST_CASE(what_asio_cannot_take_is_not_leaked)
{
    event_loop loop;
    run_until_complete(loop, [&] {
        local_pair p;
        using socket = asio::local::stream_protocol::socket;
        socket twin(loop.io_context());
        error_code ec;
        twin.assign(asio::local::stream_protocol(), p.near.native_handle(), ec);
        if (ec || current_backend() != backend::epoll)
            return; // the stream is one of Asio's, which it takes back in any case
        std::size_t const before = open_descriptors();
        // The reactor has the number already.
        BOOST_CHECK_EXCEPTION(p.near.release(), boost::system::system_error,
                              [](auto const& e) { return e.code().value() == EEXIST; });
        BOOST_TEST(!p.near.is_open());
        BOOST_TEST(open_descriptors() == before - 1);
        char byte;
        BOOST_TEST(::recv(p.far, &byte, 1, MSG_DONTWAIT) == 0); // it is told as well
        twin.release(ec);
        BOOST_CHECK_EXCEPTION(p.near.release(), boost::system::system_error,
                              test::fails_with(make_error_code(asio::error::bad_descriptor)));
    });
}

BOOST_AUTO_TEST_CASE(streams_of_another_loop)
{
    test::under_every_policy([] {
        event_loop other;
        test::running const runs(other);
        connected c(get_running_loop(), other);
        auto echo = spawn(other, [&] {
            std::array<char, 8> data;
            error_code ec;
            for (std::size_t n; (n = c.b.read_some(asio::buffer(data), ec)) != 0;)
                asio::write(c.b, asio::buffer(data, n));
        });
        for (int i = 0; i != 100; ++i)
        {
            asio::write(c.a, asio::buffer("ping", 4));
            char got[4];
            asio::read(c.a, asio::buffer(got));
        }
        // and one that is used here although its edges are seen there
        c.a.shutdown(asio::socket_base::shutdown_send);
        echo.join();
        char byte;
        error_code ec;
        BOOST_TEST(c.b.read_some(asio::buffer(&byte, 1), ec) == 0u);
        BOOST_TEST(ec == asio::error::eof);
    });
}

BOOST_AUTO_TEST_CASE(a_moved_stream_goes_on)
{
    test::under_every_policy([] {
        local_pair p;
        local_stream s(std::move(p.near));
        BOOST_REQUIRE(::write(p.far, "a", 1) == 1);
        char byte;
        BOOST_TEST(s.read_some(asio::buffer(&byte, 1)) == 1u);
        local_stream t;
        t = std::move(s);
        BOOST_REQUIRE(::write(p.far, "b", 1) == 1);
        BOOST_TEST(t.read_some(asio::buffer(&byte, 1)) == 1u);
        BOOST_TEST(byte == 'b');
        // What is left is closed, and can be used again.
        BOOST_TEST(!s.is_open());
        tcp_listener listener(any_port);
        tcp_stream first, second(std::move(first));
        first.expires_after(1h);
        first.connect(listener.local_endpoint());
        BOOST_TEST(first.is_open());
    });
}

BOOST_AUTO_TEST_CASE(others_have_their_turn_while_a_stream_is_always_ready)
{
    event_loop loop;
    run_until_complete(loop, [] {
        local_pair p;
        std::atomic<bool> stop = false;
        std::thread feeds([&] {
            std::string const much(65536, 'x');
            while (::send(p.far, much.data(), much.size(), MSG_NOSIGNAL) > 0)
            {
            }
        });
        auto reads = spawn([&] {
            std::array<char, 16> little; // there is always more
            while (!stop)
                p.near.read_some(asio::buffer(little));
            p.near.close();
        });
        // a timer, a socket of Asio's, and a fiber
        asio::steady_timer timer(get_running_loop().io_context(), 1ms);
        timer.async_wait(use_fiber);
        asio::local::stream_protocol::socket a(get_running_loop().io_context()),
            b(get_running_loop().io_context());
        asio::local::connect_pair(a, b);
        a.async_write_some(asio::buffer("k", 1), use_fiber);
        char byte;
        b.async_read_some(asio::buffer(&byte, 1), use_fiber);
        stop = true;
        reads.join();
        feeds.join();
    });
}

BOOST_AUTO_TEST_CASE(a_loop_that_ends_ends_the_waits_and_leaks_nothing)
{
    std::size_t const before = open_descriptors();
    for (unsigned const threads : {1u, 2u})
    {
        auto const handler = std::make_shared<int>();
        local_stream outlives = [&] {
            event_loop loop(loop_options{.concurrency = threads});
            local_pair waited(loop), kept(loop);
            auto t = spawn(loop, [&] {
                char byte;
                waited.near.read_some(asio::buffer(&byte, 1));
            });
            char one;
            waited.near.async_read_some(asio::buffer(&one, 1),
                                        [handler](error_code, std::size_t) {});
            test::run_ready(loop);
            test::run_ready(loop);
            loop.close();
            BOOST_CHECK_EXCEPTION(t.join(), boost::system::system_error, aborted);
            return std::move(kept.near);
        }();
        BOOST_TEST(handler.use_count() == 1);
        char byte;
        error_code ec;
        outlives.read_some(asio::buffer(&byte, 1), ec);
        BOOST_TEST(ec == error::loop_closed);
        BOOST_CHECK_EXCEPTION(
            outlives.async_read_some(asio::buffer(&byte, 1), [](error_code, std::size_t) {}),
            boost::system::system_error, test::fails_with(error::loop_closed));
        outlives.close();
    }
    BOOST_TEST(open_descriptors() == before);
}

BOOST_AUTO_TEST_CASE(an_adopted_io_context_runs_out_of_work)
{
    asio::io_context io;
    {
        event_loop loop(io);
        int done = 0;
        for (int round = 0; round != 2; ++round)
        {
            local_pair p(loop);
            auto t = spawn(loop, [&] {
                char byte;
                p.near.read_some(asio::buffer(&byte, 1));
                ++done;
            });
            asio::steady_timer timer(io, 1ms);
            timer.async_wait([&](error_code) { BOOST_CHECK(::write(p.far, "k", 1) == 1); });
            io.run(); // returns: an idle stream is no work
            io.restart();
            BOOST_TEST(done == round + 1);
        }
        // An edge that nobody has looked at yet, when the loop ends.
        local_pair p(loop);
        BOOST_CHECK(::write(p.far, "k", 1) == 1);
    }
    // Nothing is left behind that counts, or is in the way.
    for (int round = 0; round != 3; ++round)
    {
        bool ran = false;
        asio::post(io, [&] { ran = true; });
        io.restart();
        BOOST_TEST(io.run() >= 1u);
        BOOST_TEST(ran);
        BOOST_TEST(io.stopped());
    }
}

BOOST_AUTO_TEST_CASE(edges_cancellations_and_limits_may_meet)
{
    test::for_seeds(3, [](test::engine& random) {
        for (char const* text : {"default", "fiber loops=2", "shared loops=2"})
            run(
                [&] {
                    connected c;
                    constexpr std::size_t total = 200;
                    auto writes = spawn([&c, r = test::engine(random())]() mutable {
                        for (std::size_t i = 0; i != total; ++i)
                        {
                            char const byte = static_cast<char>(i);
                            asio::write(c.a, asio::buffer(&byte, 1));
                            if (r() % 4 == 0)
                                this_fiber::yield();
                        }
                    });
                    std::size_t got = 0;
                    while (got != total)
                    {
                        auto const limit = std::chrono::microseconds(random() % 300);
                        auto reads = spawn([&, limit] {
                            char byte;
                            if (limit < 100us)
                                c.b.expires_after(limit);
                            else
                                c.b.expires_never();
                            error_code ec;
                            std::size_t const n = c.b.read_some(asio::buffer(&byte, 1), ec);
                            if (n == 1)
                            {
                                if (byte != static_cast<char>(got))
                                    throw std::logic_error("a byte was lost or came twice");
                                ++got;
                            }
                        });
                        if (random() % 2)
                            this_fiber::yield();
                        if (random() % 3 == 0)
                            reads.cancel();
                        try
                        {
                            reads.join();
                        }
                        catch (boost::system::system_error const& e)
                        {
                            if (e.code() != asio::error::operation_aborted)
                                throw;
                        }
                    }
                    writes.join();
                },
                {.policy = make_policy(text)});
    });
}
