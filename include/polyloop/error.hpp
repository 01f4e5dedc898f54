// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_ERROR_HPP
#define POLYLOOP_ERROR_HPP

#include <polyloop/config.hpp>

#include <boost/system/error_category.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>

#include <string>
#include <type_traits>

namespace polyloop {

/// What polyloop itself reports, thrown as `boost::system::system_error`.
///
/// Cancellation is `boost::asio::error::operation_aborted` and the end of a
/// deadline `boost::asio::error::timed_out`, as everywhere in Asio. Each message
/// names the remedy.
enum class error
{
    no_current_loop = 1,  ///< nothing runs here and nothing is bound (S10)
    no_running_loop,      ///< `get_running_loop` outside of a loop (S14)
    loop_closed,          ///< the loop was closed (S25, S37)
    loop_already_running, ///< as many threads run the loop as it allows (S26)
    another_loop_running, ///< this thread runs another loop (S27)
    loop_is_running,      ///< a running loop cannot be closed (S34)
    loop_stopped,         ///< stopped before the main task was done (S32)
    nested_run,           ///< `run` inside a running loop (S53, S68)
    runner_closed,        ///< the runner was closed (S48)
    not_in_fiber,         ///< a wait that would block in a bare handler
    self_join,            ///< a task that joins itself
    backend_unavailable,  ///< the build has another kind of backend
    option_unsupported,   ///< an option that this loop or backend cannot honour
    bad_config,           ///< a name, option or value that cannot be used
    interrupted,          ///< SIGINT ended the run (S64)
    executor_shut_down,   ///< the default executor was shut down (S76)
    wrong_thread,         ///< a call that belongs to the loop's thread (S80)
    result_taken,         ///< a result that cannot be copied was taken before
    empty_handle,         ///< a default-constructed or moved-from handle
    policy_in_use,        ///< the policy object serves another run
    not_owner,            ///< what is unlocked is not locked by the calling context
    broken_barrier,       ///< the barrier was aborted, or reset while others waited
    channel_closed,       ///< the channel was closed
    group_closed,         ///< the task group is ending or over
    no_value,             ///< a fiber_local that was not set
};

POLYLOOP_DECL boost::system::error_category const& error_category() noexcept;

inline boost::system::error_code make_error_code(error e) noexcept
{
    return {static_cast<int>(e), error_category()};
}

namespace detail {

/// Throws `system_error(e, what)`, out of line so that callers stay small.
[[noreturn]] POLYLOOP_DECL void throw_error(error e);
[[noreturn]] POLYLOOP_DECL void throw_error(error e, std::string const& what);
[[noreturn]] POLYLOOP_DECL void throw_error(boost::system::error_code const& ec);

/// `operation_aborted`, the form that a cancellation takes.
[[noreturn]] POLYLOOP_DECL void throw_cancelled();

} // namespace detail
} // namespace polyloop

template <>
struct boost::system::is_error_code_enum<polyloop::error> : std::true_type
{
};

#endif
