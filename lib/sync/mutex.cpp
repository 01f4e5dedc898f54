// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/sync/mutex.hpp>

#include <boost/config.hpp>
#include <boost/system/errc.hpp>

namespace polyloop {
namespace {

boost::system::error_code deadlock() noexcept
{
    return make_error_code(boost::system::errc::resource_deadlock_would_occur);
}

} // namespace

BOOST_FORCEINLINE bool mutex::enter(node& n) noexcept
{
    detail::section s(word_);
    bool const free = s.value == 0;
    if (free)
        s.value = owned_by(n.owner);
    else
    {
        waiters_.push(n);
        s.value |= waited_for;
    }
    return free;
}

void mutex::enter_and_grant(node& n) noexcept
{
    if (enter(n))
        n.grant(&n);
}

bool mutex::wait_begins(detail::blocker& self, node& n)
{
    // Nobody else makes us the owner, or takes that away.
    if (held_by(n.owner))
        detail::throw_error(deadlock());
    if (!self.may_wait())
    {
        if (try_lock())
            return false;
        self.refuse();
    }
    self.prepare(n);
    return !enter(n);
}

bool mutex::lock_slowly(owner_id me, detail::deadline limit)
{
    if (limit.passed() && !held_by(me))
        return false;
    node n(me);
    detail::blocker self;
    if (!wait_begins(self, n))
        return true;
    switch (self.wait(n, place(), limit))
    {
    case detail::wait_end::granted:
        return true;
    case detail::wait_end::timed_out:
        return false;
    case detail::wait_end::cancelled:
        break;
    }
    detail::throw_cancelled();
}

void mutex::relock(owner_id me) noexcept
{
    detail::state_word::value free = 0;
    if (word_.change(free, owned_by(me)))
        return;
    detail::blocker self;
    node n(me);
    self.prepare(n);
    if (!enter(n))
        self.wait_uncancelled(n);
}

bool mutex::begin(node& n)
{
    // Handlers of a thread or a strand may well wait for one another; a task only for itself.
    if (held_by(n.owner) && this_context::kind() == context_kind::fiber)
    {
        n.refused = deadlock();
        return true;
    }
    return enter(n);
}

void mutex::unlock_slowly(owner_id me)
{
    if (!held_by(me))
        detail::throw_error(error::not_owner);
    detail::section s(word_);
    pass_on(s);
}

void mutex::pass_on(detail::section& s) noexcept
{
    s.value = 0;
    if (waiters_.empty())
        return;
    node& next = static_cast<node&>(s.pop(waiters_));
    s.value = owned_by(next.owner) | (waiters_.empty() ? 0 : waited_for);
    s.release(next);
}

bool mutex::leave(void* self, detail::waiter& w)
{
    mutex& m = *static_cast<mutex*>(self);
    return detail::leave_wait(m.word_, w, [&m, &w](detail::section& s) {
        m.waiters_.erase(w);
        if (m.waiters_.empty())
            s.value &= ~waited_for;
    });
}

} // namespace polyloop
