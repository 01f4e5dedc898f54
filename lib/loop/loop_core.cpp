// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/loop_core.hpp>

#include <boost/asio/post.hpp>
#include <boost/assert.hpp>

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
    : facade_(&facade), single_(options.concurrency == 1), debug_(false),
      timers_(std::chrono::steady_clock::now()), options_(checked(std::move(options), borrowed))
{
    if (borrowed)
        io_ = borrowed;
    else
    {
        owned_ = std::make_unique<asio::io_context>(concurrency_hint(options_));
        io_ = owned_.get();
    }
    timer_ = std::make_unique<asio::steady_timer>(*io_);
    debug_ = options_.debug ? *options_.debug : debug_from_environment();
}

loop_core::~loop_core()
{
    delete registry_.load();
    for (block_list& list : blocks_)
        while (list.first)
            ::operator delete(std::exchange(list.first, *static_cast<void**>(list.first)));
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

void loop_core::take_inbox() noexcept
{
    for (ready_node* n = inbox_.take(); n;)
    {
        ready_node* const next = n->next;
        n->batch = batch_;
        ready_.push(*n);
        n = next;
    }
}

void loop_core::on_drain(bool local) noexcept
{
    if (local)
        drain_posted_ = false;
    core_entry const entry(*this);
    run_batch();
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
    {
        try
        {
            n->act(n, ready_node::verb::run);
        }
        catch (...)
        {
            report({"exception in a handler", std::current_exception()});
        }
    }
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
    slice_ = slice_length;
    steady_time const now = std::chrono::steady_clock::now();
    if (!slices_timed_)
    {
        slices_timed_ = true;
        batch_start_ = now;
    }
    else if (now - batch_start_ > batch_time)
    {
        // Stays so until the handler ends: each further question is refused at once.
        exhausted_ = true;
        slice_ = 1;
        return false;
    }
    return true;
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

// -- timers ------------------------------------------------------------------------

struct loop_core::timer_handler
{
    core_ptr core;
    std::uint64_t generation;

    void operator()(boost::system::error_code) const
    {
        core->on_timer(generation);
    }
};

void loop_core::insert_timer(timer_node& n)
{
    std::unique_lock<std::mutex> lock(timer_mutex_, std::defer_lock);
    if (!single_) [[unlikely]]
        lock.lock();
    timers_.insert(n);
    if (!armed_ || timer_work_returned_ || n.when < armed_at_) [[unlikely]]
        arm();
}

bool loop_core::erase_timer(timer_node& n) noexcept
{
    std::unique_lock<std::mutex> lock(timer_mutex_, std::defer_lock);
    if (!single_) [[unlikely]]
        lock.lock();
    bool const erased = timers_.erase(n);
    // On a loop of its own the run keeps it from running out of work anyway.
    if (!owned_ && erased && timers_.empty()) [[unlikely]]
        idle_timer();
    return erased;
}

// The armed timer is left to fire early rather than moved back, so that a deadline that is
// set and cancelled costs no system call. Its work is taken back instead, as an adopted
// io_context without other work shall return from run().
void loop_core::idle_timer() noexcept
{
    if (!armed_ || timer_work_returned_)
        return;
    // Only inside a handler of the io_context: elsewhere the count could reach zero and
    // stop it.
    if (on_loop())
    {
        timer_work_returned_ = true;
        work_finished();
    }
    else if (!single_)
        post([self = core_ptr(this)] {
            std::lock_guard const lock(self->timer_mutex_);
            if (self->timers_.empty())
                self->idle_timer();
        });
}

void loop_core::arm()
{
    if (timers_.empty() || !timer_)
        return;
    if (timer_work_returned_)
    {
        timer_work_returned_ = false;
        work_started();
    }
    steady_time const next = timers_.next();
    if (armed_ && armed_at_ <= next)
        return;
    armed_ = true;
    armed_at_ = next;
    timer_->expires_at(next);
    timer_->async_wait(timer_handler{core_ptr(this), ++timer_generation_});
}

void loop_core::on_timer(std::uint64_t generation) noexcept
{
    core_entry const entry(*this);
    {
        std::unique_lock<std::mutex> lock(timer_mutex_, std::defer_lock);
        if (!single_)
            lock.lock();
        if (generation != timer_generation_ || !timer_)
            return;
        armed_ = false;
        if (timer_work_returned_)
        {
            // This handler's own work is about to be counted down.
            timer_work_returned_ = false;
            work_started();
        }
        steady_time const now = std::chrono::steady_clock::now();
        time_ = now;
        time_valid_ = true;
        // Under the lock, where there is one: who takes a timer back may then free it at once.
        // `expire` only makes something ready.
        while (timer_node* const n = timers_.pop_due(now))
            n->expire(n);
        arm();
    }
    if (single_)
        run_batch();
}

// -- life --------------------------------------------------------------------------

bool loop_core::is_running() const noexcept
{
    std::lock_guard const lock(run_mutex_);
    return running_ > 0;
}

unsigned loop_core::check_run() const
{
    std::lock_guard const lock(run_mutex_);
    check_run_locked();
    return stops_;
}

void loop_core::check_run_locked() const
{
    thread_frame const& frame = this_frame();
    require_open(); // the order of the checks is S28's
    if (frame.core == this || running_ == options_.concurrency)
        throw_error(error::loop_already_running,
                    "loop \"" + options_.name + "\" is run by " + std::to_string(running_) +
                        " of " + std::to_string(options_.concurrency) + " threads");
    if (frame.loop)
        throw_error(error::another_loop_running);
}

bool loop_core::enter_run(bool (*done)(void*), void* arg, bool& stopped_before)
{
    std::unique_lock lock(run_mutex_);
    check_run_locked();
    // The threads that are leaving after a stop must be out before the io_context can be
    // restarted.
    run_left_.wait(lock, [this] { return !stopping_ || running_ == 0; });
    if (done && done(arg))
        return false;
    require_open();
    stopped_before = stopping_;
    // An application that ran the adopted io_context to its end has left it stopped.
    if (running_ == 0 && io_->stopped())
        io_->restart();
    ++running_;
    return true;
}

void loop_core::leave_run() noexcept
{
    std::lock_guard const lock(run_mutex_);
    if (--running_ == 0)
    {
        stopping_ = false;
        hopping_ = false;
        if (io_->stopped())
            io_->restart();
    }
    run_left_.notify_all();
}

void loop_core::run(bool (*done)(void*), void* arg)
{
    bool stopped_before = false;
    if (!enter_run(done, arg, stopped_before))
        return;
    {
        // Ends before leave_run restarts the io_context, which would stop again without work.
        auto const work = asio::make_work_guard(*io_);
        frame_guard guard;
        guard.frame().loop = facade_;
        guard.frame().core = this;
        if (stopped_before)
        {
            hopping_ = single_;
            hop_then_stop(2);
        }
        for (;;)
            try
            {
                run_io();
                break;
            }
            catch (...)
            {
                report({"exception in a handler", std::current_exception()});
            }
    }
    leave_run();
}

// S31: a loop that was stopped before it ran makes one iteration: its I/O and timers are looked
// at without blocking, then what is ready runs. The io_context polls between two handlers of
// which one posts the other, and queues what it found behind the second: so the third comes
// after that.
void loop_core::hop_then_stop(int hops)
{
    asio::post(*io_, [self = core_ptr(this), hops] {
        if (hops != 0)
            self->hop_then_stop(hops - 1);
        else if (!self->single_)
            self->io_->stop();
        else
        {
            core_entry const entry(*self);
            self->hopping_ = false;
            self->run_batch();
        }
    });
}

void loop_core::run_io()
{
    if (options_.spin == options_.spin.zero())
    {
        io_->run();
        return;
    }
    using clock = std::chrono::steady_clock;
    auto last = clock::now();
    while (!io_->stopped())
    {
        std::size_t n = io_->poll();
        if (n == 0 && clock::now() - last < options_.spin)
            continue;
        if (n == 0)
            io_->run_one();
        last = clock::now();
    }
}

void loop_core::stop() noexcept
{
    std::lock_guard const lock(run_mutex_);
    ++stops_;
    stop_locked();
}

void loop_core::stop_if_running() noexcept
{
    std::lock_guard const lock(run_mutex_);
    if (running_ > 0)
        stop_locked();
}

void loop_core::stop_locked() noexcept
{
    if (is_closed() || stopping_.exchange(true))
        return;
    if (!single_)
    {
        if (running_ > 0)
            asio::post(*io_, [self = core_ptr(this)] { self->io_->stop(); });
    }
    else if (!on_loop())
        wake();
    else
    {
        slice_ = 1;
        if (depth_ == 0)
            post_drain();
    }
}

void loop_core::close()
{
    {
        std::lock_guard const lock(run_mutex_);
        if (is_closed())
            return;
        if (running_ > 0 || on_loop())
            throw_error(error::loop_is_running);
        closed_ = true;
    }
    bool const stopped = io_->stopped();
    {
        core_entry const entry(*this);
        unwinding_ = true;
        drop_jobs();
        drop_callbacks();
        if (task_registry* const r = registry())
            r->unwind();
        discard_ready();
        while (timer_node* const n = timers_.pop_due(steady_time::max()))
        {
            n->expire(n);
            discard_ready();
        }
        drop_callbacks(); // those that have just expired
        if (std::exchange(timer_work_returned_, false))
            work_started(); // the aborted wait will be counted down by its own handler
        timer_.reset();
        for (ready_node* n = inbox_.close(); n;)
            (std::exchange(n, n->next))->act(n, ready_node::verb::discard);
        discard_ready();
    }
    while (posters_.load() != 0)
        std::this_thread::yield();
    // Without work it stopped while it was polled; an application that goes on with an adopted
    // io_context shall find it as it was.
    if (!stopped && io_->stopped())
        io_->restart();
    abandon(shut_default_executor());
    std::lock_guard const lock(rare_mutex_);
    handler_.reset();
}

// Without waiting (S35): the pool's destructor would join its threads.
void loop_core::abandon(std::shared_ptr<asio::thread_pool> pool) noexcept
{
    if (!pool)
        return;
    pool->stop();
    std::thread([p = std::move(pool)]() mutable { p.reset(); }).detach();
}

void loop_core::drop_jobs() noexcept
{
    for (;;)
    {
        boost::intrusive_ptr<executor_job> job;
        {
            std::lock_guard const lock(rare_mutex_);
            if (!jobs_)
                return;
            job.reset(jobs_);
            unlink_job(*job);
        }
        job->drop();
    }
}

void loop_core::unlink_job(executor_job& job) noexcept
{
    (job.prev ? job.prev->next : jobs_) = job.next;
    if (job.next)
        job.next->prev = job.prev;
    job.linked = false;
}

void loop_core::add_job(executor_job& job)
{
    std::lock_guard const lock(rare_mutex_);
    require_open();
    job.prev = nullptr;
    job.next = jobs_;
    if (jobs_)
        jobs_->prev = &job;
    jobs_ = &job;
    job.linked = true;
}

bool loop_core::take_job(executor_job& job) noexcept
{
    std::lock_guard const lock(rare_mutex_);
    if (!job.linked)
        return false;
    unlink_job(job);
    posters_.fetch_add(1); // until finish_job
    return true;
}

void loop_core::finish_job() noexcept
{
    posters_.fetch_sub(1);
}

void loop_core::track(timer_node& n) noexcept
{
    n.prev = nullptr;
    n.next = tracked_;
    if (tracked_)
        tracked_->prev = &n;
    tracked_ = &n;
    n.place = timer_node::tracked;
}

void loop_core::start_tracking(timer_node& n) noexcept
{
    std::lock_guard const lock(timer_mutex_);
    track(n);
}

void loop_core::untrack(timer_node& n) noexcept
{
    std::lock_guard const lock(timer_mutex_);
    if (n.place != timer_node::tracked)
        return;
    (n.prev ? n.prev->next : tracked_) = n.next;
    if (n.next)
        n.next->prev = n.prev;
    n.place = timer_node::nowhere;
}

void loop_core::drop_callbacks() noexcept
{
    while (timer_node* const n = tracked_) // no thread runs the loop any more
    {
        untrack(*n);
        n->dropped(n);
    }
}

void loop_core::discard_ready() noexcept
{
    take_inbox();
    while (ready_node* const n = ready_.pop())
        n->act(n, ready_node::verb::discard);
}

void loop_core::detach() noexcept
{
    gone_ = true;
    // Handlers that still wait in the io_context are destroyed here; the fibers among them
    // unwind, and find their loop on the frame.
    if (owned_)
    {
        core_entry const entry(*this);
        owned_.reset();
    }
    facade_ = nullptr;
    if (task_registry* const r = registry())
        r->detach();
    refs_.fetch_add(near_refs_ - loop_lives, std::memory_order_acq_rel); // the caller has one
}

// -- errors, tasks, executor --------------------------------------------------------

void loop_core::report(exception_context const& c) noexcept
{
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
            default_exception_handler(
                {"the exception handler itself threw", std::current_exception()});
        }
    default_exception_handler(c);
}

void loop_core::set_exception_handler(exception_handler h)
{
    auto next = h ? std::make_shared<exception_handler const>(std::move(h)) : nullptr;
    std::lock_guard const lock(rare_mutex_);
    handler_.swap(next);
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
    std::lock_guard const lock(rare_mutex_);
    executor_.swap(pool);
}

std::shared_ptr<asio::thread_pool> loop_core::shut_default_executor() noexcept
{
    std::lock_guard const lock(rare_mutex_);
    executor_shut_ = true;
    return std::exchange(executor_, nullptr);
}

} // namespace polyloop::detail
