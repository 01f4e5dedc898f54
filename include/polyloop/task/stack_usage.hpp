// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_STACK_USAGE_HPP
#define POLYLOOP_TASK_STACK_USAGE_HPP

#include <polyloop/task/task.hpp>

#include <cstddef>

namespace polyloop {

/// How many bytes of its stack a fiber that has ended used at most, to the word: frames, callable
/// and result, and what polyloop itself keeps there. To be compared with `stack_options::size`.
///
/// For that the stacks are painted before each use, on loops that are in debug mode when
/// their first task is spawned; that makes every page of theirs resident, and a spawn slower by
/// the time to read them. On other loops it costs nothing and throws `error::option_unsupported`.
///
/// A buffer that was never written to is not seen. Throws `error::not_in_fiber` for a coroutine
/// and for a fiber that has not ended. Thread safety: from any thread.
POLYLOOP_DECL std::size_t stack_usage(task<> const& t);

} // namespace polyloop

namespace polyloop::this_fiber {

/// The same for the calling fiber, until now. Throws `error::not_in_fiber` outside of one.
POLYLOOP_DECL std::size_t stack_usage();

} // namespace polyloop::this_fiber

#endif
