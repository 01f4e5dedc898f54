// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// What doc/design.adoc shows; ends with 0 if all of it behaves as the page says.

#include <polyloop.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>

namespace asio = boost::asio;
using namespace std::chrono_literals;

void expect(bool right, std::string_view what)
{
    if (right)
        return;
    std::cerr << "not so: " << what << '\n';
    std::exit(1);
}

void who_is_running()
{
    using polyloop::context_kind;
    using polyloop::this_context::kind;
    // tag::contexts[]
    expect(kind() == context_kind::thread, "main() is a thread");
    polyloop::run([] {
        expect(kind() == context_kind::fiber, "a task");

        polyloop::strand const ledger = polyloop::make_strand("ledger");
        asio::post(ledger, [=] {
            expect(kind() == context_kind::strand, "a strand's handler");
            expect(polyloop::this_context::current() == ledger.as_context(), "this one");
        });

        polyloop::get_running_loop().call_soon(
            [] { expect(kind() == context_kind::thread, "a bare callback"); });
        polyloop::this_fiber::sleep_for(1ms);
        expect(kind() == context_kind::fiber, "the task again");
    });
    // end::contexts[]
}

// tag::tokens[]
void ways_to_wait(polyloop::tcp::socket& socket, asio::const_buffer text)
{
    // Throws boost::system::system_error.
    asio::async_write(socket, text, polyloop::use_fiber);

    // Stores the error.
    boost::system::error_code ec;
    std::size_t n = asio::async_write(socket, text, polyloop::use_fiber[ec]);

    // Asio's adapters work as on any token.
    std::tie(ec, n) =
        asio::async_write(socket, text, asio::as_tuple(polyloop::use_fiber));
    expect(!ec && n == text.size(), "everything was written");
}
// end::tokens[]

void over_a_socket()
{
    polyloop::run([] {
        auto server = polyloop::start_server(
            {asio::ip::address_v4::loopback(), 0}, [](polyloop::tcp::socket peer) {
                std::array<char, 64> data;
                while (peer.async_read_some(asio::buffer(data), polyloop::use_fiber))
                    continue;
            });
        polyloop::tcp::socket socket(polyloop::get_running_loop().get_executor());
        socket.async_connect(server.endpoint(), polyloop::use_fiber);
        ways_to_wait(socket, asio::buffer("text", 4));
    });
}

void cancelling()
{
    polyloop::run([] {
        bool flushed = false;
        auto flush = [&] { flushed = true; };
        // tag::cancel[]
        auto worker = polyloop::spawn([&] {
            try
            {
                for (;;)
                    polyloop::this_fiber::sleep_for(1h);
            }
            catch (boost::system::system_error const& e)
            {
                if (e.code() == asio::error::operation_aborted)
                    flush(); // it may wait: the cancellation was delivered, once
                throw;
            }
        });
        polyloop::this_fiber::yield(); // lets it begin to wait
        worker.cancel();
        bool const ended = worker.join_for(1s);
        // end::cancel[]
        expect(ended && flushed && worker.cancelled(), "a cancelled task cleans up");
    });
}

void from_another_thread()
{
    polyloop::run([] {
        int called = 0;
        // tag::threads[]
        polyloop::event_loop& loop = polyloop::get_running_loop();
        std::thread other([&] {
            loop.call_soon_threadsafe([&] { ++called; });  // a callback on the loop
            polyloop::spawn(loop, [&] { ++called; }).join(); // blocks this thread alone
        });

        // Blocking work in a pool of threads: the fiber waits, its loop goes on.
        loop.run_in_executor([&] { other.join(); }, polyloop::use_fiber);
        // end::threads[]
        expect(called == 2, "both ran");
    });
}

void errors()
{
    std::string told;
    // tag::errors[]
    polyloop::run([&] {
        polyloop::get_running_loop().set_exception_handler(
            [&](polyloop::event_loop&, polyloop::exception_context const& c) {
                told = c.task + ": " + polyloop::describe_exception(c.exception);
            });
        polyloop::spawn([] { throw std::runtime_error("disk full"); }, {.name = "saver"})
            .join_for(1s); // says that it is done, not how: nobody was given the error
    });
    // end::errors[]
    expect(told == "saver: std::runtime_error: disk full", "the handler is told: " + told);
}

void adopted()
{
    int ticks = 0;
    // tag::adopt[]
    asio::io_context io; // the application's
    asio::post(io, [&] { ++ticks; });

    polyloop::run([&] { polyloop::this_fiber::sleep_for(1ms); },
        {.loop_factory = [&] { return std::make_shared<polyloop::event_loop>(io); }});
    // end::adopt[]
    expect(ticks == 1, "the application's handlers ran as well");
}

void waiting_for_each_other()
{
    int answered = 0;
    // tag::sync[]
    polyloop::mutex guard;
    polyloop::channel<std::string> lines(16); // holds so many before send() waits
    auto answer = [&] {
        while (true) // until the channel is closed, which receive() throws
        {
            std::string const line = lines.receive();
            std::lock_guard const lock(guard); // held across the next wait
            polyloop::this_fiber::sleep_for(1ms);
            ++answered;
        }
    };
    polyloop::run([&] {
        auto one = polyloop::spawn(answer), other = polyloop::spawn(answer);
        for (std::string const line : {"a", "b", "c"})
            lines.send(line);
        lines.close(); // what is in it is still received
        for (auto* task : {&one, &other})
            try
            {
                task->join();
            }
            catch (boost::system::system_error const& e)
            {
                expect(e.code() == polyloop::error::channel_closed, "the end of the lines");
            }
    });
    // end::sync[]
    expect(answered == 3, "each line is answered once");
}

// tag::coroutine[]
asio::awaitable<int> sum_of_both()
{
    auto fiber = polyloop::spawn([] {
        polyloop::this_fiber::sleep_for(1ms); // a stackful task, waits on its own stack
        return 40;
    });
    auto coroutine = polyloop::spawn([]() -> asio::awaitable<int> { co_return 2; });
    int const first = co_await fiber.async_join(asio::use_awaitable);
    co_return first + co_await coroutine.async_join(asio::use_awaitable);
}
// end::coroutine[]

int main()
{
    // One loop, whatever the environment says.
    polyloop::set_event_loop_policy(std::make_shared<polyloop::default_policy>());
    who_is_running();
    over_a_socket();
    cancelling();
    from_another_thread();
    errors();
    adopted();
    waiting_for_each_other();
    expect(polyloop::run(sum_of_both) == 42, "a coroutine joins both kinds of task");
}
