// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#define BOOST_TEST_MODULE loop.watches

#include <polyloop/loop/event_loop.hpp>

#include <polyloop/task/fiber_local.hpp>
#include <polyloop/task/run_until_complete.hpp>
#include <polyloop/task/spawn.hpp>

#include "support/error.hpp"
#include "support/loops.hpp"
#include "support/standard_error.hpp"

#include <boost/asio/post.hpp>
#include <boost/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <functional>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace polyloop;
using boost::system::system_error;
using test::fails_with;

namespace {

/// Two ends of a stream.
struct ends
{
    ends()
    {
        BOOST_REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds.data()) == 0);
    }
    ~ends()
    {
        for (int const f : fds)
            if (f != -1)
                ::close(f);
    }
    void write(std::string const& text) const
    {
        BOOST_REQUIRE(::write(fds[1], text.data(), text.size()) ==
                      static_cast<ssize_t>(text.size()));
    }
    std::string read(std::size_t most = 64) const
    {
        std::string text(most, '\0');
        ssize_t const n = ::read(fds[0], text.data(), most);
        text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
        return text;
    }
    std::array<int, 2> fds{};
};

bool is_default(int number)
{
    struct sigaction now = {};
    ::sigaction(number, nullptr, &now);
    return now.sa_handler == SIG_DFL;
}

boost::system::error_code system_code(int e)
{
    return {e, boost::system::system_category()};
}

void ignore(int)
{
}

} // namespace

// -- signals -----------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_signal_is_a_callback_of_the_loop_each_time)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            int seen = 0;
            event_loop* where = nullptr;
            loop.add_signal_handler(SIGUSR1, [&] {
                where = &get_running_loop();
                if (++seen == 3)
                    loop.stop();
                else
                    ::raise(SIGUSR1);
            });
            ::raise(SIGUSR1);
            loop.run_forever();
            BOOST_TEST(seen == 3);
            BOOST_TEST(where == &loop);
            BOOST_TEST(loop.remove_signal_handler(SIGUSR1));
            BOOST_TEST(!loop.remove_signal_handler(SIGUSR1));
            BOOST_TEST(is_default(SIGUSR1));
        }
}

BOOST_AUTO_TEST_CASE(a_signal_wakes_a_blocked_loop)
{
    event_loop loop;
    test::running threads(loop);
    std::latch told(1);
    loop.add_signal_handler(SIGUSR1, [&] { told.count_down(); });
    ::kill(::getpid(), SIGUSR1);
    told.wait();
    threads.join();
}

BOOST_AUTO_TEST_CASE(a_second_handler_takes_the_place_of_the_first)
{
    event_loop loop;
    auto const held = std::make_shared<int>();
    std::string told;
    loop.add_signal_handler(SIGUSR1, [&, held] { told += '1'; });
    BOOST_TEST(held.use_count() == 2);
    loop.add_signal_handler(SIGUSR1, [&] {
        told += '2';
        loop.stop();
    });
    BOOST_TEST(held.use_count() == 1);
    ::raise(SIGUSR1);
    loop.run_forever();
    BOOST_TEST(told == "2");
}

BOOST_AUTO_TEST_CASE(each_loop_is_told_of_a_signal_that_several_handle)
{
    event_loop a, b;
    int told = 0;
    for (event_loop* const l : {&a, &b})
        l->add_signal_handler(SIGUSR1, [&told, l] {
            ++told;
            l->stop();
        });
    ::raise(SIGUSR1);
    a.run_forever();
    b.run_forever();
    BOOST_TEST(told == 2);
    a.remove_signal_handler(SIGUSR1);
    BOOST_TEST(!is_default(SIGUSR1));
    b.remove_signal_handler(SIGUSR1);
    BOOST_TEST(is_default(SIGUSR1));
}

BOOST_AUTO_TEST_CASE(S36_closing_a_loop_removes_its_signal_handlers)
{
    event_loop loop;
    auto const held = std::make_shared<int>();
    loop.add_signal_handler(SIGUSR1, [held] {});
    loop.add_signal_handler(SIGUSR2, [held] {});
    BOOST_TEST(!is_default(SIGUSR1));
    loop.close();
    BOOST_TEST(is_default(SIGUSR1));
    BOOST_TEST(is_default(SIGUSR2));
    BOOST_TEST(held.use_count() == 1);
    BOOST_TEST(!loop.remove_signal_handler(SIGUSR1));
    BOOST_CHECK_EXCEPTION(loop.add_signal_handler(SIGUSR1, [] {}), system_error,
                          fails_with(error::loop_closed));
}

