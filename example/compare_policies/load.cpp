// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// The load is a closed loop: each connection sends a message, reads as many bytes,
// compares them, and sends the next until the measured time is over. A message that is on
// its way then is waited for, and its latency counts: who is served late, or hardly ever,
// would otherwise be seen in no figure. Plain callbacks, a thread for each share of the
// connections.

#include "load.hpp"

#include "histogram.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <poll.h>
#include <time.h>
#include <unistd.h>

namespace asio = boost::asio;
namespace json = boost::json;
using asio::ip::tcp;

namespace
{
using clock_type = std::chrono::steady_clock;
using time_point = clock_type::time_point;

struct plan
{
    time_point begin, end; // of the measured time
    time_point limit;      // for answers to what was sent before the end
};

struct tally
{
    void fail(std::string const& what)
    {
        if (errors++ == 0)
            trouble = what;
    }

    void add(tally const& other)
    {
        latency.add(other.latency);
        requests += other.requests;
        if (errors == 0)
            trouble = other.trouble;
        errors += other.errors;
    }

    histogram latency; // nanoseconds
    std::uint64_t requests = 0;
    std::uint64_t errors = 0;
    std::string trouble;
};

/// splitmix64: a sequence of its own for each seed.
class random_bytes
{
public:
    explicit random_bytes(std::uint64_t seed)
        : state_(seed)
    {
    }

    void fill(std::vector<char>& out)
    {
        for (std::size_t at = 0; at < out.size(); at += sizeof(std::uint64_t))
        {
            std::uint64_t const word = next();
            std::memcpy(&out[at], &word, std::min(sizeof word, out.size() - at));
        }
    }

private:
    std::uint64_t next()
    {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

    std::uint64_t state_;
};

class connection
{
public:
    connection(asio::io_context& io, std::uint64_t number, std::size_t size)
        : socket_(io)
        , random_(number << 40)
        , sent_(size)
        , received_(size)
    {
    }

    void connect(tcp::endpoint const& where)
    {
        socket_.connect(where);
        socket_.set_option(tcp::no_delay(true));
    }

    void start(plan const& p, tally& t)
    {
        plan_ = &p;
        tally_ = &t;
        began_ = clock_type::now();
        exchange();
    }

    /// What it still waits for will not come.
    void give_up()
    {
        if (pending_ != 0)
            stop(asio::error::timed_out);
    }

    std::function<void()> on_end;

private:
    // Both at once, since a long message does not fit into the buffers on its way.
    void exchange()
    {
        random_.fill(sent_);
        pending_ = 2;
        auto done = [this](boost::system::error_code ec, std::size_t) { finished(ec); };
        asio::async_write(socket_, asio::buffer(sent_), done);
        asio::async_read(socket_, asio::buffer(received_), done);
    }

    void stop(boost::system::error_code why)
    {
        if (error_)
            return;
        error_ = why;
        boost::system::error_code ignored;
        socket_.close(ignored);
    }

    void finished(boost::system::error_code ec)
    {
        if (ec)
            stop(ec);
        if (--pending_ != 0)
            return;
        if (error_)
        {
            tally_->fail("no whole answer came: " + error_.message());
            on_end();
            return;
        }
        time_point const now = clock_type::now();
        if (sent_ != received_)
            tally_->fail("other bytes came back than were sent");
        else if (now >= plan_->begin)
        {
            using ns = std::chrono::nanoseconds;
            tally_->latency.add(static_cast<std::uint64_t>(ns(now - began_).count()));
            tally_->requests += now < plan_->end;
        }
        if (now < plan_->end)
        {
            began_ = now;
            exchange();
            return;
        }
        socket_.close(ec);
        on_end();
    }

