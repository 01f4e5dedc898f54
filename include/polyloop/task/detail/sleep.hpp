// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_SLEEP_HPP
#define POLYLOOP_TASK_DETAIL_SLEEP_HPP

#include <polyloop/task/detail/fiber.hpp>

namespace polyloop::detail {

/// A fiber's wait for a point in time: an entry of its loop's timer queue, in its own frame.
struct fiber_sleep : fiber_wait, timer_node
{
    fiber_sleep(fiber& f, steady_time until) noexcept
        : fiber_wait(&fiber_sleep::on_interrupt), self(f)
    {
        when = until;
        expire = &fiber_sleep::on_expire;
    }

    /// Out of the queue, if the wait ended for another reason. In the fiber.
    void take_back() noexcept
    {
        self.core().erase_timer(*this);
    }

    static void on_expire(timer_node* n)
    {
        static_cast<fiber_sleep*>(n)->self.wake();
    }

    static bool on_interrupt(fiber_wait& w, reason)
    {
        auto& s = static_cast<fiber_sleep&>(w);
        if (!s.self.core().erase_timer(s))
            return false; // expired already
        s.aborted = true;
        s.self.wake();
        return true;
    }

    fiber& self;
    bool aborted = false;
};

} // namespace polyloop::detail

#endif
