// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/policy/pool_policy.hpp>

#include <polyloop/loop/detail/affinity.hpp>

#include <atomic>
#include <exception>
#include <new>
#include <utility>

namespace polyloop {
namespace {

unsigned count_or_processors(unsigned n) noexcept
{
    return n ? n : usable_processors();
}

/// Pins the calling thread; the loop's exception handler is told where that fails.
void pin(detail::affinity const& allowed, unsigned n, event_loop& loop)
{
    try
    {
        allowed.pin(n);
    }
    catch (...)
    {
        loop.call_exception_handler(
            {"a thread of loop \"" + loop.name() + "\" could not be pinned",
             std::current_exception()});
    }
}

[[noreturn]] void refuse_second_run()
{
    detail::throw_error(error::policy_in_use,
                        "this policy's loops serve another run; set run_options::policy to "
                        "a policy object of this run's own");
}

void check_main(event_loop const* main)
{
    if (!main)
        detail::throw_error(error::bad_config, "the main loop of a pool is null");
    if (main->is_closed())
        detail::throw_error(error::loop_closed);
    if (!main->options().locking)
        detail::throw_error(error::option_unsupported,
                            "loop \"" + main->name() +
                                "\" was made with loop_options::locking off, but a pool's loops "
                                "are touched by several threads");
}

pool_options checked(pool_options o)
{
    if (!o.loop.locking)
        detail::throw_error(error::bad_config,
                            "pool_options::loop.locking is off, but a pool's loops are touched "
                            "by several threads");
    return o;
}

} // namespace

unsigned usable_processors() noexcept
{
    return detail::affinity().count();
}

// -- strand_policy, fiber_policy -----------------------------------------------------

struct pool_policy::run
{
    std::vector<std::shared_ptr<event_loop>> loops;
    detail::affinity allowed; // before anybody is pinned
    loop_group group;
};

pool_policy::pool_policy(context_kind unit, pool_options options, placement::strategy strategy)
    : unit_(unit), options_(checked(std::move(options))), strategy_(std::move(strategy)),
      bindings_(unit)
{
    if (!strategy_)
        detail::throw_error(error::bad_config, "the placement strategy is empty");
}

pool_policy::~pool_policy()
{
    stop();
}

// In a child: no run is on, as the threads of the parent's are not here.
void pool_policy::forked(void* self) noexcept
{
    auto& p = *static_cast<pool_policy*>(self);
    ::new (static_cast<void*>(&p.mutex_)) std::mutex;
    ::new (static_cast<void*>(&p.run_)) std::shared_ptr<run>();
}

std::shared_ptr<pool_policy::run const> pool_policy::current() const
{
    std::lock_guard const lock(mutex_);
    return run_;
}

event_loop& pool_policy::get_event_loop()
{
    if (auto const bound = bindings_.get())
        return *bound;
    bindings_.refuse();
}

void pool_policy::set_event_loop(std::shared_ptr<event_loop> loop)
{
    bindings_.set(std::move(loop));
}

std::shared_ptr<event_loop> pool_policy::new_event_loop()
{
    loop_options o = options_.loop;
    o.concurrency = 1;
    return std::make_shared<event_loop>(std::move(o));
}

event_loop& pool_policy::place(placement_request const& request)
{
    if (auto const own = bindings_.get_own())
        return *own;
    auto const r = current();
    if (r && request.kind == unit_)
    {
        std::size_t const i = strategy_(request, r->loops);
        if (i >= r->loops.size())
            detail::throw_error(error::bad_config, "the placement strategy chose loop " +
                                                       std::to_string(i) + " of " +
                                                       std::to_string(r->loops.size()));
        return *r->loops[i];
    }
    if (event_loop* const running = try_get_running_loop())
        return *running;
    if (auto const bound = bindings_.get())
        return *bound;
    if (r)
        return *r->loops.front();
    bindings_.refuse();
}

void pool_policy::start(std::shared_ptr<event_loop> main)
{
    check_main(main.get());
    if (current()) // before anything is made
        refuse_second_run();
    auto r = std::make_shared<run>();
    r->loops.push_back(main);
    bool ours = false;
    try
    {
        unsigned const count = count_or_processors(options_.loops);
        for (unsigned i = 1; i < count; ++i)
        {
            // Of a class of somebody's own, perhaps; the group refuses the other loops that are
            // none.
            auto loop = new_event_loop();
            if (loop == main)
                detail::throw_error(error::bad_config,
                                    "the policy's new_event_loop gave the run's own loop again: "
                                    "it must give a fresh one");
            r->group.add(loop);
            join_run(*main, *loop);
            r->loops.push_back(std::move(loop));
        }
        {
            std::lock_guard const lock(mutex_);
            if (run_)
                refuse_second_run();
            run_ = r;
            ours = true;
        }
        r->group.start(options_.pin, 1);
    }
    catch (...)
    {
        if (ours)
            stop(); // no more threads: those that have started end again
        // The runner knows of the main loop only.
        for (std::size_t i = 1; i != r->loops.size(); ++i)
            if (!r->loops[i]->is_running()) // as one of somebody's own class may be
                r->loops[i]->close();
        throw;
    }
    if (options_.pin)
        pin(r->allowed, 0, *main);
}

void pool_policy::stop()
{
    std::shared_ptr<run> r;
    {
        std::lock_guard const lock(mutex_);
        r = std::exchange(run_, nullptr);
    }
    if (!r)
        return;
    r->group.stop();
    r->group.join();
    if (options_.pin)
        r->allowed.restore();
}

bool pool_policy::spreads_evenly() const noexcept
{
    return strategy_.target<placement::round_robin>() != nullptr;
}

std::vector<std::shared_ptr<event_loop>> pool_policy::loops() const
{
    auto const r = current();
    return r ? r->loops : std::vector<std::shared_ptr<event_loop>>();
}

// -- shared_policy -------------------------------------------------------------------

struct shared_policy::helpers
{
    detail::affinity allowed;
    std::atomic<bool> quit = false;
    std::vector<std::thread> threads;
};

shared_policy::shared_policy(pool_options options) : options_(checked(std::move(options)))
{
}

shared_policy::~shared_policy()
{
    stop();
}

void shared_policy::forked(void* self) noexcept
{
    auto& p = *static_cast<shared_policy*>(self);
    ::new (static_cast<void*>(&p.mutex_)) std::mutex;
    ::new (static_cast<void*>(&p.main_)) std::shared_ptr<event_loop>();
    ::new (static_cast<void*>(&p.helpers_)) std::unique_ptr<helpers>();
}

std::shared_ptr<event_loop> shared_policy::main() const
{
    std::lock_guard const lock(mutex_);
    return main_;
}

event_loop& shared_policy::get_event_loop()
{
    if (auto const bound = bindings_.get())
        return *bound;
    bindings_.refuse();
}

void shared_policy::set_event_loop(std::shared_ptr<event_loop> loop)
{
    bindings_.set(std::move(loop));
}

std::shared_ptr<event_loop> shared_policy::new_event_loop()
{
    loop_options o = options_.loop;
    o.concurrency = count_or_processors(options_.loops);
    return std::make_shared<event_loop>(std::move(o));
}

event_loop& shared_policy::place(placement_request const&)
{
    if (event_loop* const running = try_get_running_loop())
        return *running;
    if (auto const bound = bindings_.get())
        return *bound;
    if (auto const m = main())
        return *m;
    bindings_.refuse();
}

void shared_policy::start(std::shared_ptr<event_loop> main)
{
    check_main(main.get());
    auto made = std::make_unique<helpers>(); // what throws leaves the policy as it was
    {
        std::lock_guard const lock(mutex_);
        if (main_)
            refuse_second_run();
        main_ = main;
    }
    helpers_ = std::move(made);
    try
    {
        // Of a loop that was made elsewhere, only as many threads as it allows.
        for (unsigned i = 1; i < main->options().concurrency; ++i)
            helpers_->threads.emplace_back([this, main, i] { help(main, i); });
    }
    catch (...) // no more threads: those that have started end again
    {
        stop();
        throw;
    }
    if (options_.pin)
        pin(helpers_->allowed, 0, *main);
}

void shared_policy::help(std::shared_ptr<event_loop> const& main, unsigned number) noexcept
{
    // A stop is for those who wait for a result; the helpers come back. `quit` is asked under the
    // lock that `stop` takes, so none comes back after that.
    auto quit = [](void* p) { return static_cast<helpers*>(p)->quit.load(); };
    try
    {
        this_context::set_thread_name(main->name() + '/' + std::to_string(number));
        if (options_.pin)
            pin(helpers_->allowed, number, *main);
        while (!helpers_->quit)
            main->core().run(quit, helpers_.get());
    }
    catch (...)
    {
        main->call_exception_handler({"loop \"" + main->name() + "\" has lost a thread",
                                      std::current_exception()});
    }
}

void shared_policy::stop()
{
    std::shared_ptr<event_loop> m;
    {
        std::lock_guard const lock(mutex_);
        m = std::exchange(main_, nullptr);
    }
    if (!m)
        return;
    helpers_->quit = true;
    m->stop();
    for (std::thread& t : helpers_->threads)
        t.join();
    if (options_.pin)
        helpers_->allowed.restore();
    helpers_.reset();
}

std::vector<std::shared_ptr<event_loop>> shared_policy::loops() const
{
    auto const m = main();
    return m ? std::vector{m} : std::vector<std::shared_ptr<event_loop>>();
}

} // namespace polyloop
