// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_BASIC_DATAGRAM_HPP
#define POLYLOOP_IO_BASIC_DATAGRAM_HPP

#include <polyloop/io/basic_socket.hpp>
#include <polyloop/policy/event_loop_policy.hpp>

#include <boost/asio/basic_datagram_socket.hpp>

#include <concepts>
#include <cstddef>
#include <utility>

namespace polyloop {

/// A socket for datagrams whose operations have the form of blocking ones, as those of
/// `basic_stream`: waiting, limits, cancellation, the loop it belongs to and thread safety are the
/// same. A datagram arrives whole and once, if it arrives; one may be empty.
///
/// One that has more bytes than the buffers have room for is cut to these, and the rest is lost,
/// without an error; on Windows the error is `message_size`. That is what Asio's sockets do.
///
/// Sending waits where the system's buffer is full. To a local address without being connected to
/// it, there is nothing to wait for where the receiver's queue is full: the error is
/// `no_buffer_space`.
template <class Protocol>
class basic_datagram : public basic_socket<Protocol, detail::datagram_transport>
{
    using base = basic_socket<Protocol, detail::datagram_transport>;
    using open_socket = detail::datagram_transport::open_socket;
    using vectors = detail::datagram_transport::vectors;
    using address = detail::datagram_transport::address;

  public:
    using typename base::endpoint_type;
    using typename base::executor_type;
    using message_flags = asio::socket_base::message_flags;

    /// Not open; on the running loop, else on the one the policy in force gives.
    basic_datagram() : basic_datagram(get_event_loop())
    {
    }
    /// The same on `loop`, which must live while operations are under way.
    explicit basic_datagram(event_loop& loop) noexcept : base(loop)
    {
    }
    /// Open and bound; port 0 lets the system choose. Throws the system's error.
    explicit basic_datagram(endpoint_type const& local) : basic_datagram(get_event_loop(), local)
    {
    }
    basic_datagram(event_loop& loop, endpoint_type const& local) : base(loop)
    {
        open(local.protocol());
        bind(local);
    }
    /// Takes an open socket of Asio over, with what it has; nothing may be pending on it. Throws
    /// the system's error.
    template <class Executor>
    basic_datagram(event_loop& loop, asio::basic_datagram_socket<Protocol, Executor> socket)
        : base(loop)
    {
        socket.native_non_blocking(true);
        this->set_open(open_socket::open(this->core(), socket.release(), true, false));
    }

    basic_datagram(basic_datagram&&) noexcept = default;
    basic_datagram& operator=(basic_datagram&&) noexcept = default;

    /// Hands the socket over to Asio, and is closed then. Nobody may use it meanwhile. Throws
    /// `bad_descriptor`, and the system's error where Asio cannot take it, which ends it.
    asio::basic_datagram_socket<Protocol, executor_type> release()
    {
        return this->template hand_over<asio::basic_datagram_socket<Protocol, executor_type>>();
    }

    // -- where it is, and with whom it speaks

    /// Closes what was open.
    void open(Protocol const& protocol, boost::system::error_code& ec)
    {
        this->open_new(protocol.family(), protocol.protocol(), ec);
    }
    void open(Protocol const& protocol = endpoint_type().protocol())
    {
        boost::system::error_code ec;
        open(protocol, ec);
        this->check(ec);
    }
    void bind(endpoint_type const& local, boost::system::error_code& ec)
    {
        this->bind_to(local.data(), local.size(), ec);
    }
    void bind(endpoint_type const& local)
    {
        boost::system::error_code ec;
        bind(local, ec);
        this->check(ec);
    }
    /// From now on it sends to this peer, and receives from it alone. Opens the socket where it is
    /// not open. Does not wait.
    void connect(endpoint_type const& peer, boost::system::error_code& ec)
    {
        ec.clear();
        if (!this->is_open())
            open(peer.protocol(), ec);
        if (!ec)
            this->connect_to(peer.data(), peer.size(), ec);
    }
    void connect(endpoint_type const& peer)
    {
        boost::system::error_code ec;
        connect(peer, ec);
        this->check(ec);
    }

    // -- sending

    /// One datagram, made of all the buffers.
    template <class ConstBuffers>
    std::size_t send_to(ConstBuffers const& buffers, endpoint_type const& to, message_flags flags,
                        boost::system::error_code& ec)
    {
        vectors v(buffers);
        return base::send_to(v, address_of(to), flags, ec);
    }
    template <class ConstBuffers>
    std::size_t send_to(ConstBuffers const& buffers, endpoint_type const& to,
                        boost::system::error_code& ec)
    {
        return send_to(buffers, to, 0, ec);
    }
    template <class ConstBuffers>
    std::size_t send_to(ConstBuffers const& buffers, endpoint_type const& to,
                        message_flags flags = 0)
    {
        boost::system::error_code ec;
        std::size_t const n = send_to(buffers, to, flags, ec);
        this->check(ec);
        return n;
    }

