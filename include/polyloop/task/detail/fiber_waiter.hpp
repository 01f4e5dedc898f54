// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_FIBER_WAITER_HPP
#define POLYLOOP_TASK_DETAIL_FIBER_WAITER_HPP

#include <polyloop/task/detail/operation_wait.hpp>

#include <cstddef>
#include <exception>
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

/// The wait of `use_fiber` for an operation with the completion signature `void(Args...)`.
template <class Wait, class... Args>
class basic_fiber_waiter : public Wait
{
    using result = fiber_result<Args...>;

  public:
    using return_type = typename result::type;

    class handler
    {
      public:
        using executor_type = fiber_executor;
        using allocator_type = operation_allocator<void>;
        using cancellation_slot_type = operation_slot;

        explicit handler(basic_fiber_waiter& w) noexcept : waiter_(w)
        {
        }
        handler(handler&& other) noexcept
            : waiter_(other.waiter_), pending_(std::exchange(other.pending_, false))
        {
        }
        handler& operator=(handler&&) = delete;
        ~handler()
        {
            if (pending_)
                waiter_.abandon();
        }

        // Also of one that was moved from: an initiation that throws behind the move gives the
        // memory back with it.
        executor_type get_executor() const noexcept
        {
            return fiber_executor(waiter_.self);
        }
        allocator_type get_allocator() const noexcept
        {
            return allocator_type(waiter_.memory());
        }
        cancellation_slot_type get_cancellation_slot() const noexcept
        {
            return waiter_.slot();
        }

        template <class... A>
        void operator()(A&&... args)
        {
            pending_ = false;
            waiter_.values_.emplace(std::forward<A>(args)...);
            waiter_.complete(); // which may end the wait, and this with it
        }

      private:
        basic_fiber_waiter& waiter_;
        bool pending_ = true;
    };

    using Wait::Wait;

    return_type wait(boost::system::error_code* ec)
    {
        this->suspend();
        if (this->abandoned()) [[unlikely]]
            return cancelled(ec);
        if constexpr (leading<boost::system::error_code>)
        {
            boost::system::error_code const e = this->outcome(std::get<0>(*values_));
            if (ec)
                *ec = e;
            else if (e) [[unlikely]]
                throw_error(e);
        }
        else if constexpr (leading<std::exception_ptr>)
        {
            std::exception_ptr const e = this->outcome(std::move(std::get<0>(*values_)));
            if (ec)
                ec->clear();
            if (e) [[unlikely]]
                std::rethrow_exception(e);
        }
        else if constexpr (leading<std::tuple<boost::system::error_code>>)
        {
            boost::system::error_code& e = std::get<0>(std::get<0>(*values_));
            e = this->outcome(e);
        }
        else
            this->settle_cancel(false);
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

template <class... Args>
using fiber_waiter = basic_fiber_waiter<operation_wait, Args...>;
template <class... Args>
using timed_fiber_waiter = basic_fiber_waiter<timed_operation_wait, Args...>;

} // namespace polyloop::detail

#endif
