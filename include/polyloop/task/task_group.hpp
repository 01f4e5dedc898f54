// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_TASK_GROUP_HPP
#define POLYLOOP_TASK_TASK_GROUP_HPP

#include <polyloop/task/detail/group_state.hpp>
#include <polyloop/task/exception_group.hpp>
#include <polyloop/task/spawn.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <cstddef>
#include <functional>
#include <type_traits>
#include <utility>

namespace polyloop {

namespace detail {

struct group_with_body
{
};

} // namespace detail

/// Tasks that live and end together: asyncio.TaskGroup.
///
/// The first child that fails closes the group and cancels the others; a child that ends by a
/// cancellation is no failure. When all have ended, `join` throws an `exception_group` of what
/// they threw. Prefer `with_task_group`, whose body a failing child interrupts too; the owner of a
/// plain group learns of it in `join`.
///
/// States: open, until it is cancelled, a child failed or the body ended by an exception, or the
/// last child of a joined group ended; closed after that, when `spawn` throws
/// `error::group_closed`. While `join` waits the children may spawn more.
///
/// Thread safety: `spawn`, `cancel` and `size` from any thread and task while the group lives;
/// `join` and the destructor are the owner's.
class task_group
{
  public:
    /// Open and empty. The running task, or plain thread, owns it.
    task_group() : state_(new detail::group_state(false))
    {
    }

    task_group(task_group const&) = delete;
    task_group& operator=(task_group const&) = delete;

    /// Where it was not joined: cancels the children, waits for them (suspends the fiber, blocks
    /// the thread), and reports their errors to the exception handler. In a coroutine and in a bare
    /// handler, which cannot wait here, the children end on their own.
    ~task_group()
    {
        state_->abandon();
    }

    /// As the free functions `spawn`. What the children threw is the group's to tell.
    template <spawnable F>
    auto spawn(F&& f, spawn_options options = {},
               detail::call_site site = detail::call_site(std::source_location::current()))
    {
        return admit(
            [&] { return polyloop::spawn(std::forward<F>(f), std::move(options), site); });
    }
    template <spawnable F>
    auto spawn(event_loop& loop, F&& f, spawn_options options = {},
               detail::call_site site = detail::call_site(std::source_location::current()))
    {
        return admit(
            [&] { return polyloop::spawn(loop, std::forward<F>(f), std::move(options), site); });
    }
    template <spawnable F>
    auto spawn(strand const& s, F&& f, spawn_options options = {},
               detail::call_site site = detail::call_site(std::source_location::current()))
    {
        return admit(
            [&] { return polyloop::spawn(s, std::forward<F>(f), std::move(options), site); });
    }

    /// Waits until all children have ended, those spawned meanwhile included; a second call returns
    /// at once. Suspends a fiber, blocks a plain thread; throws `error::not_in_fiber` elsewhere.
    ///
    /// Throws `exception_group` where children failed. A cancellation that meets the wait cancels
    /// the children, and is thrown when they have ended; if some failed, their errors
    /// are thrown, and the cancellation is delivered at the next suspension.
    POLYLOOP_DECL void join();

    /// Closes the group and cancels its children and the body of `with_task_group`; that is no
    /// error to either.
    void cancel() noexcept
    {
        state_->cancel();
    }

    /// How many children have not ended.
    std::size_t size() const noexcept
    {
        return state_->size();
    }

    // For with_task_group.
    explicit task_group(detail::group_with_body) : state_(new detail::group_state(true))
    {
    }
    detail::group_state& state() const noexcept
    {
        return *state_;
    }

  private:
    template <class Spawn>
    auto admit(Spawn spawn_child)
    {
        auto place = state_->admit();
        decltype(spawn_child()) t;
        try
        {
            t = spawn_child();
        }
        catch (...)
        {
            state_->retract();
            throw;
        }
        state_->add(std::move(place), t.get());
        return t;
    }

    boost::intrusive_ptr<detail::group_state> const state_;
};

namespace detail {

template <class F>
asio::awaitable<void> await_task_group(F body)
{
    task_group group{group_with_body()};
    std::exception_ptr thrown;
    try
    {
        co_await std::invoke(body, group);
    }
    catch (...)
    {
        thrown = std::current_exception();
    }
    group_exit way_out(group.state(), std::move(thrown));
    while (!way_out.finished())
        way_out.met(co_await way_out.async_wait(asio::use_awaitable));
    way_out.conclude();
}

} // namespace detail

/// Calls `body(task_group&)` and waits for the children: `async with asyncio.TaskGroup()`.
///
/// A body that throws closes the group and cancels the children. A child that fails, and
/// `cancel()`, cancel the body too, which meets `operation_aborted` at its present or next
/// wait, or `group_closed` from `spawn`; that is taken back when all have ended. Throws an
/// `exception_group` of what children and body threw; `operation_aborted` where the body ended so,
/// or the owner was cancelled, and nobody failed. Where both happened, the errors come first, and
/// the cancellation is delivered at the next suspension.
///
/// Suspends a fiber, blocks a plain thread (whose body nobody can interrupt). A body that returns
/// `asio::awaitable<void>` gives an `asio::awaitable<void>`, for coroutine tasks.
template <class F>
auto with_task_group(F&& body)
{
    static_assert(std::is_invocable_v<F, task_group&>,
                  "polyloop: with_task_group needs a callable that takes a task_group&");
    if constexpr (detail::spawned<std::invoke_result_t<F, task_group&>>::is_coroutine)
        return detail::await_task_group<std::decay_t<F>>(std::forward<F>(body));
    else
    {
        detail::require_waitable();
        task_group group{detail::group_with_body()};
        std::exception_ptr thrown;
        try
        {
            std::invoke(std::forward<F>(body), group);
        }
        catch (...)
        {
            thrown = std::current_exception();
        }
        detail::group_exit way_out(group.state(), std::move(thrown));
        way_out.wait();
        way_out.conclude();
    }
}

} // namespace polyloop

#endif
