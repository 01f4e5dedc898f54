// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_TASK_VALUE_HPP
#define POLYLOOP_TASK_DETAIL_TASK_VALUE_HPP

#include <polyloop/error.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

/// Where a task's value waits for its joiners.
template <class T>
struct task_value
{
    std::optional<T> value;

    template <class F>
    void set_from(F& f)
    {
        value.emplace(std::invoke(f));
    }
};

template <class T>
struct task_value<T&>
{
    T* value = nullptr;

    template <class F>
    void set_from(F& f)
    {
        value = std::addressof(std::invoke(f));
    }
};

template <>
struct task_value<void>
{
    template <class F>
    void set_from(F& f)
    {
        std::invoke(f);
    }
};

} // namespace polyloop::detail

#endif
