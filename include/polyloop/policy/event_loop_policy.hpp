// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_POLICY_EVENT_LOOP_POLICY_HPP
#define POLYLOOP_POLICY_EVENT_LOOP_POLICY_HPP

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/loop/strand.hpp>
#include <polyloop/policy/placement.hpp>

#include <memory>
#include <string>
#include <vector>

namespace polyloop {

/// Decides which event loop each context uses: the object that an application replaces to change
/// its loop strategy.
///
/// asyncio's AbstractEventLoopPolicy has the first three operations. The others are what C++
/// adds, where contexts are made on several loops of one process. A policy of one's own derives
/// from here and defines what a context is, or from a built-in policy and overrides one operation.
///
/// In a forked child what a policy has bound or started is the parent's (S17): one with such a
/// state of its own keeps it in a `per_process`; the built-in ones look after theirs.
///
/// Thread safety: every operation may be called from any thread; `start` and `stop` from
/// one at a time.
class POLYLOOP_DECL event_loop_policy
{
  public:
    event_loop_policy() = default;
    event_loop_policy(event_loop_policy const&) = delete;
    event_loop_policy& operator=(event_loop_policy const&) = delete;
    POLYLOOP_DECL virtual ~event_loop_policy();

    /// The loop of the calling context. Throws `error::no_current_loop` where there is none; never
    /// gives nothing (S7, S10).
    virtual event_loop& get_event_loop() = 0;

    /// Binds a loop to the calling context; null unbinds (S18, S20). Neither starts nor closes
    /// it; a closed loop may be bound (S21).
    virtual void set_event_loop(std::shared_ptr<event_loop> loop) = 0;

    /// A fresh loop each time, never null, not made current (S9).
    virtual std::shared_ptr<event_loop> new_event_loop() = 0;

    /// On which loop a new context shall live. Here: the running loop, else
    /// `get_event_loop()`.
    POLYLOOP_DECL virtual event_loop& place(placement_request const& request);

    /// A run with `main` as its first loop begins: a pool makes and starts its other loops.
    /// Called by the runner. Throws `error::policy_in_use` where a policy serves one run at a time.
    POLYLOOP_DECL virtual void start(std::shared_ptr<event_loop> main);

    /// The run ends: other loops are stopped and their threads joined. They are not
    /// closed, since the runner has yet to name who is left on them.
    POLYLOOP_DECL virtual void stop();

    /// The loops of the run, `main` first. Empty before `start`, and for a policy that has no
    /// loops beside the runner's.
    POLYLOOP_DECL virtual std::vector<std::shared_ptr<event_loop>> loops() const;

    /// The kind of context that gets a loop of its own choice: what a server makes one of for each
    /// connection.
    POLYLOOP_DECL virtual context_kind unit() const noexcept;

    /// Whether new contexts of its unit are spread over its loops one like the other, whatever
    /// their names and whatever is there: another way of spreading them may take its place, as a
    /// server does with a listener for each loop. Here: no.
    POLYLOOP_DECL virtual bool spreads_evenly() const noexcept;

  protected:
    /// For `start`, of each loop that it makes, before a thread runs it: the policy that is in
    /// force in `main` is in force there, too.
    POLYLOOP_DECL static void join_run(event_loop const& main, event_loop& loop);
};

/// The policy in force: that of the run in whose loop the caller is, else the process's, which is
/// made from `POLYLOOP_POLICY` at first need (S1).
POLYLOOP_DECL std::shared_ptr<event_loop_policy> get_event_loop_policy();

/// Replaces the process's policy, for every thread (S2). Null restores the default: a new one is
/// made at the next need (S4). Existing loops are not touched (S5); a policy that is replaced
/// while its loops run lives until they end, and stays in force inside of its run.
POLYLOOP_DECL void set_event_loop_policy(std::shared_ptr<event_loop_policy> policy);

/// Sets the process's policy for a scope, and puts the same old object back.
class scoped_policy
{
  public:
    /// Null is a new default for the scope.
    POLYLOOP_DECL explicit scoped_policy(std::shared_ptr<event_loop_policy> policy);
    POLYLOOP_DECL ~scoped_policy();

    scoped_policy(scoped_policy const&) = delete;
    scoped_policy& operator=(scoped_policy const&) = delete;

  private:
    std::shared_ptr<event_loop_policy> old_;
};

/// The running loop, whatever the policy; else what the policy says (S12).
POLYLOOP_DECL event_loop& get_event_loop();

/// The same operation of the policy in force (S22).
POLYLOOP_DECL void set_event_loop(std::shared_ptr<event_loop> loop);

/// The same operation of the policy in force (S22). `error::bad_config` where a policy gives null.
POLYLOOP_DECL std::shared_ptr<event_loop> new_event_loop();

/// A new strand on the loop where the policy places it.
POLYLOOP_DECL strand make_strand(std::string name = {});

namespace detail {

/// Where the policy in force places a new context.
POLYLOOP_DECL event_loop& place_context(placement_request const& request);

/// The running loop, where that has concurrency 1 and the policy in force is known to place a new
/// fiber there: the policy need not be asked. Else null.
POLYLOOP_DECL loop_core* placed_here() noexcept;

/// Puts a policy in force for the handlers of a loop that no thread runs.
POLYLOOP_DECL void attach_policy(event_loop& loop, std::shared_ptr<event_loop_policy> policy);

} // namespace detail
} // namespace polyloop

#endif
