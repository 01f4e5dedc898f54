// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/kernel.hpp>

#if defined(__linux__) && __has_include(<linux/io_uring.h>)
#define POLYLOOP_PROBES_IO_URING 1
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if !defined(_WIN32)
#include <sys/select.h>
#endif

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

namespace polyloop::detail {

#if defined(POLYLOOP_PROBES_IO_URING)

namespace {

std::string why_not(int e)
{
    int disabled = 0; // 0: for all; 1: for who is privileged or in a group; 2: for nobody
    std::ifstream("/proc/sys/kernel/io_uring_disabled") >> disabled;
    switch (e)
    {
    case ENOSYS:
        return "this kernel was built without it, or a seccomp filter hides it";
    case EPERM:
        if (disabled != 0)
            return "the sysctl kernel.io_uring_disabled is " + std::to_string(disabled) +
                   "; 0 allows it";
        return "a seccomp filter refuses io_uring_setup (containers' default profiles do): allow "
               "it there";
    case ENOMEM:
        return "out of memory, or of what may be locked: raise the limit (ulimit -l)";
    case EMFILE:
    case ENFILE:
        return "no descriptor is left: raise the limit (ulimit -n)";
    default:
        return std::strerror(e);
    }
}

} // namespace

kernel_offer probe_io_uring()
{
    int const before = errno;
    io_uring_params parameters{};
    // As many entries as Asio's, which may be too many for a limit.
    long const ring = ::syscall(SYS_io_uring_setup, 16384u, &parameters);
    kernel_offer offer;
    offer.available = ring >= 0;
    if (ring >= 0)
        ::close(static_cast<int>(ring));
    else
        offer.reason = why_not(errno);
    errno = before;
    return offer;
}

#else

kernel_offer probe_io_uring()
{
    return {.known = false, .reason = "io_uring is of Linux alone"};
}

#endif

int select_limit() noexcept
{
#if defined(_WIN32)
    return 0; // no descriptors there: it counts sockets
#else
    return FD_SETSIZE;
#endif
}

} // namespace polyloop::detail
