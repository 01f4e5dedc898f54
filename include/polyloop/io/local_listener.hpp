// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_LOCAL_LISTENER_HPP
#define POLYLOOP_IO_LOCAL_LISTENER_HPP

#include <polyloop/io/basic_listener.hpp>

#include <boost/asio/local/stream_protocol.hpp>

namespace polyloop {

/// The same as `tcp_listener` for local (Unix) sockets.
using local_listener = basic_listener<asio::local::stream_protocol>;

} // namespace polyloop

#endif
