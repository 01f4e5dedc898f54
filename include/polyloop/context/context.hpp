// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_CONTEXT_CONTEXT_HPP
#define POLYLOOP_CONTEXT_CONTEXT_HPP

#include <polyloop/config.hpp>

#include <compare>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>

namespace polyloop {

/// What kind of thing is running: what asyncio calls "the current thread" is one
/// of three in C++.
enum class context_kind : std::uint8_t
{
    thread,
    strand,
    fiber ///< stackful, or a coroutine task
};

POLYLOOP_DECL std::string_view to_string(context_kind) noexcept;
POLYLOOP_DECL std::ostream& operator<<(std::ostream&, context_kind);

/// The identity of a thread, a strand or a fiber: a value that can be kept after
/// the thing itself has ended.
///
/// Contexts compare and hash by their id alone.
///
/// Thread safety: distinct objects safe; shared objects safe to read.
class context
{
  public:
    /// Never 0 and never used again in this process.
    using id_type = std::uint64_t;

    context(context_kind kind, id_type id, std::string name)
        : id_(id), name_(std::move(name)), kind_(kind)
    {
    }

    context_kind kind() const noexcept
    {
        return kind_;
    }

    id_type id() const noexcept
    {
        return id_;
    }

    /// The name it was given, or one made of its kind and id ("fiber-17").
    std::string_view name() const noexcept
    {
        return name_;
    }

    friend bool operator==(context const& a, context const& b) noexcept
    {
        return a.id_ == b.id_;
    }

    friend std::strong_ordering operator<=>(context const& a, context const& b) noexcept
    {
        return a.id_ <=> b.id_;
    }

    /// Prints as `fiber 17 "reader"`.
    POLYLOOP_DECL friend std::ostream& operator<<(std::ostream&, context const&);

  private:
    id_type id_;
    std::string name_;
    context_kind kind_;
};

namespace this_context {

/// Who is running now: the fiber if one is, else the strand whose handler is, else
/// the thread.
///
/// Right inside nested handlers, after an exception, and after a fiber was resumed
/// by another thread. Neither suspends nor blocks; throws only `std::bad_alloc`.
POLYLOOP_DECL context current();

/// The kind of `current()`, without its id and name.
POLYLOOP_DECL context_kind kind() noexcept;

/// Names the calling thread, for messages and for `current()`. The operating system's name
/// of the thread is left alone.
POLYLOOP_DECL void set_thread_name(std::string name);

} // namespace this_context
} // namespace polyloop

template <>
struct std::hash<polyloop::context>
{
    std::size_t operator()(polyloop::context const& c) const noexcept
    {
        return std::hash<polyloop::context::id_type>()(c.id());
    }
};

#endif
