// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_REPORT_HPP
#define POLYLOOP_EXAMPLE_REPORT_HPP

#include "histogram.hpp"
#include "measure.hpp"
#include "options.hpp"

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

/// One policy with one style: all of its rounds.
struct row
{
    void add(round_result const& r, seconds measured);

    bool good() const { return requests > 0 && errors == 0; }
    double rps() const;
    double rps_deviation() const; // standard deviation over the rounds
    double latency_us(double part) const { return latency.quantile(part) / 1000; }
    double cpu_us_per_request() const;

    std::string policy;
    style how = style::fiber;
    unsigned loops = 0;
    std::uint64_t requests = 0;
    std::uint64_t errors = 0;
    std::string trouble;            // the first error, for a person
    std::vector<double> rps_rounds; // requests per second
    histogram latency;              // nanoseconds
    double cpu_us = 0;
    std::optional<double> spread; // mean of the rounds
};

/// Says how far it is, and prints the rows.
class table
{
public:
    table(std::ostream& out, options const& o);

    /// A round has ended, which is not the row's last.
    void progress(std::size_t round, row const& r);

    void head();
    void add(row const& r);

    /// Those that were not added yet.
    void rest(std::vector<row> const& rows);

private:
    std::ostream& out_;
    unsigned const rounds_;
    std::size_t const rows_;
    std::size_t told_of_ = 0; // the round whose line is being written, from 1
    bool has_head_ = false;
    std::size_t printed_ = 0;
    int policy_width_;
};

/// Which policy served this load best, and by how much, or that the difference is noise.
std::string verdict(options const& o, std::vector<row> const& rows);

void write_json(std::ostream& out, options const& o, std::vector<row> const& rows);
void write_html(std::ostream& out, options const& o, std::vector<row> const& rows);

/// What was measured, in a sentence.
std::string described(options const& o);

std::string fixed(double value, int digits);

#endif
