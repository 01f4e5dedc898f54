// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TEST_SUPPORT_CANCEL_HPP
#define POLYLOOP_TEST_SUPPORT_CANCEL_HPP

#include "support/error.hpp"

#include <polyloop/task/task.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <boost/asio/error.hpp>

#include <chrono>
#include <thread>

namespace test {

/// Returns when the request stands, and its message has not reached the loop, which the caller
/// holds.
inline void cancel_from_a_thread(polyloop::task<> t)
{
    std::thread([&t] { t.cancel(); }).join();
}

/// How many of the running fiber's next waits are cancelled; it ends with one that is not.
inline int cancelled_waits()
{
    int n = 0;
    while (code_of([] { polyloop::this_fiber::sleep_for(std::chrono::milliseconds(1)); }) ==
           boost::asio::error::operation_aborted)
        ++n;
    return n;
}

} // namespace test

#endif
