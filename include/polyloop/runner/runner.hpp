// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_RUNNER_RUNNER_HPP
#define POLYLOOP_RUNNER_RUNNER_HPP

#include <polyloop/policy/event_loop_policy.hpp>
#include <polyloop/runner/detail/interruption.hpp>
#include <polyloop/task/run_until_complete.hpp>

#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace polyloop {

struct run_options
{
    /// In force for this run, in all its loops, and nowhere else. Null takes the process's policy,
    /// which is what `POLYLOOP_POLICY` says unless the program has set one. That is one object
    /// (S1): where it is a pool, it serves one run at a time, and a run in another thread meanwhile
    /// needs a policy of its own here.
    std::shared_ptr<event_loop_policy> policy = {};

    /// Makes the run's loop in place of the policy's `new_event_loop`; the loop is then not bound
    /// to the context (S51). Without `policy`, no pool is started either.
    std::function<std::shared_ptr<event_loop>()> loop_factory = {};

    /// Debug mode of all loops of the run; unset leaves it alone (S52).
    std::optional<bool> debug = {};

    /// How long the whole shutdown may take, the default executor's included (S70, S75). What is
    /// left then is named to the exception handler and cut off. With 0 tasks are still cancelled
    /// and have one turn of the run's loop to end.
    std::chrono::nanoseconds shutdown_timeout = std::chrono::seconds(30);

    /// Signals that interrupt the run: SIGINT as in asyncio; SIGTERM can be given the same meaning,
    /// `{SIGINT, SIGTERM}`; none if empty.
    ///
    /// Of each only where `run` and `close` are called in the main thread and nobody handles the
    /// signal yet (S60); who installs a handler inside the run takes over, be it by
    /// `add_signal_handler`, `asio::signal_set` or `sigaction`. Whose a signal is, is decided when
    /// it comes. The first signal cancels the main task, and if that ends by it `run` throws
    /// `error::interrupted`; a main task that goes on has its result (S62 to S66). The second
    /// leaves the main task at once, by the same error, to be cancelled by `close`. One that comes
    /// during `close` ends its waiting, as if `shutdown_timeout` were over, and `close` throws
    /// `error::interrupted`. A loop that has not looked at two of them, since something holds its
    /// thread, leaves the third to the system.
    ///
    /// `polyloop::run` keeps the signals from the beginning of the main task to the end of the
    /// shutdown: one that comes between the two makes it throw `error::interrupted` when everything
    /// is closed. Between the calls of a `runner` they are as they were before (S67).
    std::vector<int> signals = {SIGINT};
};

template <spawnable F>
detail::spawn_result<F> run(F&& main, run_options options = {});

/// Runs main tasks one after the other on the same loops: asyncio.Runner.
///
/// States: created, initialized (at the first `get_loop` or `run`: the loop is made, the policy's
/// pool started), closed (S47). What a main task leaves behind goes on in the next `run` and is
/// cancelled by `close` (S58).
///
/// Thread safety: for one thread at a time, and `close` for the one that ran.
class runner
{
  public:
    /// Makes nothing yet.
    POLYLOOP_DECL explicit runner(run_options options = {});

    /// Closes; what the closing throws goes to the loop's exception handler, or to the default one
    /// if the loop is closed.
    POLYLOOP_DECL ~runner();

    runner(runner const&) = delete;
    runner& operator=(runner const&) = delete;

    /// The run's own loop. Throws `error::runner_closed` (S48), and what making a loop throws.
    POLYLOOP_DECL event_loop& get_loop();

    /// Runs `main`, a callable for a fiber or one that returns `asio::awaitable<T>`, until it is
    /// done; gives its result or throws what it threw. Blocks the thread.
    ///
    /// Throws in this order `error::nested_run` inside a running loop (S53), `error::runner_closed`
    /// (S48), `error::bad_config` for an empty `main`, which leaves the runner initialized (S55),
    /// `error::interrupted` as `run_options::signals` says, and `error::loop_stopped` where
    /// somebody stopped the loop.
    template <spawnable F>
    detail::spawn_result<F> run(F&& main)
    {
        before_run();
        event_loop& loop = get_loop();
        unsigned const stops = loop.core().check_run(); // before anything is made (S28)
        detail::interruptible_run until_done(loop, options_.signals, signals_, keeps_signals_);
        auto t = [&] {
            detail::locals_scope const scope(locals_);
            return spawn(loop, std::forward<F>(main), {.name = "main", .key = {}});
        }();
        locals_keeper const keeper{locals_, t};
        until_done(t.get(), stops);
        return t.take();
    }

    /// Cancels every task of every loop of the policy and waits, in rounds, until none is left;
    /// shuts the default executor down; stops the pool; closes the loops (S70 to S75). Does
    /// nothing in a runner that made no loop (S49) or is closed. In a forked child it ends nothing
    /// of what the parent runs, and the runner is closed (S17).
    ///
    /// Blocks for at most `run_options::shutdown_timeout`, unless a task never gives its thread
    /// back. Throws `error::loop_is_running` inside of its own run, and `error::interrupted` when
    /// everything is closed, if a signal ended the waiting.
    POLYLOOP_DECL void close();

  private:
    template <spawnable F>
    friend detail::spawn_result<F> run(F&& main, run_options options);

    enum class state
    {
        created,
        initialized,
        closed
    };

    POLYLOOP_DECL void before_run() const;
    void initialize();
    /// The run's own first, the policy's others after it.
    std::vector<std::shared_ptr<event_loop>> all_loops() const;

    /// What a main task set is there in the next run (S56).
    struct locals_keeper
    {
        ~locals_keeper()
        {
            if (main.done())
                locals = main.get().locals();
        }
        detail::locals_ptr& locals;
        task<> main;
    };

    run_options options_;
    detail::locals_ptr locals_; // the thread's when the loop was made
    state state_ = state::created;
    std::shared_ptr<event_loop_policy> policy_; // null where a factory stands in its place
    std::shared_ptr<event_loop> loop_;
    bool bound_ = false; // S50 applied
    detail::interruption signals_;
    bool keeps_signals_ = false; // from the end of a run to `close`
};

/// Runs `main` to its end on a new loop under a policy, and leaves nothing behind: asyncio.run
/// (S68 to S76). The way into most programs.
///
/// Throws what `main` throws, and what `runner` throws: `error::nested_run` above all. That finds
/// running loops; inside a handler of an `io_context` that the application runs itself nothing is
/// known of one, and the run just blocks that handler. Blocks the thread.
template <spawnable F>
detail::spawn_result<F> run(F&& main, run_options options)
{
    runner r(std::move(options));
    r.keeps_signals_ = true;
    if constexpr (std::is_void_v<detail::spawn_result<F>>)
    {
        r.run(std::forward<F>(main));
        r.close();
    }
    else
    {
        decltype(auto) result = r.run(std::forward<F>(main));
        r.close();
        return std::forward<decltype(result)>(result);
    }
}

} // namespace polyloop

#endif
