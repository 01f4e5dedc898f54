// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_STACK_POOL_HPP
#define POLYLOOP_TASK_DETAIL_STACK_POOL_HPP

#include <polyloop/loop/detail/loop_core.hpp>
#include <polyloop/task/detail/switch.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <vector>

namespace polyloop::detail {

class stack_pool;
struct stack_slab;

/// The top of a stack: what stays with the memory from fiber to fiber. Below it lie the frames.
struct stack_slot : execution
{
    stack_pool* pool = nullptr;
    stack_slot* next = nullptr;
    fiber* occupant = nullptr;
    stack_slab* slab = nullptr;
    unsigned valgrind_id = 0;

    /// Marks all that lies below the parked frames as not used.
    POLYLOOP_DECL void paint() noexcept;
    /// Bytes that were used at most by those who ran here since it was painted.
    POLYLOOP_DECL std::size_t used() const noexcept;
};

/// Idle stacks, the last one in the first one out.
///
/// Invariant: base <= floor <= top <= limit <= end. What lies below the floor was not taken since
/// the last `age`: the floor sinks only when it is met, so that counting costs nothing on the way.
class stack_shelf
{
  public:
    bool has_above_floor() const noexcept
    {
        return top_ != floor_;
    }
    bool has_room() const noexcept
    {
        return top_ != limit_;
    }
    stack_slot& pop() noexcept
    {
        return **--top_;
    }
    void push(stack_slot& s) noexcept
    {
        *top_++ = &s;
    }

    std::size_t size() const noexcept
    {
        return static_cast<std::size_t>(top_ - base_.get());
    }
    stack_slot** begin() const noexcept
    {
        return base_.get();
    }

    /// Lowers the floor; false where the shelf is empty.
    bool sink() noexcept;
    /// Up to `most` places, those that `shut` took among them. False where there are as many, or
    /// no memory for more.
    bool grow(std::size_t most) noexcept;
    /// No room before `grow` is asked again.
    void shut() noexcept
    {
        limit_ = top_;
    }
    /// Takes the `n` lowest, which idle longest, off: those at `begin` before this call.
    void drop_lowest(std::size_t n) noexcept;
    /// How many were not taken since the last call.
    std::size_t age() noexcept;

  private:
    std::unique_ptr<stack_slot*[]> base_;
    stack_slot** top_ = nullptr;
    stack_slot** floor_ = nullptr;
    stack_slot** limit_ = nullptr;
    stack_slot** end_ = nullptr; // of the places, where it is not shut
};

/// The stacks of one loop: carved from large mappings, a guard page below each, kept with their
/// parked contexts when their fiber has ended.
///
/// A stack is *hot* while it has a slot: in use, on the shelf or among the returned ones. A *cold*
/// one is an address range that takes no memory; a mapping whose stacks are all cold is given up.
///
/// Invariants
/// - `shelf_` belongs to a single loop's own thread (`mine()`), on other loops to `mutex_`, which
///   also guards the slabs.
/// - Any thread may give back: onto `returned_`, a lock-free stack that is only ever taken
///   whole.
/// - The pool lives until its loop is gone and every stack is back; those of fibers that did not
///   end never are.
/// - Idle stacks are watched by a timer of the loop, so that they go back though no fiber is
///   spawned any more. There is none while nothing is idle: then the shelf is shut, so that the
///   first stack that comes back begins the watch, and the others cost nothing. A timer would be
///   work to an adopted `io_context`: there it is looked only now and then, as `tick` is called.
class stack_pool : private timer_node, private ready_node
{
  public:
    POLYLOOP_DECL stack_pool(loop_core& core, stack_entry first);
    stack_pool(stack_pool const&) = delete;
    stack_pool& operator=(stack_pool const&) = delete;

