// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_COMPARISON_HPP
#define POLYLOOP_EXAMPLE_COMPARISON_HPP

#include <boost/math/distributions/students_t.hpp>

#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <span>

inline double mean(std::span<double const> values)
{
    if (values.empty())
        return 0;
    return std::accumulate(values.begin(), values.end(), 0.0) /
        static_cast<double>(values.size());
}

/// Of a sample; 0 where there are fewer than two values.
inline double standard_deviation(std::span<double const> values)
{
    if (values.size() < 2)
        return 0;
    double const middle = mean(values);
    double squares = 0;
    for (double const v : values)
        squares += (v - middle) * (v - middle);
    return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

/// How evenly `all` connections lie on loops of which one has `least` and one `most`: 1 is
/// as even as so many can be, 0 leaves a loop without any that it could have.
inline double evenness(
    std::size_t least, std::size_t most, std::size_t all, std::size_t loops)
{
    if (most == 0)
        return 0;
    // With fewer connections than loops some get none, and the best is one for each other.
    if (all < loops)
        return 1 / static_cast<double>(most);
    double const best =
        static_cast<double>(all / loops) / static_cast<double>((all + loops - 1) / loops);
    return static_cast<double>(least) / static_cast<double>(most) / best;
}

/// Welch's t of two rows of rounds, and from which t on they differ: two equals reach it in
/// one of a hundred comparisons. The fewer the rounds, the larger that is.
struct comparison
{
    static constexpr double by_chance = 0.01;

    comparison(std::span<double const> a, std::span<double const> b)
    {
        if (a.size() < 2 || b.size() < 2)
            return;
        auto const part = [](std::span<double const> values) {
            double const s = standard_deviation(values);
            return s * s / static_cast<double>(values.size());
        };
        double const of_a = part(a), of_b = part(b), both = of_a + of_b;
        double const lead = std::abs(mean(a) - mean(b));
        if (both == 0)
        {
            t = lead == 0 ? 0 : std::numeric_limits<double>::infinity();
            needed = 0;
            return;
        }
        t = lead / std::sqrt(both);
        double const freedom = both * both /
            (of_a * of_a / static_cast<double>(a.size() - 1) +
                of_b * of_b / static_cast<double>(b.size() - 1));
        needed = quantile(
            complement(boost::math::students_t_distribution<>(freedom), by_chance / 2));
    }

    bool differ() const { return t > needed; }

    double t = 0;
    double needed = std::numeric_limits<double>::infinity(); // one round tells nothing
};

#endif
