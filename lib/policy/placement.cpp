// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/policy/placement.hpp>

#include <functional>
#include <random>

namespace polyloop::placement {

std::size_t round_robin::operator()(placement_request const&, loops l) noexcept
{
    return next_.fetch_add(1, std::memory_order_relaxed) % l.size();
}

std::size_t least_tasks::operator()(placement_request const&, loops l) const noexcept
{
    std::size_t best = 0;
    std::size_t least = l[0]->task_count();
    for (std::size_t i = 1; i != l.size(); ++i)
        if (std::size_t const n = l[i]->task_count(); n < least)
        {
            best = i;
            least = n;
        }
    return best;
}

std::size_t two_choices::operator()(placement_request const&, loops l) const noexcept
{
    if (l.size() == 1)
        return 0;
    // Not kept across a suspension, so a thread-local is safe here.
    thread_local std::minstd_rand engine(std::random_device{}());
    std::size_t const a = std::uniform_int_distribution<std::size_t>(0, l.size() - 1)(engine);
    // Two that differ: the second is drawn from the rest.
    std::size_t b = std::uniform_int_distribution<std::size_t>(0, l.size() - 2)(engine);
    b += b >= a;
    return l[b]->task_count() < l[a]->task_count() ? b : a;
}

std::size_t by_key::operator()(placement_request const& r, loops l) const noexcept
{
    return std::hash<std::string_view>()(r.key.empty() ? r.name : r.key) % l.size();
}

std::size_t same_loop::operator()(placement_request const&, loops l) const noexcept
{
    event_loop const* const mine = try_get_running_loop();
    for (std::size_t i = 0; i != l.size(); ++i)
        if (l[i].get() == mine)
            return i;
    return 0;
}

} // namespace polyloop::placement
