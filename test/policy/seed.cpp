// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE policy.seed

#include <polyloop/loop/backend.hpp>
#include <polyloop/policy/default_policy.hpp>
#include <polyloop/policy/event_loop_policy.hpp>
#include <polyloop/policy/registry.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/task/this_fiber.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"

#include <boost/test/unit_test.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

// What Python's page on asyncio policies promises, each a test by that name.

BOOST_AUTO_TEST_CASE(get_the_process_wide_policy)
{
    std::shared_ptr<event_loop_policy> const here = get_event_loop_policy();
    BOOST_REQUIRE(here);
    BOOST_TEST(get_event_loop_policy() == here);
    std::shared_ptr<event_loop_policy> there;
    std::thread([&] { there = get_event_loop_policy(); }).join();
    BOOST_TEST(there == here);
}

BOOST_AUTO_TEST_CASE(set_the_process_wide_policy)
{
    auto const mine = std::make_shared<default_policy>();
    set_event_loop_policy(mine);
    BOOST_TEST(get_event_loop_policy() == mine);
    std::shared_ptr<event_loop_policy> there;
    std::thread([&] { there = get_event_loop_policy(); }).join();
    BOOST_TEST(there == mine);

    // The module's operations are those of the policy.
    auto const loop = new_event_loop();
    set_event_loop(loop);
    BOOST_TEST(&mine->get_event_loop() == loop.get());
    BOOST_TEST(&get_event_loop() == loop.get());
    set_event_loop(nullptr);
    set_event_loop_policy(nullptr);
}

BOOST_AUTO_TEST_CASE(restore_the_default_by_setting_none)
{
    auto const first = get_event_loop_policy();
    set_event_loop(new_event_loop());
    auto const mine = std::make_shared<default_policy>();
    set_event_loop_policy(mine);
    set_event_loop_policy(nullptr);
    auto const restored = get_event_loop_policy();
    BOOST_REQUIRE(restored);
    BOOST_TEST(restored != mine);
    BOOST_TEST(restored != first); // a new one, that knows no loop of the old
    BOOST_TEST(dynamic_cast<default_policy*>(restored.get()));
    BOOST_CHECK_EXCEPTION(get_event_loop(), system_error,
                          fails_with(error::no_current_loop));
}

static_assert(std::is_abstract_v<event_loop_policy>);

BOOST_AUTO_TEST_CASE(
    abstract_base_has_three_operations_and_get_and_new_never_give_nothing)
{
    // These three are all that has to be written.
    class least : public event_loop_policy
    {
      public:
        event_loop& get_event_loop() override
        {
            return *loop;
        }
        void set_event_loop(std::shared_ptr<event_loop> l) override
        {
            loop = std::move(l);
        }
        std::shared_ptr<event_loop> new_event_loop() override
        {
            return generous ? std::make_shared<event_loop>() : nullptr;
        }
        std::shared_ptr<event_loop> loop;
        bool generous = true;
    };
    static_assert(std::is_same_v<decltype(&event_loop_policy::get_event_loop),
                                 event_loop& (event_loop_policy::*)()>); // a reference
    auto const p = std::make_shared<least>();
    scoped_policy const scope(p);
    auto const loop = new_event_loop();
    BOOST_TEST(loop);
    set_event_loop(loop);
    BOOST_TEST(&get_event_loop() == loop.get());
    p->generous = false; // against the rules: whoever asks is told, and gets no null
    BOOST_CHECK_EXCEPTION((void)new_event_loop(), system_error,
                          fails_with(error::bad_config, {"new_event_loop"}));
    BOOST_CHECK_EXCEPTION(run([] {}), system_error,
                          fails_with(error::bad_config, {"new_event_loop"}));

    for (char const* text : {"default", "strand", "fiber", "shared"})
    {
        auto const built_in = make_policy(text);
        BOOST_TEST(built_in->new_event_loop());
        BOOST_CHECK_EXCEPTION(built_in->get_event_loop(), system_error,
                              fails_with(error::no_current_loop));
    }
}

BOOST_AUTO_TEST_CASE(default_policy_is_per_thread_and_an_error_when_no_loop_is_set)
{
    scoped_policy const scope(std::make_shared<default_policy>());
    BOOST_CHECK_EXCEPTION(get_event_loop(), system_error,
                          fails_with(error::no_current_loop));
    auto const mine = new_event_loop();
    set_event_loop(mine);
    boost::system::error_code before;
    event_loop* its = nullptr;
    std::thread([&] {
        before = test::code_of([] { get_event_loop(); });
        set_event_loop(new_event_loop());
        its = &get_event_loop();
    }).join();
    BOOST_TEST(before == error::no_current_loop);
    BOOST_TEST(its != nullptr);
    BOOST_TEST(its != mine.get());
    BOOST_TEST(&get_event_loop() == mine.get());
    set_event_loop(nullptr);
    BOOST_CHECK_EXCEPTION(get_event_loop(), system_error,
                          fails_with(error::no_current_loop));
}

