// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_GROUP_STATE_HPP
#define POLYLOOP_TASK_DETAIL_GROUP_STATE_HPP

#include <polyloop/task/detail/rendezvous.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <vector>

namespace polyloop::detail {

/// What a task group and its children share.
///
/// Invariants
/// - `live_` counts children, those about to be spawned, and calls that are cancelling somebody:
///   who waits for 0 can be sure that no cancellation of the group's is still to come.
/// - The owner is cancelled only while the body of `with_task_group` runs.
class POLYLOOP_DECL group_state final : public rendezvous
{
  public:
    struct child : join_waiter
    {
        explicit child(group_state& g) noexcept : join_waiter(&group_state::on_done), group(&g)
        {
        }

        boost::intrusive_ptr<group_state> group;
        task_ptr task;
        child* prev = nullptr;
        child* next = nullptr;
    };

    /// `has_body`: the running task is in the body of `with_task_group`.
    explicit group_state(bool has_body);

    /// Before a spawn. Throws `error::group_closed`.
    std::unique_ptr<child> admit();
    /// After one that failed.
    void retract() noexcept;
    /// After one that did not.
    void add(std::unique_ptr<child> c, task_base& t) noexcept;

    std::size_t size() noexcept;
    bool over() noexcept;

    /// Cancels the children and, without an error, the body.
    void cancel() noexcept;

    /// The owner's destructor: see `~task_group`.
    void abandon() noexcept;

  private:
    friend class group_exit;

    ~group_state() override = default;

    static void on_done(join_waiter* w);
    void child_done(child& c) noexcept;
    void report(std::exception_ptr const& e) const noexcept;
    /// Refuses further children and cancels those there are, with the lock released meanwhile.
    void abort(std::unique_lock<std::mutex>& lock) noexcept;
    void leave(std::unique_lock<std::mutex> lock) noexcept;

    // under the lock
    std::size_t live_ = 0;
    child* first_ = nullptr;
    std::vector<std::exception_ptr> errors_;
    core_ptr home_; // whose exception handler is told of what nobody gets
    bool in_body_;
    bool aborting_ = false;
    bool over_ = false;
    bool abandoned_ = false;
    bool owner_cancelled_ = false;
    int owner_nth_ = 0; // how many requests stood with that one

    task_ptr const owner_; // null on a plain thread
    int const owner_cancelling_;
    bool const owner_pending_;
};

/// The way out of a group: waits for the children and decides what the owner gets.
class POLYLOOP_DECL group_exit
{
  public:
    /// `body`: what the body threw.
    group_exit(group_state& g, std::exception_ptr body);

    /// Fibers and threads.
    void wait();
    /// Coroutines: one wait; says whether it was the last.
    template <class Token>
    auto async_wait(Token&& token)
    {
        return asio::async_initiate<Token, void(outcome)>(
            [this](auto h) {
                std::unique_lock lock(group_.mutex);
                bool const waits = group_.live_ > 0;
                group_.async_wait(std::move(lock), !group_.aborting_, std::move(h));
                if (!waits)
                    wake_now();
            },
            token);
    }
    bool finished() const noexcept;
    void met(outcome o) noexcept;

    /// Throws what the group ends with, if it ends with an error.
    void conclude();

  private:
    void wake_now() noexcept;
    void settle(task_base& owner) noexcept;

    group_state& group_;
    std::exception_ptr body_;
    bool body_cancelled_;
    bool propagate_;
    int met_; ///< requests that the owner had met when the body ended
};

} // namespace polyloop::detail

#endif