BOOST_AUTO_TEST_CASE(what_handled_a_signal_before_is_put_back_unless_somebody_replaced_ours)
{
    auto const present = [] {
        struct sigaction now = {};
        ::sigaction(SIGUSR1, nullptr, &now);
        return now.sa_handler;
    };
    event_loop loop;
    std::signal(SIGUSR1, ignore);
    loop.add_signal_handler(SIGUSR1, [] {});
    BOOST_TEST((present() != ignore));
    loop.remove_signal_handler(SIGUSR1);
    BOOST_TEST((present() == ignore));

    loop.add_signal_handler(SIGUSR1, [] {});
    std::signal(SIGUSR1, SIG_IGN);
    loop.remove_signal_handler(SIGUSR1);
    BOOST_TEST((present() == SIG_IGN));
    std::signal(SIGUSR1, SIG_DFL);
}

BOOST_AUTO_TEST_CASE(a_handler_that_was_removed_in_the_meantime_does_not_run)
{
    event_loop loop;
    bool ran = false;
    loop.add_signal_handler(SIGUSR1, [&] { ran = true; });
    // The signal is looked at between the two, so its callback stands behind the second.
    loop.call_soon([&] {
        ::raise(SIGUSR1);
        loop.call_soon([&] {
            loop.remove_signal_handler(SIGUSR1);
            loop.call_soon([&] { loop.stop(); });
        });
    });
    loop.run_forever();
    BOOST_TEST(!ran);
}

BOOST_AUTO_TEST_CASE(what_is_no_signal_or_cannot_be_caught_is_refused)
{
    event_loop loop;
    for (int const bad : {0, -1, 65, 1000})
        BOOST_CHECK_EXCEPTION(loop.add_signal_handler(bad, [] {}), system_error,
                              fails_with(error::bad_config, {std::to_string(bad)}));
    BOOST_CHECK_EXCEPTION(
        loop.add_signal_handler(SIGKILL, [] {}), system_error,
        fails_with(system_code(EINVAL), {"9"}));
    BOOST_CHECK_EXCEPTION(loop.add_signal_handler(SIGUSR1, std::function<void()>()),
                          system_error, fails_with(error::bad_config));
    BOOST_TEST(is_default(SIGUSR1));
}

BOOST_AUTO_TEST_CASE(a_handler_that_is_refused_leaves_nothing_that_waits)
{
    boost::asio::io_context io;
    event_loop loop(io);
    BOOST_CHECK_THROW(loop.add_signal_handler(SIGKILL, [] {}), system_error);
    BOOST_TEST(!loop.remove_signal_handler(SIGKILL));
    io.poll();
    BOOST_TEST(io.stopped()); // there is no work left
    // Nor does it disturb those that there are.
    int told = 0;
    loop.add_signal_handler(SIGUSR1, [&] { ++told; });
    BOOST_CHECK_THROW(loop.add_signal_handler(SIGKILL, [] {}), system_error);
    ::raise(SIGUSR1);
    test::run_ready(loop);
    test::run_ready(loop);
    BOOST_TEST(told == 1);
}

BOOST_AUTO_TEST_CASE(a_handler_that_is_set_again_takes_the_signal_back)
{
    event_loop loop;
    int told = 0;
    loop.add_signal_handler(SIGUSR1, [&] { told += 10; });
    std::signal(SIGUSR1, SIG_IGN); // somebody else's
    loop.add_signal_handler(SIGUSR1, [&] { ++told; });
    ::raise(SIGUSR1);
    test::run_ready(loop);
    test::run_ready(loop);
    BOOST_TEST(told == 1);
    loop.remove_signal_handler(SIGUSR1);
    BOOST_TEST((std::signal(SIGUSR1, SIG_DFL) == SIG_IGN)); // what was found last
}

