// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/loop_core.hpp>

#include <polyloop/loop/backend.hpp>

#include <boost/asio/post.hpp>

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <thread>

namespace polyloop::detail {
namespace {

bool debug_from_environment()
{
    char const* const text = std::getenv("POLYLOOP_DEBUG");
    std::string_view const v = text ? text : "";
    return !(v.empty() || v == "0" || v == "off" || v == "false");
}

loop_options checked(loop_options o, asio::io_context const* borrowed)
{
    auto refuse = [](std::string const& what) { throw_error(error::bad_config, what); };
    if (o.concurrency == 0)
        refuse("loop_options::concurrency is 0: at least one thread must be able to run a loop");
    if (o.spin < o.spin.zero())
        refuse("loop_options::spin is negative: 0 turns spinning off");
    if (o.slow_callback < o.slow_callback.zero())
        refuse("loop_options::slow_callback is negative");
    if (o.stacks.size < 16 * 1024)
        refuse("loop_options::stacks.size is " + std::to_string(o.stacks.size) +
               " bytes: the least is 16384");
    if (o.stacks.size > std::size_t(1) << 30)
        refuse("loop_options::stacks.size is " + std::to_string(o.stacks.size) +
               " bytes: the most is 1 GiB");
    if (o.stacks.touch > o.stacks.size)
        refuse("loop_options::stacks.touch is more than stacks.size");
    if (o.stacks.idle < o.stacks.idle.zero())
        refuse("loop_options::stacks.idle is negative: 0 keeps no stack that was not needed");
    if (!o.locking && o.concurrency > 1)
        refuse("loop_options::locking is off, but concurrency is " +
               std::to_string(o.concurrency) + ": threads that share a loop need its locks");
    static std::atomic<unsigned> number = 0;
    if (o.name.empty())
        o.name = (borrowed ? "adopted-" : "loop-") + std::to_string(++number);
    return o;
}

int concurrency_hint(loop_options const& o)
{
    return o.locking ? static_cast<int>(o.concurrency) : BOOST_ASIO_CONCURRENCY_HINT_UNSAFE;
}

/// With the first one Asio sets up what it waits with, which the kernel may refuse.
std::unique_ptr<asio::steady_timer> first_timer(asio::io_context& io)
{
    try
    {
        return std::make_unique<asio::steady_timer>(io);
    }
    catch (boost::system::system_error const&)
    {
        if (backend_info const b = describe_backend(); !b.available)
            throw_error(error::backend_unavailable, b.reason);
        throw;
    }
}

/// One node as one handler, for loops of higher concurrency.
struct node_handler
{
    core_ptr core; // an adopted io_context may run this after the loop is gone
    ready_node* node;

    node_handler(loop_core& c, ready_node& n) noexcept : core(&c), node(&n)
    {
    }

    node_handler(node_handler&& other) noexcept
        : core(std::move(other.core)), node(std::exchange(other.node, nullptr))
    {
    }

    node_handler& operator=(node_handler&&) = delete;

    // The io_context is destroyed with the node still waiting in it.
    ~node_handler()
    {
        if (node)
            node->act(node, ready_node::verb::discard);
    }

    void operator()()
    {
        core_entry const entry(*core);
        ready_node* const n = std::exchange(node, nullptr);
        n->act(n, ready_node::verb::run);
    }
};

} // namespace

/// The posted drain: its memory is a place in the core, since at most one is under way.
struct loop_core::drain_memory
{
    template <class T>
    struct allocator
    {
        using value_type = T;
        loop_core* core;

