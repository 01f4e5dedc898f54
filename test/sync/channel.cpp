#define BOOST_TEST_MODULE sync.channel

#include <polyloop/sync/channel.hpp>

#include "support/error.hpp"
#include "support/policies.hpp"
#include "support/seeds.hpp"

#include <polyloop/loop/event_loop.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>
#include <polyloop/task/this_fiber.hpp>
#include <polyloop/task/use_fiber.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/test/unit_test.hpp>

#include <atomic>
#include <future>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace polyloop;
using namespace std::chrono_literals;
namespace asio = boost::asio;

namespace {

test::fails_with const closed(error::channel_closed, {"closed"});

boost::system::error_code aborted_code()
{
    return asio::error::operation_aborted;
}
boost::system::error_code closed_code()
{
    return make_error_code(error::channel_closed);
}

/// Throws when it is moved for the `throws_at`th time, counted over all.
struct fragile
{
    explicit fragile(int v) : value(v)
    {
    }
    fragile(fragile&& other) : value(other.value)
    {
        if (--moves_left == 0)
            throw std::runtime_error("move");
        other.value = -1;
    }
    fragile& operator=(fragile&&) = delete;

    int value;
    static inline int moves_left = 0;
};

/// What `start(handler)` ends with, as a code: thread sanitizer does not see the counts of an
/// exception that two threads hold.
template <class F>
boost::system::error_code end_of(F start)
{
    auto const promise = std::make_shared<std::promise<boost::system::error_code>>();
    auto future = promise->get_future();
    start([promise](boost::system::error_code ec, auto const&...) { promise->set_value(ec); });
    return future.get();
}

} // namespace

