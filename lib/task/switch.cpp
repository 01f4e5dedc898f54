// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/switch.hpp>

#include <polyloop/task/detail/fiber.hpp>

#include <boost/config.hpp>

#include <cerrno>
#include <cxxabi.h>

#if defined(POLYLOOP_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(POLYLOOP_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace polyloop::detail {
namespace {

// The layout that the Itanium C++ ABI gives to what __cxa_get_globals returns.
struct exception_globals
{
    void* caught;
    unsigned uncaught;
};

// Never inlined: `errno` and the globals are thread-locals, and a fiber of a shared loop goes
// on on another thread than the one on which it left.
BOOST_NOINLINE void save(execution& e) noexcept
{
    auto const* g = reinterpret_cast<exception_globals const*>(abi::__cxa_get_globals());
    e.caught_exceptions = g->caught;
    e.uncaught_exceptions = g->uncaught;
    e.error_number = errno;
}

BOOST_NOINLINE void load(execution const& e) noexcept
{
    auto* g = reinterpret_cast<exception_globals*>(abi::__cxa_get_globals());
    g->caught = e.caught_exceptions;
    g->uncaught = e.uncaught_exceptions;
    errno = e.error_number;
}

} // namespace

void arrive(execution& self, boost::context::detail::transfer_t came) noexcept
{
    auto& from = *static_cast<execution*>(came.data);
    from.where = came.fctx;
#if defined(POLYLOOP_ASAN)
    __sanitizer_finish_switch_fiber(self.fake_stack, &from.bottom, &from.size);
#endif
    load(self);
    if (from.ended) [[unlikely]]
    {
        fiber* const f = from.ended;
        from.ended = nullptr;
        f->release();
    }
}

void switch_to(execution& from, execution& to) noexcept
{
    save(from);
#if defined(POLYLOOP_ASAN)
    __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#endif
#if defined(POLYLOOP_TSAN)
    __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
    arrive(from, boost::context::detail::jump_fcontext(to.where, &from));
}

void register_thread([[maybe_unused]] execution& e) noexcept
{
#if defined(POLYLOOP_TSAN)
    e.tsan_fiber = __tsan_get_current_fiber();
#endif
}

void register_stack([[maybe_unused]] execution& e, void* bottom, std::size_t size) noexcept
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