        explicit allocator(loop_core* c) noexcept : core(c)
        {
        }
        template <class U>
        allocator(allocator<U> const& other) noexcept : core(other.core)
        {
        }
        T* allocate(std::size_t n)
        {
            if (n * sizeof(T) <= sizeof(core->drain_memory_) && !core->drain_memory_used_)
            {
                core->drain_memory_used_ = true;
                return reinterpret_cast<T*>(core->drain_memory_.data());
            }
            return static_cast<T*>(::operator new(n * sizeof(T)));
        }
        void deallocate(T* p, std::size_t) noexcept
        {
            if (reinterpret_cast<std::byte*>(p) == core->drain_memory_.data())
                core->drain_memory_used_ = false;
            else
                ::operator delete(p);
        }
        template <class U>
        bool operator==(allocator<U> const& other) const noexcept
        {
            return core == other.core;
        }
    };
};

struct loop_core::drain_handler
{
    using allocator_type = drain_memory::allocator<void>;

    // Counted, as an adopted io_context may outlive the loop with this still in it.
    core_ptr core;

    allocator_type get_allocator() const noexcept
    {
        return allocator_type(core.get());
    }
    void operator()() const
    {
        core->on_drain(true);
    }
};

loop_core::loop_core(event_loop& facade, asio::io_context* borrowed, loop_options options)
    : facade_(&facade), single_(options.concurrency == 1),
      state_(single_ ? 0 : shared_flag),
      timers_(std::chrono::steady_clock::now()), options_(checked(std::move(options), borrowed))
{
    if (borrowed)
        io_ = borrowed;
    else
    {
        owned_ = std::make_unique<asio::io_context>(concurrency_hint(options_));
        io_ = owned_.get();
    }
    timer_ = first_timer(*io_);
    set_debug(options_.debug ? *options_.debug : debug_from_environment());
}

loop_core::~loop_core()
{
    log_.flush(); // of what handles let go of since
    delete registry_.load();
    auto const free_all = [](void* p) {
        while (p)
            ::operator delete(std::exchange(p, *static_cast<void**>(p)));
    };
    for (block_list const& list : blocks_)
        free_all(list.first);
    for (void* const p : far_blocks_)
        free_all(p);
}

// -- blocks --------------------------------------------------------------------------

/// A block for another thread. Nobody waits for it: the allocator of the system has some, too.
void* loop_core::take_far(std::size_t i) noexcept
{
    if (!single_ || far_busy_.test_and_set(std::memory_order_acquire))
        return nullptr;
    void* const p = far_blocks_[i];
    if (p)
        far_blocks_[i] = *static_cast<void**>(p);
    far_busy_.clear(std::memory_order_release);
    return p;
}

/// On the loop's own thread: hands all blocks of a class over to the others, if they have none.
bool loop_core::give_far(std::size_t i) noexcept
{
    if (far_busy_.test_and_set(std::memory_order_acquire))
        return false;
    bool const given = !far_blocks_[i];
    if (given)
    {
        far_blocks_[i] = std::exchange(blocks_[i].first, nullptr);
        blocks_[i].count = 0;
    }
    far_busy_.clear(std::memory_order_release);
    return given;
}

// -- readiness ---------------------------------------------------------------------

bool loop_core::schedule(ready_node& n)
{
    if (!single_)
    {
        posters_.fetch_add(1);
        bool const open = !inbox_.closed();
        if (open)
            asio::post(*io_, node_handler(*this, n));
        posters_.fetch_sub(1);
        return open;
    }
    if (on_loop())
    {
        push_local(n);
        return true;
    }
    switch (inbox_.push(n))
    {
    case inbox::pushed::first:
        wake();
        return true;
    case inbox::pushed::more:
        return true;
    case inbox::pushed::refused:
        break;
    }
    return false;
}

void loop_core::wake() noexcept
{
    // Out of memory while posting ends the program, as a lost wake-up would hang it.
    posters_.fetch_add(1);
    if (!inbox_.closed())
        asio::post(*io_, [self = core_ptr(this)] { self->on_drain(false); });
    posters_.fetch_sub(1);
}

void loop_core::post_drain() noexcept
{
    if (drain_posted_ || inbox_.closed())
        return;
    drain_posted_ = true;
    asio::post(*io_, drain_handler{core_ptr(this)});
}

inline void loop_core::perform(ready_node& n) noexcept
{
    try
    {
        n.act(&n, ready_node::verb::run);
    }
    catch (...)
    {
        report({"exception in a handler", std::current_exception()});
    }
}

/// What brings a timer is not left for a later batch: it may be due before those that are there.
void loop_core::take_inbox() noexcept
{
    for (ready_node* n = inbox_.take(); n;)
    {
        ready_node* const next = n->next;
        if (n->kind == node_kind::arrival) [[unlikely]]
            perform(*n);
        else
        {
            n->batch = batch_;
            ready_.push(*n);
        }
        n = next;
    }
}

void loop_core::on_drain(bool local) noexcept
{
    if (local)
        drain_posted_ = false;
    core_entry const entry(*this);
    if (std::exchange(was_exhausted_, false))
    {
        // There is as much to do again, so that the first slice is worth a look at the clock.
        slices_timed_ = true;
        batch_start_ = slice_begin_ = std::chrono::steady_clock::now();
    }
    run_batch();
    if (!owned_ && ++drains_ % drains_per_tick == 0)
        if (task_registry* const r = registry())
            r->tick();
}

void loop_core::run_batch() noexcept
{
    if (hopping_)
        return; // it comes at the end of the hops
    take_inbox();
    if (batch_done_)
    {
        ++batch_;
        batch_done_ = false;
    }
    while (ready_node* const n = pop_ready())
        perform(*n);
    batch_done_ = ready_.empty() || ready_.front()->batch == batch_;
    if (batch_done_ && stopping_.load(std::memory_order_relaxed) && running_ > 0)
        io_->stop();
}

bool loop_core::next_slice(ready_node const& n) noexcept
{
    if (stopping_.load(std::memory_order_relaxed))
    {
        slice_ = 1; // asked again at once: the present batch is the last
        return batch_done_ || n.batch != batch_;
    }
    if (exhausted_)
    {
        slice_ = 1; // asked again at once
        return false;
    }
    if (debug())
        this_frame().resumes_plainly = false; // so that the turns of fibers are timed
    steady_time const now = std::chrono::steady_clock::now();
    if (!slices_timed_)
    {
        // Nothing has read the clock for the first slice, unless somebody wanted the time.
        slices_timed_ = true;
        batch_start_ = slice_begin_ = time_valid_ ? time_ : now;
        fit_slices({}); // lest batches that end in their first slice keep it short for good
    }
    else
        fit_slices(now - slice_begin_);
    slice_ = slice_start_.load(std::memory_order_relaxed);
    slice_begin_ = now;
    if (now - batch_start_ > batch_time)
    {
        // Stays so until the handler ends: each further question is refused at once.
        exhausted_ = true;
        was_exhausted_ = true;
        slice_ = 1;
        return false;
    }
    return true;
}

/// For turns as long as those of the slice that took so long: the slices to come shall be over well
/// within a batch, the first one of the next batch, which may go without the clock, too.
void loop_core::fit_slices(std::chrono::nanoseconds took) noexcept
{
    unsigned const length = slice_start_.load(std::memory_order_relaxed);
    unsigned fitting = length;
    if (took > slice_time)
        fitting = static_cast<unsigned>(length * slice_time.count() / took.count());
    else if (took < slice_time / 4)
        fitting = 2 * length;
    fitting = std::clamp(fitting, shortest_slice, slice_length);
    // It may have changed meanwhile, to 1, as the loop is told to stop.
    if (unsigned was = length; length != 1 && fitting != length)
        slice_start_.compare_exchange_strong(was, fitting, std::memory_order_relaxed);
}

/// In debug mode a fiber goes back to its handler, which times its turn.
bool loop_core::next_slice_direct(ready_node const& n) noexcept
{
    if (!debug())
        return next_slice(n);
    slice_ = 1;
    return false;
}

void loop_core::settle() noexcept
{
    if (!ready_.empty() || (stopping_.load(std::memory_order_relaxed) && running_ > 0))
        post_drain();
}

std::size_t loop_core::poll() noexcept
{
    std::size_t ran = 0;
    for (;;)
        try
        {
            if (io_->stopped())
                io_->restart();
            return ran + io_->poll();
        }
        catch (...)
        {
            ++ran;
            report({"exception in a handler", std::current_exception()});
        }
}

// -- errors, tasks, executor --------------------------------------------------------

void loop_core::report(exception_context const& c) noexcept
{
    if (is_inherited())
    {
        default_exception_handler(c);
        return;
    }
    std::shared_ptr<exception_handler const> handler;
    {
        std::lock_guard const lock(rare_mutex_);
        handler = handler_;
    }
    if (handler && facade_)
        try
        {
            (*handler)(*facade_, c);
            return;
        }
        catch (...)
        {
            log_.write({"the exception handler itself threw", std::current_exception()},
                       std::chrono::steady_clock::now());
        }
    log_.write(c, std::chrono::steady_clock::now());
}

void loop_core::set_exception_handler(exception_handler h)
{
    auto next = h ? std::make_shared<exception_handler const>(std::move(h)) : nullptr;
    std::lock_guard const lock(rare_mutex_);
    handler_.swap(next);
}

void loop_core::set_slice_start() noexcept
{
    slice_start_.store(stopping_ || debug() ? 1 : slice_length, std::memory_order_relaxed);
}

void loop_core::set_debug(bool on) noexcept
{
    {
        std::lock_guard const lock(run_mutex_);
        if (on)
            state_.fetch_or(debug_flag);
        else
            state_.fetch_and(static_cast<std::uint8_t>(~debug_flag));
        set_slice_start();
    }
    // What was noted may be of callbacks whose place is taken by others, unseen.
    std::lock_guard const lock(origins_mutex_);
    origins_.clear();
}

void loop_core::note_origin(void const* callback, std::source_location where) noexcept
{
    try
    {
        std::lock_guard const lock(origins_mutex_);
        origins_[callback] = where;
    }
    catch (...)
    {
        // Out of memory: the report will do without.
    }
}

std::string loop_core::take_origin(void const* callback)
{
    std::lock_guard const lock(origins_mutex_);
    auto const found = origins_.extract(callback);
    return found ? describe_location(found.mapped()) : std::string();
}

task_registry& loop_core::registry(std::unique_ptr<task_registry> (*make)(loop_core&))
{
    if (task_registry* const r = registry())
        return *r;
    std::lock_guard const lock(rare_mutex_);
    if (!registry_.load(std::memory_order_relaxed))
        registry_.store(make(*this).release(), std::memory_order_release);
    return *registry_.load(std::memory_order_relaxed);
}

std::shared_ptr<asio::thread_pool> loop_core::default_executor()
{
    std::lock_guard const lock(rare_mutex_);
    require_open();
    if (executor_shut_)
        throw_error(error::executor_shut_down);
    if (!executor_)
        executor_ = std::make_shared<asio::thread_pool>(
            std::min(32u, std::thread::hardware_concurrency() + 4)); // as asyncio has it
    return executor_;
}

void loop_core::set_default_executor(std::shared_ptr<asio::thread_pool> pool)
{
    if (!pool)
        throw_error(error::bad_config, "set_default_executor: the pool is null");
    {
        std::lock_guard const lock(rare_mutex_);
        require_open();
        executor_.swap(pool);
    }
    let_go_elsewhere(std::move(pool));
}

std::shared_ptr<asio::thread_pool> loop_core::shut_default_executor() noexcept
{
    std::lock_guard const lock(rare_mutex_);
    executor_shut_ = true;
    return std::exchange(executor_, nullptr);
}

} // namespace polyloop::detail
