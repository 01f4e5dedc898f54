// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_LOOP_CORE_HPP
#define POLYLOOP_LOOP_DETAIL_LOOP_CORE_HPP

#include <polyloop/context/detail/fork.hpp>
#include <polyloop/context/detail/one_thread.hpp>
#include <polyloop/context/detail/frame.hpp>
#include <polyloop/error.hpp>
#include <polyloop/loop/detail/ready_queue.hpp>
#include <polyloop/loop/detail/report_log.hpp>
#include <polyloop/loop/detail/timer_queue.hpp>
#include <polyloop/loop/exception_context.hpp>
#include <polyloop/loop/options.hpp>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <source_location>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace polyloop::detail {

namespace asio = boost::asio;

/// What a loop asks of its tasks; the scheduler of the room `task` registers itself.
class task_registry
{
  public:
    virtual ~task_registry() = default;

    /// Live tasks, those on their way from other threads included. Any thread.
    virtual std::size_t size() const noexcept = 0;

    /// Cancels every task that lives now, and calls `done` once when all of those have ended.
    /// `failed` is told of those that end by another error than the cancellation (S73). On the
    /// loop, or while no thread runs it.
    virtual void cancel_all(std::function<void()> done,
                            std::function<void(exception_context const&)> failed) = 0;

    /// A report on each live task, which says in its message how far that came. On the loop, or
    /// while no thread runs it.
    virtual std::vector<exception_context> describe() const = 0;

    /// Ends every task: waits fail at once from now on. While no thread runs the loop, entered.
    virtual void unwind() noexcept = 0;

    /// Now and then, on the loop, where that has adopted its `io_context`: lets go of idle memory.
    virtual void tick() noexcept = 0;

    /// The loop is gone; what tasks are left belong to their handles.
    virtual void detach() noexcept = 0;
};

/// What a room further up keeps with a loop, and has to end with it.
class loop_attachment
{
  public:
    virtual ~loop_attachment() = default;

    /// The loop is being closed; its tasks have ended. While no thread runs it.
    virtual void closing() noexcept = 0;
};

/// Work of the default executor, whose completion has to reach the loop as long as there is one.
class executor_job
{
  public:
    executor_job() = default;
    executor_job(executor_job const&) = delete;
    executor_job& operator=(executor_job const&) = delete;
    virtual ~executor_job() = default;

    /// Destroys the completion handler: the loop is being closed.
    virtual void drop() noexcept = 0;

    executor_job* prev = nullptr;
    executor_job* next = nullptr;
    bool linked = false;

    friend void intrusive_ptr_add_ref(executor_job* j) noexcept
    {
        j->refs_.add();
    }
    friend void intrusive_ptr_release(executor_job* j) noexcept
    {
        if (j->refs_.drop())
            delete j;
    }

  private:
    reference_count refs_;
};

/// The part of a loop that outlives it: handles, strands and the memory of tasks keep it, and
/// find out from it that the loop is gone.
///
/// Invariants
/// - On a loop of concurrency 1 (`single()`), `ready_`, `timers_` and the batch belong to the
///   thread on which `on_loop()` holds; every other thread goes through `inbox_`.
/// - Whenever `ready_` is not empty and the core is not entered, a drain is posted.
/// - A batch is what was ready at its start. It goes on after a break for I/O; what a callback
///   queues waits for the next one (S30, S40), what a fiber makes ready may still run in this one
///   while the budget lasts.
/// - On a loop of higher concurrency nothing is queued here: each node is a handler of the
///   `io_context` of its own, and `timer_mutex_` guards the timers.
class loop_core
{
  public:
    POLYLOOP_DECL loop_core(event_loop& facade, asio::io_context* borrowed, loop_options options);
    loop_core(loop_core const&) = delete;
    loop_core& operator=(loop_core const&) = delete;

    // -- identity

    event_loop* facade() const noexcept
    {
        return facade_;
    }
    asio::io_context& io() const noexcept
    {
        return *io_;
    }
    /// Else it is an application's, and has nothing to do where only the loop's own care is left.
    bool owns_context() const noexcept
    {
        return owned_ != nullptr;
    }
    loop_options const& options() const noexcept
    {
        return options_;
    }
    bool single() const noexcept
    {
        return single_;
    }

    /// The calling thread is inside a handler of this loop.
    bool on_loop() const noexcept
    {
        return this_frame().core == this;
    }

