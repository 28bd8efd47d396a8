# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the connection manager costs, beside HAProxy for the same work in the same run:
C{make bench}.

    python -m bench.cost [--quick]

Each subject stands between its own clients and its own far end; all stand at the same
time, and are measured in turn, in several rounds, so that whatever else the machine does
falls on all alike.  What is told is the median of the rounds, with the least and the most.
How to read it: C{docs/performance.rst}.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attrs import define, field

from bench.command import perform, say
from bench.configurations import HAPROXY_PROGRAM, NGINX_PROGRAM, prepare
from bench.machine import environment, loadAverage, machineSeconds
from bench.part import HERE
from bench.report import Row, compare, spread, text
from bench.rounds import WARM_SHARE, Load, costs, measure, rounds
from bench.subjects import Kind, Stand, Subject, Way

SETTLE_SECONDS = 2.0
RUSH = 100
"""
Connections at once, before memory is measured; see L{Stand.rush}.
"""
STARTED_AT_ONCE = 4
WORKERS = (1, 2, 4)
QUANTILES = {"median": 0.5, "p99": 0.99, "p99.9": 0.999}
STANZAS_FOR_A_QUANTILE = 10
"""
A quantile is told only where so many stanzas are beyond it.
"""
MISSING = "There is no {name} here, so there are no ratios to it; for it: apt install {package}"

DIRECT = Subject(Kind.DIRECT)
BARE = Subject(Kind.BARE, isTLS=True)
STREAMS = [Subject(kind, isTLS) for isTLS in (False, True) for kind in (Kind.HAPROXY, Kind.FRONT)]
WEB = [
    Subject(kind, isTLS, way)
    for way in (Way.WEBSOCKET, Way.BOSH)
    for isTLS in (False, True)
    for kind in (Kind.NGINX, Kind.FRONT)
]
SHARED = [
    Subject(kind, workers=workers) for workers in WORKERS for kind in (Kind.HAPROXY, Kind.FRONT)
]


