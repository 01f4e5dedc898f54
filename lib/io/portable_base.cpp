// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/io/detail/portable_base.hpp>

#include <boost/asio/error.hpp>

#include <algorithm>
#include <cstring>
#include <span>
#include <type_traits>
#include <variant>

namespace polyloop::detail {
namespace {

using boost::system::error_code;
using stream = portable_socket::stream;
using acceptor = portable_socket::acceptor;
using datagram = portable_socket::datagram;
using stream_endpoint = asio::generic::stream_protocol::endpoint;
using datagram_endpoint = asio::generic::datagram_protocol::endpoint;
using buffers = std::span<asio::mutable_buffer const>;

buffers all_of(portable_buffers const& v)
{
    return {v.begin(), v.end()};
}

/// Calls `f` with the socket if it is a `Socket`; else the error is that of the system's call.
template <class Socket, class F>
std::size_t try_on(portable_socket& s, error_code& ec, F f)
{
    std::size_t n = 0;
    ec.clear();
    s.with(ec, [&](auto& socket) {
        if constexpr (std::is_same_v<std::decay_t<decltype(socket)>, Socket>)
            n = f(socket);
        else
            ec = asio::error::operation_not_supported;
    });
    return n;
}

/// An endpoint of Asio's in the memory of another one's; `size` is the room there, and then its
/// own.
template <class Endpoint>
void copy_name(Endpoint const& from, void* to, std::size_t& size)
{
    std::memcpy(to, from.data(), std::min(size, from.size()));
    size = from.size();
}

/// An option of Asio's that was taken apart.
struct raw_option
{
    int level_;
    int name_;
    void* data_;
    std::size_t* size_;

    template <class Protocol>
    int level(Protocol const&) const noexcept
    {
        return level_;
    }
    template <class Protocol>
    int name(Protocol const&) const noexcept
    {
        return name_;
    }
    template <class Protocol>
    void* data(Protocol const&) const noexcept
    {
        return data_;
    }
    template <class Protocol>
    std::size_t size(Protocol const&) const noexcept
    {
        return *size_;
    }
    template <class Protocol>
    void resize(Protocol const&, std::size_t n) noexcept
    {
        *size_ = n;
    }
};

} // namespace

std::size_t portable_base::transfer(direction way, error_code& ec, attempt_function once,
                                    void* attempt)
{
    portable_socket* const s = open().get();
    if (!s) [[unlikely]]
    {
        ec = asio::error::bad_descriptor;
        return 0;
    }
    ec.clear();
    if (limit().passed()) [[unlikely]]
    {
        ec = asio::error::timed_out;
        return 0;
    }
    turns& turn = way == direction::read ? left<direction::read>() : left<direction::write>();
    unsigned const cancels = s->cancels();
    for (;;)
    {
        if (!turn.take()) [[unlikely]]
        {
            if (!turn.give_way(ec))
                return 0;
            continue;
        }
        std::size_t const n = once(attempt, *s, ec);
        if (ec == asio::error::bad_descriptor) [[unlikely]]
            ec = s->why_closed(cancels);
        if (ec != asio::error::would_block)
            return n;
        ec = s->wait(way, limit(), cancels);
        if (ec) [[unlikely]]
            return 0;
        turn.renew();
    }
}

// -- streams

std::size_t portable_base::receive_now(portable_socket& s, vectors& v, error_code& ec)
{
    return try_on<stream>(s, ec, [&](stream& to) { return to.receive(all_of(v), 0, ec); });
}

std::size_t portable_base::send_now(portable_socket& s, vectors& v, error_code& ec)
{
    return try_on<stream>(s, ec, [&](stream& to) { return to.send(all_of(v), 0, ec); });
}

std::size_t portable_base::receive(vectors& v, error_code& ec)
{
    return transfer<direction::read>(
        ec, [&](portable_socket& s, error_code& e) { return receive_now(s, v, e); });
}

std::size_t portable_base::send(vectors& v, error_code& ec)
{
    return transfer<direction::write>(
        ec, [&](portable_socket& s, error_code& e) { return send_now(s, v, e); });
}

std::size_t portable_base::receive(void* where, std::size_t n, error_code& ec)
{
    vectors v(asio::mutable_buffer(where, n));
    return receive(v, ec);
}

std::size_t portable_base::send(void const* from, std::size_t n, error_code& ec)
{
    vectors v(asio::const_buffer(from, n));
    return send(v, ec);
}

portable_base::native_handle_type portable_base::accept_one(error_code& ec)
{
    native_handle_type accepted{};
    transfer<direction::read>(ec, [&](portable_socket& s, error_code& e) {
        return try_on<acceptor>(s, e, [&](acceptor& from) -> std::size_t {
            stream peer(from.get_executor());
            from.accept(peer, e);
            if (!e)
                accepted = peer.release(e);
            return 0;
        });
    });
    return accepted;
}

void portable_base::connect_to(int family, int protocol, void const* to, std::size_t size,
                               unsigned ends, error_code& ec)
{
    ec.clear();
    replace({}, ends, ec);
    if (ec)
        return;
    try
    {
        core().require_open();
        auto const s = portable_socket::open(
            core(), stream(core().io().get_executor(),
                           asio::generic::stream_protocol(family, protocol)));
        unsigned const cancels = s->cancels();
        replace(s, ends, ec);
        if (ec)
            return;
        for (auto pause = first_connect_pause;; pause = std::min(2 * pause, longest_connect_pause))
        {
            s->start_connect(stream_endpoint(to, size, protocol));
            while (!ec && !s->connected())
                ec = s->wait(direction::write, limit(), cancels);
            if (!ec)
                ec = *s->connected();
            // A full listener makes io_uring say so, and a reactor claim that it is connected.
            bool const full = family == AF_UNIX &&
                              (ec == asio::error::try_again || (!ec && !s->has_peer()));
            if (!full)
                break;
            // The system does not tell when there is room again in the listener's queue.
            ec = s->pause(limit().or_after(pause), cancels);
            if (ec && (ec != asio::error::timed_out || limit().passed()))
                break;
            ec.clear();
        }
        if (ec)
            s->close(); // this one, not what is to come
    }
    catch (boost::system::system_error const& e)
    {
        ec = e.code();
    }
}

// -- options, names, ends

void portable_base::get_option(int level, int name, void* data, std::size_t& size,
                               error_code& ec) const
{
    raw_option option{level, name, data, &size};
    with(ec, [&](auto& s) { s.get_option(option, ec); });
}

void portable_base::set_option(int level, int name, void const* data, std::size_t size,
                               error_code& ec)
{
    raw_option const option{level, name, const_cast<void*>(data), &size};
    with(ec, [&](auto& s) { s.set_option(option, ec); });
}

void portable_base::get_name(bool remote, void* data, std::size_t& size, error_code& ec) const
{
    with(ec, [&](auto& s) {
        if (!remote)
        {
            auto const e = s.local_endpoint(ec);
            if (!ec)
                copy_name(e, data, size);
        }
        else if constexpr (!std::is_same_v<std::decay_t<decltype(s)>, acceptor>)
        {
            auto const e = s.remote_endpoint(ec);
            if (!ec)
                copy_name(e, data, size);
        }
        else
            ec = asio::error::not_connected;
    });
}

void portable_base::shut_down(int how, error_code& ec)
{
    with(ec, [&](auto& s) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(s)>, acceptor>)
            s.shutdown(static_cast<asio::socket_base::shutdown_type>(how), ec);
        else
            ec = asio::error::not_connected;
    });
}