    /// The same, counting a foreign handler of an adopted `io_context`, and not inside a fiber: a
    /// fiber of a single loop may be resumed from here.
    bool in_bare_handler() const noexcept
    {
        thread_frame const& f = this_frame();
        return !f.fiber &&
               (f.core == this ||
                (!is_gone() && io_->get_executor().running_in_this_thread()));
    }

    // -- readiness

    /// Makes `n` ready, from any thread. False where the loop is closed: `n` is still the
    /// caller's.
    POLYLOOP_DECL bool schedule(ready_node& n);

    /// The same without the question, on a single loop's own thread.
    void push_local(ready_node& n) noexcept
    {
        push_entered(n);
        if (depth_ == 0)
            post_drain();
    }
    /// The same, where a handler of ours is under way.
    void push_entered(ready_node& n) noexcept
    {
        n.batch = batch_;
        ready_.push(n);
    }

    /// The next node that may run in this batch, or null.
    ready_node* pop_ready() noexcept
    {
        ready_node* const n = ready_.front();
        if (!n || !may_run(*n))
            return nullptr;
        return ready_.pop();
    }

    /// The same, but only if it is a fiber: for the direct switch.
    ready_node* pop_ready_fiber() noexcept
    {
        ready_node* const n = ready_.front();
        if (!n || n->kind != node_kind::fiber || (--slice_ == 0 && !next_slice_direct(*n)))
            return nullptr;
        return ready_.pop();
    }

    /// On a single loop's own thread: nothing would be overtaken.
    bool nothing_ready() const noexcept
    {
        return ready_.empty();
    }

    /// Around what a thread brings to a loop of higher concurrency in several steps: `close` waits
    /// for those that are under way, and no other is admitted. What is brought is then found there.
    class admission
    {
      public:
        explicit admission(loop_core& c) noexcept : core_(c)
        {
            core_.posters_.fetch_add(1);
            // In one order with `close`, which sets, then counts.
            open_ = !(core_.state_.load() & closed_flag);
        }
        admission(admission const&) = delete;
        admission& operator=(admission const&) = delete;
        ~admission()
        {
            core_.posters_.fetch_sub(1);
        }
        explicit operator bool() const noexcept
        {
            return open_;
        }

      private:
        loop_core& core_;
        bool open_;
    };

    /// Calls `f()` on the loop, in order with the other handlers; dropped if it is closed.
    template <class F>
    bool post(F&& f, node_kind kind = node_kind::handler);

    // -- timers (on the loop; on a loop of higher concurrency from any thread)

    /// Throws `std::bad_alloc`: then it is not queued.
    void insert_timer(timer_node& n)
    {
        if (!single_) [[unlikely]]
        {
            insert_locked(n);
            return;
        }
        timers_.insert(n);
        if (!armed_ || timer_work_returned_ || n.when < armed_at_) [[unlikely]]
            arm_for(n);
    }
    bool erase_timer(timer_node& n) noexcept
    {
        if (!single_) [[unlikely]]
            return erase_locked(n);
        bool const erased = timers_.erase(n);
        // On a loop of its own the run keeps it from running out of work anyway.
        if (erased && timers_.empty() && !owned_) [[unlikely]]
            idle_timer();
        return erased;
    }

    /// On a loop of higher concurrency: what waits in the io_context and `close` has to find.
    /// `track` under the timers' lock, that is in `expire`.
    POLYLOOP_DECL void track(timer_node& n) noexcept;
    POLYLOOP_DECL void start_tracking(timer_node& n) noexcept;
    POLYLOOP_DECL void untrack(timer_node& n) noexcept;

    /// The time of the batch; outside of one the clock's.
    steady_time time() noexcept
    {
        if (!single_ || !on_loop() || depth_ == 0)
            return std::chrono::steady_clock::now();
        if (!time_valid_)
        {
            time_ = std::chrono::steady_clock::now();
            time_valid_ = true;
        }
        return time_;
    }

    // -- entering

    /// For each ordinary handler of ours: makes the loop the running one. See `core_entry`.
    void enter() noexcept
    {
        if (single_ && depth_++ == 0)
            refill();
    }
    bool entered() const noexcept
    {
        return depth_ != 0;
    }
    /// A new budget.
    void refill() noexcept
    {
        time_valid_ = false;
        slice_ = slice_start_.load(std::memory_order_relaxed);
        slices_timed_ = false;
        exhausted_ = false;
    }
    void leave() noexcept
    {
        // What is left is looked after by a drain.
        if (single_ && --depth_ == 0 &&
            (!ready_.empty() || stopping_.load(std::memory_order_relaxed))) [[unlikely]]
            settle();
    }

