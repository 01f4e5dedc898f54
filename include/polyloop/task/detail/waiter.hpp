// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_WAITER_HPP
#define POLYLOOP_TASK_DETAIL_WAITER_HPP

#include <polyloop/context/detail/one_thread.hpp>
#include <polyloop/task/detail/fiber.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/assert.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

/// Whether a waiter is on its object's list.
enum class on_list : std::uint8_t
{
    no,
    yes,
    leaving ///< and whoever is about to take it off looks at the object; see `leave_gate`
};

/// Somebody who waits at an object: a fiber, a thread, or a completion handler.
///
/// Lies in the frame of who waits, or in an operation on the heap. The object's lock guards all
/// but `grant` and `who`, which say how to let it go on.
struct waiter
{
    waiter* prev = nullptr;
    waiter* next = nullptr;
    void (*grant)(waiter*) = nullptr; ///< once, off the list; the waiter may be gone then
    void* who = nullptr;
    std::atomic<on_list> queued = on_list::no;
};

/// First come, first served. Under the lock of its owner.
class wait_list
{
  public:
    bool empty() const noexcept
    {
        return !first_;
    }
    waiter* front() const noexcept
    {
        return first_;
    }

    void push(waiter& w) noexcept
    {
        w.prev = last_;
        w.next = nullptr;
        (last_ ? last_->next : first_) = &w;
        last_ = &w;
        w.queued.store(on_list::yes, std::memory_order_relaxed);
    }

    /// By who leaves. Others are taken off by `section::pop`.
    void erase(waiter& w) noexcept
    {
        unlink(w);
        w.queued.store(on_list::no, std::memory_order_release);
    }

  private:
    friend class section;

    void unlink(waiter& w) noexcept
    {
        (w.prev ? w.prev->next : first_) = w.next;
        (w.next ? w.next->prev : last_) = w.prev;
    }

    waiter* first_ = nullptr;
    waiter* last_ = nullptr;
};

/// An object's state whose lowest bit is its lock: giving the lock back and publishing the new
/// state are one store, the last touch of the object, which may be destroyed by whoever sees it.
class state_word
{
  public:
    using value = std::uint64_t;
    static constexpr value locked = 1;

    constexpr explicit state_word(value v = 0) noexcept : word_(v)
    {
    }

    value load() const noexcept
    {
        return word_.load(std::memory_order_acquire);
    }
    /// From one unlocked state to another; else `from` is what was found.
    bool change(value& from, value to) noexcept
    {
        // A failed exchange costs as much as a successful one, a look nothing.
        value const seen = load();
        if (seen != from)
        {
            from = seen;
            return false;
        }
        if (one_thread())
        {
            word_.store(to, std::memory_order_relaxed);
            return true;
        }
        return word_.compare_exchange_strong(from, to, std::memory_order_acq_rel,
                                             std::memory_order_acquire);
    }

    /// The state, without the lock's bit.
    value lock() noexcept
    {
        value v = word_.load(std::memory_order_relaxed);
        if (!(v & locked) && take(v)) [[likely]]
            return v;
        return lock_slowly();
    }
    bool try_lock(value& v) noexcept
    {
        v = word_.load(std::memory_order_relaxed);
        return !(v & locked) && take(v);
    }
    void unlock(value v) noexcept
    {
        BOOST_ASSERT(!(v & locked));
        word_.store(v, std::memory_order_release);
    }

  private:
    /// `v`: what was seen, unlocked.
    bool take(value& v) noexcept
    {
        if (one_thread())
        {
            word_.store(v | locked, std::memory_order_relaxed);
            return true;
        }
        return word_.compare_exchange_strong(v, v | locked, std::memory_order_acquire,
                                             std::memory_order_relaxed);
    }
    POLYLOOP_DECL value lock_slowly() noexcept;

    std::atomic<value> word_;
};

/// Who wants to leave a wait says so on its waiter, and holds its object's gate while it looks at
/// the object. Who takes a waiter off the list that is just leaving goes through the gate before it
/// gives the lock back. So whoever goes on then may destroy the object although another one is
/// being cancelled, or times out, at that moment: that one looks at its own waiter first, and sees
/// that it is off the list. The gates are static, shared by objects.
POLYLOOP_DECL spin_lock& leave_gate(void const* object) noexcept;

