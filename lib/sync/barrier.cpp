// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/sync/barrier.hpp>

#include <string>

namespace polyloop {

barrier::barrier(std::ptrdiff_t parties) : parties_(static_cast<std::size_t>(parties))
{
    if (parties < 1)
        detail::throw_error(error::bad_config, "barrier: made for " + std::to_string(parties) +
                                                   " parties: at least one must come");
}

std::size_t barrier::n_waiting() const noexcept
{
    detail::section const s(word_);
    return waiting_;
}

bool barrier::enter(node& n, bool may_wait) noexcept
{
    detail::section s(word_);
    n.position = waiting_;
    if ((n.broken = s.value & broken_))
        return true;
    if (waiting_ + 1 != parties_)
    {
        if (may_wait)
        {
            waiters_.push(n);
            ++waiting_;
        }
        return false;
    }
    // Those who left have left gaps.
    std::size_t position = 0;
    for (detail::waiter* w = waiters_.front(); w; w = w->next)
        static_cast<node*>(w)->position = position++;
    waiting_ = 0;
    s.release_all(waiters_);
    return true;
}

std::optional<std::size_t> barrier::wait(detail::deadline limit)
{
    detail::blocker self;
    bool const over = limit.passed();
    node n;
    self.prepare(n);
    auto end = detail::wait_end::granted;
    if (!enter(n, !over && self.may_wait()))
    {
        if (over)
            return std::nullopt;
        if (!self.may_wait())
            self.refuse();
        end = self.wait(n, place(), limit);
    }
    if (end == detail::wait_end::cancelled)
        detail::throw_cancelled();
    if (end == detail::wait_end::timed_out)
        return std::nullopt;
    if (n.broken)
        detail::throw_error(error::broken_barrier);
    return n.position;
}

void barrier::break_up(detail::state_word::value state) noexcept
{
    detail::section s(word_);
    s.value = state;
    for (detail::waiter* w = waiters_.front(); w; w = w->next)
        static_cast<node*>(w)->broken = true;
    waiting_ = 0;
    s.release_all(waiters_);
}

bool barrier::leave(void* self, detail::waiter& w)
{
    barrier& b = *static_cast<barrier*>(self);
    return detail::leave_wait(b.word_, w, [&b, &w](detail::section&) {
        b.waiters_.erase(w);
        --b.waiting_;
    });
}

} // namespace polyloop
