// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_HISTOGRAM_HPP
#define POLYLOOP_EXAMPLE_HISTOGRAM_HPP

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

/// Counts values in 128 steps for each power of two, so that what it tells is within
/// 0.4 % of a value that was added.
class histogram
{
public:
    void add(std::uint64_t value)
    {
        ++counts_[index(value)];
        ++total_;
    }

    void add(histogram const& other)
    {
        for (std::size_t i = 0; i != counts_.size(); ++i)
            counts_[i] += other.counts_[i];
        total_ += other.total_;
    }

    /// Pairs of a place and a number of values there, to be added to another histogram.
    using places = std::vector<std::pair<std::size_t, std::uint64_t>>;

    places filled() const
    {
        places all;
        for (std::size_t i = 0; i != counts_.size(); ++i)
            if (counts_[i] != 0)
                all.emplace_back(i, counts_[i]);
        return all;
    }

    void add(places const& other)
    {
        for (auto const& [i, n] : other)
        {
            counts_.at(i) += n;
            total_ += n;
        }
    }

    std::uint64_t total() const { return total_; }

    /// The value that `part` of all (0 to 1) do not exceed; 0 if there are none.
    double quantile(double part) const
    {
        auto const wanted =
            static_cast<std::uint64_t>(std::ceil(part * static_cast<double>(total_)));
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i != counts_.size(); ++i)
            if (seen += counts_[i]; seen != 0 && seen >= wanted)
                return middle(i);
        return 0;
    }

private:
    static constexpr int bits = 7;
    static constexpr std::uint64_t steps = 1U << bits;

    static std::size_t index(std::uint64_t value)
    {
        if (value < steps)
            return value;
        int const shift = static_cast<int>(std::bit_width(value)) - bits - 1;
        return (static_cast<std::size_t>(shift) << bits) + (value >> shift);
    }

    static double middle(std::size_t i)
    {
        if (i < 2 * steps)
            return static_cast<double>(i);
        int const shift = static_cast<int>(i >> bits) - 1;
        return std::ldexp(static_cast<double>(i % steps + steps) + 0.5, shift);
    }

    std::vector<std::uint64_t> counts_ =
        std::vector<std::uint64_t>((64 - bits + 1) * steps);
    std::uint64_t total_ = 0;
};

#endif
