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
/// While a fork is under way no listener comes or goes.
class POLYLOOP_DECL fork_listener
{
  public:
    POLYLOOP_DECL fork_listener();
    fork_listener(fork_listener const&) = delete;
    fork_listener& operator=(fork_listener const&) = delete;

    /// Around the fork, in the thread that forks; `after_fork` in the child as well, before
    /// `forked`. For locks whose data the child needs whole.
    virtual void before_fork() noexcept;
    virtual void after_fork() noexcept;

    /// In the child. The object may be half made or half ended by another thread: nothing of it is
    /// to be read.
    virtual void forked() noexcept;

  protected:
    POLYLOOP_DECL ~fork_listener();

  private:
    friend struct forks;

    fork_listener* prev_ = nullptr;
    fork_listener* next_ = nullptr;
};

/// Has the forks of this process noticed; once is enough.
POLYLOOP_DECL void watch_forks();

/// How many forks lie between the first process that was watched and this one.
POLYLOOP_DECL unsigned fork_generation() noexcept;

} // namespace polyloop::detail

#endif
