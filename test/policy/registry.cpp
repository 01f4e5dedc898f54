// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE policy.registry

#include <polyloop/policy/registry.hpp>

#include <polyloop/policy/default_policy.hpp>
#include <polyloop/policy/pool_policy.hpp>
#include <polyloop/runner/runner.hpp>

#include "support/environment.hpp"
#include "support/error.hpp"
#include "support/policies.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

namespace {

std::size_t loops_of_a_run(char const* text)
{
    return run([] { return get_event_loop_policy()->loops().size(); },
               {.policy = make_policy(text)});
}

template <class Policy>
bool is(std::shared_ptr<event_loop_policy> const& p)
{
    return dynamic_cast<Policy*>(p.get());
}

} // namespace

// -- make_policy ----------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(every_name_makes_its_policy)
{
    BOOST_TEST(is<default_policy>(make_policy("default")));
    BOOST_TEST(is<strand_policy>(make_policy("strand")));
    BOOST_TEST(is<fiber_policy>(make_policy("fiber")));
    BOOST_TEST(is<shared_policy>(make_policy("shared")));
    BOOST_TEST(make_policy("fiber") != make_policy("fiber"));
    std::vector<std::string> const known = known_policies();
    BOOST_TEST(std::is_sorted(known.begin(), known.end()));
    for (char const* n : {"default", "selector", "proactor", "strand", "fiber", "shared"})
        BOOST_TEST(std::count(known.begin(), known.end(), n) == 1);
}

BOOST_AUTO_TEST_CASE(every_option_is_taken)
{
    BOOST_TEST(loops_of_a_run("fiber loops=3") == 3u);
    BOOST_TEST(loops_of_a_run("strand loops=2") == 2u);
    BOOST_TEST(loops_of_a_run("fiber") == usable_processors());
    BOOST_TEST(loops_of_a_run("strand") == usable_processors());
    BOOST_TEST(make_policy("shared loops=3")->new_event_loop()->options().concurrency ==
               3u);
    BOOST_TEST(make_policy("shared")->new_event_loop()->options().concurrency ==
               usable_processors());
    for (char const* strategy :
         {"round_robin", "least_tasks", "two_choices", "by_key", "same_loop"})
        for (char const* name : {"strand", "fiber"})
            BOOST_TEST(make_policy(std::string(name) + " placement=" + strategy));
    for (char const* flag : {"on", "off", "true", "false", "1", "0"})
        BOOST_TEST(make_policy(std::string("fiber pin=") + flag));
    BOOST_TEST(make_policy("fiber pin=on placement=by_key loops=1024")); // in any order
}

BOOST_AUTO_TEST_CASE(blanks_and_tabs_do_not_matter)
{
    for (char const* text : {"fiber loops=2", "  fiber   loops=2  ", "\tfiber\tloops=2\t",
                             " \t fiber \t loops=2"})
        BOOST_TEST(loops_of_a_run(text) == 2u);
}

