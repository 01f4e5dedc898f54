// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_SYNC_CHANNEL_HPP
#define POLYLOOP_SYNC_CHANNEL_HPP

#include <polyloop/error.hpp>
#include <polyloop/task/detail/async_waiter.hpp>
#include <polyloop/sync/detail/channel_base.hpp>

#include <boost/config.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <tuple>
#include <utility>

namespace polyloop {

/// A bounded queue of items between fibers, plain threads and coroutines, on whatever loops, mixed;
/// many may send and many receive.
///
/// First come, first served on both sides, and items come out in the order in which they were
/// accepted. With capacity 0 a send waits for a receive that takes its item. Belongs to no loop
/// and may outlive them. To be destroyed when nobody waits.
///
/// Closing ends it: waiting and later senders get `error::channel_closed` and keep their items;
/// receivers drain what is buffered and get the error then.
///
/// Items need only be movable. Where the move of an item throws, the call that handed it in or took
/// it out gets the exception, and the channel works on: a sender keeps its item, what a
/// receiver could not take is gone. Items are moved under a lock: their moves shall be short,
/// and neither wait nor use the channel.
///
/// Waiting suspends a fiber and blocks a plain thread; in a bare handler of a running loop a wait
/// that would block throws `error::not_in_fiber`. A cancelled task's wait throws
/// `operation_aborted`, and no item is lost or sent by it; where the item was handed over first,
/// the cancel stays for the task's next suspension. What need not wait is no point of
/// cancellation.
///
/// Thread safety: all functions from any thread.
template <std::move_constructible T>
class channel : private detail::channel_base
{
  public:
    using value_type = T;
    class iterator;

    /// Allocates room for `capacity` items; throws `error::bad_config` where that cannot be.
    explicit channel(std::size_t capacity = 0)
        : channel_base(capacity, max_capacity),
          slots_(capacity ? std::allocator<slot>().allocate(capacity) : nullptr)
    {
    }
    ~channel()
    {
        BOOST_ASSERT_MSG(senders_.empty() && receivers_.empty(),
                         "polyloop: a channel is destroyed while somebody waits for it");
        while (count() != 0)
            drop_front();
        if (slots_)
            std::allocator<slot>().deallocate(slots_, capacity());
    }

    using channel_base::capacity;
    using channel_base::close;
    using channel_base::is_closed;
    using channel_base::size;

    // -- sending: an item is moved from only if it was accepted

    /// Waits until there is room, or somebody receives. Throws `error::channel_closed`.
    BOOST_FORCEINLINE void send(T&& item)
    {
        send_until(item, {});
    }
    void send(T const& item)
        requires std::copy_constructible<T>
    {
        T copy(item);
        send_until(copy, {});
    }

    /// Without waiting; false where there is no room, or where others wait for it. Throws
    /// `error::channel_closed`.
    bool try_send(T&& item)
    {
        detail::section s(word());
        return give(s, item);
    }
    bool try_send(T const& item)
        requires std::copy_constructible<T>
    {
        T copy(item);
        return try_send(std::move(copy));
    }

    /// Waits for at most `limit`; says whether the item was accepted. Throws as `send`.
    template <class Rep, class Period>
    bool try_send_for(T&& item, std::chrono::duration<Rep, Period> limit)
    {
        return send_until(item, detail::deadline::after(limit));
    }
    template <class Rep, class Period>
    bool try_send_for(T const& item, std::chrono::duration<Rep, Period> limit)
        requires std::copy_constructible<T>
    {
        T copy(item);
        return send_until(copy, detail::deadline::after(limit));
    }
    template <class Clock, class Duration>
    bool try_send_until(T&& item, std::chrono::time_point<Clock, Duration> limit)
    {
        return send_until(item, detail::deadline::at(limit));
    }
    template <class Clock, class Duration>
    bool try_send_until(T const& item, std::chrono::time_point<Clock, Duration> limit)
        requires std::copy_constructible<T>
    {
        T copy(item);
        return send_until(copy, detail::deadline::at(limit));
    }

    /// Completes `token` with `void(error_code)` when the item was accepted; else the item is gone
    /// with the operation. The handler is called by its associated executor; one without is called
    /// on the loop that runs here, else by the system executor. Cancellation of any type:
    /// `operation_aborted`.
    template <class Token>
    auto async_send(T item, Token&& token)
    {
        return start_send({}, std::move(item), std::forward<Token>(token));
    }
    /// The same with a limit, after which the error is `asio::error::timed_out`.
    template <class Rep, class Period, class Token>
    auto async_send_for(T item, std::chrono::duration<Rep, Period> limit, Token&& token)
    {
        return start_send(detail::deadline::after(limit), std::move(item),
                          std::forward<Token>(token));
    }
    template <class Clock, class Duration, class Token>
    auto async_send_until(T item, std::chrono::time_point<Clock, Duration> limit, Token&& token)
    {
        return start_send(detail::deadline::at(limit), std::move(item),
                          std::forward<Token>(token));
    }

