// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/stack_pool.hpp>

#include <boost/assert.hpp>

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

namespace polyloop::detail {
namespace {

constexpr std::size_t stacks_per_slab = 32;

// Linux 6.13; older headers do not name it.
constexpr int madv_guard_install = 102;

[[noreturn]] void fail(int e, std::string const& what)
{
    throw boost::system::system_error(e, boost::system::system_category(), what);
}

/// So that the push_back that follows cannot throw.
template <class T>
void make_room(std::vector<T>& v)
{
    if (v.size() == v.capacity())
        v.reserve(std::max<std::size_t>(64, 2 * v.size()));
}

std::size_t rounded(std::size_t n, std::size_t to)
{
    return (n + to - 1) / to * to;
}

} // namespace

stack_pool::stack_pool(loop_core& core, void (*entry)(boost::context::detail::transfer_t))
    : core_(&core), entry_(entry), page_(static_cast<std::size_t>(::sysconf(_SC_PAGESIZE))),
      stack_size_(rounded(core.options().stacks.size, page_)),
      guard_size_(core.options().stacks.guard ? page_ : 0), keep_(core.options().stacks.keep)
{
}

stack_pool::~stack_pool()
{
    for (stack_slot* const s : made_)
        unregister_stack(*s);
    for (slab const& s : slabs_)
        ::munmap(s.base, s.length);
}

stack_slot* stack_pool::orphaned_mark() noexcept
{
    alignas(stack_slot) static constinit char mark = 0;
    return reinterpret_cast<stack_slot*>(&mark);
}

stack_slot& stack_pool::get_slow()
{
    std::lock_guard const lock(mutex_);
    if (!central_)
        central_ = returned_.exchange(nullptr, std::memory_order_acquire);
    if (mine())
    {
        // What came back from other threads serves this one's next spawns.
        while (central_)
        {
            stack_slot* const s = central_;
            central_ = s->next;
            s->next = local_;
            local_ = s;
            ++local_size_;
        }
        if (local_)
        {
            stack_slot& s = *local_;
            local_ = s.next;
            --local_size_;
            return s;
        }
    }
    else if (central_)
    {
        stack_slot& s = *central_;
        central_ = s.next;
        return s;
    }
    return carve();
}

stack_slot& stack_pool::carve()
{
    std::size_t const stride = guard_size_ + stack_size_;
    if (carve_ == carve_end_)
    {
        std::size_t const length = stride * stacks_per_slab;
        make_room(slabs_);
        void* const p = ::mmap(nullptr, length, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (p == MAP_FAILED)
            fail(errno, "no memory for fiber stacks of " + std::to_string(stack_size_) +
                            " bytes: lower loop_options::stacks.size, or raise vm.max_map_count "
                            "or the limit of address space");
        // A huge page would make every stack resident at once.
        ::madvise(p, length, MADV_NOHUGEPAGE);
        carve_ = static_cast<std::byte*>(p);
        carve_end_ = carve_ + length;
        slabs_.push_back({carve_, length});
    }
    make_room(made_);
    guard(carve_);
    std::byte* const bottom = carve_ + guard_size_;
    carve_ += stride;
    auto* const s = ::new (carve_ - rounded(sizeof(stack_slot), 64)) stack_slot;
    s->pool = this;
    std::byte* const sp = reinterpret_cast<std::byte*>(s);
    register_stack(*s, bottom, stack_size_);
    s->where = boost::context::detail::make_fcontext(
        sp, static_cast<std::size_t>(sp - bottom), entry_);
    made_.push_back(s);
    return *s;
}

void stack_pool::guard(std::byte* page)
{
    if (guard_size_ == 0)
        return;
    // By advice where the kernel can: it splits no mapping, so their number sets no limit.
    if (guard_by_advice_)
    {
        if (::madvise(page, guard_size_, madv_guard_install) == 0)
            return;
        if (errno != EINVAL)
            fail(errno, "no guard page for a fiber's stack");
        guard_by_advice_ = false;
    }
    if (::mprotect(page, guard_size_, PROT_NONE) != 0)
        fail(errno, "no guard page for a fiber's stack: each splits a mapping, and their number "
                    "is limited; raise vm.max_map_count (sysctl), or use Linux 6.13 or later, "
                    "whose guard pages split none");
}

void stack_pool::put_slow(stack_slot& s) noexcept
{
    if (mine())
    {
        // More than shall be kept: the pages below the parked frames go back to the system,
        // the address range stays.
        auto* const bottom = static_cast<std::byte*>(const_cast<void*>(s.bottom));
        ::madvise(bottom, stack_size_ - 2 * page_, MADV_DONTNEED);
        std::lock_guard const lock(mutex_);
        s.next = central_;
        central_ = &s;
        return;
    }
    stack_slot* head = returned_.load(std::memory_order_relaxed);
    do
    {
        if (head == orphaned_mark())
        {
            if (orphans_.fetch_sub(1, std::memory_order_acq_rel) == 1)
                delete this;
            return;
        }
        s.next = head;
    } while (!returned_.compare_exchange_weak(head, &s, std::memory_order_release,
                                              std::memory_order_relaxed));
}

void stack_pool::orphan() noexcept
{
    auto count = [](stack_slot* s) {
        std::ptrdiff_t n = 0;
        for (; s; s = s->next)
            ++n;
        return n;
    };
    // Whoever gives back after this exchange finds the mark and counts down; all others are
    // counted here.
    std::ptrdiff_t const back =
        count(local_) + count(central_) +
        count(returned_.exchange(orphaned_mark(), std::memory_order_acq_rel));
    std::ptrdiff_t const out = static_cast<std::ptrdiff_t>(made_.size()) - back;
    if (orphans_.fetch_add(out, std::memory_order_acq_rel) + out == 0)
        delete this;
}

} // namespace polyloop::detail