std::size_t portable_base::get_available(error_code& ec) const
{
    std::size_t n = 0;
    with(ec, [&](auto& s) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(s)>, acceptor>)
            n = s.available(ec);
        else
            ec = asio::error::not_connected;
    });
    return n;
}

// -- datagrams

namespace {

/// A local socket that is not connected waits in vain for the room of another one's queue: it can
/// be written to, and yet cannot send.
bool nothing_to_wait_for(void const* to)
{
    return to && static_cast<asio::detail::socket_addr_type const*>(to)->sa_family == AF_UNIX;
}

} // namespace

std::size_t portable_datagram_base::receive_from_now(portable_socket& s, vectors& v,
                                                     address& from, int flags, error_code& ec)
{
    return try_on<datagram>(s, ec, [&](datagram& d) {
        if (!from.data)
            return d.receive(all_of(v), flags, ec);
        datagram_endpoint sender;
        std::size_t const n = d.receive_from(all_of(v), sender, flags, ec);
        if (!ec)
            copy_name(sender, from.data, from.size);
        return n;
    });
}

std::size_t portable_datagram_base::send_to_now(portable_socket& s, vectors& v, address const& to,
                                                int flags, error_code& ec)
{
    return try_on<datagram>(s, ec, [&](datagram& d) {
        if (!to.data)
            return d.send(all_of(v), flags, ec);
        std::size_t const n =
            d.send_to(all_of(v), datagram_endpoint(to.data, to.size), flags, ec);
        if (ec == asio::error::would_block && nothing_to_wait_for(to.data))
            ec = asio::error::no_buffer_space;
        return n;
    });
}

std::size_t portable_datagram_base::receive_from(vectors& v, address& from, int flags,
                                                 error_code& ec)
{
    std::size_t const room = from.size;
    return transfer<direction::read>(ec, [&](portable_socket& s, error_code& e) {
        from.size = room;
        return receive_from_now(s, v, from, flags, e);
    });
}

std::size_t portable_datagram_base::send_to(vectors& v, address const& to, int flags,
                                            error_code& ec)
{
    return transfer<direction::write>(
        ec, [&](portable_socket& s, error_code& e) { return send_to_now(s, v, to, flags, e); });
}

void portable_datagram_base::open_new(int family, int protocol, error_code& ec)
{
    ec.clear();
    close();
    try
    {
        core().require_open();
        set_open(portable_socket::open(
            core(), datagram(core().io().get_executor(),
                             asio::generic::datagram_protocol(family, protocol))));
    }
    catch (boost::system::system_error const& e)
    {
        ec = e.code();
    }
}

void portable_datagram_base::bind_to(void const* name, std::size_t size, error_code& ec)
{
    with(ec, [&](auto& s) {
        if constexpr (std::is_same_v<std::decay_t<decltype(s)>, datagram>)
            s.bind(datagram_endpoint(name, size), ec);
    });
}

void portable_datagram_base::connect_to(void const* name, std::size_t size, error_code& ec)
{
    with(ec, [&](auto& s) {
        if constexpr (std::is_same_v<std::decay_t<decltype(s)>, datagram>)
            s.connect(datagram_endpoint(name, size), ec);
    });
}

} // namespace polyloop::detail
