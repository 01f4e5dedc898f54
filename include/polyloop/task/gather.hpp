// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_GATHER_HPP
#define POLYLOOP_TASK_GATHER_HPP

#include <polyloop/task/task.hpp>

#include <array>
#include <functional>
#include <ranges>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace polyloop {

namespace detail {

/// Waits until all have ended or one by an error, which is thrown.
POLYLOOP_DECL void gather_all(std::span<task_ptr const> tasks);

template <class>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<task<T>> = true;

/// How a task's result is kept among others.
template <class T>
struct gathered
{
    using type = T;
};
template <class T>
struct gathered<T&>
{
    using type = std::reference_wrapper<T>;
};
template <>
struct gathered<void>
{
    using type = std::monostate;
};

template <class T>
typename gathered<T>::type take_gathered(task<T>& t)
{
    if constexpr (std::is_void_v<T>)
    {
        t.take();
        return {};
    }
    else
        return t.take();
}

} // namespace detail

/// A range of tasks of one type.
template <class R>
concept task_range = std::ranges::input_range<R> &&
                     detail::is_task<std::remove_cvref_t<std::ranges::range_reference_t<R>>>;

/// Waits for all of the tasks and gives their results, in order: asyncio.gather.
///
/// Gives a `std::tuple`, in which void is `std::monostate` and a reference a
/// `std::reference_wrapper`. Where a task ends by an error, or was cancelled, that is thrown at
/// once; the others go on, and an error of theirs is as one that nobody joined. Where the caller
/// is cancelled it cancels all of them, waits for their ends, and throws `operation_aborted`
/// unless one ended by another error.
///
/// Suspends a fiber, blocks a plain thread; `error::not_in_fiber` in a bare handler unless all are
/// done.
template <class... T>
std::tuple<typename detail::gathered<T>::type...> gather(task<T>... tasks)
{
    std::array<detail::task_ptr, sizeof...(T)> const all{detail::task_ptr(&tasks.get())...};
    detail::gather_all(all);
    return {detail::take_gathered(tasks)...};
}

/// The same for a range: a `std::vector` of the results, nothing for tasks without.
template <task_range R>
auto gather(R&& tasks)
{
    using handle = std::remove_cvref_t<std::ranges::range_reference_t<R>>;
    using value = typename handle::value_type;
    std::vector<handle> handles;
    std::vector<detail::task_ptr> all;
    for (auto&& t : tasks)
    {
        all.emplace_back(&t.get());
        handles.push_back(t);
    }
    detail::gather_all(all);
    if constexpr (std::is_void_v<value>)
    {
        for (handle& t : handles)
            t.take();
    }
    else
    {
        std::vector<typename detail::gathered<value>::type> out;
        out.reserve(handles.size());
        for (handle& t : handles)
            out.push_back(detail::take_gathered(t));
        return out;
    }
}

} // namespace polyloop

#endif
