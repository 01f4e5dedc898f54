// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_POLICY_DEFAULT_POLICY_HPP
#define POLYLOOP_POLICY_DEFAULT_POLICY_HPP

#include <polyloop/policy/detail/bindings.hpp>
#include <polyloop/policy/event_loop_policy.hpp>

namespace polyloop {

/// A loop per thread, bound explicitly: asyncio's default (S10, S18, S24). Everything that a
/// thread's loop spawns stays on it.
///
/// Choose it for programs with one loop, for clients, and where every thread looks after its own.
class POLYLOOP_DECL default_policy : public event_loop_policy
{
  public:
    default_policy() = default;
    explicit default_policy(loop_options options) : options_(std::move(options))
    {
    }

    POLYLOOP_DECL event_loop& get_event_loop() override;
    POLYLOOP_DECL void set_event_loop(std::shared_ptr<event_loop> loop) override;
    POLYLOOP_DECL std::shared_ptr<event_loop> new_event_loop() override;

  private:
    detail::bindings bindings_{context_kind::thread};
    loop_options options_;
};

/// The default policy, for a build whose backend waits for readiness (epoll, kqueue, select). Its
/// constructor throws `error::backend_unavailable`, with the remedy, in any other.
class POLYLOOP_DECL selector_policy : public default_policy
{
  public:
    POLYLOOP_DECL explicit selector_policy(loop_options options = {});
};

/// The default policy, for a build whose backend waits for completion (io_uring, IOCP). Its
/// constructor throws `error::backend_unavailable`, with the remedy, in any other.
class POLYLOOP_DECL proactor_policy : public default_policy
{
  public:
    POLYLOOP_DECL explicit proactor_policy(loop_options options = {});
};

} // namespace polyloop

#endif
