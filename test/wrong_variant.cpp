// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// Compiled for another backend than the library: it has to fail when it is linked.

#include <polyloop/loop/backend.hpp>

int main()
{
    return polyloop::is_proactor(polyloop::current_backend());
}
