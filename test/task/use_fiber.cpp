// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.use_fiber

#include <polyloop/task/use_fiber.hpp>

#include "support/error.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/loop/backend.hpp>
#include <polyloop/loop/tcp.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/local/connect_pair.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/assert.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;

namespace {

using local = asio::local::stream_protocol;
using boost::system::error_code;

struct socket_pair
{
    explicit socket_pair(event_loop& loop) : a(loop.io_context()), b(loop.io_context())
    {
        asio::local::connect_pair(a, b);
    }

    local::socket a;
    local::socket b;
};

test::fails_with const aborted(make_error_code(asio::error::operation_aborted));

/// An operation that completes with whatever it is given, from wherever.
template <class Signature, class Token, class Start>
auto operation(Token&& token, Start start)
{
    return asio::async_initiate<Token, Signature>(
        [](auto handler, Start s) { s(std::move(handler)); }, token, std::move(start));
}

} // namespace

BOOST_AUTO_TEST_CASE(reads_and_writes)
{
    test::under_every_policy([] {
        socket_pair p(get_running_loop());
        auto echo = spawn([&p] {
            char buffer[64];
            std::size_t const n = p.b.async_read_some(asio::buffer(buffer), use_fiber);
            return asio::async_write(p.b, asio::buffer(buffer, n), use_fiber);
        });
        BOOST_TEST(asio::async_write(p.a, asio::buffer("hello\n", 6), use_fiber) == 6u);
        std::string line;
        asio::async_read_until(p.a, asio::dynamic_buffer(line), '\n', use_fiber);
        BOOST_TEST(line == "hello\n");
        BOOST_TEST(echo.join() == 6u);
    });
}

BOOST_AUTO_TEST_CASE(errors_are_thrown_or_stored)
{
    test::under_every_policy([] {
        // A pair for each: Asio's reactor may wait for ever in a second read after the end, as its
        // edge was spent on another thread before the first.
        socket_pair p(get_running_loop()), q(get_running_loop());
        p.b.close();
        q.b.close();
        char buffer[8];
        BOOST_CHECK_EXCEPTION(p.a.async_read_some(asio::buffer(buffer), use_fiber),
                              boost::system::system_error,
                              test::fails_with(make_error_code(asio::error::eof)));
        error_code ec;
        BOOST_TEST(q.a.async_read_some(asio::buffer(buffer), use_fiber[ec]) == 0u);
        BOOST_TEST(ec == asio::error::eof);
        asio::steady_timer t(get_running_loop().io_context(), 0s);
        t.async_wait(use_fiber[ec]);
        BOOST_TEST(!ec); // and success clears it
    });
}

BOOST_AUTO_TEST_CASE(under_as_tuple)
{
    test::under_every_policy([] {
        socket_pair p(get_running_loop());
        p.b.close();
        char buffer[8];
        auto const [ec, n] =
            p.a.async_read_some(asio::buffer(buffer), asio::as_tuple(use_fiber));
        BOOST_TEST(ec == asio::error::eof);
        BOOST_TEST(n == 0u);
    });
}