BOOST_AUTO_TEST_CASE(signals_are_taken_on_the_stack_that_a_thread_has_for_them)
{
    event_loop loop;
    loop.add_signal_handler(SIGUSR1, [] {});
    struct sigaction now = {};
    ::sigaction(SIGUSR1, nullptr, &now);
    BOOST_TEST((now.sa_flags & SA_ONSTACK) != 0);
}

// -- descriptors -------------------------------------------------------------------------

BOOST_AUTO_TEST_CASE(a_reader_is_called_while_there_is_something_to_read)
{
    for (unsigned concurrency : {1u, 2u})
        BOOST_TEST_CONTEXT("concurrency " << concurrency)
        {
            event_loop loop({.concurrency = concurrency});
            ends e;
            std::string got;
            int calls = 0;
            loop.add_reader(e.fds[0], [&] {
                ++calls;
                got += e.read(1); // leaves the rest: called again
                if (got.size() == 3)
                    loop.stop();
            });
            e.write("abc");
            loop.run_forever();
            BOOST_TEST(got == "abc");
            BOOST_TEST(calls == 3);
            BOOST_TEST(loop.remove_reader(e.fds[0]));
            BOOST_TEST(!loop.remove_reader(e.fds[0]));
            e.write("d");
            test::run_ready(loop);
            BOOST_TEST(calls == 3);
        }
}

BOOST_AUTO_TEST_CASE(a_reader_sees_the_end)
{
    event_loop loop;
    ends e;
    bool at_end = false;
    loop.add_reader(e.fds[0], [&] {
        at_end = e.read().empty();
        loop.remove_reader(e.fds[0]); // in itself
        loop.stop();
    });
    ::close(std::exchange(e.fds[1], -1));
    loop.run_forever();
    BOOST_TEST(at_end);
}

BOOST_AUTO_TEST_CASE(a_reader_and_a_writer_of_one_descriptor_are_two)
{
    event_loop loop;
    ends e;
    int written = 0;
    std::string got;
    loop.add_writer(e.fds[0], [&] {
        if (++written == 2)
            loop.remove_writer(e.fds[0]);
    });
    loop.add_reader(e.fds[0], [&] {
        got = e.read();
        loop.stop();
    });
    e.write("x");
    loop.run_forever();
    BOOST_TEST(got == "x");
    BOOST_TEST(loop.remove_reader(e.fds[0]));
    // Without the reader the writer is still its own.
    loop.add_writer(e.fds[0], [&] {
        ++written;
        loop.stop();
    });
    loop.run_forever();
    BOOST_TEST(written >= 2);
    BOOST_TEST(loop.remove_writer(e.fds[0]));
}

BOOST_AUTO_TEST_CASE(a_second_reader_takes_the_place_of_the_first)
{
    event_loop loop;
    ends e;
    auto const held = std::make_shared<int>();
    std::string called;
    loop.add_reader(e.fds[0], [&, held] { called += '1'; });
    loop.add_reader(e.fds[0], [&] {
        called += '2';
        loop.remove_reader(e.fds[0]);
        loop.stop();
    });
    BOOST_TEST(held.use_count() == 1);
    e.write("x");
    loop.run_forever();
    BOOST_TEST(called == "2");
}

BOOST_AUTO_TEST_CASE(a_reader_that_throws_is_reported_and_called_again)
{
    event_loop loop;
    test::reports reports(loop);
    ends e;
    int calls = 0;
    loop.add_reader(e.fds[0], [&] {
        if (++calls == 2)
        {
            loop.remove_reader(e.fds[0]);
            loop.stop();
        }
        throw std::runtime_error("reader");
    });
    e.write("x");
    loop.run_forever();
    BOOST_TEST(calls == 2);
    BOOST_TEST(reports.size() == 2u);
}

BOOST_AUTO_TEST_CASE(the_descriptor_stays_the_callers)
{
    ends e;
    int const flags = ::fcntl(e.fds[0], F_GETFL);
    {
        event_loop loop;
        loop.add_reader(e.fds[0], [] {});
        test::run_ready(loop);
    }
    BOOST_TEST(::fcntl(e.fds[0], F_GETFL) == flags); // not closed, not changed
}

