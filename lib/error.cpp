// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/error.hpp>

#include <boost/asio/error.hpp>

namespace polyloop {
namespace {

char const* describe(error e) noexcept
{
    switch (e)
    {
    case error::no_current_loop:
        return "there is no current event loop: call set_event_loop, or use polyloop::run";
    case error::no_running_loop:
        return "no running event loop: call this from a handler or task of a running loop";
    case error::loop_closed:
        return "the event loop is closed: make a new one";
    case error::loop_already_running:
        return "this event loop is already running: raise loop_options::concurrency if more "
               "threads shall run it";
    case error::another_loop_running:
        return "this thread runs another event loop: run this one on a thread of its own";
    case error::loop_is_running:
        return "cannot close a running event loop: stop it first";
    case error::loop_stopped:
        return "the event loop was stopped before the main task was done: let the main task "
               "return instead of calling stop";
    case error::nested_run:
        return "run cannot be called from a running event loop: use spawn and join there";
    case error::runner_closed:
        return "the runner is closed: make a new one";
    case error::not_in_fiber:
        return "this would block a handler of a running loop: wait in a fiber (spawn), or use "
               "the async_ form";
    case error::self_join:
        return "a task cannot join itself: join it from another task";
    case error::backend_unavailable:
        return "this build of Asio has another kind of backend: link the variant of the "
               "library that has it";
    case error::option_unsupported:
        return "this loop cannot honour the option: leave it at its default";
    case error::bad_config:
        return "unusable configuration: correct the value that is shown";
    case error::interrupted:
        return "interrupted by a signal: let the main task return after its cancellation";
    case error::executor_shut_down:
        return "the default executor was shut down: pass an executor of your own";
    case error::wrong_thread:
        return "called from a thread that does not run the loop: use call_soon_threadsafe";
    case error::result_taken:
        return "the result cannot be copied and was taken by an earlier join: join once";
    case error::empty_handle:
        return "the handle is empty: assign it from spawn or call_soon first";
    case error::policy_in_use:
        return "the policy object serves another run: give each run a policy of its own";
    case error::not_owner:
        return "the calling context does not hold the lock: unlock in the fiber, strand or "
               "thread that locked";
    case error::broken_barrier:
        return "the barrier is broken: reset it when all parties have left";
    case error::channel_closed:
        return "the channel is closed: send before close, and stop receiving when it is drained";
    case error::group_closed:
        return "the task group is ending or over: spawn before it is joined, cancelled or has "
               "failed";
    case error::no_value:
        return "the fiber_local has no value in this context: set it, or give it an initial one";
    }
    return "unknown polyloop error: the library that made it is newer than the one that "
           "prints it";
}

class category final : public boost::system::error_category
{
  public:
    // The id makes categories of several copies of the library (static and
    // shared in one process, say) compare equal.
    constexpr category() noexcept : boost::system::error_category(0x706f6c796c6f6f70)
    {
    }

    char const* name() const noexcept override
    {
        return "polyloop";
    }

    std::string message(int value) const override
    {
        return describe(static_cast<error>(value));
    }
};

constexpr category instance;

} // namespace

boost::system::error_category const& error_category() noexcept
{
    return instance;
}

namespace detail {

void throw_error(error e)
{
    throw boost::system::system_error(make_error_code(e));
}

void throw_error(error e, std::string const& what)
{
    throw boost::system::system_error(make_error_code(e), what);
}

void throw_error(boost::system::error_code const& ec)
{
    throw boost::system::system_error(ec);
}

void throw_cancelled()
{
    throw_error(boost::asio::error::operation_aborted);
}

} // namespace detail
} // namespace polyloop
