// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/loop_core.hpp>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include <mutex>
#include <utility>

namespace polyloop::detail {

bool loop_core::is_running() const noexcept
{
    if (is_inherited())
        return false; // and who held the lock is not here
    std::lock_guard const lock(run_mutex_);
    return running_ > 0;
}

void loop_core::refuse_inherited() const
{
    if (is_inherited())
        throw_error(error::loop_closed, "loop \"" + options_.name +
                                            "\" belongs to the process that forked this one");
}

unsigned loop_core::check_run() const
{
    refuse_inherited();
    std::lock_guard const lock(run_mutex_);
    check_run_locked();
    return stops_;
}

void loop_core::check_run_locked() const
{
    thread_frame const& frame = this_frame();
    require_open(); // the order of the checks is S28's
    if (frame.core == this || running_ == options_.concurrency)
        throw_error(error::loop_already_running,
                    "loop \"" + options_.name + "\" is run by " + std::to_string(running_) +
                        " of " + std::to_string(options_.concurrency) + " threads");
    if (frame.loop)
        throw_error(error::another_loop_running);
}

bool loop_core::enter_run(bool (*done)(void*), void* arg, bool& stopped_before)
{
    refuse_inherited();
    std::unique_lock lock(run_mutex_);
    if (done && done(arg))
        return false;
    check_run_locked();
    // The threads that are leaving after a stop must be out before the io_context can be
    // restarted.
    run_left_.wait(lock, [this] { return !stopping_ || running_ == 0; });
    if (done && done(arg))
        return false;
    require_open();
    stopped_before = stopping_;
    // An application that ran the adopted io_context to its end has left it stopped.
    if (running_ == 0 && io_->stopped())
        io_->restart();
    ++running_;
    return true;
}

void loop_core::leave_run() noexcept
{
    std::lock_guard const lock(run_mutex_);
    if (--running_ == 0)
    {
        stopping_ = false;
        set_slice_start();
        hopping_ = false;
        if (io_->stopped())
            io_->restart();
    }
    run_left_.notify_all();
}

bool loop_core::run(bool (*done)(void*), void* arg)
{
    bool stopped_before = false;
    if (!enter_run(done, arg, stopped_before))
        return false;
    {
        // Ends before leave_run restarts the io_context, which would stop again without work.
        auto const work = asio::make_work_guard(*io_);
        frame_guard guard;
        guard.frame().loop = facade_;
        guard.frame().core = this;
        if (debug())
            guard.frame().resumes_plainly = false;
        if (stopped_before)
        {
            hopping_ = single_;
            hop_then_stop(2);
        }
        for (;;)
            try
            {
                run_io();
                break;
            }
            catch (...)
            {
                report({"exception in a handler", std::current_exception()});
            }
    }
    leave_run();
    return stopped_before;
}

// S31: a loop that was stopped before it ran makes one iteration: its I/O and timers are looked
// at without blocking, then what is ready runs. The io_context polls between two handlers of
// which one posts the other, and queues what it found behind the second: so the third comes
// after that.
void loop_core::hop_then_stop(int hops)
{
    asio::post(*io_, [self = core_ptr(this), hops] {
        if (hops != 0)
            self->hop_then_stop(hops - 1);
        else if (!self->single_)
            self->io_->stop();
        else
        {
            core_entry const entry(*self);
            self->hopping_ = false;
            self->run_batch();
        }
    });
}

#if defined(__GNUC__)
/// Asio's loop in one piece: it is called from several places, so that no compiler inlines what it
/// does for each handler unless told to.
[[gnu::flatten]]
#endif
static void run_until_stopped(asio::io_context& io)
{
    io.run();
}

void loop_core::run_io()
{
    if (options_.spin == options_.spin.zero())
    {
        run_until_stopped(*io_);
        return;
    }
    using clock = std::chrono::steady_clock;
    auto last = clock::now();
    while (!io_->stopped())
    {
        std::size_t n = io_->poll();
        if (n == 0 && clock::now() - last < options_.spin)
            continue;
        if (n == 0)
            io_->run_one();
        last = clock::now();
    }
}

void loop_core::stop() noexcept
{
    if (is_inherited())
        return;
    std::lock_guard const lock(run_mutex_);
    ++stops_;
    stop_locked();
}

void loop_core::stop_if_running() noexcept
{
    if (is_inherited())
        return;
    std::lock_guard const lock(run_mutex_);
    if (running_ > 0)
        stop_locked();
}

void loop_core::stop_locked() noexcept
{
    if (is_closed() || stopping_.exchange(true))
        return;
    set_slice_start();
    if (!single_)
    {
        if (running_ > 0)
            asio::post(*io_, [self = core_ptr(this)] { self->io_->stop(); });
    }
    else if (!on_loop())
        wake();
    else
    {
        slice_ = 1;
        if (depth_ == 0)
            post_drain();
    }
}

} // namespace polyloop::detail
