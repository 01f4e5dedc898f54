// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_STRAND_CORE_HPP
#define POLYLOOP_LOOP_DETAIL_STRAND_CORE_HPP

#include <polyloop/context/detail/one_thread.hpp>
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
        s->refs_.add();
    }
    friend void intrusive_ptr_release(strand_core* s) noexcept
    {
        if (s->refs_.drop())
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

    // What is posted from a single loop's own thread is counted without an atomic operation, and
    // all of it together as one reference.
    void refer(bool near) noexcept
    {
        if (!near || near_refs_++ == 0)
            intrusive_ptr_add_ref(this);
    }
    void let_go(bool near) noexcept
    {
        if (!near || --near_refs_ == 0)
            intrusive_ptr_release(this);
    }
    struct reference
    {
        reference(strand_core& s, bool n) noexcept : strand(s), near(n)
        {
        }
        reference(reference const&) = delete;
        reference& operator=(reference const&) = delete;
        ~reference()
        {
            strand.let_go(near);
        }
        strand_core& strand;
        bool const near;
    };

    ~strand_core() = default;

    core_ptr core_;
    reference_count refs_;
    std::size_t near_refs_ = 0; // the loop's own thread's
    std::mutex mutex_;
    ready_queue queue_;
    bool scheduled_ = false; // the runner is under way, and holds a reference
    bool give_way_ = false;  // the strand's own
    runner runner_;
};

using strand_ptr = boost::intrusive_ptr<strand_core>;

/// A posted function, in a recycled block of the loop. It sees its strand on the frame.
template <class F>
struct strand_core::handler : ready_node
{
    template <class G>
    handler(strand_core& s, bool near, G&& g)
        : ready_node(&handler::perform, node_kind::handler), strand(s), pinned(near),
          f(std::forward<G>(g))
    {
    }

    static void perform(ready_node* n, verb v)
    {
        auto* self = static_cast<handler*>(n);
        strand_core& s = self->strand;
        reference const held(s, self->pinned);
        F f(std::move(self->f));
        // The memory is free before the call, so that f may use it again.
        self->~handler();
        s.core_->deallocate(self, sizeof(handler));
        if (v != verb::run)
            return;
        thread_frame& frame = this_frame();
        struct restore
        {
            thread_frame& frame;
            context_node* const strand;
            ~restore()
            {
                frame.strand = strand;
            }
        } const before{frame, std::exchange(frame.strand, &s)};
        f();
    }

    strand_core& strand; // referred to as long as this lives
    bool const pinned;
    F f;
};

template <class F>
void strand_core::post(F&& f)
{
    using node = handler<std::decay_t<F>>;
    static_assert(alignof(node) <= alignof(std::max_align_t),
                  "polyloop: a handler with a stricter alignment than max_align_t");
    bool const near = core_->near();
    void* const p = core_->allocate(sizeof(node), near);
    node* n;
    try
    {
        n = ::new (p) node(*this, near, std::forward<F>(f));
    }
    catch (...)
    {
        core_->deallocate(p, sizeof(node), near);
        throw;
    }
    refer(near);
    if (near)
        core_->push_local(*n);
    else if (!schedule(*n))
        n->act(n, ready_node::verb::discard);
}

} // namespace polyloop::detail

#endif
