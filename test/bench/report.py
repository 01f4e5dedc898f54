#!/usr/bin/env python3
"""Runs the benchmarks, and holds them against what the design says that they may cost."""

import argparse
import html
import json
import os
import re
import subprocess
import sys
import tempfile

import echo
import http_servers

# -- what it must cost ------------------------------------------------------------------------
# Section 5 of the design. A figure is named scenario/system, those of the servers with
# :instructions, :time or :calls behind it. A bound is so many times a figure (None: as it
# stands); all bounds of a row have to hold.

PEERS = ("asio_callbacks", "asio_coroutines", "asio_spawn", "libuv")


class Row:
    def __init__(self, name, ours, *bounds, limit=None, unit="ns", minus=None, says=None):
        self.name, self.ours, self.bounds, self.unit = name, ours, bounds, unit
        self.limit, self.minus = limit, minus
        self.text = says or ", ".join(
            f"{factor:g} {unit}" if other is None else f"{factor:g} x {other.split('/', 1)[1]}"
            for factor, other in bounds
        )


def simple(scenario, *bounds, limit=None, args=""):
    """A row of one scenario; the names in its bounds are systems."""
    return Row(
        scenario + args.replace("/", " "),
        f"{scenario}/polyloop{args}",
        *((factor, other if "/" in other else f"{scenario}/{other}{args}") for factor, other in bounds),
        limit=limit or f"{scenario}/limit{args}",
    )


ROWS = [
    simple("get_running_loop", (1.5, "limit")),
    simple("yield", (1.5, "limit"), (1 / 4, "boost_fiber")),
    simple("spawn_join", (1.3, "limit"), (1 / 4, "boost_fiber")),
    simple("spawn_batch", (0.6, "spawn_join/limit"), limit="spawn_join/limit"),
    simple("channel_round_trip", (1 / 4, "boost_fiber")),
    simple("mutex_round_trip", (1 / 4, "boost_fiber")),
    simple("condition_round_trip", (1 / 4, "boost_fiber")),
    simple("semaphore_round_trip", (1 / 4, "boost_fiber")),
    simple("event_round_trip", (1 / 4, "boost_fiber")),
    *(
        simple("deadline", (1.5, "limit"), (1 / 20, "asio_steady_timer"), args=f"/{n}")
        for n in (1, 1000, 1000000)
    ),
    # Flat: a million cost no more than the memory that they lie in makes the wheel cost.
    Row(
        "deadline: 1000000 over 1", "deadline/polyloop/1000000", unit="x",
        limit="deadline/limit/1000000", says="flat: at most 1.5, or as the wheel",
    ),
    Row(
        "wait_with_deadline, over the same without", "wait_with_deadline/polyloop",
        (15, None), minus="wait/polyloop",
    ),
    Row(
        "timeout around a wait, over the wait", "wait_with_deadline/polyloop_timeout",
        (15, None), minus="wait/polyloop",
    ),
    simple("call_soon", (1 / 2, "asio_post")),
    simple("threadsafe", (1 / 4, "asio_post"), args="/real_time"),
    Row(
        "threadsafe: system calls for a batch", "threadsafe/polyloop/real_time:per_batch",
        (1, None), unit="calls",
    ),
    simple("strand_post", (1 / 4, "asio_strand")),
]
for n in (1, 100, 1000):
    at = f"echo_{n}/"
    ROWS += [
        Row(
            f"echo, {n} connections: instructions", f"{at}polyloop_fibers:instructions",
            (1.1, f"{at}asio_callbacks:instructions"), (0.7, f"{at}asio_spawn:instructions"),
            limit=f"{at}bare_epoll:instructions", unit="instr",
        ),
        Row(
            f"echo, {n} connections: processor time", f"{at}polyloop_fibers:time",
            (1.02, f"{at}asio_callbacks:time"), limit=f"{at}bare_epoll:time",
        ),
        Row(
            f"echo, {n} connections: system calls", f"{at}polyloop_fibers:calls",
            (1.0, f"{at}asio_callbacks:calls"), limit=f"{at}bare_epoll:calls", unit="calls",
        ),
    ]
# Sockets made for fibers are ahead of every peer, and near the bare loop.
for n in echo.CONNECTIONS:
    at = f"echo_{n}/"
    bare = {100: 1.02, 1000: 1.07}.get(n)
    ROWS.append(
        Row(
            f"echo, sockets for fibers, {n}: processor time", f"{at}polyloop_streams:time",
            *([(bare, f"{at}bare_epoll:time")] if bare else []),
            *((1.0, f"{at}{peer}:time") for peer in PEERS), limit=f"{at}bare_epoll:time",
        )
    )
