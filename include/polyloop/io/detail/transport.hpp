// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_TRANSPORT_HPP
#define POLYLOOP_IO_DETAIL_TRANSPORT_HPP

// The one place that chooses what the sockets of this room are made of: an epoll of their own, or
// the sockets of Asio on any other backend, or where POLYLOOP_IO_PORTABLE asks for them.

#include <polyloop/config.hpp>

#if defined(BOOST_ASIO_HAS_EPOLL) && !defined(POLYLOOP_IO_PORTABLE)

#include <polyloop/io/detail/datagram_base.hpp>
#include <polyloop/io/detail/stream_base.hpp>

namespace polyloop::detail {

using stream_transport = stream_base;
using datagram_transport = datagram_base;

} // namespace polyloop::detail

#else

#include <polyloop/io/detail/portable_base.hpp>

namespace polyloop::detail {

using stream_transport = portable_base;
using datagram_transport = portable_datagram_base;

} // namespace polyloop::detail

#endif

#endif
