// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include <polyloop/loop/exception_context.hpp>

#include <boost/core/demangle.hpp>
#include <boost/system/system_error.hpp>

#include <cstdio>
#include <typeinfo>

namespace polyloop {

std::string describe_exception(std::exception_ptr const& e)
{
    if (!e)
        return {};
    try
    {
        std::rethrow_exception(e);
    }
    catch (boost::system::system_error const& x)
    {
        std::string text = x.what();
        // Boost's own text names the code already.
        std::string const code = x.code().to_string();
        if (text.find(code) == text.npos)
            text += " [" + code + "]";
        return text;
    }
    catch (std::exception const& x)
    {
        return boost::core::demangle(typeid(x).name()) + ": " + x.what();
    }
    catch (...)
    {
        return "an exception that is no std::exception";
    }
}

std::string describe(exception_context const& c)
{
    std::string line = c.message;
    if (!c.task.empty())
        line += " in task \"" + c.task + '"';
    if (c.took != c.took.zero())
        line += ", " + std::to_string(std::chrono::duration<double>(c.took).count()) + " s long";
    if (!c.origin.empty())
        line += ", made at " + c.origin;
    if (!c.waits_for.empty())
        line += ", waiting for " + c.waits_for;
    if (c.exception)
        line += ": " + describe_exception(c.exception);
    return line;
}

void default_exception_handler(exception_context const& c) noexcept
{
    try
    {
        std::string const line = "polyloop: " + describe(c) + '\n';
        // One write, so that reports of several threads do not mix.
        std::fwrite(line.data(), 1, line.size(), stderr);
    }
    catch (...)
    {
        std::fputs("polyloop: out of memory while an error was reported\n", stderr);
    }
}

} // namespace polyloop
