// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_SWITCH_HPP
#define POLYLOOP_TASK_DETAIL_SWITCH_HPP

#include <polyloop/context/detail/frame.hpp>

#include <boost/config.hpp>

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

// With a shadow stack (CET) the return addresses are the system's too; the sanitizers want to see
// a call.
#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__CET__) &&          \
    !defined(__ILP32__) && !defined(POLYLOOP_ASAN) && !defined(POLYLOOP_TSAN)
#define POLYLOOP_SWITCH_INLINE 1
#else
#include <boost/context/detail/fcontext.hpp>
#endif

#if defined(POLYLOOP_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(POLYLOOP_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace polyloop::detail {

// What depends on the flags is inlined always: an object of the application is not to bring its own
// into the library.

/// Where an execution goes on: what an ordinary call would not preserve is on its stack. Of
/// Boost.Context's way, whose context is its stack pointer, only the first is used; the layout is
/// the same in every build, as a program may have other flags than the library.
struct resume_point
{
    void* stack;
    void* frame;
    void* code;
    void* base; ///< rbx, which clang uses as a second frame pointer
};

/// A stack that can be switched to: a fiber's, or a thread's own while it is away.
///
/// With it goes what the language and the C library keep per thread but belongs to whoever
/// runs: the exceptions being handled and `errno`. The floating-point environment (rounding,
/// traps) stays the thread's, as a Windows fiber has it unless it asks for more: saving it costs
/// several times as much as all the rest.
struct execution
{
    // What is not set here is set by whoever leaves, before it is read.
    execution() noexcept : idle(false)
    {
#if defined(POLYLOOP_ASAN) || defined(POLYLOOP_TSAN)
        bottom = nullptr;
        size = 0;
        fake_stack = nullptr;
        tsan_fiber = nullptr;
#endif
    }

    resume_point where;
    exception_globals exceptions;
    int error_number;
    bool idle; ///< parked: to be given back by who comes next
    // What the sanitizers must be told; present in every build, so that objects of both kinds
    // agree on the layout.
    void const* bottom;
    std::size_t size;
    void* fake_stack;
    void* tsan_fiber;
};

/// What runs first on a new stack, and never returns: `from` is who switched there.
using stack_entry = void (*)(execution* from) noexcept;

/// A thread's own stack, in a handler that is about to run fibers.
struct carrier : execution
{
    explicit carrier([[maybe_unused]] thread_frame& f) noexcept
    {
#if defined(POLYLOOP_TSAN)
        tsan_fiber = __tsan_get_current_fiber();
#endif
        if (!f.error_number) [[unlikely]]
            find_thread_state(f);
    }

  private:
    static void find_thread_state(thread_frame& f) noexcept;
};

/// A switch of which all is done but the jump, which is the caller's; none where `to` is null.
struct departure
{
    execution* from = nullptr;
    execution* to = nullptr;
};

/// Makes `from`, which runs on the thread of `frame`, ready to go on at `to`.
BOOST_FORCEINLINE departure depart(thread_frame& frame, execution& from,
                                   execution& to) noexcept;

/// The jump. Returns when somebody switches back, maybe on another thread: nothing thread-local may
/// be kept across it.
BOOST_FORCEINLINE void go(departure d) noexcept;

/// Both at once.
BOOST_FORCEINLINE void switch_to(thread_frame& frame, execution& from, execution& to) noexcept
{
    go(depart(frame, from, to));
}

/// To be called first of all on a stack that is entered for the first time.
BOOST_FORCEINLINE void arrive(execution& self, execution& from) noexcept;

/// Has `e` begin at `entry` on a stack whose highest address, aligned to 16 bytes, is `top`.
void prepare_stack(execution& e, void* top, std::size_t size, stack_entry entry) noexcept;

/// Gives back the stack that has just been parked.
POLYLOOP_DECL void give_back(execution& parked) noexcept;

/// Tells the sanitizers of a new stack.
void register_stack(execution& e, void* bottom, std::size_t size) noexcept;
void unregister_stack(execution& e) noexcept;

BOOST_FORCEINLINE void arrive([[maybe_unused]] execution& self, execution& from) noexcept
{
#if defined(POLYLOOP_ASAN)
    __sanitizer_finish_switch_fiber(self.fake_stack, &from.bottom, &from.size);
#endif
    if (from.idle)
        give_back(from);
}

/// The switch itself. Returns who came back.
///
/// Inline, so that the compiler saves what it needs here and nothing else, and neither a call nor
/// a return puts the processor's prediction of returns out of step: fibers that wait at the same
/// place of the program find each other's entries.
BOOST_FORCEINLINE execution& jump(execution& from, execution& to) noexcept
{
#if defined(POLYLOOP_SWITCH_INLINE)
    static_assert(offsetof(resume_point, stack) == 0 && offsetof(resume_point, frame) == 8 &&
                  offsetof(resume_point, code) == 16 && offsetof(resume_point, base) == 24);
    void* came = &from; // the first argument of a `stack_entry`
    void* here = &from.where;
    void* there = &to.where;
    asm volatile("lea 1f(%%rip), %%rax\n\t"
                 "mov %%rsp, (%[here])\n\t"
                 "mov %%rbp, 8(%[here])\n\t"
                 "mov %%rax, 16(%[here])\n\t"
                 "mov %%rbx, 24(%[here])\n\t"
                 "mov (%[there]), %%rsp\n\t"
                 "mov 8(%[there]), %%rbp\n\t"
                 "mov 24(%[there]), %%rbx\n\t"
                 "jmp *16(%[there])\n"
                 "1:"
                 : "+D"(came), [there] "+S"(there), [here] "+d"(here)
                 :
                 : "rax", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                   "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                   "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
#if defined(__APX_F__)
                   "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25", "r26",
                   "r27", "r28", "r29", "r30", "r31",
#endif
#if defined(__AVX512F__) || defined(__clang__)
                   // clang takes them for any target, which matters where this is inlined into a
                   // function that has them by an attribute. GCC does not, and has none for such a
                   // function: the documentation warns of that.
                   "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
                   "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k0",
                   "k1", "k2", "k3", "k4", "k5", "k6", "k7",
#endif
                   "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)", "memory",
                   "cc");
    return *static_cast<execution*>(came);
#else
    auto const came = boost::context::detail::jump_fcontext(to.where.stack, &from);
    auto& back = *static_cast<execution*>(came.data);
    back.where.stack = came.fctx;
    return back;
#endif
}

BOOST_FORCEINLINE departure depart(thread_frame& frame, execution& from,
                                   execution& to) noexcept
{
    exception_globals& exceptions = *frame.exceptions;
    int& error_number = *frame.error_number;
    from.exceptions = exceptions;
    from.error_number = error_number;
    exceptions = to.exceptions;
    error_number = to.error_number;
    return {&from, &to};
}

BOOST_FORCEINLINE void go(departure d) noexcept
{
    execution& from = *d.from;
    execution& to = *d.to;
#if defined(POLYLOOP_ASAN)
    // Of a parked stack, too: some frames of it are come back to (`fiber::main`).
    __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#endif
#if defined(POLYLOOP_TSAN)
    __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
    arrive(from, jump(from, to));
}

} // namespace polyloop::detail

#endif