    /// The same to the peer it is connected to.
    template <class ConstBuffers>
    std::size_t send(ConstBuffers const& buffers, message_flags flags,
                     boost::system::error_code& ec)
    {
        vectors v(buffers);
        return base::send_to(v, {}, flags, ec);
    }
    template <class ConstBuffers>
    std::size_t send(ConstBuffers const& buffers, boost::system::error_code& ec)
    {
        return send(buffers, 0, ec);
    }
    template <class ConstBuffers>
    std::size_t send(ConstBuffers const& buffers, message_flags flags = 0)
    {
        boost::system::error_code ec;
        std::size_t const n = send(buffers, flags, ec);
        this->check(ec);
        return n;
    }

    // -- receiving

    /// One datagram; `from` is set to its sender.
    template <class MutableBuffers>
    std::size_t receive_from(MutableBuffers const& buffers, endpoint_type& from,
                             message_flags flags, boost::system::error_code& ec)
    {
        vectors v(buffers);
        address a{from.data(), from.capacity()};
        std::size_t const n = base::receive_from(v, a, flags, ec);
        if (!ec)
            from.resize(a.size);
        return n;
    }
    template <class MutableBuffers>
    std::size_t receive_from(MutableBuffers const& buffers, endpoint_type& from,
                             boost::system::error_code& ec)
    {
        return receive_from(buffers, from, 0, ec);
    }
    template <class MutableBuffers>
    std::size_t receive_from(MutableBuffers const& buffers, endpoint_type& from,
                             message_flags flags = 0)
    {
        boost::system::error_code ec;
        std::size_t const n = receive_from(buffers, from, flags, ec);
        this->check(ec);
        return n;
    }

    /// The same without asking for the sender.
    template <class MutableBuffers>
    std::size_t receive(MutableBuffers const& buffers, message_flags flags,
                        boost::system::error_code& ec)
    {
        vectors v(buffers);
        address nobody;
        return base::receive_from(v, nobody, flags, ec);
    }
    template <class MutableBuffers>
    std::size_t receive(MutableBuffers const& buffers, boost::system::error_code& ec)
    {
        return receive(buffers, 0, ec);
    }
    template <class MutableBuffers>
    std::size_t receive(MutableBuffers const& buffers, message_flags flags = 0)
    {
        boost::system::error_code ec;
        std::size_t const n = receive(buffers, flags, ec);
        this->check(ec);
        return n;
    }

    // -- with a completion token
    //
    // Complete with `void(error_code, std::size_t)`; never within the call. The limit is that of
    // `expires_after` at their beginning. Cancellation of any type: `operation_aborted`, with
    // nothing received or sent. Buffers, and `from`, have to live until then.

    template <class ConstBuffers, class Token = asio::default_completion_token_t<executor_type>>
    auto async_send_to(ConstBuffers const& buffers, endpoint_type const& to,
                       Token&& token = Token())
    {
        return start_send(buffers, to, std::forward<Token>(token));
    }
    template <class ConstBuffers, class Token = asio::default_completion_token_t<executor_type>>
    auto async_send(ConstBuffers const& buffers, Token&& token = Token())
    {
        return start_send(buffers, its_peer(), std::forward<Token>(token));
    }
    template <class MutableBuffers,
              class Token = asio::default_completion_token_t<executor_type>>
    auto async_receive_from(MutableBuffers const& buffers, endpoint_type& from,
                            Token&& token = Token())
    {
        return start_receive(buffers, &from, std::forward<Token>(token));
    }
    template <class MutableBuffers,
              class Token = asio::default_completion_token_t<executor_type>>
    auto async_receive(MutableBuffers const& buffers, Token&& token = Token())
    {
        return start_receive(buffers, nullptr, std::forward<Token>(token));
    }

  private:
    /// Whom it is connected to.
    struct its_peer
    {
    };

    static address address_of(endpoint_type const& e) noexcept
    {
        // Sending only reads it.
        return {const_cast<void*>(static_cast<void const*>(e.data())), e.size()};
    }
    static address address_of(its_peer) noexcept
    {
        return {};
    }

    template <class ConstBuffers, class Peer, class Token>
    auto start_send(ConstBuffers const& buffers, Peer const& to, Token&& token)
    {
        return this->template start<detail::direction::write>(
            [buffers, to](open_socket& s, boost::system::error_code& ec) {
                vectors v(buffers);
                return base::send_to_now(s, v, address_of(to), 0, ec);
            },
            std::forward<Token>(token));
    }
    /// `from`: null where nobody asks for the sender.
    template <class MutableBuffers, class Token>
    auto start_receive(MutableBuffers const& buffers, endpoint_type* from, Token&& token)
    {
        return this->template start<detail::direction::read>(
            [buffers, from](open_socket& s, boost::system::error_code& ec) {
                vectors v(buffers);
                address a;
                if (from)
                    a = {from->data(), from->capacity()};
                std::size_t const n = base::receive_from_now(s, v, a, 0, ec);
                if (from && !ec)
                    from->resize(a.size);
                return n;
            },
            std::forward<Token>(token));
    }
};

} // namespace polyloop

#endif
