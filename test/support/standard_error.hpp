// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TEST_SUPPORT_STANDARD_ERROR_HPP
#define POLYLOOP_TEST_SUPPORT_STANDARD_ERROR_HPP

#include <cstddef>
#include <cstdio>
#include <string>

#include <unistd.h>

namespace test {

/// Catches what is written to the standard error until `text` is asked for.
class standard_error
{
  public:
    standard_error() : file_(std::tmpfile()), old_(::dup(STDERR_FILENO))
    {
        std::fflush(stderr);
        ::dup2(::fileno(file_), STDERR_FILENO);
    }

    standard_error(standard_error const&) = delete;
    standard_error& operator=(standard_error const&) = delete;

    ~standard_error()
    {
        put_back();
        std::fclose(file_);
    }

    std::string text()
    {
        put_back();
        std::string out;
        std::rewind(file_);
        char buffer[4096];
        while (std::size_t const n = std::fread(buffer, 1, sizeof buffer, file_))
            out.append(buffer, n);
        return out;
    }

  private:
    void put_back()
    {
        if (old_ == -1)
            return;
        std::fflush(stderr);
        ::dup2(old_, STDERR_FILENO);
        ::close(old_);
        old_ = -1;
    }

    std::FILE* file_;
    int old_;
};

} // namespace test

#endif
