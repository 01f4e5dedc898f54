// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TEST_SUPPORT_ENVIRONMENT_HPP
#define POLYLOOP_TEST_SUPPORT_ENVIRONMENT_HPP

#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

namespace test {

/// An environment variable for a scope; null unsets it.
class environment
{
  public:
    environment(std::string name, char const* value) : name_(std::move(name))
    {
        if (char const* const old = std::getenv(name_.c_str()))
            old_ = old;
        set(value);
    }

    environment(environment const&) = delete;
    environment& operator=(environment const&) = delete;

    ~environment()
    {
        set(old_ ? old_->c_str() : nullptr);
    }

  private:
    void set(char const* value)
    {
        if (value)
            ::setenv(name_.c_str(), value, 1);
        else
            ::unsetenv(name_.c_str());
    }

    std::string name_;
    std::optional<std::string> old_;
};

} // namespace test

#endif
