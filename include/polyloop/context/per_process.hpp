// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_CONTEXT_PER_PROCESS_HPP
#define POLYLOOP_CONTEXT_PER_PROCESS_HPP

#include <polyloop/context/detail/fork.hpp>

#include <concepts>
#include <utility>

namespace polyloop {

/// A value that each process has for itself: after a `fork` the child finds a fresh one, made by
/// `T()`, whatever the parent's was (S17).
///
/// For the state of a policy of one's own: which loops are bound, which run is on, and the mutex
/// that guards both. The parent's loops are closed to a child, its threads are not there, and a
/// lock may be another thread's. So the child leaves the parent's value as it was, for good:
/// nothing ends it.
///
/// `T()` is called in the child before `fork` returns there, and may allocate; what it throws ends
/// the child. Where the system has no `fork`, it is a plain `T`.
///
/// Thread safety: as of the `T` itself.
template <std::default_initializable T>
class per_process
{
  public:
    per_process() : place_(new place), forks_(this, {.in_child = &per_process::forked})
    {
    }
    per_process(per_process const&) = delete;
    per_process& operator=(per_process const&) = delete;
    ~per_process()
    {
        delete place_;
    }

    T& operator*() noexcept
    {
        return place_->value;
    }
    T const& operator*() const noexcept
    {
        return place_->value;
    }
    T* operator->() noexcept
    {
        return &place_->value;
    }
    T const* operator->() const noexcept
    {
        return &place_->value;
    }

  private:
    struct place
    {
        T value{};
        place* next = nullptr;
    };

    static void forked(void* self) noexcept
    {
        static constinit place* all = nullptr; // kept, with what it refers to
        place* const parents = std::exchange(static_cast<per_process*>(self)->place_, new place);
        parents->next = std::exchange(all, parents);
    }

    place* place_;
    detail::fork_listener const forks_;
};

} // namespace polyloop

#endif
