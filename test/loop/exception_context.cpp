// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.exception_context

#include <polyloop/loop/exception_context.hpp>

#include <polyloop/loop/event_loop.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/standard_error.hpp"

#include <boost/asio/post.hpp>
#include <boost/test/unit_test.hpp>

#include <stdexcept>
#include <string>

using namespace polyloop;

namespace {

bool says(std::string const& text, char const* word)
{
    if (text.find(word) != text.npos)
        return true;
    std::cerr << "\"" << text << "\" does not say \"" << word << "\"\n";
    return false;
}

std::exception_ptr thrown(char const* text)
{
    return std::make_exception_ptr(std::runtime_error(text));
}

} // namespace

BOOST_AUTO_TEST_CASE(S45_what_a_callback_throws_goes_to_the_handler_and_the_loop_goes_on)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            event_loop* told = nullptr;
            std::string what;
            loop.set_exception_handler([&](event_loop& l, exception_context const& c) {
                told = &l;
                what = describe_exception(c.exception);
                BOOST_TEST(!c.message.empty());
                BOOST_TEST(c.task.empty());
            });
            bool next = false;
            loop.call_soon([] { throw std::runtime_error("first"); });
            loop.call_soon([&] { next = true; });
            loop.call_soon([&] { loop.stop(); });
            loop.run_forever();
            BOOST_TEST(told == &loop);
            BOOST_TEST(says(what, "first"));
            BOOST_TEST(next);
        }
}

BOOST_AUTO_TEST_CASE(S45_what_a_timer_throws_goes_to_the_handler)
{
    event_loop loop;
    test::reports reports(loop);
    loop.call_later(std::chrono::milliseconds(1),
                    [] { throw std::runtime_error("late"); });
    loop.call_later(std::chrono::milliseconds(2), [&] { loop.stop(); });
    loop.run_forever();
    BOOST_REQUIRE(reports.size() == 1u);
    BOOST_TEST(says(reports.thrown()[0], "late"));
}

BOOST_AUTO_TEST_CASE(
    S45_what_a_foreign_handler_throws_inside_run_forever_goes_to_the_handler)
{
    for (unsigned concurrency : {1u, 2u})
        for (bool spin : {false, true})
            BOOST_TEST_CONTEXT("concurrency " << concurrency << ", spin " << spin)
            {
                event_loop loop({.concurrency = concurrency,
                                 .spin = std::chrono::microseconds(spin ? 50 : 0)});
                test::reports reports(loop);
                for (int i = 0; i != 3; ++i)
                    boost::asio::post(loop.io_context(),
                                      [] { throw std::runtime_error("foreign"); });
                boost::asio::post(loop.io_context(), [] { throw 42; });
                boost::asio::post(loop.io_context(), [&] { loop.stop(); });
                loop.run_forever();
                BOOST_TEST(reports.size() == 4u);
            }
}

BOOST_AUTO_TEST_CASE(S46_a_throwing_handler_falls_back_to_the_default_one)
{
    event_loop loop;
    loop.set_exception_handler([](event_loop&, exception_context const&) {
        throw std::logic_error("the handler's own");
    });
    bool survived = false;
    test::standard_error err;
    loop.call_soon([] { throw std::runtime_error("the callback's"); });
    loop.call_soon([&] { survived = true; });
    test::run_ready(loop);
    std::string const text = err.text();
    BOOST_TEST(survived);
    BOOST_TEST(says(text, "the handler's own"));
    BOOST_TEST(says(text, "the callback's"));
}

BOOST_AUTO_TEST_CASE(
    S46_the_handler_may_be_replaced_while_it_runs_and_an_empty_one_is_the_default)
{
    event_loop loop;
    int first = 0, second = 0;
    loop.set_exception_handler([&](event_loop& l, exception_context const&) {
        ++first;
        l.set_exception_handler([&](event_loop&, exception_context const&) { ++second; });
        ++first; // still alive
    });
    loop.call_exception_handler({"one"});
    loop.call_exception_handler({"two"});
    BOOST_TEST(first == 2);
    BOOST_TEST(second == 1);

    loop.set_exception_handler({});
    test::standard_error err;
    loop.call_exception_handler({"three", thrown("why"), "who"});
    std::string const text = err.text();
    BOOST_TEST(second == 1);
    for (char const* word : {"three", "why", "who"})
        BOOST_TEST(says(text, word));
}

BOOST_AUTO_TEST_CASE(the_default_handler_writes_one_line)
{
    test::standard_error err;
    default_exception_handler({"happened", thrown("the reason"), "reader"});
    default_exception_handler({"only a message"});
    std::string const text = err.text();
    BOOST_TEST(std::count(text.begin(), text.end(), '\n') == 2);
    for (char const* word : {"happened", "the reason", "reader", "only a message"})
        BOOST_TEST(says(text, word));
}

BOOST_AUTO_TEST_CASE(describe_exception_shows_the_text_the_type_and_the_code)
{
    BOOST_TEST(describe_exception(nullptr) == "");
    std::string text = describe_exception(thrown("because"));
    BOOST_TEST(says(text, "because"));
    BOOST_TEST(says(text, "runtime_error"));
    text = describe_exception(std::make_exception_ptr(
        boost::system::system_error(make_error_code(error::loop_closed), "here")));
    BOOST_TEST(says(text, "here"));
    BOOST_TEST(says(text, "polyloop"));
    BOOST_TEST(!describe_exception(std::make_exception_ptr(42)).empty());
}
