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
    static scheduler& of(loop_core& core)
    {
        if (task_registry* const r = core.registry()) [[likely]]
            return *static_cast<scheduler*>(r);
        return make(core);
    }

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

    /// Counts the task among the living and makes it ready for the first time. False where the
    /// loop is closed; then the task is the caller's.
    POLYLOOP_DECL bool start(task_base& t);
    /// The same on a single loop's own thread.
    void start_near(task_base& t) noexcept
    {
        link_here(t);
        core_.push_local(t);
    }

    /// The strand that serialises a new task: `wanted`, or one of its own where the loop needs one.
    POLYLOOP_DECL strand_ptr serialise(strand_core* wanted);

    /// `near`: on a single loop's own thread.
    context::id_type next_id(bool near) noexcept
    {
        if (!near) [[unlikely]]
            return draw_context_ids();
        if (next_id_ == last_id_) [[unlikely]]
        {
            next_id_ = draw_context_ids(id_block);
            last_id_ = next_id_ + id_block;
            stacks_->tick();
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
    /// The same on a single loop, where there is nothing more to do; false where there is.
    bool unlink_plain(task_base& t) noexcept
    {
        if (t.in_round_ || !t.linked_) [[unlikely]]
            return false;
        unlink_here(t);
        return true;
    }

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
    void tick() noexcept override;
    void detach() noexcept override;

  private:
    static constexpr context::id_type id_block = 256;

    void report_pending() const noexcept;

    POLYLOOP_DECL static scheduler& make(loop_core& core);

    // The list of the living, in the serial context or under the lock.
    void link_here(task_base& t) noexcept
    {
        t.linked_ = true;
        t.next_ = first_;
        if (first_)
            first_->prev_ = &t;
        first_ = &t;
        std::ptrdiff_t const n = linked_.load(std::memory_order_relaxed);
        linked_.store(n + 1, std::memory_order_relaxed);
        // Waiting tasks are work: an adopted io_context must not run out of it.
        if (n == 0) [[unlikely]]
            core_.work_started();
    }
    void unlink_here(task_base& t) noexcept
    {
        (t.prev_ ? t.prev_->next_ : first_) = t.next_;
        if (t.next_)
            t.next_->prev_ = t.prev_;
        t.linked_ = false;
        std::ptrdiff_t const n = linked_.load(std::memory_order_relaxed);
        linked_.store(n - 1, std::memory_order_relaxed);
        if (n == 1) [[unlikely]]
            core_.work_finished();
    }

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

/// What a new task is told: whose it is, and whether it is made on its single loop's own thread.
struct birth
{
    birth(loop_core& core, strand_core* wanted)
        : sched(scheduler::of(core)), near(core.single() && core.on_loop()),
          serial(core.single() ? strand_ptr(wanted) : sched.serialise(wanted))
    {
    }
    /// On the own thread of `here`, a single loop, and on no strand.
    explicit birth(loop_core& here) : sched(scheduler::of(here)), near(true)
    {
    }

    scheduler& sched;
    bool const near;
    strand_ptr const serial;
};

inline task_base::task_base(birth const& b, ready_node::action run, node_kind k)
    : context_node(context_kind::fiber, b.sched.next_id(b.near)), ready_node(run, k),
      sched_(b.sched), core_(b.sched.core()), strand_(b.serial),
      refs_(b.near || core_.single() ? 1 : 2)
{
}

inline fiber::fiber(birth const& b) : task_base(b, &fiber::act, node_kind::fiber)
{
}

} // namespace polyloop::detail

#endif
