// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_BASIC_LISTENER_HPP
#define POLYLOOP_IO_BASIC_LISTENER_HPP

#include <polyloop/io/basic_stream.hpp>

#include <boost/asio/basic_socket_acceptor.hpp>

#include <utility>

namespace polyloop {

/// Accepts connections as `basic_stream`s, in the form of a blocking call.
///
/// Waiting, errors, limits, cancellation and thread safety are those of `basic_stream`; several
/// may accept at once.
template <class Protocol>
class basic_listener : public basic_socket<Protocol, detail::stream_transport>
{
    using base = basic_socket<Protocol, detail::stream_transport>;
    using open_socket = detail::stream_transport::open_socket;

  public:
    using typename base::endpoint_type;
    using typename base::executor_type;
    using stream_type = basic_stream<Protocol>;

    /// Listens at `endpoint`, on the running loop or the one the policy in force gives. Throws the
    /// system's error.
    explicit basic_listener(endpoint_type const& endpoint,
                            int backlog = asio::socket_base::max_listen_connections)
        : basic_listener(get_event_loop(), endpoint, backlog)
    {
    }
    basic_listener(event_loop& loop, endpoint_type const& endpoint,
                   int backlog = asio::socket_base::max_listen_connections)
        : basic_listener(loop, listening(loop, endpoint, backlog))
    {
    }
    /// Takes a listening socket of Asio over, with the options it has.
    template <class Executor>
    basic_listener(event_loop& loop, asio::basic_socket_acceptor<Protocol, Executor> socket)
        : base(loop)
    {
        socket.native_non_blocking(true);
        this->set_open(open_socket::open(this->core(), socket.release(), false, true));
    }

    basic_listener(basic_listener&&) noexcept = default;
    basic_listener& operator=(basic_listener&&) noexcept = default;

    /// The next connection, which belongs to `loop`, or to the listener's own.
    stream_type accept(event_loop& loop, boost::system::error_code& ec)
    {
        stream_type s(loop);
        s.take_over(this->accept_one(ec), ec, stream_type::whole);
        return s;
    }
    stream_type accept(event_loop& loop)
    {
        boost::system::error_code ec;
        stream_type s = accept(loop, ec);
        this->check(ec);
        return s;
    }
    stream_type accept(boost::system::error_code& ec)
    {
        return accept(own_loop(), ec);
    }
    stream_type accept()
    {
        return accept(own_loop());
    }

  private:
    using acceptor = asio::basic_socket_acceptor<Protocol, executor_type>;

    /// Throws `error::loop_closed` where it is gone.
    event_loop& own_loop() const
    {
        if (this->core().is_gone()) [[unlikely]]
            detail::throw_error(error::loop_closed);
        return *this->core().facade();
    }

    static acceptor listening(event_loop& loop, endpoint_type const& endpoint, int backlog)
    {
        acceptor a(loop.get_executor(), endpoint.protocol());
        a.set_option(asio::socket_base::reuse_address(true));
        a.bind(endpoint);
        a.listen(backlog);
        return a;
    }
};

} // namespace polyloop

#endif
