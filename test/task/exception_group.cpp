// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE task.exception_group

#include <polyloop/task/exception_group.hpp>

#include "support/error.hpp"

#include <boost/test/unit_test.hpp>

#include <stdexcept>
#include <string>

using namespace polyloop;

namespace {

template <class E>
std::exception_ptr holding(E e)
{
    return std::make_exception_ptr(std::move(e));
}

} // namespace

BOOST_AUTO_TEST_CASE(it_keeps_every_error_in_order)
{
    exception_group const g("two things failed", {holding(std::logic_error("one")), holding(2)});
    BOOST_REQUIRE(g.size() == 2u);
    BOOST_CHECK_THROW(std::rethrow_exception(g.exceptions()[0]), std::logic_error);
    BOOST_CHECK_THROW(std::rethrow_exception(g.exceptions()[1]), int);
    std::string const text = g.what();
    for (char const* const part :
         {"two things failed", "2 errors", "std::logic_error: one", "no std::exception"})
        BOOST_TEST(text.find(part) != text.npos, text << " lacks " << part);
}

BOOST_AUTO_TEST_CASE(groups_within_stay_groups)
{
    exception_group const inner("inner", {holding(1), holding(2)});
    exception_group const outer("outer", {holding(inner), holding(std::logic_error("three"))});
    BOOST_TEST(outer.size() == 2u);
    BOOST_CHECK_THROW(std::rethrow_exception(outer.exceptions()[0]), exception_group);
    BOOST_TEST(std::string(outer.what()).find(inner.what()) != std::string::npos);
    auto const leaves = outer.leaves();
    BOOST_REQUIRE(leaves.size() == 3u);
    BOOST_TEST((leaves[0] == inner.exceptions()[0]));
    BOOST_TEST((leaves[1] == inner.exceptions()[1]));
    BOOST_TEST((leaves[2] == outer.exceptions()[1]));
}

BOOST_AUTO_TEST_CASE(copies_are_thrown_and_caught_as_std_exception)
{
    try
    {
        exception_group const g("thrown", {holding(1)});
        throw g;
    }
    catch (std::exception const& e)
    {
        BOOST_TEST(std::string(e.what()).find("thrown (1 error)") == 0u);
    }
}

BOOST_AUTO_TEST_CASE(a_group_of_nothing_is_refused)
{
    BOOST_CHECK_EXCEPTION(exception_group("", {}), boost::system::system_error,
                          test::fails_with(error::bad_config));
    BOOST_CHECK_EXCEPTION(exception_group("", {nullptr}), boost::system::system_error,
                          test::fails_with(error::bad_config));
}
