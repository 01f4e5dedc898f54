// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/backend.hpp>

#include <polyloop/loop/detail/kernel.hpp>

#include <array>
#include <ostream>

namespace polyloop {
namespace detail {

char const POLYLOOP_VARIANT = 0;

// Two variants in one program would share the inline functions of Asio, which they see differently.
// Linked statically they meet here.
extern POLYLOOP_DECL char const only_one_polyloop_library_fits_into_a_program;
char const only_one_polyloop_library_fits_into_a_program = 0;

} // namespace detail

backend current_backend() noexcept
{
#if defined(BOOST_ASIO_HAS_IOCP)
    return backend::iocp;
#elif defined(BOOST_ASIO_HAS_IO_URING_AS_DEFAULT)
    return backend::io_uring;
#elif defined(BOOST_ASIO_HAS_EPOLL)
    return backend::epoll;
#elif defined(BOOST_ASIO_HAS_KQUEUE)
    return backend::kqueue;
#else
    return backend::select;
#endif
}

std::span<backend const> known_backends() noexcept
{
    static constexpr std::array all{backend::epoll, backend::select, backend::kqueue,
                                    backend::io_uring, backend::iocp};
    return all;
}

bool is_proactor(backend b) noexcept
{
    return b == backend::iocp || b == backend::io_uring;
}

std::string_view to_string(backend b) noexcept
{
    switch (b)
    {
    case backend::epoll:
        return "epoll";
    case backend::select:
        return "select";
    case backend::kqueue:
        return "kqueue";
    case backend::io_uring:
        return "io_uring";
    case backend::iocp:
        return "iocp";
    }
    return "?";
}

std::ostream& operator<<(std::ostream& out, backend b)
{
    return out << to_string(b);
}

backend_info describe_backend()
{
    backend_info info{current_backend(), {}};
    detail::kernel_offer const uring = detail::probe_io_uring();
    switch (info.which)
    {
    case backend::io_uring:
        info.available = uring.available;
        info.reason = "Asio was compiled for io_uring, which waits for completion; ";
        info.reason += uring.available ? "the kernel serves it"
                                       : "the kernel does not serve it: " + uring.reason;
        break;
    case backend::iocp:
        info.reason = "Asio was compiled for iocp, Windows' own, which waits for completion";
        break;
    case backend::select:
        info.reason = "Asio was compiled for select, which waits for readiness, of descriptors "
                      "below " +
                      std::to_string(detail::select_limit()) + " only";
        break;
    default:
        info.reason = "Asio was compiled for " + std::string(to_string(info.which)) +
                      ", which waits for readiness";
    }
    if (info.which == backend::epoll || info.which == backend::select)
    {
        if (uring.available)
            info.reason += "; the kernel serves io_uring as well";
        else if (uring.known)
            info.reason += "; the kernel does not serve io_uring: " + uring.reason;
    }
    return info;
}

} // namespace polyloop
