// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TEST_SUPPORT_SANITIZERS_HPP
#define POLYLOOP_TEST_SUPPORT_SANITIZERS_HPP

// Which sanitizers a test runs under: GCC has macros of its own, clang is asked.

#if defined(__SANITIZE_ADDRESS__)
#define POLYLOOP_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POLYLOOP_TEST_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define POLYLOOP_TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define POLYLOOP_TEST_TSAN 1
#endif
#endif

#endif