@define
class Streams:
    """
    What XMPP over TCP and TLS costs one process.

    @ivar busy: The stands whose sessions are all busy; L{DIRECT} is one of them.
    @ivar crowded: Those that have idle ones besides.
    @ivar capacity: Stanzas a second of each subject where there is no pace.
    """

    options: argparse.Namespace
    busy: list[Stand]
    crowded: list[Stand]
    bare: Stand
    capacity: dict[Subject, float] = field(factory=dict)

    def fill(self) -> list[dict[str, Any]]:
        """
        Connect the sessions.

        @return: What an idle one takes of memory.
        """
        options = self.options

        def crowd(stand: Stand) -> dict[str, Any]:
            idle = min(options.idle, stand.subject.mostSessions - options.sessions)
            stand.rush(RUSH)
            stand.connect(options.sessions)
            stand.connect(idle // 10)
            time.sleep(SETTLE_SECONDS)
            few, first = stand.memory(), stand.sessions
            stand.connect(idle - idle // 10)
            time.sleep(SETTLE_SECONDS)
            many = stand.memory()
            return {
                "subject": stand.subject.name,
                "from": first,
                "to": stand.sessions,
                "kibibytes": (many - few) / (stand.sessions - first) / 1024,
                "first mebibytes": few / 2**20,
                "last mebibytes": many / 2**20,
            }

        for stand in self.busy:
            stand.connect(options.sessions)
        # Nothing is measured yet that depends on what else runs.
        pool = ThreadPoolExecutor(len(self.crowded))
        try:
            return list(pool.map(crowd, self.crowded))
        finally:
            # Who is interrupted does not wait: the others fail when their stands are stopped.
            pool.shutdown(wait=False, cancel_futures=True)

    def stanzas(self) -> list[Row]:
        """
        Measure what a stanza costs, at a pace and without one.
        """
        options = self.options
        saturated = Load(window=options.window)
        loads = {stand: [Load(options.rate), saturated] for stand in (*self.busy, *self.crowded)}
        for stand in self.busy:
            if not stand.subject.isTLS:
                loads[stand].insert(1, Load(options.high_rate))
        del loads[next(stand for stand in self.busy if stand.subject == DIRECT)]
        found = measure(loads, options.sessions, options)
        for (stand, load), results in found.items():
            if load == saturated and stand in self.busy:
                self.capacity[stand.subject] = spread([r["rate"] for r in results])["median"]
        rows = costs(found, options.sessions)
        rows.sort(key=lambda row: row["idle"] > 0)
        return compare(rows)

    def delays(self) -> list[dict[str, Any]]:
        """
        Measure how long a stanza takes, in and out, at half of what ours can do.
        """
        rows = []
        for isTLS in (False, True):
            rate = self.capacity[Subject(Kind.FRONT, isTLS)] / 2
            stands = [s for s in self.busy if s.subject == DIRECT or s.subject.isTLS is isTLS]
            found: dict[Subject, list[int]] = {}
            late: Counter[Subject] = Counter()
            shares: dict[Subject, list[float]] = {}
            for number, stand in rounds(stands, self.options.rounds):
                seconds = self.options.seconds if number else self.options.seconds * WARM_SHARE
                result = stand.load(seconds, self.options.sessions, rate=rate)
                if number:
                    found.setdefault(stand.subject, []).extend(result["delays"])
                    late[stand.subject] += result["late"]
                    shares.setdefault(stand.subject, []).append(result["cpu"] / result["seconds"])
            direct = self._quantiles(found[DIRECT])
            for subject, values in found.items():
                own = self._quantiles(values)
                added = {
                    name: None if value is None or direct[name] is None else value - direct[name]
                    for name, value in own.items()
                }
                rows.append(
                    {
                        "subject": subject.name,
                        "beside": "TLS" if isTLS else "TCP",
                        "rate": rate,
                        "stanzas": len(values),
                        "late": late[subject],
                        "share": spread(shares[subject]),
                        "milliseconds": own,
                        "added": None if subject == DIRECT else added,
                    }
                )
        return rows

    @staticmethod
    def _quantiles(values: list[int]) -> dict[str, Any]:
        values = sorted(values)
        return {
            name: values[int(len(values) * share)] / 1000
            if name == "median" or len(values) * (1 - share) >= STANZAS_FOR_A_QUANTILE
            else None
            for name, share in QUANTILES.items()
        }

    def logins(self) -> list[dict[str, Any]]:
        """
        Measure what a login costs, and a handshake without one.
        """
        count = self.options.logins
        fronts = [stand for stand in self.busy if stand.subject.kind is Kind.FRONT]
        found: dict[tuple[Subject, bool], list[dict[str, Any]]] = {}
        for stand in fronts:
            stand.close()
        for number, stand in rounds([*fronts, self.bare], self.options.rounds):
            for resume in (False, True) if stand.subject.isTLS else (False,):
                if resume and not number:
                    # Each process of clients gets its first ticket.
                    stand.connect(count // 10 + 2, resume=True)
                result = stand.connect(count, resume=resume)
                if number:
                    found.setdefault((stand.subject, resume), []).append(result)
                stand.close()
        bare = {
            resume: spread([r["cpu"] / count * 1000 for r in found[BARE, resume]])["median"]
            for resume in (False, True)
        }
        rows = []
        for subject, resume in sorted(found, key=lambda key: (key[0].isTLS, key[1], key[0].name)):
            results = found[subject, resume]
            cost = spread([r["cpu"] / count * 1000 for r in results])
            isOver = subject.isTLS and subject != BARE
            rows.append(
                {
                    "subject": subject.name,
                    "isResumed": resume,
                    "resumed": sum(r["resumed"] for r in results) / count / len(results),
                    "milliseconds": cost,
                    "above": cost["median"] - bare[resume] if isOver else None,
                    "rate": spread([count / r["seconds"] for r in results]),
                    "share": spread([r["cpu"] / r["seconds"] for r in results]),
                    "clients": spread([r["clients"] for r in results]),
                }
            )
        return rows

    def run(self) -> Row:
        """
        Measure everything.

        @return: The results.
        """
        say("streams: connecting")
        result: Row = {"memory": self.fill()}
        say("streams: stanzas")
        result["stanzas"] = self.stanzas()
        say("streams: delays")
        result["delays"] = self.delays()
        say("streams: logins")
        result["logins"] = self.logins()
        return result


@contextlib.contextmanager
def standing(subjects: list[Subject], directory: Path) -> Iterator[list[Stand]]:
    """
    Start stands; stop them at the end, however it comes.
    """
    stands = [Stand(subject, directory) for subject in subjects]
    try:
        pool = ThreadPoolExecutor(STARTED_AT_ONCE)
        try:
            list(pool.map(Stand.start, stands))
        finally:
            # None may still be starting when it is stopped.
            pool.shutdown(cancel_futures=True)
        yield stands
    finally:
        with ThreadPoolExecutor(STARTED_AT_ONCE) as pool:
            list(pool.map(Stand.stop, stands))


def streams(options: argparse.Namespace, directory: Path) -> Row:
    """
    Measure what one process does with streams.
    """
    subjects = present(STREAMS, options)
    with standing([DIRECT, *subjects, *subjects, BARE], directory) as stands:
        busy = 1 + len(subjects)
        return Streams(options, stands[:busy], stands[busy:-1], stands[-1]).run()


def web(options: argparse.Namespace, directory: Path) -> Row:
    """
    Measure what clients in browsers cost.
    """
    with standing(present(WEB, options), directory) as stands:
        say("web")
        for stand in stands:
            stand.connect(options.sessions)
        loads = {stand: [Load(options.web_rate), Load(window=options.window)] for stand in stands}
        rows = costs(measure(loads, options.sessions, options), options.sessions)
    return {"web": compare(rows)}


def workers(options: argparse.Namespace, directory: Path) -> Row:
    """
    Measure what several workers do together.
    """
    sessions = options.sessions * max(WORKERS)
    with standing(present(SHARED, options), directory) as stands:
        say("workers")
        for stand in stands:
            stand.connect(sessions)
        loads = {stand: [Load(window=options.window)] for stand in stands}
        rows = costs(measure(loads, sessions, options), sessions)
    return {"workers": compare(rows)}


PHASES = {"streams": streams, "web": web, "workers": workers}


def present(subjects: list[Subject], options: argparse.Namespace) -> list[Subject]:
    """
    Leave out what there is no program for.
    """
    programs = {Kind.HAPROXY: options.haproxy, Kind.NGINX: options.nginx}
    return [subject for subject in subjects if programs.get(subject.kind, "") is not None]


def run(options: argparse.Namespace) -> Row:
    """
    Do what was asked for.

    @return: The results.
    """
    began, machine, own = time.monotonic(), machineSeconds(), ownSeconds()
    result = environment(options)
    result["load average at the start"] = loadAverage()
    with tempfile.TemporaryDirectory(prefix="cmanager-bench-") as name:
        prepare(Path(name))
        for phase in options.only:
            result |= PHASES[phase](options, Path(name))
    took = time.monotonic() - began
    result["seconds"] = took
    machine, own = machineSeconds() - machine, ownSeconds() - own
    result["processor seconds of the machine"] = machine
    result["cores that others used"] = max(0.0, machine - own) / took
    return result


def ownSeconds() -> float:
    """
    Return the processor time of this process and of all it has started that have ended.
    """
    return sum(
        sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    """
    Return what the command line says.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench.cost", description="What the connection manager costs."
    )
    parser.add_argument("--quick", action="store_true", help="a minute, and rougher figures")
    parser.add_argument(
        "--only", nargs="+", choices=list(PHASES), default=list(PHASES), help="not all of it"
    )
    for name, program in (("haproxy", HAPROXY_PROGRAM), ("nginx", NGINX_PROGRAM)):
        parser.add_argument(
            f"--without-{name}",
            dest=name,
            action="store_const",
            const=None,
            default=program,
            help="as where there is none",
        )
    parser.add_argument("--sessions", type=int, default=100, help="that are busy")
    parser.add_argument("--idle", type=int, help="sessions beside them, 10 or more")
    parser.add_argument("--rate", type=float, default=5000.0, help="stanzas a second")
    parser.add_argument("--high-rate", type=float, default=20000.0, help="and, for TCP, these")
    parser.add_argument("--web-rate", type=float, default=1000.0, help="of browsers")
    parser.add_argument("--window", type=int, default=1, help="of a session, saturated")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="that each load lasts")
    parser.add_argument("--logins", type=int, help="in each round")
    parser.add_argument("--results", type=Path, default=HERE / "var" / "bench", metavar="FOLDER")
    options = parser.parse_args(arguments)
    defaults = {"idle": 10000, "rounds": 5, "seconds": 1.0, "logins": 400}
    if options.quick:
        defaults = {"idle": 1000, "rounds": 3, "seconds": 0.4, "logins": 100}
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main(arguments: list[str]) -> int:
    """
    The command.
    """
    options = parse(arguments)
    missing = [
        MISSING.format(name=name, package=package)
        for name, package, program in (
            ("HAProxy", "haproxy", options.haproxy),
            ("nginx", "nginx-light", options.nginx),
        )
        if program is None
    ]
    for line in missing:
        say(line)
    notes = "".join(f"\n{line}\n" for line in missing)
    return perform(
        "bench", options.results, lambda: run(options), lambda result: text(result) + notes
    )


if __name__ == "__main__":
    os.chdir(HERE)
    sys.exit(main(sys.argv[1:]))
