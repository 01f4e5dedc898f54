// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include "measure.hpp"

#include "handlers.hpp"

#include <polyloop/policy/registry.hpp>
#include <polyloop/runner/runner.hpp>
#include <polyloop/task/this_fiber.hpp>

#include <boost/asio/posix/stream_descriptor.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <exception>
#include <memory>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace asio = boost::asio;

namespace
{
int checked(int result, char const* what)
{
    if (result == -1)
        throw std::system_error(errno, std::generic_category(), what);
    return result;
}

// Under shared_policy the one loop is run by several threads.
unsigned threads(std::vector<std::shared_ptr<polyloop::event_loop>> const& loops)
{
    unsigned n = 0;
    for (auto const& loop : loops)
        n += loop->options().concurrency;
    return std::max(n, 1U);
}

/// The main task of a run.
void drive(options const& o, style how, round_result& r, loop_shares& shares,
    interruption const& interrupted)
{
    asio::posix::stream_descriptor signal(polyloop::get_running_loop().get_executor(),
        checked(fcntl(interrupted.descriptor(), F_DUPFD_CLOEXEC, 0), "fcntl"));
    signal.async_wait(asio::posix::stream_descriptor::wait_read,
        [main = polyloop::this_fiber::current_task()](
            boost::system::error_code ec) mutable {
            if (!ec)
                main.cancel(); // whatever it waits for throws
        });

    load_process load;
    polyloop::server server =
        start_echo({asio::ip::address_v4::loopback(), 0}, how, shares);
    auto const loops = polyloop::get_event_loop_policy()->loops();
    r.loops = threads(loops);
    r.load = load.measure(o, server.endpoint().port());
    r.spread = shares.spread(loops);
    server.close();
}

/// Those of the two that the program has not been told to ignore.
sigset_t awaited()
{
    sigset_t all;
    sigemptyset(&all);
    for (int const number : {SIGINT, SIGTERM})
    {
        struct sigaction now = {};
        sigaction(number, nullptr, &now);
        if (now.sa_handler != SIG_IGN)
            sigaddset(&all, number);
    }
    return all;
}

} // namespace

interruption::interruption()
{
    sigset_t const all = awaited();
    descriptor_ = checked(signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
    pthread_sigmask(SIG_BLOCK, &all, nullptr); // for each thread made from now on, too
}

interruption::~interruption()
{
    close(descriptor_);
}

int interruption::signal()
{
    signalfd_siginfo said{};
    if (came_ == 0 && read(descriptor_, &said, sizeof said) == sizeof said)
        came_ = static_cast<int>(said.ssi_signo);
    return came_;
}

round_result measure(options const& o, std::string const& policy, style how,
    interruption const& interrupted)
{
    round_result r;
    loop_shares shares; // outlives the run and so the handlers
    try
    {
        polyloop::run([&] { drive(o, how, r, shares, interrupted); },
            {.policy = polyloop::make_policy(policy)});
    }
    catch (std::exception const& e)
    {
        ++r.load.errors;
        r.load.trouble = e.what();
    }
    return r;
}
