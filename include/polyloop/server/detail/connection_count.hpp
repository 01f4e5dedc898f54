// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_SERVER_DETAIL_CONNECTION_COUNT_HPP
#define POLYLOOP_SERVER_DETAIL_CONNECTION_COUNT_HPP

#include <polyloop/config.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>

namespace polyloop::detail {

/// How many connections a server has, for those who wait until there are fewer.
///
/// Connections end on any thread; fibers wait.
class connection_count
{
  public:
    /// Counts one connection while it lives.
    class ticket
    {
      public:
        explicit ticket(std::shared_ptr<connection_count> c) : count_(std::move(c))
        {
            count_->add();
        }
        ticket(ticket&&) noexcept = default;
        ticket& operator=(ticket&&) = delete;
        ~ticket()
        {
            if (count_)
                count_->remove();
        }

      private:
        std::shared_ptr<connection_count> count_;
    };

    POLYLOOP_DECL std::size_t value() const noexcept;

    /// Suspends the fiber until at most `most` are left. Throws `operation_aborted`.
    POLYLOOP_DECL void wait_at_most(std::size_t most);

  private:
    struct waiter;

    POLYLOOP_DECL void add() noexcept;
    POLYLOOP_DECL void remove() noexcept;

    mutable std::mutex mutex_;
    std::size_t value_ = 0;
    waiter* first_ = nullptr;
};

} // namespace polyloop::detail

#endif
