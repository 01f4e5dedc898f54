// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_TURNS_HPP
#define POLYLOOP_IO_DETAIL_TURNS_HPP

#include <polyloop/config.hpp>

#include <boost/system/error_code.hpp>

#include <atomic>
#include <cstdint>

namespace polyloop::detail {

/// So many operations in a row may need no wait before the others of the loop have their turn.
class turns
{
  public:
    turns() = default;
    /// A socket that is moved begins anew.
    turns(turns const&) noexcept
    {
    }
    turns& operator=(turns const&) noexcept
    {
        return *this;
    }

    /// Counts one more. False where the others shall have their turn first: then `give_way`, and
    /// look anew at all that may have changed meanwhile.
    bool take() noexcept
    {
        std::uint8_t const left = left_.load(std::memory_order_relaxed);
        if (left == 0) [[unlikely]]
            return false;
        left_.store(left - 1, std::memory_order_relaxed);
        return true;
    }
    /// In a fiber or a thread. False, with an error, where the fiber is to end.
    POLYLOOP_DECL bool give_way(boost::system::error_code& ec);
    /// After a wait.
    void renew() noexcept
    {
        left_.store(most, std::memory_order_relaxed);
    }

  private:
    static constexpr std::uint8_t most = 16;

    std::atomic<std::uint8_t> left_ = most; // several may accept at once; it need not be exact
};

} // namespace polyloop::detail

#endif
