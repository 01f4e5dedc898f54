"""Runs the echo servers, each against the same load, and gives what a request costs them.

The server has the last core and the load the first. Processor time is the minimum of several
runs. What is counted is the difference between a long and a short run, which leaves nothing of
how a server starts and ends; system calls are the median of several.
"""

import os
import re
import statistics
import subprocess
import sys

SYSTEMS = (
    "bare_epoll",
    "asio_callbacks",
    "asio_spawn",
    "asio_coroutines",
    "libuv",
    "polyloop_fibers",
    "polyloop_coroutines",
    "polyloop_streams",
)
CONNECTIONS = (1, 100, 1000, 10000)


class Absent(Exception):
    """This build has no such server."""


# What one server does wrong shall not cost the figures of the others.
FAILURES = (RuntimeError, ValueError, OSError, subprocess.SubprocessError)


def failed(result, name, error):
    print(f"{name}: {error}", file=sys.stderr)
    result[name] = {"error": str(error).strip().splitlines()[0] or type(error).__name__}


class Servers:
    def __init__(self, directory, quick):
        self.server = os.path.join(directory, "polyloop_bench_echo")
        self.load = os.path.join(directory, "polyloop_bench_load")
        self.quick = quick
        self.last_core = max(os.sched_getaffinity(0))
        self.first_core = min(os.sched_getaffinity(0))

    def run(self, system, connections, idle, requests, tool=()):
        """Nanoseconds of processor time; and what `tool` said on the standard error."""
        command = ["taskset", "-c", str(self.last_core), *tool, self.server, system]
        command += [str(connections)] + (["idle"] if idle else [])
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        port = server.stdout.readline().strip()
        if not port:
            _, said = server.communicate()
            if server.returncode == 3:
                raise Absent(system)
            raise RuntimeError(f"{system} did not start: {said}")
        load = ["taskset", "-c", str(self.first_core), self.load, port]
        load += [str(connections), str(requests)]
        try:
            subprocess.run(load, check=True, stdout=subprocess.PIPE, timeout=300)
            out, said = server.communicate(timeout=60)
        except BaseException:
            server.kill()
            server.wait()
            raise
        if server.returncode != 0:
            raise RuntimeError(f"{system} ended with {server.returncode}: {said}")
        return sum(map(int, out.split())), said

    def difference(self, system, connections, idle, few, many, tool, pattern):
        """What `tool` counts, for one request."""
        counts = []
        for requests in (few, many):
            _, said = self.run(system, connections, idle, requests, tool)
            found = re.findall(pattern, said)
            if not found:
                raise RuntimeError(f"{tool[0]} said nothing of use: {said[-500:]}")
            counts.append(int(found[-1].replace(",", "")))
        return (counts[1] - counts[0]) / (many - few)

    def instructions(self, system, connections, idle):
        few = max(2000, 4 * connections)
        many = few + (10000 if not self.quick else 4000)
        tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        # Where the stacks of fibers lie does not matter to a count of instructions.
        tool += ["--main-stacksize=8388608"]
        return self.difference(
            system, connections, idle, few, many, tool, r"Collected : (\d+)"
        )

    def calls(self, system, connections, idle):
        few = 10 * connections + 1000
        many = few + (40000 if not self.quick else 10000)
        if has_perf():
            tool = ["perf", "stat", "-x;", "-e", "raw_syscalls:sys_enter"]
            pattern = r"(?m)^(\d+);.*raw_syscalls"
        else:
            tool = ["strace", "-c", "-f"]
            pattern = r"(?m)^100\.00\s+\S+\s+\d+\s+(\d+).*total"
        return self.difference(system, connections, idle, few, many, tool, pattern)

    def time(self, system, connections, idle):
        requests = 100000 if not self.quick else 20000
        nanoseconds, _ = self.run(system, connections, idle, requests)
        return nanoseconds / requests


def has_perf():
    done = subprocess.run(
        ["perf", "stat", "-x;", "-e", "raw_syscalls:sys_enter", "true"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return done.returncode == 0 and re.search(r"(?m)^\d+;", done.stderr) is not None


def measure(directory, quick, wanted):
    """{"echo_100/libuv": {"instructions": ..., "time": ..., "calls": ...}, ...}"""
    servers = Servers(directory, quick)
    result = {}
    cases = []
    # What so many need to be set up takes longer than a quick run.
    for connections in CONNECTIONS if not quick else CONNECTIONS[:-1]:
        for idle in (False, True):
            scenario = f"echo_{connections}" + ("_idle" if idle else "")
            for system in SYSTEMS:
                name = f"{scenario}/{system}"
                if wanted.search(name):
                    cases.append((name, system, connections, idle))

    absent, bad = set(), set()
    for number, (name, *case) in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}] {name}: instructions", file=sys.stderr)
        try:
            result[name] = {"instructions": servers.instructions(*case)}
        except Absent:
            absent.add(name)
        except FAILURES as e:
            failed(result, name, e)
            bad.add(name)
    # In turn, so that a slow minute of the machine is everybody's. How often a server looks for
    # events in vain depends on who is the faster, it or the load, so that differs too.
    rounds = 7 if not quick else 3
    for number in range(1, rounds + 1):
        print(f"[{number}/{rounds}] processor time and calls of all servers", file=sys.stderr)
        for name, *case in cases:
            if name in absent | bad:
                continue
            try:
                result[name].setdefault("all_times", []).append(servers.time(*case))
                result[name].setdefault("all_calls", []).append(servers.calls(*case))
            except FAILURES as e:
                failed(result, name, e)
                bad.add(name)
    for name, figures in result.items():
        if name in bad:
            continue
        figures["time"] = min(figures["all_times"])
        # A hundredth of a call is as fine as this can tell.
        figures["calls"] = round(statistics.median(figures["all_calls"]), 2)
    return result