    // -- receiving

    /// Waits for an item. Throws `error::channel_closed` when the channel is closed and drained.
    BOOST_FORCEINLINE T receive()
    {
        std::optional<T> item;
        if (receive_until(item, {}) == outcome::closed) [[unlikely]]
            detail::throw_error(error::channel_closed);
        return std::move(*item);
    }

    /// Without waiting; empty where nothing is there, or where others wait for it. Throws
    /// `error::channel_closed`.
    std::optional<T> try_receive()
    {
        std::optional<T> item;
        detail::section s(word());
        if (take(s, item) == outcome::closed)
            refuse_closed(s);
        return item;
    }

    /// Waits for at most `limit`; empty where nothing came. Throws as `receive`.
    template <class Rep, class Period>
    std::optional<T> try_receive_for(std::chrono::duration<Rep, Period> limit)
    {
        return try_receive(detail::deadline::after(limit));
    }
    template <class Clock, class Duration>
    std::optional<T> try_receive_until(std::chrono::time_point<Clock, Duration> limit)
    {
        return try_receive(detail::deadline::at(limit));
    }

    /// Completes `token` with `void(error_code, T)`: the error is that of `receive`. `T` must be
    /// default-constructible, as every completion handler gets one. Executor and cancellation as
    /// for `async_send`.
    template <class Token>
    auto async_receive(Token&& token)
    {
        return start_receive({}, std::forward<Token>(token));
    }
    /// The same with a limit, after which the error is `asio::error::timed_out`.
    template <class Rep, class Period, class Token>
    auto async_receive_for(std::chrono::duration<Rep, Period> limit, Token&& token)
    {
        return start_receive(detail::deadline::after(limit), std::forward<Token>(token));
    }
    template <class Clock, class Duration, class Token>
    auto async_receive_until(std::chrono::time_point<Clock, Duration> limit, Token&& token)
    {
        return start_receive(detail::deadline::at(limit), std::forward<Token>(token));
    }

    /// `for (T& item : channel)` receives until the channel is closed and drained. Both functions
    /// of the iteration wait as `receive` does.
    iterator begin()
    {
        return iterator(*this);
    }
    std::default_sentinel_t end() noexcept
    {
        return {};
    }

  private:
    struct alignas(T) slot
    {
        std::byte bytes[sizeof(T)];
    };
    static constexpr std::size_t max_capacity = static_cast<std::size_t>(-1) / 2 / sizeof(slot);

    using outcome = detail::channel_outcome;

    struct receiver : detail::channel_waiter
    {
        explicit receiver(std::optional<T>& where) noexcept : channel_waiter(&where)
        {
        }
    };
    struct sender : detail::channel_waiter
    {
        explicit sender(T& what) noexcept : channel_waiter(&what)
        {
        }
    };
    struct send_node : detail::channel_waiter
    {
        explicit send_node(T&& i) : channel_waiter(nullptr), kept(std::move(i))
        {
            item = &kept;
        }
        std::tuple<boost::system::error_code> result(detail::wait_end e) const
        {
            if (thrown)
                std::rethrow_exception(thrown);
            return code(e);
        }
        T kept;
    };
    struct receive_node : detail::channel_waiter
    {
        receive_node() noexcept : channel_waiter(&where)
        {
        }
        std::tuple<boost::system::error_code, T> result(detail::wait_end e)
        {
            if (thrown)
                std::rethrow_exception(thrown);
            if (where)
                return {boost::system::error_code(), std::move(*where)};
            return {code(e), T()};
        }
        std::optional<T> where;
    };

    T& at(std::size_t place) noexcept
    {
        return *std::launder(reinterpret_cast<T*>(slots_[place].bytes));
    }
    void drop_front() noexcept
    {
        at(front()).~T();
        pop_front();
    }
    static T& item_of(detail::waiter& w) noexcept
    {
        return *static_cast<T*>(static_cast<detail::channel_waiter&>(w).item);
    }

    /// Hands the item over if that needs no wait.
    bool give(detail::section& s, T& item)
    {
        if (closed(s)) [[unlikely]]
            refuse_closed(s);
        if (!receivers_.empty())
        {
            auto& r = static_cast<detail::channel_waiter&>(*receivers_.front());
            static_cast<std::optional<T>*>(r.item)->emplace(std::move(item));
            s.release(s.pop(receivers_));
            return true;
        }
        if (full() || !senders_.empty())
            return false;
        ::new (slots_[back()].bytes) T(std::move(item));
        push_back();
        return true;
    }