    tcp::socket socket_;
    random_bytes random_;
    std::vector<char> sent_;
    std::vector<char> received_;
    int pending_ = 0;
    time_point began_;
    boost::system::error_code error_;
    plan const* plan_ = nullptr;
    tally* tally_ = nullptr;
};

/// A thread's share.
class worker
{
public:
    void connect(tcp::endpoint const& where, std::uint64_t number, std::size_t size)
    try
    {
        auto c = std::make_unique<connection>(io_, number, size);
        c->connect(where);
        connections_.push_back(std::move(c));
    }
    catch (boost::system::system_error const& e)
    {
        tally_.fail("cannot connect: " + e.code().message());
    }

    void run(plan const& p)
    {
        asio::steady_timer deadline(io_, p.limit);
        deadline.async_wait([this](boost::system::error_code ec) {
            for (auto const& c : connections_)
                if (!ec)
                    c->give_up();
        });
        std::size_t left = connections_.size();
        for (auto const& c : connections_)
        {
            c->on_end = [&] {
                if (--left == 0)
                    deadline.cancel();
            };
            c->start(p, tally_);
        }
        if (left == 0)
            deadline.cancel();
        io_.run();
    }

    tally const& result() const { return tally_; }

private:
    asio::io_context io_{1};
    std::vector<std::unique_ptr<connection>> connections_;
    tally tally_;
};

/// Ends the process, whatever it is doing, when the link's other end is gone or time is
/// over.
void watch(std::chrono::milliseconds limit)
{
    std::thread([limit] {
        pollfd link{STDIN_FILENO, POLLIN, 0};
        poll(&link, 1, static_cast<int>(limit.count()));
        _exit(3);
    }).detach();
}

/// Processor time of the process that serves, this one's parent. Read from here, since a
/// loop of its that is loaded would be late to do so.
class server_clock
{
public:
    server_clock()
    {
        if (int const error = clock_getcpuclockid(getppid(), &id_); error != 0)
            throw std::system_error(
                error, std::generic_category(), "no clock of the server");
    }

    double us() const
    {
        timespec t{};
        clock_gettime(id_, &t);
        return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
    }

private:
    clockid_t id_{};
};

} // namespace

int run_load()
{
    asio::io_context io;
    asio::local::stream_protocol::socket starter(
        io, asio::local::stream_protocol(), STDIN_FILENO);
    std::string told;
    asio::read_until(starter, asio::dynamic_buffer(told), '\n');
    json::value const what = json::parse(told);
    auto number = [&](char const* name) {
        return what.at(name).to_number<std::size_t>();
    };
    auto time = [&](char const* name) {
        seconds const given(what.at(name).to_number<double>());
        return std::chrono::duration_cast<std::chrono::nanoseconds>(given);
    };
    auto const warmup = time("warmup"), duration = time("duration"),
               grace = time("grace");
    constexpr std::chrono::seconds to_connect(60);
    watch(std::chrono::ceil<std::chrono::milliseconds>(
        to_connect + warmup + duration + 2 * grace));

    server_clock const clock;
    tcp::endpoint const server(
        asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(number("port")));
    std::vector<worker> workers(number("threads"));
    for (std::size_t i = 0; i != number("connections"); ++i)
        workers[i % workers.size()].connect(server, i, number("size"));

    plan p;
    p.begin = clock_type::now() + warmup;
    p.end = p.begin + duration;
    p.limit = p.end + grace;
    std::vector<std::thread> threads;
    for (worker& w : workers)
        threads.emplace_back([&] { w.run(p); });
    std::this_thread::sleep_until(p.begin);
    double const before = clock.us();
    std::this_thread::sleep_until(p.end);
    double const used = clock.us() - before;
    for (std::thread& t : threads)
        t.join();

    tally all;
    for (worker const& w : workers)
        all.add(w.result());
    json::object const result{
        {"requests", all.requests},
        {"errors", all.errors},
        {"trouble", all.trouble},
        {"latency_ns", json::value_from(all.latency.filled())},
        {"cpu_us", used},
    };
    asio::write(starter, asio::buffer(json::serialize(result) + '\n'));
    starter.release(); // its end would be the end for the watching thread
    return 0;
}
