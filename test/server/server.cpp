// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE server.server

#include <polyloop/server/server.hpp>

#include "support/error.hpp"
#include "support/policies.hpp"

#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/sync/event.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/timeout.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace polyloop;
using namespace std::chrono_literals;
using boost::system::error_code;

namespace {

tcp::endpoint const any_port(asio::ip::address_v4::loopback(), 0);

void echo_in_a_fiber(tcp::socket s)
{
    char buffer[256];
    for (;;)
    {
        std::size_t const n = s.async_read_some(asio::buffer(buffer), use_fiber);
        asio::async_write(s, asio::buffer(buffer, n), use_fiber);
    }
}

// The socket of Asio's own alias does as well.
asio::awaitable<void> echo_in_a_coroutine(asio::ip::tcp::socket s)
{
    char buffer[256];
    for (;;)
    {
        std::size_t const n =
            co_await s.async_read_some(asio::buffer(buffer), asio::use_awaitable);
        co_await asio::async_write(s, asio::buffer(buffer, n), asio::use_awaitable);
    }
}

void echo_on_a_stream(tcp_stream s)
{
    char buffer[256];
    for (;;)
    {
        std::size_t const n = s.read_some(asio::buffer(buffer));
        asio::write(s, asio::buffer(buffer, n));
    }
}

asio::awaitable<void> echo_on_a_stream_in_a_coroutine(tcp_stream s)
{
    char buffer[256];
    for (;;)
    {
        std::size_t const n =
            co_await s.async_read_some(asio::buffer(buffer), asio::use_awaitable);
        co_await asio::async_write(s, asio::buffer(buffer, n), asio::use_awaitable);
    }
}

tcp::socket connected(tcp::endpoint const& to)
{
    tcp::socket s(get_running_loop().io_context());
    s.async_connect(to, use_fiber);
    return s;
}

std::string echoed(tcp::socket& s, std::string const& text)
{
    asio::async_write(s, asio::buffer(text), use_fiber);
    std::string back(text.size(), ' ');
    asio::async_read(s, asio::buffer(back), use_fiber);
    return back;
}

/// Reports of a loop, for one thread at a time.
struct reports
{
    explicit reports(event_loop& l)
    {
        l.set_exception_handler([this](event_loop&, exception_context const& c) {
            std::lock_guard const lock(mutex);
            text += c.message + ": " + describe_exception(c.exception) + '\n';
            told.set();
        });
    }
    bool say(std::string const& words)
    {
        std::lock_guard const lock(mutex);
        return text.find(words) != std::string::npos;
    }

    std::mutex mutex;
    std::string text;
    event told; // something
};

} // namespace

BOOST_AUTO_TEST_CASE(serves_fiber_and_coroutine_handlers)
{
    test::under_every_policy([] {
        for (server s : {start_server(any_port, echo_in_a_fiber),
                         start_server(any_port, echo_in_a_coroutine),
                         start_server(any_port, echo_on_a_stream),
                         start_server(any_port, echo_on_a_stream_in_a_coroutine)})
        {
            BOOST_TEST(s.endpoint().port() != 0);
            BOOST_TEST(s.is_serving());
            std::vector<task<bool>> clients;
            for (int i = 0; i != 30; ++i)
                clients.push_back(spawn([s, i] {
                    tcp::socket c = connected(s.endpoint());
                    bool right = true;
                    for (int k = 0; k != 10; ++k)
                    {
                        std::string const text = std::to_string(i * 100 + k) + std::string(k, '.');
                        right = right && echoed(c, text) == text;
                    }
                    return right;
                }));
            for (auto& c : clients)
                BOOST_TEST(c.join());
            s.close();
            s.wait_closed();
            BOOST_TEST(s.connections() == 0u);
            BOOST_TEST(!s.is_serving());
        }
    });
}

