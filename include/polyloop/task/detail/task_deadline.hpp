// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_TASK_DEADLINE_HPP
#define POLYLOOP_TASK_DETAIL_TASK_DEADLINE_HPP

#include <polyloop/task/detail/task_base.hpp>

namespace polyloop::detail {

/// The running task; throws `error::not_in_fiber` outside of one.
POLYLOOP_DECL task_base& running_task();

/// `asio::error::timed_out`, the form that the end of a deadline takes.
[[noreturn]] POLYLOOP_DECL void throw_timed_out();

/// When something that lasts at most `d` from now is over. Now is the time of the batch.
inline steady_time deadline_of(std::chrono::nanoseconds d, loop_core& core) noexcept
{
    return saturating_add(core.time(), d);
}
inline steady_time deadline_of(steady_time when, loop_core&) noexcept
{
    return when;
}

/// A limit on what the running task does while the object lives: an entry of its loop's timer
/// queue, in the frame. It expires by cancelling the task.
///
/// Invariant: taking the entry out of the queue decides whether it expired; where several threads
/// run the loop, an `expire` that was under way has then ended.
class task_deadline : private timer_node
{
  public:
    /// In the task. Throws `std::bad_alloc`.
    task_deadline(task_base& t, steady_time until)
        : task_(t), cancelling_(t.cancelling()), pending_(t.cancel_ahead())
    {
        when = until;
        expire = &task_deadline::on_expire;
        if (until <= t.core().time()) [[unlikely]]
            t.cancel(&nth_); // at the first wait, which a timer might come too late for
        else
            t.core().insert_timer(*this);
    }
    task_deadline(task_deadline const&) = delete;
    task_deadline& operator=(task_deadline const&) = delete;
    ~task_deadline()
    {
        leave();
    }

    /// Ends it, in the task, for a cancellation that reaches the end of the scope. Returns whether
    /// that is the deadline's own: it expired, and nobody else asked for one since it began. Else
    /// it is told as that of whoever did, and this once.
    bool cancelled() noexcept
    {
        if (leave())
            return true;
        if (expired_)
            task_.meet_cancels();
        return false;
    }

  private:
    bool leave() noexcept
    {
        if (left_)
            return false;
        left_ = true;
        expired_ = !task_.core().erase_timer(*this);
        return expired_ && settle();
    }

    static void on_expire(timer_node* n)
    {
        auto* self = static_cast<task_deadline*>(n);
        self->task_.cancel(&self->nth_);
    }

    /// Takes the deadline's request back, with the cancellation if that was not delivered.
    POLYLOOP_DECL bool settle() noexcept;

    task_base& task_;
    int const cancelling_; ///< requests that stood when it began
    bool const pending_;   ///< one of them was still to be delivered
    int nth_ = 0;          ///< how many stood with the deadline's own
    bool left_ = false;
    bool expired_ = false; ///< known once it is left
};

} // namespace polyloop::detail

#endif
