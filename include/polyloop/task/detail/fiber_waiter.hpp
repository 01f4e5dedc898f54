// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_FIBER_WAITER_HPP
#define POLYLOOP_TASK_DETAIL_FIBER_WAITER_HPP

#include <polyloop/loop/detail/executor_base.hpp>
#include <polyloop/task/detail/fiber.hpp>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/error.hpp>

#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

/// What `use_fiber` returns for a completion signature: the arguments without a leading error.
template <class... Args>
struct fiber_result
{
    static constexpr std::size_t skipped = 0;
    using type = std::tuple<Args...>;
};
template <class T>
struct fiber_result<T>
{
    static constexpr std::size_t skipped = 0;
    using type = T;
};
template <>
struct fiber_result<>
{
    static constexpr std::size_t skipped = 0;
    using type = void;
};
template <class... Args>
struct fiber_result<boost::system::error_code, Args...>
{
    static constexpr std::size_t skipped = 1;
    using type = typename fiber_result<Args...>::type;
};
template <class... Args>
struct fiber_result<std::exception_ptr, Args...>
{
    static constexpr std::size_t skipped = 1;
    using type = typename fiber_result<Args...>::type;
};
template <>
struct fiber_result<boost::system::error_code>
{
    static constexpr std::size_t skipped = 1;
    using type = void;
};
template <>
struct fiber_result<std::exception_ptr>
{
    static constexpr std::size_t skipped = 1;
    using type = void;
};

/// The executor of a waiting fiber's handlers: its serial context.
///
/// It makes every step of a composed operation run there, so that a cancellation, which is
/// emitted there, never meets a step on another thread. Not counted: it is valid, and used,
/// only while the wait lasts.
class fiber_executor : public executor_base<fiber_executor, false>
{
  public:
    explicit fiber_executor(fiber& f) noexcept : fiber_(&f)
    {
    }

    loop_core& core() const noexcept
    {
        return fiber_->core();
    }

    template <class F>
    void execute(F&& f) const
    {
        if (!never_blocks() && fiber_->may_run_here())
        {
            core_entry const entry(core());
            this_frame().strand = fiber_->strand();
            std::decay_t<F> g(std::forward<F>(f));
            g();
            return;
        }
        fiber_->post(std::forward<F>(f));
    }

    friend bool operator==(fiber_executor const& a, fiber_executor const& b) noexcept
    {
        return a.fiber_ == b.fiber_;
    }
    friend bool operator!=(fiber_executor const& a, fiber_executor const& b) noexcept
    {
        return a.fiber_ != b.fiber_;
    }

  private:
    fiber* fiber_;
};

/// A place for one operation at a time; more, or larger ones, go to the heap.
class operation_memory
{
  public:
    void* allocate(std::size_t n)
    {
        if (!used_ && n <= sizeof(place_))
        {
            used_ = true;
            return place_;
        }
        return ::operator new(n);
    }
    void deallocate(void* p) noexcept
    {
        if (p == place_)
            used_ = false;
        else
            ::operator delete(p);
    }

  private:
    alignas(std::max_align_t) std::byte place_[384];
    bool used_ = false;
};

template <class T>
class operation_allocator
{
  public:
    using value_type = T;

    explicit operation_allocator(operation_memory& m) noexcept : memory_(&m)
    {
    }
    template <class U>
    operation_allocator(operation_allocator<U> const& other) noexcept : memory_(other.memory_)
    {
    }

    T* allocate(std::size_t n)
    {
        static_assert(alignof(T) <= alignof(std::max_align_t));
        return static_cast<T*>(memory_->allocate(n * sizeof(T)));
    }
    void deallocate(T* p, std::size_t) noexcept
    {
        memory_->deallocate(p);
    }

    template <class U>
    bool operator==(operation_allocator<U> const& other) const noexcept
    {
        return memory_ == other.memory_;
    }

  private:
    template <class>
    friend class operation_allocator;

    operation_memory* memory_;
};

/// A fiber's wait for an operation, without its results.
///
/// Invariant: `completed_` and `interrupted_` are touched in the fiber's serial context only.
class operation_wait : public fiber_wait
{
  public:
    explicit operation_wait(fiber& f) noexcept
        : fiber_wait(&operation_wait::on_interrupt), self(f)
    {
    }

    operation_memory& memory() noexcept
    {
        return memory_;
    }
    asio::cancellation_slot slot() noexcept
    {
        return signal_.slot();
    }

    /// The results are there: the fiber goes on, at once if it can.
    POLYLOOP_DECL void complete() noexcept;

    /// The operation was destroyed without completing.
    void abandon() noexcept
    {
        abandoned_ = true;
        complete();
    }

    fiber& self;

