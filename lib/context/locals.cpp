// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/context/detail/locals.hpp>

#include <polyloop/context/detail/frame.hpp>

#include <boost/config.hpp>

#include <algorithm>
#include <vector>

namespace polyloop::detail {

constinit std::atomic<bool> any_locals = false;

class local_map
{
  public:
    struct entry
    {
        local_key key;
        local_ptr value;
    };

    std::vector<entry> entries; // sorted by key
    mutable reference_count refs;
};

void intrusive_ptr_add_ref(local_map const* m) noexcept
{
    m->refs.add();
}

void intrusive_ptr_release(local_map const* m) noexcept
{
    if (m->refs.drop())
        delete m;
}

namespace {

// Strands have no values of their own: their handlers are those of the thread.
BOOST_NOINLINE context_node& owner()
{
    if (context_node* const f = this_frame().fiber)
        return *f;
    return this_thread_node();
}

local_value const* look_up(local_map const* m, local_key key) noexcept
{
    if (!m)
        return nullptr;
    auto const i = std::ranges::lower_bound(m->entries, key, {}, &local_map::entry::key);
    return i != m->entries.end() && i->key == key ? i->value.get() : nullptr;
}

locals_ptr changed(local_map const* old, local_key key, local_ptr value)
{
    boost::intrusive_ptr<local_map> m(new local_map);
    if (old)
        m->entries = old->entries;
    auto const i = std::ranges::lower_bound(m->entries, key, {}, &local_map::entry::key);
    bool const there = i != m->entries.end() && i->key == key;
    if (there && value)
        i->value = std::move(value);
    else if (there)
        m->entries.erase(i);
    else if (value)
        m->entries.insert(i, {key, std::move(value)});
    return m;
}

} // namespace

local_key new_local_key() noexcept
{
    static constinit std::atomic<local_key> next = 1;
    return next.fetch_add(1, std::memory_order_relaxed);
}

locals_ptr share_locals() noexcept
{
    return locals_in_use() ? owner().locals() : nullptr;
}

local_ptr find_local(local_key key) noexcept
{
    return locals_in_use() ? look_up(owner().locals().get(), key) : nullptr;
}

local_ptr set_local(local_key key, local_ptr value)
{
    any_locals.store(true, std::memory_order_relaxed);
    context_node& node = owner();
    local_ptr before = look_up(node.locals().get(), key);
    // The old values end behind this, as their destructors may do anything.
    locals_ptr const old = node.set_locals(changed(node.locals().get(), key, std::move(value)));
    return before;
}

std::uint64_t locals_owner()
{
    return owner().id();
}

locals_ptr locals_scope::swap(locals_ptr other) noexcept
{
    return owner().set_locals(std::move(other));
}

} // namespace polyloop::detail
