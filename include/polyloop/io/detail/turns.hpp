// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_TURNS_HPP
#define POLYLOOP_IO_DETAIL_TURNS_HPP

#include <polyloop/config.hpp>

#include <boost/system/error_code.hpp>

#include <cstdint>

namespace polyloop::detail {

/// So many operations in a row may need no wait before the others of the loop have their turn.
class turns
{
  public:
    /// Before one more, in a fiber or a thread. False, with an error, where the fiber is to end.
    bool take(boost::system::error_code& ec)
    {
        if (left_ == 0) [[unlikely]]
            return give_way(ec);
        --left_;
        return true;
    }
    /// After a wait.
    void renew() noexcept
    {
        left_ = most;
    }

  private:
    static constexpr std::uint8_t most = 16;

    POLYLOOP_DECL bool give_way(boost::system::error_code& ec);

    std::uint8_t left_ = most;
};

} // namespace polyloop::detail

#endif
