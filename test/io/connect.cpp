// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// Connecting by name and port.
#define BOOST_TEST_MODULE io.connect

#include <polyloop/io/tcp_stream.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/policies.hpp"

#include <polyloop/io/local_stream.hpp>
#include <polyloop/io/tcp_listener.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace polyloop;
using namespace std::chrono_literals;
using boost::system::error_code;
using boost::system::system_error;

namespace {

using endpoint = asio::ip::tcp::endpoint;

void throw_if(error_code const& ec)
{
    if (ec)
        throw system_error(ec);
}

std::string port_of(tcp_listener const& l)
{
    return std::to_string(l.local_endpoint().port());
}

/// Every address of the name, in the order in which they are tried.
std::vector<asio::ip::address> addresses(std::string const& host)
{
    asio::io_context io;
    std::vector<asio::ip::address> all;
    for (auto const& entry : asio::ip::tcp::resolver(io).resolve(host, "1"))
        all.push_back(entry.endpoint().address());
    return all;
}

/// Listens, and has no room for one more: who connects waits. The system says how many it takes.
struct full_listener
{
    full_listener() : socket(io, endpoint(addresses("localhost").back(), 0))
    {
        socket.listen(0);
        auto const full = [this] {
            waiting.emplace_back(io);
            waiting.back().open(socket.local_endpoint().protocol());
            waiting.back().native_non_blocking(true);
            endpoint const to = socket.local_endpoint();
            return ::connect(waiting.back().native_handle(), to.data(),
                             static_cast<::socklen_t>(to.size())) != 0 &&
                   !connected_soon(waiting.back());
        };
        while (!full())
        {
        }
    }
    /// It takes a loopback connection no time to be made.
    static bool connected_soon(asio::ip::tcp::socket& s)
    {
        ::pollfd p{s.native_handle(), POLLOUT, 0};
        return ::poll(&p, 1, 50) == 1;
    }
    std::string port() const
    {
        return std::to_string(socket.local_endpoint().port());
    }

    asio::io_context io;
    asio::ip::tcp::acceptor socket;
    std::vector<asio::ip::tcp::socket> waiting;
};

/// The whole default executor of the running loop is busy until this ends.
struct busy_executor
{
    explicit busy_executor(event_loop& loop) : pool(std::make_shared<asio::thread_pool>(1))
    {
        loop.set_default_executor(pool);
        asio::post(*pool, [f = release.get_future().share()] { f.wait(); });
    }
    ~busy_executor()
    {
        release.set_value();
    }

    std::shared_ptr<asio::thread_pool> pool;
    std::promise<void> release;
};

} // namespace

BOOST_AUTO_TEST_CASE(a_name_and_a_port_are_enough)
{
    test::under_every_policy([] {
        // The last address alone is listened to: the others are refused before it is tried.
        tcp_listener listener(endpoint(addresses("localhost").back(), 0));
        auto echo = spawn([&] {
            for (int i = 0; i != 3; ++i)
            {
                tcp_stream s = listener.accept();
                char byte;
                s.read_some(asio::buffer(&byte, 1));
                asio::write(s, asio::buffer(&byte, 1));
            }
        });
        std::string const number = listener.local_endpoint().address().to_string();
        tcp_stream s;
        for (std::string const& host : {std::string("localhost"), number})
        {
            endpoint const to = s.connect(host, port_of(listener));
            BOOST_TEST((to == listener.local_endpoint()));
            BOOST_TEST((s.remote_endpoint() == to));
            asio::write(s, asio::buffer("k", 1));
            char byte = 0;
            asio::read(s, asio::buffer(&byte, 1));
            BOOST_TEST(byte == 'k');
        }
        error_code ec;
        s.connect("localhost", port_of(listener), ec);
        BOOST_TEST(!ec);
        asio::write(s, asio::buffer("k", 1));
        echo.join();
    });
}

