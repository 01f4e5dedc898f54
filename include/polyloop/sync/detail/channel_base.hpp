// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_SYNC_DETAIL_CHANNEL_BASE_HPP
#define POLYLOOP_SYNC_DETAIL_CHANNEL_BASE_HPP

#include <polyloop/error.hpp>
#include <polyloop/task/detail/async_waiter.hpp>

#include <cstddef>
#include <exception>

namespace polyloop::detail {

enum class channel_outcome : std::uint8_t
{
    done,
    closed,
    wait ///< nothing was done; or the limit is over
};

/// Who waits at a channel: an item to be taken (a `T`), or a place for one
/// (`std::optional<T>`).
struct channel_waiter : waiter
{
    explicit channel_waiter(void* i) noexcept : item(i)
    {
    }

    boost::system::error_code code(wait_end e) const noexcept
    {
        return closed ? make_error_code(error::channel_closed) : code_of(e);
    }

    void* item;
    bool closed = false;
    std::exception_ptr thrown; ///< by the move of a sender's item, when somebody else made it
};

/// What a channel is beside its items.
///
/// Invariants
/// - Nobody waits to receive while there is an item or a sender; nobody waits to send while there
///   is room, or the channel is closed.
class channel_base
{
  public:
    POLYLOOP_DECL channel_base(std::size_t capacity, std::size_t most);
    channel_base(channel_base const&) = delete;
    channel_base& operator=(channel_base const&) = delete;

    std::size_t capacity() const noexcept
    {
        return capacity_;
    }

    /// How many items are buffered. Never waits.
    POLYLOOP_DECL std::size_t size() const noexcept;

    /// Ends the channel; a second time nothing. Never waits.
    POLYLOOP_DECL void close() noexcept;

    bool is_closed() const noexcept
    {
        return word_.load() & closed_;
    }

  protected:
    ~channel_base() = default;

    state_word& word() noexcept
    {
        return word_;
    }

    // -- in a section

    static bool closed(section const& s) noexcept
    {
        return s.value & closed_;
    }
    std::size_t count() const noexcept
    {
        return count_;
    }
    bool full() const noexcept
    {
        return count_ == capacity_;
    }
    std::size_t front() const noexcept
    {
        return front_;
    }
    std::size_t back() const noexcept
    {
        std::size_t const room = capacity_ - front_;
        return count_ < room ? front_ + count_ : count_ - room;
    }
    void push_back() noexcept
    {
        ++count_;
    }
    void pop_front() noexcept
    {
        if (++front_ == capacity_)
            front_ = 0;
        --count_;
    }

    [[noreturn]] POLYLOOP_DECL static void refuse_closed(section& s);

    void queue(section&, wait_list& list, channel_waiter& w) noexcept
    {
        list.push(w);
    }
    /// False where the limit is over already; throws where the caller may not wait.
    bool queue(section& s, blocker& self, wait_list& list, channel_waiter& w, deadline limit)
    {
        if (!limit.never() && limit.passed())
            return false;
        if (!self.may_wait()) [[unlikely]]
        {
            s.finish();
            self.refuse();
        }
        self.prepare(w);
        list.push(w);
        return true;
    }

    /// Waits for what `queue` has queued; throws `operation_aborted`, or what a move threw.
    static channel_outcome finish(blocker& self, channel_waiter& w, wait_place place,
                                  deadline limit)
    {
        wait_end const end = self.wait(w, place, limit);
        if (end != wait_end::granted || w.thrown || w.closed) [[unlikely]]
            return tell(end, w);
        return channel_outcome::done;
    }

    wait_place sending() noexcept
    {
        return {this, &channel_base::leave_senders};
    }
    wait_place receiving() noexcept
    {
        return {this, &channel_base::leave_receivers};
    }

    wait_list senders_;
    wait_list receivers_;

  private:
    static constexpr state_word::value closed_ = 2;

    POLYLOOP_DECL static channel_outcome tell(wait_end end, channel_waiter& w);
    POLYLOOP_DECL static bool leave_senders(void* self, waiter& w);
    POLYLOOP_DECL static bool leave_receivers(void* self, waiter& w);

    mutable state_word word_;
    std::size_t const capacity_;
    std::size_t front_ = 0;
    std::size_t count_ = 0;
};

} // namespace polyloop::detail

#endif
