// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/runner/detail/interruption.hpp>

#include <polyloop/loop/detail/signals.hpp>
#include <polyloop/task/run_until_complete.hpp>

#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace polyloop::detail {
namespace {

#if defined(__linux__)
bool in_main_thread() noexcept
{
    return ::syscall(SYS_gettid) == ::getpid(); // in a child, the thread that forked
}
#else
std::thread::id const main_thread = std::this_thread::get_id(); // who initializes statics

bool in_main_thread() noexcept
{
    return std::this_thread::get_id() == main_thread;
}
#endif

} // namespace

interruption::~interruption()
{
    end();
}

unsigned interruption::tell(event_loop& loop, std::span<int const> signals,
                            std::function<void()> told)
{
    if (signals.empty() || !in_main_thread())
        return 0;
    auto const each = [told](int) { told(); };
    unsigned const before = watch_ ? watch_->tell(each) : 0;
    for (int const number : signals)
        if (signal_is_default(number))
            try
            {
                if (!watch_)
                    watch_ = signal_watch::start(loop.core(), signal_watch::rank::run, each);
                watch_->add(number);
            }
            catch (boost::system::system_error const&)
            {
                // S61: it stays as it is.
            }
    return before;
}

unsigned interruption::pause() noexcept
{
    if (!watch_)
        return 0;
    try
    {
        return watch_->tell([](int) {});
    }
    catch (...)
    {
        return end(); // without the memory
    }
}

unsigned interruption::end() noexcept
{
    unsigned const n = watch_ ? watch_->stop() : 0;
    watch_.reset();
    return n;
}

struct interruptible_run::progress
{
    explicit progress(event_loop& l) : loop(l.shared_from_this())
    {
    }

    void told() noexcept
    {
        std::lock_guard const lock(mutex);
        if (over)
            return; // a stop would be the next run's
        ++signals;
        if (main)
            meet();
    }
    void end() noexcept
    {
        std::lock_guard const lock(mutex);
        over = true;
    }
    void begin(task_base& m) noexcept
    {
        std::lock_guard const lock(mutex);
        main = &m;
        if (signals != 0)
            meet();
    }
    void meet() noexcept
    {
        if (signals == 1 && main->cancel())
            return;
        forced = true;
        loop->stop();
    }

    std::shared_ptr<event_loop> const loop;
    std::mutex mutex;
    task_ptr main;
    unsigned signals = 0;
    bool over = false;
    std::atomic<bool> forced = false;
};

interruptible_run::interruptible_run(event_loop& loop, std::span<int const> signals,
                                     interruption& watch, bool keep)
    : loop_(loop), progress_(std::make_shared<progress>(loop)), watch_(watch), keep_(keep)
{
    watch_.tell(loop, signals, [p = progress_] { p->told(); });
}

interruptible_run::~interruptible_run()
{
    leave();
}

unsigned interruptible_run::leave() noexcept
{
    if (std::exchange(left_, true))
        return 0;
    return keep_ ? watch_.pause() : watch_.end();
}

void interruptible_run::operator()(task_base& main, unsigned stops)
{
    progress& p = *progress_;
    p.begin(main);
    try
    {
        run_until_done(loop_, main, stops);
    }
    catch (...)
    {
        p.end();
        // Also where one came along with what ended the run, and nobody was told.
        if (leave() != p.signals || p.forced)
            throw_error(error::interrupted);
        throw;
    }
    p.end(); // before the others are counted, among them those that a thread is about to tell
    if (leave() != p.signals || p.forced)
        throw_error(error::interrupted);
    if (p.signals != 0 && main.cancelled() && main.uncancel() == 0)
        throw_error(error::interrupted);
}

} // namespace polyloop::detail
