// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/sync/condition_variable.hpp>

#include <polyloop/error.hpp>

namespace polyloop {

mutex::owner_id condition_variable::check(std::unique_lock<mutex>& lock)
{
    auto const me = detail::current_owner();
    if (!lock.owns_lock() || !lock.mutex()->held_by(me))
        detail::throw_error(error::not_owner, "condition_variable: waiting needs the lock");
    return me;
}

std::cv_status condition_variable::wait_until(std::unique_lock<mutex>& lock,
                                              detail::deadline limit)
{
    node n(lock, check(lock));
    if (limit.passed())
        return std::cv_status::timeout;
    detail::blocker self;
    begin(self, n);
    auto const how = self.wait(n, place(), limit);
    end(n, how);
    return how == detail::wait_end::granted ? std::cv_status::no_timeout
                                            : std::cv_status::timeout;
}

void condition_variable::begin(detail::blocker& self, node& n)
{
    if (!self.may_wait())
        self.refuse();
    self.prepare(n);
    enter(n);
    n.wanted.unlock_as(n.owner);
}

void condition_variable::relock(node& n, detail::wait_end how)
{
    n.wanted.relock(n.owner);
    if (how == detail::wait_end::cancelled)
        detail::throw_cancelled();
}

void condition_variable::notify(bool all) noexcept
{
    detail::waiter* first = nullptr;
    detail::waiter** last = &first;
    {
        detail::section s(word_);
        while (!waiters_.empty())
        {
            detail::waiter& w = s.pop(waiters_);
            w.next = nullptr;
            *last = &w;
            last = &w.next;
            s.take_off(static_cast<node&>(w).waits_here);
            if (!all)
                break;
        }
        s.value = waiters_.empty() ? 0 : waited_for;
    }
    while (first)
    {
        node& n = static_cast<node&>(*first);
        first = n.next;
        n.wanted.enter_and_grant(n);
    }
}

bool condition_variable::leave(void* self, detail::waiter& w)
{
    condition_variable& c = *static_cast<condition_variable*>(self);
    node& n = static_cast<node&>(w);
    return detail::leave_wait(c.word_, n.waits_here, [&c, &n](detail::section& s) {
        c.waiters_.erase(n);
        n.waits_here.store(detail::on_list::no, std::memory_order_relaxed);
        if (c.waiters_.empty())
            s.value = 0;
    });
}

} // namespace polyloop
