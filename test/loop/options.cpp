// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.options

#include <polyloop/loop/options.hpp>

#include <polyloop/loop/event_loop.hpp>

#include "support/environment.hpp"
#include "support/error.hpp"
#include "support/loops.hpp"

#include <boost/test/unit_test.hpp>

#include <string>
#include <utility>

using namespace polyloop;
using namespace std::chrono_literals;
using boost::system::system_error;
using test::fails_with;

BOOST_AUTO_TEST_CASE(each_unusable_value_is_refused_and_named)
{
    std::pair<loop_options, char const*> const bad[] = {
        {{.concurrency = 0}, "concurrency"},
        {{.spin = -1ns}, "spin"},
        {{.concurrency = 2, .locking = false}, "locking"},
        {{.slow_callback = -1ns}, "slow_callback"},
        {{.stacks = {.size = 0}}, "stacks.size"},
        {{.stacks = {.size = 16 * 1024 - 1}}, "stacks.size"},
        {{.stacks = {.size = (std::size_t(1) << 30) + 1}}, "stacks.size"},
        {{.stacks = {.size = 64 * 1024, .touch = 64 * 1024 + 1}}, "stacks.touch"},
        {{.stacks = {.idle = -1ns}}, "stacks.idle"},
    };
    for (auto const& [options, word] : bad)
    {
        BOOST_CHECK_EXCEPTION(event_loop{options}, system_error,
                              fails_with(error::bad_config, {word}));
        boost::asio::io_context io;
        BOOST_CHECK_EXCEPTION((event_loop{io, options}), system_error,
                              fails_with(error::bad_config, {word}));
    }
}

BOOST_AUTO_TEST_CASE(the_limits_themselves_are_usable)
{
    event_loop loop({.concurrency = 1,
                     .spin = 0ns,
                     .locking = false,
                     .slow_callback = 0ns,
                     .stacks = {.size = 16 * 1024, .touch = 16 * 1024, .keep = 0, .idle = 0ns}});
    bool ran = false;
    loop.call_soon([&] {
        ran = true;
        loop.stop();
    });
    loop.run_forever();
    BOOST_TEST(ran);
}

BOOST_AUTO_TEST_CASE(a_loop_keeps_its_options_and_its_name)
{
    event_loop const loop({.name = "mine", .concurrency = 3, .slow_callback = 7ms});
    BOOST_TEST(loop.name() == "mine");
    BOOST_TEST(loop.options().name == "mine");
    BOOST_TEST(loop.options().concurrency == 3u);
    BOOST_TEST(bool(loop.options().slow_callback == 7ms));
    event_loop const a, b;
    BOOST_TEST(!a.name().empty());
    BOOST_TEST(a.name() != b.name());
}

BOOST_AUTO_TEST_CASE(without_locks_call_soon_threadsafe_is_refused)
{
    event_loop loop({.name = "lone", .locking = false});
    BOOST_CHECK_EXCEPTION(loop.call_soon_threadsafe([] {}), system_error,
                          fails_with(error::option_unsupported, {"lone", "locking"}));
    bool ran = false;
    loop.call_later(1ms, [&] {
        ran = true;
        loop.stop();
    });
    loop.run_forever();
    BOOST_TEST(ran);
}

BOOST_AUTO_TEST_CASE(a_spinning_loop_works_like_any_other)
{
    event_loop loop({.spin = 200us});
    {
        test::running const threads(loop);
        for (int i = 0; i != 50; ++i)
        {
            std::latch done(2);
            loop.call_soon_threadsafe([&] { done.count_down(); });
            // Longer than it spins: it blocks, and must be woken.
            loop.call_later(1ms, [&] { done.count_down(); });
            done.wait();
        }
    }
    loop.stop();
    loop.run_forever();
}

// -- debug ----------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(S79_debug_comes_from_POLYLOOP_DEBUG)
{
    std::pair<char const*, bool> const cases[] = {
        {nullptr, false}, {"", false},   {"0", false},   {"off", false},
        {"false", false}, {"1", true},   {"on", true},   {"true", true},
        {"yes", true},
    };
    for (auto const& [text, expected] : cases)
        BOOST_TEST_CONTEXT("POLYLOOP_DEBUG=" << (text ? text : "(unset)"))
        {
            test::environment const set("POLYLOOP_DEBUG", text);
            event_loop loop;
            BOOST_TEST(loop.get_debug() == expected);
            loop.close(); // an unclosed one is reported in debug mode
        }
}

BOOST_AUTO_TEST_CASE(
    debug_in_the_options_wins_and_the_variable_is_read_when_a_loop_is_made)
{
    test::environment const set("POLYLOOP_DEBUG", "1");
    event_loop off({.debug = false});
    BOOST_TEST(!off.get_debug());
    event_loop on;
    {
        test::environment const unset("POLYLOOP_DEBUG", nullptr);
        BOOST_TEST(on.get_debug());
        event_loop asked({.debug = true});
        BOOST_TEST(asked.get_debug());
        asked.close();
    }
    on.close();
}

BOOST_AUTO_TEST_CASE(S83_set_debug_on_a_running_loop)
{
    event_loop loop({.debug = false});
    bool before = true, after = false;
    loop.call_soon([&] {
        before = loop.get_debug();
        loop.set_debug(true);
        after = loop.get_debug();
    });
    test::run_ready(loop);
    BOOST_TEST(!before);
    BOOST_TEST(after);
    loop.close();
}

BOOST_AUTO_TEST_CASE(S81_a_slow_callback_is_reported_in_debug_mode)
{
    for (bool debug : {false, true})
        BOOST_TEST_CONTEXT("debug " << debug)
        {
            event_loop loop({.debug = debug, .slow_callback = 1ms});
            test::reports reports(loop);
            loop.call_soon([&] {
                auto const end = std::chrono::steady_clock::now() + 2ms;
                while (std::chrono::steady_clock::now() < end)
                    continue;
            });
            test::run_ready(loop);
            loop.close();
            BOOST_TEST(reports.size() == (debug ? 1u : 0u));
        }
}
