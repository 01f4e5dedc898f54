// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_VERSION_HPP
#define POLYLOOP_VERSION_HPP

// The builds read these three lines, so that the number stands once.
#define POLYLOOP_VERSION_MAJOR 0
#define POLYLOOP_VERSION_MINOR 1
#define POLYLOOP_VERSION_PATCH 0

#endif
