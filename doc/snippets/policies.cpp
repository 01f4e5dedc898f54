// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// What doc/policies.adoc shows; ends with 0 if all of it behaves as the page says.

#include <polyloop.hpp>

#include <boost/asio/post.hpp>

#include <cstddef>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

void expect(bool right, std::string_view what)
{
    if (right)
        return;
    std::cerr << "not so: " << what << '\n';
    std::exit(1);
}

int work()
{
    return polyloop::spawn([] { return 42; }).join();
}

// -- in force for a run, a scope, the process -------------------------------------------

void of_a_run()
{
    // tag::run[]
    auto policy = std::make_shared<polyloop::fiber_policy>(
        polyloop::pool_options{.loops = 2}, polyloop::placement::least_tasks());
    int const result = polyloop::run(work, {.policy = policy});
    // end::run[]
    expect(result == 42, "a run under a policy of its own");
}

void of_a_scope()
{
    auto const before = polyloop::get_event_loop_policy();
    // tag::scope[]
    {
        polyloop::scoped_policy const here(polyloop::make_policy("strand loops=2"));
        polyloop::run(work); // no policy of its own: takes the process's
    } // the same old object is in force again
    // end::scope[]
    expect(before == polyloop::get_event_loop_policy(), "scoped_policy restores");
}

void of_the_process()
{
    // tag::process[]
    polyloop::set_event_loop_policy(std::make_shared<polyloop::shared_policy>());
    polyloop::run(work);
    polyloop::set_event_loop_policy(nullptr); // back to what POLYLOOP_POLICY says
    // end::process[]
}

// -- bindings ----------------------------------------------------------------------------

void a_loop_per_thread()
{
    // tag::thread[]
    std::thread worker([] {
        auto const loop = polyloop::new_event_loop(); // not yet current
        polyloop::set_event_loop(loop);               // bound to this thread
        auto task = polyloop::spawn(work);            // on the thread's loop
        polyloop::run_until_complete(*loop, task);
        loop->close();
    }); // the binding ends with the thread
    worker.join();
    // end::thread[]
}

// -- placement ---------------------------------------------------------------------------

// tag::strategy[]
/// Tasks with the key "bulk" share the last loop; all others are spread over the rest.
class bulk_apart
{
public:
    std::size_t operator()(
        polyloop::placement_request const& request, polyloop::placement::loops loops)
    {
        if (request.key == "bulk" || loops.size() == 1)
            return loops.size() - 1;
        return others_(request, loops.first(loops.size() - 1));
    }

private:
    polyloop::placement::round_robin others_;
};
// end::strategy[]

void own_strategy()
{
    // tag::use_strategy[]
    auto policy = std::make_shared<polyloop::fiber_policy>(
        polyloop::pool_options{.loops = 3}, bulk_apart());
    polyloop::run(
        [] {
            auto where = [] { return &polyloop::get_running_loop(); };
            auto report = polyloop::spawn(where, {.name = "report", .key = "bulk"});
            auto answer = polyloop::spawn(where, {.name = "answer"});
            expect(report.join() != answer.join(), "bulk tasks live apart");
        },
        {.policy = policy});
    // end::use_strategy[]
}

void strands()
{
    // tag::strands[]
    polyloop::run(
        [] {
            polyloop::strand const account = polyloop::make_strand("account");
            int balance = 0;
            for (int i = 0; i != 100; ++i)
                boost::asio::post(account, [&] { ++balance; }); // one after the other
            auto sum = polyloop::spawn(account, [&] { return balance; });
            expect(sum.join() == 100, "handlers of a strand run in order");
        },
        {.policy = polyloop::make_policy("strand loops=2")});
    // end::strands[]
}

// -- a policy of one's own ---------------------------------------------------------------

// tag::own[]
/// One loop for everybody: here a context is the whole process.
class one_for_all : public polyloop::event_loop_policy
{
public:
    explicit one_for_all(polyloop::loop_options options)
        : options_(std::move(options))
    {
    }

    polyloop::event_loop& get_event_loop() override
    {
        std::lock_guard const lock(mutex_);
        if (!loop_)
            throw boost::system::system_error(polyloop::error::no_current_loop);
        return *loop_;
    }

    void set_event_loop(std::shared_ptr<polyloop::event_loop> loop) override
    {
        std::lock_guard const lock(mutex_);
        loop_.swap(loop);
    }

    std::shared_ptr<polyloop::event_loop> new_event_loop() override
    {
        return std::make_shared<polyloop::event_loop>(options_);
    }

private:
    polyloop::loop_options const options_;
    std::mutex mutex_;
    std::shared_ptr<polyloop::event_loop> loop_;
};
// end::own[]

void own_policy()
{
    // tag::register[]
    polyloop::register_policy("one_for_all", [](polyloop::policy_words& words) {
        polyloop::loop_options options;
        options.name = words.word("name", "everybody's");
        options.stacks.keep = words.number("keep", 64, 0, 1'000'000);
        return std::make_shared<one_for_all>(std::move(options));
    });

    auto policy = polyloop::make_policy("one_for_all keep=16"); // or POLYLOOP_POLICY
    // end::register[]

    polyloop::run(
        [] {
            polyloop::event_loop* seen = nullptr;
            std::thread([&, p = polyloop::get_event_loop_policy()] {
                seen = &p->get_event_loop();
            }).join();
            expect(seen == &polyloop::get_running_loop(), "one loop for all threads");
            expect(seen->name() == "everybody's", "the factory's default");
        },
        {.policy = policy});
}

void errors_of_texts()
{
    // tag::errors[]
    try
    {
        polyloop::make_policy("fiber loops=-1");
    }
    catch (boost::system::system_error const& e)
    {
        std::cout << e.what() << '\n'; // the word, and what would be right
        expect(e.code() == polyloop::error::bad_config, "a bad text is bad_config");
    }
    // end::errors[]
}

int main()
{
    of_a_run();
    of_a_scope();
    of_the_process();
    a_loop_per_thread();
    own_strategy();
    strands();
    own_policy();
    errors_of_texts();
}
