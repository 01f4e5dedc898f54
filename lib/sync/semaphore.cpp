// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/sync/semaphore.hpp>

#include <polyloop/error.hpp>

#include <string>

namespace polyloop {
namespace {

[[noreturn]] void refuse(char const* what, std::ptrdiff_t n)
{
    detail::throw_error(error::bad_config, std::string("semaphore: ") + what + ' ' +
                                               std::to_string(n) + " permits: from 0 to " +
                                               std::to_string(semaphore::max()) + " may be there");
}

} // namespace

semaphore::semaphore(std::ptrdiff_t permits)
    : word_(static_cast<detail::state_word::value>(permits) * one)
{
    if (permits < 0 || permits > max())
        refuse("made with", permits);
}

bool semaphore::try_acquire_slowly() noexcept
{
    detail::section s(word_);
    if (s.value < one)
        return false;
    s.value -= one;
    return true;
}

bool semaphore::acquire_slowly(detail::deadline limit)
{
    if (limit.passed())
        return false;
    detail::blocker self;
    if (!self.may_wait())
    {
        if (try_acquire())
            return true;
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

void semaphore::release_slowly(std::ptrdiff_t n)
{
    if (n < 0)
        refuse("a release of", n);
    detail::section s(word_);
    // Nothing is done unless all of it can be.
    std::ptrdiff_t waiting = 0;
    for (detail::waiter* w = waiters_.front(); w && waiting != n; w = w->next)
        ++waiting;
    if (n - waiting > max() - static_cast<std::ptrdiff_t>(s.value / one))
    {
        s.finish();
        refuse("a release of", n);
    }
    for (; n != 0 && !waiters_.empty(); --n)
        s.release(s.pop(waiters_));
    s.value = (s.value & ~waited_for) + static_cast<detail::state_word::value>(n) * one;
    if (!waiters_.empty())
        s.value |= waited_for;
}

bool semaphore::leave(void* self, detail::waiter& w)
{
    semaphore& m = *static_cast<semaphore*>(self);
    return detail::leave_wait(m.word_, w, [&m, &w](detail::section& s) {
        m.waiters_.erase(w);
        if (m.waiters_.empty())
            s.value &= ~waited_for;
    });
}

} // namespace polyloop
