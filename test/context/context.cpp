// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE context.context

#include <polyloop/context/context.hpp>

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/loop/strand.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include "support/loops.hpp"
#include "support/seeds.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/config.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

using namespace polyloop;

// -- the value ------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(kinds_have_names)
{
    for (auto const& [kind, name] : {std::pair(context_kind::thread, "thread"),
                                     std::pair(context_kind::strand, "strand"),
                                     std::pair(context_kind::fiber, "fiber")})
    {
        BOOST_TEST(to_string(kind) == name);
        std::ostringstream out;
        out << kind;
        BOOST_TEST(out.str() == name);
    }
}

BOOST_AUTO_TEST_CASE(contexts_compare_and_hash_by_their_id_alone)
{
    context const a(context_kind::fiber, 7, "a"), b(context_kind::strand, 7, "b"),
        c(context_kind::fiber, 8, "a");
    BOOST_TEST(a == b);
    BOOST_TEST(a != c);
    BOOST_TEST(bool(a < c));
    BOOST_TEST(bool((a <=> b) == std::strong_ordering::equal));
    BOOST_TEST(std::hash<context>()(a) == std::hash<context>()(b));
    std::set<context> ordered{a, b, c};
    std::unordered_set<context> hashed{a, b, c};
    BOOST_TEST(ordered.size() == 2u);
    BOOST_TEST(hashed.size() == 2u);
    BOOST_TEST(hashed.contains(c));
}

BOOST_AUTO_TEST_CASE(a_context_prints_its_kind_id_and_name)
{
    std::ostringstream out;
    out << context(context_kind::fiber, 17, "reader");
    BOOST_TEST(out.str() == "fiber 17 \"reader\"");
}

BOOST_AUTO_TEST_CASE(a_context_owns_its_name)
{
    context kept(context_kind::thread, 1, "");
    event_loop loop;
    run_until_complete(loop, [&] {
        auto t =
            spawn(loop, [] { return this_context::current(); }, {.name = "short-lived"});
        kept = t.join();
    });
    BOOST_TEST(kept.name() == "short-lived");
    BOOST_TEST(kept.kind() == context_kind::fiber);
}

// -- names and ids --------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_thread_is_the_same_context_every_time_and_can_be_named)
{
    std::thread([] {
        context const first = this_context::current();
        BOOST_TEST(first.kind() == context_kind::thread);
        BOOST_TEST(first.id() != 0u);
        BOOST_TEST(first.name() == "thread-" + std::to_string(first.id()));
        this_context::set_thread_name("worker");
        BOOST_TEST(this_context::current() == first);
        BOOST_TEST(this_context::current().name() == "worker");
    }).join();
    BOOST_TEST(this_context::current().name() != "worker");
}

BOOST_AUTO_TEST_CASE(without_a_name_it_is_made_of_kind_and_id)
{
    event_loop loop;
    strand const s(loop);
    context const c = s.as_context();
    BOOST_TEST(c.name() == "strand-" + std::to_string(c.id()));
    context const f = run_until_complete(
        loop, spawn(loop, [] { return this_context::current(); }));
    BOOST_TEST(f.name() == "fiber-" + std::to_string(f.id()));
}

BOOST_AUTO_TEST_CASE(ids_are_never_used_again)
{
    std::mutex m;
    std::vector<context::id_type> ids;
    auto note = [&] {
        context const c = this_context::current();
        std::lock_guard const lock(m);
        ids.push_back(c.id());
    };
    auto lives = [&] {
        note();
        event_loop loop;
        for (int i = 0; i != 50; ++i)
        {
            // One after the other, so that memory and stacks are used again.
            run_until_complete(loop, note);
            run_until_complete(loop, [&]() -> asio::awaitable<void> {
                note();
                co_return;
            });
            strand const s(loop);
            asio::post(s, note);
            test::run_ready(loop);
        }
    };
    for (int round = 0; round != 3; ++round)
    {
        std::vector<std::thread> threads;
        for (int t = 0; t != 4; ++t)
            threads.emplace_back(lives);
        for (std::thread& t : threads)
            t.join();
    }
    BOOST_TEST(ids.size() == 3u * 4 * (1 + 50 * 3));
    std::set<context::id_type> const distinct(ids.begin(), ids.end());
    BOOST_TEST(distinct.size() == ids.size());
    BOOST_TEST(!distinct.contains(0));
}

