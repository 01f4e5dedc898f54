// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// run and runner with a loop factory in place of a policy: for a program with one loop
// that wants it made in its own way.

#include <polyloop.hpp>

#include <chrono>
#include <iostream>
#include <memory>
#include <string>

using namespace std::chrono_literals;

// tag::factory[]
std::shared_ptr<polyloop::event_loop> make_loop()
{
    polyloop::loop_options options;
    options.name = "hand-made";
    options.spin = 20us;              // polls before it sleeps: quicker to wake
    options.stacks.size = 256 * 1024; // its fibers recurse deeply
    return std::make_shared<polyloop::event_loop>(options);
}

std::string where()
{
    polyloop::this_fiber::sleep_for(1ms);
    return polyloop::get_running_loop().name();
}

int main()
{
    std::string const once = polyloop::run(where, {.loop_factory = make_loop});
    std::cout << "run: " << once << '\n';

    polyloop::runner runner({.loop_factory = make_loop}); // several main tasks, one loop
    int visits = 0;
    auto count = [&, loop = &runner.get_loop()] {
        return loop == &polyloop::get_running_loop() ? ++visits : 0;
    };
    runner.run(count);
    std::cout << "runner: " << runner.run(count) << " visits to one " << runner.run(where)
              << " loop\n";
    return once == "hand-made" && visits == 2 ? 0 : 1;
}
// end::factory[]
