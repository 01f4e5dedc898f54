// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/sync/event.hpp>

namespace polyloop {

void event::set_slowly() noexcept
{
    detail::section s(word_);
    s.value = is_set_;
    s.release_all(waiters_);
}

void event::clear_slowly() noexcept
{
    detail::section s(word_);
    s.value &= ~is_set_;
}

bool event::enter(detail::waiter& w) noexcept
{
    detail::section s(word_);
    if (s.value & is_set_)
        return true;
    waiters_.push(w);
    s.value |= waited_for;
    return false;
}

bool event::wait_slowly(detail::deadline limit)
{
    detail::blocker self;
    if (limit.passed() || !self.may_wait())
    {
        if (detail::section(word_).value & is_set_)
            return true;
        if (limit.passed())
            return false;
        self.refuse();
    }
    detail::waiter w;
    self.prepare(w);
    if (enter(w))
        return true;
    auto const end = self.wait(w, place(), limit);
    if (end == detail::wait_end::cancelled)
        detail::throw_cancelled();
    return end == detail::wait_end::granted;
}

bool event::leave(void* self, detail::waiter& w)
{
    event& e = *static_cast<event*>(self);
    return detail::leave_wait(e.word_, w, [&e, &w](detail::section& s) {
        e.waiters_.erase(w);
        if (e.waiters_.empty())
            s.value &= ~waited_for;
    });
}

} // namespace polyloop
