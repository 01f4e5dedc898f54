// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_WAIT_NAME_HPP
#define POLYLOOP_TASK_DETAIL_WAIT_NAME_HPP

#include <polyloop/task/detail/fiber.hpp>

#include <string>

namespace polyloop::detail {

/// What a kind of wait is called in messages. Kinds are told apart by the function that interrupts
/// them, so that a wait carries nothing for it. Of static storage duration.
class POLYLOOP_DECL wait_name
{
  public:
    using kind = bool (*)(fiber_wait&, fiber_wait::reason);
    using description = std::string (*)(fiber_wait const&);

    POLYLOOP_DECL wait_name(kind k, description d) noexcept;
    wait_name(wait_name const&) = delete;
    wait_name& operator=(wait_name const&) = delete;

  private:
    friend std::string describe_wait(fiber_wait const& w);

    kind kind_;
    description describe_;
    wait_name const* next_;
};

/// While the fiber is off its stack.
POLYLOOP_DECL std::string describe_wait(fiber_wait const& w);

} // namespace polyloop::detail

#endif
