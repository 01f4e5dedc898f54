// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// What compare_policies takes for a difference, on given numbers.
#define BOOST_TEST_MODULE example_comparison

#include "compare_policies/comparison.hpp"

#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <random>
#include <vector>

namespace
{
constexpr std::size_t pairs = 2000;

/// Rounds of a row: a rate, noise of so many per cent, and what else befalls them.
class machine
{
public:
    explicit machine(double noise)
        : noise_(noise)
    {
    }

    std::vector<double> row(double rate, std::vector<double> const& weather)
    {
        std::vector<double> rounds;
        for (double const w : weather)
            rounds.push_back(rate * w * (1 + noise_ / 100 * normal()));
        return rounds;
    }

private:
    /// Twelve dice: near enough, and the same everywhere.
    double normal()
    {
        double sum = -6;
        for (int i = 0; i != 12; ++i)
            sum += static_cast<double>(engine_()) / 4294967296.0;
        return sum;
    }

    std::mt19937 engine_{7};
    double noise_;
};

/// In how many of a hundred comparisons of a row with one that is `faster` they differ.
double found(double noise, double faster, std::vector<double> const& weather)
{
    machine m(noise);
    std::size_t n = 0;
    for (std::size_t i = 0; i != pairs; ++i)
        n += comparison(m.row(50000, weather), m.row(50000 * faster, weather)).differ();
    return 100.0 * static_cast<double>(n) / pairs;
}

std::vector<double> const calm(5, 1.0);
std::vector<double> const drift{1, 0.97, 0.94, 0.91, 0.88};
std::vector<double> const bad_minute{1, 1, 0.6, 1, 1};
} // namespace

BOOST_AUTO_TEST_CASE(a_policy_does_not_differ_from_itself)
{
    for (auto const* const weather : {&calm, &drift, &bad_minute})
        for (double const noise : {0.5, 3.0, 10.0})
            BOOST_TEST(found(noise, 1, *weather) <= 2);
    BOOST_TEST(found(3, 1, {1, 1, 1}) <= 2);
    BOOST_TEST(found(3, 1, {1, 1}) <= 2);
}

BOOST_AUTO_TEST_CASE(a_lead_that_stands_out_of_the_noise_is_found)
{
    BOOST_TEST(found(2, 1.1, calm) >= 98);
    BOOST_TEST(found(2, 0.9, calm) >= 98);
    BOOST_TEST(found(0.5, 1.03, calm) >= 98);
    BOOST_TEST(found(3, 1.3, {1, 1, 1}) >= 90);
}

BOOST_AUTO_TEST_CASE(measured_rounds)
{
    std::vector<double> const one{55467, 56317, 54717, 56400, 54883};
    std::vector<double> const same{54100, 55700, 56400, 56300, 54700};
    std::vector<double> const slower{46083, 46367, 44817, 47683, 46150};
    BOOST_TEST(!comparison(one, same).differ());
    BOOST_TEST(comparison(one, slower).differ());
    BOOST_TEST(comparison(slower, one).differ());
}

// From a table of Student's t: two and eight degrees of freedom, 99.5 %.
BOOST_AUTO_TEST_CASE(the_fewer_the_rounds_the_more_is_needed)
{
    auto const needed = [](std::vector<double> const& a) {
        return comparison(a, a).needed;
    };
    BOOST_TEST(needed({1, 2}) == 9.925, boost::test_tools::tolerance(1e-3));
    BOOST_TEST(needed({1, 2, 3, 4, 5}) == 3.355, boost::test_tools::tolerance(1e-3));
}

BOOST_AUTO_TEST_CASE(one_round_tells_nothing)
{
    std::vector<double> const one{1}, two{2};
    BOOST_TEST(!comparison(one, two).differ());
    BOOST_TEST(!comparison({}, {}).differ());
}

BOOST_AUTO_TEST_CASE(without_any_noise_what_differs_differs)
{
    std::vector<double> const one{1, 1}, two{2, 2};
    BOOST_TEST(comparison(one, two).differ());
    BOOST_TEST(!comparison(one, one).differ());
}

BOOST_AUTO_TEST_CASE(connections_are_spread_as_evenly_as_so_many_can)
{
    BOOST_TEST(evenness(16, 16, 64, 4) == 1);
    BOOST_TEST(evenness(21, 22, 64, 3) == 1);
    BOOST_TEST(evenness(1, 2, 3, 2) == 1);
    BOOST_TEST(evenness(8, 24, 64, 4) == 8.0 / 24);
    BOOST_TEST(evenness(0, 32, 64, 3) == 0);
    BOOST_TEST(evenness(0, 1, 2, 4) == 1);
    BOOST_TEST(evenness(0, 2, 2, 4) == 0.5);
    BOOST_TEST(evenness(0, 0, 0, 2) == 0);
}
