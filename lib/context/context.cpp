// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/context/context.hpp>

#include <polyloop/context/detail/frame.hpp>

#include <boost/config.hpp>

#include <atomic>
#include <cstddef>
#include <new>
#include <ostream>
#include <utility>

namespace polyloop {

std::string_view to_string(context_kind kind) noexcept
{
    switch (kind)
    {
    case context_kind::thread:
        return "thread";
    case context_kind::strand:
        return "strand";
    case context_kind::fiber:
        return "fiber";
    }
    return "?";
}

std::ostream& operator<<(std::ostream& out, context_kind kind)
{
    return out << to_string(kind);
}

std::ostream& operator<<(std::ostream& out, context const& c)
{
    return out << c.kind_ << ' ' << c.id_ << " \"" << c.name_ << '"';
}

namespace detail {

constinit thread_local thread_frame frame_here;

namespace {

// The thread's node is never destroyed, but ends: static destructors run after the thread-locals
// of the main thread are gone, and may still ask who runs.
alignas(context_node) constinit thread_local std::byte node_place[sizeof(context_node)]{};
constinit thread_local context_node* thread_node = nullptr;

struct node_end
{
    bool awaited = false;

    ~node_end()
    {
        thread_node->end();
    }
};
thread_local node_end thread_end;

} // namespace

context::id_type draw_context_ids(context::id_type count) noexcept
{
    static constinit std::atomic<context::id_type> next = 1;
    return next.fetch_add(count, std::memory_order_relaxed);
}

std::string context_node::name() const
{
    if (extras_ && !extras_->name.empty())
        return extras_->name;
    return std::string(to_string(kind_)) + '-' + std::to_string(id_);
}

context_node::extras& context_node::need_extras()
{
    if (!extras_)
        extras_ = new extras;
    return *extras_;
}

void context_node::set_name(std::string name)
{
    if (extras_ || !name.empty())
        need_extras().name = std::move(name);
}

void context_node::set_origin(std::source_location where)
{
    need_extras().origin = where;
}

std::string context_node::origin() const
{
    return extras_ ? describe_location(extras_->origin) : std::string();
}

std::string describe_location(std::source_location const& where)
{
    if (where.line() == 0)
        return {};
    return std::string(where.file_name()) + ':' + std::to_string(where.line()) + " (" +
           where.function_name() + ')';
}

void context_node::at_exit(std::weak_ptr<void> owner, exit_hook hook)
{
    auto& hooks = need_extras().hooks;
    if (hooks.size() == hooks.capacity())
        std::erase_if(hooks, [](owned_hook const& h) { return h.owner.expired(); });
    hooks.push_back({std::move(owner), std::move(hook)});
}

void context_node::run_exit_hooks() noexcept
{
    // A hook may end something that adds another hook.
    while (extras_ && !extras_->hooks.empty())
    {
        auto const hooks = std::exchange(extras_->hooks, {});
        for (auto const& hook : hooks)
            if (auto const owner = hook.owner.lock())
                hook.call(id_, owner.get());
    }
}

void context_node::end() noexcept
{
    run_exit_hooks();
    delete std::exchange(extras_, nullptr);
    locals_.reset();
}

POLYLOOP_READS_FRAME thread_frame& this_frame() noexcept
{
    thread_frame* f = &frame_here;
#if defined(__clang__)
    asm volatile("" : "+r"(f)); // what clang has in place of GCC's attribute
#endif
    return *f;
}

BOOST_NOINLINE context_node& this_thread_node()
{
    if (!thread_node) [[unlikely]]
    {
        thread_node = ::new (&node_place) context_node(context_kind::thread, draw_context_ids());
        thread_end.awaited = true; // the first use registers its destructor
    }
    return *thread_node;
}

/// In a forked child: nothing runs on the thread that is left, and it is another thread.
void reset_thread_after_fork() noexcept
{
    static_cast<frame_values&>(frame_here) = {};
    if (thread_node)
        thread_node->set_id(draw_context_ids());
}

context_node& current_node()
{
    thread_frame const& f = this_frame();
    if (f.fiber)
        return *f.fiber;
    if (f.strand)
        return *f.strand;
    return this_thread_node();
}

} // namespace detail

namespace this_context {

context current()
{
    detail::context_node const& node = detail::current_node();
    return {node.kind(), node.id(), node.name()};
}

context_kind kind() noexcept
{
    detail::thread_frame const& f = detail::this_frame();
    return f.fiber    ? context_kind::fiber
           : f.strand ? context_kind::strand
                      : context_kind::thread;
}

void set_thread_name(std::string name)
{
    detail::this_thread_node().set_name(std::move(name));
}

} // namespace this_context
} // namespace polyloop
