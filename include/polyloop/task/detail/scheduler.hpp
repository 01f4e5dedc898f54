// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_SCHEDULER_HPP
#define POLYLOOP_TASK_DETAIL_SCHEDULER_HPP

#include <polyloop/task/detail/fiber.hpp>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace polyloop::detail {

/// The tasks of one loop: makes them ready, knows who lives, cancels and unwinds them.
class POLYLOOP_DECL scheduler final : public task_registry
{
  public:
    /// The loop's scheduler, made at first need.
    POLYLOOP_DECL static scheduler& of(loop_core& core);

    explicit scheduler(loop_core& core);
    ~scheduler() override;

    loop_core& core() const noexcept
    {
        return core_;
    }
    stack_pool& stacks() const noexcept
    {
        return *stacks_;
    }

    /// Counts the task among the living and makes it ready for the first time. Throws
    /// `error::loop_closed`; then the task is the caller's.
    POLYLOOP_DECL void start(task_base& t);

    /// The strand that serialises a new task: `wanted`, or one of its own where the loop needs one.
    POLYLOOP_DECL strand_ptr serialise(strand_core* wanted);

    context::id_type next_id() noexcept
    {
        if (!core_.single() || !core_.on_loop())
            return draw_context_ids();
        if (next_id_ == last_id_)
        {
            next_id_ = draw_context_ids(id_block);
            last_id_ = next_id_ + id_block;
        }
        return next_id_++;
    }

    // -- for tasks, in their serial context

    /// Enters a task among the living, at its first turn at the latest.
    void link(task_base& t) noexcept;
    void link_arrived(task_base& t) noexcept
    {
        if (!t.linked_) [[unlikely]]
        {
            link(t);
            incoming_.fetch_sub(1, std::memory_order_relaxed);
        }
    }
    /// Takes an ended task out; says whether its error was reported.
    bool unlink(task_base& t, std::exception_ptr const& failure) noexcept;

    // -- task_registry

    std::size_t size() const noexcept override
    {
        return static_cast<std::size_t>(linked_.load(std::memory_order_relaxed) +
                                        incoming_.load(std::memory_order_relaxed));
    }
    void cancel_all(std::function<void()> done,
                    std::function<void(exception_context const&)> failed) override;
    std::vector<std::string> describe() const override;
    void unwind() noexcept override;
    void detach() noexcept override;

  private:
    static constexpr context::id_type id_block = 256;

    loop_core& core_;
    stack_pool* stacks_; // orphaned rather than deleted
    context::id_type next_id_ = 0;
    context::id_type last_id_ = 0;
    mutable std::mutex mutex_; // the list, on a loop of higher concurrency
    task_base* first_ = nullptr;
    std::size_t round_size_ = 0;
    std::function<void()> round_done_;
    std::function<void(exception_context const&)> round_failed_;
    std::atomic<std::ptrdiff_t> linked_ = 0; // one writer at a time, so no atomic arithmetic
    alignas(64) std::atomic<std::ptrdiff_t> incoming_ = 0; // on their way from other threads
};

} // namespace polyloop::detail

#endif
