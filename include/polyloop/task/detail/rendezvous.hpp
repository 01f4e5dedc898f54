// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_RENDEZVOUS_HPP
#define POLYLOOP_TASK_DETAIL_RENDEZVOUS_HPP

#include <polyloop/context/detail/one_thread.hpp>
#include <polyloop/task/detail/fiber.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <utility>

namespace polyloop::detail {

/// How a wait ended.
enum class outcome : std::uint8_t
{
    granted,
    cancelled, ///< the waiting task was cancelled
    unwound,   ///< its loop is being closed
    expired
};

/// Somebody who waits at a rendezvous.
struct parked
{
    explicit parked(void (*w)(parked&) noexcept) noexcept : wake(w)
    {
    }

    /// Once, without the lock, by who took it off; it may be gone then.
    void (*wake)(parked&) noexcept;
    outcome result = outcome::granted;
};

/// What tasks on any threads bring about and one waits for: a fiber, a plain thread or a completion
/// handler. Counted, since those who bring it about may come late.
///
/// Invariant: who takes the waiter off, under the lock, decides how the wait ends, and wakes it.
class POLYLOOP_DECL rendezvous
{
  public:
    rendezvous() = default;
    rendezvous(rendezvous const&) = delete;
    rendezvous& operator=(rendezvous const&) = delete;

    /// Whoever waits, off the rendezvous; null where nobody does. Under the lock.
    parked* take() noexcept
    {
        return std::exchange(parked_, nullptr);
    }

    /// Ends the wait of `p`, unless that has ended. Compares the address only.
    bool withdraw(parked* p, outcome o) noexcept;

    /// Suspends the fiber or blocks the thread; the lock is released and taken again. One that is
    /// not `interruptible` keeps a cancellation for the next suspension. Only with a limit it
    /// may throw, `std::bad_alloc`. Precondition: `require_waitable`.
    outcome wait(std::unique_lock<std::mutex>& lock, bool interruptible,
                 steady_time limit = steady_time::max());

    /// The same for a completion handler `void(outcome)`; takes the lock over.
    template <class Handler>
    void async_wait(std::unique_lock<std::mutex> lock, bool interruptible, Handler h);

    friend void intrusive_ptr_add_ref(rendezvous* r) noexcept
    {
        r->refs_.add();
    }
    friend void intrusive_ptr_release(rendezvous* r) noexcept
    {
        if (r->refs_.drop())
            delete r;
    }

    std::mutex mutex;

  protected:
    virtual ~rendezvous() = default;

  private:
    struct parked_fiber;
    struct parked_thread;
    template <class Handler>
    struct parked_handler;

    outcome wait_in(fiber& f, std::unique_lock<std::mutex>& lock, bool interruptible,
                    steady_time limit);

    parked* parked_ = nullptr;
    reference_count refs_;
};

/// Whether the caller can wait: in a fiber, or on a thread that runs no loop.
POLYLOOP_DECL bool can_wait() noexcept;

/// Throws `error::not_in_fiber` where it cannot.
POLYLOOP_DECL void require_waitable();

template <class Handler>
struct rendezvous::parked_handler : parked
{
    using executor = asio::associated_executor_t<Handler, asio::any_io_executor>;

    parked_handler(rendezvous& r, Handler h)
        : parked(&parked_handler::on_wake), meeting(&r), handler(std::move(h)),
          work(asio::get_associated_executor(handler, asio::any_io_executor()))
    {
    }

    static void on_wake(parked& p) noexcept
    {
        std::unique_ptr<parked_handler> const self(static_cast<parked_handler*>(&p));
        auto const ex = self->work.get_executor();
        auto slot = asio::get_associated_cancellation_slot(self->handler);
        asio::post(ex, [h = std::move(self->handler), w = std::move(self->work), slot,
                        o = self->result]() mutable {
            if (slot.is_connected())
                slot.clear();
            w.reset();
            std::move(h)(o);
        });
    }

    boost::intrusive_ptr<rendezvous> meeting;
    Handler handler;
    asio::executor_work_guard<executor> work;
};

template <class Handler>
void rendezvous::async_wait(std::unique_lock<std::mutex> lock, bool interruptible, Handler h)
{
    auto p = std::make_unique<parked_handler<Handler>>(*this, std::move(h));
    auto slot = asio::get_associated_cancellation_slot(p->handler);
    if (interruptible && slot.is_connected())
        slot.assign([r = p->meeting, address = p.get()](asio::cancellation_type) {
            r->withdraw(address, outcome::cancelled);
        });
    parked_ = p.release();
    lock.unlock();
}

} // namespace polyloop::detail

#endif