/// A short section in which an object is locked. At its end the lock is given back with the
/// state `value`, and those who were released in it go on; the object is not touched again.
class section
{
  public:
    explicit section(state_word& w) noexcept : value(w.lock()), word_(&w)
    {
    }
    /// Locked already.
    section(state_word& w, state_word::value held) noexcept : value(held), word_(&w)
    {
    }

    section(section const&) = delete;
    section& operator=(section const&) = delete;

    ~section()
    {
        finish();
    }

    /// One who is off its list, to go on at the end of the section.
    void release(waiter& w) noexcept
    {
        w.next = nullptr;
        (last_ ? last_->next : first_) = &w;
        last_ = &w;
    }

    /// The first of a list, off it.
    waiter& pop(wait_list& list) noexcept
    {
        waiter& w = *list.front();
        list.unlink(w);
        take_off(w.queued);
        return w;
    }
    /// What `pop` does with the waiter's mark.
    void take_off(std::atomic<on_list>& mark) noexcept
    {
        if (one_thread())
            mark.store(on_list::no, std::memory_order_relaxed);
        else if (mark.exchange(on_list::no, std::memory_order_acq_rel) == on_list::leaving)
            [[unlikely]]
            pass_leavers();
    }

    /// All of a list.
    void release_all(wait_list& list) noexcept
    {
        while (!list.empty())
            release(pop(list));
    }

    void finish() noexcept
    {
        if (!word_)
            return;
        std::exchange(word_, nullptr)->unlock(value);
        for (waiter* w = first_; w;)
        {
            waiter* const following = w->next;
            w->grant(w);
            w = following;
        }
    }

    state_word::value value;

  private:
    POLYLOOP_DECL void pass_leavers() noexcept;

    state_word* word_;
    waiter* first_ = nullptr;
    waiter* last_ = nullptr;
};

/// Takes a waiter away from its object, unless it was granted: then nothing is touched. `queued`
/// says that it is there, `remove(s)` takes it off the list, in a section.
template <class Remove>
bool leave_wait(state_word& word, std::atomic<on_list>& queued, Remove remove) noexcept
{
    spin_lock& gate = leave_gate(&word);
    for (;; std::this_thread::yield())
    {
        std::unique_lock held(gate);
        auto here = on_list::yes;
        if (!queued.compare_exchange_strong(here, on_list::leaving, std::memory_order_acq_rel) &&
            here == on_list::no)
            return false;
        state_word::value v;
        // Not the other way round, and not for good: who pops has the lock, and wants the gate.
        if (!word.try_lock(v))
            continue;
        section s(word, v);
        bool const still = queued.load(std::memory_order_relaxed) != on_list::no;
        if (still)
            remove(s);
        held.unlock();
        return still;
    }
}

template <class Remove>
bool leave_wait(state_word& word, waiter& w, Remove remove) noexcept
{
    return leave_wait(word, w.queued, remove);
}

/// Where somebody waits: the object, and how to leave it, as `leave_wait` does.
struct wait_place
{
    void* object;
    bool (*leave)(void* object, waiter& w);

    bool leave_as(waiter& w) const
    {
        return leave(object, w);
    }
};

enum class wait_end : std::uint8_t
{
    granted,
    timed_out,
    cancelled
};

/// A fiber's wait without a limit: a cancellation takes the waiter off its object's list.
struct object_wait : fiber_wait
{
    object_wait(fiber& f, waiter& w, wait_place p) noexcept
        : fiber_wait(&object_wait::on_interrupt), self(f), waiting(w), place(p)
    {
    }

    /// False where it was granted before.
    POLYLOOP_DECL bool leave(wait_end how);
    POLYLOOP_DECL static bool on_interrupt(fiber_wait& w, reason);

    fiber& self;
    waiter& waiting;
    wait_place place;
    wait_end end = wait_end::granted;
};

/// How long a wait may last: for ever, for a while from its start, or until a time.
class deadline
{
  public:
    constexpr deadline() noexcept = default;

