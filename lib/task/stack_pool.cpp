// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/stack_pool.hpp>

#include <boost/assert.hpp>
#include <boost/config.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <exception>
#include <functional>
#include <new>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

#if defined(POLYLOOP_VALGRIND)
#include <valgrind/valgrind.h>
#endif

namespace polyloop::detail {

/// A mapping with up to 64 stacks, each above its guard.
struct stack_slab
{
    std::byte* base = nullptr;
    std::size_t length = 0;
    unsigned count = 0;
    std::uint64_t cold = 0;    // a bit for each stack without a slot
    std::uint64_t guarded = 0; // a bit for each guard that was made
    std::size_t index = 0;     // in the pool's slabs
    stack_slab* prev = nullptr;
    stack_slab* next = nullptr;

    bool all_cold() const noexcept
    {
        return static_cast<unsigned>(std::popcount(cold)) == count;
    }
};

namespace {

constexpr std::size_t slab_size = 64u << 20; // for default stacks that is less than 64 of them
constexpr std::size_t most_per_slab = 64;

// Address space and no memory: large frames shall not step over it.
constexpr std::size_t guard_length = 64 * 1024;
constexpr std::size_t let_go_at_once = 64; // some 0.1 ms
constexpr unsigned draws_per_tick = 256;
constexpr std::chrono::nanoseconds shortest_watch = std::chrono::milliseconds(1);

// Linux 5.14 and 6.13; older headers do not name them.
constexpr int madv_populate_write = 23;
constexpr int madv_guard_install = 102;

// What failed, and what helps.
constexpr char no_memory[] = "no memory for fiber stacks of this size: lower "
                             "loop_options::stacks.size, or raise vm.max_map_count or the limit "
                             "of address space";
constexpr char no_guard[] = "no guard page for a fiber's stack";
constexpr char no_mapping[] =
    "no guard page for a fiber's stack: each splits a mapping, and their number is limited; raise "
    "vm.max_map_count (sysctl), or use Linux 6.13 or later, whose guard pages split none";

std::size_t rounded(std::size_t n, std::size_t to)
{
    return (n + to - 1) / to * to;
}

constexpr std::size_t slot_size = (sizeof(stack_slot) + 63) / 64 * 64;

// Stacks that all begin at the same place of a page would share a few sets of the cache, and a
// processor that compares addresses by their low bits only would take the loads of one for the
// stores of another: so they begin at different lines. The topmost page still has room
// for the frames of a fiber that does little.
constexpr std::size_t colours = 16;
constexpr std::size_t colour_step = 128;

void unlink(stack_slab*& first, stack_slab& s) noexcept
{
    (s.prev ? s.prev->next : first) = s.next;
    if (s.next)
        s.next->prev = s.prev;
}

void link(stack_slab*& first, stack_slab& s) noexcept
{
    s.prev = nullptr;
    s.next = first;
    if (first)
        first->prev = &s;
    first = &s;
}

/// Room for one more.
bool reserve(std::vector<std::unique_ptr<stack_slab>>& slabs) noexcept
try
{
    slabs.reserve(std::max(slabs.capacity(), std::bit_ceil(slabs.size() + 1)));
    return true;
}
catch (std::bad_alloc const&)
{
    return false;
}

// -- paint: volatile, so that no compiler makes calls of them that a sanitizer watches ---------

#if defined(__GNUC__)
#define POLYLOOP_UNWATCHED                                                                        \
    __attribute__((noinline, no_sanitize("address"), no_sanitize("thread")))
#else
#define POLYLOOP_UNWATCHED
#endif

/// What lies below a stack pointer is nobody's, valgrind thinks.
struct unwatched
{
#if defined(POLYLOOP_VALGRIND)
    unwatched() noexcept
    {
        VALGRIND_DISABLE_ERROR_REPORTING;
    }
    ~unwatched()
    {
        VALGRIND_ENABLE_ERROR_REPORTING;
    }
#endif
};

using word = std::uint64_t;
constexpr word colour = 0x5ac4'5ac4'5ac4'5ac4;

POLYLOOP_UNWATCHED word const volatile* first_used(word const volatile* from,
                                                   word const volatile* to) noexcept
{
    while (from != to && *from == colour)
        ++from;
    return from;
}

POLYLOOP_UNWATCHED void fill(word volatile* from, word volatile* to) noexcept
{
    while (from != to)
        *from++ = colour;
}

} // namespace

void stack_slot::paint() noexcept
{
    [[maybe_unused]] unwatched const here;
    constexpr std::uintptr_t red_zone = 256;
    auto* const from = static_cast<word*>(const_cast<void*>(bottom));
    auto* const to = reinterpret_cast<word*>(
        (reinterpret_cast<std::uintptr_t>(where.stack) - red_zone) / sizeof(word) * sizeof(word));
    // The rest kept its paint from the last time.
    fill(const_cast<word*>(first_used(from, to)), to);
}

std::size_t stack_slot::used() const noexcept
{
    [[maybe_unused]] unwatched const here;
    auto const* const from = static_cast<word const*>(bottom);
    auto const* const to = reinterpret_cast<word const*>(this);
    return static_cast<std::size_t>(to - first_used(from, to)) * sizeof(word);
}

// -- the shelf ---------------------------------------------------------------------------------

bool stack_shelf::sink() noexcept
{
    BOOST_ASSERT(top_ == floor_);
    // In steps that grow with the size: few of them, and little is taken for used that was not.
    auto const step = static_cast<std::ptrdiff_t>(std::min(size(), size() / 16 + 1));
    floor_ = top_ - step;
    return step != 0;
}

bool stack_shelf::grow(std::size_t most) noexcept
{
    if (std::exchange(limit_, end_) != end_ && has_room())
        return true;
    std::size_t const n = size();
    std::size_t const next = std::min(most, std::max<std::size_t>(64, 2 * n));
    if (next <= n)
        return false;
    std::unique_ptr<stack_slot*[]> larger(new (std::nothrow) stack_slot*[next]);
    if (!larger)
        return false;
    std::copy(base_.get(), top_, larger.get());
    floor_ = larger.get() + (floor_ - base_.get());
    top_ = larger.get() + n;
    limit_ = end_ = larger.get() + next;
    base_ = std::move(larger);
    return true;
}

void stack_shelf::drop_lowest(std::size_t n) noexcept
{
    auto const by = static_cast<std::ptrdiff_t>(n);
    std::copy(base_.get() + by, top_, base_.get());
    top_ -= by;
    floor_ = std::max(floor_ - by, base_.get());
}

std::size_t stack_shelf::age() noexcept
{
    return static_cast<std::size_t>(std::exchange(floor_, top_) - base_.get());
}

// -- the pool ----------------------------------------------------------------------------------

stack_pool::stack_pool(loop_core& core, stack_entry first)
    : core_(&core), shared_(!core.single()), entry_(first), paints_(core.debug()),
      page_(static_cast<std::size_t>(::sysconf(_SC_PAGESIZE))),
      stack_size_(rounded(core.options().stacks.size, page_)),
      guard_size_(core.options().stacks.guard ? rounded(guard_length, page_) : 0),
      keep_(core.options().stacks.keep), watches_(core.owns_context())
{
    expire = &stack_pool::on_expire;
    act = &stack_pool::on_due;
    kind = node_kind::handler;
}

stack_pool::~stack_pool()
{
    for (auto const& s : slabs_)
    {
        for (unsigned i = 0; i != s->count; ++i)
            if (!(s->cold >> i & 1))
                unregister_stack(*slot(*s, i));
        ::munmap(s->base, s->length);
    }
}

stack_slot* stack_pool::orphaned_mark() noexcept
{
    alignas(stack_slot) static constinit char mark = 0;
    return reinterpret_cast<stack_slot*>(&mark);
}

std::byte* stack_pool::bottom(stack_slab const& s, unsigned i) const noexcept
{
    return s.base + i * (guard_size_ + stack_size_) + guard_size_;
}

stack_slot* stack_pool::slot(stack_slab const& s, unsigned i) const noexcept
{
    return reinterpret_cast<stack_slot*>(bottom(s, i) + stack_size_ - slot_size -
                                         i % colours * colour_step);
}

stack_slot& stack_pool::get_slow()
{
    std::unique_lock lock(mutex_, std::defer_lock);
    if (shared_)
        lock.lock();
    BOOST_ASSERT(shared_ || mine());
    stack_slot* const s = take_idle();
    if (shared_)
    {
        if (s)
            returned_size_.fetch_sub(1, std::memory_order_relaxed);
        if (++draws_ % draws_per_tick == 0)
            age();
    }
    if (s)
        return *s;
    if (!shared_)
        lock.lock();
    return heat();
}

stack_slot* stack_pool::take_idle() noexcept
{
    // Where the shelf is shared all come back this way, and the last one shall be the first.
    if ((shared_ || (!shelf_.has_above_floor() && !shelf_.sink())) &&
        returned_.load(std::memory_order_relaxed))
        take_in(returned_.exchange(nullptr, std::memory_order_acquire));
    return shelf_.has_above_floor() || shelf_.sink() ? &shelf_.pop() : nullptr;
}

/// Onto the shelf, as far as there is room.
void stack_pool::take_in(stack_slot* s) noexcept
{
    if (!shared_)
        watch();
    while (s && (shelf_.has_room() || shelf_.grow(keep_)))
    {
        shelf_.push(*std::exchange(s, s->next));
        if (!shared_)
            returned_size_.fetch_sub(1, std::memory_order_relaxed);
    }
    while (s)
        push_returned(*std::exchange(s, s->next));
}

stack_slot& stack_pool::heat()
{
    stack_slab& slab = open_ ? *open_ : new_slab();
    auto const i = static_cast<unsigned>(std::countr_zero(slab.cold));
    std::uint64_t const bit = std::uint64_t(1) << i;
    std::byte* const low = bottom(slab, i);
    if (!(slab.guarded & bit))
    {
        guard(low - guard_size_);
        slab.guarded |= bit;
    }
    auto* const s = ::new (slot(slab, i)) stack_slot;
    s->pool = this;
    s->slab = &slab;
    auto* const sp = reinterpret_cast<std::byte*>(s);
    register_stack(*s, low, stack_size_);
#if defined(POLYLOOP_VALGRIND)
    s->valgrind_id = VALGRIND_STACK_REGISTER(low, low + stack_size_);
#endif
    prepare_stack(*s, sp, static_cast<std::size_t>(sp - low), entry_);
    touch(*s);
    slab.cold &= ~bit;
    if (slab.cold == 0)
        unlink(open_, slab);
    ++hot_;
    return *s;
}

/// Under the lock. What is thrown lives as long as the fibers that end by it, however many.
void stack_pool::fail(int error, char const* what)
{
    if (!failure_ || failed_with_ != error || failed_for_ != what)
    {
        failure_ = std::make_exception_ptr(
            boost::system::system_error(error, boost::system::system_category(), what));
        failed_with_ = error;
        failed_for_ = what;
    }
    std::rethrow_exception(failure_);
}

stack_slab& stack_pool::new_slab()
{
    std::size_t const stride = guard_size_ + stack_size_;
    std::size_t const count = std::clamp<std::size_t>(slab_size / stride, 1, most_per_slab);
    std::unique_ptr<stack_slab> slab(new (std::nothrow) stack_slab);
    if (!slab || !reserve(slabs_))
        fail(ENOMEM, no_memory);
    slab->length = stride * count;
    void* const p = ::mmap(nullptr, slab->length, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (p == MAP_FAILED)
        fail(errno, no_memory);
    // A huge page would make every stack resident at once.
    ::madvise(p, slab->length, MADV_NOHUGEPAGE);
    slab->base = static_cast<std::byte*>(p);
    slab->count = static_cast<unsigned>(count);
    slab->cold = ~std::uint64_t(0) >> (64 - count);
    slab->index = slabs_.size();
    link(open_, *slab);
    slabs_.push_back(std::move(slab));
    return *slabs_.back();
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
            fail(errno, no_guard);
        guard_by_advice_ = false;
    }
    if (::mprotect(page, guard_size_, PROT_NONE) != 0)
        fail(errno, no_mapping);
}

void stack_pool::touch(stack_slot& s) noexcept
{
    std::size_t const n = rounded(core_->options().stacks.touch, page_);
    if (n == 0)
        return;
    std::byte* const top =
        static_cast<std::byte*>(const_cast<void*>(s.bottom)) + stack_size_;
    if (::madvise(top - n, n, madv_populate_write) == 0)
        return;
    for (std::byte* p = top - n; p < top - page_; p += page_) // the topmost has the slot
        *const_cast<std::byte volatile*>(p) = std::byte(0);
}

void stack_pool::put_slow(stack_slot& s) noexcept
{
    if (!mine())
        put_returned(s);
    else if (shelf_.grow(keep_))
    {
        shelf_.push(s);
        watch();
    }
    else if (shelf_.size() == 0) // nothing is kept
    {
        stack_slot* one = &s;
        std::lock_guard const lock(mutex_);
        cool(&one, 1);
    }
    else
    {
        cool_lowest(std::clamp<std::size_t>(shelf_.size() / 4, 1, let_go_at_once));
        shelf_.push(s);
    }
}

void stack_pool::put_returned(stack_slot& s) noexcept
{
    if (returned_size_.fetch_add(1, std::memory_order_relaxed) >= keep_)
    {
        returned_size_.fetch_sub(1, std::memory_order_relaxed);
        std::lock_guard const lock(mutex_);
        if (returned_.load(std::memory_order_relaxed) != orphaned_mark())
        {
            stack_slot* one = &s;
            cool(&one, 1);
            return;
        }
    }
    watch_from_elsewhere(); // before: after it there may be no pool any more
    push_returned(s);
}

void stack_pool::push_returned(stack_slot& s) noexcept
{
    stack_slot* head = returned_.load(std::memory_order_relaxed);
    do
    {
        if (head == orphaned_mark())
        {
            gone_back();
            return;
        }
        s.next = head;
    } while (!returned_.compare_exchange_weak(head, &s, std::memory_order_release,
                                              std::memory_order_relaxed));
}

void stack_pool::gone_back() noexcept
{
    if (orphans_.fetch_sub(1, std::memory_order_acq_rel) == 1)
        delete this;
}

// -- letting go of memory ------------------------------------------------------------------------

/// On a single loop's own thread: begins the watch.
void stack_pool::watch() noexcept
{
    // By an exchange, as another thread may be about to begin it, too.
    if (!watches_ || watched_.load(std::memory_order_relaxed) ||
        watched_.exchange(true, std::memory_order_acq_rel))
        return;
    watch_again(core_->options().stacks.idle);
}

/// The same for who may not touch the timers, or the shelf: the loop is told.
void stack_pool::watch_from_elsewhere() noexcept
{
    if (watches_ && !watched_.load(std::memory_order_relaxed) && !core_->is_closed() &&
        !watched_.exchange(true, std::memory_order_acq_rel) && !core_->schedule(*this))
        watched_.store(false, std::memory_order_release); // it is closed
}

/// On the loop. Where there is no memory for it, the next stack that comes back tries again.
void stack_pool::watch_again(std::chrono::nanoseconds pause) noexcept
{
    timer_node::when = saturating_add(core_->time(), std::max(pause, shortest_watch));
    try
    {
        if (!core_->is_closed())
        {
            core_->insert_timer(*this);
            return;
        }
    }
    catch (...)
    {
        // No memory.
    }
    end_watch();
}

void stack_pool::end_watch() noexcept
{
    if (!shared_)
        shelf_.shut();
    watched_.store(false, std::memory_order_release);
}

void stack_pool::on_expire(timer_node* n)
{
    auto& self = static_cast<stack_pool&>(*n);
    self.came_ = true;
    if (!self.core_->schedule(self))
        self.watched_.store(false, std::memory_order_release);
}

void stack_pool::on_due(ready_node* n, verb v)
{
    auto& self = static_cast<stack_pool&>(*n);
    bool const came = std::exchange(self.came_, false);
    if (v == verb::discard)
        self.watched_.store(false, std::memory_order_release);
    else if (came)
        self.look();
    else // told by who has not quite given his stack back yet
        self.watch_again(self.core_->options().stacks.idle);
}

/// What has long been idle goes, and where something is left the watch goes on: each time half of
/// it goes, so it ends after some rounds without a fiber.
void stack_pool::look() noexcept
{
    std::unique_lock lock(mutex_, std::defer_lock);
    if (shared_)
        lock.lock();
    age();
    bool const more = quota_ != 0;
    bool const any = shelf_.size() != 0 || returned_.load(std::memory_order_relaxed);
    if (shared_)
        lock.unlock();
    if (more)
        watch_again(shortest_watch); // as much as may be done at once
    else if (any)
        watch_again(core_->options().stacks.idle);
    else
        end_watch(); // one that another thread gives back just now waits for the next
}

void stack_pool::age() noexcept
{
    if (quota_ == 0)
    {
        steady_time const now = core_->time();
        if (now - aged_at_ < core_->options().stacks.idle)
            return;
        bool const first = aged_at_ == steady_time();
        aged_at_ = now;
        if (returned_.load(std::memory_order_relaxed))
            take_in(returned_.exchange(nullptr, std::memory_order_acquire));
        std::size_t const idle = shelf_.age();
        // Half of them, so that a load that comes in waves finds most of its stacks.
        quota_ = first ? 0 : (idle + 1) / 2;
    }
    std::size_t const n = std::min({quota_, let_go_at_once, shelf_.size()});
    quota_ = n == 0 ? 0 : quota_ - n;
    if (n != 0)
        cool_lowest(n);
}

/// The lowest of the shelf. Where that is shared, under the lock.
void stack_pool::cool_lowest(std::size_t n) noexcept
{
    {
        std::unique_lock lock(mutex_, std::defer_lock);
        if (mine())
            lock.lock();
        else
            returned_size_.fetch_sub(n, std::memory_order_relaxed);
        cool(shelf_.begin(), n);
    }
    shelf_.drop_lowest(n);
}

/// Gives the memory of idle stacks back; neighbours by one call, guards between them stay.
void stack_pool::cool(stack_slot** slots, std::size_t n) noexcept
{
    std::sort(slots, slots + n, std::less<>());
    for (std::size_t i = 0; i != n;)
    {
        stack_slab& slab = *slots[i]->slab;
        auto* const from = static_cast<std::byte*>(const_cast<void*>(slots[i]->bottom));
        std::byte* to = from;
        bool const was_open = slab.cold != 0;
        for (; i != n && slots[i]->slab == &slab; ++i)
        {
            stack_slot& s = *slots[i];
            auto* const low = static_cast<std::byte*>(const_cast<void*>(s.bottom));
            if (to != from && low != to + guard_size_)
                break;
            to = low + stack_size_;
#if defined(POLYLOOP_VALGRIND)
            VALGRIND_STACK_DEREGISTER(s.valgrind_id);
#endif
            unregister_stack(s);
            s.slab = nullptr;
            slab.cold |= std::uint64_t(1)
                << static_cast<std::size_t>(low - slab.base) / (guard_size_ + stack_size_);
            --hot_;
        }
        if (!was_open)
            link(open_, slab);
        if (slab.all_cold() && (slab.prev || slab.next))
            unmap(slab);
        else
            ::madvise(from, static_cast<std::size_t>(to - from), MADV_DONTNEED);
    }
}

void stack_pool::unmap(stack_slab& s) noexcept
{
    unlink(open_, s);
    ::munmap(s.base, s.length);
    std::size_t const i = s.index;
    std::swap(slabs_[i], slabs_.back());
    slabs_[i]->index = i;
    slabs_.pop_back();
}

void stack_pool::orphan() noexcept
{
    std::ptrdiff_t out;
    {
        std::lock_guard const lock(mutex_);
        out = static_cast<std::ptrdiff_t>(hot_ - shelf_.size());
        // Whoever gives back after this exchange finds the mark and counts down; all others are
        // counted here.
        stack_slot* s = returned_.exchange(orphaned_mark(), std::memory_order_acq_rel);
        for (; s; s = s->next)
            --out;
    }
    if (orphans_.fetch_add(out, std::memory_order_acq_rel) + out == 0)
        delete this;
}

} // namespace polyloop::detail