BOOST_AUTO_TEST_CASE(each_kind_of_bad_text_shows_the_word_and_what_is_known)
{
    struct bad
    {
        std::string text;
        std::initializer_list<std::string_view> shown;
    };
    bad const all[] = {
        {"", {"empty", "default", "fiber", "shared", "strand", "selector", "proactor"}},
        {" \t ", {"empty", "default", "fiber"}},
        {"fibre", {"\"fibre\"", "default", "fiber", "shared", "strand"}},
        {"Fiber", {"\"Fiber\"", "fiber"}},
        {"loops=2", {"\"loops=2\"", "fiber"}},
        {"fiber loops=-1", {"\"loops=-1\"", "fiber", "from 1 to"}},
        {"fiber loops=0", {"\"loops=0\"", "from 1 to"}},
        {"fiber loops=1025", {"\"loops=1025\"", "1024"}},
        {"fiber loops=99999999999999999999", {"99999999999999999999", "from 1 to"}},
        {"fiber loops=2x", {"\"loops=2x\"", "from 1 to"}},
        {"fiber loops=+2", {"\"loops=+2\"", "from 1 to"}},
        {"fiber loops=2.5", {"\"loops=2.5\"", "from 1 to"}},
        {"fiber loops=0x2", {"\"loops=0x2\"", "from 1 to"}},
        {"fiber loops=", {"\"loops=\"", "key=value"}},
        {"fiber loops", {"\"loops\"", "key=value"}},
        {"fiber =2", {"\"=2\"", "key=value"}},
        {"fiber loops = 2", {"\"loops\"", "key=value"}},
        {"fiber fiber", {"\"fiber\"", "key=value"}},
        {"fiber loops=2 loops=2", {"\"loops=2\"", "twice"}},
        {"fiber loops=2 pin=on loops=3", {"\"loops=3\"", "twice"}},
        {"fiber pin=maybe", {"\"pin=maybe\"", "on", "off"}},
        {"fiber pin=ON", {"\"pin=ON\"", "on or off"}},
        {"fiber placement=nearest",
         {"\"placement=nearest\"", "round_robin", "least_tasks", "two_choices", "by_key",
          "same_loop"}},
        {"fiber colour=red", {"\"colour=red\"", "loops", "placement", "pin"}},
        {"fiber Loops=2", {"\"Loops=2\"", "loops"}},
        {"strand threads=2", {"\"threads=2\"", "strand", "loops"}},
        {"shared placement=by_key", {"\"placement=by_key\"", "shared", "loops", "pin"}},
        {"default loops=2", {"\"loops=2\"", "default", "no options"}},
        {std::string(test::name_of_this_kind) + " pin=on", {"\"pin=on\""}},
        {"fiber\nloops=2", {"fiber\nloops=2"}},
    };
    auto const in_force = get_event_loop_policy();
    for (bad const& b : all)
        BOOST_TEST_CONTEXT('"' << b.text << '"')
        {
            BOOST_CHECK_EXCEPTION((void)make_policy(b.text), system_error,
                                  fails_with(error::bad_config, b.shown));
            BOOST_TEST(get_event_loop_policy() == in_force);
        }
}

// -- register_policy ------------------------------------------------------------------

namespace {

class own_policy : public default_policy
{
  public:
    own_policy(unsigned s, bool f, std::string c) : size(s), fast(f), colour(std::move(c))
    {
    }
    unsigned const size;
    bool const fast;
    std::string const colour;
};

} // namespace

BOOST_AUTO_TEST_CASE(ones_own_policy_by_name_with_words)
{
    register_policy("own-policy_1", [](policy_words& w) {
        return std::make_shared<own_policy>(
            w.number("size", 7, 2, 9), w.flag("fast", true), w.word("colour", "red"));
    });
    auto const known = known_policies();
    BOOST_TEST(std::count(known.begin(), known.end(), "own-policy_1") == 1);
    BOOST_TEST(std::is_sorted(known.begin(), known.end()));

    auto p = std::dynamic_pointer_cast<own_policy>(make_policy("own-policy_1"));
    BOOST_REQUIRE(p);
    BOOST_TEST(p->size == 7u);
    BOOST_TEST(p->fast);
    BOOST_TEST(p->colour == "red");
    p = std::dynamic_pointer_cast<own_policy>(
        make_policy("own-policy_1 colour=blue=ish fast=off size=9"));
    BOOST_REQUIRE(p);
    BOOST_TEST(p->size == 9u);
    BOOST_TEST(!p->fast);
    BOOST_TEST(p->colour == "blue=ish");

    BOOST_CHECK_EXCEPTION((void)make_policy("own-policy_1 size=10"), system_error,
                          fails_with(error::bad_config, {"\"size=10\"", "from 2 to 9"}));
    BOOST_CHECK_EXCEPTION(
        (void)make_policy("own-policy_1 weight=1"), system_error,
        fails_with(error::bad_config, {"\"weight=1\"", "size", "fast", "colour"}));
    BOOST_CHECK_EXCEPTION((void)make_policy("nothing"), system_error,
                          fails_with(error::bad_config, {"\"nothing\"", "own-policy_1"}));
}

