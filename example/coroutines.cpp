// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// C++20 coroutines as tasks: the policy places each that is spawned, another coroutine
// joins it with co_await, and cancelling it ends its wait. The argument is a policy.

#include <polyloop.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

namespace asio = boost::asio;
using namespace std::chrono_literals;

asio::awaitable<void> pause(std::chrono::milliseconds d)
{
    asio::steady_timer timer(co_await asio::this_coro::executor, d);
    co_await timer.async_wait(asio::use_awaitable);
}

asio::awaitable<std::string> visit(int number)
{
    co_await pause(number * 10ms);
    co_return std::to_string(number) + " on " + polyloop::get_running_loop().name();
}

asio::awaitable<bool> main_task()
{
    std::vector<polyloop::task<std::string>> visits;
    for (int i = 1; i <= 4; ++i)
        visits.push_back(polyloop::spawn([i] { return visit(i); }));
    for (auto& v : visits) // all of them run meanwhile
        std::cout << co_await v.async_join(asio::use_awaitable) << '\n';

    auto forever = polyloop::spawn([] { return pause(1h); });
    co_await pause(10ms);
    forever.cancel();
    try
    {
        co_await forever.async_join(asio::use_awaitable);
    }
    catch (boost::system::system_error const& e)
    {
        std::cout << "cancelled: " << e.what() << '\n';
    }
    co_return forever.cancelled();
}

int main(int argc, char** argv)
try
{
    auto policy = polyloop::make_policy(argc > 1 ? argv[1] : "fiber loops=2");
    return polyloop::run(main_task, {.policy = policy}) ? 0 : 1;
}
catch (std::exception const& e) // no such policy, say
{
    std::cerr << "coroutines: " << e.what() << '\n';
    return 2;
}