    /// A stack with a context that stands at `entry` or is parked: for a thread that runs the loop.
    /// Throws the system's error where memory or mappings are exhausted: the same object for the
    /// same failure, since each fiber that has to end by it keeps it, and memory is short.
    stack_slot& get()
    {
        if (mine() && shelf_.has_above_floor()) [[likely]]
            return shelf_.pop();
        return get_slow();
    }

    void put(stack_slot& s) noexcept
    {
        if (mine() && shelf_.has_room()) [[likely]]
        {
            shelf_.push(s);
            return;
        }
        put_slow(s);
    }

    /// Now and then, on a single loop's own thread: lets go of what has long been idle.
    void tick() noexcept
    {
        if (mine())
            age();
    }

    /// The loop is gone. The pool deletes itself when the last stack is back.
    POLYLOOP_DECL void orphan() noexcept;

    /// Whether stacks are painted before each use, so that `stack_slot::used` tells something.
    bool paints() const noexcept
    {
        return paints_;
    }
    bool reports_overflow() const noexcept
    {
        return core_->options().stacks.report_overflow;
    }
    loop_core& core() const noexcept
    {
        return *core_;
    }
    stack_entry entry() const noexcept
    {
        return entry_;
    }
    std::size_t guard_size() const noexcept
    {
        return guard_size_;
    }

  private:
    /// Whether the calling thread may touch the shelf without a lock: to be asked before that.
    bool mine() const noexcept
    {
        return this_frame().core == core_.get() && !shared_;
    }

    ~stack_pool();
    void watch() noexcept;
    void watch_from_elsewhere() noexcept;
    void watch_again(std::chrono::nanoseconds pause) noexcept;
    void end_watch() noexcept;
    void look() noexcept;
    static void on_expire(timer_node* n);
    static void on_due(ready_node* n, verb v);
    POLYLOOP_DECL stack_slot& get_slow();
    POLYLOOP_DECL void put_slow(stack_slot& s) noexcept;
    POLYLOOP_DECL void age() noexcept;
    stack_slot* take_idle() noexcept;
    void take_in(stack_slot* s) noexcept;
    void put_returned(stack_slot& s) noexcept;
    void push_returned(stack_slot& s) noexcept;
    void gone_back() noexcept;
    stack_slot& heat();
    stack_slab& new_slab();
    void guard(std::byte* page);
    [[noreturn]] void fail(int error, char const* what);
    void touch(stack_slot& s) noexcept;
    void cool(stack_slot** slots, std::size_t n) noexcept;
    void cool_lowest(std::size_t n) noexcept;
    void unmap(stack_slab& s) noexcept;
    std::byte* bottom(stack_slab const& s, unsigned i) const noexcept;
    stack_slot* slot(stack_slab const& s, unsigned i) const noexcept;
    static stack_slot* orphaned_mark() noexcept;

    stack_shelf shelf_;
    core_ptr core_;
    bool const shared_; // the shelf is every thread's, by the lock
    stack_entry const entry_;
    bool const paints_;
    std::size_t const page_;
    std::size_t const stack_size_; // usable, whole pages
    std::size_t const guard_size_;
    std::size_t const keep_;
    steady_time aged_at_{};
    std::size_t quota_ = 0; // found idle, and still to be let go of
    unsigned draws_ = 0;    // on loops of higher concurrency: when to age
    bool const watches_;    // has a timer
    bool came_ = false;     // its time has
    std::atomic<bool> watched_ = false;

    std::mutex mutex_;
    std::vector<std::unique_ptr<stack_slab>> slabs_;
    stack_slab* open_ = nullptr; // those with cold stacks
    std::size_t hot_ = 0;
    bool guard_by_advice_ = true;
    std::exception_ptr failure_; // the last one, made once
    int failed_with_ = 0;
    char const* failed_for_ = nullptr;

    alignas(64) std::atomic<stack_slot*> returned_ = nullptr;
    std::atomic<std::size_t> returned_size_ = 0; // with the shelf where that is shared
    std::atomic<std::ptrdiff_t> orphans_ = 0;
};

} // namespace polyloop::detail

#endif