BOOST_AUTO_TEST_CASE(what_cannot_be_waited_for_is_refused)
{
    event_loop loop;
    int const file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    BOOST_CHECK_EXCEPTION(
        loop.add_reader(file, [] {}), system_error,
        fails_with(system_code(EPERM), {"waited for"}));
    ::close(file);
    BOOST_CHECK_EXCEPTION(
        loop.add_writer(file, [] {}), system_error,
        fails_with(system_code(EBADF), {"waited for"}));
    ends e;
    BOOST_CHECK_EXCEPTION(loop.add_reader(e.fds[0], std::function<void()>()), system_error,
                          fails_with(error::bad_config));
    loop.close();
    BOOST_CHECK_EXCEPTION(loop.add_reader(e.fds[0], [] {}), system_error,
                          fails_with(error::loop_closed));
    BOOST_TEST(!loop.remove_reader(e.fds[0]));
}

BOOST_AUTO_TEST_CASE(from_another_thread_a_reader_or_writer_is_removed_while_its_call_goes_on)
{
    for (bool const reads : {true, false})
        for (unsigned const concurrency : {1u, 2u})
            BOOST_TEST_CONTEXT((reads ? "reader" : "writer") << ", concurrency " << concurrency)
            {
                int ends[2];
                BOOST_REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
                BOOST_REQUIRE(::write(ends[1], "x", 1) == 1); // is never read
                event_loop loop({.concurrency = concurrency});
                auto const held = std::make_shared<int>();
                std::latch begun(1), removed(1);
                std::atomic<int> calls = 0;
                auto const f = [&, held] {
                    if (++calls == 1)
                    {
                        begun.count_down();
                        removed.wait();
                    }
                };
                reads ? loop.add_reader(ends[0], f) : loop.add_writer(ends[0], f);
                bool there = false, again = true;
                std::thread other([&] {
                    begun.wait();
                    auto const remove = [&] {
                        return reads ? loop.remove_reader(ends[0]) : loop.remove_writer(ends[0]);
                    };
                    there = remove();
                    again = remove();
                    ::close(ends[0]);
                    removed.count_down();
                    loop.call_soon_threadsafe([&] { loop.stop(); });
                });
                loop.run_forever();
                other.join();
                BOOST_TEST(there);
                BOOST_TEST(!again);
                test::run_ready(loop);
                BOOST_TEST(calls == 1);
                BOOST_TEST(held.use_count() == 2); // ours and that of `f`
                ::close(ends[1]);
            }
}

BOOST_AUTO_TEST_CASE(closing_a_loop_releases_readers_and_writers)
{
    ends e;
    auto const held = std::make_shared<int>();
    event_loop loop;
    loop.add_reader(e.fds[0], [held] {});
    loop.add_writer(e.fds[0], [held] {});
    loop.close();
    BOOST_TEST(held.use_count() == 1);
}

BOOST_AUTO_TEST_CASE(a_callable_that_can_only_be_moved)
{
    event_loop loop;
    ends e;
    loop.add_writer(e.fds[0], [&, p = std::make_unique<int>(1)] {
        loop.remove_writer(e.fds[0]);
        loop.stop();
    });
    loop.run_forever();
}

BOOST_AUTO_TEST_CASE(on_an_adopted_io_context_that_the_application_runs)
{
    boost::asio::io_context io;
    event_loop loop(io);
    ends e;
    std::string got;
    loop.add_reader(e.fds[0], [&] {
        got = e.read();
        loop.remove_reader(e.fds[0]);
        loop.remove_signal_handler(SIGUSR1);
    });
    loop.add_signal_handler(SIGUSR1, [&] { e.write("x"); });
    ::raise(SIGUSR1);
    io.run(); // returns, as what was watched was work and is no more
    BOOST_TEST(got == "x");
}

BOOST_AUTO_TEST_CASE(S44_signals_and_descriptors_have_the_values_of_who_registered_them)
{
    fiber_local<int> value(1);
    event_loop loop;
    ends e;
    std::vector<int> seen;
    run_until_complete(loop, [&] {
        value.set(2);
        loop.add_signal_handler(SIGUSR1, [&] {
            seen.push_back(value.get());
            e.write("x");
        });
        loop.add_reader(e.fds[0], [&] {
            seen.push_back(value.get());
            loop.stop();
        });
        value.set(3);
    });
    ::raise(SIGUSR1);
    loop.run_forever();
    BOOST_TEST(seen == (std::vector{2, 2}));
}
