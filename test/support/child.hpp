// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TEST_SUPPORT_CHILD_HPP
#define POLYLOOP_TEST_SUPPORT_CHILD_HPP

// For tests of what only a whole process shows: signals, forks, the end of `main`. The program
// starts itself anew to be a child, which knows nothing of Boost.Test. To be included once in a
// program, in place of Boost.Test's own main: BOOST_TEST_NO_MAIN is to be defined before.

#include "support/process.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace test {

using child_arguments = std::vector<std::string>;

inline std::map<std::string, int (*)(child_arguments const&)>& children()
{
    static std::map<std::string, int (*)(child_arguments const&)> all;
    return all;
}

/// A function that a child may be. What it throws is said on the standard error, and gives 99.
struct child
{
    child(std::string name, int (*f)(child_arguments const&))
    {
        children().emplace(std::move(name), f);
    }
};

/// The process that runs the child of this name.
class child_process : public process
{
  public:
    explicit child_process(std::string const& name, child_arguments args = {},
                           environment more = {})
        : process(std::filesystem::read_symlink("/proc/self/exe"), with(name, std::move(args)),
                  for_forks(std::move(more)))
    {
    }

  private:
    /// The thread sanitizer's own answer to threads in a child of several is to end it.
    static environment for_forks(environment more)
    {
        char const* const given = std::getenv("TSAN_OPTIONS");
        more.try_emplace("TSAN_OPTIONS", std::string(given ? given : "") + " die_after_fork=0");
        return more;
    }
    static child_arguments with(std::string const& name, child_arguments args)
    {
        args.insert(args.begin(), {"child", name});
        return args;
    }
};

/// A line that the parent reads.
inline void say(std::string const& line)
{
    std::cout << line + '\n' << std::flush; // in one, as several threads may speak
}

} // namespace test

int main(int argc, char** argv)
{
    if (argc < 3 || argv[1] != std::string("child"))
        return boost::unit_test::unit_test_main(&init_unit_test, argc, argv);
    try
    {
        return test::children().at(argv[2])({argv + 3, argv + argc});
    }
    catch (std::exception const& e)
    {
        std::cerr << "child " << argv[2] << ": " << e.what() << '\n';
        return 99;
    }
}

#endif
