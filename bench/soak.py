# Copyright the cmanager authors.
# See LICENSE for details.

"""
Very many clients at once through one process: they log in over TLS, stay, write to
each other and ping the server, and leave.

    python -m bench.soak --clients 5000

Prints how long that took and the memory for each client.  The exit status is 0 only
if nobody failed to log in, nobody was cut, and each message arrived once.

The server behind and the clients run in processes of their own, all on the loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.certificates import authority

HERE = Path(__file__).resolve().parent.parent
DOMAIN = "soak.example"
PASSWORD = "soak"
SECRET = "for the soak test"
HOST = "127.0.0.1"
RESOURCES = 100
LOGINS_AT_ONCE = 64
START_SECONDS = 30.0
LEAST_LOGIN_SECONDS = 60.0
LOGINS_PER_SECOND = 25.0
ARRIVAL_SECONDS = 30.0
STOP_SECONDS = 15.0

CONFIGURATION = """
[manager]
drain = 5.0

[tls]
certificates = "{directory}/certificates"

[[listener]]
type = "tls"
endpoint = "tcp:{port}:interface={host}"

[[server]]
domains = ["{domain}"]
address = "{host}:{linkPort}"
secret-file = "{directory}/secret"
security = "plain"
"""


class SoakError(Exception):
    """
    What must not happen has happened.
    """


class Part:
    """
    A process that says lines.
    """

    def __init__(self, name: str, *command: str, **options: Any) -> None:
        self.name = name
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            command,
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"},
            **options,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._seen = 0

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.lines.append("(the end)")
            self._news.notify_all()

    def say(self, **order: Any) -> None:
        """
        Give an order.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def wait(self, wanted: Callable[[str], bool], seconds: float) -> str:
        """
        Return the next line that is wanted.
        """
        deadline = time.monotonic() + seconds
        with self._news:
            while True:
                while self._seen < len(self.lines):
                    line = self.lines[self._seen]
                    self._seen += 1
                    if wanted(line):
                        return line
                left = deadline - time.monotonic()
                if self.lines[-1:] == ["(the end)"] or left <= 0:
                    raise SoakError(f"{self.name}: not in time: {self.lines[-20:]}")
                self._news.wait(left)

    def hear(self, event: str, seconds: float) -> dict[str, Any]:
        """
        Return the next event of this kind.
        """
        line = self.wait(
            lambda said: said.startswith("{") and f'"event": "{event}"' in said, seconds
        )
        return json.loads(line)

    def stop(self) -> int:
        """
        End it in order.

        @return: Its exit status.
        """
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def memory(self) -> int:
        """
        Return the bytes of memory it has now.
        """
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def seconds(self) -> float:
        """
        Return the processor time it has used.
        """
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def raiseFileLimit() -> None:
    """
    Let this process and those it starts open as many files as they may.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def freePort() -> int:
    """
    Return a port that was free a moment ago.
    """
    import socket

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def write(directory: Path, linkPort: int, port: int) -> None:
    """
    Write what the program is configured with.
    """
    (directory / "certificates").mkdir()
    (directory / "authority.pem").write_bytes(authority().pem)
    authority().issue(DOMAIN).write(directory / "certificates", DOMAIN)
    (directory / "secret").write_text(SECRET)
    (directory / "secret").chmod(0o600)
    (directory / "cmanager.toml").write_text(
        CONFIGURATION.format(
            directory=directory, domain=DOMAIN, host=HOST, linkPort=linkPort, port=port
        )
    )


@contextlib.contextmanager
def running(options: argparse.Namespace) -> Iterator[tuple[Part, list[Part], dict[str, Any]]]:
    """
    Start all parts; stop them at the end, however it comes.
    """
    parts: list[Part] = []
    with tempfile.TemporaryDirectory(prefix="cmanager-soak-") as name:
        directory = Path(name)
        linkPort, port = freePort(), freePort()
        write(directory, linkPort, port)
        try:
            users = -(-options.clients // RESOURCES)
            server = Part("server", sys.executable, "-m", "bench.serve")
            parts.append(server)
            server.say(
                directory=name,
                host=HOST,
                port=linkPort,
                domain=DOMAIN,
                secret=SECRET,
                prefix="soak",
                users=users,
                password=PASSWORD,
            )
            server.hear("listening", START_SECONDS)
            front = Part(
                "cmanager",
                str(Path(sys.executable).with_name("twistd")),
                *("-n", "--pidfile=", "cmanager", "--config", str(directory / "cmanager.toml")),
            )
            parts.append(front)
            for _ in range(2):
                front.wait(lambda line: "is ready" in line, START_SECONDS)
            loads = [
                Part("clients", sys.executable, "-m", "bench.load")
                for _ in range(options.processes)
            ]
            parts += loads
            plan = {
                "host": HOST,
                "port": port,
                "domain": DOMAIN,
                "authority": str(directory / "authority.pem"),
                "prefix": "soak",
                "password": PASSWORD,
                "resources": RESOURCES,
                "clients": options.clients,
                "atOnce": LOGINS_AT_ONCE // options.processes,
            }
            yield front, loads, plan
            status = front.stop()
            if status:
                raise SoakError(f"cmanager ended with {status}: {front.lines[-20:]}")
        finally:
            for part in reversed(parts):
                part.stop()


def soak(options: argparse.Namespace) -> None:
    """
    Do it.

    @raise SoakError: Something was lost, or took too long.
    """
    with running(options) as (front, loads, plan):
        empty, used = front.memory(), front.seconds()
        started = time.monotonic()
        first = 0
        for number, load in enumerate(loads):
            count = (options.clients - first) // (len(loads) - number)
            load.say(plan={**plan, "first": first, "count": count})
            first += count
        bound = max(LEAST_LOGIN_SECONDS, options.clients / LOGINS_PER_SECOND)
        problems = [p for load in loads for p in load.hear("online", bound)["problems"]]
        if problems:
            raise SoakError(f"{len(problems)} could not log in: {problems[:5]}")
        took = time.monotonic() - started
        full, cost = front.memory(), front.seconds() - used
        each = (full - empty) / options.clients
        print(f"{options.clients} clients logged in over TLS in {took:.1f} s")
        print(f"processor time for a login: {cost / options.clients * 1000:.2f} ms")
        print(f"memory without clients: {empty / 2**20:.1f} MiB, with: {full / 2**20:.1f} MiB")
        print(f"memory for a client: {each / 1024:.1f} KiB", flush=True)

        used = front.seconds()
        for load in loads:
            load.say(order="chat", messages=options.messages, seconds=options.hold)
        said = [load.hear("sent", options.hold + ARRIVAL_SECONDS) for load in loads]
        sent, pings = sum(s["messages"] for s in said), sum(s["pings"] for s in said)
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while True:
            for load in loads:
                load.say(order="count")
            counted = [load.hear("counted", ARRIVAL_SECONDS) for load in loads]
            total = {
                key: sum(c[key] for c in counted)
                for key in ("received", "doubled", "pongs", "lost")
            }
            arrived = (total["received"], total["pongs"]) == (sent, pings)
            if arrived or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        delays = sorted(delay for c in counted for delay in c["delays"])
        print(
            f"{sent} messages and {pings} pings in {options.hold:.0f} s: {total['received']} and"
            f" {total['pongs']} arrived, {total['doubled']} twice; {total['lost']} clients lost"
        )
        if delays:
            middle, late = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
            print(
                f"on the way: {middle * 1000:.1f} ms in the middle,"
                f" 99 % within {late * 1000:.1f} ms"
            )
        share = (front.seconds() - used) / options.hold
        print(
            f"processor: {share * 100:.0f} % of a core; memory now {front.memory() / 2**20:.1f} MiB"
        )
        if not arrived or total["doubled"] or total["lost"]:
            raise SoakError("something was lost")
        if sent != options.clients * options.messages:
            raise SoakError(f"only {sent} messages could be sent")
        for load in loads:
            load.say(order="leave")
        clean = sum(load.hear("left", ARRIVAL_SECONDS)["clean"] for load in loads)
        if clean != options.clients:
            raise SoakError(f"only {clean} streams were closed in order")
    print("none lost")


def main(arguments: list[str]) -> int:
    """
    The command.
    """
    parser = argparse.ArgumentParser(description="Very many clients at once through one process.")
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("--hold", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--messages", type=int, default=4, help="sent by each client")
    parser.add_argument("--processes", type=int, default=2, help="that hold the clients")
    options = parser.parse_args(arguments)
    raiseFileLimit()
    try:
        soak(options)
    except SoakError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