    /// Runs what is ready. On the loop, entered.
    POLYLOOP_DECL void run_batch() noexcept;

    // -- life

    /// Runs until `stop`, or until `done(arg)`, which is asked before the run begins. Returns
    /// whether it was stopped before it began, and so made one iteration alone (S31).
    POLYLOOP_DECL bool run(bool (*done)(void*) = nullptr, void* arg = nullptr);
    /// Throws what `run` would throw now. Returns how often the loop has been told to stop: on a
    /// loop of higher concurrency other threads may take a stop that was meant for a run that is
    /// about to begin.
    POLYLOOP_DECL unsigned check_run() const;
    /// The same number, for `done`, which is asked under the lock.
    unsigned stops() const noexcept
    {
        return stops_;
    }
    POLYLOOP_DECL void stop() noexcept;
    /// For who has just made `done` true: a run that has not begun will see that by itself, and
    /// shall not be stopped besides.
    POLYLOOP_DECL void stop_if_running() noexcept;
    POLYLOOP_DECL void close();
    POLYLOOP_DECL bool is_running() const noexcept;
    /// The loop was made by the process that forked this one, and is left alone here (S16, S17): it
    /// is closed, though nothing of it was ended.
    bool is_inherited() const noexcept
    {
        return generation_ != fork_generation();
    }
    bool is_closed() const noexcept
    {
        return state_.load(std::memory_order_acquire) & closed_flag;
    }
    /// Nothing is out of the ordinary: of concurrency 1, open, and not in debug mode.
    bool plain() const noexcept
    {
        return state_.load(std::memory_order_acquire) == 0;
    }
    /// The loop was destroyed: its `io_context` may be, too.
    bool is_gone() const noexcept
    {
        return gone_.load(std::memory_order_acquire);
    }
    /// Between the start of `close` and its end, on the closing thread.
    bool unwinding() const noexcept
    {
        return unwinding_;
    }
    /// The same, and tasks may still have to end.
    bool ending() const noexcept
    {
        return unwinding_ && !inbox_.closed();
    }
    void require_open() const
    {
        if (is_closed()) [[unlikely]]
            throw_error(error::loop_closed);
    }

    /// Handlers that are ready now, for the unwinding of tasks. Returns how many ran.
    POLYLOOP_DECL std::size_t poll() noexcept;

    // -- work that no handler of Asio stands for

    void work_started() noexcept
    {
        io_->get_executor().on_work_started();
    }
    void work_finished() noexcept
    {
        if (io_) [[likely]] // it is gone where a task that never ends is let go of
            io_->get_executor().on_work_finished();
    }

    // -- errors

    POLYLOOP_DECL void report(exception_context const& c) noexcept;
    POLYLOOP_DECL void set_exception_handler(exception_handler h);

    /// Debug mode: where a callback was registered, until it is asked.
    POLYLOOP_DECL void note_origin(void const* callback, std::source_location where) noexcept;
    POLYLOOP_DECL std::string take_origin(void const* callback);

    // -- tasks

    task_registry* registry() const noexcept
    {
        return registry_.load(std::memory_order_acquire);
    }

    /// The registry, made by `make` at first need.
    POLYLOOP_DECL task_registry&
    registry(std::unique_ptr<task_registry> (*make)(loop_core&));

    // -- what rooms further up attach

    /// The sockets of the loop, made by `make` at first need.
    template <class Attachment>
    Attachment& sockets(std::unique_ptr<Attachment> (*make)(loop_core&))
    {
        std::lock_guard const lock(rare_mutex_);
        require_open();
        if (!sockets_)
            sockets_ = make(*this);
        return static_cast<Attachment&>(*sockets_);
    }

    /// The same for what the loop itself watches.
    template <class Attachment>
    Attachment& attached_watches(std::unique_ptr<Attachment> (*make)(loop_core&))
    {
        std::lock_guard const lock(rare_mutex_);
        require_open();
        if (!watches_)
            watches_ = make(*this);
        return static_cast<Attachment&>(*watches_);
    }
    bool has_watches() noexcept
    {
        std::lock_guard const lock(rare_mutex_);
        return watches_ != nullptr;
    }

    // the policy that is in force on this loop

