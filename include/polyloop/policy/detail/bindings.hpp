// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_POLICY_DETAIL_BINDINGS_HPP
#define POLYLOOP_POLICY_DETAIL_BINDINGS_HPP

#include <polyloop/context/context.hpp>
#include <polyloop/context/detail/fork.hpp>
#include <polyloop/loop/event_loop.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace polyloop::detail {

/// The loops that a policy's contexts have bound. A binding ends with its context, with the policy,
/// or when it is replaced, and keeps the loop alive until then.
///
/// The context is the calling one where it is of the kind `unit`, else the thread.
class POLYLOOP_DECL bindings : private fork_listener
{
  public:
    POLYLOOP_DECL explicit bindings(context_kind unit);

    /// Null unbinds.
    POLYLOOP_DECL void set(std::shared_ptr<event_loop> loop);

    /// Null where nothing is bound.
    POLYLOOP_DECL std::shared_ptr<event_loop> get() const;

    /// Only what the calling context itself has bound, where it is of the kind `unit`.
    POLYLOOP_DECL std::shared_ptr<event_loop> get_own() const;

    /// Throws `error::no_current_loop`, naming the context (S10).
    [[noreturn]] POLYLOOP_DECL void refuse() const;

  private:
    POLYLOOP_DECL void forked() noexcept override;

    struct entry
    {
        std::shared_ptr<event_loop> loop; // null once it is unbound
        bool hooked = false;              // the context's end is known of
    };

    struct table
    {
        std::mutex mutex;
        std::atomic<std::size_t> size = 0; // bound loops, to be asked without the lock
        std::unordered_map<context::id_type, entry> loops;
    };

    context_kind unit_;
    std::shared_ptr<table> table_; // contexts that end refer to it weakly
};

} // namespace polyloop::detail

#endif
