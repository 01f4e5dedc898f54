// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_OPTIONS_HPP
#define POLYLOOP_EXAMPLE_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

enum class style
{
    fiber,
    coroutine
};

std::string_view to_string(style);

using seconds = std::chrono::duration<double>;

struct options
{
    enum class job
    {
        compare,
        serve,
        load, // the process that drives a server: not for people
        help
    };

    job what = job::compare;
    unsigned connections = 0;
    unsigned client_threads = 0;
    std::size_t size = 0;
    seconds duration{};
    seconds warmup{};
    std::vector<std::string> policies; // to serve: one, or none for POLYLOOP_POLICY's
    std::vector<style> styles;
    std::string json; // empty for none, - for the standard output
    std::string html; // empty for none
    std::uint16_t port = 0;
};

/// Its text shows the offending word and what is known.
struct bad_option : std::runtime_error
{
    using runtime_error::runtime_error;
};

options parse_options(int argc, char const* const* argv);

void print_help(std::ostream&);

#endif