namespace {

/// How many sockets of the system listen at a port of IPv4.
int listeners_at(unsigned short port)
{
    std::ifstream table("/proc/net/tcp");
    char own[8];
    std::snprintf(own, sizeof own, ":%04X", port);
    int n = 0;
    // number: local address:port, remote one, state; 0A is listening
    for (std::string number, local, remote, state, rest;
         table >> number >> local >> remote >> state && std::getline(table, rest);)
        n += local.ends_with(own) && state == "0A";
    return n;
}

/// How many connections each loop got, all of which stay open.
std::map<event_loop*, int> counts_of_loops(int connections, server_options options,
                                           int listeners)
{
    std::mutex mutex;
    std::map<event_loop*, int> counts;
    std::atomic<bool> at_home = true;
    server s = start_server(
        any_port,
        [&](tcp::socket c) {
            event_loop& here = get_running_loop();
            if (&c.get_executor().context() != &here.io_context())
                at_home = false;
            {
                std::lock_guard const lock(mutex);
                ++counts[&here];
            }
            echo_in_a_fiber(std::move(c));
        },
        options);
    std::vector<tcp::socket> clients;
    for (int i = 0; i != connections; ++i)
    {
        clients.push_back(connected(s.endpoint()));
        echoed(clients.back(), "x");
    }
    BOOST_TEST(at_home);
    BOOST_TEST(listeners_at(s.endpoint().port()) == listeners);
    BOOST_TEST(s.connections() == static_cast<std::size_t>(connections));
    clients.clear();
    s.close();
    s.wait_closed();
    return counts;
}

} // namespace

BOOST_AUTO_TEST_CASE(connections_are_placed_by_the_policy_and_accepted_there)
{
    struct
    {
        char const* policy;
        server_options options;
    } const all[] = {{"fiber loops=3", {.listener_per_loop = false}},
                     {"strand loops=3", {.listener_per_loop = false}},
                     {"fiber loops=3", {.max_connections = 100}}};
    for (auto const& [text, options] : all)
        BOOST_TEST_CONTEXT(text)
            run(
                [&, &o = options] {
                    auto const counts = counts_of_loops(30, o, 1);
                    BOOST_TEST(counts.size() == 3u);
                    for (auto const& [loop, n] : counts)
                        BOOST_TEST(n == 10); // round robin
                },
                {.policy = make_policy(text)});
    // A strategy that was chosen is asked.
    run([] { BOOST_TEST(counts_of_loops(30, {}, 1).size() == 1u); },
        {.policy = make_policy("fiber loops=3 placement=by_key")});
}

BOOST_AUTO_TEST_CASE(each_loop_has_a_listener_where_the_system_spreads)
{
    for (char const* const text : {"fiber loops=3", "strand loops=3"})
        for (std::optional<bool> const wanted : {std::optional<bool>(), std::optional(true)})
            BOOST_TEST_CONTEXT(text)
                run(
                    [&] {
                        // One that gets none of 90, by chance: once in 10^15.
                        auto const counts =
                            counts_of_loops(90, {.listener_per_loop = wanted}, 3);
                        BOOST_TEST(counts.size() == 3u);
                    },
                    {.policy = make_policy(text)});
}

BOOST_AUTO_TEST_CASE(all_listeners_have_one_port_and_close_together)
{
    run(
        [] {
            server s = start_server(any_port, echo_in_a_fiber, {.listener_per_loop = true});
            // The port is taken, for another server as for anybody.
            BOOST_CHECK_EXCEPTION(start_server(s.endpoint(), echo_in_a_fiber),
                                  boost::system::system_error,
                                  test::fails_with(make_error_code(asio::error::address_in_use)));
            std::vector<tcp::socket> clients;
            for (int i = 0; i != 40; ++i)
            {
                clients.push_back(connected(s.endpoint()));
                echoed(clients.back(), "before");
            }
            s.close();
            BOOST_TEST(!s.is_serving());
            s.serve_forever(); // returns once all have ended
            BOOST_TEST(listeners_at(s.endpoint().port()) == 0);
            for (int i = 0; i != 40; ++i)
            {
                tcp::socket c(get_running_loop().io_context());
                error_code ec;
                c.async_connect(s.endpoint(), use_fiber[ec]);
                BOOST_TEST(ec == asio::error::connection_refused);
            }
            for (tcp::socket& c : clients)
                BOOST_TEST(echoed(c, "after") == "after");
            clients.clear();
            s.wait_closed();
            BOOST_TEST(s.connections() == 0u);
            // At once, and given up by who serves.
            server brief = start_server(any_port, echo_in_a_fiber, {.listener_per_loop = true});
            brief.close();
            brief.wait_closed();
            server given_up = start_server(any_port, echo_in_a_fiber, {.listener_per_loop = true});
            std::atomic<bool> begun = false;
            task<> serving = spawn([given_up, &begun]() mutable {
                begun = true;
                given_up.serve_forever();
            });
            tcp::socket c = connected(given_up.endpoint());
            echoed(c, "x");
            while (!begun)
                this_fiber::yield();
            serving.cancel();
            BOOST_TEST(test::code_of([&] { serving.join(); }) ==
                       asio::error::operation_aborted);
            BOOST_TEST(!given_up.is_serving());
            c.close();
            given_up.wait_closed();
            BOOST_CHECK_EXCEPTION(
                start_server(any_port, echo_in_a_fiber,
                             {.max_connections = 1, .listener_per_loop = true}),
                boost::system::system_error, test::fails_with(error::bad_config));
        },
        {.policy = make_policy("fiber loops=3")});
}

