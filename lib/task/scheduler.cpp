// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/scheduler.hpp>

#include <boost/asio/error.hpp>

#include <chrono>
#include <memory>
#include <thread>
#include <utility>

namespace polyloop::detail {
namespace {

/// Rounds of an unwinding in which nothing happens, before it gives time to other threads.
constexpr int few_idle_rounds = 8;

class optional_lock
{
  public:
    optional_lock(std::mutex& m, bool needed) : lock_(m, std::defer_lock)
    {
        if (needed)
            lock_.lock();
    }

  private:
    std::unique_lock<std::mutex> lock_;
};

} // namespace

scheduler& scheduler::make(loop_core& core)
{
    auto make_it = [](loop_core& c) -> std::unique_ptr<task_registry> {
        return std::make_unique<scheduler>(c);
    };
    return static_cast<scheduler&>(core.registry(make_it));
}

scheduler::scheduler(loop_core& core)
    : core_(core), stacks_(new stack_pool(core, &fiber::main))
{
}

scheduler::~scheduler() = default;

bool scheduler::start(task_base& t)
{
    if (core_.single())
    {
        incoming_.fetch_add(1, std::memory_order_relaxed);
        if (core_.schedule(t))
            return true;
        incoming_.fetch_sub(1, std::memory_order_relaxed);
    }
    else if (loop_core::admission const admitted(core_); admitted)
    {
        link(t);
        if (t.strand()->schedule(t))
            return true;
        unlink(t, nullptr);
    }
    return false;
}

strand_ptr scheduler::serialise(strand_core* wanted)
{
    if (wanted || core_.single())
        return strand_ptr(wanted);
    return strand_ptr(new strand_core(core_));
}

void scheduler::link(task_base& t) noexcept
{
    optional_lock const lock(mutex_, !core_.single());
    link_here(t);
}

bool scheduler::unlink(task_base& t, std::exception_ptr const& failure) noexcept
{
    std::function<void()> round_done;
    std::function<void(exception_context const&)> round_failed;
    {
        optional_lock const lock(mutex_, !core_.single());
        if (!t.linked_)
            return false;
        unlink_here(t);
        if (!t.in_round_) [[likely]]
            return false;
        t.in_round_ = false;
        if (--round_size_ == 0)
        {
            round_done = std::exchange(round_done_, nullptr);
            round_failed = std::exchange(round_failed_, nullptr);
        }
        else
            round_failed = round_failed_;
    }
    if (failure && round_failed)
        round_failed({"exception in a task during the shutdown of a run", failure, t.name()});
    if (round_done)
        round_done();
    return failure != nullptr;
}

void scheduler::cancel_all(std::function<void()> done,
                           std::function<void(exception_context const&)> failed)
{
    std::vector<task_ptr> all;
    {
        optional_lock const lock(mutex_, !core_.single());
        for (task_base* t = first_; t; t = t->next_)
        {
            all.emplace_back(t);
            if (!std::exchange(t->in_round_, true))
                ++round_size_;
        }
        if (!all.empty())
        {
            round_failed_ = std::move(failed);
            round_done_ = std::exchange(done, nullptr);
        }
    }
    if (done)
        done();
    for (task_ptr const& t : all)
        t->cancel();
}

std::vector<std::string> scheduler::describe() const
{
    std::vector<std::string> out;
    optional_lock const lock(mutex_, !core_.single());
    for (task_base const* t = first_; t; t = t->next_)
    {
        std::string line = '"' + t->name() + (t->started() ? "\" (" : "\" (never started, ") +
                           (t->cancelling() > 0 ? "cancelled)" : "not cancelled)");
        if (std::string const w = t->waits_for(); !w.empty())
            line += ", which waits for " + w;
        if (std::string const o = t->origin(); !o.empty())
            line += ", spawned at " + o;
        out.push_back(std::move(line));
    }
    return out;
}

/// asyncio's "Task was destroyed but it is pending!".
void scheduler::report_pending() const noexcept
{
    for (task_base const* t = first_; t; t = t->next_)
        core_.report({"task destroyed while it was pending, with loop \"" +
                          core_.options().name + '"',
                      nullptr, t->name(), t->origin(), t->waits_for()});
}

void scheduler::unwind() noexcept
{
    if (core_.debug() && !core_.tasks_named())
        report_pending();

    int idle = 0;
    for (int round = 0; round != task_base::unwind_limit; ++round)
    {
        // First what is on its way, so that everybody is in the list or has ended.
        core_.refill();
        bool const ready = core_.single() && !core_.nothing_ready();
        if (core_.single())
            core_.run_batch();
        // A wait that no cancellation ends may end by another thread (a child of a group, who
        // holds a mutex that a condition gives back): that has to have its time.
        if (core_.poll() == 0 && !ready && ++idle > few_idle_rounds)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        std::vector<task_ptr> all;
        for (task_base* t = first_; t; t = t->next_)
            all.emplace_back(t);
        if (all.empty() && size() == 0 && (!core_.single() || core_.nothing_ready()))
            return;
        for (task_ptr const& t : all)
            t->abort_wait();
    }
}

void scheduler::tick() noexcept
{
    stacks_->tick();
}

void scheduler::detach() noexcept
{
    while (first_)
    {
        task_base& t = *first_;
        core_.report({"a task did not end with its loop, and its stack is lost: let its waits "
                      "throw operation_aborted",
                      nullptr, t.name(), t.origin()});
        t.finish(std::make_exception_ptr(boost::system::system_error(
            boost::system::error_code(boost::asio::error::operation_aborted))));
    }
    stacks_->orphan();
}

} // namespace polyloop::detail
