// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_COROUTINE_TASK_HPP
#define POLYLOOP_TASK_DETAIL_COROUTINE_TASK_HPP

#include <polyloop/loop/detail/executor_base.hpp>
#include <polyloop/task/detail/task_value.hpp>
#include <polyloop/task/detail/scheduler.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/this_coro.hpp>

#include <chrono>
#include <exception>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

/// A task that is a coroutine of Asio: runs in slices, each a handler.
class POLYLOOP_DECL coroutine : public task_base
{
  public:
    POLYLOOP_DECL explicit coroutine(birth const& b);

    /// Runs one slice, with the task on the frame. In the serial context, in a bare handler or in
    /// the coroutine itself.
    template <class F>
    void slice(F& f)
    {
        core_entry const entry(core());
        thread_frame& frame = this_frame();
        frame.fiber = this;
        frame.strand = strand();
        steady_time const begin =
            core().debug() ? std::chrono::steady_clock::now() : steady_time();
        f();
        settle(begin);
    }

    bool may_run_here() const noexcept
    {
        return this_frame().fiber == this || task_base::may_run_here();
    }

    /// The coroutine is being told of its cancellation.
    bool emits() const noexcept
    {
        return emitting_;
    }

    asio::cancellation_slot slot() noexcept
    {
        return signal_.slot();
    }

    POLYLOOP_DECL void abort_wait() noexcept override;

  protected:
    ~coroutine() override = default;

    POLYLOOP_DECL bool interrupt() noexcept override;

    /// Hands the coroutine to Asio.
    virtual void launch() = 0;

    core_ptr core_kept_; // the task lies on the heap, so nothing else keeps the core for it

  private:
    POLYLOOP_DECL static void act(ready_node* n, verb v);
    POLYLOOP_DECL void settle(steady_time begin) noexcept;

    POLYLOOP_DECL void emit() noexcept;

    asio::cancellation_signal signal_;
    bool emitting_ = false;
    int unwound_ = 0; ///< waits that were refused while the loop unwinds
};

/// The executor of a coroutine task, `co_await this_coro::executor` there: its serial context,
/// with the task on the frame. Counted, since I/O objects keep it.
class coroutine_executor : public executor_base<coroutine_executor>
{
  public:
    explicit coroutine_executor(coroutine& c) noexcept : task_(&c)
    {
    }
    coroutine_executor(coroutine_executor const& other) noexcept : task_(other.task_)
    {
        copy_bits(other);
        track();
    }
    coroutine_executor(coroutine_executor&& other) noexcept : task_(std::move(other.task_))
    {
        set_bits(other.take_bits());
    }
    coroutine_executor& operator=(coroutine_executor const&) = delete;
    ~coroutine_executor()
    {
        untrack();
    }

    loop_core& core() const noexcept
    {
        return task_->core();
    }

    template <class F>
    void execute(F&& f) const
    {
        if (!never_blocks() && task_->may_run_here())
        {
            std::decay_t<F> g(std::forward<F>(f));
            if (this_frame().fiber == task_.get())
                g();
            else
                task_->slice(g);
            return;
        }
        task_->post([t = task_, g = std::decay_t<F>(std::forward<F>(f))]() mutable {
            t->slice(g);
        });
    }

    friend bool operator==(coroutine_executor const& a, coroutine_executor const& b) noexcept
    {
        return a.task_ == b.task_;
    }
    friend bool operator!=(coroutine_executor const& a, coroutine_executor const& b) noexcept
    {
        return a.task_ != b.task_;
    }

  private:
    boost::intrusive_ptr<coroutine> task_;
};

template <class F, class T>
class coroutine_task final : public coroutine
{
  public:
    template <class G>
    static coroutine_task* make(birth const& b, G&& f)
    {
        return new coroutine_task(b, std::forward<G>(f));
    }

  private:
    template <class G>
    coroutine_task(birth const& b, G&& f)
        : coroutine(b), callable_(std::in_place, std::forward<G>(f))
    {
        if constexpr (!std::is_void_v<T>)
            set_result(&stored_);
    }

    // A coroutine of ours around the user's: Asio's own cancellation is for good, every later
    // wait would throw again, where asyncio's is delivered once.
    static asio::awaitable<void> body(coroutine_task* self, F f)
    {
        co_await asio::this_coro::throw_if_cancelled(false);
        if constexpr (std::is_void_v<T>)
            co_await f();
        else
            self->stored_.value.emplace(co_await f());
    }

    /// Asio's completion handler; destroyed without a call where the loop takes the coroutine
    /// down with it.
    class ending
    {
      public:
        explicit ending(coroutine_task& t) noexcept : task_(&t)
        {
        }
        ending(ending&& other) noexcept : task_(std::exchange(other.task_, nullptr))
        {
        }
        ending& operator=(ending&&) = delete;
        ~ending()
        {
            if (task_)
                end(std::make_exception_ptr(boost::system::system_error(
                    boost::system::error_code(asio::error::operation_aborted))));
        }
        void operator()(std::exception_ptr e)
        {
            end(std::move(e));
        }

      private:
        void end(std::exception_ptr e) noexcept
        {
            coroutine_task* const t = std::exchange(task_, nullptr);
            // What co_spawn left there holds the task's executor, and so the task.
            t->slot().clear();
            t->finish(std::move(e));
            t->left();
        }

        coroutine_task* task_;
    };

    void launch() override
    {
        asio::co_spawn(
            coroutine_executor(*this),
            [this, f = std::move(*callable_)]() mutable { return body(this, std::move(f)); },
            asio::bind_cancellation_slot(slot(), ending(*this)));
        callable_.reset();
    }

    void dispose() noexcept override
    {
        core_ptr const keep = std::move(core_kept_);
        delete this;
    }

    ~coroutine_task() override = default;

    std::optional<F> callable_;
    task_value<T> stored_;
};

} // namespace polyloop::detail

#endif
