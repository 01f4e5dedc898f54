// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_CONTEXT_PER_PROCESS_HPP
#define POLYLOOP_CONTEXT_PER_PROCESS_HPP

#include <polyloop/context/detail/fork.hpp>

#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <thread>

namespace polyloop {

/// A value that each process has for itself: after a `fork` the child finds a fresh one, made by
/// `T()`, whatever the parent's was (S17).
///
/// For the state of a policy of one's own: which loops are bound, which run is on, and the mutex
/// that guards both. The parent's loops are closed to a child, its threads are not there, and a
/// lock may be another thread's. So the child leaves the parent's value as it was, for good:
/// nothing ends it.
///
/// `T()` is called at the first access in the child, once; what it throws ends the child. Where the
/// system has no `fork`, it is a plain `T`.
///
/// Thread safety: as of the `T` itself.
template <std::default_initializable T>
class per_process
{
  public:
    per_process() : place_(std::make_unique<place>()), forks_(this, {.in_child = &forked})
    {
    }
    per_process(per_process const&) = delete;
    per_process& operator=(per_process const&) = delete;
    ~per_process()
    {
        if (age_.load(std::memory_order_relaxed) != age::current)
            keep(place_.release());
    }

    T& operator*() noexcept
    {
        return get();
    }
    T const& operator*() const noexcept
    {
        return get();
    }
    T* operator->() noexcept
    {
        return &get();
    }
    T const* operator->() const noexcept
    {
        return &get();
    }

  private:
    struct place
    {
        T value{};
        place* next = nullptr;
    };
    enum class age : std::uint8_t
    {
        current,
        parents, ///< not to be looked at: other threads may have been about to change it
        in_work
    };

    T& get() const noexcept
    {
        if (age_.load(std::memory_order_acquire) != age::current) [[unlikely]]
            renew();
        return place_->value;
    }
    void renew() const noexcept
    {
        auto found = age::parents;
        if (age_.compare_exchange_strong(found, age::in_work, std::memory_order_acquire))
        {
            keep(place_.release());
            place_ = std::make_unique<place>();
            age_.store(age::current, std::memory_order_release);
        }
        else
            while (age_.load(std::memory_order_acquire) != age::current)
                std::this_thread::yield();
    }
    /// With what it refers to.
    static void keep(place* parents) noexcept
    {
        static constinit std::atomic<place*> all = nullptr;
        if (!parents)
            return;
        parents->next = all.load(std::memory_order_relaxed);
        while (!all.compare_exchange_weak(parents->next, parents, std::memory_order_release,
                                          std::memory_order_relaxed))
            ;
    }
    // Makes nothing: what a `T` is made of may listen to forks as well, or want a lock of who does.
    static void forked(void* self) noexcept
    {
        static_cast<per_process*>(self)->age_.store(age::parents, std::memory_order_relaxed);
    }

    mutable std::unique_ptr<place> place_;
    mutable std::atomic<age> age_ = age::current;
    detail::fork_listener const forks_;
};

} // namespace polyloop

#endif
