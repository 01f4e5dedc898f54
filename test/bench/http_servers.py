"""Runs the HTTP servers, each against the same wrk, and gives what a request costs them; and
what the bytes of one connection cost, written 64 KiB at a time.

The server has the last core and its client the first. Processor time is the minimum of several
runs.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time

import echo

HTTP_SYSTEMS = (
    "beast_callbacks",
    "beast_callbacks_without_limits",
    "beast_coroutines",
    "nginx",
    "polyloop_streams",
)
CONNECTIONS = (1, 100, 1000)
WRITE_SYSTEMS = ("bare", "asio_callbacks", "polyloop_streams")

NGINX = """
daemon off;
master_process off;
pid {0}/pid;
error_log {0}/error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0};
    uwsgi_temp_path {0}; scgi_temp_path {0};
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{1};
        location / {{ default_type text/plain; return 200 "This is an HTTP server on fibers.\\n"; }}
    }}
}}
"""


def processor_time(pid):
    """Nanoseconds of all threads of a process."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


class Machine:
    def __init__(self, directory, quick):
        self.directory = directory
        self.quick = quick
        self.server_core = ["taskset", "-c", str(max(os.sched_getaffinity(0)))]
        self.client_core = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]

    def program(self, name):
        return os.path.join(self.directory, name)

    # -- HTTP

    def start(self, system, scratch):
        """The server's process, and its port."""
        if system != "nginx":
            command = [*self.server_core, self.program("polyloop_bench_http"), system]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            return server, int(server.stdout.readline())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        configuration = os.path.join(scratch, "nginx.conf")
        with open(configuration, "w") as f:
            f.write(NGINX.format(scratch, port))
        server = subprocess.Popen(
            [*self.server_core, "nginx", "-p", scratch, "-c", configuration],
            stderr=subprocess.DEVNULL,
        )
        for _ in range(1000):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return server, port
            time.sleep(0.01)
        raise RuntimeError("nginx does not listen")

    def http(self, system, connections):
        """Nanoseconds of the server's processor time for one request."""
        seconds = 1 if self.quick else 2
        with tempfile.TemporaryDirectory() as scratch:
            server, port = self.start(system, scratch)
            try:
                load = [*self.client_core, "wrk", "-t1", f"-c{connections}"]
                url = f"http://127.0.0.1:{port}/"
                subprocess.run([*load, "-d1", url], check=True, stdout=subprocess.DEVNULL)
                before = processor_time(server.pid)
                done = subprocess.run(
                    [*load, f"-d{seconds}", url], check=True, stdout=subprocess.PIPE, text=True
                )
                spent = processor_time(server.pid) - before
            finally:
                server.kill()
                server.wait()
        if re.search("Socket errors|Non-2xx", done.stdout):
            raise RuntimeError(f"{system} served badly:\n{done.stdout}")
        return spent / int(re.search(r"(\d+) requests in", done.stdout)[1])

    # -- one connection

    def write(self, system):
        """Nanoseconds of processor time for one MiB, and of time."""
        size = (256 if self.quick else 2048) << 20
        command = [*self.server_core, self.program("polyloop_bench_write"), system, str(size)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        port = int(server.stdout.readline())
        os.sched_setaffinity(0, {int(self.client_core[-1])})
        try:
            with socket.create_connection(("127.0.0.1", port)) as s:
                room = memoryview(bytearray(1 << 20))
                while s.recv_into(room):
                    pass
        finally:
            os.sched_setaffinity(0, self.all_cores())
        user, kernel, real = map(int, server.communicate(timeout=60)[0].split())
        return (user + kernel) / (size >> 20), real / (size >> 20)

    def all_cores(self):
        return {int(self.server_core[-1]), int(self.client_core[-1])}


def measure(directory, quick, wanted):
    """{"http_100/nginx": {"time": ...}, "write_64k/bare": {"time": ..., "real": ...}, ...}"""
    machine = Machine(directory, quick)
    cases = [
        (f"http_{n}/{system}", system, n)
        for n in CONNECTIONS
        for system in HTTP_SYSTEMS
        if wanted.search(f"http_{n}/{system}")
    ]
    writes = [
        (f"write_64k/{s}", s) for s in WRITE_SYSTEMS if wanted.search(f"write_64k/{s}")
    ]
    result = {name: {"all_times": []} for name, *_ in cases + writes}
    # In turn, so that a slow minute of the machine is everybody's.
    rounds = 7 if not quick else 3
    for number in range(1, rounds + 1):
        if result:
            print(f"[{number}/{rounds}] HTTP, and one connection", file=sys.stderr)
        for name, *case in cases + writes:
            figures = result[name]
            if "error" in figures:
                continue
            try:
                if name.startswith("http"):
                    figures["all_times"].append(machine.http(*case))
                    continue
                spent, real = machine.write(*case)
                figures["all_times"].append(spent)
                figures["real"] = min(real, figures.get("real", real))
            except echo.FAILURES as e:
                echo.failed(result, name, e)
    for figures in result.values():
        if "error" in figures:
            continue
        figures["time"] = min(figures["all_times"])
    return result
