// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_SIGNALS_HPP
#define POLYLOOP_LOOP_DETAIL_SIGNALS_HPP

#include <polyloop/loop/detail/loop_core.hpp>

#include <boost/asio/posix/basic_stream_descriptor.hpp>

#include <functional>
#include <map>
#include <memory>
#include <mutex>

namespace polyloop::detail {

struct signal_port;

/// Signals of the process, told on a loop.
///
/// Not by Asio's `signal_set`: that puts the default back whatever it found, and cannot be told
/// from one of the user's own, to which a run has to give way (S60, S67). What the signal's handler
/// does is to count and to make a descriptor readable.
///
/// Several loops may watch the same signal. Thread safety: from any thread.
class signal_watch : public std::enable_shared_from_this<signal_watch>
{
  public:
    enum class rank
    {
        handler, ///< a user's
        run      ///< a run's: not told of what came while a user had a handler in the process
    };

    /// `told` is called on the loop, once for each signal, and must not throw.
    POLYLOOP_DECL static std::shared_ptr<signal_watch>
    start(loop_core& core, rank r, std::function<void(int)> told);

    signal_watch(signal_watch const&) = delete;
    signal_watch& operator=(signal_watch const&) = delete;
    POLYLOOP_DECL ~signal_watch();

    /// Throws the system's error for what cannot be caught. False for a run's where somebody else
    /// handles the signal. Again for a handler's, it takes the signal back from who took it since.
    POLYLOOP_DECL bool add(int number);
    /// False where it was not watched. The last one puts back what was found, if nobody else has
    /// replaced it since (S67).
    POLYLOOP_DECL bool remove(int number) noexcept;
    POLYLOOP_DECL bool empty() const noexcept;

    /// What comes from now on is told to `next`. How many signals have come since the start or the
    /// call before, told or not: what is not being told yet will not be.
    POLYLOOP_DECL unsigned tell(std::function<void(int)> next);

    /// Removes all; what is not being told yet will not be. How many signals have come since the
    /// start or the last `tell`, told or not, of those that were not removed before.
    POLYLOOP_DECL unsigned stop() noexcept;

  private:
    using descriptor = asio::posix::basic_stream_descriptor<asio::io_context::executor_type>;

    signal_watch(loop_core& core, rank r, std::function<void(int)> told);
    void wait();
    void look();
    template <class F>
    void take_locked(F&& each);

    core_ptr const core_;
    rank const rank_;
    std::shared_ptr<std::function<void(int)> const> told_; // null once it is stopped
    mutable std::mutex mutex_;
    signal_port* port_; // null once stopped
    descriptor readable_;
    std::map<int, unsigned> seen_; // of each watched signal, how many
    unsigned total_ = 0;
};

/// Whether what the system does on its own is what a signal still does. Takes a lock.
POLYLOOP_DECL bool signal_is_default(int number) noexcept;

} // namespace polyloop::detail

#endif
