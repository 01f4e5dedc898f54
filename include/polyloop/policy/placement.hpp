// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_POLICY_PLACEMENT_HPP
#define POLYLOOP_POLICY_PLACEMENT_HPP

#include <polyloop/context/context.hpp>
#include <polyloop/loop/event_loop.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace polyloop {

/// What is known of a context that is about to be made.
struct placement_request
{
    context_kind kind = context_kind::fiber;

    /// What contexts shall stay together: equal keys get the same loop under `by_key`. Empty if
    /// none; the name takes its place then.
    std::string_view key = {};

    /// The name that the context will have; may be empty.
    std::string_view name = {};
};

/// How a pool policy chooses a loop for a new context.
namespace placement {

/// The loops of a group; never empty.
using loops = std::span<std::shared_ptr<event_loop> const>;

/// Any callable that gives the index of the chosen loop. It may be called from several
/// threads at once. An index beyond the last loop makes the placing call throw
/// `error::bad_config`.
using strategy = std::function<std::size_t(placement_request const&, loops)>;

/// One loop after the other. The default.
class round_robin
{
  public:
    round_robin() = default;
    round_robin(round_robin const& other) noexcept : next_(other.next_.load())
    {
    }
    POLYLOOP_DECL std::size_t operator()(placement_request const&, loops l) noexcept;

  private:
    std::atomic<std::size_t> next_ = 0;
};

/// The loop with the fewest live tasks; looks at all of them.
struct least_tasks
{
    POLYLOOP_DECL std::size_t operator()(placement_request const&, loops l) const noexcept;
};

/// The less loaded of two loops drawn at random: nearly as even as `least_tasks`, at a
/// cost that does not grow with the number of loops (Mitzenmacher, "The power of two choices in
/// randomized load balancing", 2001).
struct two_choices
{
    POLYLOOP_DECL std::size_t operator()(placement_request const&, loops l) const noexcept;
};

/// Equal keys on the same loop.
struct by_key
{
    POLYLOOP_DECL std::size_t operator()(placement_request const& r, loops l) const noexcept;
};

/// The caller's own loop, if it is one of the group's, else the first.
struct same_loop
{
    POLYLOOP_DECL std::size_t operator()(placement_request const&, loops l) const noexcept;
};

} // namespace placement
} // namespace polyloop

#endif