at = "echo_100/"
ROWS += [
    Row(
        "echo, sockets for fibers, 100: instructions", f"{at}polyloop_streams:instructions",
        (220, None), *((1.0, f"{at}{peer}:instructions") for peer in PEERS),
        limit=f"{at}bare_epoll:instructions", unit="instr",
    ),
    Row(
        "echo, sockets for fibers, 100: system calls", f"{at}polyloop_streams:calls",
        (2.2, None), limit=f"{at}bare_epoll:calls", unit="calls",
    ),
]
for system, says, all_n in (
    ("polyloop_fibers", "", (1, 100, 1000)),
    ("polyloop_streams", ", sockets for fibers", echo.CONNECTIONS),
):
    for n in all_n:
        for figure, unit in (("instructions", "instr"), ("time", "ns")):
            without = f"echo_{n}/{system}:{figure}"
            ROWS.append(
                Row(
                    f"echo{says}, {n} connections, idle deadline: {figure}",
                    f"echo_{n}_idle/{system}:{figure}", (1.03, without),
                    limit=without, unit=unit, says="1.03 x the same without",
                )
            )
ROWS += [
    Row(
        f"HTTP, {n} connections: processor time", f"http_{n}/polyloop_streams:time",
        (1.0, f"http_{n}/beast_callbacks:time"), limit=f"http_{n}/nginx:time",
    )
    for n in (1, 100, 1000)
]
ROWS += [
    Row(
        f"64 KiB writes, one connection, a MiB: {says}", f"write_64k/polyloop_streams:{figure}",
        (1.02, f"write_64k/asio_callbacks:{figure}"), limit=f"write_64k/bare:{figure}",
    )
    for figure, says in (("time", "processor time"), ("real", "time"))
]
ROWS += [
    Row(
        f"idle fiber: memory, {n} live", f"idle_fiber/polyloop/{n}", (5 * 1024, None),
        limit="idle_fiber/limit/100000", unit="bytes",
    )
    for n in (100000, 1000000)
]


# -- figures ----------------------------------------------------------------------------------
def figures_of(benchmarks, servers):
    """The least of the repetitions of each; and why some have none."""
    figures, errors = {}, {}
    for b in benchmarks:
        if b.get("run_type") != "iteration":
            continue
        name = plain(b["name"])
        if b.get("error_occurred"):
            errors[name] = b.get("error_message", "failed")
            continue
        value = b["real_time" if name.endswith("/real_time") else "cpu_time"]
        value = b.get("bytes_per_fiber", value)
        figures[name] = min(value, figures.get(name, value))
        if "producer_calls_per_batch" in b:
            name += ":per_batch"
            value = b["producer_calls_per_batch"]
            figures[name] = max(value, figures.get(name, value))
    for name, measured in servers.items():
        if "error" in measured:
            for figure in ("instructions", "time", "calls", "real"):
                errors[f"{name}:{figure}"] = measured["error"]
        for figure in ("instructions", "time", "calls", "real"):
            if figure in measured:
                figures[f"{name}:{figure}"] = measured[figure]
    return figures, errors


def best_peer(row, figures):
    """The least among the other systems of the scenario, and its name."""
    scenario, system = row.ours.split("/", 1)
    suffix = re.sub(r"^[a-z_]+", "", system)
    found = {}
    for name, value in figures.items():
        other_scenario, other = name.split("/", 1)
        who = re.match(r"[a-z_]+", other)[0]
        if other_scenario != scenario or other != who + suffix:
            continue
        if not who.startswith(("polyloop", "limit", "bare")):
            found[who] = value
    return min(((v, k) for k, v in found.items()), default=(None, None))


def judge(row, figures, errors):
    ours, limit = figures.get(row.ours), figures.get(row.limit)
    peer, peer_name = best_peer(row, figures)
    bounds = [
        factor if other is None else factor * figures[other]
        for factor, other in row.bounds
        if other is None or other in figures
    ]
    known = len(bounds) == len(row.bounds)
    if row.name.startswith("deadline: "):
        one, limit_one = figures.get("deadline/polyloop/1"), figures.get("deadline/limit/1")
        if None in (ours, limit, one, limit_one):
            ours = limit = None
        else:
            ours, limit = ours / one, limit / limit_one
            bounds = [max(1.5, limit)]
        peer = peer_name = None
    if row.minus is not None:
        before = figures.get(row.minus)
        ours = None if ours is None or before is None else ours - before
        others = {
            name.split("/")[1]: value - figures["wait/" + name.split("/")[1]]
            for name, value in figures.items()
            if name.startswith("wait_with_deadline/") and "polyloop" not in name
            and "wait/" + name.split("/")[1] in figures
        }
        peer, peer_name = min(((v, k) for k, v in others.items()), default=(None, None))
    if ours is None:
        status = "NOT MET: " + errors.get(row.ours, "not measured")
    elif not known or not bounds:
        status = "NOT MET: nothing to compare with"
    else:
        status = "met" if ours <= min(bounds) else "NOT MET"
    over = lambda other: ours / other if ours is not None and other else None
    return {
        "row": row.name, "unit": row.unit, "ours": ours, "limit": limit,
        "best_peer": peer_name, "best_peer_figure": peer,
        "ours_over_limit": over(limit), "ours_over_peer": over(peer),
        "bound": row.text, "at_most": min(bounds) if known and bounds else None,
        "met": status == "met", "status": status,
    }


