// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_DESCRIPTOR_HPP
#define POLYLOOP_IO_DETAIL_DESCRIPTOR_HPP

#include <polyloop/context/detail/one_thread.hpp>
#include <polyloop/task/detail/waiter.hpp>

#include <boost/asio/error.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/system/error_code.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace polyloop::detail {

class readiness;

/// Which way somebody wants to go.
enum class direction : std::uint8_t
{
    read,
    write
};

/// Somebody who waits for a descriptor to become ready.
struct descriptor_waiter : waiter
{
    bool aborted = false; ///< the descriptor was closed, or its waits were cancelled
};

/// How a wait without list and lock ended.
enum class near_end : std::uint8_t
{
    ready,
    aborted,
    refused ///< it did not begin: `descriptor::wait` tells
};

/// A socket that is open, with what is known of its readiness, and who waits for it.
///
/// What the kernel says comes by edges: a bit is set by an edge, and taken away by who found the
/// socket exhausted, unless another edge came since it looked.
///
/// Invariants
/// - The word is the lock, the two bits, whether reads may be short although there is more (after
///   the peer's end, at urgent data; always on local sockets), whether it is closed, whether its
///   loop is, whether somebody may be in the lists, and the number of edges, which makes a bit that
///   is taken away the one that was seen.
/// - On a single loop the first of its own fibers that waits has a place outside of the lists, and
///   needs no lock: `near_`. Only the loop's thread puts somebody there; whoever takes him away, by
///   an exchange, lets him go on. Who ends the waits counts that before he looks there, and who
///   waits looks at the count afterwards: one of both sees the other.
/// - The number of the descriptor is given back once nobody can be in a system call with it:
///   `users_` counts the open socket, and everybody in one but a single loop's own thread, which
///   therefore takes the open socket away itself.
class descriptor
{
  public:
    using pointer = boost::intrusive_ptr<descriptor>;
    using native = int;

    /// Takes the number over, which must not block, and listens for its edges. Throws the system's
    /// error, and has closed it then.
    ///
    /// `connected`: it can be written to. `whole`: a read gets all there is, as far as there is
    /// room, which holds for TCP without urgent data.
    POLYLOOP_DECL static pointer open(loop_core& core, int number, bool connected, bool whole);

    loop_core& core() const noexcept
    {
        return *core_;
    }
    int number() const noexcept
    {
        return number_;
    }

    state_word::value state() const noexcept
    {
        return word_.load();
    }
    static bool ready(state_word::value v, direction d) noexcept
    {
        return v & bit(d);
    }
    static bool closed(state_word::value v) noexcept
    {
        return v & closed_bit;
    }
    bool closed() const noexcept
    {
        return closed(state());
    }
    /// Of an operation that finds nothing out of the ordinary.
    static bool must_wait(state_word::value v, direction d) noexcept
    {
        return !(v & (bit(d) | closed_bit | orphan_bit));
    }
    static bool may_try(state_word::value v, direction d) noexcept
    {
        return (v & (bit(d) | closed_bit)) == bit(d);
    }
    /// It gave less than there might be, when its state was `seen`: the next one waits first.
    void exhausted(state_word::value seen, direction d) noexcept
    {
        if (d == direction::write || !(seen & broken_bit))
            word_.change(seen, seen & ~bit(d));
    }
    /// It would have blocked, whatever the bits said.
    void would_block(state_word::value seen, direction d) noexcept
    {
        word_.change(seen, seen & ~bit(d));
    }

    /// Around a system call.
    class use
    {
      public:
        /// `near`: in a single loop's own thread.
        use(descriptor& d, bool near) noexcept
            : descriptor_(d), counted_(!near && d.enter_use()), valid_(near || counted_)
        {
        }
        use(use const&) = delete;
        use& operator=(use const&) = delete;
        ~use()
        {
            if (counted_)
                descriptor_.leave_use();
        }
        /// Whether the number is the socket's still.
        bool valid() const noexcept
        {
            return valid_;
        }

      private:
        descriptor& descriptor_;
        bool const counted_;
        bool const valid_;
    };

    /// Until it may be ready, in a fiber or a thread. `operation_aborted`, `bad_descriptor`,
    /// `timed_out`, `not_in_fiber`, or `loop_closed`; otherwise success, also where it need not
    /// wait.
    ///
    /// `cancels` is what `cancels()` was when the operation began: one that was cancelled since, or
    /// whose socket was closed, waits no more.
    POLYLOOP_DECL boost::system::error_code wait(direction d, deadline limit, unsigned cancels);
    /// The same for a fiber of a single loop on that loop's thread, where it is the only one that
    /// waits so: it needs neither list nor lock. The caller touches nothing thread-local
    /// afterwards.
    POLYLOOP_DECL near_end wait_near(direction d, unsigned cancels) noexcept;

    /// How often the waits were ended.
    unsigned cancels() const noexcept
    {
        return cancels_.load();
    }
    /// Why an operation that began with so many `cancels` cannot go on, as the socket is closed.
    boost::system::error_code why_closed(unsigned cancels) const noexcept
    {
        if (this->cancels() != cancels)
            return boost::asio::error::operation_aborted;
        return boost::asio::error::bad_descriptor;
    }