BOOST_AUTO_TEST_CASE(items_come_out_in_order_and_size_counts_them)
{
    channel<int> c(3);
    BOOST_TEST(c.capacity() == 3u);
    c.send(1);
    BOOST_TEST(c.try_send(2));
    c.send(3);
    BOOST_TEST(!c.try_send(4));
    BOOST_TEST(c.size() == 3u);
    BOOST_TEST(c.receive() == 1);
    c.send(4);
    BOOST_TEST(c.receive() == 2);
    BOOST_TEST(c.receive() == 3);
    BOOST_TEST(c.try_receive().value() == 4);
    BOOST_TEST(!c.try_receive());
    BOOST_TEST(!c.try_receive_for(0s));
    BOOST_TEST(!c.try_receive_for(1ms));
    BOOST_TEST(c.size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_capacity_without_room_is_refused)
{
    test::fails_with const refused(error::bad_config, {"capacity"});
    BOOST_CHECK_EXCEPTION((void)channel<int>(std::numeric_limits<std::size_t>::max()),
                          boost::system::system_error, refused);
}

BOOST_AUTO_TEST_CASE(items_that_can_only_be_moved)
{
    event_loop loop;
    run_until_complete(loop, [] {
        channel<std::unique_ptr<int>> c;
        auto t = spawn([&c] { return *c.receive() + *c.receive(); });
        c.send(std::make_unique<int>(3));
        auto kept = std::make_unique<int>(4);
        BOOST_TEST(c.try_send_for(std::move(kept), 1h));
        BOOST_TEST(!kept);
        BOOST_TEST(t.join() == 7);
        kept = std::make_unique<int>(5);
        BOOST_TEST(!c.try_send(std::move(kept)));
        BOOST_TEST(!c.try_send_for(std::move(kept), 1ms));
        BOOST_TEST_REQUIRE(kept);
        BOOST_TEST(*kept == 5);
    });
}

BOOST_AUTO_TEST_CASE(without_a_buffer_a_send_waits_for_its_receiver)
{
    event_loop loop;
    run_until_complete(loop, [] {
        channel<int> c;
        BOOST_TEST(!c.try_send(0));
        bool sent = false;
        auto t = spawn([&] {
            c.send(1);
            sent = true;
        });
        this_fiber::yield();
        this_fiber::yield();
        BOOST_TEST(!sent);
        BOOST_TEST(c.size() == 0u);
        BOOST_TEST(c.try_receive().value() == 1);
        t.join();
        BOOST_TEST(sent);
    });
}

BOOST_AUTO_TEST_CASE(nobody_overtakes)
{
    event_loop loop;
    run_until_complete(loop, [] {
        channel<int> c(1);
        c.send(0);
        std::vector<task<>> senders;
        for (int i = 1; i != 4; ++i)
            senders.push_back(spawn([&c, i] { c.send(i); }));
        this_fiber::yield();
        for (int i = 0; i != 4; ++i)
        {
            BOOST_TEST(c.receive() == i);
            if (i < 3)
                BOOST_TEST(!c.try_send(9));
        }
        std::vector<int> got;
        std::vector<task<>> receivers;
        for (int i = 0; i != 3; ++i)
            receivers.push_back(spawn([&c, &got, i] { got.push_back(10 * i + c.receive()); }));
        this_fiber::yield();
        for (int i = 0; i != 3; ++i)
            BOOST_TEST(c.try_send(i));
        BOOST_TEST(!c.try_receive()); // all are somebody's
        for (auto& r : receivers)
            r.join();
        BOOST_TEST((got == std::vector{0, 11, 22}));
    });
}

BOOST_AUTO_TEST_CASE(closing_lets_receivers_drain_and_senders_keep_their_items)
{
    test::under_every_policy([] {
        channel<std::string> c(2);
        c.send("a");
        c.send("b");
        std::atomic<bool> sends = false;
        auto sender = spawn([&] {
            std::string item = "c";
            sends = true;
            auto const ec = test::code_of([&] { c.send(std::move(item)); });
            return ec == closed_code() && item == "c";
        });
        while (!sends)
            this_fiber::yield();
        c.close();
        c.close();
        BOOST_TEST(c.is_closed());
        BOOST_TEST(sender.join());
        BOOST_CHECK_EXCEPTION(c.send("d"), boost::system::system_error, closed);
        BOOST_CHECK_EXCEPTION(c.try_send("d"), boost::system::system_error, closed);
        BOOST_TEST(c.receive() == "a");
        BOOST_TEST(c.try_receive().value() == "b");
        BOOST_CHECK_EXCEPTION(c.receive(), boost::system::system_error, closed);
        BOOST_CHECK_EXCEPTION(c.try_receive(), boost::system::system_error, closed);
        BOOST_CHECK_EXCEPTION(c.try_receive_for(1h), boost::system::system_error, closed);
        BOOST_TEST(std::get<0>(c.async_receive(asio::as_tuple(use_fiber))) == closed_code());
        BOOST_TEST(std::get<0>(c.async_send("e", asio::as_tuple(use_fiber))) == closed_code());
    });
}

BOOST_AUTO_TEST_CASE(closing_ends_the_waits_of_receivers_of_every_kind)
{
    test::under_every_policy([] {
        channel<int> c;
        auto fiber = spawn([&c] { return test::code_of([&c] { c.receive(); }); });
        auto limited = spawn([&c] { return test::code_of([&c] { c.try_receive_for(24h); }); });
        auto coroutine = spawn([&c]() -> asio::awaitable<boost::system::error_code> {
            auto [ec, item] = co_await c.async_receive(asio::as_tuple(asio::use_awaitable));
            co_return ec;
        });
        auto thread = std::async(std::launch::async,
                                 [&c] { return test::code_of([&c] { c.receive(); }); });
        this_fiber::yield();
        c.close();
        BOOST_TEST(fiber.join() == closed_code());
        BOOST_TEST(limited.join() == closed_code());
        BOOST_TEST(coroutine.join() == closed_code());
        BOOST_TEST(thread.get() == closed_code());
    });
}

BOOST_AUTO_TEST_CASE(iteration_ends_when_the_channel_is_closed)
{
    test::under_every_policy([] {
        channel<int> c(2);
        auto sum = spawn([&c] {
            int n = 0;
            for (int item : c)
                n += item;
            return n;
        });
        for (int i = 1; i != 11; ++i)
            c.send(i);
        c.close();
        BOOST_TEST(sum.join() == 55);
    });
}

BOOST_AUTO_TEST_CASE(a_throwing_move_goes_to_the_side_that_made_it)
{
    event_loop loop;
    run_until_complete(loop, [] {
        // Into the buffer, out of it.
        channel<fragile> c(2);
        fragile item(1);
        fragile::moves_left = 1;
        BOOST_CHECK_THROW(c.try_send(std::move(item)), std::runtime_error);
        BOOST_TEST(item.value == 1);
        BOOST_TEST(c.size() == 0u);
        BOOST_TEST(c.try_send(std::move(item)));
        c.send(fragile(2));
        fragile::moves_left = 1;
        BOOST_CHECK_THROW(c.receive(), std::runtime_error);
        BOOST_TEST(c.receive().value == 2);

        // Into the hands of a waiting receiver.
        auto receiver = spawn([&c] { return c.receive().value; });
        this_fiber::yield();
        fragile third(3);
        fragile::moves_left = 1;
        BOOST_CHECK_THROW(c.send(std::move(third)), std::runtime_error);
        BOOST_TEST(!receiver.done());
        c.send(std::move(third));
        BOOST_TEST(receiver.join() == 3);

        // From a waiting sender into the buffer: the sender keeps its item and is told.
        c.send(fragile(4));
        c.send(fragile(5));
        bool kept = false;
        auto sender = spawn([&] {
            fragile sixth(6);
            try
            {
                c.send(std::move(sixth));
            }
            catch (std::runtime_error const&)
            {
                kept = sixth.value == 6;
            }
        });
        this_fiber::yield();
        fragile::moves_left = 2;
        BOOST_TEST(c.receive().value == 4);
        sender.join();
        BOOST_TEST(kept);
        BOOST_TEST(c.receive().value == 5);
        BOOST_TEST(c.size() == 0u);
    });
}

BOOST_AUTO_TEST_CASE(cancelled_and_late_waiters_take_and_leave_nothing)
{
    test::under_every_policy([] {
        channel<int> c;
        std::atomic<int> waiting = 0;
        auto receive = [&] {
            ++waiting;
            return c.receive();
        };
        auto a = spawn(receive), b = spawn(receive);
        while (waiting != 2)
            this_fiber::yield();
        a.cancel();
        auto const ec = test::code_of([&a] { a.join(); });
        BOOST_TEST(ec == aborted_code());
        c.send(1);
        BOOST_TEST(b.join() == 1);

        auto sender = spawn([&] {
            ++waiting;
            c.send(2);
        });
        while (waiting != 3)
            this_fiber::yield();
        sender.cancel();
        test::code_of([&sender] { sender.join(); });
        BOOST_TEST(!c.try_receive());
        auto late = spawn([&] { return c.try_send_for(3, 2ms); });
        BOOST_TEST(!late.join());
        BOOST_TEST(!c.try_receive());
        auto coroutine = spawn([&]() -> asio::awaitable<bool> {
            auto [e] = co_await c.async_send_for(4, 2ms, asio::as_tuple(asio::use_awaitable));
            co_return e == asio::error::timed_out;
        });
        BOOST_TEST(coroutine.join());
        BOOST_TEST(!c.try_receive());
    });
}

BOOST_AUTO_TEST_CASE(a_cancel_after_the_item_waits_for_the_next_suspension)
{
    event_loop loop;
    run_until_complete(loop, [] {
        channel<int> c;
        auto t = spawn([&c] {
            int const item = c.receive();
            return test::code_of([] { this_fiber::yield(); }) == aborted_code() ? item : 0;
        });
        this_fiber::yield();
        c.send(7);
        t.cancel();
        BOOST_TEST(t.join() == 7);
    });
}

BOOST_AUTO_TEST_CASE(async_forms_serve_every_token)
{
    channel<int> c(1);
    std::future<int> early = c.async_receive(asio::use_future);
    c.send(1);
    BOOST_TEST(early.get() == 1);
    c.async_send(2, asio::use_future).get();
    std::future<void> blocked = c.async_send(3, asio::use_future);
    BOOST_TEST(c.receive() == 2);
    blocked.get();
    BOOST_TEST(c.async_receive(asio::use_future).get() == 3);
    auto const late = end_of([&c](auto h) { c.async_receive_for(1ms, h); });
    BOOST_TEST((late == asio::error::timed_out));
    auto patient = c.async_receive_until(std::chrono::steady_clock::now() + 1h, asio::use_future);
    c.send(4);
    BOOST_TEST(patient.get() == 4);
}

BOOST_AUTO_TEST_CASE(in_a_bare_handler_only_what_need_not_wait_goes_through)
{
    event_loop loop;
    run_until_complete(loop, [&loop] {
        channel<int> c(1), checked;
        boost::system::error_code send_refused, receive_refused;
        int got = 0;
        loop.call_soon([&] {
            c.send(1);
            send_refused = test::code_of([&c] { c.send(2); });
            got = c.receive();
            receive_refused = test::code_of([&c] { c.receive(); });
            checked.try_send(1);
        });
        checked.receive();
        BOOST_TEST(got == 1);
        BOOST_TEST(send_refused == make_error_code(error::not_in_fiber));
        BOOST_TEST(receive_refused == make_error_code(error::not_in_fiber));
    });
}

BOOST_AUTO_TEST_CASE(many_senders_and_receivers_lose_nothing_and_double_nothing)
{
    test::for_seeds(20, [](test::engine& e) {
        char const* const policy = test::every_policy[test::draw(e, 0, 6)];
        std::size_t const capacity = test::draw(e, 0u, 4u);
        run(
            [&] {
                channel<int> c(capacity);
                constexpr int senders = 6, each = 60;
                std::vector<std::atomic<int>> taken(senders * each), sent(senders * each);
                std::vector<task<>> sending, receiving;
                std::vector<unsigned> plans;
                for (int i = 0; i != 2 * senders; ++i)
                    plans.push_back(test::draw(e, 0u, 1000000u));
                for (int i = 0; i != senders; ++i)
                {
                    if (i % 3 == 2)
                        sending.push_back(spawn([&, i]() -> asio::awaitable<void> {
                            for (int n = i * each; n != (i + 1) * each; ++n)
                            {
                                co_await c.async_send(n, asio::use_awaitable);
                                ++sent[n];
                            }
                        }));
                    else
                        sending.push_back(spawn([&, i, plan = plans[i]] {
                            test::engine own(plan);
                            for (int n = i * each; n != (i + 1) * each; ++n)
                            {
                                if (plan % 2 == 0)
                                    while (!c.try_send_for(n, test::draw(own, 0, 50) * 1us))
                                        this_fiber::yield();
                                else
                                    c.send(n);
                                ++sent[n];
                            }
                        }));
                    if (i % 3 == 1)
                        receiving.push_back(spawn([&]() -> asio::awaitable<void> {
                            for (;;)
                            {
                                auto [ec, n] = co_await c.async_receive(
                                    asio::as_tuple(asio::use_awaitable));
                                if (ec)
                                    break;
                                ++taken[n];
                            }
                        }));
                    else
                        receiving.push_back(spawn([&, plan = plans[senders + i]] {
                            test::engine own(plan);
                            for (;;)
                                if (plan % 2)
                                    ++taken[c.receive()];
                                else if (auto n = c.try_receive_for(test::draw(own, 0, 50) * 1us))
                                    ++taken[*n];
                                else
                                    this_fiber::yield();
                        }));
                }
                std::thread thread([&c, &taken] {
                    for (int n : c)
                        ++taken[n];
                });
                // Fibers alone: a coroutine of Asio may lose the error of a send that was made.
                for (int i : {0, 3})
                    if (test::draw(e, 0, 1))
                    {
                        test::jitter(e);
                        this_fiber::yield();
                        sending[i].cancel();
                    }
                if (test::draw(e, 0, 1))
                    receiving[0].cancel();
                for (auto& t : sending)
                    test::code_of([&t] { t.join(); });
                c.close();
                for (auto& t : receiving)
                    test::code_of([&t] { t.join(); });
                thread.join();
                bool whole = true;
                for (int n = 0; n != senders * each; ++n)
                    whole = whole && taken[n] == sent[n] && taken[n] <= 1;
                BOOST_TEST(whole);
                BOOST_TEST(sent[each + 1] == 1);
            },
            {.policy = make_policy(policy)});
    });
}
