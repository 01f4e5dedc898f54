// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_REPORT_LOG_HPP
#define POLYLOOP_LOOP_DETAIL_REPORT_LOG_HPP

#include <polyloop/loop/exception_context.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

namespace polyloop::detail {

/// The default handler of one loop, with its memory: nothing is lost, and what comes again and
/// again is counted. At the end of the process the numbers of those that are left are written, too.
/// From any thread.
class report_log
{
  public:
    using clock = std::chrono::steady_clock;

    report_log() = default;
    report_log(report_log const&) = delete;
    report_log& operator=(report_log const&) = delete;
    POLYLOOP_DECL ~report_log();

    POLYLOOP_DECL void write(exception_context const& c, clock::time_point now) noexcept;

    /// Writes the numbers that were not written yet, and begins anew.
    POLYLOOP_DECL void flush() noexcept;

  private:
    struct entry
    {
        std::string text;
        std::uint64_t count = 0;
        std::uint64_t next = 1; ///< the count that is written next
        std::uint64_t written = 0;
        clock::time_point when{};
    };

    static constexpr std::size_t most = 256; // different reports that are remembered

    friend struct report_logs;

    void flush_locked();

    std::atomic<bool> listed_ = false; // since the first report
    report_log* prev_ = nullptr;
    report_log* next_ = nullptr;
    std::mutex mutex_;
    std::unordered_map<std::string, entry> entries_;
};

} // namespace polyloop::detail

#endif
