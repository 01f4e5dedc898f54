// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_RESULT_FILE_HPP
#define POLYLOOP_EXAMPLE_RESULT_FILE_HPP

#include <filesystem>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <system_error>

/// What is written takes the place of the file of that name when it is whole, so that one
/// of an earlier run is there until then. - is the standard output.
class result_file
{
public:
    /// Throws where it cannot be written. An empty name stands for no file.
    explicit result_file(std::string const& name)
        : name_(name)
    {
        if (name_.empty() || name_ == "-")
            return;
        // Through a link to the file itself; and what is no plain file, such as a pipe, is
        // written as it is.
        std::error_code ec;
        if (auto const real = std::filesystem::canonical(name_, ec); !ec)
            name_ = real.string();
        bool const in_place = std::filesystem::exists(name_, ec) &&
            !std::filesystem::is_regular_file(name_, ec);
        written_ = in_place ? name_ : name_ + ".tmp";
        file_.open(written_);
        if (!file_)
            throw std::runtime_error("cannot write " + name);
    }

    ~result_file()
    {
        std::error_code ignored;
        if (is_apart())
            std::filesystem::remove(written_, ignored);
    }

    result_file(result_file const&) = delete;
    result_file& operator=(result_file const&) = delete;

    /// Writes by `write(std::ostream&)`, once.
    template <class F>
    void fill(F write)
    {
        if (name_.empty())
            return;
        std::ostream& out = name_ == "-" ? std::cout : file_;
        write(out);
        if (!out.flush())
            throw std::runtime_error("cannot write all of " + name_);
        if (is_apart())
            std::filesystem::rename(written_, name_);
        written_ = name_;
    }

private:
    bool is_apart() const { return !written_.empty() && written_ != name_; }

    std::string name_;
    std::string written_; // the name while it is not whole
    std::ofstream file_;
};

#endif
