// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_ASYNC_JOINER_HPP
#define POLYLOOP_TASK_DETAIL_ASYNC_JOINER_HPP

#include <polyloop/task/detail/fiber.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/system_executor.hpp>

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace polyloop {

template <class T>
class task;

namespace detail {

/// A fiber that joins.
struct fiber_joiner : join_waiter, fiber_wait
{
    fiber_joiner(fiber& f, task_base& t) noexcept
        : join_waiter(&fiber_joiner::on_done), fiber_wait(&fiber_joiner::on_interrupt), self(f),
          joined(t)
    {
    }

    POLYLOOP_DECL static void on_done(join_waiter* w);
    POLYLOOP_DECL static bool on_interrupt(fiber_wait& w, reason why);

    /// In the joiner, after a wait in which something happened. Throws `operation_aborted`.
    POLYLOOP_DECL void settle();

    fiber& self;
    task_base& joined;
    bool aborted = false;
    bool forwarded = false;
};

/// The running fiber, null in a plain thread. Refuses what would block a handler of a running loop,
/// or wait for itself.
POLYLOOP_DECL fiber* waiting_fiber(task_base& t);
POLYLOOP_DECL void block_until_done(task_base& t);

/// Waits as the caller can: a fiber is suspended, a plain thread blocked.
inline void wait_done(task_base& t)
{
    if (t.done())
        return;
    fiber* const f = waiting_fiber(t);
    if (!f) [[unlikely]]
    {
        block_until_done(t);
        return;
    }
    f->check_cancel();
    fiber_joiner j(*f, t);
    if (t.add_waiter(j))
        f->wait_here(j);
    if (j.aborted || j.forwarded) [[unlikely]]
        j.settle();
}

/// The same with a limit; says whether the task is done.
POLYLOOP_DECL bool wait_done_until(task_base& t, steady_time limit);

template <class T>
struct join_signature
{
    using type = void(std::exception_ptr, T);
};
template <>
struct join_signature<void>
{
    using type = void(std::exception_ptr);
};

/// A completion handler that waits for a task's end.
template <class T, class Handler>
class async_joiner : private join_waiter
{
  public:
    static void start(task<T> t, Handler h)
    {
        auto self = std::make_unique<async_joiner>(std::move(t), std::move(h));
        async_joiner& j = *self;
        // Kept apart: once it waits, the joiner may be gone at any moment.
        task<T> const joined = j.task_;
        auto slot = asio::get_associated_cancellation_slot(j.handler_);
        if (slot.is_connected())
            slot.assign([joined](asio::cancellation_type) mutable { joined.get().cancel(); });
        if (joined.get().add_waiter(*self.release()))
            return;
        on_done(&j);
    }

    async_joiner(task<T> t, Handler h)
        : join_waiter(&async_joiner::on_done), task_(std::move(t)), handler_(std::move(h)),
          work_(asio::get_associated_executor(handler_, fallback(task_.get().core())))
    {
    }

  private:
    static void on_done(join_waiter* w)
    {
        std::unique_ptr<async_joiner> const self(static_cast<async_joiner*>(w));
        auto slot = asio::get_associated_cancellation_slot(self->handler_);
        auto const ex = self->work_.get_executor();
        asio::post(ex, [t = std::move(self->task_), h = std::move(self->handler_),
                        work = std::move(self->work_), slot]() mutable {
            if (slot.is_connected())
                slot.clear();
            work.reset(); // its executor may be valid no longer than the wait
            complete(t, h);
        });
    }

    static void complete(task<T>& t, Handler& h)
    {
        std::exception_ptr e;
        if constexpr (std::is_void_v<T>)
        {
            try
            {
                t.take();
            }
            catch (...)
            {
                e = std::current_exception();
            }
            std::move(h)(e);
        }
        else
        {
            static_assert(std::is_default_constructible_v<T>,
                          "polyloop: async_join needs a result that can be "
                          "default-constructed, as every completion handler of Asio gets one");
            T value{};
            try
            {
                value = t.take();
            }
            catch (...)
            {
                e = std::current_exception();
            }
            std::move(h)(e, std::move(value));
        }
    }

    // For a handler without an executor of its own. A finished task can be joined when its
    // loop is gone.
    static asio::any_io_executor fallback(loop_core const& core)
    {
        if (core.is_gone())
            return asio::system_executor();
        return core.io().get_executor();
    }

    using work_guard = asio::executor_work_guard<
        asio::associated_executor_t<Handler, asio::any_io_executor>>;

    task<T> task_;
    Handler handler_;
    work_guard work_;
};

template <class T, class Handler>
void start_async_join(task<T> t, Handler h)
{
    async_joiner<T, Handler>::start(std::move(t), std::move(h));
}

} // namespace detail
} // namespace polyloop

#endif