    void* ambient() const noexcept
    {
        return ambient_.get();
    }
    std::shared_ptr<void> const& shared_ambient() const noexcept
    {
        return ambient_;
    }
    /// Somebody has reported the tasks that are left: `close` need not.
    bool tasks_named() const noexcept
    {
        return tasks_named_;
    }
    void set_tasks_named() noexcept
    {
        tasks_named_ = true;
    }
    /// Whether it wants new tasks on the running loop, without being asked.
    bool ambient_places_here() const noexcept
    {
        return ambient_places_here_;
    }
    /// While no thread runs the loop.
    void set_ambient(std::shared_ptr<void> p, bool places_here) noexcept
    {
        ambient_ = std::move(p);
        ambient_places_here_ = places_here;
    }

    // -- default executor

    POLYLOOP_DECL std::shared_ptr<asio::thread_pool> default_executor();
    POLYLOOP_DECL void set_default_executor(std::shared_ptr<asio::thread_pool> pool);
    /// Refuses further use and hands out what was in use.
    POLYLOOP_DECL std::shared_ptr<asio::thread_pool> shut_default_executor() noexcept;

    /// Without waiting for its threads; what they have not begun is dropped.
    POLYLOOP_DECL static void abandon(std::shared_ptr<asio::thread_pool> pool) noexcept;

    /// A job is the loop's from `add_job` until the loop is closed or `take_job` returns true,
    /// after which the loop waits with its end for `finish_job`.
    POLYLOOP_DECL void add_job(executor_job& job);
    POLYLOOP_DECL bool take_job(executor_job& job) noexcept;
    POLYLOOP_DECL void finish_job() noexcept;

    bool debug() const noexcept
    {
        return state_.load(std::memory_order_relaxed) & debug_flag;
    }
    POLYLOOP_DECL void set_debug(bool on) noexcept;

    /// Closed, or in debug mode: one question for what is asked all the time.
    bool unusual() const noexcept
    {
        return state_.load(std::memory_order_acquire) & (closed_flag | debug_flag);
    }

    // -- small blocks, recycled on a single loop's own thread (`near`); when it has many, other
    //    threads get them

    bool near() const noexcept
    {
        return single_ && on_loop();
    }
    void* allocate(std::size_t size, bool near)
    {
        std::size_t const i = (size - 1) / block_step;
        if (near && i < block_classes && blocks_[i].first) [[likely]]
        {
            --blocks_[i].count;
            return std::exchange(blocks_[i].first, *static_cast<void**>(blocks_[i].first));
        }
        if (!near && i < block_classes)
            if (void* const p = take_far(i))
                return p;
        return ::operator new(i < block_classes ? (i + 1) * block_step : size);
    }
    void* allocate(std::size_t size)
    {
        return allocate(size, near());
    }
    void deallocate(void* p, std::size_t size, bool near) noexcept
    {
        std::size_t const i = (size - 1) / block_step;
        if (near && i < block_classes && (blocks_[i].count < blocks_kept || give_far(i))) [[likely]]
        {
            ++blocks_[i].count;
            *static_cast<void**>(p) = std::exchange(blocks_[i].first, p);
        }
        else
            ::operator delete(p);
    }
    void deallocate(void* p, std::size_t size) noexcept
    {
        deallocate(p, size, near());
    }

    // -- lifetime

