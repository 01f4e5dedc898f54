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
    static fiber_task* make(scheduler& s, strand_core* strand, F&& f)
    {
        stack_slot& slot = s.stacks().get();
        void* where = nullptr;
        try
        {
            where = fits ? slot.block() : ::operator new(sizeof(fiber_task), alignment());
            return ::new (where) fiber_task(s, strand, slot, std::move(f));
        }
        catch (...)
        {
            if (!fits && where)
                ::operator delete(where, alignment());
            s.stacks().put(slot);
            throw;
        }
    }

  private:
    fiber_task(scheduler& s, strand_core* serial, stack_slot& own, F&& f)
        : fiber(s, serial, own), callable_(std::move(f))
    {
        set_result(&stored_);
    }

    void execute() noexcept override
    {
        std::exception_ptr e;
        try
        {
            check_cancel(); // a task that was cancelled before it started never starts
            stored_.set_from(*callable_);
        }
        catch (...)
        {
            e = std::current_exception();
        }
        // Before the joiners are told, as what it holds may be what they wait for.
        callable_.reset();
        finish(std::move(e));
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
