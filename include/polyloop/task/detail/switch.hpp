// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_SWITCH_HPP
#define POLYLOOP_TASK_DETAIL_SWITCH_HPP

#include <polyloop/context/detail/frame.hpp>

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#define POLYLOOP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POLYLOOP_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define POLYLOOP_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define POLYLOOP_TSAN 1
#endif
#endif

#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__CET__) &&          \
    !defined(__ILP32__) && !defined(__AVX512F__) && !defined(POLYLOOP_ASAN) &&                    \
    !defined(POLYLOOP_TSAN)
#define POLYLOOP_JUMP_BY_HAND 1
#endif

#if defined(POLYLOOP_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(POLYLOOP_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace polyloop::detail {

/// A stack that can be switched to: a fiber's, or a thread's own while it is away.
///
/// With it goes what the language and the C library keep per thread but belongs to whoever
/// runs: the exceptions being handled and `errno`.
struct execution
{
    boost::context::detail::fcontext_t where = nullptr;
    exception_globals exceptions{};
    int error_number = 0;
    bool idle = false; ///< parked: to be given back by who comes next
    // What the sanitizers must be told; present in every build, so that objects of both kinds
    // agree on the layout.
    void const* bottom = nullptr;
    std::size_t size = 0;
    void* fake_stack = nullptr;
    void* tsan_fiber = nullptr;
};

/// A thread's own stack, in a handler that is about to run fibers.
struct carrier : execution
{
    explicit carrier(thread_frame& f) noexcept;
};

/// Leaves `from` and goes on at `to`, both on the thread of `frame`; returns when somebody switches
/// back, maybe on another thread: nothing thread-local may be kept across it.
inline void switch_to(thread_frame& frame, execution& from, execution& to) noexcept;

/// To be called first of all on a stack that is entered for the first time.
inline void arrive(execution& self, boost::context::detail::transfer_t came) noexcept;

/// Gives back the stack that has just been parked.
void give_back(execution& parked) noexcept;

/// Tells the sanitizers of a new stack.
void register_stack(execution& e, void* bottom, std::size_t size) noexcept;
void unregister_stack(execution& e) noexcept;

inline void arrive([[maybe_unused]] execution& self,
                   boost::context::detail::transfer_t came) noexcept
{
    auto& from = *static_cast<execution*>(came.data);
    from.where = came.fctx;
#if defined(POLYLOOP_ASAN)
    __sanitizer_finish_switch_fiber(self.fake_stack, &from.bottom, &from.size);
#endif
    if (from.idle)
        give_back(from);
}

/// `jump_fcontext` in such a way that the processor's prediction of returns holds.
///
/// It comes back by a jump, not by a return; so an ordinary call leaves an entry on the predictor's
/// stack, and the next return, that of the function that waits, is mispredicted, at about the cost
/// of the switch itself. Here the address to come back to is pushed by hand: fibers that
/// wait at the same place of the program then find each other's entries. The red zone below the stack
/// pointer is stepped over.
inline boost::context::detail::transfer_t jump(boost::context::detail::fcontext_t to,
                                               void* data) noexcept
{
#if defined(POLYLOOP_JUMP_BY_HAND)
    boost::context::detail::transfer_t came;
    asm volatile("sub $128, %%rsp\n\t"
                 "lea 1f(%%rip), %%rax\n\t"
                 "push %%rax\n\t"
                 "jmp *%[jump]\n"
                 "1:\n\t"
                 "add $128, %%rsp"
                 : "=&a"(came.fctx), "=&d"(came.data), "+D"(to), "+S"(data)
                 : [jump] "r"(&boost::context::detail::jump_fcontext)
                 : "rcx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
                   "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
                   "xmm14", "xmm15", "memory", "cc");
    return came;
#else
    return boost::context::detail::jump_fcontext(to, data);
#endif
}

inline void switch_to(thread_frame& frame, execution& from, execution& to) noexcept
{
    exception_globals& exceptions = *frame.exceptions;
    int& error_number = *frame.error_number;
    from.exceptions = exceptions;
    from.error_number = error_number;
    exceptions = to.exceptions;
    error_number = to.error_number;
#if defined(POLYLOOP_ASAN)
    // A parked stack has no frames to come back to: what ASan keeps for it may go, since the pool
    // may let it go as well.
    __sanitizer_start_switch_fiber(from.idle ? nullptr : &from.fake_stack, to.bottom, to.size);
    if (from.idle)
        from.fake_stack = nullptr;
#endif
#if defined(POLYLOOP_TSAN)
    __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
    arrive(from, jump(to.where, &from));
}

} // namespace polyloop::detail

#endif
