// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_DETAIL_CONTEXT_WAITS_HPP
#define POLYLOOP_TASK_DETAIL_CONTEXT_WAITS_HPP

#include <polyloop/config.hpp>

#include <boost/asio/execution/context.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/query.hpp>

#include <mutex>

namespace polyloop::detail {

namespace asio = boost::asio;

class context_waits;

/// A completion handler that waits for something which belongs to no context, but is to be called
/// in one: that may end first.
struct context_wait
{
    context_waits* context = nullptr; ///< null where that lasts as long as the process
    context_wait* prev = nullptr;
    context_wait* next = nullptr;

    /// Counts the wait, and no more.
    void (*hold)(context_wait*) = nullptr;
    void (*let_go)(context_wait*) = nullptr;
    /// Takes the wait off what it waits for, and destroys the handler. False where it is just being
    /// ended by somebody else.
    bool (*abandon)(context_wait*) = nullptr;
};

/// Those of one context, which takes them with it, as it does the operations of its own objects.
///
/// Invariant: a wait is listed from before it begins until after its completion was posted; so a
/// context that ends has either abandoned it, or been given the completion.
class POLYLOOP_DECL context_waits final : public asio::execution_context::service
{
  public:
    static asio::execution_context::id id;

    explicit context_waits(asio::execution_context& c) : asio::execution_context::service(c)
    {
    }

    /// That of the context of `ex`, made at first need; null where there is none that ends.
    template <class Executor>
    static context_waits* of(Executor const& ex)
    {
        if constexpr (asio::can_query<Executor const&, asio::execution::context_t>::value)
            return in(asio::query(ex, asio::execution::context));
        else
            return nullptr;
    }

    /// False where the context is ending.
    bool add(context_wait& w) noexcept;
    void remove(context_wait& w) noexcept;

  private:
    static context_waits* in(asio::execution_context& c);
    void shutdown() override;

    std::mutex mutex_;
    context_wait* first_ = nullptr;
    bool ending_ = false;
};

} // namespace polyloop::detail

#endif
