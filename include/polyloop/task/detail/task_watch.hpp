// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_TASK_WATCH_HPP
#define POLYLOOP_TASK_DETAIL_TASK_WATCH_HPP

#include <polyloop/task/detail/rendezvous.hpp>

#include <cstddef>
#include <memory>
#include <span>

namespace polyloop::detail {

/// Waits for the ends of several tasks.
///
/// Invariant: each node in a task's list counts the watch, which so outlives who waits by the
/// notifications that are under way.
class POLYLOOP_DECL task_watch final : public rendezvous
{
  public:
    enum class goal : std::uint8_t
    {
        all,
        first_completed,
        first_failed, ///< by another error than a cancellation
        first_error   ///< or by one
    };
    static constexpr std::size_t none = ~std::size_t(0);

    static boost::intrusive_ptr<task_watch> make(std::span<task_ptr const> tasks, goal g);

    /// Until the goal is met or all have ended. Throws `error::not_in_fiber` where that would
    /// block a handler, and `operation_aborted` (as an outcome) where the caller is cancelled.
    outcome wait(steady_time limit = steady_time::max());

    void change_goal(goal g) noexcept;

    /// Which task ended first by an error, of the kind that the first goal says.
    std::size_t failed() noexcept;

    /// Out of the lists of the tasks; nothing is awaited any more.
    void leave() noexcept;

  private:
    struct node : join_waiter
    {
        node() noexcept : join_waiter(&task_watch::on_done)
        {
        }
        task_watch* watch = nullptr;
        task_ptr task;
    };

    task_watch(std::span<task_ptr const> tasks, goal g);
    ~task_watch() override = default;

    static void on_done(join_waiter* w);
    void ended(node& n) noexcept;
    bool met() const noexcept;
    bool is_failure(task_base const& t) const noexcept;

    std::size_t const size_;
    std::unique_ptr<node[]> const nodes_;

    // under the lock
    goal goal_;
    goal const first_goal_;
    std::size_t ended_ = 0;
    std::size_t failed_ = none;
};

/// Leaves a watch with its scope.
class watching
{
  public:
    watching(std::span<task_ptr const> tasks, task_watch::goal g)
        : watch_(task_watch::make(tasks, g))
    {
    }
    watching(watching const&) = delete;
    watching& operator=(watching const&) = delete;
    ~watching()
    {
        watch_->leave();
    }
    task_watch* operator->() const noexcept
    {
        return watch_.get();
    }

  private:
    boost::intrusive_ptr<task_watch> const watch_;
};

} // namespace polyloop::detail

#endif