    friend void intrusive_ptr_add_ref(loop_core* c) noexcept
    {
        c->refs_.fetch_add(1, std::memory_order_relaxed);
    }
    friend void intrusive_ptr_release(loop_core* c) noexcept
    {
        if (c->refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete c;
    }
    /// A reference too, for what comes and goes on the loop's own thread: counted there without
    /// an atomic operation. Who was counted near may be let go of far and the other way round; the
    /// sum decides, and it is made when the loop is gone.
    void hold(bool near) noexcept
    {
        if (near)
            ++near_refs_;
        else
            intrusive_ptr_add_ref(this);
    }
    void let_go(bool near) noexcept
    {
        if (near && !is_gone())
            --near_refs_;
        else
            intrusive_ptr_release(this);
    }

    /// The facade's destructor: nothing of Asio may be touched after it.
    POLYLOOP_DECL void detach() noexcept;

  private:
    struct drain_handler;
    struct timer_handler;
    struct drain_memory;

    // A ready fiber costs some ten nanoseconds, a poll of the system about a microsecond, a
    // clock read some tens of nanoseconds: so the clock is read once a slice, and I/O waits
    // for at most `batch_time` and one slice. Slices are cut to `slice_time`, which one turn may
    // exceed, by how long the last ones took. A batch that is not the continuation of one that was
    // cut short goes without the clock for its first slice: it may last for one more.
    static constexpr unsigned slice_length = 64;
    static constexpr unsigned shortest_slice = 2; // 1 is the mark of a stop
    static constexpr std::chrono::nanoseconds batch_time = std::chrono::microseconds(100);
    static constexpr std::chrono::nanoseconds slice_time = batch_time / 8;

    // Timers that expire, or move on in their queue, between two looks at I/O: some 0.1 ms.
    static constexpr std::size_t expiry_budget = 1000;

    static constexpr unsigned drains_per_tick = 256;

    static constexpr std::size_t block_step = 64;
    static constexpr std::size_t block_classes = 12;
    static constexpr std::size_t blocks_kept = 1024; // of a class
    struct block_list
    {
        void* first = nullptr;
        std::size_t count = 0;
    };

    // So that the count cannot reach 0 before those that are counted near are added.
    static constexpr std::int64_t loop_lives = std::int64_t(1) << 60;

    POLYLOOP_DECL ~loop_core();

    bool may_run(ready_node const& n) noexcept
    {
        if (n.kind == node_kind::callback && n.batch == batch_ && !batch_done_)
            return false;
        return spend(n);
    }
    bool spend(ready_node const& n) noexcept
    {
        return --slice_ != 0 || next_slice(n);
    }

    POLYLOOP_DECL void* take_far(std::size_t i) noexcept;
    POLYLOOP_DECL bool give_far(std::size_t i) noexcept;
    POLYLOOP_DECL bool next_slice(ready_node const& n) noexcept;
    POLYLOOP_DECL bool next_slice_direct(ready_node const& n) noexcept;
    void fit_slices(std::chrono::nanoseconds took) noexcept;
    void set_slice_start() noexcept;
    POLYLOOP_DECL void post_drain() noexcept;
    POLYLOOP_DECL void settle() noexcept;
    void on_drain(bool local) noexcept;
    void on_timer(std::uint64_t generation) noexcept;
    void take_inbox() noexcept;
    void perform(ready_node& n) noexcept;
    void wake() noexcept;
    POLYLOOP_DECL void insert_locked(timer_node& n);
    POLYLOOP_DECL bool erase_locked(timer_node& n) noexcept;
    void arm_until(steady_time next);
    POLYLOOP_DECL void arm_for(timer_node& n);
    POLYLOOP_DECL void idle_timer() noexcept;
    bool expire_one() noexcept;
    void discard_ready() noexcept;
    void run_io();
    void hop_then_stop(int hops);
    static void let_go_elsewhere(std::shared_ptr<asio::thread_pool> pool) noexcept;
    void drop_jobs() noexcept;
    void drop_callbacks() noexcept;
    void unlink_job(executor_job& job) noexcept;
    void check_run_locked() const;
    bool enter_run(bool (*done)(void*), void* arg, bool& stopped_before);
    void leave_run() noexcept;
    void refuse_inherited() const;
    static void forked(void* self) noexcept;
    void leave_to_parent() noexcept;
    void stop_locked() noexcept;

    // read by every thread
    asio::io_context* io_;
    event_loop* facade_;
    bool const single_;
    // In one, so that the usual case is one question.
    static constexpr std::uint8_t shared_flag = 1; // not of concurrency 1
    static constexpr std::uint8_t closed_flag = 2;
    static constexpr std::uint8_t debug_flag = 4;
    std::atomic<std::uint8_t> state_;
    std::atomic<bool> stopping_ = false;
    std::atomic<bool> gone_ = false;

    // 1 while it stops or is debugged: then each turn is looked at. That is written under
    // `run_mutex_`; the loop's own thread fits it to the turns otherwise.
    std::atomic<unsigned> slice_start_ = slice_length;

    // the loop's own thread
    unsigned depth_ = 0;
    unsigned slice_ = slice_length;
    std::uint32_t batch_ = 1;
    unsigned drains_ = 0;
    bool batch_done_ = true;
    bool exhausted_ = false;
    bool slices_timed_ = false;
    bool was_exhausted_ = false; // the last batch that a drain will go on with
    bool drain_posted_ = false;
    bool time_valid_ = false;
    bool unwinding_ = false;
    bool hopping_ = false;
    ready_queue ready_;
    steady_time time_{};
    steady_time batch_start_{};
    steady_time slice_begin_{};
    std::int64_t near_refs_ = 0;
    std::array<block_list, block_classes> blocks_{};
    bool drain_memory_used_ = false;
    alignas(std::max_align_t) std::array<std::byte, 128> drain_memory_;

    // timers
    std::mutex timer_mutex_;
    timer_queue timers_;
    std::unique_ptr<asio::steady_timer> timer_;
    steady_time armed_at_ = steady_time::max();
    std::uint64_t timer_generation_ = 0;
    bool armed_ = false;
    bool timer_work_returned_ = false;
    timer_node* tracked_ = nullptr;

    // other threads
    alignas(64) inbox inbox_;
    std::atomic<unsigned> posters_ = 0;
    std::atomic<std::int64_t> refs_ = loop_lives;
    std::atomic_flag far_busy_;
    std::array<void*, block_classes> far_blocks_{}; // taken by whoever has set `far_busy_`

    // rarely touched
    alignas(64) loop_options options_;
    std::unique_ptr<asio::io_context> owned_;
    mutable std::mutex run_mutex_;
    std::condition_variable run_left_;
    unsigned running_ = 0;
    unsigned stops_ = 0;
    std::atomic<task_registry*> registry_ = nullptr;
    std::unique_ptr<loop_attachment> sockets_;
    std::unique_ptr<loop_attachment> watches_;
    unsigned const generation_ = fork_generation();
    loop_core* next_left_ = nullptr; // in a child
    std::shared_ptr<void> ambient_;
    bool ambient_places_here_ = false;
    bool tasks_named_ = false;
    std::mutex rare_mutex_; // exception handler, default executor, registry
    std::shared_ptr<exception_handler const> handler_;
    report_log log_;
    std::mutex origins_mutex_;
    std::unordered_map<void const*, std::source_location> origins_; // of callbacks, in debug mode
    std::shared_ptr<asio::thread_pool> executor_;
    bool executor_shut_ = false;
    executor_job* jobs_ = nullptr;
    fork_listener const forks_{this, {.in_child = &loop_core::forked}};
};

using core_ptr = boost::intrusive_ptr<loop_core>;

/// Around each ordinary handler of ours: the frame says that this loop runs, and what became
/// ready meanwhile is looked after when the handler ends.
class core_entry
{
  public:
    explicit core_entry(loop_core& c) noexcept : core_(c)
    {
        thread_frame& f = guard_.frame();
        f.loop = c.facade();
        f.core = &c;
        f.fiber = nullptr;
        f.strand = nullptr;
        c.enter();
    }

