// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_EXAMPLE_COMMAND_LINE_HPP
#define POLYLOOP_EXAMPLE_COMMAND_LINE_HPP

// How the programs of this directory read their options, and how they fail.

#include <polyloop/error.hpp>
#include <polyloop/server/server.hpp>

#include <boost/program_options.hpp>

#include <charconv>
#include <exception>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>

/// Its text shows the offending word and what is known.
struct bad_option : std::runtime_error
{
    using runtime_error::runtime_error;
};

/// Options by their whole names, and no other words.
inline boost::program_options::variables_map read_options(int argc,
    char const* const* argv, boost::program_options::options_description const& known)
{
    namespace po = boost::program_options;
    std::string names;
    for (auto const& o : known.options())
        names += (names.empty() ? "--" : ", --") + o->long_name();
    auto refuse = [&](std::string const& word, char const* why) {
        throw bad_option('"' + word + "\": " + why + "; known are " + names);
    };
    po::variables_map given;
    try
    {
        int const exact =
            po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
        auto const parsed =
            po::command_line_parser(argc, argv).options(known).style(exact).run();
        for (auto const& o : parsed.options)
            if (o.string_key.empty())
                refuse(o.value.front(), "not an option");
        po::store(parsed, given);
    }
    catch (po::unknown_option const& e)
    {
        refuse(e.get_option_name(), "no such option");
    }
    catch (po::error const& e)
    {
        throw bad_option(e.what());
    }
    return given;
}

inline std::string quoted(std::string const& name, std::string const& word)
{
    return "--" + name + " \"" + word + '"';
}

/// An option that was read as a text.
template <class T>
T number(boost::program_options::variables_map const& given, std::string const& name,
    T least, T most)
{
    std::string const& word = given[name].as<std::string>();
    T n{};
    auto const [end, error] = std::from_chars(word.data(), word.data() + word.size(), n);
    bool const whole = error == std::errc() && end == word.data() + word.size();
    if (!whole || !(n >= least && n <= most))
    {
        std::ostringstream what;
        what << quoted(name, word) << ": must be a "
             << (std::is_integral_v<T> ? "whole number" : "number") << " from " << least
             << " to " << most;
        throw bad_option(what.str());
    }
    return n;
}

/// `start`, which is to start a server there. The system does not say where it failed.
template <class F>
polyloop::server listening(polyloop::tcp::endpoint const& where, F start)
try
{
    return start();
}
catch (boost::system::system_error const& e)
{
    std::ostringstream what;
    what << "cannot listen on " << where << ": " << e.code().message();
    throw std::runtime_error(what.str());
}

/// Says what went wrong; gives the exit code: 2 if it is an option or a policy's text.
inline int failed(char const* program, std::exception const& e)
{
    std::cerr << program << ": " << e.what() << '\n';
    auto const* const coded = dynamic_cast<boost::system::system_error const*>(&e);
    bool const bad_text = coded && coded->code() == polyloop::error::bad_config;
    return bad_text || dynamic_cast<bad_option const*>(&e) ? 2 : 1;
}

#endif