# -- output -----------------------------------------------------------------------------------
def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


COLUMNS = ("row", "ours", "unit", "limit", "best peer", "/limit", "/peer", "at most", "", "bound")


def cells(j):
    peer = f"{j['best_peer']} {number(j['best_peer_figure'])}" if j["best_peer"] else "-"
    return (
        j["row"], number(j["ours"]), j["unit"], number(j["limit"]), peer,
        number(j["ours_over_limit"]), number(j["ours_over_peer"]), number(j["at_most"]),
        j["status"], j["bound"],
    )


def summary(judged):
    return f"{sum(j['met'] for j in judged)} of {len(judged)} rows met"


def print_table(judged):
    lines = [COLUMNS] + [cells(j) for j in judged]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    for line in lines:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip())
    print(f"\n{summary(judged)}")


STYLE = """
body { font: 14px sans-serif; margin: 2em } table { border-collapse: collapse }
td, th { padding: 3px 9px; text-align: left; border-bottom: 1px solid #ccc }
.bar { background: #ddd; width: 160px; height: 10px; position: relative }
.bar div { height: 10px } .met .bar div { background: #3a3 } .not .bar div { background: #c33 }
.bar i { position: absolute; left: 80px; top: -2px; width: 1px; height: 14px; background: #000 }
"""


def write_html(path, judged, context):
    rows = []
    for j in judged:
        share = 0
        if j["ours"] is not None and j["at_most"]:
            share = max(0, min(160, 80 * j["ours"] / j["at_most"]))
        bar = f'<td><div class="bar"><div style="width:{share:.0f}px"></div><i></i></div></td>'
        rows.append(
            f'<tr class="{"met" if j["met"] else "not"}">'
            + "".join(f"<td>{html.escape(c)}</td>" for c in cells(j)) + bar + "</tr>"
        )
    head = "".join(f"<th>{html.escape(c)}</th>" for c in COLUMNS) + "<th>share of the bound</th>"
    with open(path, "w") as out:
        out.write(
            f'<!doctype html><meta charset="utf-8"><title>polyloop: what it costs</title>'
            f"<style>{STYLE}</style><h1>What it costs</h1>"
            f"<p>{html.escape(context.get('date', ''))}. {summary(judged)}. A bar that crosses "
            f"its line is beyond its bound.</p><table><tr>{head}</tr>{''.join(rows)}</table>\n"
        )


# -- the run ----------------------------------------------------------------------------------
def plain(name):
    return re.sub(r"/iterations:\d+|/repeats:\d+", "", name)


def run_benchmarks(directory, quick, wanted):
    """Those that are wanted are chosen here: Google Benchmark knows fewer regular expressions."""
    program = os.path.join(directory, "polyloop_bench")
    listed = subprocess.run(
        [program, "--benchmark_list_tests"], check=True, stdout=subprocess.PIPE, text=True
    )
    names = [n for n in listed.stdout.split() if wanted.search(plain(n))]
    if not names:
        return {"context": {}, "benchmarks": []}
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [
            program,
            f"--benchmark_filter=^({'|'.join(names)})$",
            f"--benchmark_repetitions={3 if quick else 9}",
            f"--benchmark_min_time={0.02 if quick else 0.2}",
            "--benchmark_enable_random_interleaving=true",
            f"--benchmark_out={out.name}", "--benchmark_out_format=json",
        ]
        code = subprocess.run(command, stdout=sys.stderr).returncode
        # What it measured until then is in the file, which lacks its end.
        text = out.read().decode()
    if code == 0:
        return json.loads(text)
    print(f"polyloop_bench ended with {code}: what it had not measured is missing", file=sys.stderr)
    for end in ("", "]}", "}]}", "\n]}"):
        try:
            return json.loads(text.rstrip().rstrip(",") + end)
        except ValueError:
            pass
    return {"context": {}, "benchmarks": []}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True, help="where they are built")
    parser.add_argument("--json")
    parser.add_argument("--html")
    parser.add_argument("--filter", default="")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()

    try:
        wanted = re.compile(args.filter)
    except re.error as e:
        parser.error(f'--filter "{args.filter}": no regular expression: {e}')
    measured = run_benchmarks(args.programs, args.quick, wanted)
    servers = echo.measure(args.programs, args.quick, wanted)
    servers.update(http_servers.measure(args.programs, args.quick, wanted))
    figures, errors = figures_of(measured["benchmarks"], servers)
    rows = [r for r in ROWS if not args.filter or wanted.search(r.ours)]
    if not (rows or figures):
        parser.error(f'--filter "{args.filter}": no scenario and system matches')
    judged = [judge(r, figures, errors) for r in rows]

    print_table(judged)
    if args.json:
        for name, result in servers.items():
            measured["benchmarks"].append({"name": name, "run_type": "iteration", **result})
        with open(args.json, "w") as out:
            json.dump({"rows": judged, "figures": figures, **measured}, out, indent=1)
    if args.html:
        write_html(args.html, judged, measured["context"])


if __name__ == "__main__":
    main()
