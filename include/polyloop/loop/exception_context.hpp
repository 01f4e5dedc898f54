// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_EXCEPTION_CONTEXT_HPP
#define POLYLOOP_LOOP_EXCEPTION_CONTEXT_HPP

#include <polyloop/config.hpp>
#include <polyloop/fwd.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <string>

namespace polyloop {

/// What a loop's exception handler is told (S45).
struct exception_context
{
    std::string message;              ///< what happened, for a person
    std::exception_ptr exception = {}; ///< null where nothing was thrown
    std::string task = {};            ///< name of the task, empty where it was none

    /// Where the task was spawned or the callback registered, `file:line (function)`. Known in
    /// debug mode only (S82).
    std::string origin = {};

    /// What the task waited for when it was reported; empty where it did not wait.
    std::string waits_for = {};

    /// How long it took, where that is what is reported (S81); else 0.
    std::chrono::nanoseconds took{0};
};

/// Called on the thread that met the error, and for a loop of concurrency above 1 perhaps on
/// several at once. What it throws goes to the default handler (S46).
using exception_handler = std::function<void(event_loop&, exception_context const&)>;

/// One line per report on the standard error.
///
/// A loop without a handler of its own uses this with a memory: of reports that say the same, the
/// first is written, then the 10th, the 100th and so on, and one that comes a minute after the last
/// that was written, each with their number. When the loop is closed or destroyed, or the process
/// ends by `exit`, the numbers that were not written yet are. Tasks without a name of their own say
/// the same, and so do durations.
POLYLOOP_DECL void default_exception_handler(exception_context const&) noexcept;

/// The text of an exception: `what()`, with the error's category and number for a `system_error`.
POLYLOOP_DECL std::string describe_exception(std::exception_ptr const&);

/// All of a report in one line, without its end.
POLYLOOP_DECL std::string describe(exception_context const&);

} // namespace polyloop

#endif
