// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/sync/shared_mutex.hpp>

#include <polyloop/error.hpp>

#include <boost/system/errc.hpp>

namespace polyloop {
namespace {

boost::system::error_code deadlock() noexcept
{
    return make_error_code(boost::system::errc::resource_deadlock_would_occur);
}

} // namespace

bool shared_mutex::try_lock_shared() noexcept
{
    value seen = word_.load();
    while (!(seen & (one - 1)))
        if (word_.change(seen, seen + one))
            return true;
    if (!(seen & detail::state_word::locked))
        return false;
    detail::section s(word_);
    if (s.value & (alone | waited_for))
        return false;
    s.value += one;
    return true;
}

bool shared_mutex::enter(node& n) noexcept
{
    detail::section s(word_);
    bool const free = n.shared ? !(s.value & (alone | waited_for)) : s.value == 0;
    if (free)
        s.value = n.shared ? s.value + one : owned_by(n.owner);
    else
    {
        waiters_.push(n);
        s.value |= waited_for;
    }
    return free;
}

bool shared_mutex::lock_slowly(bool shared, detail::deadline limit)
{
    auto const me = detail::current_owner();
    if (held_by(me))
        detail::throw_error(deadlock());
    if (limit.passed())
        return false;
    detail::blocker self;
    if (!self.may_wait())
    {
        if (shared ? try_lock_shared() : try_lock())
            return true;
        self.refuse();
    }
    node n(shared, me);
    self.prepare(n);
    if (enter(n))
        return true;
    auto const end = self.wait(n, place(), limit);
    if (end == detail::wait_end::cancelled)
        detail::throw_cancelled();
    return end == detail::wait_end::granted;
}

bool shared_mutex::begin(node& n)
{
    // Handlers of a thread or a strand may well wait for one another; a task only for itself.
    if (held_by(n.owner) && this_context::kind() == context_kind::fiber)
    {
        n.refused = deadlock();
        return true;
    }
    return enter(n);
}

void shared_mutex::unlock_slowly()
{
    if (!held_by(detail::current_owner()))
        detail::throw_error(error::not_owner);
    detail::section s(word_);
    s.value &= waited_for;
    admit(s);
}

void shared_mutex::unlock_shared()
{
    value seen = word_.load();
    while (!(seen & (one - 1)) && seen != 0)
        if (word_.change(seen, seen - one))
            return;
    detail::section s(word_);
    if (s.value & alone || s.value < one)
    {
        s.finish();
        detail::throw_error(error::not_owner);
    }
    s.value -= one;
    admit(s);
}

void shared_mutex::admit(detail::section& s) noexcept
{
    while (!waiters_.empty())
    {
        node& n = static_cast<node&>(*waiters_.front());
        if (s.value & alone || (!n.shared && s.value >= one))
            return;
        s.value = n.shared ? s.value + one : owned_by(n.owner) | waited_for;
        s.release(s.pop(waiters_));
    }
    s.value &= ~waited_for;
}

bool shared_mutex::leave(void* self, detail::waiter& w)
{
    shared_mutex& m = *static_cast<shared_mutex*>(self);
    return detail::leave_wait(m.word_, w, [&m, &w](detail::section& s) {
        m.waiters_.erase(w);
        m.admit(s); // readers behind a writer that gave up
    });
}

} // namespace polyloop
