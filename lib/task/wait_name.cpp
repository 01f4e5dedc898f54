// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/wait_name.hpp>

#include <polyloop/task/detail/operation_wait.hpp>
#include <polyloop/task/detail/sleep.hpp>

#include <utility>

namespace polyloop::detail {
namespace {

// Grows while statics are made, and is only read afterwards.
constinit wait_name const* first_name = nullptr;

} // namespace

wait_name::wait_name(kind k, description d) noexcept
    : kind_(k), describe_(d), next_(std::exchange(first_name, this))
{
}

std::string describe_wait(fiber_wait const& w)
{
    if (w.interrupt == &fiber_sleep::on_interrupt)
        return "a point in time";
    for (wait_name const* n = first_name; n; n = n->next_)
        if (n->kind_ == w.interrupt)
            return n->describe_(w);
    return "something";
}

} // namespace polyloop::detail
