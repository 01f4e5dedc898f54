// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/report_log.hpp>

#include <algorithm>
#include <cstdio>
#include <string_view>

namespace polyloop::detail {
namespace {

constexpr std::chrono::minutes long_ago{1};

/// Whether the name is one that a task without a name is given.
bool is_made_up(std::string_view name)
{
    constexpr std::string_view kind = "fiber-";
    return name.starts_with(kind) && name.size() > kind.size() &&
           std::ranges::all_of(name.substr(kind.size()),
                               [](char c) { return c >= '0' && c <= '9'; });
}

/// What reports that say the same have in common.
std::string key_of(exception_context const& c)
{
    exception_context same = c;
    same.took = same.took.zero();
    if (is_made_up(same.task))
        same.task = "fiber";
    return describe(same);
}

void write_line(std::string const& text)
{
    std::string const line = "polyloop: " + text + '\n';
    std::fwrite(line.data(), 1, line.size(), stderr); // in one, so that threads do not mix
}

} // namespace

void report_log::write(exception_context const& c, clock::time_point now) noexcept
{
    try
    {
        std::lock_guard const lock(mutex_);
        std::string key = key_of(c);
        if (entries_.size() >= most && !entries_.contains(key))
            flush_locked();
        entry& e = entries_[std::move(key)];
        e.text = describe(c);
        if (++e.count < e.next && now - e.when < long_ago)
            return;
        while (e.next <= e.count)
            e.next *= 10;
        e.written = e.count;
        e.when = now;
        write_line(e.count == 1 ? e.text
                                : e.text + " (" + std::to_string(e.count) + " times by now)");
    }
    catch (...)
    {
        default_exception_handler(c); // without the memory
    }
}

void report_log::flush() noexcept
{
    try
    {
        std::lock_guard const lock(mutex_);
        flush_locked();
    }
    catch (...)
    {
        std::fputs("polyloop: out of memory while reports were counted\n", stderr);
    }
}

void report_log::flush_locked()
{
    for (auto const& [key, e] : entries_)
        if (e.count != e.written)
            write_line(e.text + " (" + std::to_string(e.count) + " times in all)");
    entries_.clear();
}

} // namespace polyloop::detail