    core_entry(core_entry const&) = delete;
    core_entry& operator=(core_entry const&) = delete;

    ~core_entry()
    {
        core_.leave();
    }

  private:
    frame_guard guard_;
    loop_core& core_;
};

/// A function that waits in a ready queue, in a recycled block of its loop.
template <class F>
struct function_node : ready_node
{
    template <class G>
    function_node(loop_core& c, G&& g, node_kind k)
        : ready_node(&function_node::perform, k), core(c), f(std::forward<G>(g))
    {
    }

    static function_node* make(loop_core& c, F&& f, node_kind kind)
    {
        static_assert(alignof(function_node) <= alignof(std::max_align_t),
                      "polyloop: a handler with a stricter alignment than max_align_t");
        void* p = c.allocate(sizeof(function_node));
        try
        {
            return ::new (p) function_node(c, std::move(f), kind);
        }
        catch (...)
        {
            c.deallocate(p, sizeof(function_node));
            throw;
        }
    }

    static void perform(ready_node* n, verb v)
    {
        auto* self = static_cast<function_node*>(n);
        loop_core& c = self->core;
        F f(std::move(self->f));
        // The memory is free before the call, so that f may use it again.
        self->~function_node();
        c.deallocate(self, sizeof(function_node));
        if (v == verb::run)
            f();
    }

    loop_core& core;
    F f;
};

template <class F>
bool loop_core::post(F&& f, node_kind kind)
{
    auto* n =
        function_node<std::decay_t<F>>::make(*this, std::decay_t<F>(std::forward<F>(f)), kind);
    if (schedule(*n))
        return true;
    n->act(n, ready_node::verb::discard);
    return false;
}

} // namespace polyloop::detail

#endif
