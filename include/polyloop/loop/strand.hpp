// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_STRAND_HPP
#define POLYLOOP_LOOP_STRAND_HPP

#include <polyloop/context/context.hpp>
#include <polyloop/loop/detail/executor_base.hpp>
#include <polyloop/loop/detail/strand_core.hpp>

#include <string>
#include <utility>

namespace polyloop {

/// An Asio executor whose handlers never run at the same time and run in the order in which they
/// were posted, and a context of its own: `this_context::current()` names it in its handlers.
///
/// On a loop of concurrency 1 it takes no lock. Handles are counted references to one strand;
/// copies are the same strand. Handlers that are given to a strand whose loop is closed
/// are dropped. What a handler throws goes to the loop's exception handler.
///
/// A fiber that was spawned on a strand holds it while it runs and releases it while it waits.
///
/// Thread safety: distinct objects safe, for the same strand too; shared objects safe to read.
class strand : public detail::executor_base<strand>
{
  public:
    /// A new strand on `loop`. Throws `error::loop_closed`.
    POLYLOOP_DECL explicit strand(event_loop& loop, std::string name = {});

    strand(strand const& other) noexcept : impl_(other.impl_)
    {
        copy_bits(other);
        track();
    }
    strand(strand&& other) noexcept : impl_(std::move(other.impl_))
    {
        set_bits(other.take_bits());
    }
    strand& operator=(strand other) noexcept
    {
        impl_.swap(other.impl_);
        std::uint8_t const bits = other.take_bits();
        other.set_bits(take_bits());
        set_bits(bits);
        return *this;
    }
    ~strand()
    {
        untrack();
    }

    /// The context that its handlers run in.
    POLYLOOP_DECL context as_context() const;

    /// The loop it lives on. Precondition: the loop lives.
    event_loop& loop() const noexcept
    {
        return *core().facade();
    }

    /// Whether the caller is in one of its handlers or fibers.
    bool running_in_this_thread() const noexcept
    {
        return impl_->running_here();
    }

    /// Runs `f` in the strand: at once where the caller is in it already (or in a bare handler of
    /// its loop while nothing waits), else in order. With `blocking.never` always in order.
    template <class F>
    void execute(F&& f) const
    {
        detail::strand_core& s = *impl_;
        if (!never_blocks())
        {
            if (s.running_here())
            {
                std::decay_t<F> g(std::forward<F>(f));
                g();
                return;
            }
            if (s.may_dispatch())
            {
                detail::frame_guard guard;
                guard.frame().strand = &s;
                std::decay_t<F> g(std::forward<F>(f));
                g();
                return;
            }
        }
        s.post(std::forward<F>(f));
    }

    friend bool operator==(strand const& a, strand const& b) noexcept
    {
        return a.impl_ == b.impl_;
    }
    friend bool operator!=(strand const& a, strand const& b) noexcept
    {
        return a.impl_ != b.impl_;
    }

    // For the rooms further down.
    detail::loop_core& core() const noexcept
    {
        return impl_->core();
    }
    detail::strand_core& state() const noexcept
    {
        return *impl_;
    }

  private:
    detail::strand_ptr impl_;
};

} // namespace polyloop

#endif
