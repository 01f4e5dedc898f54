// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_OPTIONS_HPP
#define POLYLOOP_EXAMPLE_OPTIONS_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
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
    unsigned rounds = 0;
    seconds duration{};                // of all rounds together
    seconds warmup{};                  // of each
    std::vector<std::string> policies; // to serve: one, or none for POLYLOOP_POLICY's
    std::vector<style> styles;
    std::string json, html; // empty for none, - for the standard output
    std::uint16_t port = 0;
};

/// Throws `bad_option`.
options parse_options(int argc, char const* const* argv);

void print_help(std::ostream&);

#endif
