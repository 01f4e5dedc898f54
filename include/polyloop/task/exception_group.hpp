// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TASK_EXCEPTION_GROUP_HPP
#define POLYLOOP_TASK_EXCEPTION_GROUP_HPP

#include <polyloop/config.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace polyloop {

/// Several exceptions thrown as one: what a `task_group` ends with when tasks of it failed.
///
/// None is lost or merged: each is kept as it was thrown, and groups within groups stay groups.
/// Copies share what they hold. Thread safety: distinct objects safe.
class BOOST_SYMBOL_VISIBLE exception_group : public std::exception
{
  public:
    /// Throws `error::bad_config` where there is no error, or a null one.
    POLYLOOP_DECL exception_group(std::string const& message,
                                  std::vector<std::exception_ptr> errors);

    exception_group(exception_group const&) noexcept = default;
    exception_group& operator=(exception_group const&) noexcept = default;
    POLYLOOP_DECL ~exception_group() override;

    /// The message, the number of errors, and the text of each.
    POLYLOOP_DECL char const* what() const noexcept override;

    /// In the order in which they were met; at least one.
    POLYLOOP_DECL std::span<std::exception_ptr const> exceptions() const noexcept;

    std::size_t size() const noexcept
    {
        return exceptions().size();
    }

    /// The errors of this group and of those within it, without the groups themselves.
    POLYLOOP_DECL std::vector<std::exception_ptr> leaves() const;

  private:
    struct content;

    std::shared_ptr<content const> content_;
};

} // namespace polyloop

#endif
