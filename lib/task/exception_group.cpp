// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/task/exception_group.hpp>

#include <polyloop/error.hpp>
#include <polyloop/loop/exception_context.hpp>

#include <algorithm>
#include <utility>

namespace polyloop {

struct exception_group::content
{
    std::string text;
    std::vector<std::exception_ptr> errors;
};

namespace {

std::string describe(std::string const& message, std::vector<std::exception_ptr> const& errors)
{
    std::string out = message + " (" + std::to_string(errors.size()) +
                      (errors.size() == 1 ? " error)" : " errors)");
    for (std::size_t i = 0; i != errors.size(); ++i)
        out += (i == 0 ? ": [" : ", [") + std::to_string(i + 1) + "] " +
               describe_exception(errors[i]);
    return out;
}

void add_leaves(std::vector<std::exception_ptr>& out, std::exception_ptr const& e)
{
    try
    {
        std::rethrow_exception(e);
    }
    catch (exception_group const& group)
    {
        for (std::exception_ptr const& inner : group.exceptions())
            add_leaves(out, inner);
    }
    catch (...)
    {
        out.push_back(e);
    }
}

} // namespace

exception_group::exception_group(std::string const& message,
                                 std::vector<std::exception_ptr> errors)
{
    if (errors.empty() || std::ranges::find(errors, nullptr) != errors.end())
        detail::throw_error(error::bad_config,
                            "an exception_group needs errors, and none of them null");
    std::string text = describe(message, errors);
    content_ = std::make_shared<content const>(content{std::move(text), std::move(errors)});
}

exception_group::~exception_group() = default;

char const* exception_group::what() const noexcept
{
    return content_->text.c_str();
}

std::span<std::exception_ptr const> exception_group::exceptions() const noexcept
{
    return content_->errors;
}

std::vector<std::exception_ptr> exception_group::leaves() const
{
    std::vector<std::exception_ptr> out;
    for (std::exception_ptr const& e : exceptions())
        add_leaves(out, e);
    return out;
}

} // namespace polyloop