BOOST_AUTO_TEST_CASE(as_default_on)
{
    test::under_every_policy([] {
        asio::io_context& io = get_running_loop().io_context();
        auto timer = use_fiber_t::as_default_on(asio::steady_timer(io, 1ms));
        timer.async_wait();
        use_fiber_t::as_default_on_t<tcp::acceptor> acceptor(
            io, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
        auto client = spawn([&] {
            use_fiber_t::as_default_on_t<tcp::socket> s(get_running_loop().io_context());
            s.async_connect(acceptor.local_endpoint());
            return asio::async_write(s, asio::buffer("x", 1), use_fiber);
        });
        auto s = acceptor.async_accept();
        char c;
        BOOST_TEST(s.async_read_some(asio::buffer(&c, 1), use_fiber) == 1u);
        BOOST_TEST(client.join() == 1u);
    });
}

BOOST_AUTO_TEST_CASE(what_an_operation_completes_with_is_what_it_returns)
{
    run([] {
        operation<void()>(use_fiber, [](auto h) { asio::post(std::move(h)); });
        int const one = operation<void(int)>(use_fiber, [](auto h) {
            auto const ex = asio::get_associated_executor(h);
            asio::post(ex, [h = std::move(h)]() mutable { std::move(h)(7); });
        });
        BOOST_TEST(one == 7);
        auto const [a, b] = operation<void(std::string, std::unique_ptr<int>)>(
            use_fiber, [](auto h) {
                auto const ex = asio::get_associated_executor(h);
                asio::post(ex, [h = std::move(h)]() mutable {
                    std::move(h)("a", std::make_unique<int>(2));
                });
            });
        BOOST_TEST(a == "a");
        BOOST_TEST(*b == 2);
        BOOST_CHECK_THROW(
            operation<void(std::exception_ptr)>(
                use_fiber,
                [](auto h) {
                    auto const ex = asio::get_associated_executor(h);
                    asio::post(ex, [h = std::move(h)]() mutable {
                        std::move(h)(std::make_exception_ptr(std::logic_error("x")));
                    });
                }),
            std::logic_error);
    });
}

BOOST_AUTO_TEST_CASE(a_handler_that_is_called_at_once_or_elsewhere)
{
    test::under_every_policy([] {
        // On the fiber's own stack, while it still initiates.
        BOOST_TEST(operation<void(int)>(use_fiber, [](auto h) { std::move(h)(1); }) == 1);
        // On a foreign thread, past the executor.
        for (int i = 0; i != 50; ++i)
        {
            std::thread t;
            int const got = operation<void(int)>(use_fiber, [&t, i](auto h) {
                t = std::thread([h = std::move(h), i]() mutable { std::move(h)(int(i)); });
            });
            BOOST_TEST(got == i);
            t.join();
        }
    });
}

BOOST_AUTO_TEST_CASE(an_operation_that_is_dropped_ends_the_wait)
{
    test::under_every_policy([] {
        BOOST_CHECK_EXCEPTION(operation<void(int)>(use_fiber, [](auto) {}),
                              boost::system::system_error, aborted);
        error_code ec;
        auto const n = operation<void(error_code, std::size_t)>(use_fiber[ec], [](auto) {});
        BOOST_TEST(ec == asio::error::operation_aborted);
        BOOST_TEST(n == 0u);
    });
}

BOOST_AUTO_TEST_CASE(an_initiation_that_throws_leaves_no_trace)
{
    test::under_every_policy([] {
        for (int i = 0; i != 10; ++i)
        {
            BOOST_CHECK_THROW(operation<void(int)>(use_fiber,
                                                   [](auto) { throw std::logic_error("x"); }),
                              std::logic_error);
            auto const before = std::chrono::steady_clock::now();
            this_fiber::sleep_for(1ms); // not woken by what went before
            BOOST_TEST((std::chrono::steady_clock::now() - before >= 1ms));
        }
    });
}

BOOST_AUTO_TEST_CASE(an_initiation_that_throws_behind_a_move_gives_its_memory_back)
{
    test::under_every_policy([] {
        BOOST_CHECK_THROW(
            operation<void(int)>(use_fiber,
                                 [](auto handler) {
                                     auto a =
                                         asio::get_associated_allocator(handler);
                                     using bytes = typename std::allocator_traits<
                                         decltype(a)>::template rebind_alloc<std::byte>;
                                     std::byte* const p = bytes(a).allocate(100);
                                     auto const taken = std::move(handler);
                                     // as Asio's own operations do it
                                     bytes(asio::get_associated_allocator(handler))
                                         .deallocate(p, 100);
                                     throw std::logic_error("x");
                                 }),
            std::logic_error);
    });
}

BOOST_AUTO_TEST_CASE(outside_of_a_fiber_it_is_refused_before_the_operation_starts)
{
    event_loop loop;
    bool started = false;
    auto attempt = [&started] {
        return test::code_of([&started] {
            operation<void()>(use_fiber, [&started](auto h) {
                started = true;
                std::move(h)();
            });
        });
    };
    BOOST_TEST(attempt() == make_error_code(error::not_in_fiber));
    error_code in_callback;
    error_code in_coroutine;
    loop.call_soon([&] { in_callback = attempt(); });
    run_until_complete(loop, [&]() -> asio::awaitable<void> {
        in_coroutine = attempt();
        co_return;
    });
    BOOST_TEST(in_callback == make_error_code(error::not_in_fiber));
    BOOST_TEST(in_coroutine == make_error_code(error::not_in_fiber));
    BOOST_TEST(!started);
}

BOOST_AUTO_TEST_CASE(cancellation_reaches_the_operation_simple_and_composed)
{
    test::under_every_policy([] {
        socket_pair p(get_running_loop());
        std::atomic<int> begun = 0;
        auto simple = spawn([&] {
            char c;
            ++begun;
            p.a.async_read_some(asio::buffer(&c, 1), use_fiber);
        });
        auto composed = spawn([&] {
            std::string all(1000, ' ');
            error_code ec;
            ++begun;
            std::size_t const n = asio::async_read(p.b, asio::buffer(all), use_fiber[ec]);
            return ec == asio::error::operation_aborted ? n : std::size_t(9999);
        });
        while (begun != 2)
            this_fiber::yield();
        simple.cancel();
        BOOST_CHECK_EXCEPTION(simple.join(), boost::system::system_error, aborted);
        asio::async_write(p.a, asio::buffer("abc", 3), use_fiber);
        while (p.b.available() != 0)
            this_fiber::yield();
        composed.cancel();
        BOOST_TEST(composed.join() == 3u); // what came before is told
    });
}

namespace {

/// What lasts until it is cancelled; `install` puts the handler that does it into a slot. It may run
/// in another thread than the test, where Boost.Test's own checks are not allowed.
template <class Install>
void wait_to_be_cancelled(Install install)
{
    auto waits = spawn([install] {
        operation<void(error_code)>(use_fiber, [install](auto handler) {
            auto slot = asio::get_associated_cancellation_slot(handler);
            BOOST_ASSERT(slot.is_connected());
            using type = decltype(handler);
            auto kept = std::make_shared<type>(std::move(handler));
            install(slot, [kept] {
                asio::post(asio::get_associated_executor(*kept),
                           [kept] { std::move(*kept)(asio::error::operation_aborted); });
            });
        });
    });
    this_fiber::yield();
    waits.cancel();
    BOOST_CHECK_EXCEPTION(waits.join(), boost::system::system_error, aborted);
}

} // namespace

BOOST_AUTO_TEST_CASE(the_slot_of_an_operation_takes_what_asios_own_takes)
{
    test::under_every_policy([] {
        // assigned, and once more in place of the first
        wait_to_be_cancelled([](auto slot, auto cancel) {
            slot.assign([](asio::cancellation_type) { BOOST_ASSERT(!"replaced"); });
            BOOST_ASSERT(slot.has_handler());
            slot.clear();
            BOOST_ASSERT(!slot.has_handler());
            slot.assign([cancel](asio::cancellation_type type) {
                BOOST_ASSERT(type == asio::cancellation_type::terminal);
                cancel();
            });
        });
        // a handler that is larger than the place for it, and aligned more strictly
        wait_to_be_cancelled([](auto slot, auto cancel) {
            struct alignas(64) large
            {
                decltype(cancel) f;
                char more[200] = {};
                void operator()(asio::cancellation_type)
                {
                    BOOST_ASSERT(reinterpret_cast<std::uintptr_t>(this) % 64 == 0u);
                    f();
                }
            };
            slot.template emplace<large>(large{cancel});
        });
        // by the name of Asio's own type, asked for twice
        wait_to_be_cancelled([](asio::cancellation_slot first, auto cancel) {
            first.assign([cancel](asio::cancellation_type) { cancel(); });
        });
        wait_to_be_cancelled([](auto slot, auto cancel) {
            asio::cancellation_slot first = slot, second = slot;
            BOOST_ASSERT(first == second);
            second.assign([cancel](asio::cancellation_type) { cancel(); });
        });
    });
}

BOOST_AUTO_TEST_CASE(a_result_that_was_there_before_the_cancel_is_kept)
{
    test::under_every_policy([] {
        auto t = spawn([] {
            // Not cancellable: it completes all the same, and the cancel comes at the next wait.
            task<> me = this_fiber::current_task();
            int const got = operation<void(int)>(use_fiber, [me](auto h) mutable {
                auto const ex = asio::get_associated_executor(h);
                asio::post(ex, [h = std::move(h), me]() mutable {
                    me.cancel();
                    std::move(h)(4);
                });
            });
            error_code const ec = test::code_of([] { this_fiber::yield(); });
            this_fiber::yield();
            return got == 4 && ec == asio::error::operation_aborted;
        });
        BOOST_TEST(t.join());
    });
}

BOOST_AUTO_TEST_CASE(sockets_of_another_loop)
{
    run(
        [] {
            auto const loops = get_event_loop_policy()->loops();
            socket_pair p(*loops[1]);
            for (auto const& l : {loops[0], loops[2]})
            {
                auto t = spawn(*l, [&] {
                    char c = 0;
                    asio::async_read(p.a, asio::buffer(&c, 1), use_fiber);
                    bool const home = &get_running_loop() == l.get();
                    return home ? c : '?';
                });
                asio::async_write(p.b, asio::buffer("k", 1), use_fiber);
                BOOST_TEST(t.join() == 'k');
            }
            auto stuck = spawn(*loops[2], [&] {
                char c = 0;
                asio::async_read(p.a, asio::buffer(&c, 1), use_fiber);
            });
            this_fiber::sleep_for(1ms); // either way it is cancelled, waiting or not yet
            stuck.cancel();
            BOOST_CHECK_EXCEPTION(stuck.join(), boost::system::system_error, aborted);
        },
        {.policy = make_policy("fiber loops=3")});
}

BOOST_AUTO_TEST_CASE(io_objects_on_strands_and_any_executor)
{
    test::under_every_policy([] {
        asio::io_context& io = get_running_loop().io_context();
        asio::steady_timer on_asio_strand(asio::make_strand(io), 1ms);
        on_asio_strand.async_wait(use_fiber);
        asio::steady_timer on_strand(strand(get_running_loop()), 1ms);
        on_strand.async_wait(use_fiber);
        asio::post(io, use_fiber);
        asio::dispatch(io, use_fiber);
        asio::experimental::concurrent_channel<void(error_code, int)> channel(io, 1);
        auto sender = spawn(get_running_loop(), [&channel] {
            for (int i = 0; i != 3; ++i)
                channel.async_send(error_code(), i, use_fiber);
        });
        for (int i = 0; i != 3; ++i)
            BOOST_TEST(channel.async_receive(use_fiber) == i);
        sender.join();
    });
}

BOOST_AUTO_TEST_CASE(cancel_races_with_completion)
{
    // Whichever wins, each wait ends exactly once, and nothing is lost.
    for (unsigned seed = 1; seed <= 5; ++seed)
        BOOST_TEST_CONTEXT("seed " << seed)
            test::under_every_policy([seed] {
                std::mt19937 random(seed);
                std::atomic<int> ended = 0;
                std::vector<task<>> all;
                for (int i = 0; i != 100; ++i)
                    all.push_back(spawn([&ended, us = random() % 300] {
                        asio::steady_timer t(get_running_loop().io_context(),
                                             std::chrono::microseconds(us));
                        error_code ec;
                        t.async_wait(use_fiber[ec]);
                        ++ended;
                    }));
                for (auto& t : all)
                {
                    if (random() % 4 == 0)
                        this_fiber::yield();
                    t.cancel();
                }
                int never_started = 0;
                for (auto& t : all)
                {
                    test::code_of([&] { t.join(); });
                    never_started += t.cancelled();
                }
                BOOST_TEST(ended + never_started == 100);
            });
}

BOOST_AUTO_TEST_CASE(a_deadline_ends_an_operation_that_takes_too_long)
{
    test::under_every_policy([] {
        test::fails_with const timed_out(make_error_code(asio::error::timed_out));
        socket_pair s(get_running_loop());
        char c[4] = {};
        BOOST_CHECK_EXCEPTION(s.a.async_read_some(asio::buffer(c), use_fiber(1ms)),
                              boost::system::system_error, timed_out);
        BOOST_CHECK_EXCEPTION(
            s.a.async_read_some(asio::buffer(c), use_fiber(std::chrono::steady_clock::now())),
            boost::system::system_error, timed_out);
        for (auto const limit : {0ns, std::chrono::nanoseconds::min()})
            BOOST_CHECK_EXCEPTION(s.a.async_read_some(asio::buffer(c), use_fiber(limit)),
                                  boost::system::system_error, timed_out);
        using std::chrono::system_clock;
        for (auto const when : {system_clock::now(), system_clock::now() + 1ms,
                                system_clock::time_point::min()})
            BOOST_CHECK_EXCEPTION(s.a.async_read_some(asio::buffer(c), use_fiber(when)),
                                  boost::system::system_error, timed_out);
        error_code ec;
        BOOST_TEST(s.a.async_read_some(asio::buffer(c), use_fiber(1ms)[ec]) == 0u);
        BOOST_TEST(ec == asio::error::timed_out);
        ec = {};
        s.a.async_wait(local::socket::wait_read, use_fiber[ec](1ms));
        BOOST_TEST(ec == asio::error::timed_out);
        auto const [e, n] = s.a.async_read_some(asio::buffer(c), asio::as_tuple(use_fiber(1ms)));
        BOOST_TEST(e == asio::error::timed_out);
        BOOST_TEST(n == 0u);
        // Neither the socket nor the task is any worse for it.
        asio::async_write(s.b, asio::buffer("ab", 2), use_fiber(1h));
        BOOST_TEST(s.a.async_read_some(asio::buffer(c), use_fiber(1h)) == 2u);
        auto const within = [&](auto limit) {
            asio::write(s.b, asio::buffer("a", 1));
            return s.a.async_read_some(asio::buffer(c), use_fiber(limit)) == 1u;
        };
        BOOST_TEST(within(std::chrono::hours::max()));
        BOOST_TEST(within(std::chrono::nanoseconds::max()));
        BOOST_TEST(within(std::chrono::steady_clock::time_point::max()));
        BOOST_TEST(within(system_clock::time_point::max()));
        BOOST_TEST(within(std::chrono::sys_days::max()));
        BOOST_TEST(!this_fiber::cancelled());
    });
}

BOOST_AUTO_TEST_CASE(what_arrived_before_the_deadline_is_told)
{
    test::under_every_policy([] {
        socket_pair s(get_running_loop());
        asio::write(s.b, asio::buffer("abc", 3));
        char c[8] = {};
        // All of what a composed operation got until then.
        error_code ec;
        BOOST_TEST(asio::async_read(s.a, asio::buffer(c), use_fiber(2ms)[ec]) == 3u);
        BOOST_TEST(ec == asio::error::timed_out);
        // Completed before it was looked at; not where Asio looks at the system first.
        if (current_backend() == backend::select)
            return;
        asio::write(s.b, asio::buffer("de", 2));
        BOOST_TEST(s.a.async_read_some(asio::buffer(c), use_fiber(0s)) == 2u);
        BOOST_TEST(s.b.async_write_some(asio::buffer("f", 1), use_fiber(-1h)) == 1u);
    });
}

BOOST_AUTO_TEST_CASE(a_cancellation_wins_over_a_deadline_of_an_operation)
{
    test::under_every_policy([] {
        std::atomic<bool> started = false;
        auto t = spawn([&started] {
            socket_pair s(get_running_loop());
            char c = 0;
            started = true;
            s.a.async_read_some(asio::buffer(&c, 1), use_fiber(24h));
        });
        while (!started)
            this_fiber::yield();
        t.cancel();
        BOOST_CHECK_EXCEPTION(t.join(), boost::system::system_error, aborted);
    });
}

BOOST_AUTO_TEST_CASE(an_operation_that_throws_exceptions_is_timed_out_too)
{
    test::under_every_policy([] {
        auto sleeping = []() -> asio::awaitable<int> {
            asio::steady_timer t(co_await asio::this_coro::executor, 24h);
            co_await t.async_wait(asio::use_awaitable);
            co_return 1;
        };
        BOOST_CHECK_EXCEPTION(
            asio::co_spawn(get_running_loop().io_context(), sleeping, use_fiber(1ms)),
            boost::system::system_error,
            test::fails_with(make_error_code(asio::error::timed_out)));
    });
}

BOOST_AUTO_TEST_CASE(a_deadline_outside_of_a_fiber_is_refused)
{
    asio::io_context io;
    asio::steady_timer t(io, 1h);
    BOOST_CHECK_EXCEPTION(t.async_wait(use_fiber(1s)), boost::system::system_error,
                          test::fails_with(error::not_in_fiber));
}

BOOST_AUTO_TEST_CASE(deadlines_completions_and_cancellations_may_meet)
{
    // The bytes arrive just when the deadline expires, and somebody cancels: nothing is lost, and
    // each read says one thing.
    test::for_seeds(5, [](test::engine& e) {
        auto const seed = e();
        test::under_every_policy([seed] {
            test::engine draws(seed);
            for (int i = 0; i != 30; ++i)
            {
                auto const limit = std::chrono::microseconds(test::draw(draws, 0, 1500));
                auto const length = std::chrono::microseconds(test::draw(draws, 0, 1500));
                auto const delay = std::chrono::microseconds(test::draw(draws, 0, 1500));
                bool const cancelled = test::draw(draws, 0, 2) == 0;
                std::atomic<bool> started = false;
                task<bool> t = spawn([limit, length, &started] {
                    started = true;
                    event_loop& loop = get_running_loop();
                    socket_pair s(loop);
                    auto writer = spawn(loop, [&] {
                        this_fiber::sleep_for(length);
                        asio::write(s.b, asio::buffer("x", 1));
                    });
                    char c = 0;
                    error_code ec;
                    auto const n =
                        s.a.async_read_some(asio::buffer(&c, 1), use_fiber(limit)[ec]);
                    bool const right =
                        ec ? n == 0 && c == 0 && (ec == asio::error::timed_out ||
                                                  this_fiber::cancelled())
                           : n == 1 && c == 'x';
                    while (!writer.done())
                        try
                        {
                            this_fiber::sleep_for(10us);
                        }
                        catch (boost::system::system_error const&)
                        {
                        }
                    return right && (ec || s.a.available() == 0) &&
                           (!ec || s.a.available() == 1);
                });
                if (cancelled)
                {
                    while (!started) // one that never started has nothing to tell
                        this_fiber::yield();
                    this_fiber::sleep_for(delay);
                    t.cancel();
                }
                BOOST_TEST(t.join());
            }
        });
    });
}