  protected:
    void suspend() noexcept
    {
        while (!completed_)
            self.suspend(*this);
    }
    bool abandoned() const noexcept
    {
        return abandoned_;
    }
    /// A cancellation was emitted, and the operation ended as if it had not been: it is kept
    /// for the next suspension.
    void settle_cancel(bool operation_aborted) noexcept
    {
        if (interrupted_ && !operation_aborted)
            self.keep_cancel();
    }

  private:
    POLYLOOP_DECL static bool on_interrupt(fiber_wait& w, reason why);

    asio::cancellation_signal signal_;
    operation_memory memory_;
    bool completed_ = false;
    bool interrupted_ = false;
    bool emitting_ = false;
    bool abandoned_ = false;
};

/// The wait of `use_fiber` for an operation with the completion signature `void(Args...)`.
template <class... Args>
class fiber_waiter : public operation_wait
{
    using result = fiber_result<Args...>;

  public:
    using return_type = typename result::type;

    class handler
    {
      public:
        using executor_type = fiber_executor;
        using allocator_type = operation_allocator<void>;
        using cancellation_slot_type = asio::cancellation_slot;

        explicit handler(fiber_waiter& w) noexcept : waiter_(&w)
        {
        }
        handler(handler&& other) noexcept : waiter_(std::exchange(other.waiter_, nullptr))
        {
        }
        handler& operator=(handler&&) = delete;
        ~handler()
        {
            if (waiter_)
                waiter_->abandon();
        }

        executor_type get_executor() const noexcept
        {
            return fiber_executor(waiter_->self);
        }
        allocator_type get_allocator() const noexcept
        {
            return allocator_type(waiter_->memory());
        }
        cancellation_slot_type get_cancellation_slot() const noexcept
        {
            return waiter_->slot();
        }

        template <class... A>
        void operator()(A&&... args)
        {
            fiber_waiter* const w = std::exchange(waiter_, nullptr);
            w->values_.emplace(std::forward<A>(args)...);
            w->complete();
        }

      private:
        fiber_waiter* waiter_;
    };

    using operation_wait::operation_wait;

    return_type wait(boost::system::error_code* ec)
    {
        suspend();
        if (abandoned()) [[unlikely]]
            return cancelled(ec);
        using namespace boost::asio::error;
        if constexpr (leading<boost::system::error_code>)
        {
            boost::system::error_code const e = std::get<0>(*values_);
            settle_cancel(e == operation_aborted);
            if (ec)
                *ec = e;
            else if (e) [[unlikely]]
                throw_error(e);
        }
        else if constexpr (leading<std::exception_ptr>)
        {
            std::exception_ptr const e = std::get<0>(*values_);
            settle_cancel(e != nullptr);
            if (ec)
                ec->clear();
            if (e) [[unlikely]]
                std::rethrow_exception(e);
        }
        else if constexpr (leading<std::tuple<boost::system::error_code>>)
            settle_cancel(std::get<0>(std::get<0>(*values_)) == operation_aborted);
        else
            settle_cancel(false);
        return rest(std::make_index_sequence<sizeof...(Args) - result::skipped>());
    }

    /// The cancellation of a wait that did not start.
    static return_type cancelled(boost::system::error_code* ec)
    {
        using values = std::tuple<Args...>;
        if constexpr (leading<boost::system::error_code> &&
                      (std::is_default_constructible_v<Args> && ...))
        {
            if (ec)
            {
                *ec = boost::asio::error::operation_aborted;
                if constexpr (std::is_void_v<return_type>)
                    return;
                else
                    return return_type();
            }
        }
        else if constexpr (as_tuple_form<values>::value)
        {
            // as_tuple never throws an operation's error, so neither does its cancellation.
            std::tuple_element_t<0, values> t{};
            std::get<0>(t) = boost::asio::error::operation_aborted;
            return t;
        }
        throw_cancelled();
    }

  private:
    template <class E, class First, class...>
    static constexpr bool first_is = std::is_same_v<E, First>;

    template <class>
    struct as_tuple_form : std::false_type
    {
    };
    template <class... More>
    struct as_tuple_form<std::tuple<std::tuple<boost::system::error_code, More...>>>
        : std::bool_constant<(std::is_default_constructible_v<More> && ...)>
    {
    };

    template <class E>
    static constexpr bool leading = [] {
        if constexpr (sizeof...(Args) == 0)
            return false;
        else if constexpr (std::is_same_v<E, std::tuple<boost::system::error_code>>)
            return as_tuple_form<std::tuple<Args...>>::value;
        else
            return first_is<E, Args...>;
    }();

    template <std::size_t... I>
    return_type rest(std::index_sequence<I...>)
    {
        if constexpr (sizeof...(I) == 0)
            return;
        else if constexpr (sizeof...(I) == 1)
            return std::get<result::skipped>(std::move(*values_));
        else
            return return_type(std::get<I + result::skipped>(std::move(*values_))...);
    }

    std::optional<std::tuple<Args...>> values_;
};

} // namespace polyloop::detail

#endif