    outcome take(detail::section& s, std::optional<T>& item)
    {
        if (count() != 0)
        {
            // Whatever the move does, the item is no longer there, and its place may be filled.
            struct taken
            {
                channel& self;
                detail::section& s;
                ~taken()
                {
                    self.drop_front();
                    self.refill(s);
                }
            } const after{*this, s};
            item.emplace(std::move(at(front())));
            return outcome::done;
        }
        if (!senders_.empty())
        {
            detail::waiter& w = s.pop(senders_);
            s.release(w); // goes on at the end of the section, also where this throws
            item.emplace(std::move(item_of(w)));
            return outcome::done;
        }
        return closed(s) ? outcome::closed : outcome::wait;
    }

    /// Takes waiting senders' items in. One whose item cannot be moved goes on with the exception.
    void refill(detail::section& s) noexcept
    {
        while (!full() && !senders_.empty())
        {
            auto& w = static_cast<detail::channel_waiter&>(s.pop(senders_));
            s.release(w);
            try
            {
                ::new (slots_[back()].bytes) T(std::move(item_of(w)));
                push_back();
            }
            catch (...)
            {
                w.thrown = std::current_exception();
            }
        }
    }

    // Into the caller, so that a fiber comes back from its wait right there: see
    // `fiber::wait_here`.

    BOOST_FORCEINLINE bool send_until(T& item, detail::deadline limit)
    {
        detail::section s(word());
        return give(s, item) || wait_to_send(s, item, limit);
    }
    /// False where the limit is over.
    BOOST_FORCEINLINE bool wait_to_send(detail::section& s, T& item, detail::deadline limit)
    {
        detail::blocker self;
        sender w(item);
        if (!queue(s, self, senders_, w, limit))
            return false;
        s.finish();
        outcome const o = finish(self, w, sending(), limit);
        if (o == outcome::closed)
            detail::throw_error(error::channel_closed);
        return o == outcome::done;
    }

    /// `wait` where the limit is over.
    BOOST_FORCEINLINE outcome receive_until(std::optional<T>& item, detail::deadline limit)
    {
        detail::section s(word());
        outcome const o = take(s, item);
        return o != outcome::wait ? o : wait_to_receive(s, item, limit);
    }
    BOOST_FORCEINLINE outcome wait_to_receive(detail::section& s, std::optional<T>& item,
                                              detail::deadline limit)
    {
        detail::blocker self;
        receiver w(item);
        if (!queue(s, self, receivers_, w, limit))
            return outcome::wait;
        s.finish();
        return finish(self, w, receiving(), limit);
    }

    std::optional<T> try_receive(detail::deadline limit)
    {
        std::optional<T> item;
        if (receive_until(item, limit) == outcome::closed) [[unlikely]]
            detail::throw_error(error::channel_closed);
        return item;
    }

    template <class Token>
    auto start_send(detail::deadline limit, T&& item, Token&& token)
    {
        return detail::initiate_wait<send_node, void(boost::system::error_code)>(
            token, sending(), limit,
            [this](send_node& n) {
                detail::section s(word());
                if ((n.closed = closed(s)) || give(s, n.kept))
                    return true;
                queue(s, senders_, n);
                return false;
            },
            std::move(item));
    }

    template <class Token>
    auto start_receive(detail::deadline limit, Token&& token)
    {
        static_assert(std::default_initializable<T>,
                      "polyloop: async_receive needs items that can be default-constructed, as "
                      "every completion handler of Asio gets one");
        return detail::initiate_wait<receive_node, void(boost::system::error_code, T)>(
            token, receiving(), limit, [this](receive_node& n) {
                detail::section s(word());
                outcome const o = take(s, n.where);
                n.closed = o == outcome::closed;
                if (o == outcome::wait)
                    queue(s, receivers_, n);
                return o != outcome::wait;
            });
    }

    slot* const slots_;
};

/// An input iterator, for range-based for.
template <std::move_constructible T>
class channel<T>::iterator
{
  public:
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    explicit iterator(channel& c) : channel_(&c)
    {
        next();
    }

    T& operator*() const noexcept
    {
        return *item_;
    }
    iterator& operator++()
    {
        next();
        return *this;
    }
    void operator++(int)
    {
        next();
    }
    friend bool operator==(iterator const& i, std::default_sentinel_t) noexcept
    {
        return !i.item_;
    }

  private:
    void next()
    {
        item_.reset();
        channel_->receive_until(item_, {});
    }

    channel* channel_;
    mutable std::optional<T> item_;
};

} // namespace polyloop

#endif
