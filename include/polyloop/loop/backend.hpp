// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_BACKEND_HPP
#define POLYLOOP_LOOP_BACKEND_HPP

#include <polyloop/config.hpp>

#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <string_view>

namespace polyloop {

/// What an `io_context` sits on. Asio fixes it when it is compiled.
enum class backend : std::uint8_t
{
    epoll,
    select,
    kqueue,
    io_uring,
    iocp
};

/// The backend of this build.
POLYLOOP_DECL backend current_backend() noexcept;

/// Every backend that polyloop knows, whichever the build has.
POLYLOOP_DECL std::span<backend const> known_backends() noexcept;

/// Whether it waits for completion (`iocp`, `io_uring`) and not for readiness (the others).
POLYLOOP_DECL bool is_proactor(backend) noexcept;

POLYLOOP_DECL std::string_view to_string(backend) noexcept;
POLYLOOP_DECL std::ostream& operator<<(std::ostream&, backend);

struct backend_info
{
    backend which;
    /// Why it is this one, what the kernel offers, and what was refused, by whom.
    std::string reason;
    /// The running kernel serves it. Where not, no loop can be made: its constructor throws
    /// `error::backend_unavailable` with this reason.
    bool available = true;
};

/// The backend of this build, and how it stands with the running kernel, which is asked by each
/// call: of io_uring it is made sure that one can be set up (a sysctl, a seccomp filter or a
/// limit may refuse it). Thread-safe; a few system calls.
POLYLOOP_DECL backend_info describe_backend();

} // namespace polyloop

#endif
