// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE context.per_process

#include <polyloop/context/per_process.hpp>

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/policy/default_policy.hpp>

#include <boost/test/unit_test.hpp>

#include <functional>
#include <mutex>
#include <type_traits>
#include <utility>

#include <sys/wait.h>
#include <unistd.h>

using polyloop::per_process;

namespace {

/// What `f` gives in a forked child.
int in_a_fork(std::function<int()> const& f)
{
    pid_t const pid = ::fork();
    if (pid == 0)
    {
        ::alarm(60);
        ::_exit(f());
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

struct state
{
    std::mutex mutex;
    int value = 1;
};

static_assert(!std::is_copy_constructible_v<per_process<state>> &&
              std::is_same_v<decltype(*std::declval<per_process<int> const&>()), int const&>);

} // namespace

BOOST_AUTO_TEST_CASE(S17_a_child_finds_a_fresh_value_and_the_parent_keeps_its_own)
{
    per_process<state> here;
    here->value = 5;
    std::lock_guard const lock(here->mutex); // is free in the child
    BOOST_TEST(in_a_fork([&] {
        std::lock_guard const fresh(here->mutex);
        int const found = here->value;
        here->value = 7;
        // And anew in each further one.
        return found * 10 + in_a_fork([&] { return here->value; });
    }) == 11);
    BOOST_TEST(here->value == 5);
}

BOOST_AUTO_TEST_CASE(a_value_without_a_constructor_begins_at_nought)
{
    per_process<int> const n;
    BOOST_TEST(*n == 0);
}

BOOST_AUTO_TEST_CASE(a_value_ends_with_its_owner_and_one_that_a_child_left_does_not)
{
    static int ended = 0;
    struct counted
    {
        ~counted()
        {
            ++ended;
        }
    };
    {
        per_process<counted> one;
    }
    BOOST_TEST(ended == 1);
    int const in_child = in_a_fork([] {
        int const before = ended;
        auto* const mine = new per_process<counted>;
        int const there = in_a_fork([&] {
            (void)**mine;
            delete mine; // the fresh one alone
            return ended - before;
        });
        delete mine;
        return there * 10 + (ended - before);
    });
    BOOST_TEST(in_child == 11);
}

BOOST_AUTO_TEST_CASE(a_value_may_be_made_of_what_listens_to_forks)
{
    struct policy_state
    {
        polyloop::default_policy inner;
        per_process<int> count;
    };
    per_process<policy_state> here;
    *here->count = 3;
    int const in_child = in_a_fork([&] {
        int const fresh = *here->count;
        auto const loop = here->inner.new_event_loop();
        here->inner.set_event_loop(loop);
        bool const bound = &here->inner.get_event_loop() == loop.get();
        here->inner.set_event_loop(nullptr);
        loop->close();
        return bound ? fresh : 99;
    });
    BOOST_TEST(in_child == 0);
    BOOST_TEST(*here->count == 3);
}
