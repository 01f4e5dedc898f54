// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_ASYNC_JOINER_HPP
#define POLYLOOP_TASK_DETAIL_ASYNC_JOINER_HPP

#include <polyloop/task/detail/async_waiter.hpp>
#include <polyloop/task/detail/fiber.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/system_executor.hpp>

#include <exception>
#include <tuple>
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

/// Waits in the list of a task for a completion handler.
struct join_node_base : waiter
{
    explicit join_node_base(task_base& t) noexcept : joined(t), listed(*this)
    {
    }

    struct link : join_waiter
    {
        explicit link(join_node_base& n) noexcept
            : join_waiter([](join_waiter* w) {
                  join_node_base& self = static_cast<link*>(w)->node;
                  self.grant(&self);
              }),
              node(n)
        {
        }
        join_node_base& node;
    };

    static bool leave(void* t, waiter& w)
    {
        return static_cast<task_base*>(t)->remove_waiter(static_cast<join_node_base&>(w).listed);
    }
    /// The wait ends with the task.
    void cancel() noexcept
    {
        joined.cancel();
    }
    /// The task's loop. A finished task can be joined when that is gone.
    asio::any_io_executor fallback() const
    {
        if (joined.core().is_gone())
            return asio::system_executor();
        return joined.core().io().get_executor();
    }

    void called_in(asio::execution_context const* c) noexcept
    {
        here = c && !joined.core().is_gone() && c == &joined.core().io();
    }
    /// Whose limit passes, leaves on another thread than the task's.
    bool begin(bool timed) noexcept
    {
        return !joined.add_waiter(listed, here && !timed);
    }

    task_base& joined; // counted by who derives
    link listed;
    bool here = false; ///< who is waited for and who waits live in one context
};

template <class T>
struct join_node : join_node_base
{
    explicit join_node(task<T> t) : join_node_base(t.get()), handle(std::move(t))
    {
    }

    auto result(wait_end e)
    {
        std::exception_ptr error;
        auto const attempt = [&](auto take) {
            try
            {
                if (e != wait_end::granted)
                    throw_error(code_of(e));
                take();
            }
            catch (...)
            {
                error = std::current_exception();
            }
        };
        if constexpr (std::is_void_v<T>)
        {
            attempt([&] { handle.take(); });
            return std::tuple<std::exception_ptr>(std::move(error));
        }
        else
        {
            static_assert(std::is_default_constructible_v<T>,
                          "polyloop: async_join needs a result that can be "
                          "default-constructed, as every completion handler of Asio gets one");
            T value{};
            attempt([&] { value = handle.take(); });
            return std::tuple<std::exception_ptr, T>(std::move(error), std::move(value));
        }
    }

    task<T> handle;
};

template <class T, class Token>
auto start_async_join(task<T> t, deadline limit, Token&& token)
{
    // The place is the handle's, which the initiation keeps until the node has its own.
    wait_place const place{&t.get(), &join_node_base::leave};
    return initiate_wait<join_node<T>, typename join_signature<T>::type>(
        std::forward<Token>(token), place, limit,
        [timed = !limit.never()](join_node<T>& n) { return n.begin(timed); }, std::move(t));
}

} // namespace detail
} // namespace polyloop

#endif
