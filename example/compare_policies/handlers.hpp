// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_HANDLERS_HPP
#define POLYLOOP_EXAMPLE_HANDLERS_HPP

#include "options.hpp"

#include <polyloop/server/server.hpp>

#include <boost/asio/awaitable.hpp>

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

/// The handler in both styles, the same under every policy.
void echo_in_fiber(polyloop::tcp::socket client);
boost::asio::awaitable<void> echo_in_coroutine(polyloop::tcp::socket client);

/// How many connections each loop has got.
class loop_shares
{
public:
    /// Counts one for the running loop.
    void count();

    /// How evenly they lie on these; nothing where there is one loop.
    std::optional<double> spread(
        std::span<std::shared_ptr<polyloop::event_loop> const> loops) const;

private:
    mutable std::mutex mutex_;
    std::map<polyloop::event_loop const*, std::size_t> connections_;
};

/// `shares` must outlive the server.
polyloop::server start_echo(
    polyloop::tcp::endpoint const& where, style how, loop_shares& shares);

#endif
