// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_CONTEXT_DETAIL_ONE_THREAD_HPP
#define POLYLOOP_CONTEXT_DETAIL_ONE_THREAD_HPP

#include <atomic>
#include <cstdint>

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#endif

namespace polyloop::detail {

/// Whether the process has this thread only, so that nothing has to be indivisible: a locked
/// instruction costs as much as a dozen others. The C library knows, and libstdc++'s
/// `shared_ptr` asks it as well; where it does not say, no.
///
/// Holds until this thread makes another one: not across calls of the application's code.
inline bool one_thread() noexcept
{
#if __has_include(<sys/single_threaded.h>)
    return __libc_single_threaded;
#else
    return false;
#endif
}

/// How many own an object.
class reference_count
{
  public:
    constexpr explicit reference_count(std::uint32_t n = 0) noexcept : count_(n)
    {
    }

    void add() noexcept
    {
        if (one_thread())
            count_.store(count_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        else
            count_.fetch_add(1, std::memory_order_relaxed);
    }
    /// Whether it was the last one, who sees all that the others did.
    bool drop() noexcept
    {
        if (!one_thread())
            return count_.fetch_sub(1, std::memory_order_acq_rel) == 1;
        std::uint32_t const left = count_.load(std::memory_order_relaxed) - 1;
        count_.store(left, std::memory_order_relaxed);
        return left == 0;
    }

  private:
    std::atomic<std::uint32_t> count_;
};

} // namespace polyloop::detail

#endif
