// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/switch.hpp>

#include <polyloop/task/detail/fiber.hpp>

#include <cerrno>
#include <cxxabi.h>
#include <utility>

#if defined(POLYLOOP_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace polyloop::detail {

/// Once for each thread.
void carrier::find_thread_state(thread_frame& f) noexcept
{
    f.exceptions = reinterpret_cast<exception_globals*>(abi::__cxa_get_globals());
    f.error_number = &errno;
}

#if !defined(POLYLOOP_SWITCH_INLINE)
namespace {

void enter(boost::context::detail::transfer_t came) noexcept
{
    auto& from = *static_cast<execution*>(came.data);
    from.where.stack = came.fctx;
    // The running fiber's, since the context itself carries nothing.
    static_cast<fiber&>(static_cast<task_base&>(*this_frame().fiber)).slot()->pool->entry()(&from);
}

} // namespace
#endif

void prepare_stack(execution& e, void* top, [[maybe_unused]] std::size_t size,
                   [[maybe_unused]] stack_entry entry) noexcept
{
    e.exceptions = {};
    e.error_number = 0;
#if defined(POLYLOOP_SWITCH_INLINE)
    // As after a call, whose return address, 0, ends every walk up the stack.
    void** const pushed = static_cast<void**>(top) - 1;
    *pushed = nullptr;
    e.where.stack = pushed;
    e.where.frame = nullptr;
    e.where.base = nullptr;
    e.where.code = reinterpret_cast<void*>(entry);
#else
    e.where.stack = boost::context::detail::make_fcontext(top, size, &enter);
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
    if (e.fake_stack)
    {
        // What ASan keeps for a stack is let go of by who leaves it for good: so as if there.
        void* here = nullptr;
        void const* bottom = nullptr;
        std::size_t size = 0;
        __sanitizer_start_switch_fiber(&here, e.bottom, e.size);
        __sanitizer_finish_switch_fiber(std::exchange(e.fake_stack, nullptr), &bottom, &size);
        __sanitizer_start_switch_fiber(nullptr, bottom, size);
        __sanitizer_finish_switch_fiber(here, nullptr, nullptr);
    }
    __asan_unpoison_memory_region(e.bottom, e.size);
#endif
}

} // namespace polyloop::detail