BOOST_AUTO_TEST_CASE(what_fails_is_named_with_the_remedy)
{
    test::under_every_policy([] {
        std::string port;
        {
            tcp_listener listener(endpoint(addresses("localhost").back(), 0));
            port = port_of(listener);
        }
        tcp_stream s;
        BOOST_CHECK_EXCEPTION(s.connect("localhost", port), system_error,
                              test::fails_with(make_error_code(asio::error::connection_refused),
                                               {"localhost", port, "server listens"}));
        BOOST_TEST(!s.is_open());
        BOOST_CHECK_EXCEPTION(s.connect("localhost", "no such service"), system_error,
                              test::fails_with(make_error_code(asio::error::service_not_found),
                                               {"no such service", "port's number"}));
        BOOST_CHECK_EXCEPTION(
            s.connect("nosuch.invalid", "80"), system_error, [](system_error const& e) {
                std::string const what = e.what();
                return (e.code() == asio::error::host_not_found ||
                        e.code() == asio::error::host_not_found_try_again ||
                        e.code() == asio::error::no_data) &&
                       what.find("nosuch.invalid") != what.npos &&
                       what.find("check the name") != what.npos;
            });
        error_code ec;
        s.connect("nosuch.invalid", "80", ec);
        BOOST_TEST(ec);
        BOOST_TEST(!s.is_open());
    });
}

