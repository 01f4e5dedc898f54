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

/// A fiber with its callable and its result.
template <class F, class T>
class fiber_task final : public fiber
{
  public:
    template <class G>
    static fiber_task* make(birth const& b, G&& f)
    {
        loop_core& core = b.sched.core();
        void* const where = allocate(core, b.near);
        try
        {
            auto* const t = ::new (where) fiber_task(b, std::forward<G>(f));
            core.hold(b.near);
            return t;
        }
        catch (...)
        {
            deallocate(core, where, b.near);
            throw;
        }
    }

  private:
    template <class G>
    fiber_task(birth const& b, G&& f)
        : fiber(b), callable_(std::in_place, std::forward<G>(f))
    {
        set_result(&stored_);
    }

    void execute() noexcept override
    {
        // The callable goes before the joiners are told, as what it holds may be what they wait
        // for.
        try
        {
            check_cancel(); // a task that was cancelled before it started never starts
            stored_.set_from(*callable_);
        }
        catch (...)
        {
            std::exception_ptr e = std::current_exception();
            callable_.reset();
            note_stack_use();
            finish(std::move(e));
            return;
        }
        callable_.reset();
        note_stack_use();
        finish();
    }

    void dispose() noexcept override
    {
        loop_core& core = this->core();
        this->~fiber_task();
        bool const near = core.near(); // asked now, as a result may have ended with the loop
        deallocate(core, this, near);
        core.let_go(near);
    }

    ~fiber_task() override = default;

    static constexpr bool over_aligned()
    {
        return alignof(fiber_task) > alignof(std::max_align_t);
    }
    static void* allocate(loop_core& core, bool near)
    {
        if constexpr (over_aligned())
            return ::operator new(sizeof(fiber_task), std::align_val_t(alignof(fiber_task)));
        else
            return core.allocate(sizeof(fiber_task), near);
    }
    static void deallocate(loop_core& core, void* where, bool near) noexcept
    {
        if constexpr (over_aligned())
            ::operator delete(where, std::align_val_t(alignof(fiber_task)));
        else
            core.deallocate(where, sizeof(fiber_task), near);
    }

    std::optional<F> callable_;
    task_value<T> stored_;
};

} // namespace polyloop::detail

#endif
