// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_TIMER_STATE_HPP
#define POLYLOOP_LOOP_DETAIL_TIMER_STATE_HPP

#include <polyloop/context/detail/one_thread.hpp>
#include <polyloop/loop/detail/loop_core.hpp>

#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

/// One wait for a timer, without its handler.
struct timer_wait
{
    enum class end : std::uint8_t
    {
        expired,
        cancelled,
        dropped ///< the loop is closed: the handler is destroyed
    };

    explicit timer_wait(void (*f)(timer_wait*, end)) noexcept : finish(f)
    {
    }

    void (*finish)(timer_wait*, end); ///< once, without the lock; frees it
    timer_wait* next = nullptr;
};

/// What a `timer` is made of: an entry of its loop's timer queue, and those who wait for it.
///
/// Invariants
/// - The entry is touched on the loop only where that has concurrency 1; `adjust` makes it agree
///   with `expiry_` and `waiting_`. While it is queued it counts the state.
/// - Who expires has the timers' lock, so the state's own is taken after that.
class POLYLOOP_DECL timer_state : private timer_node, private ready_node
{
  public:
    explicit timer_state(loop_core& core);
    timer_state(timer_state const&) = delete;
    timer_state& operator=(timer_state const&) = delete;

    loop_core& core() const noexcept
    {
        return *core_;
    }

    steady_time expiry() const noexcept;

    /// Cancels every wait and returns how many.
    std::size_t set_expiry(steady_time until);
    std::size_t cancel();
    std::size_t cancel_one();
    void cancel(timer_wait* w);

    /// Takes it over. Throws `std::bad_alloc`: then it is still the caller's.
    void add(timer_wait& w);

    friend void intrusive_ptr_add_ref(timer_state* s) noexcept
    {
        s->refs_.add();
    }
    friend void intrusive_ptr_release(timer_state* s) noexcept
    {
        if (s->refs_.drop())
            delete s;
    }

  private:
    class adjustment;

    struct list
    {
        void push(timer_wait& w) noexcept;
        timer_wait* pop() noexcept;
        bool remove(timer_wait* w) noexcept;
        void append(list& other) noexcept;

        timer_wait* first = nullptr;
        timer_wait* last = nullptr;
    };

    ~timer_state() = default;

    static void on_expire(timer_node* n);
    static void on_due(ready_node* n, verb v);
    void run_due(verb v);
    void adjust();
    void adjust_here();
    void drop() noexcept;
    std::size_t finish_all(list l);

    core_ptr const core_;
    mutable std::mutex mutex_;
    steady_time expiry_{};
    list waiting_;
    list due_;
    bool due_scheduled_ = false;
    reference_count refs_;
};

using timer_ptr = boost::intrusive_ptr<timer_state>;

template <class Handler>
class timer_wait_of : private timer_wait
{
    using executor = asio::associated_executor_t<Handler, asio::io_context::executor_type>;
    using allocator = typename std::allocator_traits<
        asio::associated_allocator_t<Handler>>::template rebind_alloc<timer_wait_of>;
    using traits = std::allocator_traits<allocator>;

  public:
    /// Strong guarantee, but for the handler: what is thrown leaves no wait, and nothing in the
    /// cancellation slot.
    static void start(timer_state& s, Handler h)
    {
        allocator a(asio::get_associated_allocator(h));
        auto slot = asio::get_associated_cancellation_slot(h);
        memory m{a, traits::allocate(a, 1)};
        std::unique_ptr<timer_wait_of, destroyer> w(::new (static_cast<void*>(m.place))
                                                        timer_wait_of(s, std::move(h)));
        if (slot.is_connected())
            slot.assign([state = timer_ptr(&s), address = static_cast<timer_wait*>(w.get())](
                            asio::cancellation_type) { state->cancel(address); });
        try
        {
            s.add(*w);
        }
        catch (...)
        {
            if (slot.is_connected())
                slot.clear();
            throw;
        }
        w.release();
        m.place = nullptr;
    }

  private:
    timer_wait_of(timer_state& s, Handler h)
        : timer_wait(&timer_wait_of::on_finish), handler_(std::move(h)),
          work_(asio::get_associated_executor(handler_, s.core().io().get_executor()))
    {
    }

    static void on_finish(timer_wait* base, end e)
    {
        auto* const self = static_cast<timer_wait_of*>(base);
        Handler h(std::move(self->handler_));
        auto work(std::move(self->work_));
        allocator a(asio::get_associated_allocator(h));
        self->~timer_wait_of();
        traits::deallocate(a, self, 1);
        if (e == end::dropped)
            return;
        auto slot = asio::get_associated_cancellation_slot(h);
        auto const ex = work.get_executor();
        boost::system::error_code ec;
        if (e == end::cancelled)
            ec = asio::error::operation_aborted;
        auto call = [handler = std::move(h), w = std::move(work), slot, ec]() mutable {
            if (slot.is_connected())
                slot.clear();
            w.reset(); // its executor may be valid no longer than the wait
            std::move(handler)(ec);
        };
        if (e != end::expired)
        {
            asio::post(ex, std::move(call));
            return;
        }
        // In a handler of the loop. Asio's dispatch would keep what it throws until the end of
        // that, and only one of several.
        if constexpr (std::is_same_v<executor, asio::io_context::executor_type>)
            if (ex.running_in_this_thread())
            {
                call();
                return;
            }
        asio::dispatch(ex, std::move(call));
    }

    struct destroyer
    {
        void operator()(timer_wait_of* w) const noexcept
        {
            w->~timer_wait_of();
        }
    };
    struct memory
    {
        ~memory()
        {
            if (place)
                traits::deallocate(a, place, 1);
        }
        allocator& a;
        timer_wait_of* place;
    };

    Handler handler_;
    asio::executor_work_guard<executor> work_;
};

} // namespace polyloop::detail

#endif
