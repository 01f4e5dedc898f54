// Copyright (c) 2026 The polyloop authors
// Distributed under the Boost Software License, Version 1.0.
// (See accompanying file LICENSE or https://www.boost.org/LICENSE_1_0.txt)

#include "report.hpp"

#include <algorithm>
#include <functional>
#include <ostream>

namespace
{
std::string escaped(std::string_view text)
{
    std::string out;
    for (char const c : text)
        switch (c)
        {
        case '&':
            out += "&amp;";
            break;
        case '<':
            out += "&lt;";
            break;
        case '>':
            out += "&gt;";
            break;
        case '"':
            out += "&quot;";
            break;
        default:
            out += c;
        }
    return out;
}

char const head[] = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>polyloop: policies compared</title>
<style>
:root { color-scheme: light dark; --fiber: #2f6fb5; --coroutine: #d08a2e; --line: #8886; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 74em; margin: 2em auto; }
body { padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.1em; margin: 2em 0 .3em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .2em .5em; text-align: right; border-bottom: 1px solid var(--line); }
th { vertical-align: bottom; } td { white-space: nowrap; }
th:first-child, td:first-child { position: sticky; left: 0; background: Canvas; }
td:first-child { white-space: normal; min-width: 8em; }
.text { text-align: left; } .bad { color: #d33; font-weight: bold; }
svg { width: 100%; min-width: 34em; max-width: 58em; font: 13px system-ui, sans-serif; }
svg text { fill: currentColor; } svg line { stroke: currentColor; }
.fiber { fill: var(--fiber); } .coroutine { fill: var(--coroutine); }
.key { margin-right: 1em; } .key::before { content: "\25A0"; margin-right: .3em; }
.key.fiber { color: var(--fiber); } .key.coroutine { color: var(--coroutine); }
</style>
</head>
<body>
)";

struct quantity
{
    char const* title;
    int digits;
    std::function<double(row const&)> value;
    std::function<double(row const&)> deviation; // empty where there is none
};

/// Bars, a group of them for each policy.
void write_chart(std::ostream& out, std::vector<row> const& rows, quantity const& q)
{
    constexpr double width = 520, bar = 15, gap = 10;
    double left = 0, most = 0;
    for (row const& r : rows)
    {
        left = std::max(left, 20 + 7.5 * static_cast<double>(r.policy.size()));
        most = std::max(most, q.value(r) + (q.deviation ? q.deviation(r) : 0));
    }
    double const scale = most > 0 ? width / most : 0;

    double height = 0;
    std::string const* policy = nullptr;
    std::vector<double> tops;
    for (row const& r : rows)
    {
        if (!policy || *policy != r.policy)
            height += gap;
        policy = &r.policy;
        tops.push_back(height);
        height += bar;
    }

    out << "<h2>" << q.title
        << "</h2>\n<div class=\"scroll\"><svg role=\"img\" viewBox=\"0 0 "
        << fixed(left + width + 80, 0) << ' ' << fixed(height + gap, 0) << "\">\n<title>"
        << q.title << "</title>\n";
    policy = nullptr;
    for (std::size_t i = 0; i != rows.size(); ++i)
    {
        row const& r = rows[i];
        double const length = q.value(r) * scale, middle = tops[i] + bar / 2;
        if (!policy || *policy != r.policy)
            out << "<text x=\"0\" y=\"" << fixed(middle + 5, 1) << "\">"
                << escaped(r.policy) << "</text>\n";
        policy = &r.policy;
        out << "<rect class=\"" << to_string(r.how) << "\" x=\"" << left << "\" y=\""
            << fixed(tops[i] + 1, 1) << "\" width=\"" << fixed(length, 1)
            << "\" height=\"" << bar - 2 << "\"/>";
        double end = left + length;
        if (q.deviation)
        {
            double const half = q.deviation(r) * scale;
            out << "<line x1=\"" << fixed(end - half, 1) << "\" x2=\""
                << fixed(end + half, 1) << "\" y1=\"" << fixed(middle, 1) << "\" y2=\""
                << fixed(middle, 1) << "\"/>";
            end += half;
        }
        out << "<text x=\"" << fixed(end + 6, 1) << "\" y=\"" << fixed(middle + 5, 1)
            << "\">" << fixed(q.value(r), q.digits) << "</text>\n";
    }
    out << "</svg></div>\n";
}

void write_table(std::ostream& out, std::vector<row> const& rows)
{
    out << "<h2>All figures</h2>\n<div class=\"scroll\"><table>\n<tr><th "
           "class=\"text\">policy"
           "<th>loops<th class=\"text\">style<th>requests<th>errors<th>req/s<th>&plusmn;"
           "<th>p50 &micro;s<th>p99 &micro;s<th>p99.9 &micro;s<th>max &micro;s"
           "<th>cpu &micro;s/req"
           "<th>spread</tr>\n";
    for (row const& r : rows)
    {
        out << "<tr><td class=\"text\">" << escaped(r.policy) << "<td>" << r.loops
            << "<td class=\"text\">" << to_string(r.how) << "<td>" << r.requests;
        if (r.errors == 0)
            out << "<td>0";
        else
            out << "<td class=\"bad\" title=\"" << escaped(r.trouble) << "\">"
                << r.errors;
        out << "<td>" << fixed(r.rps(), 0) << "<td>" << fixed(r.rps_deviation(), 0);
        for (double const part : {0.5, 0.99, 0.999, 1.0})
            out << "<td>" << fixed(r.latency_us(part), 0);
        out << "<td>" << fixed(r.cpu_us_per_request(), 2) << "<td>"
            << (r.spread ? fixed(*r.spread, 2) : "-") << "</tr>\n";
    }
    out << "</table></div>\n";
}

} // namespace

void write_html(std::ostream& out, options const& o, std::vector<row> const& rows)
{
    out << head << "<h1>One server under every policy</h1>\n<p>" << escaped(described(o))
        << ".</p>\n<p><strong>" << escaped(verdict(o, rows)) << "</strong></p>\n";
    for (style const how : {style::fiber, style::coroutine})
        if (std::ranges::any_of(rows, [&](row const& r) { return r.how == how; }))
            out << "<span class=\"key " << to_string(how) << "\">" << to_string(how)
                << " style</span>\n";
    write_chart(out, rows,
        {"Requests per second, and their standard deviation over the rounds", 0,
            [](row const& r) { return r.rps(); },
            [](row const& r) { return r.rps_deviation(); }});
    write_chart(out, rows,
        {"Latency that 99 % do not exceed, in microseconds", 0,
            [](row const& r) { return r.latency_us(0.99); }, {}});
    write_chart(out, rows,
        {"Processor time of the server per request, in microseconds", 2,
            [](row const& r) { return r.cpu_us_per_request(); }, {}});
    write_table(out, rows);
    out << "<p>Requests that were on their way when the measured time ended are in the "
           "latencies. Spread is how even the connections lie on the loops: 1 is as even "
           "as so many can.</p>\n</body>\n</html>\n";
}
