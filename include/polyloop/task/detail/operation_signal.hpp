// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_OPERATION_SIGNAL_HPP
#define POLYLOOP_TASK_DETAIL_OPERATION_SIGNAL_HPP

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/cancellation_type.hpp>

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

namespace asio = boost::asio;

/// What `asio::cancellation_signal` is, for an operation that a fiber waits for: the handler that
/// the operation installs lies in the waiting frame, so that it costs no allocation.
class operation_signal
{
  public:
    operation_signal() = default;
    operation_signal(operation_signal const&) = delete;
    operation_signal& operator=(operation_signal const&) = delete;
    ~operation_signal()
    {
        clear();
    }

    void emit(asio::cancellation_type type)
    {
        if (vtable_)
            vtable_->call(handler_, type);
    }

    template <class Handler, class... Args>
    Handler& emplace(Args&&... args)
    {
        clear();
        void* const where = fits<Handler> ? static_cast<void*>(place_) : allocate<Handler>();
        try
        {
            auto* const h = ::new (where) Handler(std::forward<Args>(args)...);
            handler_ = h;
            vtable_ = &vtable_of<Handler>;
            return *h;
        }
        catch (...)
        {
            if constexpr (!fits<Handler>)
                deallocate<Handler>(where);
            throw;
        }
    }

    template <class Handler>
    bool holds() const noexcept
    {
        return vtable_ == &vtable_of<Handler>;
    }
    template <class Handler>
    Handler& handler() const noexcept
    {
        return *static_cast<Handler*>(handler_);
    }
    bool empty() const noexcept
    {
        return !vtable_;
    }

    void clear() noexcept
    {
        if (vtable_)
            std::exchange(vtable_, nullptr)->destroy(handler_);
    }

  private:
    struct vtable
    {
        void (*call)(void* handler, asio::cancellation_type type);
        void (*destroy)(void* handler) noexcept;
    };

    static constexpr std::size_t place_size = 64; // those of Asio's own operations fit
    template <class Handler>
    static constexpr bool fits =
        sizeof(Handler) <= place_size && alignof(Handler) <= alignof(std::max_align_t);

    template <class Handler>
    static void* allocate()
    {
        return ::operator new(sizeof(Handler), std::align_val_t(alignof(Handler)));
    }
    template <class Handler>
    static void deallocate(void* p) noexcept
    {
        ::operator delete(p, std::align_val_t(alignof(Handler)));
    }

    template <class Handler>
    static constexpr vtable vtable_of = {
        [](void* h, asio::cancellation_type type) { (*static_cast<Handler*>(h))(type); },
        [](void* h) noexcept {
            static_cast<Handler*>(h)->~Handler();
            if constexpr (!fits<Handler>)
                deallocate<Handler>(h);
        }};

    vtable const* vtable_ = nullptr;
    void* handler_ = nullptr;
    alignas(std::max_align_t) std::byte place_[place_size];
};

/// The slot of such a signal, by Asio's requirements on a CancellationSlot. Converts to
/// `asio::cancellation_slot` for code that names that type.
class operation_slot
{
  public:
    operation_slot() = default;
    explicit operation_slot(operation_signal& s) noexcept : signal_(&s)
    {
    }

    template <class Handler, class... Args>
    Handler& emplace(Args&&... args) const
    {
        return signal_->emplace<Handler>(std::forward<Args>(args)...);
    }
    template <class Handler>
    std::decay_t<Handler>& assign(Handler&& h) const
    {
        return emplace<std::decay_t<Handler>>(std::forward<Handler>(h));
    }
    void clear() const noexcept
    {
        if (signal_)
            signal_->clear();
    }
    bool is_connected() const noexcept
    {
        return signal_ != nullptr;
    }
    bool has_handler() const noexcept
    {
        return signal_ && !signal_->empty();
    }

    operator asio::cancellation_slot() const
    {
        if (!signal_)
            return {};
        if (!signal_->holds<relay>())
            signal_->emplace<relay>();
        return signal_->handler<relay>().signal.slot();
    }

    friend bool operator==(operation_slot a, operation_slot b) noexcept
    {
        return a.signal_ == b.signal_;
    }
    friend bool operator!=(operation_slot a, operation_slot b) noexcept
    {
        return a.signal_ != b.signal_;
    }

  private:
    struct relay
    {
        asio::cancellation_signal signal;

        void operator()(asio::cancellation_type type)
        {
            signal.emit(type);
        }
    };

    operation_signal* signal_ = nullptr;
};

} // namespace polyloop::detail

#endif
