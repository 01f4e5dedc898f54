// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/event_loop.hpp>

#include <boost/config.hpp>

namespace polyloop {

event_loop::event_loop(loop_options options)
    : core_(new detail::loop_core(*this, nullptr, std::move(options)))
{
}

event_loop::event_loop(asio::io_context& borrowed, loop_options options)
    : core_(new detail::loop_core(*this, &borrowed, std::move(options)))
{
}

event_loop::~event_loop()
{
    if (!is_closed())
    {
        if (get_debug())
            core_->report({"loop \"" + name() + "\" was destroyed before it was closed"});
        try
        {
            close();
        }
        catch (...)
        {
            // A thread still runs it, inside of what is about to be freed.
            default_exception_handler({"loop \"" + name() + "\" was destroyed while it runs",
                                       std::current_exception()});
            std::terminate();
        }
    }
    core_->detach();
}

bool event_loop::remove_signal_handler(int number)
{
    return core_->has_watches() && !is_closed() &&
           detail::watches::of(*core_).remove_signal(number);
}

bool event_loop::remove_watch(native_handle_type handle, detail::watches::direction d)
{
    return core_->has_watches() && !is_closed() && detail::watches::of(*core_).remove(handle, d);
}

void event_loop::check_call() const
{
    core_->require_open();
    // On a loop that several threads run every call is safe.
    if (get_debug() && core_->single() && !core_->on_loop() && is_running())
        detail::throw_error(error::wrong_thread,
                            "loop \"" + name() + "\" runs on another thread");
}

void event_loop::refuse_threadsafe() const
{
    detail::throw_error(error::option_unsupported,
                        "loop \"" + name() + "\" was made with loop_options::locking off");
}

std::size_t event_loop::task_count() const noexcept
{
    detail::task_registry const* const r = core_->registry();
    return r ? r->size() : 0;
}

// One thread-local read each, and out of line like every access to it.
POLYLOOP_READS_FRAME event_loop* try_get_running_loop() noexcept
{
    return detail::frame_here.loop;
}

POLYLOOP_READS_FRAME event_loop& get_running_loop()
{
    if (event_loop* const l = detail::frame_here.loop) [[likely]]
        return *l;
    detail::throw_error(error::no_running_loop);
}

} // namespace polyloop
