// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_SWITCH_HPP
#define POLYLOOP_TASK_DETAIL_SWITCH_HPP

#include <polyloop/fwd.hpp>

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define POLYLOOP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POLYLOOP_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define POLYLOOP_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define POLYLOOP_TSAN 1
#endif
#endif

namespace polyloop::detail {

/// A stack that can be switched to: a fiber's, or a thread's own while it is away.
///
/// With it goes what the language and the C library keep per thread but belongs to whoever
/// runs: the exceptions being handled and `errno`.
struct execution
{
    boost::context::detail::fcontext_t where = nullptr;
    void* caught_exceptions = nullptr;
    unsigned uncaught_exceptions = 0;
    int error_number = 0;
    fiber* ended = nullptr; ///< a fiber that runs here no more, to be let go of by who comes next
    // What the sanitizers must be told; present in every build, so that objects of both kinds
    // agree on the layout.
    void const* bottom = nullptr;
    std::size_t size = 0;
    void* fake_stack = nullptr;
    void* tsan_fiber = nullptr;
};

/// Leaves `from` and goes on at `to`; returns when somebody switches back.
void switch_to(execution& from, execution& to) noexcept;

/// To be called first of all on a stack that is entered for the first time.
void arrive(execution& self, boost::context::detail::transfer_t came) noexcept;

/// Tells the sanitizers of a thread's own stack, or of a new one of a fiber.
void register_thread(execution& e) noexcept;
void register_stack(execution& e, void* bottom, std::size_t size) noexcept;
void unregister_stack(execution& e) noexcept;

} // namespace polyloop::detail

#endif