BOOST_AUTO_TEST_CASE(selector_policy_is_the_default_policy_of_a_readiness_backend)
{
    if (is_proactor(current_backend()))
    {
        BOOST_CHECK_EXCEPTION(selector_policy{}, system_error,
                              fails_with(error::backend_unavailable, {"epoll", "build"}));
        return;
    }
    auto const p = std::make_shared<selector_policy>();
    BOOST_CHECK_EXCEPTION(p->get_event_loop(), system_error,
                          fails_with(error::no_current_loop));
    BOOST_TEST(run([] { return 4; }, {.policy = p}) == 4);
    BOOST_TEST(run([] { return 5; }, {.policy = make_policy("selector")}) == 5);
}

BOOST_AUTO_TEST_CASE(proactor_policy_refused_with_the_remedy)
{
    if (is_proactor(current_backend()))
    {
        BOOST_TEST(
            run([] { return 4; }, {.policy = std::make_shared<proactor_policy>()}) == 4);
        return;
    }
    auto const here = to_string(current_backend());
    auto const refused =
        fails_with(error::backend_unavailable,
                   {"proactor", here, "io_uring", "build", "default policy"});
    BOOST_CHECK_EXCEPTION(proactor_policy{}, system_error, refused);
    BOOST_CHECK_EXCEPTION((void)make_policy("proactor"), system_error, refused);
}

BOOST_AUTO_TEST_CASE(custom_policy_derives_from_default_and_overrides_one_operation)
{
    class counting : public default_policy
    {
      public:
        event_loop& get_event_loop() override
        {
            ++asked;
            return default_policy::get_event_loop();
        }
        int asked = 0;
    };
    auto const p = std::make_shared<counting>();
    scoped_policy const scope(p);
    auto const loop = new_event_loop(); // the two others are the default's
    set_event_loop(loop);
    BOOST_TEST(&get_event_loop() == loop.get());
    BOOST_TEST(p->asked == 1);
    set_event_loop(nullptr);
    BOOST_CHECK_EXCEPTION(get_event_loop(), system_error,
                          fails_with(error::no_current_loop));
    BOOST_TEST(p->asked == 2);
    BOOST_TEST(run([] { return 6; }) == 6); // and runs go on as ever
}

BOOST_AUTO_TEST_CASE(custom_policy_defines_context_as_it_likes)
{
    // A context is what bears the same name, whichever thread or fiber it is.
    class by_name : public event_loop_policy
    {
      public:
        event_loop& get_event_loop() override
        {
            std::lock_guard const lock(mutex_);
            auto const found = loops_.find(std::string(this_context::current().name()));
            if (found == loops_.end())
                throw system_error(make_error_code(error::no_current_loop),
                                   "no loop for it");
            return *found->second;
        }
        void set_event_loop(std::shared_ptr<event_loop> loop) override
        {
            std::lock_guard const lock(mutex_);
            std::string const name(this_context::current().name());
            if (loop)
                loops_[name] = std::move(loop);
            else
                loops_.erase(name);
        }
        std::shared_ptr<event_loop> new_event_loop() override
        {
            return std::make_shared<event_loop>();
        }

      private:
        std::mutex mutex_;
        std::map<std::string, std::shared_ptr<event_loop>> loops_;
    };
    auto const p = std::make_shared<by_name>();
    scoped_policy const scope(p);
    event_loop* made = nullptr;
    event_loop* found = nullptr;
    event_loop* in_fiber = nullptr;
    boost::system::error_code other;
    std::thread([&] {
        this_context::set_thread_name("database");
        set_event_loop(new_event_loop());
        made = &get_event_loop();
    }).join();
    std::thread([&] {
        other = test::code_of([] { get_event_loop(); });
        this_context::set_thread_name("database");
        found = &get_event_loop();
        event_loop somewhere;
        run_until_complete(somewhere, spawn(
            somewhere, [&] { in_fiber = &p->get_event_loop(); }, {.name = "database"}));
    }).join();
    BOOST_TEST(made != nullptr);
    BOOST_TEST(found == made);
    BOOST_TEST(in_fiber == made);
    BOOST_TEST(other == error::no_current_loop);
}

BOOST_AUTO_TEST_CASE(run_and_runner_with_a_loop_factory_in_place_of_a_policy)
{
    // A policy that must not be asked.
    class untouched : public event_loop_policy
    {
      public:
        event_loop& get_event_loop() override
        {
            throw std::logic_error("asked");
        }
        void set_event_loop(std::shared_ptr<event_loop>) override
        {
            throw std::logic_error("asked");
        }
        std::shared_ptr<event_loop> new_event_loop() override
        {
            throw std::logic_error("asked");
        }
    };
    scoped_policy const scope(std::make_shared<untouched>());
    int made = 0;
    auto factory = [&] {
        return std::make_shared<event_loop>(
            loop_options{.name = "factory-" + std::to_string(++made)});
    };
    BOOST_TEST(run([] { return get_running_loop().name(); }, {.loop_factory = factory}) ==
               "factory-1");
    {
        runner r({.loop_factory = factory});
        BOOST_TEST(made == 1); // lazy
        for (int i = 0; i != 2; ++i)
            BOOST_TEST(r.run([] { return get_running_loop().name(); }) == "factory-2");
        BOOST_TEST(r.get_loop().name() == "factory-2");
        BOOST_TEST(r.run([] {
            auto t = spawn([] { return get_running_loop().name(); });
            return t.join();
        }) == "factory-2");
        r.close();
    }
    BOOST_TEST(made == 2);
}
