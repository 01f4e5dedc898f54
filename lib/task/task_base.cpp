// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/task_base.hpp>

#include <polyloop/task/detail/scheduler.hpp>

#include <boost/asio/error.hpp>
#include <boost/assert.hpp>

namespace polyloop::detail {

bool is_cancellation(std::exception_ptr const& e) noexcept
{
    if (!e)
        return false;
    try
    {
        std::rethrow_exception(e);
    }
    catch (boost::system::system_error const& x)
    {
        return x.code() == boost::asio::error::operation_aborted;
    }
    catch (...)
    {
        return false;
    }
}

bool task_base::add_waiter(join_waiter& w, bool here) noexcept
{
    w.near = here && near();
    if (w.near)
    {
        if (done())
            return false;
        near_.push(w);
        return true;
    }
    {
        std::lock_guard const lock(lock_);
        if (done())
            return false;
        far_.push(w);
        has_far_.store(true, std::memory_order_relaxed);
    }
    if (core_.single() && !attend(far_waiter) && done())
        notify_far(); // of a loop that is closed: nobody looks again
    return true;
}

bool task_base::remove_waiter(join_waiter& w) noexcept
{
    if (w.near)
        return near_.erase(w);
    std::lock_guard const lock(lock_);
    return far_.erase(w);
}

void task_base::notify(join_waiter* first) noexcept
{
    while (first)
    {
        join_waiter* const following = first->next; // the waiter is gone once it is told
        first->notify(first);
        first = following;
    }
}

void task_base::finish() noexcept
{
    if (!core_.single() || has_extras() || !sched_.unlink_plain(*this)) [[unlikely]]
        return finish(nullptr);
    done_.store(true, std::memory_order_release);
    if (near_.first)
        notify(near_.take());
    if (has_far_.load(std::memory_order_relaxed)) [[unlikely]]
        notify_far();
}

void task_base::finish(std::exception_ptr error) noexcept
{
    if (done_.load(std::memory_order_relaxed))
        return;
    bool const cancelled = error && is_cancellation(error);
    run_exit_hooks(); // the context ends here, however long handles keep its memory
    if (sched_.unlink(*this, cancelled ? nullptr : error))
        retrieved();
    cancelled_ = cancelled;
    error_ = std::move(error);
    if (core_.single())
    {
        done_.store(true, std::memory_order_release);
        notify(near_.take());
        if (has_far_.load(std::memory_order_relaxed)) [[unlikely]]
            notify_far();
    }
    else
    {
        lock_.lock();
        done_.store(true, std::memory_order_release);
        join_waiter* const far = far_.take();
        lock_.unlock();
        notify(far);
    }
}

void task_base::notify_far() noexcept
{
    lock_.lock();
    join_waiter* const far = far_.take();
    lock_.unlock();
    notify(far);
}

bool task_base::cancel(int* nth) noexcept
{
    if (done())
        return false;
    int const before = cancelling_.fetch_add(1, std::memory_order_release);
    if (nth)
        *nth = before + 1;
    if (core_.single() ? core_.on_loop() : strand_->running_here())
    {
        deliver_cancel();
        return true;
    }
    return attend(cancellation);
}

/// Has the serial context look at something; false where the loop is closed. `last_reference` is
/// the caller's, and given away; the others have one made for the message.
bool task_base::attend(attention what) noexcept
{
    bool const given = what == last_reference;
    if (attention_.fetch_or(what, std::memory_order_acq_rel) != 0)
    {
        // A message is under way, with a reference of its own.
        if (given)
            refs_.fetch_sub(1, std::memory_order_release);
        return true;
    }
    if (!given)
        add_ref();
    message_.act = &task_base::on_attend;
    message_.kind = node_kind::handler;
    message_.task = this;
    if (core_.single() ? core_.schedule(message_) : strand_->schedule(message_))
        return true;
    attention_.store(0, std::memory_order_release);
    if (!given)
        release();
    return false;
}

void task_base::on_attend(ready_node* n, verb v)
{
    task_ptr const t(static_cast<message*>(n)->task, false);
    std::uint8_t const what = t->attention_.exchange(0, std::memory_order_acq_rel);
    if ((what & cancellation) && v == verb::run && t->cancelling() > t->met())
        t->deliver_cancel();
    if ((what & far_waiter) && t->done())
        t->notify_far();
}

void task_base::deliver_cancel() noexcept
{
    if (done())
        return; // not met: who handed it on has it back
    met_.store(cancelling(), std::memory_order_relaxed);
    if (!interrupt())
        keep_cancel();
}

void task_base::release_slow() noexcept
{
    if (!core_.single())
    {
        // The last owner needs no atomic decrement.
        if (refs_.load(std::memory_order_acquire) == 1 ||
            refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            let_go();
        return;
    }
    std::uint32_t n = refs_.load(std::memory_order_acquire);
    while (n > 1)
        if (refs_.compare_exchange_weak(n, n - 1, std::memory_order_release,
                                        std::memory_order_acquire))
            return;
    if (left_.load(std::memory_order_acquire))
        let_go();
    else if (core_.on_loop())
        refs_.store(0, std::memory_order_relaxed);
    else if (!attend(last_reference) && left_.load(std::memory_order_acquire))
        let_go(); // the loop was closed meanwhile
}

int task_base::uncancel(bool met) noexcept
{
    int n = cancelling_.load(std::memory_order_relaxed);
    while (n > 0 && !cancelling_.compare_exchange_weak(n, n - 1, std::memory_order_relaxed))
    {
    }
    int const reached = this->met();
    if (reached > 0 && (met || reached >= n))
        met_.store(reached - 1, std::memory_order_relaxed);
    if (n == 1)
        must_cancel_.store(false, std::memory_order_relaxed);
    return n > 0 ? n - 1 : 0;
}

POLYLOOP_READS_FRAME void task_base::wake() noexcept
{
    if (core_.single() && frame_here.core == &core_) [[likely]]
    {
        core_.push_local(*this);
        return;
    }
    bool const taken = core_.single() ? core_.schedule(*this) : strand_->schedule(*this);
    // Only a loop that is gone refuses, and it has ended its tasks before.
    BOOST_ASSERT(taken || core_.is_closed());
    (void)taken;
}

std::string task_base::waits_for() const
{
    return {};
}

void task_base::report_if_slow(steady_time begin) const noexcept
{
    auto const took = std::chrono::steady_clock::now() - begin;
    if (took < core_.options().slow_callback)
        return;
    core_.report({"slow turn: it held loop \"" + core_.options().name + '"', nullptr, name(),
                  origin(), {}, took});
}

void task_base::let_go() noexcept
{
    if (error_ && !cancelled_ && !retrieved_.load(std::memory_order_relaxed))
    {
        // An ended fiber is let go of on the stack of whoever runs next: the handler is not that
        // fiber, and shall not wait as it.
        thread_frame& frame = this_frame();
        context_node* const running = std::exchange(frame.fiber, nullptr);
        core_.report({"exception in a task that nobody joined", error_, name(), origin()});
        frame.fiber = running;
    }
    dispose();
}

} // namespace polyloop::detail
