# Copyright the cmanager authors.
# See LICENSE for details.

"""
A hundred thousand clients at once: C{make bench-100k}.

    python -m bench.many [--clients 100000] [--tls-clients 50000] [--hold 300]

They log in, without TLS and then with it; at some numbers of sessions it is measured what
a stanza costs and what memory they take; then they stay for five minutes and write to each
other, each message from one of them to another at random.  The exit status is 0 only if
nobody failed to log in, nobody was cut, each message arrived once and with whom it was
for, and all streams were closed in order.

Workers, clients and far end are processes of their own, all on the loopback.  Each client
has an address of its own.  How to read it: C{docs/performance.rst}.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.configurations import DOMAIN, HAS_WORKERS, LINKS, SPARE_FILES, prepare, startFront
from bench.machine import environment, kernelBytes, machineSeconds
from bench.part import HERE, HOST, BenchError, Part, freePort, raiseFileLimit
from bench.report import Row, head, write

START_SECONDS = 60.0
STALLED_SECONDS = 60.0
ARRIVAL_SECONDS = 30.0
PROGRESS_SECONDS = 10.0
FEWEST_FILES = 100
ROOM = 1.25
"""
So many times the sessions find room in the workers: they do not share them out evenly.
"""


def say(line: str) -> None:
    """
    Tell how far it is, where the table does not go.
    """
    print(line, file=sys.stderr, flush=True)


def processesFor(sessions: float) -> int:
    """
    Return how many processes may open so many files.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES
    if files < FEWEST_FILES:
        raise BenchError(f"a process may open only {files + SPARE_FILES} files; see ulimit -Hn")
    return -int(-sessions // files)


class Crowds:
    """
    The connection manager, its clients and its far end.

    @ivar empty: Bytes of memory of the manager before its first client.
    """

    def __init__(
        self, isTLS: bool, clients: int, options: argparse.Namespace, directory: Path
    ) -> None:
        self.isTLS = isTLS
        self.clients = clients
        self.options = options
        self.directory = directory
        self.parts: list[Part] = []
        self.loads: list[Part] = []
        self.empty = 0
        self.kernel = kernelBytes()

    @property
    def name(self) -> str:
        """
        How the clients come.
        """
        return "TLS" if self.isTLS else "TCP"

    def start(self) -> None:
        """
        Start all processes.  Whatever comes of that, L{stop} ends those there are.
        """
        port, farPort = freePort(), freePort()
        self.far = Part("far end", sys.executable, "-m", "bench.farend")
        self.parts.append(self.far)
        self.far.say(domain=DOMAIN, host=HOST, links=farPort)
        self.far.hear("listening", START_SECONDS)
        wanted = self.options.workers or max(2, processesFor(self.clients * ROOM))
        self.workers = wanted if HAS_WORKERS else 1
        self.front = startFront(
            self.directory,
            self.workers,
            port,
            farPort=farPort,
            kind="tls" if self.isTLS else "tcp",
            most=int(self.clients * ROOM),
        )
        self.parts.append(self.front)
        for _ in range(LINKS * self.workers):
            self.far.hear("configured", START_SECONDS)
        count = max(2, processesFor(self.clients))
        for number in range(count):
            load = Part("clients", sys.executable, "-m", "bench.crowd")
            self.parts.append(load)
            self.loads.append(load)
            load.say(
                process=number,
                processes=count,
                host=HOST,
                port=port,
                domain=DOMAIN,
                authority=str(self.directory / "authority.pem") if self.isTLS else None,
            )
        self.status()
        self.empty = self.front.memory()

    def stop(self) -> None:
        """
        End all processes.
        """
        # The clients first: without any the manager has nothing to wait for.
        for part in reversed(self.parts):
            part.stop()

    def status(self) -> Row:
        """
        Ask all processes of clients.

        @return: See L{bench.crowd.Crowd.status}.
        @raise BenchError: A client was lost.
        """
        said = self._ask("status")
        problems = [problem for one in said for problem in one["problems"]]
        total: Row = {
            key: sum(one[key] for one in said)
            for key in ("online", "lost", "clean", "sent", "received", "doubled", "astray")
        }
        if total["lost"] or problems:
            raise BenchError(f"{total['lost']} clients were lost: {problems[:5]}")
        return total

    def _ask(self, order: str) -> list[Row]:
        for load in self.loads:
            load.say(order=order)
        return [load.hear(order, START_SECONDS) for load in self.loads]

    def _until(self, isDone: Callable[[Row], bool], key: str, what: str) -> tuple[Row, float]:
        """
        Wait; fail where C{key} does not change for too long.
        """
        began = told = changed = time.monotonic()
        status = self.status()
        while not isDone(status):
            time.sleep(0.2)
            before, status = status[key], self.status()
            now = time.monotonic()
            if status[key] != before:
                changed = now
            elif now > changed + STALLED_SECONDS:
                raise BenchError(f"{what}: stays at {before}")
            if now > told + PROGRESS_SECONDS:
                say(f"{self.name}: {what}: {status[key]} after {now - began:.0f} s")
                told = now
        return status, time.monotonic() - began

    def login(self, everybody: int) -> float:
        """
        Have so many clients logged in.

        @return: How long it took.
        """
        for load in self.loads:
            load.say(order="connect", everybody=everybody)
        return self._until(
            lambda status: status["online"] == everybody, "online", f"of {everybody} logged in"
        )[1]

    def talk(self, everybody: int, seconds: float) -> Row:
        """
        Have messages written, and wait until all have arrived.

        @return: As L{status}, and what it has L{cost}.
        """
        each = int(self.options.rate * seconds / len(self.loads))
        before = self._used()
        for load in self.loads:
            load.say(order="talk", everybody=everybody, count=each, seconds=seconds)
        total = each * len(self.loads)
        end = time.monotonic() + seconds + ARRIVAL_SECONDS
        status, _ = self._until(
            lambda status: (
                (status["sent"], status["received"]) == (total, total) or time.monotonic() > end
            ),
            "received",
            f"of {total} messages arrived",
        )
        if (status["sent"], status["received"]) != (total, total):
            raise BenchError(
                f"of {total} messages {status['sent']} were sent, {status['received']} arrived"
            )
        if status["doubled"] or status["astray"]:
            raise BenchError(f"{status['doubled']} came twice, {status['astray']} went astray")
        delays = sorted(delay for said in self._ask("delays") for delay in said["delays"])
        status["milliseconds"] = {
            "median": delays[len(delays) // 2] / 1000,
            "p99": delays[len(delays) * 99 // 100] / 1000,
            "most": delays[-1] / 1000,
        }
        return {**status, **self._cost(before)}

    def quiet(self) -> Row:
        """
        Measure what it costs when nobody writes.
        """
        time.sleep(self.options.quiet)
        before = self._used()
        time.sleep(self.options.quiet)
        return self._cost(before)

    def _used(self) -> Row:
        return {
            "at": time.monotonic(),
            "machine": machineSeconds(),
            "front": self.front.exactSeconds(),
            "clients": [sum(load.exactSeconds()) for load in self.loads],
            "far": self.far.exactSeconds(),
        }

    def _cost(self, before: Row) -> Row:
        """
        Return processor time since, in seconds, of each process and of all that runs here.
        """
        after = self._used()
        if len(before["front"]) != len(after["front"]):
            raise BenchError("a worker has ended")
        took = after["at"] - before["at"]
        cost = {
            key: [b - a for a, b in zip(before[key], after[key], strict=True)]
            for key in ("front", "clients", "far")
        }
        own = sum(map(sum, cost.values()))
        others = max(0.0, after["machine"] - before["machine"] - own)
        return {"seconds": took, "cost": cost, "others": others}

    def memory(self) -> Row:
        """
        Return the bytes of memory each kind of process has, and what the kernel has for all.
        """
        return {
            "front": self.front.memory(),
            "clients": sum(load.memory() for load in self.loads),
            "far": self.far.memory(),
            "kernel": kernelBytes() - self.kernel,
        }

    def step(self, everybody: int) -> Row:
        """
        Have so many sessions, and measure.
        """
        before = self._used()
        took = self.login(everybody)
        login = self._cost(before)
        quiet = self.quiet()
        memory = self.memory()
        talk = self.talk(everybody, self.options.seconds)
        return {
            "sessions": everybody,
            "login seconds": took,
            "login": login["cost"],
            "quiet": quiet,
            "memory": memory,
            "kibibytes": (memory["front"] - self.empty) / everybody / 1024,
            "talk": talk,
            "cost": sum(talk["cost"]["front"]) / talk["received"] * 1e6,
        }

    def leave(self) -> Row:
        """
        Have all streams closed, and wait until the far end knows of no session.
        """
        before = self._used()
        for load in self.loads:
            load.say(order="leave")
        _, took = self._until(
            lambda status: status["clean"] == self.clients, "clean", "streams closed"
        )
        end = time.monotonic() + ARRIVAL_SECONDS
        while True:
            self.far.say(isLoggingIn=True)
            left = self.far.hear("done", START_SECONDS)["sessions"]
            if not left:
                return {"took": took, **self._cost(before)}
            if time.monotonic() > end:
                raise BenchError(f"the far end still has {left} sessions")
            time.sleep(0.2)

    def run(self) -> Row:
        """
        Do all of it.

        @return: The results.
        """
        steps = sorted({min(step, self.clients) for step in (*self.options.steps, self.clients)})
        rows = [self.step(everybody) for everybody in steps]
        say(f"{self.name}: {self.clients} clients stay for {self.options.hold:.0f} s")
        hold = self.talk(self.clients, self.options.hold)
        if hold["online"] != self.clients:
            raise BenchError(f"only {hold['online']} are still there")
        return {
            "way": self.name,
            "clients": self.clients,
            "workers": self.workers,
            "client processes": len(self.loads),
            "empty": self.empty,
            "steps": rows,
            "hold": {**hold, "memory": self.memory()},
            "leave": self.leave(),
        }


@contextlib.contextmanager
def crowds(isTLS: bool, clients: int, options: argparse.Namespace) -> Iterator[Crowds]:
    """
    Start everything; stop it at the end, however it comes.
    """
    with tempfile.TemporaryDirectory(prefix="cmanager-many-") as name:
        prepare(Path(name))
        found = Crowds(isTLS, clients, options, Path(name))
        try:
            found.start()
            yield found
        finally:
            found.stop()


def text(result: Row) -> str:
    """
    Return the table.
    """
    lines = head("at once", result)
    for way in result["ways"]:
        lines += ["", *_way(way)]
    return "\n".join(lines) + "\n"


def _way(way: Row) -> list[str]:
    hold, leave = way["hold"], way["leave"]
    delays, memory = hold["milliseconds"], hold["memory"]
    shares = [used / hold["seconds"] for used in hold["cost"]["front"]]
    clients, far = (sum(hold["cost"][key]) / hold["seconds"] for key in ("clients", "far"))
    lines = [
        f"{way['clients']} clients, {way['way']}; processes: {way['workers']} for workers,"
        f" {way['client processes']} for clients",
        f"{'sessions':>8} {'MiB in all':>10} {'KiB each':>8} {'us a stanza':>11}"
        f" {'cores, quiet':>12} {'logins/s':>8} {'ms a login':>10}",
    ]
    before = 0
    for step in way["steps"]:
        new, before = step["sessions"] - before, step["sessions"]
        quiet = sum(step["quiet"]["cost"]["front"]) / step["quiet"]["seconds"]
        lines.append(
            f"{step['sessions']:8} {step['memory']['front'] / 2**20:10.0f}"
            f" {step['kibibytes']:8.1f} {step['cost']:11.1f} {quiet:12.3f}"
            f" {new / step['login seconds']:8.0f}"
            f" {sum(step['login']['front']) / new * 1000:10.2f}"
        )
    return [
        *lines,
        f"{hold['sent']} messages in {hold['seconds']:.0f} s between pairs at random:"
        f" {hold['received']} arrived, {hold['doubled']} twice, {hold['astray']} astray;"
        f" {hold['lost']} clients lost",
        f"on the way: {delays['median']:.1f} ms in the middle, 99 % within"
        f" {delays['p99']:.1f} ms, all within {delays['most']:.1f} ms",
        f"cores: workers {sum(shares):.2f} (each {min(shares[-way['workers'] :]):.2f} to"
        f" {max(shares):.2f}), clients {clients:.2f}, far end {far:.2f};"
        f" others used {hold['others'] / hold['seconds']:.1f}",
        f"MiB: workers {memory['front'] / 2**20:.0f}, clients {memory['clients'] / 2**20:.0f},"
        f" far end {memory['far'] / 2**20:.0f}, the kernel {memory['kernel'] / 2**20:.0f}",
        f"all streams closed in order, in {leave['took']:.0f} s",
    ]


def parse(arguments: list[str]) -> argparse.Namespace:
    """
    Return what the command line says.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench.many", description="A hundred thousand clients at once."
    )
    parser.add_argument("--clients", type=int, default=100000, help="without TLS; 0: none")
    parser.add_argument("--tls-clients", type=int, default=50000, help="0: none")
    parser.add_argument("--hold", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--rate", type=float, default=2000.0, help="messages a second")
    parser.add_argument(
        "--steps",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[1000, 10000, 50000, 100000],
        metavar="N,N,...",
        help="sessions at which costs and memory are measured",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of messages at each step")
    parser.add_argument("--quiet", type=float, default=3.0, help="seconds of silence before")
    parser.add_argument("--workers", type=int, help="as many as the open files ask for")
    parser.add_argument("--results", type=Path, default=HERE / "var" / "bench", metavar="FOLDER")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """
    The command.
    """
    options = parse(arguments)
    raiseFileLimit()
    # A stop from elsewhere is Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    result: Row = {**environment(None, options), "ways": []}
    try:
        for isTLS, clients in ((False, options.clients), (True, options.tls_clients)):
            if clients:
                with crowds(isTLS, clients, options) as found:
                    result["ways"].append(found.run())
    except BenchError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    table = text(result)
    print(table, end="")
    for path in write(options.results, "many", result, table):
        say(f"written: {path}")
    return 0


if __name__ == "__main__":
    os.chdir(HERE)
    sys.exit(main(sys.argv[1:]))
