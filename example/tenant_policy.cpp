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
        std::lock_guard const lock(mutex_);
        auto const found = loops_.find(tenant.get());
        if (found == loops_.end())
            throw boost::system::system_error(
                polyloop::error::no_current_loop, "tenant \"" + tenant.get() + '"');
        return *found->second;
    }

    void set_event_loop(std::shared_ptr<polyloop::event_loop> loop) override
    {
        std::lock_guard const lock(mutex_);
        if (loop)
            loops_[tenant.get()] = std::move(loop);
        else
            loops_.erase(tenant.get());
    }

    std::shared_ptr<polyloop::event_loop> new_event_loop() override
    {
        return std::make_shared<polyloop::event_loop>();
    }

    // With the tenant; without one where the caller is.
    polyloop::event_loop& place(polyloop::placement_request const& request) override
    {
        {
            std::lock_guard const lock(mutex_);
            auto const found = loops_.find(tenant.get());
            if (found != loops_.end())
                return *found->second;
        }
        return event_loop_policy::place(request);
    }

    // A loop and a thread for each tenant, as long as the run lasts.
    void start(std::shared_ptr<polyloop::event_loop> main) override
    {
        std::lock_guard const lock(mutex_);
        all_ = {main};
        group_ = std::make_unique<polyloop::loop_group>();
        for (std::string const& name : tenants_)
        {
            polyloop::loop_options options;
            options.name = name;
            auto loop = std::make_shared<polyloop::event_loop>(options);
            join_run(*main, *loop); // this policy is in force there, too
            group_->add(loop);
            all_.push_back(loop);
            loops_[name] = std::move(loop);
        }
        group_->start();
    }

    void stop() override
    {
        if (auto const group = std::exchange(group_, nullptr))
        {
            group->stop();
            group->join();
        }
        std::lock_guard const lock(mutex_);
        loops_.clear();
        all_.clear();
    }

    std::vector<std::shared_ptr<polyloop::event_loop>> loops() const override
    {
        std::lock_guard const lock(mutex_);
        return all_;
    }

private:
    std::vector<std::string> const tenants_;
    mutable std::mutex mutex_;
    std::map<std::string, std::shared_ptr<polyloop::event_loop>> loops_;
    std::vector<std::shared_ptr<polyloop::event_loop>> all_;
    std::unique_ptr<polyloop::loop_group> group_;
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
        [] {
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
    return seen.at("ada") == "ada/ada" && seen.at("bob") == "bob/bob" ? 0 : 1;
}
