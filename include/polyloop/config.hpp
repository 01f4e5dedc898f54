// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_CONFIG_HPP
#define POLYLOOP_CONFIG_HPP

#include <boost/asio/detail/config.hpp>
#include <boost/config.hpp>
#include <boost/version.hpp>

#if BOOST_VERSION < 108100
#error "polyloop needs Boost 1.81 or later (Debian 12: libboost1.81-dev)"
#endif

// POLYLOOP_DYN_LINK reaches every user of a shared build through the build
// files; POLYLOOP_SOURCE is defined while the library itself is compiled.
#if defined(POLYLOOP_DYN_LINK)
#if defined(POLYLOOP_SOURCE)
#define POLYLOOP_DECL BOOST_SYMBOL_EXPORT
#else
#define POLYLOOP_DECL BOOST_SYMBOL_IMPORT
#endif
#else
#define POLYLOOP_DECL
#endif

// Asio's macros choose what an io_context waits with, and with it the layout of Asio's classes and
// of ours: every object of a program has to be compiled with those of the library's variant, which
// its build files hand on. One that was not refers to a variable that this library lacks, and the
// linker's message says so by the name.
#if defined(BOOST_ASIO_HAS_IOCP)
#define POLYLOOP_BACKEND iocp
#elif defined(BOOST_ASIO_HAS_IO_URING_AS_DEFAULT)
#define POLYLOOP_BACKEND io_uring
#elif defined(BOOST_ASIO_HAS_EPOLL) && !defined(POLYLOOP_IO_PORTABLE)
#define POLYLOOP_BACKEND epoll
#elif defined(BOOST_ASIO_HAS_EPOLL)
#define POLYLOOP_BACKEND epoll_with_portable_sockets
#elif defined(BOOST_ASIO_HAS_KQUEUE)
#define POLYLOOP_BACKEND kqueue
#else
#define POLYLOOP_BACKEND select
#endif

#define POLYLOOP_VARIANT BOOST_JOIN(the_polyloop_library_was_built_for_, POLYLOOP_BACKEND)

namespace polyloop::detail {

extern POLYLOOP_DECL char const POLYLOOP_VARIANT;

#if defined(__GNUC__)
namespace {
[[gnu::used]] char const* const variant_of_this_object = &POLYLOOP_VARIANT;
} // namespace
#elif defined(_MSC_VER)
#pragma detect_mismatch("polyloop backend", BOOST_STRINGIZE(POLYLOOP_BACKEND))
#endif

} // namespace polyloop::detail

#endif
