// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_STRAND_CORE_HPP
#define POLYLOOP_LOOP_DETAIL_STRAND_CORE_HPP

#include <polyloop/loop/detail/loop_core.hpp>

#include <atomic>
#include <mutex>
#include <utility>

namespace polyloop::detail {

/// What serialises the handlers of a strand, or of a task on a loop of higher concurrency.
///
/// On a loop of concurrency 1 the loop itself serialises, so a strand is only a context and an
/// order: its nodes go into the loop's ready queue. Otherwise a queue behind a mutex of its own
/// (strands of Asio share 193), of which one runner at a time is under way.
class strand_core : public context_node
{
  public:
    POLYLOOP_DECL explicit strand_core(loop_core& core);

    loop_core& core() const noexcept
    {
        return *core_;
    }

    /// Inside a handler of this strand, or in a fiber of it.
    bool running_here() const noexcept
    {
        return this_frame().strand == this;
    }

    /// The caller is in a bare handler of the loop and nothing waits before it, so a handler may
    /// run at once.
    bool may_dispatch() const noexcept
    {
        thread_frame const& f = this_frame();
        return core_->single() && f.core == core_.get() && !f.fiber && !f.strand &&
               core_->nothing_ready();
    }

    /// Queues a node that was made for this strand; see `loop_core::schedule`. The node itself
    /// says on the frame that the strand runs.
    POLYLOOP_DECL bool schedule(ready_node& n);

    /// Calls `f` in order, as a handler of this strand.
    template <class F>
    void post(F&& f);

    /// In the strand: the handlers that wait in it do so behind what else is ready on the loop.
    void give_way() noexcept
    {
        give_way_ = true;
    }

    friend void intrusive_ptr_add_ref(strand_core* s) noexcept
    {
        s->refs_.fetch_add(1, std::memory_order_relaxed);
    }
    friend void intrusive_ptr_release(strand_core* s) noexcept
    {
        if (s->refs_.fetch_sub(1, std::memory_order_acq_rel) == 1)
            delete s;
    }

  private:
    struct runner : ready_node
    {
        explicit runner(strand_core& s) noexcept
            : ready_node(&strand_core::run, node_kind::handler), strand(s)
        {
        }
        strand_core& strand;
    };

    static void run(ready_node* n, ready_node::verb v);

    template <class F>
    struct handler;

    ~strand_core() = default;

    core_ptr core_;
    std::atomic<unsigned> refs_ = 0;
    std::mutex mutex_;
    ready_queue queue_;
    bool scheduled_ = false; // the runner is under way, and holds a reference
    bool give_way_ = false;  // the strand's own
    runner runner_;
};

using strand_ptr = boost::intrusive_ptr<strand_core>;

/// What a posted function sees: its strand on the frame.
template <class F>
struct strand_core::handler
{
    boost::intrusive_ptr<strand_core> strand; // lives as long as its handlers
    F f;

    void operator()()
    {
        frame_guard guard;
        guard.frame().strand = strand.get();
        f();
    }
};

template <class F>
void strand_core::post(F&& f)
{
    using node = function_node<handler<std::decay_t<F>>>;
    auto* n = node::make(*core_, handler<std::decay_t<F>>{this, std::forward<F>(f)});
    if (!schedule(*n))
        n->act(n, ready_node::verb::discard);
}

} // namespace polyloop::detail

#endif
