// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_CALLBACK_HPP
#define POLYLOOP_LOOP_DETAIL_CALLBACK_HPP

#include <polyloop/loop/detail/loop_core.hpp>

#include <atomic>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

/// A callable that waits for its turn or its time, with the count of those who refer to it.
///
/// Invariant: whoever moves `state_` away from `pending` owns the callable.
class callback : private ready_node, private timer_node
{
  public:
    template <class F>
    static callback* make(loop_core& c, F&& f);

    /// Hands it, new, to the loop; the queue holds a reference. False if the loop is closed.
    POLYLOOP_DECL bool start();
    POLYLOOP_DECL bool start_at(steady_time when);

    POLYLOOP_DECL void cancel() noexcept;

    bool cancelled() const noexcept
    {
        return state_.load(std::memory_order_acquire) == state::cancelled;
    }
    bool timed() const noexcept
    {
        return timed_;
    }
    steady_time when() const noexcept
    {
        return timer_node::when;
    }

    friend void intrusive_ptr_add_ref(callback* c) noexcept
    {
        c->refs_.fetch_add(1, std::memory_order_relaxed);
    }
    friend void intrusive_ptr_release(callback* c) noexcept
    {
        // The last owner needs no atomic decrement.
        if (c->refs_.load(std::memory_order_acquire) == 1 ||
            c->refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            c->destroy();
    }

  protected:
    enum class operation : std::uint8_t
    {
        call,    ///< run the callable, then end its life
        release, ///< end its life
        free     ///< give the memory back; the callable has no life any more
    };
    using manager = void (*)(callback*, operation);

    POLYLOOP_DECL callback(loop_core& c, manager m) noexcept;
    ~callback() = default;

    core_ptr core_;

  private:
    enum class state : std::uint8_t
    {
        pending,
        taken, ///< ran, runs, or was dropped with its loop
        cancelled
    };

    class arrival;

    static void act(ready_node* n, verb v);
    static void on_expire(timer_node* n);
    static void on_drop(timer_node* n);
    void report_if_slow(std::chrono::nanoseconds took) const;
    POLYLOOP_DECL void destroy() noexcept;
    void perform(verb v);
    bool leave_pending(state next) noexcept;

    manager manage_;
    locals_ptr locals_; // of who made it (S44)
    std::atomic<std::uint32_t> refs_ = 1;
    std::atomic<state> state_ = state::pending;
    bool timed_ = false;
};

using callback_ptr = boost::intrusive_ptr<callback>;

template <class F>
class callback_with final : public callback
{
  public:
    template <class G>
    callback_with(loop_core& c, G&& g) : callback(c, &callback_with::manage)
    {
        ::new (static_cast<void*>(storage_)) F(std::forward<G>(g));
    }

  private:
    static void manage(callback* c, operation op)
    {
        auto* self = static_cast<callback_with*>(c);
        F* const f = std::launder(reinterpret_cast<F*>(self->storage_));
        struct ender
        {
            F* f;
            ~ender()
            {
                f->~F();
            }
        };
        switch (op)
        {
        case operation::call:
        {
            ender const end{f};
            (*f)();
            break;
        }
        case operation::release:
            f->~F();
            break;
        case operation::free:
        {
            core_ptr const core = std::move(self->core_);
            self->~callback_with();
            core->deallocate(self, sizeof(callback_with));
            break;
        }
        }
    }

    alignas(F) std::byte storage_[sizeof(F)];
};

template <class F>
callback* callback::make(loop_core& c, F&& f)
{
    using type = callback_with<std::decay_t<F>>;
    static_assert(alignof(type) <= alignof(std::max_align_t),
                  "polyloop: a callback with a stricter alignment than max_align_t");
    void* const p = c.allocate(sizeof(type));
    try
    {
        return ::new (p) type(c, std::forward<F>(f));
    }
    catch (...)
    {
        c.deallocate(p, sizeof(type));
        throw;
    }
}

} // namespace polyloop::detail

#endif
