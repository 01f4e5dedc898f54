// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/detail/report_log.hpp>

#include <polyloop/context/detail/fork.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

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

/// All that have written something. Neither destroyed nor constructed at run time, as loops may be
/// static. Its lock is taken before those of the logs.
struct report_logs
{
    static constinit std::mutex mutex;
    static constinit report_log* first;

    static void add(report_log& l)
    {
        if (l.listed_.load(std::memory_order_acquire))
            return;
        // What the parent has counted is not for a child to write.
        static fork_listener const* const forks =
            new fork_listener(&mutex, {[](void*) noexcept { mutex.lock(); },
                                       [](void*) noexcept { mutex.unlock(); },
                                       [](void*) noexcept { first = nullptr; }});
        static int const installed = std::atexit(&report_logs::flush);
        (void)forks;
        (void)installed;
        std::lock_guard const lock(mutex);
        if (l.listed_.exchange(true))
            return;
        l.next_ = first;
        if (first)
            first->prev_ = &l;
        first = &l;
    }
    static void remove(report_log& l) noexcept
    {
        if (!l.listed_)
            return;
        std::lock_guard const lock(mutex);
        (l.prev_ ? l.prev_->next_ : first) = l.next_;
        if (l.next_)
            l.next_->prev_ = l.prev_;
    }

    static void flush() noexcept
    {
        std::lock_guard const lock(mutex);
        for (report_log* l = first; l; l = l->next_)
            for (int i = 0; i != 1000; ++i) // who holds it may be one that does not go on
                if (std::unique_lock const own(l->mutex_, std::try_to_lock); own)
                {
                    try
                    {
                        l->flush_locked();
                    }
                    catch (...)
                    {
                    }
                    break;
                }
                else
                    std::this_thread::yield();
    }
};

constinit std::mutex report_logs::mutex;
constinit report_log* report_logs::first = nullptr;

report_log::~report_log()
{
    report_logs::remove(*this);
}

void report_log::write(exception_context const& c, clock::time_point now) noexcept
{
    try
    {
        report_logs::add(*this);
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
