// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// A policy of one's own: derived from the default one, it overrides one operation, as in
// the page on asyncio's policies. It gives a loop to each thread that asks for one and
// has none, as asyncio itself once did; the default policy throws there.

#include <polyloop.hpp>

#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>

// tag::policy[]
class loop_on_demand : public polyloop::default_policy
{
public:
    polyloop::event_loop& get_event_loop() override
    {
        // This may do something special, and here it does.
        if (thread_local bool first = true; std::exchange(first, false))
            set_event_loop(new_event_loop());
        return default_policy::get_event_loop();
    }
};
// end::policy[]

// Knows neither the policy nor whether its thread has a loop.
std::string work()
{
    polyloop::event_loop& loop = polyloop::get_event_loop();
    return polyloop::run_until_complete(loop, [&] {
        polyloop::this_fiber::yield();
        return loop.name();
    });
}

int main()
{
    try
    {
        work();
    }
    catch (boost::system::system_error const& e)
    {
        std::cout << "by default: " << e.what() << '\n';
    }

    // tag::set[]
    polyloop::set_event_loop_policy(std::make_shared<loop_on_demand>());
    // end::set[]

    std::string const here = work();
    std::string there;
    std::thread([&] { there = work(); }).join();
    std::cout << "main thread: " << here << "\nother thread: " << there
              << "\nmain thread again: " << work() << '\n';
    return here != there && here == work() ? 0 : 1;
}
