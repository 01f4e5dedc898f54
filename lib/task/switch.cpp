// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/switch.hpp>

#include <polyloop/task/detail/fiber.hpp>

#include <cerrno>
#include <cxxabi.h>

#if defined(POLYLOOP_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace polyloop::detail {

carrier::carrier(thread_frame& f) noexcept
{
    if (!f.error_number) [[unlikely]]
    {
        f.exceptions = reinterpret_cast<exception_globals*>(abi::__cxa_get_globals());
        f.error_number = &errno;
    }
#if defined(POLYLOOP_TSAN)
    tsan_fiber = __tsan_get_current_fiber();
#endif
}

void give_back(execution& parked) noexcept
{
    parked.idle = false;
    auto& slot = static_cast<stack_slot&>(parked);
    slot.pool->put(slot);
}

void register_stack(execution& e, void* bottom, std::size_t size) noexcept
{
    e.bottom = bottom;
    e.size = size;
#if defined(POLYLOOP_TSAN)
    e.tsan_fiber = __tsan_create_fiber(0);
#endif
}

void unregister_stack([[maybe_unused]] execution& e) noexcept
{
#if defined(POLYLOOP_TSAN)
    if (e.tsan_fiber)
        __tsan_destroy_fiber(e.tsan_fiber);
#endif
#if defined(POLYLOOP_ASAN)
    __asan_unpoison_memory_region(e.bottom, e.size);
#endif
}

} // namespace polyloop::detail
