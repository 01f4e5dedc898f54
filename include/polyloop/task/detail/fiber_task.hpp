// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_FIBER_TASK_HPP
#define POLYLOOP_TASK_DETAIL_FIBER_TASK_HPP

#include <polyloop/task/detail/task_value.hpp>
#include <polyloop/task/detail/scheduler.hpp>

#include <algorithm>
#include <cstddef>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

/// A fiber with its callable and its result, at the top of its own stack if they fit there.
template <class F, class T>
class fiber_task final : public fiber
{
  public:
    template <class G>
    static fiber_task* make(birth const& b, G&& f)
    {
        stack_slot& slot = b.sched.stacks().get(b.near);
        void* where = nullptr;
        try
        {
            where = fits ? slot.block() : ::operator new(sizeof(fiber_task), alignment());
            return ::new (where) fiber_task(b, slot, std::forward<G>(f));
        }
        catch (...)
        {
            if (!fits && where)
                ::operator delete(where, alignment());
            slot.pool->put(slot);
            throw;
        }
    }

  private:
    template <class G>
    fiber_task(birth const& b, stack_slot& own, G&& f)
        : fiber(b, own), callable_(std::in_place, std::forward<G>(f))
    {
        set_result(&stored_);
    }

    void execute() noexcept override
    {
        // The callable goes before the joiners are told, as what it holds may be what they wait for.
        try
        {
            check_cancel(); // a task that was cancelled before it started never starts
            stored_.set_from(*callable_);
        }
        catch (...)
        {
            std::exception_ptr e = std::current_exception();
            callable_.reset();
            finish(std::move(e));
            return;
        }
        callable_.reset();
        finish();
    }

    void dispose() noexcept override
    {
        stack_slot& own = slot();
        void* const where = this;
        this->~fiber_task();
        if (!fits)
            ::operator delete(where, alignment());
        own.pool->put(own);
    }

    ~fiber_task() override = default;

    static std::align_val_t alignment() noexcept
    {
        return std::align_val_t(std::max(alignof(fiber_task), alignof(std::max_align_t)));
    }
    static const bool fits;

    std::optional<F> callable_;
    task_value<T> stored_;
};

template <class F, class T>
const bool fiber_task<F, T>::fits =
    sizeof(fiber_task<F, T>) <= stack_slot::room && alignof(fiber_task<F, T>) <= 64;

} // namespace polyloop::detail

#endif
