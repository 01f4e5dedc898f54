// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_FIBER_HPP
#define POLYLOOP_TASK_DETAIL_FIBER_HPP

#include <polyloop/task/detail/stack_pool.hpp>
#include <polyloop/task/detail/task_base.hpp>

namespace polyloop::detail {

/// What a fiber waits for: a place in its own frame.
struct fiber_wait
{
    enum class reason : std::uint8_t
    {
        cancel, ///< the task was cancelled
        unwind  ///< the loop is being closed
    };

    explicit fiber_wait(bool (*i)(fiber_wait&, reason)) noexcept : interrupt(i)
    {
    }

    /// In the serial context: sees to it that the wait ends early, and returns whether it
    /// will. False where it was granted already or cannot be cancelled.
    bool (*interrupt)(fiber_wait&, reason);
};

class wait_name;

/// A stackful task.
class POLYLOOP_DECL fiber : public task_base
{
  public:
    explicit fiber(birth const& b);

    /// Suspends until `wake`. In the fiber itself.
    POLYLOOP_DECL void suspend(fiber_wait& w) noexcept;
    /// The same, inline, on the calling thread's frame; in suspend.hpp. The caller touches nothing
    /// thread-local afterwards.
    void suspend_in(thread_frame& frame, fiber_wait& w) noexcept;

    /// The same for inline code, so that the fiber comes back right where it waits: with
    /// `leave_for` it is as good as gone, and the caller does the jump. A return that the processor
    /// cannot foresee costs as much as the switch, and between fibers that wait at different places
    /// every function's would.
    void wait_here(fiber_wait& w) noexcept
    {
#if defined(POLYLOOP_SWITCH_INLINE)
        if (departure const d = leave_for(w); d.to) [[likely]]
            go(d);
        waiting_ = nullptr;
#else
        suspend(w);
#endif
    }
    /// Null where the library was built for another way to switch, and the wait is over.
    POLYLOOP_DECL departure leave_for(fiber_wait& w) noexcept;

    /// Throws `operation_aborted` where a cancellation waits or the loop unwinds: at the start of
    /// each wait.
    void check_cancel()
    {
        if (interrupted()) [[unlikely]]
            throw_cancelled();
    }
    bool may_be_interrupted() const noexcept
    {
        return cancel_pending() || core().unwinding();
    }
    /// The same as an answer; a cancellation counts as delivered then.
    bool interrupted() noexcept
    {
        return take_cancel() || (core().unwinding() && unwind());
    }

    /// Whether `frame`, the calling thread's, is that of a bare handler of the fiber's single loop:
    /// the fiber, or a step of what it waits for, may go on there.
    bool is_next_in(thread_frame const& frame) const noexcept
    {
        return frame.core == &core() && !frame.fiber && core().single();
    }

    /// Off its stack, and not yet on its way back.
    bool suspended() const noexcept
    {
        return suspended_;
    }

    /// Switches to the fiber from a bare handler in its serial context; returns when the thread has
    /// nothing more to run of the loop's fibers for now.
    POLYLOOP_DECL void resume() noexcept;

    /// The stack; null before the start and after the end.
    stack_slot* slot() const noexcept
    {
        return slot_;
    }

    /// Bytes of its stack, once ended; 0 where that is not measured.
    std::size_t stack_used() const noexcept
    {
        return stack_used_;
    }

    void abort_wait() noexcept override;
    std::string waits_for() const override;

  protected:
    bool interrupt() noexcept override;

    /// Before `finish`.
    void note_stack_use() noexcept
    {
        if (slot_->pool->paints()) [[unlikely]]
            stack_used_ = slot_->used();
    }

    /// Runs the callable, unless it was cancelled before, and ends it.
    virtual void execute() noexcept = 0;

    friend class scheduler;

  private:
    POLYLOOP_DECL static void act(ready_node* n, verb v);
    void take_turn(thread_frame& frame) noexcept;
    void take_careful_turn(thread_frame& frame) noexcept;
    static void main(execution* from) noexcept;
    execution* next_in(thread_frame& frame) noexcept;
    departure depart_in(thread_frame& frame) noexcept;
    void end() noexcept;
    bool take_stack() noexcept;
    void enter(thread_frame& frame, carrier& on) noexcept;
    friend void yield_current();
    friend departure leave_to_yield();
    POLYLOOP_DECL bool unwind() noexcept;

    stack_slot* slot_ = nullptr;
    std::size_t stack_used_ = 0;
    carrier* carrier_ = nullptr; ///< the thread, and the stack to go back to when nothing is ready
    fiber_wait* waiting_ = nullptr;
    bool suspended_ = true;
    int unwound_ = 0; ///< waits that were refused while the loop unwinds
};

/// Around a step that a fiber's wait makes in a bare handler of its single loop (`is_next_in`):
/// what `core_entry` is to other handlers.
class resumption
{
  public:
    resumption(fiber& f, thread_frame& frame) noexcept
        : core_(f.core()), frame_(frame), strand_(frame.strand)
    {
        core_.enter();
        frame.strand = f.strand();
    }
    resumption(resumption const&) = delete;
    resumption& operator=(resumption const&) = delete;
    ~resumption()
    {
        frame_.strand = strand_;
        core_.leave();
    }

  private:
    loop_core& core_;
    thread_frame& frame_;
    context_node* const strand_;
};

/// The running fiber; null outside of one, in coroutine tasks too.
POLYLOOP_DECL fiber* try_current_fiber() noexcept;

/// The same; throws `error::not_in_fiber`.
POLYLOOP_DECL fiber& current_fiber();

/// `this_fiber::yield`, for the library's own sources.
POLYLOOP_DECL void yield_current();
/// The same for inline code; see `fiber::wait_here`.
POLYLOOP_DECL departure leave_to_yield();
inline void yield_here()
{
#if defined(POLYLOOP_SWITCH_INLINE)
    if (departure const d = leave_to_yield(); d.to) [[likely]]
        go(d);
#else
    yield_current();
#endif
}

/// The running task, fiber or coroutine; null outside.
POLYLOOP_DECL task_base* current_task() noexcept;

} // namespace polyloop::detail

#endif
