// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_LOOP_DETAIL_EXECUTOR_BASE_HPP
#define POLYLOOP_LOOP_DETAIL_EXECUTOR_BASE_HPP

#include <polyloop/loop/detail/loop_core.hpp>

#include <boost/asio/execution.hpp>
#include <boost/asio/execution_context.hpp>

#include <cstdint>
#include <utility>

namespace polyloop::detail {

/// The properties that Asio asks of an executor, for a `Derived` that has
/// `loop_core& core() const` and `execute(F&&) const`, asks `never_blocks()`, and
/// is cheap to copy.
///
/// With `Tracks` a copy that was required with `outstanding_work.tracked` keeps the `io_context`
/// from running out of work; its copying members are then the `Derived`'s to write.
template <class Derived, bool Tracks = true>
class executor_base
{
    static constexpr unsigned never = 1;
    static constexpr unsigned tracked = 2;

    static constexpr unsigned changed(unsigned bits, asio::execution::blocking_t::never_t)
    {
        return bits | never;
    }
    static constexpr unsigned changed(unsigned bits, asio::execution::blocking_t::possibly_t)
    {
        return bits & ~never;
    }
    static constexpr unsigned changed(unsigned bits,
                                      asio::execution::outstanding_work_t::tracked_t)
        requires Tracks
    {
        return bits | tracked;
    }
    static constexpr unsigned changed(unsigned bits,
                                      asio::execution::outstanding_work_t::untracked_t)
        requires Tracks
    {
        return bits & ~tracked;
    }
    static constexpr unsigned changed(unsigned bits, asio::execution::relationship_t::fork_t)
    {
        return bits;
    }
    static constexpr unsigned changed(unsigned bits,
                                      asio::execution::relationship_t::continuation_t)
    {
        return bits;
    }

  public:
    template <class Property>
        requires requires(Property p) { executor_base::changed(0u, p); }
    Derived require(Property p) const&
    {
        return Derived(self()).with(changed(bits_, p));
    }
    /// Asio asks for one after the other; a temporary needs no second reference for that.
    template <class Property>
        requires requires(Property p) { executor_base::changed(0u, p); }
    Derived require(Property p) &&
    {
        return static_cast<Derived&>(*this).with(changed(bits_, p));
    }

    asio::execution_context& query(asio::execution::context_t) const noexcept
    {
        return self().core().io();
    }
    static constexpr asio::execution::mapping_t query(asio::execution::mapping_t) noexcept
    {
        return asio::execution::mapping.thread;
    }
    asio::execution::blocking_t query(asio::execution::blocking_t) const noexcept
    {
        return never_blocks() ? asio::execution::blocking_t(asio::execution::blocking.never)
                              : asio::execution::blocking_t(asio::execution::blocking.possibly);
    }
    asio::execution::outstanding_work_t
    query(asio::execution::outstanding_work_t) const noexcept
        requires Tracks
    {
        return bits_ & tracked
                   ? asio::execution::outstanding_work_t(asio::execution::outstanding_work.tracked)
                   : asio::execution::outstanding_work_t(
                         asio::execution::outstanding_work.untracked);
    }

  protected:
    executor_base() noexcept = default;

    bool never_blocks() const noexcept
    {
        return bits_ & never;
    }

    // For the copying and destroying members of Derived.
    void track() const noexcept
    {
        if (bits_ & tracked)
            self().core().work_started();
    }
    void untrack() const noexcept
    {
        if (bits_ & tracked)
            self().core().work_finished();
    }
    void copy_bits(executor_base const& other) noexcept
    {
        bits_ = other.bits_;
    }
    std::uint8_t take_bits() noexcept
    {
        return std::exchange(bits_, std::uint8_t(0));
    }
    void set_bits(std::uint8_t bits) noexcept
    {
        bits_ = bits;
    }

  private:
    Derived const& self() const noexcept
    {
        return static_cast<Derived const&>(*this);
    }

    /// Moves out with other bits.
    Derived with(unsigned bits)
    {
        unsigned const before = bits_;
        Derived d(std::move(static_cast<Derived&>(*this)));
        d.set_bits(static_cast<std::uint8_t>(bits));
        if ((before ^ bits) & tracked)
            bits & tracked ? d.core().work_started() : d.core().work_finished();
        return d;
    }

    std::uint8_t bits_ = 0;
};

} // namespace polyloop::detail

#endif
