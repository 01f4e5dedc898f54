// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_DATAGRAM_BASE_HPP
#define POLYLOOP_IO_DETAIL_DATAGRAM_BASE_HPP

#include <polyloop/io/detail/stream_base.hpp>

#include <cstddef>

namespace polyloop::detail {

/// What datagram sockets of all protocols have in common.
class datagram_base : public stream_base
{
  protected:
    /// Where a datagram goes, or comes from: the system's form of an endpoint.
    struct address
    {
        void* data = nullptr; ///< none: the peer that the socket is connected to
        std::size_t size = 0;
    };

    using stream_base::stream_base;

    /// Closes what was open.
    POLYLOOP_DECL void open_new(int family, int protocol, boost::system::error_code& ec);
    POLYLOOP_DECL void bind_to(void const* name, std::size_t size, boost::system::error_code& ec);
    POLYLOOP_DECL void connect_to(void const* name, std::size_t size,
                                  boost::system::error_code& ec);

    // Wait where they have to. A datagram may be empty.
    POLYLOOP_DECL std::size_t receive_from(vectors& v, address& from, int flags,
                                           boost::system::error_code& ec);
    POLYLOOP_DECL std::size_t send_to(vectors& v, address const& to, int flags,
                                      boost::system::error_code& ec);

    /// Once, without waiting: `would_block` where it has to be waited for.
    POLYLOOP_DECL static std::size_t receive_from_now(descriptor& d, vectors& v, address& from,
                                                      int flags, boost::system::error_code& ec);
    POLYLOOP_DECL static std::size_t send_to_now(descriptor& d, vectors& v, address const& to,
                                                 int flags, boost::system::error_code& ec);

  private:
    template <direction Way, class Try>
    std::size_t transfer(boost::system::error_code& ec, Try attempt);
};

} // namespace polyloop::detail

#endif
