// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include "report.hpp"

#include <polyloop/policy/pool_policy.hpp>

#include <boost/json.hpp>

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <sstream>

namespace json = boost::json;

std::string fixed(double value, int digits)
{
    std::ostringstream text;
    text << std::fixed << std::setprecision(digits) << value;
    return text.str();
}

std::string described(options const& o)
{
    std::ostringstream text;
    text << o.connections << " connections with messages of " << o.size
         << " bytes over loopback, " << o.duration.count() << " s each after "
         << o.warmup.count()
         << " s of warm-up; processors: " << polyloop::usable_processors()
         << ", threads of the load: " << o.client_threads;
    return text.str();
}

// -- the table

table::table(std::ostream& out, options const& o)
    : out_(out)
    , rows_(o.policies.size() * o.styles.size())
{
    std::size_t width = 0;
    for (std::string const& p : o.policies)
        width = std::max(width, p.size());
    policy_width_ = static_cast<int>(width);
    out_ << described(o) << ".\n"
         << "Latencies and processor time (of the server, per request) in microseconds; "
            "spread is the\nfewest connections on a loop over the most: 1 is even.\n\n"
         << std::left << std::setw(8 + policy_width_) << "        policy" << std::right
         << " loops  style       requests  errors    req/s     p50     p99   p99.9    "
            "cpu  "
            "spread"
         << std::endl;
}

void table::add(row const& r)
{
    auto const cell = [this](int width, std::string const& text) {
        out_ << ' ' << std::setw(width) << text;
    };
    out_ << std::right << '[' << std::setw(2) << ++printed_ << '/' << std::setw(2)
         << rows_ << "] " << std::left << std::setw(policy_width_) << r.policy
         << std::right;
    cell(5, std::to_string(r.loops));
    out_ << "  " << std::left << std::setw(9) << to_string(r.how) << std::right;
    cell(10, std::to_string(r.load.requests));
    cell(7, std::to_string(r.load.errors));
    cell(8, fixed(r.rps, 0));
    cell(7, fixed(r.load.p50_us, 0));
    cell(7, fixed(r.load.p99_us, 0));
    cell(7, fixed(r.load.p999_us, 0));
    cell(6, fixed(r.cpu_us_per_request, 2));
    cell(7, fixed(r.spread, 2));
    if (r.load.errors != 0)
        out_ << "\n        " << r.load.trouble;
    out_ << std::endl;
}

// -- the verdict

std::string verdict(std::vector<row> const& rows)
{
    auto const best_of = [&](auto&& admitted) {
        row const* best = nullptr;
        for (row const& r : rows)
            if (r.good() && admitted(r) && (!best || r.rps > best->rps))
                best = &r;
        return best;
    };
    row const* const best = best_of([](row const&) { return true; });
    if (!best)
        return "No policy served this load without errors.";
    row const* const next =
        best_of([&](row const& r) { return r.policy != best->policy; });
    auto const name = [](row const& r) {
        return '"' + r.policy + "\" (" + std::string(to_string(r.how)) + " style)";
    };
    if (!next)
        return name(*best) + " alone served this load without errors.";

    double const lead = best->rps - next->rps;
    double const noise = best->rps_deviation + next->rps_deviation;
    std::string const by =
        fixed(lead / next->rps * 100, 1) + " % more requests per second";
    std::string const criterion = " (a lead counts if it exceeds both rows' standard "
                                  "deviations over " +
        std::to_string(best->load.parts.size()) +
        " parts of the measured time together: " + fixed(lead, 0) + " against " +
        fixed(noise, 0) + " requests per second).";
    if (lead > noise)
        return name(*best) + " served this load best, with " + by +
            " than the next policy, " + name(*next) + criterion;
    return "The difference between the best policies is noise: " + name(*best) +
        " served " + by + " than " + name(*next) + criterion;
}

// -- JSON

void write_json(std::ostream& out, options const& o, std::vector<row> const& rows)
{
    json::array all;
    for (row const& r : rows)
        all.push_back(json::object{
            {"policy", r.policy},
            {"loops", r.loops},
            {"style", json::string(to_string(r.how))},
            {"requests", r.load.requests},
            {"errors", r.load.errors},
            {"rps", r.rps},
            {"rps_deviation", r.rps_deviation},
            {"p50_us", r.load.p50_us},
            {"p99_us", r.load.p99_us},
            {"p999_us", r.load.p999_us},
            {"cpu_us_per_request", r.cpu_us_per_request},
            {"spread", r.spread},
        });
    out << json::object{
               {"connections", o.connections},
               {"size", o.size},
               {"duration_s", o.duration.count()},
               {"warmup_s", o.warmup.count()},
               {"client_threads", o.client_threads},
               {"processors", polyloop::usable_processors()},
               {"rows", std::move(all)},
               {"verdict", verdict(rows)},
           }
        << '\n';
}
