// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_RESOLVE_HPP
#define POLYLOOP_IO_DETAIL_RESOLVE_HPP

#include <polyloop/task/detail/waiter.hpp>

#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>

#include <string_view>
#include <vector>

namespace polyloop::detail {

/// The addresses of a name, looked up on a thread of the default executor unless they are numbers
/// already. Suspends a fiber, blocks a plain thread; `not_in_fiber` elsewhere. A cancelled caller,
/// or one whose limit has passed, leaves at once, and the answer is dropped when it comes.
POLYLOOP_DECL std::vector<boost::asio::ip::tcp::endpoint>
resolve(loop_core& core, std::string_view host, std::string_view service, deadline limit,
        boost::system::error_code& ec);

/// Says to whom there is no connection, and what can be done.
[[noreturn]] POLYLOOP_DECL void throw_not_connected(std::string_view host,
                                                    std::string_view service,
                                                    boost::system::error_code const& ec);

} // namespace polyloop::detail

#endif
