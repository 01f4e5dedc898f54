// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/task_group.hpp>

namespace polyloop {

void task_group::join()
{
    if (state_->over())
        return;
    detail::group_exit way_out(*state_, nullptr);
    if (!way_out.finished())
    {
        detail::require_waitable();
        way_out.wait();
    }
    way_out.conclude();
}

} // namespace polyloop
