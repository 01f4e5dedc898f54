// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_CALLBACK_HPP
#define POLYLOOP_LOOP_DETAIL_CALLBACK_HPP

#include <polyloop/context/detail/one_thread.hpp>
#include <polyloop/loop/detail/loop_core.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

/// A callable that waits for its turn or its time, with the count of those who refer to it.
///
/// Invariants
/// - Whoever moves `state_` away from `pending` owns the callable.
/// - The loop's queue counts for one, each handle for two. So the last handle can tell whether
///   it shares the callback with the loop alone, and needs no atomic decrement on the loop's own
///   thread.
class callback : protected ready_node, private timer_node
{
  public:
    template <class F>
    static callback* make(loop_core& c, F&& f, bool near);

    /// Hands it, new, to the loop; the queue holds a reference. False if the loop is closed.
    POLYLOOP_DECL bool start();
    /// Both at once, on the own thread of a loop that is `plain`.
    template <class F>
    static boost::intrusive_ptr<callback> start_near(loop_core& c, F&& f);
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
        c->refs_.fetch_add(handle, std::memory_order_relaxed);
    }
    friend void intrusive_ptr_release(callback* c) noexcept
    {
        auto const n = c->refs_.load(std::memory_order_acquire);
        if (n == handle + queue && (one_thread() || c->core_->near()))
            c->refs_.store(queue, std::memory_order_relaxed); // the queue is this thread's, too
        else if (n == handle ||
                 c->refs_.fetch_sub(handle, std::memory_order_acq_rel) == handle)
            c->destroy();
    }

  protected:
    template <class F>
    static callback* construct(loop_core& c, F&& f, bool near);

    enum class operation : std::uint8_t
    {
        call,    ///< run the callable, then end its life
        release, ///< end its life
        free     ///< give the memory back; the callable has no life any more
    };
    using manager = void (*)(callback*, operation);

    callback(loop_core& c, action a, manager m) noexcept
        : ready_node(a, node_kind::callback), timer_node(timer_node::unset()), core_(&c),
          manage_(m)
    {
        if (locals_in_use()) [[unlikely]]
            locals_ = share_locals();
    }
    ~callback() = default;

    /// Gives up the queue's reference; true where that was the last. The last owner needs no atomic
    /// decrement.
    bool gives_up_last() noexcept
    {
        if (refs_.load(std::memory_order_acquire) == queue)
            return true;
        hold_core(false); // a handle lives on
        return refs_.fetch_sub(queue, std::memory_order_acq_rel) == queue;
    }
    struct queue_release
    {
        void operator()(callback* c) const noexcept
        {
            if (c->gives_up_last())
                c->destroy();
        }
    };

    /// Whether there is no more to the call than the call itself, which the caller then owes.
    bool take_plainly(verb v) noexcept
    {
        return v == verb::run && core_->plain() && !locals_in_use() &&
               leave_pending(state::taken);
    }
    POLYLOOP_DECL void perform(verb v);
    POLYLOOP_DECL void report_failure(std::string const& origin = {}) noexcept;

    /// What is in a loop's queue needs no reference to the loop: only what outlives that.
    void hold_core(bool near) noexcept
    {
        if (!std::exchange(holds_core_, true))
            core_->hold(near);
    }
    bool holds_core() const noexcept
    {
        return holds_core_;
    }

    loop_core* const core_;

  private:
    enum class state : std::uint8_t
    {
        pending,
        taken, ///< ran, runs, or was dropped with its loop
        cancelled
    };

    static constexpr std::uint32_t queue = 1;
    static constexpr std::uint32_t handle = 2;

    class arrival;

    /// Before anything else is done with the `timer_node`.
    void be_timer(steady_time when) noexcept;
    POLYLOOP_DECL static void on_expire(timer_node* n);
    POLYLOOP_DECL static void on_drop(timer_node* n);
    void call(std::string const& origin = {}) noexcept;

    bool leave_pending(state next) noexcept
    {
        // Without a handle there is nobody else.
        if (refs_.load(std::memory_order_acquire) == queue)
            return state_.load(std::memory_order_relaxed) == state::pending &&
                   (state_.store(next, std::memory_order_relaxed), true);
        state expected = state::pending;
        return state_.compare_exchange_strong(expected, next, std::memory_order_acq_rel);
    }

    void destroy() noexcept
    {
        if (state_.load(std::memory_order_relaxed) == state::pending) [[unlikely]]
            manage_(this, operation::release);
        manage_(this, operation::free);
    }

    manager manage_;
    locals_ptr locals_; // of who made it (S44)
    std::atomic<std::uint32_t> refs_ = handle;
    std::atomic<state> state_ = state::pending;
    bool timed_ = false;
    bool holds_core_ = false;
};

using callback_ptr = boost::intrusive_ptr<callback>;

template <class F>
class callback_with final : public callback
{
  public:
    template <class G>
    callback_with(loop_core& c, G&& g)
        : callback(c, &callback_with::act, &callback_with::manage)
    {
        ::new (static_cast<void*>(storage_)) F(std::forward<G>(g));
    }

  private:
    F& callable() noexcept
    {
        return *std::launder(reinterpret_cast<F*>(storage_));
    }

    void call()
    {
        struct ender
        {
            F& f;
            ~ender()
            {
                f.~F();
            }
        };
        ender const end{callable()};
        end.f();
    }

    static void act(ready_node* n, verb v)
    {
        auto* self = static_cast<callback_with*>(static_cast<callback*>(n));
        if (!self->take_plainly(v)) [[unlikely]]
        {
            std::unique_ptr<callback, queue_release> const queued(self);
            self->perform(v);
            return;
        }
        try
        {
            self->call();
        }
        catch (...)
        {
            self->report_failure();
        }
        if (self->gives_up_last())
            self->free(true); // a callback runs plainly on its single loop's own thread only
    }

    static void manage(callback* c, operation op)
    {
        auto* self = static_cast<callback_with*>(c);
        switch (op)
        {
        case operation::call:
            self->call();
            break;
        case operation::release:
            self->callable().~F();
            break;
        case operation::free:
            self->free(self->core_->near());
            break;
        }
    }

    void free(bool near) noexcept
    {
        loop_core& core = *core_;
        bool const held = holds_core();
        this->~callback_with();
        core.deallocate(this, sizeof(callback_with), near);
        if (held)
            core.let_go(near);
    }

    alignas(F) std::byte storage_[sizeof(F)];
};

template <class F>
callback* callback::construct(loop_core& c, F&& f, bool near)
{
    using type = callback_with<std::decay_t<F>>;
    static_assert(alignof(type) <= alignof(std::max_align_t),
                  "polyloop: a callback with a stricter alignment than max_align_t");
    void* const p = c.allocate(sizeof(type), near);
    try
    {
        return ::new (p) type(c, std::forward<F>(f));
    }
    catch (...)
    {
        c.deallocate(p, sizeof(type), near);
        throw;
    }
}

template <class F>
callback* callback::make(loop_core& c, F&& f, bool near)
{
    callback* const made = construct(c, std::forward<F>(f), near);
    made->hold_core(near);
    return made;
}

template <class F>
boost::intrusive_ptr<callback> callback::start_near(loop_core& c, F&& f)
{
    callback* const made = construct(c, std::forward<F>(f), true);
    made->refs_.store(handle + queue, std::memory_order_relaxed);
    c.push_local(*made);
    return {made, false};
}

} // namespace polyloop::detail

#endif