    /// For a handler: queues, or returns true where there is no need, or nothing to wait for.
    POLYLOOP_DECL bool begin(descriptor_waiter& w, direction d, unsigned cancels) noexcept;
    wait_place place(direction d) noexcept
    {
        return {this, d == direction::read ? &descriptor::leave_readers
                                           : &descriptor::leave_writers};
    }

    /// Ends all waits by `operation_aborted`. From any thread.
    void cancel() noexcept
    {
        abort(0);
    }
    /// The same, and nobody waits any more, as no edges will come.
    void orphan() noexcept
    {
        abort(orphan_bit);
    }
    /// The same, and gives the number back. A second call does nothing. From any thread.
    POLYLOOP_DECL void close() noexcept;
    /// Takes it away from the loop and gives its number to the caller; -1 where it is closed. In
    /// the loop's own thread, or while nobody uses the socket.
    POLYLOOP_DECL int release() noexcept;
    /// To the system, which had given it.
    POLYLOOP_DECL static void give_back(int number) noexcept;

    /// An edge, in the loop, entered; or, while nobody waits, what is known without one.
    void edge(bool readable, bool writable, bool broken) noexcept
    {
        state_word::value const bits = (readable ? readable_bit : 0) |
                                       (writable ? writable_bit : 0) | (broken ? broken_bit : 0);
        state_word::value v = word_.load();
        if ((v & (state_word::locked | closed_bit | listed_bit)) ||
            !word_.change(v, (v + one_edge) | bits)) [[unlikely]]
        {
            edge_slowly(bits);
            return;
        }
        if (readable && near(direction::read).load(std::memory_order_relaxed)) [[likely]]
            grant_near(direction::read);
        if (writable && near(direction::write).load(std::memory_order_relaxed)) [[unlikely]]
            grant_near(direction::write);
    }

    friend void intrusive_ptr_add_ref(descriptor* d) noexcept
    {
        d->refs_.add();
    }
    friend void intrusive_ptr_release(descriptor* d) noexcept
    {
        if (d->refs_.drop())
            delete d;
    }

  private:
    static constexpr state_word::value readable_bit = 2;
    static constexpr state_word::value writable_bit = 4;
    static constexpr state_word::value broken_bit = 8;
    static constexpr state_word::value closed_bit = 16;
    static constexpr state_word::value orphan_bit = 32;
    static constexpr state_word::value listed_bit = 64; // else the lists are empty
    static constexpr state_word::value one_edge = 128;

    static constexpr state_word::value bit(direction d) noexcept
    {
        return d == direction::read ? readable_bit : writable_bit;
    }
    /// Under the lock.
    void queue(section& s, descriptor_waiter& w, direction d) noexcept
    {
        s.value |= listed_bit;
        (d == direction::read ? readers_ : writers_).push(w);
    }

    struct near_wait : fiber_wait
    {
        near_wait(fiber& f, descriptor& d, direction w) noexcept
            : fiber_wait(&near_wait::on_interrupt), self(f), waited(d), way(w)
        {
        }
        static bool on_interrupt(fiber_wait& base, reason);
        static wait_name const name;

        fiber& self;
        descriptor& waited;
        direction const way;
        bool aborted = false;
    };
    std::atomic<near_wait*>& near(direction d) noexcept
    {
        return near_[static_cast<std::size_t>(d)];
    }
    /// Whoever was there: to let him go on is the caller's now.
    near_wait* take_near(direction d) noexcept
    {
        std::atomic<near_wait*>& place = near(d);
        near_wait* const w = place.load(std::memory_order_relaxed);
        if (!one_thread())
            return place.exchange(nullptr);
        place.store(nullptr, std::memory_order_relaxed);
        return w;
    }
    /// In the loop, entered.
    void grant_near(direction d) noexcept
    {
        if (near_wait* const w = take_near(d)) [[likely]]
            core_->push_entered(w->self);
    }
    void abort_near() noexcept;

    descriptor(loop_core& core, int number, state_word::value state) noexcept;
    ~descriptor() = default;

    POLYLOOP_DECL void abort(state_word::value set) noexcept;
    bool end() noexcept;
    POLYLOOP_DECL bool enter_use() noexcept;
    POLYLOOP_DECL void leave_use() noexcept;
    void abort_all(section& s) noexcept;
    static void on_departure(ready_node* n, ready_node::verb) noexcept;
    POLYLOOP_DECL static bool leave_readers(void* self, waiter& w);
    POLYLOOP_DECL static bool leave_writers(void* self, waiter& w);

    POLYLOOP_DECL void edge_slowly(state_word::value bits) noexcept;

    friend class readiness;

    core_ptr core_;
    int const number_;
    std::atomic<unsigned> cancels_ = 0; // written under the lock
    state_word word_;
    std::array<std::atomic<near_wait*>, 2> near_{};
    readiness* set_ = nullptr; // lives as long as the core
    bool listed_ = false;      // under the lock of the set
    descriptor* prev_ = nullptr;
    descriptor* next_ = nullptr;
    reference_count refs_;
    std::atomic<unsigned> users_ = 1;
    std::atomic<bool> released_ = false; // before the last use ends: the number is another's
    wait_list readers_;
    wait_list writers_;
    struct departure : ready_node
    {
        descriptor* open;
    } departure_; // the message by which another thread closes
};

} // namespace polyloop::detail

#endif
