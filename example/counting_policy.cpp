// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

// A policy around another one: it counts and logs what it is asked, and leaves the
// answers to the policy inside, whichever that is.

#include <polyloop.hpp>

#include <atomic>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

// tag::policy[]
class counting_policy : public polyloop::event_loop_policy
{
public:
    explicit counting_policy(std::shared_ptr<polyloop::event_loop_policy> inside)
        : inside_(std::move(inside))
    {
    }

    polyloop::event_loop& get_event_loop() override
    {
        ++gets;
        return inside_->get_event_loop();
    }
    void set_event_loop(std::shared_ptr<polyloop::event_loop> loop) override
    {
        std::clog << (loop ? "bound " + loop->name() : "unbound") + '\n';
        inside_->set_event_loop(std::move(loop));
    }
    std::shared_ptr<polyloop::event_loop> new_event_loop() override
    {
        auto loop = inside_->new_event_loop();
        std::clog << "made " + loop->name() + '\n';
        return loop;
    }
    polyloop::event_loop& place(polyloop::placement_request const& request) override
    {
        ++placed;
        return inside_->place(request);
    }
    void start(std::shared_ptr<polyloop::event_loop> main) override
    {
        inside_->start(std::move(main));
        std::clog << "started " + std::to_string(inside_->loops().size()) + " loops\n";
    }
    void stop() override
    {
        inside_->stop();
        std::clog << "stopped\n";
    }
    std::vector<std::shared_ptr<polyloop::event_loop>> loops() const override
    {
        return inside_->loops();
    }
    polyloop::context_kind unit() const noexcept override { return inside_->unit(); }
    bool spreads_evenly() const noexcept override { return inside_->spreads_evenly(); }

    std::atomic<int> gets = 0, placed = 0; // from any thread

private:
    std::shared_ptr<polyloop::event_loop_policy> const inside_;
};
// end::policy[]

int main(int argc, char** argv)
{
    // tag::use[]
    auto const policy = std::make_shared<counting_policy>(
        polyloop::make_policy(argc > 1 ? argv[1] : "fiber loops=2"));
    int const sum = polyloop::run(
        [] {
            int n = 0;
            for (int i = 0; i != 10; ++i)
                n += polyloop::spawn([] {
                    return polyloop::spawn([] { return 1; }).join();
                }).join();
            return n;
        },
        {.policy = policy});
    // end::use[]
    std::cout << policy->placed << " tasks placed, " << policy->gets
              << " loops asked for\n";
    return sum == 10 && policy->placed == 20 ? 0 : 1;
}
