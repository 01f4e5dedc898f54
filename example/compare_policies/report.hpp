// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_REPORT_HPP
#define POLYLOOP_EXAMPLE_REPORT_HPP

#include "load.hpp"
#include "options.hpp"

#include <cstddef>
#include <iosfwd>
#include <string>
#include <vector>

/// One policy with one style.
struct row
{
    bool good() const { return load.requests > 0 && load.errors == 0; }

    std::string policy;
    style how = style::fiber;
    unsigned loops = 0;
    load_result load;
    double rps = 0;
    double rps_deviation = 0; // standard deviation over the parts of the measured time
    double cpu_us_per_request = 0;
    double spread = 0;
};

/// Prints a line for each row as soon as it is there.
class table
{
public:
    /// Prints the head.
    table(std::ostream& out, options const& o);

    void add(row const& r);

private:
    std::ostream& out_;
    std::size_t const rows_;
    std::size_t printed_ = 0;
    int policy_width_;
};

/// Which policy served this load best, and by how much, or that the difference is noise.
std::string verdict(std::vector<row> const& rows);

void write_json(std::ostream& out, options const& o, std::vector<row> const& rows);
void write_html(std::ostream& out, options const& o, std::vector<row> const& rows);

/// What was measured, in a sentence.
std::string described(options const& o);

std::string fixed(double value, int digits);

#endif
