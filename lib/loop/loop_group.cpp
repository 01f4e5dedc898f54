// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/loop_group.hpp>

#include <polyloop/context/context.hpp>

#include <algorithm>
#include <exception>
#include <utility>

namespace polyloop {

loop_group::loop_group() = default;

loop_group::~loop_group()
{
    stop();
    join();
}

void loop_group::add(std::shared_ptr<event_loop> loop)
{
    if (!loop)
        detail::throw_error(error::bad_config, "loop_group::add: the loop is null");
    if (loop->is_closed())
        detail::throw_error(error::bad_config,
                            "loop_group::add: loop \"" + loop->name() + "\" is closed");
    if (std::ranges::find(loops_, loop) != loops_.end())
        detail::throw_error(error::bad_config, "loop_group::add: loop \"" + loop->name() +
                                                   "\" is in the group already");
    if (!loop->options().locking)
        detail::throw_error(error::option_unsupported,
                            "loop_group::add: loop \"" + loop->name() +
                                "\" was made with loop_options::locking off");
    loops_.push_back(std::move(loop));
}

void loop_group::start(bool pin, unsigned first_cpu)
{
    leave_to_parent();
    generation_ = detail::fork_generation();
    quit_ = false;
    for (unsigned i = static_cast<unsigned>(threads_.size()); i < loops_.size(); ++i)
        threads_.emplace_back([this, loop = loops_[i], pin, cpu = first_cpu + i] {
            try
            {
                if (pin)
                    allowed_.pin(cpu);
            }
            catch (...)
            {
                loop->call_exception_handler(
                    {"loop \"" + loop->name() + "\" could not be pinned to a processor",
                     std::current_exception()});
            }
            run(*loop);
        });
}

void loop_group::run(event_loop& loop) noexcept
{
    // Asked under the lock that `stop` takes, so no thread comes back after that.
    auto const quit = [](void* q) { return static_cast<std::atomic<bool>*>(q)->load(); };
    try
    {
        this_context::set_thread_name(loop.name());
        while (!quit_)
            loop.core().run(quit, &quit_);
    }
    catch (...)
    {
        loop.call_exception_handler({"loop \"" + loop.name() + "\" has lost its thread",
                                     std::current_exception()});
    }
}

/// In a child the threads are not there to be joined. Their handles are kept: who ends one has to
/// have joined it.
void loop_group::leave_to_parent() noexcept
{
    struct kept
    {
        std::vector<std::thread> threads;
        kept* next;
    };
    static constinit std::atomic<kept*> all = nullptr;
    if (threads_.empty() || generation_ == detail::fork_generation())
        return;
    auto* const k = new kept{std::move(threads_), all.load()};
    while (!all.compare_exchange_weak(k->next, k))
    {
    }
    threads_.clear();
}

void loop_group::stop() noexcept
{
    leave_to_parent();
    quit_ = true;
    for (auto const& l : loops_)
        l->core().stop_if_running();
}

void loop_group::join() noexcept
{
    leave_to_parent();
    for (std::thread& t : threads_)
        t.join();
    threads_.clear();
}

} // namespace polyloop