// -- who is running -------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_bare_callback_is_the_thread)
{
    event_loop loop;
    context const me = this_context::current();
    std::vector<context> seen;
    loop.call_soon([&] { seen.push_back(this_context::current()); });
    loop.call_later(std::chrono::nanoseconds(0),
                    [&] { seen.push_back(this_context::current()); });
    boost::asio::post(loop.io_context(),
                      [&] { seen.push_back(this_context::current()); });
    test::run_until(loop, [&] { return seen.size() == 3; });
    for (context const& c : seen)
        BOOST_TEST(c == me);
}

BOOST_AUTO_TEST_CASE(kind_agrees_with_current)
{
    event_loop loop;
    BOOST_TEST(this_context::kind() == context_kind::thread);
    std::vector<context_kind> seen;
    loop.call_soon([&] { seen.push_back(this_context::kind()); });
    asio::post(strand(loop), [&] { seen.push_back(this_context::kind()); });
    run_until_complete(loop, [&] { seen.push_back(this_context::kind()); });
    BOOST_TEST(seen == (std::vector{context_kind::thread, context_kind::strand,
                                    context_kind::fiber}),
               boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(nested_strand_handlers)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            strand const a(loop), b(loop);
            std::vector<context> seen;
            auto note = [&] { seen.push_back(this_context::current()); };
            asio::post(a, [&] {
                note();
                asio::dispatch(a, [&] {
                    note();
                    asio::dispatch(b, [&] { // later, in its own right
                        note();
                        loop.stop();
                    });
                    note();
                });
                note();
            });
            loop.run_forever();
            BOOST_REQUIRE(seen.size() == 5u);
            for (int i = 0; i != 4; ++i)
                BOOST_TEST(seen[i] == a.as_context());
            BOOST_TEST(seen[4] == b.as_context());
        }
}

BOOST_AUTO_TEST_CASE(a_strand_handler_dispatched_inside_another_strands_handler)
{
    event_loop loop;
    strand const a(loop), b(loop);
    context const me = this_context::current();
    std::vector<context> seen;
    auto note = [&] { seen.push_back(this_context::current()); };
    loop.call_soon([&] {
        note();
        asio::dispatch(a, [&] { // at once: nothing waits
            note();
            asio::dispatch(a, note);
            note();
        });
        note();
        asio::dispatch(b, note);
        note();
    });
    test::run_ready(loop);
    test::run_ready(loop);
    BOOST_REQUIRE(seen.size() == 7u);
    for (int i : {0, 4, 6})
        BOOST_TEST(seen[i] == me);
    for (int i : {1, 2, 3})
        BOOST_TEST(seen[i] == a.as_context());
    BOOST_TEST(seen[5] == b.as_context());
}

BOOST_AUTO_TEST_CASE(a_fiber_in_a_strand_is_the_fiber)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            strand const s(loop);
            auto t = spawn(s, [&] {
                context const before = this_context::current();
                bool good = s.running_in_this_thread();
                this_fiber::yield();
                return good && before == this_context::current() &&
                    before.kind() == context_kind::fiber &&
                    before.id() == this_fiber::id();
            });
            BOOST_TEST(run_until_complete(loop, t));
        }
}

BOOST_AUTO_TEST_CASE(a_strand_handler_dispatched_inline_by_a_fiber_is_the_fiber)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            strand const s(loop);
            bool inlined = false, fiber = false, after = false;
            run_until_complete(loop, spawn(s, [&] {
                context const me = this_context::current();
                bool returned = false;
                asio::dispatch(s, [&] {
                    inlined = !returned;
                    fiber = this_context::current() == me;
                });
                returned = true;
                after = this_context::current() == me;
            }));
            BOOST_TEST(inlined);
            BOOST_TEST(fiber);
            BOOST_TEST(after);
        }
}

BOOST_AUTO_TEST_CASE(a_coroutine_task_is_a_fiber_context)
{
    event_loop loop;
    auto t = spawn(
        loop, []() -> asio::awaitable<context> { co_return this_context::current(); },
        {.name = "coro"});
    task_id const id = t.id();
    context const c = run_until_complete(loop, t);
    BOOST_TEST(c.kind() == context_kind::fiber);
    BOOST_TEST(c.id() == id);
    BOOST_TEST(c.name() == "coro");
}

