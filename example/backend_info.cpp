// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// What this program's loops wait with, why, and what the kernel says to it.

#include "command_line.hpp"

#include <polyloop.hpp>

#include <boost/version.hpp>

#include <iostream>
#include <memory>

namespace {

template <class Policy>
std::string verdict()
try
{
    Policy const accepted;
    return "accepted";
}
catch (boost::system::system_error const& e)
{
    return std::string("refused, ") + e.what();
}

std::string a_loop()
try
{
    return polyloop::run([] { return "\"" + polyloop::get_running_loop().name() + "\" ran"; },
        {.policy = std::make_shared<polyloop::default_policy>()});
}
catch (boost::system::system_error const& e)
{
    return e.what();
}

int print()
{
    polyloop::backend_info const info = polyloop::describe_backend();
    std::cout << "backend:   " << info.which << " ("
              << (is_proactor(info.which) ? "a proactor" : "a selector") << ")\n"
              << "because:   " << info.reason << '\n'
              << "available: " << (info.available ? "yes" : "no") << '\n'
              << "known:    ";
    for (polyloop::backend const b : polyloop::known_backends())
        std::cout << ' ' << b;
    std::cout << "\nselector:  " << verdict<polyloop::selector_policy>()
              << "\nproactor:  " << verdict<polyloop::proactor_policy>()
              << "\na loop:    " << a_loop() << '\n'
              << "Boost:     " << BOOST_LIB_VERSION << std::endl;
    return info.available ? 0 : 1;
}

} // namespace

int main(int argc, char** argv)
try
{
    boost::program_options::options_description known("Usage: backend_info\n\nOptions");
    known.add_options()("help", "print this text");
    if (read_options(argc, argv, known).count("help"))
    {
        std::cout << known;
        return 0;
    }
    return print();
}
catch (std::exception const& e)
{
    return failed("backend_info", e);
}
