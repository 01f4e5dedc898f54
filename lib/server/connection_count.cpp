// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/server/detail/connection_count.hpp>

#include <polyloop/task/detail/wait_name.hpp>

#include <string>

namespace polyloop::detail {

/// In the waiting fiber's frame. Whoever takes it off the list, under the mutex, wakes the fiber.
struct connection_count::waiter : fiber_wait
{
    waiter(connection_count& c, fiber& f, std::size_t n) noexcept
        : fiber_wait(&waiter::on_interrupt), count(c), self(f), most(n)
    {
    }

    static bool on_interrupt(fiber_wait& base, reason)
    {
        auto& w = static_cast<waiter&>(base);
        {
            std::lock_guard const lock(w.count.mutex_);
            waiter** at = &w.count.first_;
            while (*at && *at != &w)
                at = &(*at)->next;
            if (!*at)
                return false; // granted already
            *at = w.next;
        }
        w.aborted = true;
        w.self.wake();
        return true;
    }

    static wait_name const name;

    connection_count& count;
    fiber& self;
    std::size_t const most;
    waiter* next = nullptr;
    bool aborted = false;
};

wait_name const connection_count::waiter::name(&waiter::on_interrupt, [](fiber_wait const&) {
    return std::string("connections to end");
});

std::size_t connection_count::value() const noexcept
{
    std::lock_guard const lock(mutex_);
    return value_;
}

void connection_count::wait_at_most(std::size_t most)
{
    fiber& f = current_fiber();
    f.check_cancel();
    waiter w(*this, f, most);
    {
        std::lock_guard const lock(mutex_);
        if (value_ <= most)
            return;
        w.next = std::exchange(first_, &w);
    }
    f.suspend(w);
    if (w.aborted)
        throw_cancelled();
}

void connection_count::add() noexcept
{
    std::lock_guard const lock(mutex_);
    ++value_;
}

void connection_count::remove() noexcept
{
    waiter* granted = nullptr;
    {
        std::lock_guard const lock(mutex_);
        --value_;
        for (waiter** at = &first_; *at;)
            if (value_ <= (*at)->most)
            {
                waiter* const w = *at;
                *at = w->next;
                w->next = std::exchange(granted, w);
            }
            else
                at = &(*at)->next;
    }
    while (granted)
    {
        waiter* const w = std::exchange(granted, granted->next);
        w->self.wake();
    }
}

} // namespace polyloop::detail
