// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// A policy that hands out one loop, which the application has prepared: it stands on the
// application's own io_context, has its signal handlers and its exception handler. Code
// that calls run, and knows nothing of all this, runs there.

#include <polyloop.hpp>

#include <boost/asio/io_context.hpp>

#include <csignal>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

// tag::policy[]
class prepared_loop : public polyloop::event_loop_policy
{
public:
    explicit prepared_loop(std::shared_ptr<polyloop::event_loop> loop)
        : loop_(std::move(loop))
        , next_(loop_)
    {
    }

    // The same for everybody, until its run has closed it.
    polyloop::event_loop& get_event_loop() override { return *loop_; }

    // Everybody has it already.
    void set_event_loop(std::shared_ptr<polyloop::event_loop>) override {}

    // Once, as each call has to give a fresh one.
    std::shared_ptr<polyloop::event_loop> new_event_loop() override
    {
        std::lock_guard const lock(mutex_);
        if (!next_)
            throw boost::system::system_error(
                polyloop::error::policy_in_use, "the prepared loop was given out");
        return std::exchange(next_, nullptr);
    }

private:
    std::shared_ptr<polyloop::event_loop> const loop_;
    std::mutex mutex_;
    std::shared_ptr<polyloop::event_loop> next_;
};
// end::policy[]

// Somebody else's code.
std::string work(polyloop::event& told)
{
    polyloop::get_running_loop().call_soon(
        [] { throw std::string("not of std::exception"); });
    polyloop::this_fiber::yield();
    ::raise(SIGUSR1);
    told.wait();
    return polyloop::get_running_loop().name();
}

int main()
{
    int signals = 0, errors = 0;
    // tag::use[]
    boost::asio::io_context io;
    polyloop::loop_options options;
    options.name = "prepared";
    auto const loop = std::make_shared<polyloop::event_loop>(io, options);
    polyloop::event told;
    loop->add_signal_handler(SIGUSR1, [&] {
        ++signals;
        told.set();
    });
    loop->set_exception_handler(
        [&](polyloop::event_loop&, polyloop::exception_context const& c) {
            ++errors;
            std::cout << polyloop::describe(c) << '\n';
        });
    // Ends before all that the loop refers to.
    polyloop::scoped_policy const scope(std::make_shared<prepared_loop>(loop));

    std::string const where = polyloop::run([&] { return work(told); });
    // end::use[]
    std::cout << "ran on " << where << ", " << signals << " signal, " << errors
              << " error\n";

    try
    {
        polyloop::run([&] { return work(told); });
    }
    catch (boost::system::system_error const& e)
    {
        std::cout << "again: " << e.what() << '\n';
    }
    return where == "prepared" && signals == 1 && errors == 1 ? 0 : 1;
}