BOOST_AUTO_TEST_CASE(bad_registrations_are_refused)
{
    auto const factory = [](policy_words&) { return std::make_shared<default_policy>(); };
    for (char const* name : {"", "Own", "two words", "a=b", "tab\t", "caf\xc3\xa9"})
        BOOST_CHECK_EXCEPTION(register_policy(name, factory), system_error,
                              fails_with(error::bad_config, {name}));
    BOOST_CHECK_EXCEPTION(register_policy("no-factory", {}), system_error,
                          fails_with(error::bad_config, {"no-factory"}));
    register_policy("once", factory);
    for (char const* name : {"once", "default", "fiber"})
        BOOST_CHECK_EXCEPTION(register_policy(name, factory), system_error,
                              fails_with(error::bad_config, {name, "known"}));
    BOOST_CHECK_THROW((void)make_policy("no-factory"), system_error);
}

BOOST_AUTO_TEST_CASE(what_a_factory_throws_comes_through_and_null_is_refused)
{
    register_policy("throws", [](policy_words&) -> std::shared_ptr<event_loop_policy> {
        throw std::out_of_range("no machine");
    });
    register_policy("null",
                    [](policy_words&) { return std::shared_ptr<event_loop_policy>(); });
    BOOST_CHECK_THROW((void)make_policy("throws"), std::out_of_range);
    BOOST_CHECK_EXCEPTION((void)make_policy("null"), system_error,
                          fails_with(error::bad_config, {"null"}));
}

BOOST_AUTO_TEST_CASE(a_factory_may_make_and_register_policies_itself)
{
    register_policy("nested", [](policy_words&) {
        register_policy("nested-inner",
                        [](policy_words&) { return std::make_shared<default_policy>(); });
        return make_policy("fiber loops=2");
    });
    BOOST_TEST(is<fiber_policy>(make_policy("nested")));
    BOOST_TEST(make_policy("nested-inner"));
}

BOOST_AUTO_TEST_CASE(registering_and_making_from_several_threads)
{
    std::vector<std::thread> threads;
    std::atomic<int> won = 0;
    for (int t = 0; t != 4; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i != 100; ++i)
            {
                auto const name = "race-" + std::to_string(i);
                won += !test::code_of([&] {
                    register_policy(name, [](policy_words&) {
                        return std::make_shared<default_policy>();
                    });
                });
                (void)make_policy(name);
                (void)known_policies();
            }
        });
    for (std::thread& t : threads)
        t.join();
    BOOST_TEST(won == 100);
}

// -- POLYLOOP_POLICY ------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(POLYLOOP_POLICY_makes_the_default)
{
    for (char const* text : {static_cast<char const*>(nullptr), "", "  \t"})
    {
        test::environment const set("POLYLOOP_POLICY", text);
        set_event_loop_policy(nullptr);
        BOOST_TEST(is<default_policy>(get_event_loop_policy()));
        BOOST_TEST(is<default_policy>(policy_from_environment()));
    }
    test::environment const set("POLYLOOP_POLICY", " fiber loops=2 ");
    set_event_loop_policy(nullptr);
    auto const p = get_event_loop_policy();
    BOOST_TEST(is<fiber_policy>(p));
    BOOST_TEST(get_event_loop_policy() == p);
    BOOST_TEST(run([] { return get_event_loop_policy()->loops().size(); }) == 2u);
    set_event_loop_policy(nullptr);
    BOOST_TEST(get_event_loop_policy() != p); // made again after a null set
    BOOST_TEST(is<fiber_policy>(get_event_loop_policy()));
    auto const mine = std::make_shared<default_policy>();
    set_event_loop_policy(mine); // what the program sets wins
    BOOST_TEST(get_event_loop_policy() == mine);
    set_event_loop_policy(nullptr);
}

BOOST_AUTO_TEST_CASE(a_bad_POLYLOOP_POLICY_throws_when_the_default_is_needed)
{
    {
        test::environment const set("POLYLOOP_POLICY", "fibre");
        set_event_loop_policy(nullptr); // not yet
        auto const refused =
            fails_with(error::bad_config, {"POLYLOOP_POLICY", "\"fibre\"", "fiber"});
        for (int i = 0; i != 2; ++i)
            BOOST_CHECK_EXCEPTION((void)get_event_loop_policy(), system_error, refused);
        BOOST_CHECK_EXCEPTION(run([] {}), system_error, refused);
        // A policy of the program's own needs no default.
        BOOST_TEST(
            run([] { return 1; }, {.policy = std::make_shared<default_policy>()}) == 1);
    }
    BOOST_TEST(is<default_policy>(get_event_loop_policy()));
    set_event_loop_policy(nullptr);
}
