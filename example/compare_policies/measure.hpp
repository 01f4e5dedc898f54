// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_MEASURE_HPP
#define POLYLOOP_EXAMPLE_MEASURE_HPP

#include "load.hpp"
#include "options.hpp"

#include <optional>
#include <string>

/// SIGINT and SIGTERM, where they are not ignored, wait from here on until they are asked
/// for: between two runs there is no loop to take them.
class interruption
{
public:
    interruption();
    ~interruption();

    interruption(interruption const&) = delete;
    interruption& operator=(interruption const&) = delete;

    /// Becomes ready to be read when one has come, and stays so until `signal`.
    int descriptor() const { return descriptor_; }

    /// The one that came first, 0 if none did.
    int signal();

private:
    int descriptor_;
    int came_ = 0;
};

/// One round of one row.
struct round_result
{
    load_result load;
    unsigned loops = 0;
    std::optional<double> spread;
};

/// What goes wrong is an error in the result. One that was interrupted is of no use.
round_result measure(options const& o, std::string const& policy, style how,
    interruption const& interrupted);

#endif
