// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include "handlers.hpp"

#include "../command_line.hpp"
#include "comparison.hpp"

#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/buffer.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <algorithm>
#include <vector>

namespace asio = boost::asio;

namespace
{
constexpr std::size_t buffer_size = 16 * 1024;
}

void echo_in_fiber(polyloop::tcp::socket client)
{
    std::vector<char> data(buffer_size);
    boost::system::error_code ec;
    while (!ec)
    {
        auto const n =
            client.async_read_some(asio::buffer(data), polyloop::use_fiber[ec]);
        if (!ec)
            asio::async_write(client, asio::buffer(data, n), polyloop::use_fiber[ec]);
    }
}

asio::awaitable<void> echo_in_coroutine(polyloop::tcp::socket client)
{
    std::vector<char> data(buffer_size);
    boost::system::error_code ec;
    auto token = asio::redirect_error(asio::use_awaitable, ec);
    while (!ec)
    {
        auto const n = co_await client.async_read_some(asio::buffer(data), token);
        if (!ec)
            co_await asio::async_write(client, asio::buffer(data, n), token);
    }
}

void loop_shares::count()
{
    std::lock_guard const lock(mutex_);
    ++connections_[&polyloop::get_running_loop()];
}

std::optional<double> loop_shares::spread(
    std::span<std::shared_ptr<polyloop::event_loop> const> loops) const
{
    if (loops.size() < 2)
        return {};
    std::lock_guard const lock(mutex_);
    std::size_t least = static_cast<std::size_t>(-1), most = 0, all = 0;
    for (auto const& loop : loops)
    {
        auto const found = connections_.find(loop.get());
        std::size_t const n = found == connections_.end() ? 0 : found->second;
        least = std::min(least, n);
        most = std::max(most, n);
        all += n;
    }
    return evenness(least, most, all, loops.size());
}

polyloop::server start_echo(
    polyloop::tcp::endpoint const& where, style how, loop_shares& shares)
{
    auto prepare = [&shares](polyloop::tcp::socket& client) {
        shares.count();
        boost::system::error_code ignored; // of a client that has gone already
        client.set_option(polyloop::tcp::no_delay(true), ignored);
    };
    // Policies are compared: they place the connections, and not the system.
    polyloop::server_options const options{.listener_per_loop = false};
    return listening(where, [&] {
        if (how == style::fiber)
            return polyloop::start_server(
                where,
                [prepare](polyloop::tcp::socket client) {
                    prepare(client);
                    echo_in_fiber(std::move(client));
                },
                options);
        return polyloop::start_server(
            where,
            [prepare](polyloop::tcp::socket client) {
                prepare(client);
                return echo_in_coroutine(std::move(client));
            },
            options);
    });
}
