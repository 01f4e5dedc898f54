// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/io/detail/stream_base.hpp>

#include <polyloop/task/detail/fiber.hpp>

#include <boost/asio/error.hpp>

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace polyloop::detail {
namespace {

using boost::system::error_code;

error_code system_error(int e) noexcept
{
    return {e, boost::system::system_category()};
}

bool would_block(int e) noexcept
{
    return e == EAGAIN || e == EWOULDBLOCK;
}

template <class Vectors>
::msghdr message(Vectors& v) noexcept
{
    ::msghdr m{};
    m.msg_iov = v.data();
    m.msg_iovlen = v.count();
    return m;
}

/// `errno`, right after a call that failed. Not inlined into what may go on in another thread after
/// a wait: a compiler may ask for its address once.
BOOST_NOINLINE int failure() noexcept
{
    return errno;
}

/// One try; false where it would block.
template <direction Way, class Call>
bool attempt(descriptor& d, state_word::value seen, std::size_t wanted, std::size_t& done,
             error_code& ec, Call call)
{
    ::ssize_t n;
    do
        n = call(d.number());
    while (n < 0 && failure() == EINTR);
    done = 0;
    if (n > 0 || (n == 0 && Way == direction::write)) [[likely]]
    {
        done = static_cast<std::size_t>(n);
        if (done < wanted)
            d.exhausted(seen, Way);
        return true;
    }
    if (n == 0)
        ec = boost::asio::error::eof;
    else if (int const e = failure(); !would_block(e))
        ec = system_error(e);
    else
    {
        d.would_block(seen, Way);
        return false;
    }
    return true;
}

} // namespace

/// Until it may be ready; false with an error. Not inlined: the caller asks for its frame anew.
template <direction Way>
BOOST_NOINLINE bool stream_base::wait(descriptor& d, unsigned cancels, error_code& ec)
{
    left<Way>().renew();
    ec = d.wait(Way, limit(), cancels);
    return !ec;
}

template <direction Way, class Call>
BOOST_NOINLINE std::size_t stream_base::transfer(std::size_t wanted, error_code& ec, Call call)
{
    descriptor* const d = open().get();
    if (!d) [[unlikely]]
    {
        ec = boost::asio::error::bad_descriptor;
        return 0;
    }
    ec.clear();
    if (wanted == 0) [[unlikely]]
    {
        if (d->closed())
            ec = boost::asio::error::bad_descriptor;
        return 0;
    }
    if (late()) [[unlikely]]
    {
        ec = boost::asio::error::timed_out;
        return 0;
    }
    unsigned const cancels = d->cancels();
    for (;;)
    {
        state_word::value const seen = d->state();
        if (descriptor::closed(seen)) [[unlikely]]
        {
            ec = d->why_closed(cancels);
            return 0;
        }
        if (!descriptor::ready(seen, Way))
        {
            if (!wait<Way>(*d, cancels, ec)) [[unlikely]]
                return 0;
            continue;
        }
        if (!left<Way>().take()) [[unlikely]]
        {
            if (!left<Way>().give_way(ec))
                return 0;
            continue;
        }
        descriptor::use const used(*d, core().near());
        if (!used.valid()) [[unlikely]]
            continue;
        std::size_t done;
        if (attempt<Way>(*d, seen, wanted, done, ec, call)) [[likely]]
            return done;
    }
}

/// What nearly every operation is: of a fiber on its own single loop, without a limit, with one
/// wait at most. `transfer` does all others, and what this one leaves undone.
template <direction Way, class Call>
BOOST_FORCEINLINE std::size_t stream_base::transfer_near(thread_frame const& frame,
                                                         std::size_t wanted, error_code& ec,
                                                         Call call)
{
    descriptor* const d = open().get();
    loop_core& core = this->core();
    if (!d || wanted == 0 || limited() || frame.core != &core || !core.single()) [[unlikely]]
        return transfer<Way>(wanted, ec, call);
    unsigned const cancels = d->cancels();
    state_word::value seen = d->state();
    if (descriptor::must_wait(seen, Way))
    {
        near_end const end = d->wait_near(Way, cancels);
        if (end != near_end::ready) [[unlikely]]
        {
            if (end == near_end::refused)
                return transfer<Way>(wanted, ec, call);
            ec = boost::asio::error::operation_aborted;
            return 0;
        }
        left<Way>().renew();
        seen = d->state();
    }
    if (!descriptor::may_try(seen, Way) || !left<Way>().take()) [[unlikely]]
        return transfer<Way>(wanted, ec, call);
    ::ssize_t const n = call(d->number());
    if (n <= 0) [[unlikely]]
    {
        std::size_t done = 0;
        ec.clear();
        if ((n < 0 && failure() == EINTR) ||
            !attempt<Way>(*d, seen, wanted, done, ec, [n](int) { return n; }))
            return transfer<Way>(wanted, ec, call);
        return done;
    }
    ec.clear();
    auto const done = static_cast<std::size_t>(n);
    if (done < wanted)
        d->exhausted(seen, Way);
    return done;
}

// Each reads the frame at its beginning only, and is not inlined.

POLYLOOP_READS_FRAME std::size_t stream_base::receive(void* where, std::size_t n,
                                                      error_code& ec)
{
    return transfer_near<direction::read>(
        frame_here, n, ec, [=](int number) { return ::recv(number, where, n, 0); });
}

POLYLOOP_READS_FRAME std::size_t stream_base::receive(io_vectors& v, error_code& ec)
{
    ::msghdr m = message(v);
    return transfer_near<direction::read>(
        frame_here, v.bytes(), ec, [&](int number) { return ::recvmsg(number, &m, 0); });
}

POLYLOOP_READS_FRAME std::size_t stream_base::send(void const* from, std::size_t n,
                                                   error_code& ec)
{
    return transfer_near<direction::write>(
        frame_here, n, ec, [=](int number) { return ::send(number, from, n, MSG_NOSIGNAL); });
}

POLYLOOP_READS_FRAME std::size_t stream_base::send(io_vectors& v, error_code& ec)
{
    ::msghdr m = message(v);
    return transfer_near<direction::write>(
        frame_here, v.bytes(), ec,
        [&](int number) { return ::sendmsg(number, &m, MSG_NOSIGNAL); });
}

int stream_base::accept_one(error_code& ec)
{
    int accepted = -1;
    transfer<direction::read>(1, ec, [&](int number) -> ::ssize_t {
        do
            accepted = ::accept4(number, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        while (accepted < 0 && failure() == ECONNABORTED); // that one is gone before it came
        return accepted < 0 ? -1 : 1;
    });
    return accepted;
}

namespace {

template <direction Way, class Call>
std::size_t try_now(descriptor& d, std::size_t wanted, error_code& ec, Call call)
{
    ec.clear();
    descriptor::use const used(d, d.core().near());
    auto const seen = d.state();
    std::size_t done = 0;
    if (!used.valid() || descriptor::closed(seen))
        ec = boost::asio::error::bad_descriptor;
    else if (wanted != 0 && !attempt<Way>(d, seen, wanted, done, ec, call))
        ec = boost::asio::error::would_block;
    return done;
}

} // namespace

std::size_t stream_base::receive_now(descriptor& d, io_vectors& v, error_code& ec)
{
    ::msghdr m = message(v);
    return try_now<direction::read>(d, v.bytes(), ec,
                                    [&](int number) { return ::recvmsg(number, &m, 0); });
}

std::size_t stream_base::send_now(descriptor& d, io_vectors& v, error_code& ec)
{
    ::msghdr m = message(v);
    return try_now<direction::write>(
        d, v.bytes(), ec, [&](int number) { return ::sendmsg(number, &m, MSG_NOSIGNAL); });
}

namespace {

/// 0, or the system's error.
int begin_connect(int number, ::sockaddr const* to, ::socklen_t size) noexcept
{
    int r;
    do
        r = ::connect(number, to, size);
    while (r < 0 && failure() == EINTR);
    return r < 0 ? failure() : 0;
}

/// Once it can be written to.
error_code result_of_connect(descriptor& d)
{
    descriptor::use const used(d, d.core().near());
    if (!used.valid())
        return asio::error::operation_aborted;
    int result = 0;
    ::socklen_t length = sizeof result;
    if (::getsockopt(d.number(), SOL_SOCKET, SO_ERROR, &result, &length) != 0)
        result = failure();
    return result == 0 ? error_code() : system_error(result);
}

/// To a local listener whose queue is full. The system does not tell when there is room again: it
/// is asked now and then.
error_code connect_when_there_is_room(descriptor& d, ::sockaddr const* to, ::socklen_t size,
                                      deadline limit, unsigned cancels)
{
    for (auto pause = first_connect_pause;; pause = std::min(2 * pause, longest_connect_pause))
    {
        // As long as it is not connected the system calls it ready, which is nothing to wait for.
        d.would_block(d.state(), direction::write);
        error_code const ec = d.wait(direction::write, limit.or_after(pause), cancels);
        if (ec && (ec != asio::error::timed_out || limit.passed()))
            return ec;
        descriptor::use const used(d, d.core().near());
        if (!used.valid())
            return asio::error::operation_aborted;
        int const e = begin_connect(d.number(), to, size);
        if (e == 0)
            d.edge(false, true, false); // of which the system makes none
        if (e != EAGAIN)
            return e == 0 ? error_code() : system_error(e);
    }
}

} // namespace

void stream_base::connect_to(int family, int protocol, ::sockaddr const* to, ::socklen_t size,
                             unsigned ends, error_code& ec)
{
    ec.clear();
    replace({}, ends, ec);
    if (ec)
        return;
    int const number = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (number < 0)
    {
        ec = system_error(failure());
        return;
    }
    int const e = begin_connect(number, to, size);
    bool const full = e == EAGAIN && family == AF_UNIX;
    if (e != 0 && e != EINPROGRESS && !full)
    {
        ::close(number);
        ec = system_error(e);
        return;
    }
    descriptor::pointer d;
    try
    {
        d = descriptor::open(core(), number, e == 0, family != AF_UNIX);
    }
    catch (boost::system::system_error const& failed)
    {
        ec = failed.code();
        return;
    }
    unsigned const cancels = d->cancels();
    replace(d, ends, ec);
    if (e == 0 || ec)
        return;
    if (full)
        ec = connect_when_there_is_room(*d, to, size, limit(), cancels);
    else if (ec = d->wait(direction::write, limit(), cancels); !ec)
        ec = result_of_connect(*d);
    if (ec)
        d->close(); // this one, not what is to come
}

void stream_base::get_option(int level, int name, void* data, std::size_t& size,
                             error_code& ec) const
{
    auto length = static_cast<::socklen_t>(size);
    if (::getsockopt(native_handle(), level, name, data, &length) != 0)
        ec = system_error(failure());
    else
        ec.clear();
    size = length;
}

void stream_base::set_option(int level, int name, void const* data, std::size_t size,
                             error_code& ec)
{
    if (::setsockopt(native_handle(), level, name, data, static_cast<::socklen_t>(size)) != 0)
        ec = system_error(failure());
    else
        ec.clear();
}

void stream_base::get_name(bool remote, void* data, std::size_t& size, error_code& ec) const
{
    auto* const name = static_cast<::sockaddr*>(data);
    auto length = static_cast<::socklen_t>(size);
    int const number = native_handle();
    if ((remote ? ::getpeername(number, name, &length) : ::getsockname(number, name, &length)) != 0)
        ec = system_error(failure());
    else
        ec.clear();
    size = length;
}

void stream_base::shut_down(int how, error_code& ec)
{
    if (::shutdown(native_handle(), how) != 0)
        ec = system_error(failure());
    else
        ec.clear();
}

std::size_t stream_base::get_available(error_code& ec) const
{
    int n = 0;
    if (::ioctl(native_handle(), FIONREAD, &n) != 0)
    {
        ec = system_error(failure());
        return 0;
    }
    ec.clear();
    return static_cast<std::size_t>(n);
}

} // namespace polyloop::detail
