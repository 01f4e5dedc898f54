// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TEST_SUPPORT_SEEDS_HPP
#define POLYLOOP_TEST_SUPPORT_SEEDS_HPP

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <random>
#include <string>
#include <thread>

namespace test {

using engine = std::mt19937_64;

/// Calls `f(engine&)` with `count` seeds, and prints the seed of a failure.
/// POLYLOOP_TEST_SEED runs that one alone.
template <class F>
void for_seeds(unsigned count, F&& f)
{
    auto once = [&](engine::result_type seed) {
        BOOST_TEST_CONTEXT("POLYLOOP_TEST_SEED=" << seed)
        {
            engine e(seed);
            f(e);
        }
    };
    if (char const* const given = std::getenv("POLYLOOP_TEST_SEED"))
    {
        once(std::stoull(given));
        return;
    }
    std::random_device device;
    for (unsigned i = 0; i != count; ++i)
        once(device());
}

template <class Integer>
Integer draw(engine& e, Integer least, Integer most)
{
    return std::uniform_int_distribution<Integer>(least, most)(e);
}

/// Shifts threads against each other a little, differently each time.
inline void jitter(engine& e)
{
    for (auto n = draw(e, 0u, 3u); n != 0; --n)
        std::this_thread::yield();
}

} // namespace test

#endif
