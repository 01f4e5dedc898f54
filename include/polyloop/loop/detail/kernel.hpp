// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_KERNEL_HPP
#define POLYLOOP_LOOP_DETAIL_KERNEL_HPP

#include <string>

namespace polyloop::detail {

/// What the running kernel says to a way to wait.
struct kernel_offer
{
    bool known = true; ///< the system has such a thing at all
    bool available = false;
    std::string reason = {}; ///< who refuses it, and the remedy; empty where it is available
};

/// Sets up a ring and closes it. A refusal by the sysctl, by a seccomp filter and by a limit are
/// told apart.
kernel_offer probe_io_uring();

/// The first descriptor that `select` cannot wait for.
int select_limit() noexcept;

} // namespace polyloop::detail

#endif
