// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/detail/context_waits.hpp>

#include <boost/asio/system_executor.hpp>

#include <thread>

namespace polyloop::detail {

asio::execution_context::id context_waits::id;

context_waits* context_waits::in(asio::execution_context& c)
{
    // It ends with the process, when the objects that are waited for may be gone.
    static asio::execution_context const& system =
        asio::query(asio::system_executor(), asio::execution::context);
    return &c == &system ? nullptr : &asio::use_service<context_waits>(c);
}

bool context_waits::add(context_wait& w) noexcept
{
    std::lock_guard const lock(mutex_);
    if (ending_)
        return false;
    w.context = this;
    w.prev = nullptr;
    w.next = first_;
    if (first_)
        first_->prev = &w;
    first_ = &w;
    return true;
}

void context_waits::remove(context_wait& w) noexcept
{
    std::lock_guard const lock(mutex_);
    (w.prev ? w.prev->next : first_) = w.next;
    if (w.next)
        w.next->prev = w.prev;
    w.context = nullptr;
}

void context_waits::shutdown()
{
    std::unique_lock lock(mutex_);
    ending_ = true;
    while (context_wait* const w = first_)
    {
        w->hold(w);
        lock.unlock();
        // Else who ends it has a few instructions to go before it takes the wait off this list.
        if (w->abandon(w))
            remove(*w);
        else
            std::this_thread::yield();
        w->let_go(w);
        lock.lock();
    }
}

} // namespace polyloop::detail
