// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_AFFINITY_HPP
#define POLYLOOP_LOOP_DETAIL_AFFINITY_HPP

#include <polyloop/config.hpp>

#include <memory>

namespace polyloop::detail {

/// The processors that the calling thread may use, to be put back later.
///
/// To be made before any thread is pinned: new threads inherit their maker's processors.
class affinity
{
  public:
    POLYLOOP_DECL affinity();
    POLYLOOP_DECL ~affinity();
    POLYLOOP_DECL affinity(affinity&&) noexcept;
    POLYLOOP_DECL affinity& operator=(affinity&&) noexcept;

    /// How many; at least 1.
    POLYLOOP_DECL unsigned count() const noexcept;

    /// Restricts the calling thread to the n-th of them, counted round. Throws the system's error;
    /// `error::option_unsupported` where the system has no such thing.
    POLYLOOP_DECL void pin(unsigned n) const;

    /// Puts them back for the calling thread.
    POLYLOOP_DECL void restore() const noexcept;

  private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

} // namespace polyloop::detail

#endif
