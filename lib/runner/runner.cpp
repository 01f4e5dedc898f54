// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/runner/runner.hpp>

#include <polyloop/runner/detail/shutdown.hpp>

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

namespace polyloop {

runner::runner(run_options options) : options_(std::move(options))
{
    if (options_.shutdown_timeout < options_.shutdown_timeout.zero())
        detail::throw_error(error::bad_config, "run_options::shutdown_timeout is negative");
    for (int const number : options_.signals)
        if (number < 1 || number > 64)
            detail::throw_error(error::bad_config, "run_options::signals: there is no signal " +
                                                       std::to_string(number));
}

runner::~runner()
{
    std::shared_ptr<event_loop> const loop = loop_;
    try
    {
        close();
    }
    catch (...)
    {
        exception_context const c{"exception during the shutdown of a run",
                                  std::current_exception()};
        if (loop)
            loop->call_exception_handler(c);
        else
            default_exception_handler(c);
    }
}

void runner::before_run() const
{
    if (try_get_running_loop())
        detail::throw_error(error::nested_run);
}

event_loop& runner::get_loop()
{
    if (state_ == state::closed)
        detail::throw_error(error::runner_closed);
    if (state_ == state::created)
        initialize();
    return *loop_;
}

void runner::initialize()
{
    locals_ = detail::share_locals();
    policy_ = options_.policy;
    if (!policy_ && !options_.loop_factory)
        policy_ = get_event_loop_policy();
    loop_ = options_.loop_factory ? options_.loop_factory() : policy_->new_event_loop();
    if (!loop_)
        detail::throw_error(error::bad_config,
                            options_.loop_factory
                                ? "run_options::loop_factory gave null: it must give a loop"
                                : "the policy's new_event_loop gave null: it must give a loop");
    bool started = false;
    try
    {
        if (policy_)
        {
            detail::attach_policy(*loop_, policy_);
            // First, as it may refuse: another run of this thread may have bound its loop.
            policy_->start(loop_);
            started = true;
            if (!options_.loop_factory)
            {
                policy_->set_event_loop(loop_);
                bound_ = true;
            }
        }
        if (options_.debug)
            for (auto const& l : all_loops())
                l->set_debug(*options_.debug);
    }
    catch (...)
    {
        if (std::exchange(bound_, false))
            policy_->set_event_loop(nullptr);
        if (started)
            policy_->stop();
        detail::attach_policy(*loop_, nullptr); // the policy may keep the loop, too
        if (loop_.use_count() == 1) // nobody else closes it
            loop_->close();
        loop_.reset();
        throw;
    }
    state_ = state::initialized;
}

std::vector<std::shared_ptr<event_loop>> runner::all_loops() const
{
    std::vector<std::shared_ptr<event_loop>> all{loop_};
    if (policy_)
        for (auto& l : policy_->loops()) // of somebody's own, perhaps
            if (l && std::ranges::find(all, l) == all.end())
                all.push_back(std::move(l));
    return all;
}

void runner::close()
{
    if (state_ != state::initialized)
        return;
    if (loop_->core().is_inherited()) // with all that the run has besides (S17)
    {
        state_ = state::closed;
        bound_ = false;
        loop_.reset();
        policy_.reset();
        return;
    }
    if (loop_->is_running() && try_get_running_loop())
        detail::throw_error(error::loop_is_running);
    std::exception_ptr first;
    auto attempt = [&](auto&& step) {
        try
        {
            step();
        }
        catch (...)
        {
            if (!first)
                first = std::current_exception();
        }
    };
    // S71: each step is taken whatever became of those before, and the first error is thrown.
    std::vector<std::shared_ptr<event_loop>> loops{loop_};
    attempt([&] { loops = all_loops(); });
    detail::shutdown steps(loops, options_.shutdown_timeout);
    // Signals that came when the main task was over. The first is as one that came just before that
    // (S63): it does not touch the shutdown.
    unsigned early = 0;
    attempt([&] {
        auto const hurry = steps.hurry();
        early = signals_.tell(*loop_, options_.signals, hurry);
        if (early > 1)
            loop_->core().post(hurry);
    });
    attempt([&] { steps.cancel_tasks(); });
    attempt([&] { steps.join_executors(); });
    attempt([&] { steps.cancel_tasks(); }); // what came of the executors' last results
    attempt([&] {
        if (policy_)
            policy_->stop();
    });
    attempt([&] { steps.name_stragglers(); });
    attempt([&] {
        if (bound_)
            policy_->set_event_loop(nullptr);
    });
    bool const interrupted = signals_.end() + early != 0;
    attempt([&] { steps.close_loops(); });
    if (interrupted)
        attempt([] { detail::throw_error(error::interrupted); });
    for (auto const& l : loops)
        if (l->is_closed() && policy_)
            detail::attach_policy(*l, nullptr); // the policy may keep the loop, too
    state_ = state::closed;
    bound_ = false;
    loop_.reset();
    loops.clear();
    policy_.reset();
    if (first)
        std::rethrow_exception(first);
}

} // namespace polyloop
