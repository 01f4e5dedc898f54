// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/runner/detail/shutdown.hpp>

#include <boost/asio/post.hpp>

#include <atomic>
#include <cstdio>
#include <exception>
#include <thread>
#include <utility>

namespace polyloop::detail {
namespace {

std::string seconds(std::chrono::nanoseconds d)
{
    char text[32];
    std::snprintf(text, sizeof(text), "%.3g s", std::chrono::duration<double>(d).count());
    return text;
}

} // namespace

/// So many answers are awaited; the last one stops the main loop.
struct shutdown::gate
{
    gate(std::shared_ptr<event_loop> const& m, std::size_t n) : main(m), awaited(n)
    {
    }

    void answer() noexcept
    {
        if (awaited.fetch_sub(1, std::memory_order_acq_rel) == 1)
            if (auto const m = main.lock())
                m->core().stop_if_running();
    }

    std::weak_ptr<event_loop> main; // a task that never ends may keep the gate
    std::atomic<std::size_t> awaited;
};

shutdown::shutdown(std::span<std::shared_ptr<event_loop> const> loops,
                   std::chrono::nanoseconds limit)
    : loops_(loops.begin(), loops.end()), main_(loops_.front()), limit_(limit),
      deadline_(saturating_add(std::chrono::steady_clock::now(), limit))
{
}

std::size_t shutdown::tasks_left() const noexcept
{
    std::size_t n = 0;
    for (auto const& l : loops_)
        if (!l->is_closed())
            n += l->task_count();
    return n;
}

bool shutdown::time_is_over() const noexcept
{
    return hurried() || std::chrono::steady_clock::now() >= deadline_;
}

std::function<void()> shutdown::hurry() const
{
    return [flag = hurried_, main = main_] {
        *flag = true;
        main->stop();
    };
}

std::string shutdown::until_when() const
{
    return hurried() ? "before a signal ended the waiting" : "within " + seconds(limit_);
}

void shutdown::report(exception_context const& c) const noexcept
{
    main_->call_exception_handler(c);
}

void shutdown::run_main_until(std::shared_ptr<gate> const& g)
{
    auto const rung = std::make_shared<std::atomic<bool>>(false);
    callback_handle alarm = main_->call_at(deadline_, [m = main_.get(), rung] {
        *rung = true;
        m->stop();
    });
    // Asked under the lock that `stop` takes: a stop that comes when the time is over, and that
    // other threads of the loop take before this one is back, is seen here all the same.
    struct question
    {
        gate& answers;
        std::atomic<bool>& rung;
        std::atomic<bool>& hurried;
        bool may_leave_at_once;
    } asked{*g, *rung, *hurried_, !main_->core().single()};
    auto open = [](void* p) {
        auto const& q = *static_cast<question*>(p);
        return q.answers.awaited.load() == 0 || q.rung || (q.may_leave_at_once && q.hurried);
    };
    // Somebody's stray stop ends a run early, so it is run again while there is time. The first
    // run is made whatever the time: what is ready then has its turn.
    do
    {
        main_->core().run(open, &asked);
        asked.may_leave_at_once = true;
    } while (g->awaited.load() != 0 && !time_is_over());
    alarm.cancel();
}

void shutdown::cancel_tasks()
{
    // Whatever the limit, everybody is told once.
    while (!main_->is_closed() && tasks_left() != 0 &&
           (!std::exchange(cancelled_, true) || !time_is_over()))
    {
        auto const g = std::make_shared<gate>(main_, loops_.size());
        auto failed = [main = std::weak_ptr(main_)](exception_context const& c) {
            if (auto const m = main.lock())
                m->call_exception_handler(c);
        };
        std::vector<std::shared_ptr<std::atomic<bool>>> heard;
        for (auto const& l : loops_)
        {
            auto const asked = heard.emplace_back(std::make_shared<std::atomic<bool>>(false));
            task_registry* const tasks = l->core().registry();
            bool const on_its_way = tasks && l->core().post([tasks, g, asked, failed] {
                *asked = true;
                tasks->cancel_all([g] { g->answer(); }, failed);
            });
            if (!on_its_way)
            {
                *asked = true;
                g->answer();
            }
        }
        run_main_until(g);
        for (std::size_t i = 0; i != loops_.size(); ++i)
            if (!*heard[i])
                report({"shutdown: loop \"" + loops_[i]->name() + "\" has not answered " +
                        until_when() + "; does a task or handler hold its thread?"});
    }
}

void shutdown::join_executors()
{
    std::vector<std::shared_ptr<asio::thread_pool>> pools;
    for (auto const& l : loops_)
        if (auto p = l->core().shut_default_executor())
            pools.push_back(std::move(p));
    if (pools.empty())
        return;
    if (main_->is_closed()) // nothing could run while they are awaited
    {
        for (auto& p : pools)
            loop_core::abandon(std::move(p));
        return;
    }
    auto const g = std::make_shared<gate>(main_, 1);
    std::thread joiner([pools, g] {
        for (auto const& p : pools)
            p->join();
        // Behind the last results, which have been posted before and shall arrive.
        if (auto const m = g->main.lock())
            asio::post(m->io_context(), [g] { g->answer(); });
    });
    auto const give_up = [&] {
        for (auto const& p : pools)
            p->stop(); // what was not begun will not be
        pools.clear();
        joiner.detach();
    };
    try
    {
        run_main_until(g); // as what the threads do may need the loop
    }
    catch (...)
    {
        give_up();
        throw;
    }
    if (g->awaited.load() == 0)
    {
        joiner.join();
        return;
    }
    give_up();
    report({"shutdown: the default executor's threads did not end " + until_when()});
}

void shutdown::name_stragglers()
{
    for (auto const& l : loops_)
        if (task_registry const* const tasks = l->core().registry(); tasks && !l->is_closed())
        {
            l->core().set_tasks_named();
            for (exception_context& c : tasks->describe())
            {
                c.message = "shutdown: " + c.message + ", has not ended " + until_when() +
                            " and is cut off (see run_options::shutdown_timeout)";
                report(c);
            }
        }
}

void shutdown::close_loops()
{
    // The main loop last, since its exception handler is told about the others.
    std::exception_ptr first;
    for (auto i = loops_.rbegin(); i != loops_.rend(); ++i)
        try
        {
            (*i)->close();
        }
        catch (...)
        {
            if (!first)
                first = std::current_exception();
        }
    if (first)
        std::rethrow_exception(first);
}

} // namespace polyloop::detail
