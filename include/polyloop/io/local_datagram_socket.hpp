// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_LOCAL_DATAGRAM_SOCKET_HPP
#define POLYLOOP_IO_LOCAL_DATAGRAM_SOCKET_HPP

#include <polyloop/io/basic_datagram.hpp>

#include <boost/asio/local/datagram_protocol.hpp>

namespace polyloop {

/// The same as `udp_socket` for local (Unix) sockets, between which no datagram is lost.
using local_datagram_socket = basic_datagram<asio::local::datagram_protocol>;

} // namespace polyloop

#endif
