// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_CONFIG_HPP
#define POLYLOOP_CONFIG_HPP

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

#endif
