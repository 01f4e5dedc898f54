// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/overflow.hpp>

#include <polyloop/task/detail/fiber.hpp>

#include <boost/config.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <sys/mman.h>
#include <unistd.h>

// A fault in the guard below the running fiber's stack is that fiber's overflow. Every other
// fault belongs to the handlers that were there before ours.
//
// Invariants
// - What runs in the handler allocates nothing and takes no lock; `frame_here` lies in the
//   static block of thread-locals.
// - `before` is written once, before our handler can run.

namespace polyloop::detail {
namespace {

constexpr int caught[] = {SIGSEGV, SIGBUS};
struct sigaction before[2];

// -- the handler -------------------------------------------------------------------------------

/// Text that grows in place.
class message
{
  public:
    message& operator<<(std::string_view t) noexcept
    {
        std::size_t const n = std::min(t.size(), sizeof(text_) - used_);
        std::memcpy(text_ + used_, t.data(), n);
        used_ += n;
        return *this;
    }
    message& operator<<(std::uint64_t n) noexcept
    {
        char digits[20];
        char const* const end = std::to_chars(digits, digits + sizeof digits, n).ptr;
        return *this << std::string_view(digits, static_cast<std::size_t>(end - digits));
    }
    void write() const noexcept
    {
        for (std::size_t done = 0; done != used_;)
        {
            ssize_t const n = ::write(STDERR_FILENO, text_ + done, used_ - done);
            if (n > 0)
                done += static_cast<std::size_t>(n);
            else if (errno != EINTR)
                return;
        }
    }

  private:
    char text_[1024];
    std::size_t used_ = 0;
};

/// The running fiber, if `address` lies in its guard.
fiber const* overflown(void const* address) noexcept
{
    if (!frame_here.reports_overflow || !frame_here.fiber)
        return nullptr;
    auto const& t = static_cast<task_base const&>(*frame_here.fiber);
    if (t.ready_node::kind != node_kind::fiber)
        return nullptr;
    auto const& f = static_cast<fiber const&>(t);
    if (!f.slot())
        return nullptr;
    stack_slot const& s = *f.slot();
    auto const at = reinterpret_cast<std::uintptr_t>(address);
    auto const bottom = reinterpret_cast<std::uintptr_t>(s.bottom);
    return at < bottom && bottom - at <= s.pool->guard_size() ? &f : nullptr;
}

void tell(fiber const& f) noexcept
{
    // At most so much of a name, that the remedy is never cut off.
    auto cut = [](std::string_view t) { return t.substr(0, 256); };
    message m;
    m << "polyloop: stack overflow in fiber ";
    if (std::string_view const name = f.given_name(); !name.empty())
        m << "\"" << cut(name) << "\" (fiber-" << f.id() << ")";
    else
        m << "fiber-" << f.id();
    m << " of loop \"" << cut(f.core().options().name) << "\": its stack has "
      << static_cast<std::uint64_t>(f.slot()->size)
      << " bytes; raise loop_options::stacks.size\n";
    m.write();
}

void pass_on(struct sigaction const& old, int number, siginfo_t* info, void* where) noexcept
{
    bool const sent = info->si_code <= 0; // by a process, not by a fault
    bool const with_info = old.sa_flags & SA_SIGINFO;
    if (!with_info && old.sa_handler == SIG_IGN && sent)
        return;
    if (!with_info && (old.sa_handler == SIG_DFL || old.sa_handler == SIG_IGN))
    {
        // Back at the instruction it faults again, and the process dies where it was.
        std::signal(number, SIG_DFL);
        if (sent)
            ::raise(number);
        return;
    }
    if (old.sa_flags & SA_RESETHAND)
        std::signal(number, SIG_DFL);
    // The mask that our handler began with comes back when it returns.
    ::pthread_sigmask(SIG_BLOCK, &old.sa_mask, nullptr);
    if (old.sa_flags & SA_NODEFER)
    {
        sigset_t own;
        ::sigemptyset(&own);
        ::sigaddset(&own, number);
        ::pthread_sigmask(SIG_UNBLOCK, &own, nullptr);
    }
    if (with_info)
        old.sa_sigaction(number, info, where);
    else
        old.sa_handler(number);
}

void on_fault(int number, siginfo_t* info, void* where) noexcept
{
    int const error = errno;
    struct sigaction const& old = before[number == caught[0] ? 0 : 1];
    fiber const* const f = info->si_code > 0 ? overflown(info->si_addr) : nullptr;
    if (f)
    {
        tell(*f);
        // The same fault goes to whoever had it before: a sanitizer, a crash reporter, or the end.
        ::sigaction(number, &old, nullptr);
    }
    else
        pass_on(old, number, info, where);
    errno = error;
}

void install() noexcept
{
    for (int i = 0; i != 2; ++i)
    {
        ::sigaction(caught[i], nullptr, &before[i]);
        struct sigaction ours = {};
        ours.sa_sigaction = &on_fault;
        ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
        ::sigemptyset(&ours.sa_mask);
        ::sigaction(caught[i], &ours, nullptr);
    }
}

// -- threads -----------------------------------------------------------------------------------

/// A thread's alternate signal stack. One that it has already, it keeps.
class signal_stack
{
  public:
    signal_stack() noexcept
    {
        stack_t has = {};
        if (::sigaltstack(nullptr, &has) != 0 || !(has.ss_flags & SS_DISABLE))
            return;
        // The handlers that faults are passed on to run on it, too.
        std::size_t const size =
            static_cast<std::size_t>(std::max(64L * 1024, ::sysconf(_SC_SIGSTKSZ)));
        void* const p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (p == MAP_FAILED)
            return;
        stack_.ss_sp = p;
        stack_.ss_size = size;
        if (::sigaltstack(&stack_, nullptr) != 0)
            unmap();
    }

    signal_stack(signal_stack const&) = delete;
    signal_stack& operator=(signal_stack const&) = delete;

    ~signal_stack()
    {
        frame_here.reports_overflow = false;
        frame_here.resumes_plainly = false;
        if (!stack_.ss_sp)
            return;
        stack_t has = {};
        if (::sigaltstack(nullptr, &has) == 0 && has.ss_sp == stack_.ss_sp)
        {
            stack_t none = {};
            none.ss_flags = SS_DISABLE;
            ::sigaltstack(&none, nullptr);
        }
        unmap();
    }

  private:
    void unmap() noexcept
    {
        ::munmap(stack_.ss_sp, stack_.ss_size);
        stack_.ss_sp = nullptr;
    }

    stack_t stack_ = {};
};

} // namespace

// Never inlined, as everything that asks for a thread-local's address near a switch.
BOOST_NOINLINE void report_overflow_here() noexcept
{
    static bool const installed = (install(), true);
    (void)installed;
    thread_local signal_stack const stack;
    (void)stack;
    frame_here.reports_overflow = true;
}

} // namespace polyloop::detail
