// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/io/detail/turns.hpp>

#include <polyloop/task/detail/fiber.hpp>

namespace polyloop::detail {

bool turns::give_way(boost::system::error_code& ec)
{
    renew();
    if (!try_current_fiber())
        return true;
    try
    {
        yield_current();
        return true;
    }
    catch (boost::system::system_error const& e)
    {
        ec = e.code();
        return false;
    }
}

} // namespace polyloop::detail
