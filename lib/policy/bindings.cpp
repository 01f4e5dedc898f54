// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/policy/detail/bindings.hpp>

#include <polyloop/context/detail/frame.hpp>

#include <utility>

namespace polyloop::detail {
namespace {

context_node& node_of(context_kind unit)
{
    context_node& current = current_node();
    return current.kind() == unit ? current : this_thread_node();
}

} // namespace

bindings::bindings(context_kind unit) : unit_(unit), table_(std::make_shared<table>())
{
}

void bindings::forked(void* self) noexcept
{
    // The old one stays for good, with the loops of the parent.
    struct kept
    {
        std::shared_ptr<table> what;
        kept* next;
    };
    static constinit kept* all = nullptr;
    auto& current = static_cast<bindings*>(self)->table_;
    all = new kept{std::exchange(current, std::make_shared<table>()), all};
}

void bindings::set(std::shared_ptr<event_loop> loop)
{
    context_node& node = node_of(unit_);
    bool first = false;
    {
        std::lock_guard const lock(table_->mutex);
        // An entry stays until the context ends, so that each context is hooked once.
        auto const place = loop ? table_->loops.try_emplace(node.id()).first
                                : table_->loops.find(node.id());
        if (place != table_->loops.end())
        {
            auto& [bound, hooked] = place->second;
            table_->size += (loop != nullptr) - (bound != nullptr);
            bound.swap(loop);
            first = !std::exchange(hooked, true);
        }
    }
    // What was bound before may be the last of its loop, which ends here, outside of the lock.
    loop.reset();
    if (first)
        node.at_exit(table_, [here = fork_generation()](context::id_type id, void* owner) {
            // In a child the table is the parent's, and its lock as another thread had it.
            if (here != fork_generation())
                return;
            auto& t = *static_cast<table*>(owner);
            std::unique_lock lock(t.mutex);
            auto const gone = t.loops.extract(id);
            if (gone && gone.mapped().loop)
                --t.size;
            lock.unlock();
        });
}

std::shared_ptr<event_loop> bindings::get() const
{
    context_node const& node = node_of(unit_);
    std::lock_guard const lock(table_->mutex);
    auto const found = table_->loops.find(node.id());
    return found == table_->loops.end() ? nullptr : found->second.loop;
}

std::shared_ptr<event_loop> bindings::get_own() const
{
    // Asked at every spawn, and hardly ever is anything bound.
    if (table_->size.load(std::memory_order_relaxed) == 0) [[likely]]
        return nullptr;
    return current_node().kind() == unit_ ? get() : nullptr;
}

void bindings::refuse() const
{
    context_node const& node = node_of(unit_);
    throw_error(error::no_current_loop, "no loop is bound in " +
                                            std::string(to_string(node.kind())) + " \"" +
                                            node.name() + '"');
}

} // namespace polyloop::detail
