// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_TO_THREAD_HPP
#define POLYLOOP_TASK_TO_THREAD_HPP

#include <polyloop/loop/detail/callable.hpp>
#include <polyloop/loop/event_loop.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <type_traits>
#include <utility>

namespace polyloop {

/// Calls `f`, which may block, on a thread of the running loop's default executor: a task that ends
/// with what `f` returns or throws (asyncio.to_thread, S78).
///
/// Joining it suspends the fiber, and the loop goes on. Cancelling it ends the task at once and
/// drops the result; an `f` that was begun runs to its end on its thread. `f` sees the caller's
/// `fiber_local` values, and is no task: it waits as a plain thread does.
///
/// Throws `error::no_running_loop`, and what `run_in_executor` throws: `error::loop_closed`,
/// `error::executor_shut_down` (S76), `error::bad_config` for an empty `f`.
template <spawnable F>
auto to_thread(F&& f, spawn_options options = {})
{
    using callable = std::decay_t<F>;
    using value = std::invoke_result_t<callable&>;
    static_assert(!detail::spawn_traits<F>::is_coroutine,
                  "polyloop: to_thread calls f on a plain thread, where a coroutine cannot run");
    detail::refuse_empty(f);
    event_loop& loop = get_running_loop();
    loop.core().default_executor(); // throws here rather than in the task
    return spawn(
        loop,
        [&loop, g = callable(std::forward<F>(f))]() mutable -> value {
            // Results need not be default-constructible on this way.
            auto stored = loop.run_in_executor(
                [h = std::move(g), locals = detail::share_locals()]() mutable {
                    detail::locals_scope const scope(std::move(locals));
                    detail::task_value<value> v;
                    v.set_from(h);
                    return v;
                },
                use_fiber);
            if constexpr (std::is_reference_v<value>)
                return *stored.value;
            else if constexpr (!std::is_void_v<value>)
                return std::move(*stored.value);
        },
        std::move(options));
}

} // namespace polyloop

#endif
