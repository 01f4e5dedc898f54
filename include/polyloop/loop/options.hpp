// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_OPTIONS_HPP
#define POLYLOOP_LOOP_OPTIONS_HPP

#include <polyloop/config.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace polyloop {

/// The stacks of a loop's fibers.
struct stack_options
{
    /// Usable bytes of each stack, rounded up to whole pages; 16 KiB to 1 GiB. Only pages that
    /// were touched take memory. Raise it when a fiber overflows (TLS handshakes, regular
    /// expressions and deep recursion need most; `stack_usage` tells how much).
    std::size_t size = 128 * 1024;

    /// 64 KiB below each stack that fault when they are touched; they take address space and no
    /// memory. Without them an overflow silently corrupts the neighbour, as does a frame that is
    /// larger and steps over them (`-fstack-clash-protection` makes it touch each page). Linux
    /// before 6.13 makes some 32,000 of them with the usual `vm.max_map_count`; a fiber beyond
    /// that ends with an error that names it.
    bool guard = true;

    /// An overflow into a guard writes fiber, size and remedy to the standard error before the
    /// process dies. For that the first fiber of the process installs handlers for SIGSEGV and
    /// SIGBUS, which pass every other fault on to the handlers they found, and each thread that
    /// runs fibers gets an alternate signal stack, if it has none. Off, the overflow is a bare
    /// fault.
    bool report_overflow = true;

    /// Bytes at the top of each new stack that are made resident at once, rounded up to whole
    /// pages; at most `size`. Spares the first fiber on a stack its page faults, and costs that
    /// memory for each. The topmost page is always touched.
    std::size_t touch = 0;

    /// How many stacks of ended fibers are kept for reuse; the memory of the rest goes back to the
    /// system. Counted apart, up to the same number: those that other threads gave back, by
    /// dropping the last handle, and those put aside for what other threads spawn.
    std::size_t keep = 4096;

    /// Of the kept ones, half of those that were not needed for this long go back as well, also
    /// while the loop is idle: it wakes for that once in this time, at most once a millisecond,
    /// until none is left that is not in use. A loop that has adopted its `io_context` sets no
    /// timer for it, which would be work there: it looks now and then while it is busy.
    std::chrono::nanoseconds idle = std::chrono::seconds(1);
};

/// What a loop can be told when it is made. Unusable values throw `error::bad_config`
/// from the loop's constructor.
struct loop_options
{
    /// Shown in messages; `loop-<number>` if empty.
    std::string name = {};

    /// How many threads may run the loop at once. 1 is the fast case: its queues,
    /// timers and strands take no lock. An adopted `io_context` that several threads run
    /// must be given their number here.
    unsigned concurrency = 1;

    /// Polls this long before it blocks in the system: shorter wake-ups for a busy
    /// core. Honoured by `run_forever`; an application that runs an adopted
    /// `io_context` itself decides for itself.
    std::chrono::nanoseconds spin{0};

    /// False passes Asio's UNSAFE hint: no locks in the `io_context`, for a loop that no other
    /// thread touches. A group refuses such a loop, and so does `call_soon_threadsafe`, with
    /// `error::option_unsupported`. Ignored for an adopted `io_context`.
    bool locking = true;

    /// Debug mode; unset takes `POLYLOOP_DEBUG` (S79: unset, empty, `0`, `off` and `false` are
    /// off).
    std::optional<bool> debug = std::nullopt;

    /// In debug mode a callback that takes at least this long is reported (S81).
    std::chrono::nanoseconds slow_callback = std::chrono::milliseconds(100);

    /// The stacks of the loop's fibers.
    stack_options stacks = {};
};

} // namespace polyloop

#endif
