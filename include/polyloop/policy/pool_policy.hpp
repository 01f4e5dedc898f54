// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_POLICY_POOL_POLICY_HPP
#define POLYLOOP_POLICY_POOL_POLICY_HPP

#include <polyloop/context/detail/fork.hpp>
#include <polyloop/loop/loop_group.hpp>
#include <polyloop/policy/detail/bindings.hpp>
#include <polyloop/policy/event_loop_policy.hpp>

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace polyloop {

struct pool_options
{
    /// How many loops, the runner's own included (under `shared_policy`, how many threads); 0 is
    /// one for each processor that the process may use.
    unsigned loops = 0;

    /// Pins each loop's thread to a processor of its own. Worth it on a machine that does nothing
    /// else.
    bool pin = false;

    /// What the policy's loops are made with. `concurrency` is the policy's to set.
    loop_options loop = {};
};

/// What `strand_policy` and `fiber_policy` have in common: N loops, a thread each, over which new
/// contexts of one kind are spread. A context never moves once it is placed.
class POLYLOOP_DECL pool_policy : public event_loop_policy
{
  public:
    POLYLOOP_DECL ~pool_policy() override;

    POLYLOOP_DECL event_loop& get_event_loop() override;
    POLYLOOP_DECL void set_event_loop(std::shared_ptr<event_loop> loop) override;
    POLYLOOP_DECL std::shared_ptr<event_loop> new_event_loop() override;

    /// 1. The caller is a context of the policy's unit and has bound a loop: that one. 2. The
    /// request is for the unit and a run is on: what the placement strategy picks. 3. The running
    /// loop, else the thread's bound one, else the run's first, else `error::no_current_loop`.
    POLYLOOP_DECL event_loop& place(placement_request const& request) override;

    POLYLOOP_DECL void start(std::shared_ptr<event_loop> main) override;
    POLYLOOP_DECL void stop() override;
    POLYLOOP_DECL std::vector<std::shared_ptr<event_loop>> loops() const override;
    context_kind unit() const noexcept override
    {
        return unit_;
    }
    /// With the strategy `round_robin`, which is the default.
    POLYLOOP_DECL bool spreads_evenly() const noexcept override;

  protected:
    POLYLOOP_DECL pool_policy(context_kind unit, pool_options options,
                              placement::strategy strategy);

  private:
    struct run;

    POLYLOOP_DECL static void forked(void* self) noexcept;
    std::shared_ptr<run const> current() const;

    context_kind const unit_;
    pool_options const options_;
    placement::strategy const strategy_;
    detail::bindings bindings_;
    mutable std::mutex mutex_;
    std::shared_ptr<run> run_; // under mutex_; null while no run is on
    detail::fork_listener forks_{this, {.in_child = &pool_policy::forked}};
};

/// N loops; each new strand gets one, and its fibers and handlers stay on that loop.
///
/// Choose it for code that is written in handlers on strands and should use every core.
class POLYLOOP_DECL strand_policy : public pool_policy
{
  public:
    explicit strand_policy(pool_options options = {},
                           placement::strategy strategy = placement::round_robin())
        : pool_policy(context_kind::strand, std::move(options), std::move(strategy))
    {
    }
};

/// N loops; each new fiber, and each coroutine task, gets one.
///
/// Choose it for servers with a fiber per connection on several cores.
class POLYLOOP_DECL fiber_policy : public pool_policy
{
  public:
    explicit fiber_policy(pool_options options = {},
                          placement::strategy strategy = placement::round_robin())
        : pool_policy(context_kind::fiber, std::move(options), std::move(strategy))
    {
    }
};

/// One loop that N threads run: a busy context delays only itself, at the price of locks.
///
/// Choose it where the work per event is long and uneven.
class POLYLOOP_DECL shared_policy : public event_loop_policy
{
  public:
    POLYLOOP_DECL explicit shared_policy(pool_options options = {});
    POLYLOOP_DECL ~shared_policy() override;

    POLYLOOP_DECL event_loop& get_event_loop() override;
    POLYLOOP_DECL void set_event_loop(std::shared_ptr<event_loop> loop) override;

    /// A loop whose concurrency is the policy's number of threads.
    POLYLOOP_DECL std::shared_ptr<event_loop> new_event_loop() override;

    POLYLOOP_DECL event_loop& place(placement_request const& request) override;
    POLYLOOP_DECL void start(std::shared_ptr<event_loop> main) override;
    POLYLOOP_DECL void stop() override;
    POLYLOOP_DECL std::vector<std::shared_ptr<event_loop>> loops() const override;

  private:
    struct helpers;

    POLYLOOP_DECL static void forked(void* self) noexcept;
    std::shared_ptr<event_loop> main() const;
    void help(std::shared_ptr<event_loop> const& main, unsigned number) noexcept;

    pool_options options_;
    detail::bindings bindings_{context_kind::thread};
    mutable std::mutex mutex_;
    std::shared_ptr<event_loop> main_; // under mutex_; null while no run is on
    std::unique_ptr<helpers> helpers_;
    detail::fork_listener forks_{this, {.in_child = &shared_policy::forked}};
};

/// Processors that the process may use; at least 1.
POLYLOOP_DECL unsigned usable_processors() noexcept;

} // namespace polyloop

#endif
