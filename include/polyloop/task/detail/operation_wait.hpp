// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_OPERATION_WAIT_HPP
#define POLYLOOP_TASK_DETAIL_OPERATION_WAIT_HPP

#include <polyloop/loop/detail/executor_base.hpp>
#include <polyloop/task/detail/fiber.hpp>
#include <polyloop/task/detail/operation_signal.hpp>

#include <boost/asio/error.hpp>

#include <cstddef>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

/// The executor of a waiting fiber's handlers: its serial context.
///
/// It makes every step of a composed operation run there, so that a cancellation, which is
/// emitted there, never meets a step on another thread. Not counted: it is valid, and used,
/// only while the wait lasts.
class fiber_executor : public executor_base<fiber_executor, false>
{
  public:
    explicit fiber_executor(fiber& f) noexcept : fiber_(&f)
    {
    }

    loop_core& core() const noexcept
    {
        return fiber_->core();
    }

    template <class F>
    void execute(F&& f) const
    {
        thread_frame& frame = this_frame();
        if (!never_blocks() && fiber_->is_next_in(frame)) [[likely]]
        {
            resumption const scope(*fiber_, frame);
            std::decay_t<F> g(std::forward<F>(f));
            g();
            return;
        }
        if (!never_blocks() && fiber_->may_run_here())
        {
            core_entry const entry(core());
            this_frame().strand = fiber_->strand();
            std::decay_t<F> g(std::forward<F>(f));
            g();
            return;
        }
        fiber_->post(std::forward<F>(f));
    }

    friend bool operator==(fiber_executor const& a, fiber_executor const& b) noexcept
    {
        return a.fiber_ == b.fiber_;
    }
    friend bool operator!=(fiber_executor const& a, fiber_executor const& b) noexcept
    {
        return a.fiber_ != b.fiber_;
    }

  private:
    fiber* fiber_;
};

/// A place for one operation at a time; more, or larger ones, go to the heap.
class operation_memory
{
  public:
    void* allocate(std::size_t n)
    {
        if (!used_ && n <= sizeof(place_))
        {
            used_ = true;
            return place_;
        }
        return ::operator new(n);
    }
    void deallocate(void* p) noexcept
    {
        if (p == place_)
            used_ = false;
        else
            ::operator delete(p);
    }

  private:
    alignas(std::max_align_t) std::byte place_[384];
    bool used_ = false;
};

template <class T>
class operation_allocator
{
  public:
    using value_type = T;

    explicit operation_allocator(operation_memory& m) noexcept : memory_(&m)
    {
    }
    template <class U>
    operation_allocator(operation_allocator<U> const& other) noexcept : memory_(other.memory_)
    {
    }

    T* allocate(std::size_t n)
    {
        static_assert(alignof(T) <= alignof(std::max_align_t));
        return static_cast<T*>(memory_->allocate(n * sizeof(T)));
    }
    void deallocate(T* p, std::size_t) noexcept
    {
        memory_->deallocate(p);
    }

    template <class U>
    bool operator==(operation_allocator<U> const& other) const noexcept
    {
        return memory_ == other.memory_;
    }

  private:
    template <class>
    friend class operation_allocator;

    operation_memory* memory_;
};

/// A fiber's wait for an operation, without its results.
///
/// Invariant: `completed_` and `interrupted_` are touched in the fiber's serial context only.
class POLYLOOP_DECL operation_wait : public fiber_wait
{
  public:
    explicit operation_wait(fiber& f) noexcept
        : fiber_wait(&operation_wait::on_interrupt), self(f)
    {
    }

    operation_memory& memory() noexcept
    {
        return memory_;
    }
    operation_slot slot() noexcept
    {
        return operation_slot(signal_);
    }

    /// The results are there: the fiber goes on, at once if it can.
    POLYLOOP_DECL void complete() noexcept;

    /// The operation was destroyed without completing.
    void abandon() noexcept
    {
        abandoned_ = true;
        complete();
    }

    fiber& self;

  protected:
    void suspend() noexcept
    {
        while (!completed_)
            self.suspend(*this);
    }
    bool completed() const noexcept
    {
        return completed_;
    }
    bool abandoned() const noexcept
    {
        return abandoned_;
    }
    bool interrupted() const noexcept
    {
        return interrupted_;
    }

    /// What the wait ends with, given what the operation did.
    boost::system::error_code outcome(boost::system::error_code e) noexcept
    {
        settle_cancel(e == boost::asio::error::operation_aborted);
        return e;
    }
    std::exception_ptr outcome(std::exception_ptr e) noexcept
    {
        settle_cancel(e != nullptr);
        return e;
    }
    /// A cancellation was emitted, and the operation ended as if it had not been: it is kept
    /// for the next suspension.
    void settle_cancel(bool operation_aborted) noexcept
    {
        if (interrupted_ && !operation_aborted)
            self.keep_cancel();
    }

    /// Cancels the operation. In the serial context, while it has not completed.
    POLYLOOP_DECL void emit() noexcept;

  private:
    POLYLOOP_DECL static bool on_interrupt(fiber_wait& w, reason why);
    static wait_name const name_;

    operation_signal signal_;
    operation_memory memory_;
    bool completed_ = false;
    bool interrupted_ = false;
    bool emitting_ = false;
    bool abandoned_ = false;
};

/// The same with a deadline, which cancels the operation when it expires.
///
/// Invariant: taking the entry out of the timer queue decides whether it expired. On a loop of
/// several threads an expiry reaches the fiber by a message, and the frame stays until that came.
class POLYLOOP_DECL timed_operation_wait : public operation_wait,
                                           private timer_node,
                                           private ready_node
{
  public:
    /// Throws `std::bad_alloc`.
    POLYLOOP_DECL timed_operation_wait(fiber& f, steady_time until);
    timed_operation_wait(timed_operation_wait const&) = delete;
    timed_operation_wait& operator=(timed_operation_wait const&) = delete;
    ~timed_operation_wait()
    {
        if (!self.core().erase_timer(*this) && on_its_way_) [[unlikely]]
            await_message();
    }

  protected:
    /// The deadline's own cancellation is told as `timed_out`; one from outside wins.
    boost::system::error_code outcome(boost::system::error_code e) noexcept
    {
        if (e == boost::asio::error::operation_aborted && expired_ && !interrupted())
            return boost::asio::error::timed_out;
        return operation_wait::outcome(e);
    }
    POLYLOOP_DECL std::exception_ptr outcome(std::exception_ptr e) noexcept;

  private:
    static void on_expire(timer_node* n);
    static void on_message(ready_node* n, verb v);
    void expire_now() noexcept;
    POLYLOOP_DECL void await_message() noexcept;

    bool on_its_way_ = false;
    bool leaving_ = false;
    bool expired_ = false;
};

} // namespace polyloop::detail

#endif
