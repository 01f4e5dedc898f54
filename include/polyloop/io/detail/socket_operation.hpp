// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_SOCKET_OPERATION_HPP
#define POLYLOOP_IO_DETAIL_SOCKET_OPERATION_HPP

#include <polyloop/io/detail/descriptor.hpp>
#include <polyloop/task/detail/async_waiter.hpp>

#include <boost/asio/cancellation_state.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/system/error_code.hpp>

#include <cstddef>
#include <tuple>
#include <utility>

namespace polyloop::detail {

/// For `async_compose`: tries, and waits where it has to, until something was done.
///
/// `Try` is called with the open socket and an `error_code`, gives the number of bytes, and sets
/// `would_block` where it has to be waited for. Where nothing is open, the error is
/// `bad_descriptor`.
template <class Open, direction Way, class Try>
struct socket_operation
{
    template <class Self>
    void operator()(Self& self, boost::system::error_code ec = {})
    {
        std::size_t n = 0;
        if (!open) [[unlikely]]
        {
            if (std::exchange(tried, true))
                self.complete(asio::error::bad_descriptor, 0);
            else
                asio::post(std::move(self));
            return;
        }
        if (!tried)
        {
            self.reset_cancellation_state(asio::enable_total_cancellation());
            cancels = open->cancels(); // here it begins, whenever it was made
        }
        // The first time it waits in any case, so that it never completes within the call.
        if (tried || ec)
        {
            if (!ec)
                n = attempt(*open, ec);
            if (ec == asio::error::bad_descriptor) [[unlikely]]
                ec = open->why_closed(cancels);
            if (ec == asio::error::would_block &&
                self.cancelled() != asio::cancellation_type::none)
                ec = asio::error::operation_aborted; // while nobody waited
            if (ec != asio::error::would_block)
            {
                self.complete(ec, n);
                return;
            }
        }
        tried = true;
        auto const wait = [d = open, c = cancels](descriptor_waiter& w) {
            return d->begin(w, Way, c);
        };
        initiate_wait<node, void(boost::system::error_code)>(std::move(self), open->place(Way),
                                                             limit, wait);
    }

    struct node : descriptor_waiter
    {
        std::tuple<boost::system::error_code> result(wait_end e) const noexcept
        {
            return aborted ? boost::system::error_code(asio::error::operation_aborted)
                           : code_of(e);
        }
    };

    boost::intrusive_ptr<Open> open;
    Try attempt;
    deadline limit;
    unsigned cancels = 0;
    bool tried = false;
};

} // namespace polyloop::detail

#endif
