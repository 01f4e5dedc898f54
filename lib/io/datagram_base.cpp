// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/io/detail/datagram_base.hpp>

#include <boost/asio/error.hpp>

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace polyloop::detail {
namespace {

using boost::system::error_code;

error_code system_error(int e) noexcept
{
    return {e, boost::system::system_category()};
}

// What asks for `errno` is not inlined into what may go on in another thread, where it is another.

BOOST_NOINLINE error_code result_of(int r) noexcept
{
    return r < 0 ? system_error(errno) : error_code();
}

/// A local socket's room for more is its peer's. Where the peer is none of its own, the system says
/// "not now", and that it can be written to, in one breath: there is nothing to wait for.
bool nothing_to_wait_for(int number, ::msghdr const& m) noexcept
{
    if (!m.msg_name || static_cast<::sockaddr const*>(m.msg_name)->sa_family != AF_UNIX)
        return false;
    ::pollfd p{number, POLLOUT, 0};
    return ::poll(&p, 1, 0) == 1 && p.revents == POLLOUT;
}

BOOST_NOINLINE ::ssize_t receive_message(int number, ::msghdr& m, int flags,
                                         error_code& ec) noexcept
{
    ::ssize_t n;
    do
        n = ::recvmsg(number, &m, flags);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        ec = errno == EAGAIN ? asio::error::would_block : system_error(errno);
    return n;
}

BOOST_NOINLINE ::ssize_t send_message(int number, ::msghdr const& m, int flags,
                                      error_code& ec) noexcept
{
    for (int tries = 0;;)
    {
        ::ssize_t const n = ::sendmsg(number, &m, flags | MSG_NOSIGNAL);
        if (n >= 0)
            return n;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            ec = system_error(errno);
        else if (!nothing_to_wait_for(number, m))
            ec = asio::error::would_block;
        else if (tries++ == 0)
            continue; // unless room was made in between
        else
            ec = asio::error::no_buffer_space;
        return n;
    }
}

/// One try, whose state before it was `seen`.
template <direction Way, class Try>
std::size_t try_once(descriptor& d, state_word::value seen, error_code& ec, Try attempt)
{
    ::ssize_t const n = attempt(d.number(), ec);
    if (n >= 0) [[likely]]
        return static_cast<std::size_t>(n);
    if (ec == asio::error::would_block)
        d.would_block(seen, Way);
    return 0;
}

template <direction Way, class Try>
std::size_t try_now(descriptor& d, error_code& ec, Try attempt)
{
    ec.clear();
    descriptor::use const used(d, d.core().near());
    auto const seen = d.state();
    if (!used.valid() || descriptor::closed(seen))
    {
        ec = asio::error::bad_descriptor;
        return 0;
    }
    return try_once<Way>(d, seen, ec, attempt);
}

auto receiving(io_vectors& v, void* from, std::size_t& size, int flags)
{
    return [&v, from, &size, flags](int number, error_code& ec) {
        ::msghdr m{};
        m.msg_name = from;
        m.msg_namelen = static_cast<::socklen_t>(from ? size : 0);
        m.msg_iov = v.data();
        m.msg_iovlen = v.count();
        ::ssize_t const n = receive_message(number, m, flags, ec);
        if (n >= 0)
            size = m.msg_namelen;
        return n;
    };
}

auto sending(io_vectors& v, void* to, std::size_t size, int flags)
{
    return [&v, to, size, flags](int number, error_code& ec) {
        ::msghdr m{};
        m.msg_name = to;
        m.msg_namelen = static_cast<::socklen_t>(size);
        m.msg_iov = v.data();
        m.msg_iovlen = v.count();
        return send_message(number, m, flags, ec);
    };
}

} // namespace

template <direction Way, class Try>
std::size_t datagram_base::transfer(error_code& ec, Try attempt)
{
    descriptor* const d = open().get();
    if (!d) [[unlikely]]
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
    unsigned const cancels = d->cancels();
    for (;;)
    {
        if (!left<Way>().take()) [[unlikely]]
        {
            if (!left<Way>().give_way(ec))
                return 0;
            continue;
        }
        state_word::value const seen = d->state();
        if (descriptor::closed(seen)) [[unlikely]]
        {
            ec = d->why_closed(cancels);
            return 0;
        }
        if (descriptor::ready(seen, Way))
        {
            descriptor::use const used(*d, core().near());
            if (!used.valid()) [[unlikely]]
                continue;
            std::size_t const n = try_once<Way>(*d, seen, ec, attempt);
            if (ec != asio::error::would_block)
                return n;
        }
        ec = d->wait(Way, limit(), cancels);
        if (ec) [[unlikely]]
            return 0;
        left<Way>().renew();
    }
}

std::size_t datagram_base::receive_from(vectors& v, address& from, int flags, error_code& ec)
{
    return transfer<direction::read>(ec, receiving(v, from.data, from.size, flags));
}

std::size_t datagram_base::send_to(vectors& v, address const& to, int flags, error_code& ec)
{
    return transfer<direction::write>(ec, sending(v, to.data, to.size, flags));
}

std::size_t datagram_base::receive_from_now(descriptor& d, vectors& v, address& from, int flags,
                                            error_code& ec)
{
    return try_now<direction::read>(d, ec, receiving(v, from.data, from.size, flags));
}

std::size_t datagram_base::send_to_now(descriptor& d, vectors& v, address const& to, int flags,
                                       error_code& ec)
{
    return try_now<direction::write>(d, ec, sending(v, to.data, to.size, flags));
}

void datagram_base::open_new(int family, int protocol, error_code& ec)
{
    ec.clear();
    close();
    int const number = ::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    ec = result_of(number);
    take_over(number, ec, false);
}

void datagram_base::bind_to(void const* name, std::size_t size, error_code& ec)
{
    ec = result_of(::bind(native_handle(), static_cast<::sockaddr const*>(name),
                          static_cast<::socklen_t>(size)));
}

void datagram_base::connect_to(void const* name, std::size_t size, error_code& ec)
{
    ec = result_of(::connect(native_handle(), static_cast<::sockaddr const*>(name),
                             static_cast<::socklen_t>(size)));
}

} // namespace polyloop::detail
