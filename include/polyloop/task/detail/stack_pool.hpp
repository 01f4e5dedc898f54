// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_STACK_POOL_HPP
#define POLYLOOP_TASK_DETAIL_STACK_POOL_HPP

#include <polyloop/loop/detail/loop_core.hpp>
#include <polyloop/task/detail/switch.hpp>

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

namespace polyloop::detail {

class stack_pool;

/// The top of a stack: what stays with the memory from fiber to fiber. Below it lie the frames.
struct stack_slot : execution
{
    stack_pool* pool = nullptr;
    stack_slot* next = nullptr;
    fiber* occupant = nullptr;
};

/// The stacks of one loop: carved from large mappings, a guard page below each, kept with their
/// parked contexts when their fiber has ended.
///
/// Invariants
/// - `local_` belongs to a single loop's own thread; everything else that allocates takes `mutex_`.
/// - Any thread may give back: onto `returned_`, a lock-free stack that is only ever taken
///   whole.
/// - The pool lives until its loop is gone and every stack is back; those of fibers that did not
///   end never are.
class stack_pool
{
  public:
    POLYLOOP_DECL stack_pool(loop_core& core, void (*entry)(boost::context::detail::transfer_t));
    stack_pool(stack_pool const&) = delete;
    stack_pool& operator=(stack_pool const&) = delete;

    /// A stack with a context that stands at `entry` or is parked. Throws the system's error where
    /// memory or mappings are exhausted.
    /// `near`: on the thread of a single loop.
    stack_slot& get(bool near)
    {
        if (near && local_) [[likely]]
        {
            stack_slot& s = *local_;
            local_ = s.next;
            --local_size_;
            return s;
        }
        return get_slow();
    }

    void put(stack_slot& s) noexcept
    {
        if (mine() && local_size_ < keep_) [[likely]]
        {
            s.next = local_;
            local_ = &s;
            ++local_size_;
            return;
        }
        put_slow(s);
    }

    /// The loop is gone. The pool deletes itself when the last stack is back.
    POLYLOOP_DECL void orphan() noexcept;

  private:
    struct slab
    {
        std::byte* base;
        std::size_t length;
    };

    /// Whether the calling thread may touch `local_`: to be asked before that.
    bool mine() const noexcept
    {
        return core_->single() && core_->on_loop();
    }

    ~stack_pool();
    POLYLOOP_DECL stack_slot& get_slow();
    POLYLOOP_DECL void put_slow(stack_slot& s) noexcept;
    stack_slot& carve();
    void guard(std::byte* page);
    static stack_slot* orphaned_mark() noexcept;

    core_ptr core_;
    void (*entry_)(boost::context::detail::transfer_t);
    std::size_t const page_;
    std::size_t const stack_size_; // usable, whole pages
    std::size_t const guard_size_;
    std::size_t const keep_;

    stack_slot* local_ = nullptr;
    std::size_t local_size_ = 0;

    std::mutex mutex_;
    stack_slot* central_ = nullptr;
    std::vector<slab> slabs_;
    std::vector<stack_slot*> made_;
    std::byte* carve_ = nullptr;
    std::byte* carve_end_ = nullptr;
    bool guard_by_advice_ = true;

    alignas(64) std::atomic<stack_slot*> returned_ = nullptr;
    std::atomic<std::ptrdiff_t> orphans_ = 0;
};

} // namespace polyloop::detail

#endif
