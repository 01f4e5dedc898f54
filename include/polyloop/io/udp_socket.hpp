// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_UDP_SOCKET_HPP
#define POLYLOOP_IO_UDP_SOCKET_HPP

#include <polyloop/io/basic_datagram.hpp>

#include <boost/asio/ip/udp.hpp>

namespace polyloop {

/// A UDP socket for fibers. A datagram that nobody listens for may make a later operation of a
/// connected socket fail by `connection_refused`.
using udp_socket = basic_datagram<asio::ip::udp>;

} // namespace polyloop

#endif
