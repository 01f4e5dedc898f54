// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_FIBER_LOCAL_HPP
#define POLYLOOP_TASK_FIBER_LOCAL_HPP

#include <polyloop/context/detail/locals.hpp>
#include <polyloop/error.hpp>

#include <concepts>
#include <optional>
#include <utility>

namespace polyloop {

/// A variable that each task has a value of: asyncio's contextvars.ContextVar.
///
/// A task starts with the values that its spawner had then, and a callback of a loop with those of
/// who registered it (S44); what either sets is its own. A runner's main tasks hand theirs
/// on from run to run (S56), and `to_thread` takes them along (S78). Outside of tasks and
/// callbacks, in other handlers too, the values are the thread's. Coroutine tasks have theirs as
/// fibers do.
///
/// Setting copies the table of the context's values and is meant to be rare, as with request ids,
/// users, locales; a spawn shares it by one pointer. Values live as long as a context, a token or a
/// handle of a task that has them. Usually an object of static duration; one that is gone leaves
/// its values unreachable.
///
/// Thread safety: distinct and shared objects safe.
template <std::copy_constructible T>
class fiber_local
{
  public:
    using value_type = T;

    /// Takes a `set` back, in the context of that `set`; once.
    class token
    {
      public:
        token(token&& other) noexcept = default;
        token& operator=(token&& other) noexcept = default;

      private:
        friend class fiber_local;

        token(detail::local_key k, detail::local_ptr v) : key(k), previous(std::move(v))
        {
        }

        detail::local_key key;
        detail::local_ptr previous;
        std::uint64_t owner = detail::locals_owner();
        bool used = false;
    };

    /// A value for a scope, which may suspend; what was there before returns at its end.
    class [[nodiscard]] scope
    {
      public:
        scope(scope const&) = delete;
        scope& operator=(scope const&) = delete;
        ~scope()
        {
            detail::set_local(variable_.key_, std::move(token_.previous));
        }

      private:
        friend class fiber_local;

        scope(fiber_local& v, T value) : variable_(v), token_(v.set(std::move(value)))
        {
        }

        fiber_local& variable_;
        token token_;
    };

    /// Without a value where none was set.
    fiber_local() = default;

    /// With one for contexts where none was set.
    explicit fiber_local(T initial) : initial_(std::move(initial))
    {
    }

    fiber_local(fiber_local const&) = delete;
    fiber_local& operator=(fiber_local const&) = delete;

    /// The value here, or else the initial one. Throws `error::no_value` without either.
    T get() const
    {
        if (detail::local_ptr const v = detail::find_local(key_))
            return static_cast<holder const&>(*v).value;
        if (!initial_)
            detail::throw_error(error::no_value);
        return *initial_;
    }

    /// The same, with `other` in place of the error.
    T get_or(T other) const
    {
        if (detail::local_ptr const v = detail::find_local(key_))
            return static_cast<holder const&>(*v).value;
        return initial_ ? *initial_ : std::move(other);
    }

    /// Whether it was set here or in a context that this one inherited from.
    bool is_set() const noexcept
    {
        return detail::find_local(key_) != nullptr;
    }

    /// Sets it for this context and those that will inherit from it. The token may be dropped.
    token set(T value)
    {
        detail::local_ptr next(new holder(std::move(value)));
        return {key_, detail::set_local(key_, std::move(next))};
    }

    /// Brings back what was there before the `set` that gave the token. Throws
    /// `error::bad_config` for a token that was used, of another variable, or of another context.
    void reset(token& t)
    {
        if (t.used || t.key != key_ || t.owner != detail::locals_owner())
            detail::throw_error(error::bad_config,
                                "fiber_local: the token was used, or is of another "
                                "variable or context");
        detail::set_local(key_, std::move(t.previous));
        t.used = true;
    }
    void reset(token&& t)
    {
        reset(t);
    }

    /// Sets it until the end of the scope.
    scope bind(T value)
    {
        return {*this, std::move(value)};
    }

  private:
    struct holder final : detail::local_value
    {
        explicit holder(T v) : value(std::move(v))
        {
        }
        T const value;
    };

    detail::local_key const key_ = detail::new_local_key();
    std::optional<T> const initial_;
};

} // namespace polyloop

#endif
