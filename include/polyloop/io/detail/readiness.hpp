// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_IO_DETAIL_READINESS_HPP
#define POLYLOOP_IO_DETAIL_READINESS_HPP

#include <polyloop/io/detail/descriptor.hpp>

#include <memory>
#include <mutex>

namespace polyloop::detail {

/// The descriptors of one loop in an edge-triggered epoll of their own, which itself is waited for
/// by the loop's `io_context`: each is registered once, and a wait costs no system call.
class readiness final : public loop_attachment
{
  public:
    /// That of a loop, made at first need. Throws the system's error and `error::loop_closed`.
    static readiness& of(loop_core& core);

    explicit readiness(loop_core& core);
    readiness(readiness const&) = delete;
    readiness& operator=(readiness const&) = delete;
    ~readiness() override;

    /// Throws the system's error.
    void add(descriptor& d);
    /// After this no edge comes any more. Does nothing where it is not there.
    void remove(descriptor& d) noexcept;

    /// Hands all edges that came to their descriptors. In the loop, entered.
    void look() noexcept;

    void closing() noexcept override;

  private:
    class watcher;

    int epoll_;
    std::unique_ptr<watcher> watcher_;
    // A descriptor leaves before or after its edges are handed out, not meanwhile.
    std::mutex mutex_;
    descriptor* first_ = nullptr;
};

} // namespace polyloop::detail

#endif
