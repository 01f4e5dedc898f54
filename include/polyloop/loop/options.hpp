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
    /// Usable bytes of each stack, rounded up to whole pages; at least 16 KiB. Only pages that
    /// were touched take memory. Raise it when a fiber overflows (TLS handshakes, regular
    /// expressions and deep recursion need most).
    std::size_t size = 128 * 1024;

    /// A page below each stack that faults when it is touched. Without it an overflow
    /// silently corrupts the neighbour.
    bool guard = true;

    /// How many stacks of ended fibers are kept for reuse; the memory of the rest goes back to the
    /// system. Honoured where the loop's own thread gives them back, on loops of concurrency 1.
    std::size_t keep = 4096;
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

    /// Debug mode; unset takes `POLYLOOP_DEBUG` (S79: unset, empty, `0`, `off` and `false` are off).
    std::optional<bool> debug = std::nullopt;

    /// In debug mode a callback that takes at least this long is reported (S81).
    std::chrono::nanoseconds slow_callback = std::chrono::milliseconds(100);

    /// The stacks of the loop's fibers.
    stack_options stacks = {};
};

} // namespace polyloop

#endif
