// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/context/detail/fork.hpp>

#include <polyloop/context/detail/frame.hpp>

#include <boost/config.hpp>

#include <atomic>
#include <mutex>

#if defined(BOOST_HAS_PTHREADS)
#include <pthread.h>
#endif

namespace polyloop::detail {

void reset_thread_after_fork() noexcept; // context.cpp

/// All listeners. Neither destroyed nor constructed at run time, so that statics may come and go.
struct forks
{
    static constinit std::mutex mutex;
    static constinit fork_listener* first;
    static constinit std::atomic<unsigned> generation;

    static void before() noexcept
    {
        mutex.lock();
        for (fork_listener* l = first; l; l = l->next_)
            l->before_fork();
    }
    static void in_parent() noexcept
    {
        for (fork_listener* l = first; l; l = l->next_)
            l->after_fork();
        mutex.unlock();
    }
    static void in_child() noexcept
    {
        generation.fetch_add(1, std::memory_order_relaxed);
        reset_thread_after_fork();
        for (fork_listener* l = first; l; l = l->next_)
        {
            l->after_fork();
            l->forked();
        }
        mutex.unlock();
    }

    static void add(fork_listener& l) noexcept
    {
        std::lock_guard const lock(mutex);
        l.next_ = first;
        if (first)
            first->prev_ = &l;
        first = &l;
    }
    static void remove(fork_listener& l) noexcept
    {
        std::lock_guard const lock(mutex);
        (l.prev_ ? l.prev_->next_ : first) = l.next_;
        if (l.next_)
            l.next_->prev_ = l.prev_;
    }
};

constinit std::mutex forks::mutex;
constinit fork_listener* forks::first = nullptr;
constinit std::atomic<unsigned> forks::generation = 0;

fork_listener::fork_listener()
{
    watch_forks();
    forks::add(*this);
}

fork_listener::~fork_listener()
{
    forks::remove(*this);
}

void fork_listener::before_fork() noexcept
{
}

void fork_listener::after_fork() noexcept
{
}

void fork_listener::forked() noexcept
{
}

void watch_forks()
{
#if defined(BOOST_HAS_PTHREADS)
    static int const installed =
        ::pthread_atfork(&forks::before, &forks::in_parent, &forks::in_child);
    (void)installed; // without memory children find what their parent had
#endif
}

unsigned fork_generation() noexcept
{
    return forks::generation.load(std::memory_order_relaxed);
}

} // namespace polyloop::detail
