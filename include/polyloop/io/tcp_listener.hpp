// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_TCP_LISTENER_HPP
#define POLYLOOP_IO_TCP_LISTENER_HPP

#include <polyloop/io/basic_listener.hpp>
#include <polyloop/io/tcp_stream.hpp>

namespace polyloop {

/// Accepts TCP connections for fibers.
using tcp_listener = basic_listener<asio::ip::tcp>;

} // namespace polyloop

#endif
