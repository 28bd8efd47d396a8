# Copyright the cmanager authors.
# See LICENSE for details.

"""
The connection manager, many thousand clients of it, and its far end, for L{bench.many}.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.command import say
from bench.configurations import DOMAIN, LINKS, openFiles, startFront
from bench.machine import kernelBytes, machineSeconds
from bench.part import HOST, BenchError, Part, freePort
from bench.report import Row

START_SECONDS = 60.0
STALLED_SECONDS = 60.0
ARRIVAL_SECONDS = 90.0
PROGRESS_SECONDS = 10.0
FEWEST_FILES = 100
ROOM = 1.25
"""
So many times the sessions find room in the workers: they do not share them out evenly.
"""


def processesFor(sessions: float) -> int:
    """
    Return how many processes may open so many files.
    """
    if openFiles() < FEWEST_FILES:
        raise BenchError("a process may open too few files; see ulimit -Hn")
    return -int(-sessions // openFiles())


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
        self.far.say(domain=DOMAIN, host=HOST, port=farPort, kind="links")
        self.far.hear("listening", START_SECONDS)
        self.workers = self.options.workers or max(2, processesFor(self.clients * ROOM))
        kind, most = "tls" if self.isTLS else "tcp", int(self.clients * ROOM)
        self.front = startFront(self.directory, kind, port, farPort, most, self.workers)
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
            "parts": [part.threadSeconds() for part in self.parts],
        }

    def _cost(self, before: Row) -> Row:
        """
        Return processor time since, in seconds: that of each process of the manager, those
        of its clients, the far end, and all others that run here.
        """
        seconds, machine = time.monotonic() - before["at"], machineSeconds() - before["machine"]
        used: dict[Part, dict[int, float]] = {}
        for part, then in zip(self.parts, before["parts"], strict=True):
            processes = used[part] = {}
            for (pid, _), taken in part.secondsSince(then).items():
                processes[pid] = processes.get(pid, 0.0) + taken
        own = {part: sum(processes.values()) for part, processes in used.items()}
        return {
            "seconds": seconds,
            "front": list(used[self.front].values()),
            "clients": sum(own[load] for load in self.loads),
            "far": own[self.far],
            "others": max(0.0, machine - sum(own.values())),
        }

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
            "login": login,
            "quiet": quiet,
            "memory": memory,
            "kibibytes": (memory["front"] - self.empty) / everybody / 1024,
            "talk": talk,
            "cost": sum(talk["front"]) / talk["received"] * 1e6,
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
