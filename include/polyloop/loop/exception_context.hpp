// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_EXCEPTION_CONTEXT_HPP
#define POLYLOOP_LOOP_EXCEPTION_CONTEXT_HPP

#include <polyloop/config.hpp>
#include <polyloop/fwd.hpp>

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
};

/// Called on the thread that met the error, and for a loop of concurrency above 1 perhaps on
/// several at once. What it throws goes to the default handler (S46).
using exception_handler = std::function<void(event_loop&, exception_context const&)>;

/// One line per report on the standard error.
POLYLOOP_DECL void default_exception_handler(exception_context const&) noexcept;

/// The text of an exception: `what()`, with the error's category and number for a `system_error`.
POLYLOOP_DECL std::string describe_exception(std::exception_ptr const&);

} // namespace polyloop

#endif