namespace {

/// Its servers' tasks ask it for its unit before they accept: there one of them is met.
class meddling_policy : public fiber_policy
{
  public:
    using fiber_policy::fiber_policy;

    context_kind unit() const noexcept override
    {
        if (meddle)
        {
            met();
            meddle = false;
        }
        return fiber_policy::unit();
    }

    mutable std::atomic<bool> meddle = false;
    std::function<void()> met;
};

/// Calls `f(server, policy)` in a run with three listeners, one of which is about to be met, by
/// whoever connects.
template <class F>
void with_a_part_that_is_met(std::function<void()> met, std::string const& name, F f)
{
    auto const policy = std::make_shared<meddling_policy>(pool_options{.loops = 3});
    policy->met = std::move(met);
    run(
        [&] {
            server s = start_server(any_port, echo_in_a_fiber,
                                    {.listener_per_loop = true, .name = name});
            for (int i = 0; i != 30; ++i) // all of them have begun
                echoed(*std::make_unique<tcp::socket>(connected(s.endpoint())), "x");
            f(s, *policy);
        },
        {.policy = policy});
}

/// How many bytes cannot be had at once.
std::atomic<std::size_t> too_much = ~std::size_t(0);

void* allocate(std::size_t n)
{
    void* const p = n < too_much ? std::malloc(n ? n : 1) : nullptr;
    if (!p)
        throw std::bad_alloc();
    return p;
}

} // namespace

// Not inlined one without the other, which GCC takes for a mistake.

BOOST_NOINLINE void* operator new(std::size_t n)
{
    return allocate(n);
}
BOOST_NOINLINE void* operator new(std::size_t n, std::nothrow_t const&) noexcept
{
    return n < too_much ? std::malloc(n ? n : 1) : nullptr;
}
BOOST_NOINLINE void operator delete(void* p) noexcept
{
    std::free(p);
}
BOOST_NOINLINE void operator delete(void* p, std::nothrow_t const&) noexcept
{
    std::free(p);
}
BOOST_NOINLINE void operator delete(void* p, std::size_t) noexcept
{
    std::free(p);
}

BOOST_AUTO_TEST_CASE(where_one_listener_is_cancelled_all_end)
{
    with_a_part_that_is_met(
        [] { this_fiber::current_task().cancel(); }, "server",
        [](server s, meddling_policy& policy) {
            tcp::socket open = connected(s.endpoint());
            echoed(open, "x");
            policy.meddle = true;
            echoed(*std::make_unique<tcp::socket>(connected(s.endpoint())), "the last one");
            timeout(10s, [&] { s.serve_forever(); });
            BOOST_TEST(!s.is_serving());
            BOOST_TEST(listeners_at(s.endpoint().port()) == 0);
            BOOST_TEST(echoed(open, "still served") == "still served");
            open.close();
            timeout(10s, [&] { s.wait_closed(); });
        });
}

