// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_OVERFLOW_HPP
#define POLYLOOP_TASK_DETAIL_OVERFLOW_HPP

#include <polyloop/config.hpp>

namespace polyloop::detail {

/// Makes the calling thread one on which an overflow of a fiber's stack is reported: gives it an
/// alternate signal stack until it ends, and the process the handlers. Once for each thread, which
/// `thread_frame::reports_overflow` remembers. Where memory fails there is no report.
void report_overflow_here() noexcept;

} // namespace polyloop::detail

#endif
