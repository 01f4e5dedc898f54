// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// A policy with a context of its own: not a thread, a strand or a fiber, but a tenant.
// All that is done for one tenant is done by one loop, whichever task began it, so a
// tenant that keeps its loop busy delays nobody but itself.

#include <polyloop.hpp>

#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

// tag::policy[]
// For whom the present task works; whoever it spawns works for the same.
polyloop::fiber_local<std::string> tenant{std::string()};

class tenant_policy : public polyloop::event_loop_policy
{
public:
    explicit tenant_policy(std::vector<std::string> tenants)
        : tenants_(std::move(tenants))
    {
    }

    ~tenant_policy() override { stop(); }

    polyloop::event_loop& get_event_loop() override
    {
        std::lock_guard const lock(state_->mutex);
        auto const found = state_->loops.find(tenant.get());
        if (found == state_->loops.end())
            throw boost::system::system_error(
                polyloop::error::no_current_loop,
                tenant.get().empty() ? "no tenant is bound here"
                                     : "tenant \"" + tenant.get() + '"');
        return *found->second;
    }

    void set_event_loop(std::shared_ptr<polyloop::event_loop> loop) override
    {
        std::lock_guard const lock(state_->mutex);
        if (loop)
            state_->loops[tenant.get()] = std::move(loop);
        else
            state_->loops.erase(tenant.get());
    }

    std::shared_ptr<polyloop::event_loop> new_event_loop() override
    {
        return std::make_shared<polyloop::event_loop>();
    }

    // With the tenant; without one where the caller is.
    polyloop::event_loop& place(polyloop::placement_request const& request) override
    {
        if (!tenant.get().empty())
        {
            std::lock_guard const lock(state_->mutex);
            auto const found = state_->loops.find(tenant.get());
            if (found != state_->loops.end())
                return *found->second;
        }
        return event_loop_policy::place(request);
    }

    // A loop and a thread for each tenant, as long as the run lasts.
    void start(std::shared_ptr<polyloop::event_loop> main) override
    {
        std::vector<std::shared_ptr<polyloop::event_loop>> all{main};
        std::map<std::string, std::shared_ptr<polyloop::event_loop>> loops;
        auto const group = std::make_shared<polyloop::loop_group>();
        for (std::string const& name : tenants_)
        {
            polyloop::loop_options options;
            options.name = name;
            auto loop = std::make_shared<polyloop::event_loop>(options);
            join_run(*main, *loop); // this policy is in force there, too
            group->add(loop);
            all.push_back(loop);
            loops[name] = std::move(loop);
        }
        {
            std::lock_guard const lock(state_->mutex);
            if (state_->group)
                throw boost::system::system_error(
                    polyloop::error::policy_in_use, "the tenants are in another run");
            state_->group = group;
            state_->loops = std::move(loops);
            state_->all = std::move(all);
        }
        // Neither starts nor joins threads under the lock, which they may want.
        try
        {
            group->start();
        }
        catch (...) // the runner stops only what has started
        {
            stop();
            throw;
        }
    }

    void stop() override
    {
        std::shared_ptr<polyloop::loop_group> group;
        {
            std::lock_guard const lock(state_->mutex);
            group = std::exchange(state_->group, nullptr);
        }
        if (!group)
            return;
        group->stop();
        group->join();
        std::lock_guard const lock(state_->mutex);
        state_->loops.clear();
        state_->all.clear();
    }

    std::vector<std::shared_ptr<polyloop::event_loop>> loops() const override
    {
        std::lock_guard const lock(state_->mutex);
        return state_->all;
    }

private:
    struct state
    {
        mutable std::mutex mutex;
        std::map<std::string, std::shared_ptr<polyloop::event_loop>> loops;
        std::vector<std::shared_ptr<polyloop::event_loop>> all;
        std::shared_ptr<polyloop::loop_group> group; // null while no run is on
    };

    std::vector<std::string> const tenants_;
    polyloop::per_process<state> state_; // a forked child begins with nothing
};
// end::policy[]

// Knows neither tenants nor loops.
std::string request()
{
    polyloop::this_fiber::yield();
    auto part = polyloop::spawn([] { return polyloop::get_running_loop().name(); });
    return polyloop::get_running_loop().name() + '/' + part.join();
}

int main()
{
    auto const policy =
        std::make_shared<tenant_policy>(std::vector<std::string>{"ada", "bob"});
    auto const seen = polyloop::run(
        [&] {
            // The tenants' loops are those of this run.
            std::thread([&] {
                try
                {
                    polyloop::run([] {}, {.policy = policy});
                }
                catch (boost::system::system_error const& e)
                {
                    std::cout << "another run: " << e.what() << '\n';
                }
            }).join();
            std::map<std::string, std::string> all;
            // tag::use[]
            for (std::string const name : {"ada", "bob", "nobody"})
            {
                auto const scope = tenant.bind(name);
                all[name] = polyloop::spawn(request).join();
            }
            // end::use[]
            return all;
        },
        {.policy = policy});
    for (auto const& [name, where] : seen)
        std::cout << name << ": " << where << '\n';

    // The next run has loops of its own.
    polyloop::run(
        [] {
            auto const scope = tenant.bind("ada");
            std::cout << "again: " << polyloop::spawn(request).join() << '\n';
        },
        {.policy = policy});
    return seen.at("ada") == "ada/ada" && seen.at("bob") == "bob/bob" ? 0 : 1;
}