BOOST_AUTO_TEST_CASE(where_one_listener_fails_for_good_all_end_and_it_is_told)
{
    // No memory for what it has to say, or to call a connection.
    std::string const name(5000, 'n');
    with_a_part_that_is_met(
        [&] { too_much = name.size() + 5; }, name, [](server s, meddling_policy& policy) {
            auto const loops = get_event_loop_policy()->loops();
            std::vector<std::unique_ptr<reports>> told;
            for (auto const& l : loops)
                told.push_back(std::make_unique<reports>(*l));
            policy.meddle = true;
            {
                tcp::socket c = connected(s.endpoint());
                echoed(c, "x");
                while (policy.meddle)
                    this_fiber::yield();
                tcp::socket last = connected(s.endpoint()); // whoever gets it cannot call it
                c.close();
                BOOST_CHECK_THROW(timeout(10s, [&] { s.wait_closed(); }), std::bad_alloc);
            }
            too_much = ~std::size_t(0);
            BOOST_CHECK_THROW(s.serve_forever(), std::bad_alloc);
            BOOST_CHECK_THROW(s.wait_closed(), std::bad_alloc);
            auto waits = spawn([&]() -> asio::awaitable<void> {
                co_await s.async_wait_closed(asio::use_awaitable);
            });
            BOOST_CHECK_THROW(waits.join(), std::bad_alloc);
            BOOST_TEST(listeners_at(s.endpoint().port()) == 0);
            std::string all;
            for (auto const& r : told)
            {
                std::lock_guard const lock(r->mutex);
                all += r->text;
            }
            std::size_t const at = all.find("accepts no more connections");
            BOOST_TEST(at != std::string::npos);
            BOOST_TEST(all.find("bad_alloc") != std::string::npos);
            BOOST_TEST(all.find('\n') == all.size() - 1); // once
            for (auto const& l : loops)
                l->set_exception_handler({});
        });
}

BOOST_AUTO_TEST_CASE(the_unit_of_the_policy_or_of_the_options)
{
    // In a strand of its own or not: a handler that was dispatched to no strand has none.
    auto on_strand = [](char const* text, server_options options) {
        return run(
            [&options] {
                std::atomic<int> strands = 0;
                server s = start_server(
                    any_port,
                    [&strands](tcp::socket c) {
                        strands = detail::this_frame().strand != nullptr &&
                                  this_context::kind() == context_kind::fiber;
                        echo_in_a_fiber(std::move(c));
                    },
                    options);
                tcp::socket c = connected(s.endpoint());
                echoed(c, "x");
                s.close();
                return strands == 1;
            },
            {.policy = make_policy(text)});
    };
    BOOST_TEST(on_strand("strand loops=2", {}));
    BOOST_TEST(!on_strand("fiber loops=2", {}));
    BOOST_TEST(!on_strand("default", {}));
    BOOST_TEST(!on_strand("strand loops=2", {.unit = context_kind::fiber}));
    BOOST_TEST(on_strand("default", {.unit = context_kind::strand}));
    BOOST_CHECK_EXCEPTION(on_strand("default", {.unit = context_kind::thread}),
                          boost::system::system_error, test::fails_with(error::bad_config));
}

BOOST_AUTO_TEST_CASE(a_limit_on_connections_makes_further_clients_wait)
{
    test::under_every_policy([] {
        std::atomic<int> now = 0;
        std::atomic<int> most = 0;
        event two;
        server s = start_server(
            any_port,
            [&](tcp::socket c) {
                int const n = ++now;
                for (int seen = most; seen < n && !most.compare_exchange_weak(seen, n);)
                {
                }
                if (n == 2)
                    two.set();
                two.wait(); // so that the first is still there
                char b;
                (void)c.async_read_some(asio::buffer(&b, 1), asio::as_tuple(use_fiber));
                asio::async_write(c, asio::buffer(&b, 1), use_fiber);
                --now;
            },
            {.max_connections = 2});
        std::vector<task<>> clients;
        for (int i = 0; i != 12; ++i)
            clients.push_back(spawn([s] {
                tcp::socket c = connected(s.endpoint());
                echoed(c, "y");
            }));
        for (auto& c : clients)
            c.join();
        BOOST_TEST(most == 2);
        s.close();
        s.wait_closed();
    });
}

BOOST_AUTO_TEST_CASE(close_lets_connections_go_on_and_wait_closed_waits_for_them)
{
    test::under_every_policy([] {
        server s = start_server(any_port, echo_in_a_fiber);
        tcp::socket c = connected(s.endpoint());
        echoed(c, "before");
        task<> closed = spawn([s]() mutable { s.wait_closed(); });
        s.close();
        s.close();
        BOOST_TEST(echoed(c, "after") == "after");
        BOOST_TEST(!closed.done());
        tcp::socket refused(get_running_loop().io_context());
        s.serve_forever(); // returns once accepting has ended
        error_code ec;
        refused.async_connect(s.endpoint(), use_fiber[ec]);
        BOOST_TEST(ec == asio::error::connection_refused);
        c.close();
        closed.join();
        BOOST_TEST(s.connections() == 0u);
    });
}

