// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_READY_QUEUE_HPP
#define POLYLOOP_LOOP_DETAIL_READY_QUEUE_HPP

#include <atomic>
#include <cstdint>

namespace polyloop::detail {

/// What a ready node is, for the rules of a batch.
enum class node_kind : std::uint8_t
{
    callback, ///< of call_soon: what it queues waits for the next batch (S40)
    handler,  ///< of an executor: may run in the batch that queued it
    fiber,    ///< the same, and a fiber that waits may switch to it directly
    arrival   ///< brings a timer from another thread: runs as soon as it is seen, in no batch
};

/// Something that is ready to run: the link of both queues below.
///
/// `act` runs it, or drops it without running where the loop is closed. A node is in one
/// queue at a time, and belongs to the queue until `act` is called.
struct ready_node
{
    enum class verb : std::uint8_t
    {
        run,
        discard
    };
    using action = void (*)(ready_node*, verb);

    /// To be filled in before it is queued.
    ready_node() noexcept
    {
    }
    ready_node(action a, node_kind k) noexcept : act(a), kind(k)
    {
    }

    ready_node* next;
    action act;
    std::uint32_t batch; ///< in which batch it was queued
    node_kind kind;
};

/// Intrusive, first in first out, for one thread.
class ready_queue
{
  public:
    bool empty() const noexcept
    {
        return !head_;
    }

    ready_node* front() const noexcept
    {
        return head_;
    }

    void push(ready_node& n) noexcept
    {
        n.next = nullptr;
        if (head_)
            tail_->next = &n;
        else
            head_ = &n;
        tail_ = &n;
    }

    ready_node* pop() noexcept
    {
        ready_node* n = head_;
        if (n)
            head_ = n->next;
        return n;
    }

  private:
    ready_node* head_ = nullptr;
    ready_node* tail_ = nullptr;
};

/// Many threads push, one takes everything: a stack that is reversed when it is taken.
///
/// Who pushes onto an empty inbox has to wake the taker, so a burst costs one wake.
/// Once closed it refuses for ever.
class inbox
{
  public:
    enum class pushed
    {
        first, ///< the inbox was empty: wake the taker
        more,
        refused ///< closed; the node stays the caller's
    };

    pushed push(ready_node& n) noexcept
    {
        ready_node* head = head_.load(std::memory_order_relaxed);
        do
        {
            if (head == closed_mark())
                return pushed::refused;
            n.next = head;
        } while (!head_.compare_exchange_weak(head, &n, std::memory_order_release,
                                              std::memory_order_relaxed));
        return head ? pushed::more : pushed::first;
    }

    bool empty() const noexcept
    {
        ready_node* head = head_.load(std::memory_order_relaxed);
        return !head || head == closed_mark();
    }

    bool closed() const noexcept
    {
        return head_.load() == closed_mark();
    }

    /// The oldest node first, linked by `next`.
    ready_node* take() noexcept
    {
        return empty() ? nullptr
                       : reverse(head_.exchange(nullptr, std::memory_order_acquire));
    }

    /// As `close`, where nothing may be done with what is there.
    void refuse() noexcept
    {
        head_.store(closed_mark());
    }

    ready_node* close() noexcept
    {
        return reverse(head_.exchange(closed_mark()));
    }

  private:
    static ready_node* closed_mark() noexcept
    {
        alignas(ready_node) static constinit char mark = 0;
        return reinterpret_cast<ready_node*>(&mark);
    }

    static ready_node* reverse(ready_node* n) noexcept
    {
        if (n == closed_mark())
            return nullptr;
        ready_node* out = nullptr;
        while (n)
        {
            ready_node* next = n->next;
            n->next = out;
            out = n;
            n = next;
        }
        return out;
    }

    std::atomic<ready_node*> head_ = nullptr;
};

} // namespace polyloop::detail

#endif