    template <class Rep, class Period>
    static deadline after(std::chrono::duration<Rep, Period> d) noexcept
    {
        return {kind::after, to_nanoseconds(d)};
    }
    /// Of another clock: see `to_steady`.
    template <class Clock, class Duration>
    static deadline at(std::chrono::time_point<Clock, Duration> t)
    {
        return {kind::at, to_steady(t).time_since_epoch()};
    }

    bool never() const noexcept
    {
        return kind_ == kind::never || count_ == std::chrono::nanoseconds::max();
    }
    /// Over already: not to be waited for at all.
    bool passed() const noexcept
    {
        return !never() && has_passed();
    }
    /// The same for waits in a row, none of which starts it anew.
    deadline fixed() const noexcept
    {
        return never() ? *this : deadline(kind::at, time().time_since_epoch());
    }
    /// This one, or after a while, whichever comes first.
    deadline or_after(std::chrono::nanoseconds pause) const noexcept
    {
        steady_time const end = after(pause).time();
        return at(never() ? end : std::min(end, time()));
    }
    /// On the clock, of which fibers use the time of their batch.
    POLYLOOP_DECL steady_time time() const noexcept;

  private:
    enum class kind : std::uint8_t
    {
        never,
        after,
        at
    };

    constexpr deadline(kind k, std::chrono::nanoseconds n) noexcept : count_(n), kind_(k)
    {
    }
    POLYLOOP_DECL bool has_passed() const noexcept;

    std::chrono::nanoseconds count_{};
    kind kind_ = kind::never;
};

/// The identity that owns what the running context locks; never 0, below 2^61.
inline context::id_type current_owner()
{
    return current_node().id();
}

/// What a thread is blocked on.
struct thread_parking
{
    std::mutex mutex;
    std::condition_variable condition;
    bool done = false;
};

/// The calling context as one who may wait: a fiber is suspended, a plain thread blocked. In the
/// frame of the waiting function.
class blocker
{
  public:
    POLYLOOP_DECL blocker() noexcept;
    blocker(blocker const&) = delete;
    blocker& operator=(blocker const&) = delete;
    ~blocker()
    {
        if (!fiber_)
            thread_.~thread_parking();
    }

    /// False in a bare handler, and in a fiber that is to end this wait at once. To be asked before
    /// a waiter is queued; no lock may be held when `refuse` is called then.
    bool may_wait() const noexcept
    {
        if (fiber_) [[likely]]
            return !fiber_->cancel_pending() && !fiber_->core().unwinding();
        return !bare_;
    }
    /// In a bare handler; for a wait that no cancellation ends.
    bool bare() const noexcept
    {
        return bare_;
    }
    /// Throws `not_in_fiber` or `operation_aborted`.
    [[noreturn]] POLYLOOP_DECL void refuse();

    /// Before `w` is queued.
    void prepare(waiter& w) noexcept
    {
        w.grant = fiber_ ? &blocker::wake_fiber : &blocker::wake_thread;
        w.who = fiber_ ? static_cast<void*>(fiber_) : &thread_;
    }

    /// Until `w`, which was queued, is granted, or the limit passes, or the task is cancelled: in
    /// the last two cases it is off the list.
    wait_end wait(waiter& w, wait_place place, deadline limit = {})
    {
        if (!fiber_ || !limit.never()) [[unlikely]]
            return wait_until(w, place, limit);
        object_wait p(*fiber_, w, place);
        fiber_->wait_here(p);
        return p.end;
    }

    /// Until it is granted; a cancellation waits for the next suspension.
    POLYLOOP_DECL void wait_uncancelled(waiter& w) noexcept;

  private:
    POLYLOOP_DECL static void wake_fiber(waiter* w);
    POLYLOOP_DECL static void wake_thread(waiter* w);
    POLYLOOP_DECL wait_end wait_until(waiter& w, wait_place place, deadline limit);
    wait_end suspend_until(waiter& w, wait_place place, steady_time limit);
    wait_end block(waiter& w, wait_place const* place, steady_time limit);

    fiber* fiber_;
    bool bare_ = false;
    union
    {
        thread_parking thread_;
    };
};

/// Where handlers without an executor of their own are called: on the running loop, else by the
/// system executor.
POLYLOOP_DECL boost::asio::any_io_executor ambient_executor();

} // namespace polyloop::detail

#endif
