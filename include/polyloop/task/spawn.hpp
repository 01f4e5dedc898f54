// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_SPAWN_HPP
#define POLYLOOP_TASK_SPAWN_HPP

#include <polyloop/loop/detail/callable.hpp>
#include <polyloop/loop/event_loop.hpp>
#include <polyloop/loop/strand.hpp>
#include <polyloop/policy/event_loop_policy.hpp>
#include <polyloop/task/detail/coroutine_task.hpp>
#include <polyloop/task/detail/fiber_task.hpp>
#include <polyloop/task/task.hpp>

#include <boost/asio/awaitable.hpp>

#include <concepts>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>

namespace polyloop {

struct spawn_options
{
    /// Shown in messages and by `this_context::current()`; `fiber-<id>` if empty.
    std::string name = {};

    /// For the placement `by_key`: tasks of equal keys live on the same loop.
    std::string key = {};
};

/// What can be spawned: anything that can be moved and called without arguments.
template <class F>
concept spawnable = std::invocable<std::decay_t<F>&> && std::move_constructible<std::decay_t<F>> &&
                    std::constructible_from<std::decay_t<F>, F>;

namespace detail {

template <class R>
struct spawned
{
    using type = R;
    static constexpr bool is_coroutine = false;
};
template <class T>
struct spawned<asio::awaitable<T>>
{
    using type = T;
    static constexpr bool is_coroutine = true;
};
template <class T, class Executor>
struct spawned<asio::awaitable<T, Executor>>
{
    static_assert(!std::is_same_v<T, T>,
                  "polyloop: spawn takes coroutines of type asio::awaitable<T>; those bound to "
                  "another executor type cannot run on a task's executor");
};

template <class F>
using spawn_traits = spawned<std::invoke_result_t<std::decay_t<F>&>>;
template <class F>
using spawn_result = typename spawn_traits<F>::type;

template <class F>
using spawned_task = std::conditional_t<spawn_traits<F>::is_coroutine,
                                        coroutine_task<std::decay_t<F>, spawn_result<F>>,
                                        fiber_task<std::decay_t<F>, spawn_result<F>>>;

/// On the own thread of `here`, a single loop that is not `unusual`: what most spawns are, without
/// a question that has an answer then.
template <class F>
task<spawn_result<F>> spawn_here(loop_core& here, F&& f)
{
    refuse_empty(f);
    birth const b(here);
    task_base* const t = spawned_task<F>::make(b, std::forward<F>(f));
    b.sched.start_near(*t);
    return task<spawn_result<F>>(task_ptr(t, false));
}

template <class F>
task<spawn_result<F>> spawn_on(loop_core& core, strand_core* wanted, F&& f, spawn_options& options,
                               call_site const& site)
{
    refuse_empty(f);
    bool const unusual = core.unusual();
    if (unusual) [[unlikely]]
        core.require_open();
    birth const b(core, wanted);
    task_base* const t = spawned_task<F>::make(b, std::forward<F>(f));
    task<spawn_result<F>> handle(task_ptr(t, false));
    if (!options.name.empty())
        t->set_name(std::move(options.name));
    if (unusual) [[unlikely]]
        t->set_origin(site.where); // for messages, in debug mode
    if (b.near) [[likely]]
        b.sched.start_near(*t);
    else if (!b.sched.start(*t))
    {
        t->left(); // it never started
        throw_error(error::loop_closed);
    }
    return handle;
}

} // namespace detail

/// Runs `f` in a task of its own on `loop`, never at once (S33).
///
/// An `f` that returns `asio::awaitable<T>` becomes a coroutine, with an executor that knows the
/// task; any other a fiber, which waits with `use_fiber`. Both are contexts of kind fiber and give
/// `task<T>`. On a loop of concurrency above 1 each task has a strand of its own.
///
/// `errno` and the exceptions that are being handled belong to the fiber; the floating-point
/// environment (rounding, traps) is its thread's: who changes it puts it back before waiting.
///
/// A coroutine that is cancelled has its present operation cancelled, once; operations that
/// Asio cannot cancel (`post`) are not interrupted.
///
/// Throws `error::loop_closed`, `std::bad_alloc`, and `error::bad_config` for an empty
/// `std::function` or null pointer. A fiber gets its stack when it starts; where none can be made
/// it ends by the system's error. Thread safety: from any thread.
///
/// In debug mode messages about the task say where it was spawned: leave `site` alone (S82).
template <spawnable F>
auto spawn(event_loop& loop, F&& f, spawn_options options = {},
           detail::call_site site = detail::call_site(std::source_location::current()))
{
    return detail::spawn_on(loop.core(), nullptr, std::forward<F>(f), options, site);
}

/// The same on the loop where the policy in force places it. Throws besides what the policy's
/// `place` throws, `error::no_current_loop` above all.
template <spawnable F>
auto spawn(F&& f, spawn_options options,
           detail::call_site site = detail::call_site(std::source_location::current()))
{
    event_loop& loop = detail::place_context(
        {.kind = context_kind::fiber, .key = options.key, .name = options.name});
    return detail::spawn_on(loop.core(), nullptr, std::forward<F>(f), options, site);
}
template <spawnable F>
auto spawn(F&& f, detail::call_site site = detail::call_site(std::source_location::current()))
{
    if (detail::loop_core* const here = detail::placed_here(); here && !here->unusual()) [[likely]]
        return detail::spawn_here(*here, std::forward<F>(f));
    return spawn(std::forward<F>(f), spawn_options(), site);
}

/// The same on a strand: the task holds it while it runs, and releases it while it waits.
template <spawnable F>
auto spawn(strand const& s, F&& f, spawn_options options = {},
           detail::call_site site = detail::call_site(std::source_location::current()))
{
    return detail::spawn_on(s.core(), &s.state(), std::forward<F>(f), options, site);
}

} // namespace polyloop

#endif
