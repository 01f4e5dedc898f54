// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_CONTEXT_DETAIL_LOCALS_HPP
#define POLYLOOP_CONTEXT_DETAIL_LOCALS_HPP

#include <polyloop/context/detail/one_thread.hpp>
#include <polyloop/config.hpp>

#include <boost/smart_ptr/intrusive_ptr.hpp>

#include <atomic>
#include <cstdint>
#include <utility>

namespace polyloop::detail {

/// What a `fiber_local` holds in some contexts; never changed once it is there.
class local_value
{
  public:
    local_value() = default;
    local_value(local_value const&) = delete;
    local_value& operator=(local_value const&) = delete;
    virtual ~local_value() = default;

    friend void intrusive_ptr_add_ref(local_value const* v) noexcept
    {
        v->refs_.add();
    }
    friend void intrusive_ptr_release(local_value const* v) noexcept
    {
        if (v->refs_.drop())
            delete v;
    }

  private:
    mutable reference_count refs_;
};

using local_ptr = boost::intrusive_ptr<local_value const>;
using local_key = std::uint64_t;

/// The values of a context: shared by those who inherited them, and copied by who sets one.
class local_map;
POLYLOOP_DECL void intrusive_ptr_add_ref(local_map const* m) noexcept;
POLYLOOP_DECL void intrusive_ptr_release(local_map const* m) noexcept;
using locals_ptr = boost::intrusive_ptr<local_map const>;

POLYLOOP_DECL extern std::atomic<bool> any_locals;

/// Whether anything was ever set in this process: what those pay who use none of it.
inline bool locals_in_use() noexcept
{
    return any_locals.load(std::memory_order_relaxed);
}

POLYLOOP_DECL local_key new_local_key() noexcept;

/// The values of whoever runs now, the task or else the thread; null where none is set.
POLYLOOP_DECL locals_ptr share_locals() noexcept;

/// One of them; null where it is not set.
POLYLOOP_DECL local_ptr find_local(local_key key) noexcept;

/// Sets one, or takes it away where `value` is null; returns what was there.
POLYLOOP_DECL local_ptr set_local(local_key key, local_ptr value);

/// The id of the context whose values those are.
POLYLOOP_DECL std::uint64_t locals_owner();

/// Other values for whoever runs now. Not for scopes in which a fiber may be suspended.
class locals_scope
{
  public:
    explicit locals_scope(locals_ptr locals) noexcept : saved_(swap(std::move(locals)))
    {
    }
    locals_scope(locals_scope const&) = delete;
    locals_scope& operator=(locals_scope const&) = delete;
    ~locals_scope()
    {
        swap(std::move(saved_));
    }

  private:
    POLYLOOP_DECL static locals_ptr swap(locals_ptr other) noexcept;

    locals_ptr saved_;
};

} // namespace polyloop::detail

#endif
