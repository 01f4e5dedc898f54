// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/stack_usage.hpp>

#include <polyloop/task/detail/fiber.hpp>

namespace polyloop {
namespace {

std::size_t measured(std::size_t used)
{
    if (used == 0)
        detail::throw_error(error::option_unsupported,
                            "stack_usage needs loop_options::debug, or POLYLOOP_DEBUG=1, "
                            "when the loop's first task is spawned");
    return used;
}

} // namespace

std::size_t stack_usage(task<> const& t)
{
    detail::task_base const& b = t.get();
    if (b.ready_node::kind != detail::node_kind::fiber || !b.done())
        detail::throw_error(error::not_in_fiber, "stack_usage of a task is for fibers that "
                                                 "have ended; join it first");
    return measured(static_cast<detail::fiber const&>(b).stack_used());
}

std::size_t this_fiber::stack_usage()
{
    detail::stack_slot const& s = *detail::current_fiber().slot();
    return measured(s.pool->paints() ? s.used() : 0);
}

} // namespace polyloop
