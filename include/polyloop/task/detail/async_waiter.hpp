// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_ASYNC_WAITER_HPP
#define POLYLOOP_TASK_DETAIL_ASYNC_WAITER_HPP

#include <polyloop/context/detail/one_thread.hpp>
#include <polyloop/loop/detail/timer_state.hpp>
#include <polyloop/task/detail/context_waits.hpp>
#include <polyloop/task/detail/waiter.hpp>

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/system/error_code.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace polyloop::detail {

inline boost::system::error_code code_of(wait_end e) noexcept
{
    switch (e)
    {
    case wait_end::granted:
        break;
    case wait_end::timed_out:
        return boost::asio::error::timed_out;
    case wait_end::cancelled:
        return boost::asio::error::operation_aborted;
    }
    return {};
}

/// A waiter that is told nothing but that it may go on.
struct plain_node : waiter
{
    std::tuple<boost::system::error_code> result(wait_end e) const noexcept
    {
        return code_of(e);
    }
};

/// A completion handler that waits at an object.
///
/// `Node` is the object's kind of waiter; its `result(wait_end)` gives the handler's arguments as a
/// tuple. Counted: the wait holds one reference, which the completion takes over, the start and
/// the timer hold their own. A node may have, besides,
/// - `left()`, for one that was taken off its list and waits for something else before it ends;
/// - `leave_further()`, which takes it off that;
/// - `cancel()`, in place of the end that a cancellation is to others;
/// - `fallback()`, the executor of a handler without its own;
/// - `called_in(c)`, to be told of the handler's context, null where that never ends.
///
/// Invariant: the wait ends once, by a grant or by whoever took the node off the list, who posts
/// the completion; or with the context of its handler (`context_waits`).
template <class Node, class Handler>
class async_waiter final : public Node, private context_wait
{
    using executor = boost::asio::associated_executor_t<Handler, boost::asio::any_io_executor>;
    using pointer = boost::intrusive_ptr<async_waiter>;

  public:
    /// `begin(Node&)` queues the node, or returns true where it was served at once.
    template <class Begin, class... Args>
    static void start(Handler h, wait_place place, deadline limit, Begin begin, Args&&... args)
    {
        // Not by the handler's allocator, whose memory may end with the call of the handler: who
        // ends the wait, and its timer, may come behind that.
        pointer const self(new async_waiter(h, place, std::forward<Args>(args)...));
        self->run(limit, begin);
    }

    async_waiter(async_waiter const&) = delete;
    async_waiter& operator=(async_waiter const&) = delete;

    friend void intrusive_ptr_add_ref(async_waiter* w) noexcept
    {
        w->refs_.add();
    }
    friend void intrusive_ptr_release(async_waiter* w) noexcept
    {
        if (w->refs_.drop())
            delete w;
    }

  private:
    enum class phase : std::uint8_t
    {
        starting,
        started,
        expired ///< while it was starting
    };

    template <class... Args>
    async_waiter(Handler& h, wait_place place, Args&&... args)
        : Node(std::forward<Args>(args)...),
          work_(boost::asio::get_associated_executor(h, fallback())), handler_(std::move(h)),
          place_(place)
    {
        hold = [](context_wait* w) { intrusive_ptr_add_ref(static_cast<async_waiter*>(w)); };
        let_go = [](context_wait* w) { intrusive_ptr_release(static_cast<async_waiter*>(w)); };
        abandon = [](context_wait* w) { return static_cast<async_waiter*>(w)->end_unheard(); };
        this->grant = [](waiter* w) {
            static_cast<async_waiter*>(static_cast<Node*>(w))->finish();
        };
    }
    ~async_waiter() = default;

    boost::asio::any_io_executor fallback() const
    {
        if constexpr (requires { Node::fallback(); })
            return Node::fallback();
        else
            return ambient_executor();
    }

    template <class Begin>
    void run(deadline limit, Begin& begin)
    {
        context_waits* const c = context_waits::of(work_.get_executor());
        if (c && !c->add(*this))
            return;
        if constexpr (requires { Node::called_in(nullptr); })
            Node::called_in(c ? &c->context() : nullptr);
        // To the wait, unless something here throws.
        pointer waiting(this);
        auto slot = boost::asio::get_associated_cancellation_slot(*handler_);
        if (slot.is_connected())
            slot.assign([this](boost::asio::cancellation_type) { cancel(); });
        bool served = false;
        try
        {
            if (!limit.never() && !limit.passed())
                set_timer(limit);
            waiting.detach();
            served = begin(static_cast<Node&>(*this));
        }
        catch (...)
        {
            if (!waiting)
                waiting.reset(this, false);
            if (slot.is_connected())
                slot.clear();
            stop_timer();
            if (context)
                context->remove(*this);
            throw;
        }
        if (served)
            finish();
        else if (limit.passed() || (timed_ && phase_.exchange(phase::started) == phase::expired))
            leave(wait_end::timed_out);
    }

    /// False where it was granted before.
    bool leave(wait_end how)
    {
        if (!place_.leave_as(*this))
            return false;
        end_ = how;
        if constexpr (requires { this->left(); })
            this->left(); // it waits for something else first, which finishes it
        else
            finish();
        return true;
    }

    void cancel()
    {
        if constexpr (requires { Node::cancel(); })
            Node::cancel();
        else if (!leave(wait_end::cancelled))
            keep_missed_cancel();
    }

    void finish()
    {
        auto const ex = work_.get_executor(); // the handler may be called before post returns
        pointer const keep(this);
        boost::asio::post(ex,
                          [self = pointer(this, false)]() mutable { complete(std::move(self)); });
        if (context)
            context->remove(*this);
    }

    /// The context of the handler ends. False where the wait is just being ended.
    bool end_unheard() noexcept
    {
        bool left = place_.leave_as(*this);
        if constexpr (requires { Node::leave_further(); })
            left = left || Node::leave_further();
        if (!left)
            return false;
        pointer const waiting(this, false);
        forget_others();
        work_.reset();
        handler_.reset();
        return true;
    }

    void forget_others() noexcept
    {
        auto slot = boost::asio::get_associated_cancellation_slot(*handler_);
        if (slot.is_connected())
            slot.clear();
        stop_timer();
    }

    void stop_timer()
    {
        if (loop_timer_)
            loop_timer_->cancel();
        if (timer_)
            timer_->cancel();
    }

    static void complete(pointer self)
    {
        self->forget_others();
        Handler h(std::move(*self->handler_));
        auto const work(std::move(self->work_));
        auto values = self->result(self->end_);
        self.reset(); // what it holds goes before the call
        std::apply(std::move(h), std::move(values));
    }

    void set_timer(deadline limit)
    {
        timed_ = true;
        auto expire = [self = pointer(this)](boost::system::error_code ec) {
            phase expected = phase::starting;
            if (!ec && !self->phase_.compare_exchange_strong(expected, phase::expired))
                self->leave(wait_end::timed_out);
        };
        // Not by the handler's executor, which may be valid no longer than the wait.
        if (loop_core* const core = this_frame().core)
        {
            loop_timer_ = new timer_state(*core);
            loop_timer_->set_expiry(limit.time());
            timer_wait_of<decltype(expire)>::start(*loop_timer_, std::move(expire));
            return;
        }
        timer_ = std::make_unique<boost::asio::steady_timer>(boost::asio::system_executor(),
                                                             limit.time());
        timer_->async_wait(std::move(expire));
    }

    using work_guard = boost::asio::executor_work_guard<executor>;

    reference_count refs_;
    std::atomic<phase> phase_ = phase::starting;
    wait_end end_ = wait_end::granted;
    bool timed_ = false;
    work_guard work_;
    std::optional<Handler> handler_;
    wait_place place_;
    timer_ptr loop_timer_;                              ///< of the loop where the wait began
    std::unique_ptr<boost::asio::steady_timer> timer_; ///< elsewhere
};

/// `Node(args...)` waits for the handler of `token`, with the completion signature `Signature`.
template <class Node, class Signature, class Token, class Begin, class... Args>
auto initiate_wait(Token&& token, wait_place place, deadline limit, Begin begin, Args&&... args)
{
    return boost::asio::async_initiate<Token, Signature>(
        [](auto handler, wait_place p, deadline d, Begin b, auto&&... a) {
            using operation = async_waiter<Node, decltype(handler)>;
            operation::start(std::move(handler), p, d, std::move(b),
                             std::forward<decltype(a)>(a)...);
        },
        token, place, limit, std::move(begin), std::forward<Args>(args)...);
}

} // namespace polyloop::detail

#endif
