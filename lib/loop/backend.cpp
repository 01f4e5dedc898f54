// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/backend.hpp>

#include <boost/asio/detail/config.hpp>

#include <array>
#include <ostream>

namespace polyloop {

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
    backend const which = current_backend();
    return {which, "Asio was compiled for " + std::string(to_string(which)) +
                       (is_proactor(which) ? ", which waits for completion"
                                           : ", which waits for readiness")};
}

} // namespace polyloop
