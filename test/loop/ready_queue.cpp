// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.ready_queue

#include <polyloop/loop/detail/ready_queue.hpp>

#include "support/seeds.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

using namespace polyloop::detail;

namespace {

struct node : ready_node
{
    explicit node(int i = 0, int t = 0)
        : ready_node([](ready_node*, verb) {}, node_kind::handler), number(i), thread(t)
    {
    }
    int number;
    int thread;
};

int number(ready_node const* n)
{
    return n ? static_cast<node const*>(n)->number : -1;
}

} // namespace

BOOST_AUTO_TEST_CASE(ready_queue_is_first_in_first_out)
{
    ready_queue q;
    BOOST_TEST(q.empty());
    BOOST_TEST(q.pop() == nullptr);
    node a(1), b(2), c(3);
    q.push(a);
    q.push(b);
    BOOST_TEST(number(q.front()) == 1);
    BOOST_TEST(number(q.pop()) == 1);
    q.push(c);
    q.push(a); // a node may come back
    BOOST_TEST(number(q.pop()) == 2);
    BOOST_TEST(number(q.pop()) == 3);
    BOOST_TEST(number(q.pop()) == 1);
    BOOST_TEST(q.pop() == nullptr);
    BOOST_TEST(q.empty());
    q.push(b);
    BOOST_TEST(number(q.pop()) == 2);
}

BOOST_AUTO_TEST_CASE(inbox_gives_the_oldest_first_and_tells_who_has_to_wake)
{
    inbox box;
    BOOST_TEST(box.empty());
    BOOST_TEST(box.take() == nullptr);
    node a(1), b(2), c(3);
    BOOST_TEST(bool(box.push(a) == inbox::pushed::first));
    BOOST_TEST(bool(box.push(b) == inbox::pushed::more));
    BOOST_TEST(!box.empty());
    ready_node* n = box.take();
    BOOST_TEST(number(n) == 1);
    BOOST_TEST(number(n->next) == 2);
    BOOST_TEST(n->next->next == nullptr);
    BOOST_TEST(box.empty());
    BOOST_TEST(bool(box.push(c) == inbox::pushed::first));
}

BOOST_AUTO_TEST_CASE(a_closed_inbox_refuses_for_ever)
{
    inbox box;
    node a(1), b(2), c(3);
    box.push(a);
    box.push(b);
    ready_node* n = box.close();
    BOOST_TEST(number(n) == 1);
    BOOST_TEST(number(n->next) == 2);
    BOOST_TEST(box.closed());
    BOOST_TEST(box.empty());
    BOOST_TEST(bool(box.push(c) == inbox::pushed::refused));
    BOOST_TEST(box.take() == nullptr);
    BOOST_TEST(box.close() == nullptr);
    BOOST_TEST(bool(box.push(c) == inbox::pushed::refused));
}

BOOST_AUTO_TEST_CASE(many_threads_push_and_nothing_is_lost_or_overtaken)
{
    test::for_seeds(5, [](test::engine& e) {
        constexpr int threads = 4, each = 20'000;
        inbox box;
        std::vector<std::vector<node>> nodes(threads);
        std::atomic<int> firsts = 0;
        std::vector<std::thread> pushers;
        for (int t = 0; t != threads; ++t)
        {
            for (int i = 0; i != each; ++i)
                nodes[t].emplace_back(i, t);
            pushers.emplace_back([&, t, mine = test::engine(e())]() mutable {
                for (node& n : nodes[t])
                {
                    if (box.push(n) == inbox::pushed::first)
                        ++firsts;
                    if (n.number % 1000 == 0)
                        test::jitter(mine);
                }
            });
        }
        std::vector<int> next(threads);
        int taken = 0, batches = 0;
        bool ordered = true;
        while (taken != threads * each)
        {
            ready_node* n = box.take();
            batches += n != nullptr;
            for (; n; n = n->next, ++taken)
            {
                auto const& got = *static_cast<node*>(n);
                ordered = ordered && next[got.thread]++ == got.number;
            }
        }
        for (std::thread& t : pushers)
            t.join();
        BOOST_TEST(ordered);
        BOOST_TEST(firsts == batches); // one wake for each batch, no more and no less
    });
}

BOOST_AUTO_TEST_CASE(each_node_is_either_handed_out_or_refused_when_the_inbox_closes)
{
    test::for_seeds(50, [](test::engine& e) {
        constexpr int threads = 3, each = 500;
        inbox box;
        std::vector<std::vector<node>> nodes(threads, std::vector<node>(each));
        std::atomic<int> refused = 0;
        std::vector<std::thread> pushers;
        for (int t = 0; t != threads; ++t)
            pushers.emplace_back([&, t] {
                for (node& n : nodes[t])
                    if (box.push(n) == inbox::pushed::refused)
                        ++refused;
            });
        test::jitter(e);
        int taken = 0;
        auto count = [&](ready_node* n) {
            for (; n; n = n->next)
                ++taken;
        };
        count(box.take());
        test::jitter(e);
        count(box.close());
        for (std::thread& t : pushers)
            t.join();
        BOOST_TEST(taken + refused == threads * each);
    });
}