BOOST_AUTO_TEST_CASE(one_limit_is_for_all_of_it)
{
    full_listener full;
    test::under_every_policy([&] {
        tcp_stream s;
        s.expires_after(5ms);
        BOOST_CHECK_EXCEPTION(s.connect("localhost", full.port()), system_error,
                              test::fails_with(make_error_code(asio::error::timed_out),
                                               {"localhost", "expires_after"}));
        BOOST_TEST(!s.is_open());
        error_code ec;
        s.connect("localhost", full.port(), ec); // over before it began
        BOOST_TEST(ec == asio::error::timed_out);
        // while the name is looked up
        busy_executor const busy(get_running_loop());
        s.expires_after(5ms);
        s.connect("localhost", full.port(), ec);
        BOOST_TEST(ec == asio::error::timed_out);
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_task_leaves_whatever_it_is_at)
{
    full_listener full;
    test::under_every_policy([&] {
        for (bool const looking_up : {true, false})
        {
            std::optional<busy_executor> busy;
            event_loop& loop = get_running_loop();
            if (looking_up)
                busy.emplace(loop);
            std::atomic<bool> begun = false;
            auto connects = spawn(loop, [&] {
                tcp_stream s;
                begun = true;
                s.connect("localhost", full.port());
            });
            while (!begun)
                this_fiber::yield();
            connects.cancel();
            BOOST_CHECK_EXCEPTION(
                connects.join(), system_error,
                test::fails_with(make_error_code(asio::error::operation_aborted)));
        }
    });
}

BOOST_AUTO_TEST_CASE(close_ends_the_connecting)
{
    full_listener full;
    event_loop loop;
    run_until_complete(loop, [&] {
        tcp_stream s;
        auto connects =
            spawn([&] { return test::code_of([&] { s.connect("localhost", full.port()); }); });
        while (!s.is_open())
            this_fiber::sleep_for(1ms); // there is no event of another's waiting
        s.close();
        BOOST_TEST(connects.join() == asio::error::operation_aborted);
    });
}

namespace {

/// A listener, and before it an address where nobody listens.
struct second_of_two
{
    second_of_two() : listener(endpoint(addresses("localhost").back(), 0)), all(2)
    {
        tcp_listener gone(endpoint(addresses("localhost").back(), 0));
        all = {gone.local_endpoint(), listener.local_endpoint()};
    }

    tcp_listener listener;
    std::vector<endpoint> all;
};

} // namespace

BOOST_AUTO_TEST_CASE(an_end_between_two_addresses_is_not_forgotten)
{
    test::under_every_policy([] {
        second_of_two two;
        for (bool const by_thread : {false, true})
            for (bool const closes : {false, true})
            {
                tcp_stream s;
                auto const end = [&] { closes ? s.close() : s.cancel(); };
                auto const ended_at_the_second =
                    std::views::iota(0, 2) | std::views::transform([&](int i) {
                        if (i == 1)
                            by_thread ? std::thread(end).join() : end();
                        return two.all[static_cast<std::size_t>(i)];
                    });
                error_code ec;
                s.connect(ended_at_the_second.begin(), ended_at_the_second.end(), ec);
                BOOST_TEST(ec == asio::error::operation_aborted);
                BOOST_TEST(!s.is_open());
                // It holds for the one call.
                s.connect(two.all.begin(), two.all.end(), ec);
                BOOST_TEST(!ec);
                BOOST_TEST(s.is_open());
            }
    });
}

BOOST_AUTO_TEST_CASE(who_was_closed_while_a_name_is_looked_up_is_not_connected)
{
    event_loop loop;
    run_until_complete(loop, [&] {
        tcp_listener listener(endpoint(addresses("localhost").back(), 0));
        tcp_stream s;
        std::optional<busy_executor> busy(loop);
        auto connects =
            spawn([&] { return test::code_of([&] { s.connect("localhost", port_of(listener)); }); });
        this_fiber::yield(); // it has asked
        s.close();
        busy.reset();
        BOOST_TEST(connects.join() == asio::error::operation_aborted);
        BOOST_TEST(!s.is_open());
    });
}

BOOST_AUTO_TEST_CASE(a_thread_may_end_it_at_every_moment)
{
    test::under_every_policy([] {
        second_of_two two;
        tcp_stream s;
        std::atomic<bool> over = false;
        std::thread ends([&] {
            for (unsigned i = 0; !over; ++i)
            {
                i % 2 ? s.close() : s.cancel();
                if (!s.is_open())
                    std::this_thread::yield();
            }
        });
        int strange = 0;
        for (int i = 0; i != 300; ++i)
        {
            error_code ec;
            s.connect(two.all.begin(), two.all.end(), ec);
            strange += ec && ec != asio::error::operation_aborted;
        }
        over = true;
        ends.join();
        BOOST_TEST(strange == 0);
        s.connect(two.all[1]);
        BOOST_TEST(s.is_open());
    });
}

BOOST_AUTO_TEST_CASE(a_plain_thread_blocks_and_a_bare_handler_is_refused)
{
    event_loop loop;
    test::running const runs(loop);
    tcp_listener listener(loop, endpoint(addresses("localhost").back(), 0));
    tcp_stream s(loop);
    s.connect("localhost", port_of(listener));
    BOOST_TEST((s.remote_endpoint() == listener.local_endpoint()));
    s.expires_after(1h);
    s.connect("localhost", port_of(listener));
    BOOST_TEST(s.is_open());
    {
        busy_executor const busy(loop);
        s.expires_after(5ms);
        error_code ec;
        s.connect("localhost", port_of(listener), ec);
        BOOST_TEST(ec == asio::error::timed_out);
    }
    s.expires_never();
    std::promise<error_code> refused;
    loop.call_soon_threadsafe([&] {
        refused.set_value(test::code_of([&] { s.connect("localhost", port_of(listener)); }));
    });
    BOOST_TEST(refused.get_future().get() == error::not_in_fiber);
}

BOOST_AUTO_TEST_CASE(a_full_local_listener_is_waited_for)
{
    using local = asio::local::stream_protocol;
    std::string name = "/tmp/polyloop.XXXXXX";
    BOOST_REQUIRE(::mkdtemp(name.data()));
    local::endpoint const where(name + "/listener");
    test::under_every_policy([&] {
        asio::io_context io;
        local::acceptor acceptor(io, where, false);
        acceptor.listen(0);
        std::vector<local::socket> queued;
        for (error_code ec; !ec;)
        {
            queued.emplace_back(io).open();
            queued.back().native_non_blocking(true);
            if (::connect(queued.back().native_handle(), where.data(),
                          static_cast<::socklen_t>(where.size())) != 0)
                ec.assign(errno, boost::system::system_category());
        }

        local_stream s;
        error_code ec;
        s.expires_after(5ms);
        s.connect(where, ec);
        BOOST_TEST(ec == asio::error::timed_out);
        BOOST_TEST(!s.is_open());
        s.expires_never();
        for (bool const closes : {true, false})
        {
            auto connects = spawn([&] { return test::code_of([&] { s.connect(where); }); });
            while (!s.is_open())
                this_fiber::yield();
            if (closes)
                s.close();
            else
                connects.cancel();
            BOOST_TEST(test::code_of([&] { throw_if(connects.join()); }) ==
                       asio::error::operation_aborted);
        }

        auto connects = spawn([&] { s.connect(where); });
        while (!s.is_open())
            this_fiber::yield();
        for (std::size_t i = 1; i != queued.size(); ++i)
            acceptor.accept();
        connects.join();
        local::socket peer = acceptor.accept();
        asio::write(s, asio::buffer("k", 1));
        char byte = 0;
        asio::read(peer, asio::buffer(&byte, 1));
        BOOST_TEST(byte == 'k');
        asio::write(peer, asio::buffer("l", 1));
        asio::read(s, asio::buffer(&byte, 1));
        BOOST_TEST(byte == 'l');
        ::unlink(where.path().c_str());
    });
    ::rmdir(name.c_str());
}

BOOST_AUTO_TEST_CASE(any_token_may_wait_for_a_connection)
{
    full_listener full;
    endpoint const where_it_waits = full.socket.local_endpoint();
    test::under_every_policy([&] {
        second_of_two two;
        tcp_stream s;
        s.async_connect(two.all[1], use_fiber);
        BOOST_TEST((s.remote_endpoint() == two.all[1]));
        auto coroutine = spawn([&]() -> asio::awaitable<void> {
            co_await s.async_connect(two.all[1], asio::use_awaitable);
        });
        coroutine.join();
        BOOST_TEST(s.is_open());
        auto const code = [&](endpoint const& to) {
            return test::code_of([&] { s.async_connect(to, use_fiber); });
        };
        BOOST_TEST(code(two.all[0]) == asio::error::connection_refused);
        BOOST_TEST(!s.is_open());
        s.expires_after(5ms);
        BOOST_TEST(code(where_it_waits) == asio::error::timed_out);
        s.expires_never();
        auto cancelled = spawn([&] { return code(where_it_waits); });
        while (!s.is_open())
            this_fiber::yield();
        cancelled.cancel();
        BOOST_TEST(cancelled.join() == asio::error::operation_aborted);
        BOOST_TEST(!s.is_open());
    });
}

BOOST_AUTO_TEST_CASE(who_closes_or_cancels_need_not_know_how_far_a_connecting_is)
{
    full_listener full;
    event_loop loop;
    run_until_complete(loop, [&] {
        for (bool const waits : {false, true})
            for (bool const closes : {false, true})
            {
                tcp_stream s;
                asio::cancellation_signal signal;
                std::optional<error_code> got;
                s.async_connect(full.socket.local_endpoint(),
                                asio::bind_cancellation_slot(
                                    signal.slot(), [&](error_code ec) { got = ec; }));
                BOOST_TEST(!got); // never within the call
                while (waits && !s.is_open())
                    this_fiber::yield();
                if (closes)
                    s.close();
                else
                    signal.emit(asio::cancellation_type::total);
                while (!got)
                    this_fiber::yield();
                BOOST_TEST(*got == asio::error::operation_aborted);
                BOOST_TEST(!s.is_open());
            }
    });
}

BOOST_AUTO_TEST_CASE(a_loop_that_is_gone_connects_nobody)
{
    std::optional<tcp_stream> s;
    {
        event_loop loop;
        s.emplace(loop);
    }
    BOOST_CHECK_EXCEPTION(s->connect("localhost", "1"), system_error,
                          test::fails_with(error::loop_closed));
    BOOST_CHECK_EXCEPTION(s->async_connect(endpoint(), [](error_code) {}), system_error,
                          test::fails_with(error::loop_closed));
}
