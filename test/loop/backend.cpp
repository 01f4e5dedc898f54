// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.backend

#include <polyloop/loop/backend.hpp>

#include <boost/asio/detail/config.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <set>
#include <sstream>
#include <string>

using namespace polyloop;

BOOST_AUTO_TEST_CASE(the_backend_is_the_one_that_asio_was_compiled_for)
{
#if defined(BOOST_ASIO_HAS_IOCP)
    BOOST_TEST(current_backend() == backend::iocp);
#elif defined(BOOST_ASIO_HAS_IO_URING_AS_DEFAULT)
    BOOST_TEST(current_backend() == backend::io_uring);
#elif defined(BOOST_ASIO_HAS_EPOLL)
    BOOST_TEST(current_backend() == backend::epoll);
#elif defined(BOOST_ASIO_HAS_KQUEUE)
    BOOST_TEST(current_backend() == backend::kqueue);
#else
    BOOST_TEST(current_backend() == backend::select);
#endif
}

BOOST_AUTO_TEST_CASE(known_backends_are_all_of_them_and_each_has_a_name)
{
    std::set<std::string> names;
    for (backend const b : known_backends())
    {
        std::ostringstream out;
        out << b;
        BOOST_TEST(out.str() == to_string(b));
        names.insert(out.str());
    }
    std::set<std::string> const expected{"epoll", "select", "kqueue", "io_uring", "iocp"};
    BOOST_TEST(names == expected, boost::test_tools::per_element());
    auto const known = known_backends();
    BOOST_TEST(std::count(known.begin(), known.end(), current_backend()) == 1);
}

BOOST_AUTO_TEST_CASE(a_proactor_waits_for_completion)
{
    BOOST_TEST(is_proactor(backend::io_uring));
    BOOST_TEST(is_proactor(backend::iocp));
    BOOST_TEST(!is_proactor(backend::epoll));
    BOOST_TEST(!is_proactor(backend::select));
    BOOST_TEST(!is_proactor(backend::kqueue));
}

BOOST_AUTO_TEST_CASE(describe_backend_says_which_and_why)
{
    backend_info const info = describe_backend();
    BOOST_TEST(info.which == current_backend());
    BOOST_TEST(!info.reason.empty());
    BOOST_TEST(info.reason.find(to_string(info.which)) != std::string::npos);
}
