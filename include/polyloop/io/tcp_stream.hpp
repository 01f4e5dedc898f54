// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_TCP_STREAM_HPP
#define POLYLOOP_IO_TCP_STREAM_HPP

#include <polyloop/io/basic_stream.hpp>

#include <boost/asio/ip/tcp.hpp>

namespace polyloop {

/// A TCP connection for fibers.
using tcp_stream = basic_stream<asio::ip::tcp>;

} // namespace polyloop

#endif
