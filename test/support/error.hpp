// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#ifndef POLYLOOP_TEST_SUPPORT_ERROR_HPP
#define POLYLOOP_TEST_SUPPORT_ERROR_HPP

#include <polyloop/error.hpp>

#include <initializer_list>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace polyloop {

/// So that BOOST_TEST can print what it compares.
inline std::ostream& boost_test_print_type(std::ostream& out, error e)
{
    return out << make_error_code(e);
}

} // namespace polyloop

namespace test {

/// For BOOST_CHECK_EXCEPTION: an error with this code, whose text has all of the words.
class fails_with
{
  public:
      fails_with(boost::system::error_code code,
                 std::initializer_list<std::string_view> words = {})
          : code_(code)
          , words_(words.begin(), words.end())
      {
    }

    fails_with(polyloop::error e, std::initializer_list<std::string_view> words = {})
        : fails_with(make_error_code(e), words)
    {
    }

    bool operator()(boost::system::system_error const& e) const
    {
        if (e.code() != code_)
        {
            std::cerr << "code " << e.code() << ", expected " << code_ << '\n';
            return false;
        }
        std::string_view const text = e.what();
        for (std::string const& w : words_)
            if (text.find(w) == text.npos)
            {
                std::cerr << "\"" << text << "\" does not say \"" << w << "\"\n";
                return false;
            }
        return true;
    }

  private:
    boost::system::error_code code_;
    std::vector<std::string> words_;
};

/// The code of what `f` throws, to be carried out of another thread; none if it throws
/// nothing.
template <class F>
boost::system::error_code code_of(F&& f)
{
    try
    {
        std::forward<F>(f)();
    }
    catch (boost::system::system_error const& e)
    {
        return e.code();
    }
    return {};
}

} // namespace test

#endif
