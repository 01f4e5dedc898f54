// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_TASK_BASE_HPP
#define POLYLOOP_TASK_DETAIL_TASK_BASE_HPP

#include <polyloop/context/detail/frame.hpp>
#include <polyloop/loop/detail/loop_core.hpp>
#include <polyloop/loop/detail/strand_core.hpp>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace polyloop::detail {

class scheduler;
struct birth;

/// For sections of a few instructions.
class spin_lock
{
  public:
    void lock() noexcept
    {
        while (flag_.exchange(true, std::memory_order_acquire))
            std::this_thread::yield();
    }
    void unlock() noexcept
    {
        flag_.store(false, std::memory_order_release);
    }

  private:
    std::atomic<bool> flag_ = false;
};

/// Somebody who waits for a task's end: a fiber, a thread, a completion handler.
struct join_waiter
{
    explicit join_waiter(void (*n)(join_waiter*)) noexcept : notify(n)
    {
    }

    join_waiter* prev = nullptr;
    join_waiter* next = nullptr;
    void (*notify)(join_waiter*); ///< once, on a thread of the task's loop
    bool queued = false;
    bool near = false; ///< in which of a task's lists
};

struct waiter_list
{
    join_waiter* first = nullptr;
    join_waiter* last = nullptr;

    void push(join_waiter& w) noexcept
    {
        w.prev = last;
        w.next = nullptr;
        (last ? last->next : first) = &w;
        last = &w;
        w.queued = true;
    }
    bool erase(join_waiter& w) noexcept
    {
        if (!w.queued)
            return false;
        (w.prev ? w.prev->next : first) = w.next;
        (w.next ? w.next->prev : last) = w.prev;
        w.queued = false;
        return true;
    }
    /// All of them, none queued any more, linked by `next`.
    join_waiter* take() noexcept
    {
        join_waiter* const all = std::exchange(first, nullptr);
        last = nullptr;
        for (join_waiter* w = all; w; w = w->next)
            w->queued = false;
        return all;
    }
};

/// A task, fiber or coroutine: its identity, its end, who waits for it, and its cancellation.
///
/// Invariants
/// - The task's *serial context* is its loop where that has concurrency 1 (a *single* loop), else
///   its strand. What is marked so is touched only there.
/// - `done_` is set once; who reads it as true sees result and error.
/// - A task lives until it has ended, left its stack, and lost its last handle. On a single loop
///   the way there has no atomic read-modify-write, as all but the handles' number belongs to
///   the loop's thread: the last handle is let go of there, or where the task has left already;
///   else the loop is sent the last reference (`attend`). On other loops the task counts itself.
/// - Who waits on the same single loop is in `near_`, everybody else in `far_`, under `lock_`. A
///   task of a single loop that ends may miss somebody who is being queued in `far_`: hence the
///   loop is told of each, and looks again.
/// - A waiter may touch the task until it is notified, and with a reference of its own after.
class POLYLOOP_DECL task_base : public context_node, public ready_node
{
  public:
    inline task_base(birth const& b, ready_node::action run, node_kind k);

    /// The calling thread is in the serial context of a task of a single loop.
    bool near() const noexcept
    {
        return core_.single() && core_.on_loop();
    }

    scheduler& sched() const noexcept
    {
        return sched_;
    }
    loop_core& core() const noexcept
    {
        return core_;
    }
    strand_core* strand() const noexcept
    {
        return strand_.get();
    }

    bool done() const noexcept
    {
        return done_.load(std::memory_order_acquire);
    }
    /// Once done: ended by a cancellation.
    bool cancelled() const noexcept
    {
        return cancelled_;
    }
    std::exception_ptr const& error() const noexcept
    {
        return error_;
    }
    /// Somebody was given the error, so that it need not be reported.
    void retrieved() noexcept
    {
        retrieved_.store(true, std::memory_order_relaxed);
    }
    void* result() const noexcept
    {
        return result_;
    }
    /// Whether the result, of a kind that cannot be copied, is the caller's.
    bool take_result() noexcept
    {
        return !taken_.exchange(true, std::memory_order_relaxed);
    }

    /// Queues `w`, or returns false where the task is done. `here`: on a single loop's own thread,
    /// it is taken off there only.
    bool add_waiter(join_waiter& w, bool here = true) noexcept;
    /// False where the notification is under way or done.
    bool remove_waiter(join_waiter& w) noexcept;

    /// asyncio.Task.cancel, from any thread. `nth` is told how many requests stand with this one.
    bool cancel(int* nth = nullptr) noexcept;
    /// Who sees a request sees what came before it: a task that has not started ends at once then,
    /// and with it what its callable holds.
    int cancelling() const noexcept
    {
        return cancelling_.load(std::memory_order_acquire);
    }
    /// `met`: the request that is taken back is one that has reached the serial context, if any
    /// has.
    int uncancel(bool met = true) noexcept;
    /// How many of the standing requests have reached the serial context.
    int met() const noexcept
    {
        return met_.load(std::memory_order_relaxed);
    }

    /// Makes the task ready, from any thread; once for each wait that was granted.
    void wake() noexcept;

    /// Whether the calling thread is in the serial context and on no fiber's stack.
    bool may_run_here() const noexcept
    {
        if (core_.single())
            return core_.in_bare_handler();
        return strand_->running_here() && !this_frame().fiber;
    }

