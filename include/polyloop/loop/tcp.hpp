// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_TCP_HPP
#define POLYLOOP_LOOP_TCP_HPP

#include <polyloop/loop/event_loop.hpp>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/ip/basic_resolver.hpp>
#include <boost/asio/ip/tcp.hpp>

namespace polyloop {

/// Asio's TCP with sockets bound to `event_loop::executor_type`, which spares Asio the type-erased
/// executor of its own aliases (a tenth of an echo's instructions). A `socket` converts to
/// `asio::ip::tcp::socket` by moving.
struct tcp : asio::ip::tcp
{
    using socket = asio::basic_stream_socket<asio::ip::tcp, event_loop::executor_type>;
    using acceptor = asio::basic_socket_acceptor<asio::ip::tcp, event_loop::executor_type>;
    using resolver = asio::ip::basic_resolver<asio::ip::tcp, event_loop::executor_type>;
};

} // namespace polyloop

#endif