BOOST_AUTO_TEST_CASE(a_cancelled_serve_forever_closes_the_server)
{
    test::under_every_policy([] {
        server s = start_server(any_port, echo_in_a_fiber);
        std::atomic<bool> begun = false; // one that is cancelled before serves nobody
        task<> serving = spawn([s, &begun]() mutable {
            begun = true;
            s.serve_forever();
        });
        tcp::socket c = connected(s.endpoint());
        echoed(c, "x");
        while (!begun)
            this_fiber::yield();
        serving.cancel();
        BOOST_TEST(test::code_of([&] { serving.join(); }) == asio::error::operation_aborted);
        BOOST_TEST(!s.is_serving());
        c.close();
        s.wait_closed();
    });
}

BOOST_AUTO_TEST_CASE(coroutines_wait_for_a_server_too)
{
    test::under_every_policy([] {
        server s = start_server(any_port, echo_in_a_coroutine);
        task<int> waiter = spawn([s]() mutable -> asio::awaitable<int> {
            co_await s.async_serve_forever(asio::use_awaitable);
            co_await s.async_wait_closed(asio::use_awaitable);
            co_return 1;
        });
        tcp::socket c = connected(s.endpoint());
        echoed(c, "x");
        c.close();
        s.close();
        BOOST_TEST(waiter.join() == 1);
    });
}

BOOST_AUTO_TEST_CASE(ends_of_connections_are_silent_and_errors_are_reported)
{
    event_loop* main = nullptr;
    std::string said;
    run([&] {
        main = &get_running_loop();
        reports r(*main);
        server s = start_server(any_port, echo_in_a_fiber);
        server broken = start_server(
            any_port, [](tcp::socket) { throw std::logic_error("a bug in the handler"); });
        {
            tcp::socket c = connected(s.endpoint());
            echoed(c, "x");
        } // end of file
        {
            tcp::socket c = connected(s.endpoint());
            echoed(c, "x");
            c.set_option(asio::socket_base::linger(true, 0));
        } // reset
        s.close();
        s.wait_closed();
        BOOST_TEST(r.text.empty());
        tcp::socket c = connected(broken.endpoint());
        char b;
        (void)c.async_read_some(asio::buffer(&b, 1), asio::as_tuple(use_fiber));
        broken.close();
        broken.wait_closed();
        BOOST_TEST(r.say("a bug in the handler"));
        main->set_exception_handler({});
    });
}

BOOST_AUTO_TEST_CASE(out_of_descriptors_it_reports_once_backs_off_and_goes_on)
{
    // A real limit, and real descriptors that use it up.
    rlimit before{};
    BOOST_TEST_REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    run([&] {
        reports r(get_running_loop());
        server s = start_server(any_port, echo_in_a_fiber);
        tcp::socket first = connected(s.endpoint());
        echoed(first, "x");
        tcp::socket second(get_running_loop().io_context(), tcp::v4()); // has its descriptor
        rlimit low = before;
        low.rlim_cur = 256;
        BOOST_TEST_REQUIRE(::setrlimit(RLIMIT_NOFILE, &low) == 0);
        std::vector<int> held;
        for (int fd; (fd = ::open("/dev/null", O_RDONLY)) >= 0;)
            held.push_back(fd);
        second.async_connect(s.endpoint(), use_fiber); // the backlog takes it
        r.told.wait();
        BOOST_TEST(r.say("cannot accept"));
        BOOST_TEST(echoed(first, "still served") == "still served");
        for (int const fd : held)
            ::close(fd);
        BOOST_TEST(echoed(second, "and the other") == "and the other");
        ::setrlimit(RLIMIT_NOFILE, &before);
        // On io_uring an accept has the limit of when it began, and so the second was accepted by
        // one that had begun before; the next one failed, though nobody had come.
        tcp::socket third = connected(s.endpoint());
        BOOST_TEST(echoed(third, "and a third") == "and a third");
        BOOST_TEST(r.say("accepts connections again"), r.text);
        std::size_t const at = r.text.find("cannot accept");
        BOOST_TEST(r.text.find("cannot accept", at + 1) == std::string::npos);
        s.close();
        get_running_loop().set_exception_handler({});
    });
    ::setrlimit(RLIMIT_NOFILE, &before);
}

