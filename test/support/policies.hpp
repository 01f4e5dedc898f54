// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TEST_SUPPORT_POLICIES_HPP
#define POLYLOOP_TEST_SUPPORT_POLICIES_HPP

#include <polyloop/policy/default_policy.hpp>
#include <polyloop/policy/registry.hpp>
#include <polyloop/runner/runner.hpp>

#include <boost/asio/detail/config.hpp>
#include <boost/test/unit_test.hpp>

#include <utility>

namespace test {

/// The policy that insists on this build's kind of backend.
#if defined(BOOST_ASIO_HAS_IOCP) || defined(BOOST_ASIO_HAS_IO_URING_AS_DEFAULT)
using policy_of_this_kind = polyloop::proactor_policy;
inline constexpr char const* name_of_this_kind = "proactor";
#else
using policy_of_this_kind = polyloop::selector_policy;
inline constexpr char const* name_of_this_kind = "selector";
#endif

/// The policies under which everything has to work: one loop, several, and one of several
/// threads.
inline constexpr char const* every_policy[] = {
    "default",         "strand loops=1", "strand loops=2",
    "fiber loops=1",   "fiber loops=3",  "shared loops=1",
    "shared loops=3",
};

/// Calls `f(text)` for each of them.
template <class F>
void for_every_policy(F f)
{
    for (char const* const text : every_policy)
        BOOST_TEST_CONTEXT("policy \"" << text << '"')
            f(text);
}

/// Calls `f`, as the main task of a run, under each of them. Boost.Test's checks are not for
/// several threads at once: `f` uses them only where nothing else runs.
template <class F>
void under_every_policy(F&& f)
{
    for_every_policy([&](char const* text) {
        polyloop::run(f, {.policy = polyloop::make_policy(text)});
    });
}

} // namespace test

#endif
