// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include "report.hpp"

#include "comparison.hpp"

#include <polyloop/policy/pool_policy.hpp>

#include <boost/json.hpp>

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <sstream>
#include <utility>

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
         << " bytes over loopback, " << o.duration.count() << " s for each row in "
         << o.rounds << " rounds, each after " << o.warmup.count()
         << " s of warm-up; processors: " << polyloop::usable_processors()
         << ", threads of the load: " << o.client_threads;
    return text.str();
}

// -- a row

void row::add(round_result const& r, seconds measured)
{
    double const rounds = static_cast<double>(rps_rounds.size());
    if (r.spread)
        spread = (spread.value_or(0) * rounds + *r.spread) / (rounds + 1);
    rps_rounds.push_back(static_cast<double>(r.load.requests) / measured.count());
    loops = std::max(loops, r.loops);
    requests += r.load.requests;
    if (errors == 0)
        trouble = r.load.trouble;
    errors += r.load.errors;
    latency.add(r.load.latency);
    cpu_us += r.load.cpu_us;
}

double row::rps() const
{
    return mean(rps_rounds);
}

double row::rps_deviation() const
{
    return standard_deviation(rps_rounds);
}

double row::cpu_us_per_request() const
{
    return requests == 0 ? 0 : cpu_us / static_cast<double>(requests);
}

// -- the table

table::table(std::ostream& out, options const& o)
    : out_(out)
    , rounds_(o.rounds)
    , rows_(o.policies.size() * o.styles.size())
{
    std::size_t width = 0;
    for (std::string const& p : o.policies)
        width = std::max(width, p.size());
    policy_width_ = static_cast<int>(width);
    out_ << described(o) << ".\n"
         << "Latencies and processor time (of the server, per request) in microseconds; "
            "spread is how even\nthe connections lie on the loops: 1 is as even as so "
            "many can.\n"
         << std::endl;
}

void table::progress(std::size_t round, row const& r)
{
    if (std::exchange(told_of_, round) != round)
        out_ << (round == 1 ? "" : "\n") << "round " << round << " of " << rounds_
             << ", 1000 req/s:";
    out_ << ' ' << fixed(r.rps_rounds.back() / 1000, 1) << std::flush;
}

void table::head()
{
    has_head_ = true;
    out_ << (told_of_ == 0 ? "" : "\n\n") << std::left << std::setw(8 + policy_width_)
         << "        policy" << std::right
         << " loops  style       requests  errors    req/s     p50     p99   p99.9"
            "     max    cpu  spread"
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
    cell(10, std::to_string(r.requests));
    cell(7, std::to_string(r.errors));
    cell(8, fixed(r.rps(), 0));
    for (double const part : {0.5, 0.99, 0.999, 1.0})
        cell(7, fixed(r.latency_us(part), 0));
    cell(6, fixed(r.cpu_us_per_request(), 2));
    cell(7, r.spread ? fixed(*r.spread, 2) : "-");
    if (r.errors != 0)
        out_ << "\n        " << r.trouble;
    out_ << std::endl;
}

void table::rest(std::vector<row> const& rows)
{
    if (!has_head_)
        head();
    while (printed_ < rows.size())
        add(rows[printed_]);
}

// -- the verdict

namespace
{
std::string compared(std::vector<row> const& rows)
{
    auto const best_of = [&](auto&& admitted) {
        row const* best = nullptr;
        for (row const& r : rows)
            if (r.good() && admitted(r) && (!best || r.rps() > best->rps()))
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

    std::string const by =
        fixed((best->rps() / next->rps() - 1) * 100, 1) + " % more requests per second";
    std::size_t const rounds = std::min(best->rps_rounds.size(), next->rps_rounds.size());
    if (rounds < 2)
        return name(*best) + " served " + by + " than " + name(*next) +
            ", but one round does not tell a difference from noise.";
    comparison const c(best->rps_rounds, next->rps_rounds);
    std::string const criterion = " (Welch's t over " + std::to_string(rounds) +
        " rounds: " + fixed(c.t, 1) + "; a lead counts from " + fixed(c.needed, 1) +
        " on, which two equals reach once in " + fixed(1 / comparison::by_chance, 0) +
        " comparisons).";
    if (c.differ())
        return name(*best) + " served this load best, with " + by +
            " than the next policy, " + name(*next) + criterion;
    return "The difference between the best policies is noise: " + name(*best) +
        " served " + by + " than " + name(*next) + criterion;
}

bool is_whole(options const& o, std::vector<row> const& rows)
{
    return rows.size() == o.policies.size() * o.styles.size() &&
        std::ranges::all_of(
            rows, [&](row const& r) { return r.rps_rounds.size() == o.rounds; });
}
} // namespace

std::string verdict(options const& o, std::vector<row> const& rows)
{
    return (is_whole(o, rows) ? "" : "Interrupted; of what was measured: ") +
        compared(rows);
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
            {"requests", r.requests},
            {"errors", r.errors},
            {"rps", r.rps()},
            {"rps_deviation", r.rps_deviation()},
            {"rps_rounds", json::value_from(r.rps_rounds)},
            {"p50_us", r.latency_us(0.5)},
            {"p99_us", r.latency_us(0.99)},
            {"p999_us", r.latency_us(0.999)},
            {"max_us", r.latency_us(1)},
            {"cpu_us_per_request", r.cpu_us_per_request()},
            {"spread", r.spread.value_or(1)},
        });
    out << json::object{
               {"connections", o.connections},
               {"size", o.size},
               {"duration_s", o.duration.count()},
               {"rounds", o.rounds},
               {"warmup_s", o.warmup.count()},
               {"client_threads", o.client_threads},
               {"processors", polyloop::usable_processors()},
               {"rows", std::move(all)},
               {"interrupted", !is_whole(o, rows)},
               {"verdict", verdict(o, rows)},
           }
        << '\n';
}
