// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/sync/channel.hpp>

#include <string>

namespace polyloop::detail {

channel_base::channel_base(std::size_t capacity, std::size_t most) : capacity_(capacity)
{
    if (capacity > most)
        throw_error(error::bad_config, "channel: no room for " + std::to_string(capacity) +
                                           " items: give a smaller capacity");
}

std::size_t channel_base::size() const noexcept
{
    section const s(word_);
    return count_;
}

void channel_base::close() noexcept
{
    section s(word_);
    if (closed(s))
        return;
    s.value |= closed_;
    for (wait_list* list : {&senders_, &receivers_})
    {
        for (waiter* w = list->front(); w; w = w->next)
            static_cast<channel_waiter*>(w)->closed = true;
        s.release_all(*list);
    }
}

void channel_base::refuse_closed(section& s)
{
    s.finish();
    throw_error(error::channel_closed);
}

channel_outcome channel_base::tell(wait_end end, channel_waiter& w)
{
    if (end == wait_end::timed_out)
        return channel_outcome::wait;
    if (end == wait_end::cancelled)
        throw_cancelled();
    if (w.thrown)
        std::rethrow_exception(w.thrown);
    return w.closed ? channel_outcome::closed : channel_outcome::done;
}

bool channel_base::leave_senders(void* self, waiter& w)
{
    auto& c = *static_cast<channel_base*>(self);
    return leave_wait(c.word_, w, [&](section&) { c.senders_.erase(w); });
}

bool channel_base::leave_receivers(void* self, waiter& w)
{
    auto& c = *static_cast<channel_base*>(self);
    return leave_wait(c.word_, w, [&](section&) { c.receivers_.erase(w); });
}

} // namespace polyloop::detail
