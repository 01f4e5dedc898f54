// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_CONTEXT_DETAIL_FORK_HPP
#define POLYLOOP_CONTEXT_DETAIL_FORK_HPP

#include <polyloop/config.hpp>

namespace polyloop::detail {

/// Who has to know that the process was forked (S16, S17). A child has one thread, the copy of the
/// one that forked, and finds everything as the others left it: locks that they held, and
/// descriptors whose other end is the parent's. So in the child things are left rather than ended.
///
/// To be the last member of who listens, so that all others are there before it and after it: the
/// actions are called in the thread that forks, while other threads make and end such objects.
class fork_listener
{
  public:
    using action = void (*)(void* who) noexcept;

    /// `before` and `after` are called around the fork, `after` in the child as well: for locks
    /// whose data the child needs whole. Then `in_child`, to which what other threads did to the
    /// rest may have been half done.
    struct actions
    {
        action before = nullptr;
        action after = nullptr;
        action in_child = nullptr;
    };

    POLYLOOP_DECL fork_listener(void* who, actions const& a);
    fork_listener(fork_listener const&) = delete;
    fork_listener& operator=(fork_listener const&) = delete;
    POLYLOOP_DECL ~fork_listener();

  private:
    friend struct forks;

    void* const who_;
    actions const actions_;
    fork_listener* prev_ = nullptr;
    fork_listener* next_ = nullptr;
};

/// Has the forks of this process noticed; once is enough.
POLYLOOP_DECL void watch_forks();

/// How many forks lie between the first process that was watched and this one.
POLYLOOP_DECL unsigned fork_generation() noexcept;

} // namespace polyloop::detail

#endif
