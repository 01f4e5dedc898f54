// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_REPORT_LOG_HPP
#define POLYLOOP_LOOP_DETAIL_REPORT_LOG_HPP

#include <polyloop/loop/exception_context.hpp>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

namespace polyloop::detail {

/// The default handler of one loop, with its memory: nothing is lost, and what comes again and
/// again is counted. From any thread.
class report_log
{
  public:
    using clock = std::chrono::steady_clock;

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

    void flush_locked();

    std::mutex mutex_;
    std::unordered_map<std::string, entry> entries_;
};

} // namespace polyloop::detail

#endif