BOOST_AUTO_TEST_CASE(a_server_ends_with_its_run)
{
    for (char const* const text : test::every_policy)
        BOOST_TEST_CONTEXT(text)
        {
            server s;
            run(
                [&s] {
                    s = start_server(any_port, echo_in_a_fiber);
                    tcp::socket c = connected(s.endpoint());
                    echoed(c, "x");
                    // left open, and served
                    (void)spawn([held = std::move(c)] { this_fiber::sleep_for(24h); });
                    this_fiber::yield();
                },
                {.policy = make_policy(text)});
            BOOST_TEST(!s.is_serving());
            BOOST_TEST(s.connections() == 0u);
        }
}

BOOST_AUTO_TEST_CASE(a_server_that_is_closed_at_once_does_not_listen)
{
    test::under_every_policy([] {
        server s = start_server(any_port, echo_in_a_fiber);
        s.close();
        s.wait_closed();
        tcp::socket c(get_running_loop().io_context());
        error_code ec;
        c.async_connect(s.endpoint(), use_fiber[ec]);
        BOOST_TEST(ec == asio::error::connection_refused);
    });
}

BOOST_AUTO_TEST_CASE(a_handle_may_outlive_the_run)
{
    server unborn;
    run([&unborn] { unborn = start_server(any_port, echo_in_a_fiber); });
    BOOST_TEST(!unborn.is_serving());
    unborn.close();
    unborn.wait_closed();
}

BOOST_AUTO_TEST_CASE(a_strategy_that_throws_is_reported_and_accepting_goes_on)
{
    std::atomic<int> asked = 0;
    placement::strategy const sulky = [&asked](placement_request const& r, placement::loops) {
        if (r.name == "sulky" && ++asked == 1)
            throw std::runtime_error("not now");
        return std::size_t(0);
    };
    run(
        [] {
            reports r(get_running_loop());
            server s = start_server(any_port, echo_in_a_fiber, {.name = "sulky"});
            tcp::socket c = connected(s.endpoint());
            BOOST_TEST(echoed(c, "x") == "x");
            BOOST_TEST(r.say("not now"));
            s.close();
            get_running_loop().set_exception_handler({});
        },
        {.policy = std::make_shared<fiber_policy>(pool_options{.loops = 2}, sulky)});
}

BOOST_AUTO_TEST_CASE(an_address_in_use_is_an_error_at_once)
{
    run([] {
        server s = start_server(any_port, echo_in_a_fiber);
        BOOST_CHECK_EXCEPTION(start_server(s.endpoint(), echo_in_a_fiber),
                              boost::system::system_error,
                              test::fails_with(make_error_code(asio::error::address_in_use)));
        BOOST_CHECK_EXCEPTION(server().endpoint(), boost::system::system_error,
                              test::fails_with(error::empty_handle));
        s.close();
    });
}

BOOST_AUTO_TEST_CASE(without_a_loop_it_is_refused)
{
    BOOST_CHECK_EXCEPTION(start_server(any_port, echo_in_a_fiber), boost::system::system_error,
                          test::fails_with(error::no_current_loop));
}

BOOST_AUTO_TEST_CASE(an_empty_handler_is_refused_at_once)
{
    run([] {
        BOOST_CHECK_EXCEPTION(start_server(any_port, std::function<void(tcp::socket)>()),
                              boost::system::system_error, test::fails_with(error::bad_config));
        BOOST_CHECK_EXCEPTION(start_server(any_port, static_cast<void (*)(tcp::socket)>(nullptr)),
                              boost::system::system_error, test::fails_with(error::bad_config));
    });
}

BOOST_AUTO_TEST_CASE(who_cannot_wait_for_a_server_does_not_close_it)
{
    run([] {
        server s = start_server(any_port, echo_in_a_fiber);
        error_code refused;
        event tried;
        get_running_loop().call_soon([&] { // where nothing can wait
            refused = test::code_of([&] { s.serve_forever(); });
            tried.set();
        });
        tried.wait();
        BOOST_TEST(refused == error::not_in_fiber);
        BOOST_TEST(s.is_serving());
        tcp::socket c = connected(s.endpoint());
        BOOST_TEST(echoed(c, "x") == "x");
        s.close();
    });
}
