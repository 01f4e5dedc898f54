// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_CALLABLE_HPP
#define POLYLOOP_LOOP_DETAIL_CALLABLE_HPP

#include <polyloop/error.hpp>

#include <type_traits>

namespace polyloop::detail {

/// Throws `error::bad_config` for what looks callable and is not: a null pointer, an empty
/// `std::function`. Asked where a callable is handed over, as later nobody could be told.
template <class F>
void refuse_empty(F const& f)
{
    if constexpr (std::is_pointer_v<F>)
    {
        if (!f)
            throw_error(error::bad_config, "the callable is a null pointer");
    }
    // A function, or a lambda without captures, is an address that is never null.
    else if constexpr (requires { static_cast<bool>(f); } && !requires { +f; })
    {
        if (!static_cast<bool>(f))
            throw_error(error::bad_config, "the callable is empty");
    }
}

} // namespace polyloop::detail

#endif