BOOST_AUTO_TEST_CASE(after_an_exception_the_context_is_as_it_was)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            test::reports const reports(loop);
            strand const s(loop);
            context const me = this_context::current();
            std::vector<context> seen;
            asio::post(s, [] { throw std::runtime_error("posted"); });
            loop.call_soon([&] { seen.push_back(this_context::current()); });
            loop.call_soon([&] {
                asio::dispatch(s, [] { throw std::runtime_error("dispatched"); });
            });
            loop.call_soon([&] { seen.push_back(this_context::current()); });
            asio::post(s, [&] {
                try
                {
                    asio::dispatch(s, [] { throw std::runtime_error("nested"); });
                }
                catch (std::runtime_error const&)
                {
                }
                seen.push_back(this_context::current());
            });
            (void)spawn(loop, [] { throw std::runtime_error("fiber"); });
            loop.call_soon([&] { seen.push_back(this_context::current()); });
            test::run_until(loop,
                            [&] { return seen.size() == 4 && reports.size() == 3; });
            BOOST_TEST(std::count(seen.begin(), seen.end(), s.as_context()) == 1);
            BOOST_TEST(std::count(seen.begin(), seen.end(), me) == 3);
            BOOST_TEST(this_context::current() == me);
        }
}

BOOST_AUTO_TEST_CASE(a_fiber_that_throws_and_catches_across_waits_stays_itself)
{
    event_loop loop;
    std::vector<task<bool>> tasks;
    for (int i = 0; i != 10; ++i)
        tasks.push_back(spawn(loop, [] {
            context const me = this_context::current();
            bool good = true;
            for (int j = 0; j != 10; ++j)
                try
                {
                    this_fiber::yield();
                    throw j;
                }
                catch (int)
                {
                    this_fiber::yield();
                    good = good && this_context::current() == me;
                }
            return good;
        }));
    for (auto& t : tasks)
        BOOST_TEST(run_until_complete(loop, t));
}

/// Never inlined: pthread_self is declared so that a compiler keeps its result, across a suspension
/// too.
BOOST_NOINLINE std::thread::id thread_now()
{
    return std::this_thread::get_id();
}

/// Keeps one of a loop's threads busy, from its construction until it is released.
class held_thread
{
  public:
    explicit held_thread(event_loop& loop)
    {
        std::promise<std::thread::id> which;
        auto id = which.get_future();
        asio::post(loop.io_context(),
                   [which = std::move(which), end = release_.get_future()]() mutable {
                       which.set_value(thread_now());
                       end.wait();
                   });
        id_ = id.get();
    }
    ~held_thread()
    {
        release_.set_value();
    }
    std::thread::id id() const
    {
        return id_;
    }

  private:
    std::promise<void> release_;
    std::thread::id id_;
};

/// Suspends the calling fiber of a loop with two threads, and has it resumed by the other one.
void change_threads(event_loop& loop)
{
    std::promise<void> resumed;
    std::thread mover;
    asio::async_initiate<use_fiber_t const, void()>(
        [&, left = thread_now()](auto handler) {
            mover = std::thread([&, left, h = std::move(handler)]() mutable {
                auto first = std::make_unique<held_thread>(loop);
                std::unique_ptr<held_thread> second;
                if (first->id() != left)
                {
                    second = std::make_unique<held_thread>(loop); // so this is the one it left
                    first.reset();
                }
                asio::post(loop.io_context(), std::move(h));
                resumed.get_future().wait();
            });
        },
        use_fiber);
    resumed.set_value();
    mover.join();
}

BOOST_AUTO_TEST_CASE(a_fiber_resumed_by_another_thread_is_still_itself)
{
    event_loop loop({.concurrency = 2});
    test::running const running(loop, 2);
    auto wanderer = spawn(
        loop,
        [&] {
            context const me = this_context::current();
            BOOST_TEST((me.kind() == context_kind::fiber));
            for (int i = 0; i != 20; ++i)
            {
                std::thread::id const before = thread_now();
                change_threads(loop);
                BOOST_TEST((thread_now() != before));
                BOOST_TEST((this_context::current() == me));
                BOOST_TEST((this_context::kind() == context_kind::fiber));
                BOOST_TEST(try_get_running_loop() == &loop);
                BOOST_TEST(this_context::current().name() == "wanderer");
            }
        },
        {.name = "wanderer"});
    wanderer.join();
}

// -- after main -----------------------------------------------------------------------

namespace {

/// Asks when the thread-locals of the main thread are gone: ends the program badly if that fails.
struct late_asker
{
    ~late_asker()
    {
        context const c = this_context::current();
        if (c.kind() == context_kind::thread && c.id() == id && c.name().starts_with("thread-"))
            return;
        std::fputs("a static destructor was told of another context\n", stderr);
        std::_Exit(1);
    }
    context::id_type id = 0;
} asker;

} // namespace

BOOST_AUTO_TEST_CASE(static_destructors_may_ask_who_runs)
{
    // On the heap, and gone with the thread's other extras when `asker` asks.
    this_context::set_thread_name("a name that is too long to lie in the string itself");
    asker.id = this_context::current().id();
    BOOST_TEST(this_context::current().name().starts_with("a name"));
}