    /// Calls `f` in the serial context, later and in order.
    template <class F>
    void post(F&& f)
    {
        if (core_.single())
            core_.post(std::forward<F>(f));
        else
            strand_->post(std::forward<F>(f));
    }

    // -- serial context

    /// A cancellation that waits for the next suspension. Taking it delivers it.
    bool take_cancel() noexcept
    {
        if (!cancel_pending()) [[likely]]
            return false;
        must_cancel_.store(false, std::memory_order_relaxed);
        return true;
    }
    void keep_cancel() noexcept
    {
        must_cancel_.store(true, std::memory_order_relaxed);
    }
    bool cancel_pending() const noexcept
    {
        return must_cancel_.load(std::memory_order_relaxed);
    }
    /// Some request has not been delivered: it waits, or its message is under way.
    bool cancel_ahead() const noexcept
    {
        return cancel_pending() || met() < cancelling();
    }
    /// What the task is about to be told answers every request that stands, also those whose
    /// message is still under way.
    void meet_cancels() noexcept
    {
        met_.store(cancelling(), std::memory_order_relaxed);
    }
    bool started() const noexcept
    {
        return started_;
    }

    /// The task is told that its loop unwinds: end the present wait by `operation_aborted`.
    virtual void abort_wait() noexcept = 0;

    /// What it waits for, for messages; empty where it does not wait, or nothing is known. While
    /// the task does not run.
    virtual std::string waits_for() const;

    /// For messages: its turn, which began at `begin`, took long (S81).
    void report_if_slow(steady_time begin) const noexcept;

    // -- counting

    void add_ref() noexcept
    {
        refs_.fetch_add(1, std::memory_order_relaxed);
    }
    void release() noexcept
    {
        if (near() && refs_.load(std::memory_order_acquire) == 1) [[likely]]
        {
            if (left_.load(std::memory_order_relaxed)) [[likely]]
                let_go();
            else
                refs_.store(0, std::memory_order_relaxed); // it runs on, detached
        }
        else
            release_slow();
    }
    /// The task has ended and its stack is left, or it never starts. In the serial context, or
    /// while nobody else knows it.
    void left() noexcept
    {
        if (!core_.single())
            release_slow();
        else if (refs_.load(std::memory_order_relaxed) == 0)
            let_go();
        else
            left_.store(true, std::memory_order_release);
    }
    friend void intrusive_ptr_add_ref(task_base* t) noexcept
    {
        t->add_ref();
    }
    friend void intrusive_ptr_release(task_base* t) noexcept
    {
        t->release();
    }

  protected:
    virtual ~task_base() = default;

    /// Destroys the object and gives its memory back.
    virtual void dispose() noexcept = 0;

    /// How often a task is told to end while its loop unwinds.
    static constexpr int unwind_limit = 1000;

    /// Takes the running task's request; returns whether the wait accepted it.
    virtual bool interrupt() noexcept = 0;

    void set_result(void* r) noexcept
    {
        result_ = r;
    }
    void start_now() noexcept
    {
        started_ = true;
    }

    /// The end: stores how, wakes whoever waits, leaves the list of the living.
    void finish() noexcept;
    void finish(std::exception_ptr error) noexcept;

    friend class scheduler;

  private:
    /// What the loop is asked to look at.
    enum attention : std::uint8_t
    {
        last_reference = 1,
        cancellation = 2,
        far_waiter = 4
    };
    struct message : ready_node
    {
        task_base* task = nullptr;
    };

    POLYLOOP_DECL void release_slow() noexcept;
    bool attend(attention what) noexcept;
    static void on_attend(ready_node* n, verb v);
    void deliver_cancel() noexcept;
    void notify(join_waiter* first) noexcept;
    void notify_far() noexcept;
    POLYLOOP_DECL void let_go() noexcept;

    scheduler& sched_;
    loop_core& core_;
    strand_ptr strand_;

    std::atomic<std::uint32_t> refs_; // handles; on other than single loops the task itself, too

    // One after the other, so that a new task is zeroed by a few wide stores.
    std::atomic<int> cancelling_ = 0;
    std::atomic<int> met_ = 0; // so that a message that comes late delivers nothing
    std::atomic<bool> done_ = false;
    std::atomic<bool> left_ = false; // single loops
    std::atomic<bool> retrieved_ = false;
    std::atomic<bool> taken_ = false;
    std::atomic<bool> must_cancel_ = false; // to be delivered at the next suspension
    std::atomic<bool> has_far_ = false;     // there may be somebody in far_
    std::atomic<std::uint8_t> attention_ = 0;
    spin_lock lock_;
    // serial context
    bool cancelled_ = false;
    bool started_ = false;
    bool linked_ = false;       // scheduler
    bool in_round_ = false;     // scheduler
    task_base* prev_ = nullptr; // scheduler
    task_base* next_ = nullptr; // scheduler
    void* result_ = nullptr;
    std::exception_ptr error_;
    waiter_list near_;
    waiter_list far_; // under lock_
    message message_;
};

using task_ptr = boost::intrusive_ptr<task_base>;

/// A coroutine's wait was told of the cancellation, and had been granted already: it is kept for
/// the next wait. Does nothing where somebody else emitted it.
POLYLOOP_DECL void keep_missed_cancel() noexcept;

/// Whether it is `operation_aborted`, the form that a cancellation takes; not for null.
POLYLOOP_DECL bool is_cancellation(std::exception_ptr const& e) noexcept;

} // namespace polyloop::detail

#endif
