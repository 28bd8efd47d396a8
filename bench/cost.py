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
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from attrs import define, field

from bench.configurations import HAPROXY_PROGRAM, prepare
from bench.machine import environment, loadAverage, machineSeconds
from bench.part import HERE, BenchError, raiseFileLimit
from bench.report import compare, spread, text, write
from bench.subjects import Kind, Stand, Subject

SETTLE_SECONDS = 2.0
STARTED_AT_ONCE = 4
WARM_SHARE = 0.5
QUANTILES = {"median": 0.5, "p99": 0.99, "p99.9": 0.999}
STANZAS_FOR_A_QUANTILE = 10
"""
A quantile is told only where so many stanzas are beyond it.
"""
BUSY_LIMIT = 0.9
"""
Where clients or far end are busier than that, they may be what was measured.
"""
NO_HAPROXY = (
    "There is no HAProxy here, so there are no ratios; on Debian or Ubuntu: apt install haproxy"
)

DIRECT = Subject(Kind.DIRECT, False)
BARE = Subject(Kind.BARE, True)
SUBJECTS = [Subject(kind, isTLS) for isTLS in (False, True) for kind in (Kind.HAPROXY, Kind.FRONT)]


def say(line: str) -> None:
    """
    Tell how far it is, where the table does not go.
    """
    print(line, file=sys.stderr, flush=True)


@define
class Bench:
    """
    One run.

    @ivar busy: The stands whose sessions are all busy; L{DIRECT} is one of them.
    @ivar crowded: Those that have idle ones besides.
    @ivar capacity: Stanzas a second of each subject where there is no pace.
    """

    options: argparse.Namespace
    busy: list[Stand] = field(factory=list)
    crowded: list[Stand] = field(factory=list)
    bare: list[Stand] = field(factory=list)
    capacity: dict[Subject, float] = field(factory=dict)

    @property
    def stands(self) -> list[Stand]:
        """
        All of them.
        """
        return [*self.busy, *self.crowded, *self.bare]

    def rounds(self, stands: list[Stand]) -> Iterator[tuple[int, Stand]]:
        """
        Yield each stand once a round, each round beginning with another one.

        @return: With each stand the number of the round; round 0 is for warming up.
        """
        for number in range(self.options.rounds + 1):
            at = number % len(stands)
            for stand in stands[at:] + stands[:at]:
                yield number, stand

    def fill(self) -> list[dict[str, Any]]:
        """
        Connect the sessions.

        @return: What an idle one takes of memory.
        """
        options = self.options

        def crowd(stand: Stand) -> dict[str, Any]:
            idle = min(options.idle, stand.subject.mostSessions - options.sessions)
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
        with ThreadPoolExecutor(len(self.crowded)) as pool:
            return list(pool.map(crowd, self.crowded))

    def stanzas(self) -> list[dict[str, Any]]:
        """
        Measure what a stanza costs, at a pace and without one.
        """
        options = self.options
        paces = {"paced": {"rate": options.rate}, "saturated": {"window": options.window}}
        found: dict[tuple[str, bool, Subject], list[dict[str, Any]]] = {}
        stands = [stand for stand in self.busy if stand.subject != DIRECT] + self.crowded
        for number, stand in self.rounds(stands):
            for pace, order in paces.items():
                seconds = options.seconds if number else options.seconds * WARM_SHARE
                result = stand.load(seconds, options.sessions, **order)
                key = pace, stand in self.crowded, stand.subject
                if number:
                    found.setdefault(key, []).append(result)
        rows = []
        for isCrowded in (False, True):
            for isTLS in (False, True):
                for pace in paces:
                    for stand in self.crowded if isCrowded else self.busy:
                        subject = stand.subject
                        results = found.get((pace, isCrowded, subject))
                        if subject.isTLS is isTLS and results:
                            rows.append(
                                {
                                    "subject": subject.name,
                                    "pace": pace,
                                    "idle": stand.sessions - options.sessions,
                                    **self._cost(results),
                                }
                            )
                            if pace == "saturated" and not isCrowded:
                                self.capacity[subject] = rows[-1]["rate"]["median"]
        compare(rows)
        return rows

    @staticmethod
    def _cost(results: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "cost": spread([r["cpu"] / r["count"] * 1e6 for r in results]),
            "rate": spread([r["rate"] for r in results]),
            "share": spread([r["cpu"] / r["seconds"] for r in results]),
            "clients": spread([r["clients"] for r in results]),
            "far": spread([r["far"] for r in results]),
            "isLimited": any(max(r["clients"], r["far"]) > BUSY_LIMIT for r in results),
            "stanzas": sum(r["count"] for r in results),
            "late": sum(r["late"] for r in results),
        }

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
            for number, stand in self.rounds(stands):
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
        for number, stand in self.rounds([*fronts, *self.bare]):
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

    def run(self) -> dict[str, Any]:
        """
        Measure everything.

        @return: The results.
        """
        began, before = time.monotonic(), machineSeconds()
        start = loadAverage()
        say("connecting")
        result: dict[str, Any] = {"memory": self.fill()}
        own = -self._processorSeconds()
        measured, busy = time.monotonic(), machineSeconds()
        say("stanzas")
        result["stanzas"] = self.stanzas()
        say("delays")
        result["delays"] = self.delays()
        say("logins")
        result["logins"] = self.logins()
        own += self._processorSeconds()
        took = time.monotonic() - measured
        result["seconds"] = time.monotonic() - began
        result["processor seconds of the machine"] = machineSeconds() - before
        result["load average at the start"] = start
        result["cores that others used"] = max(0.0, (machineSeconds() - busy - own) / took)
        return result

    def _processorSeconds(self) -> float:
        return time.process_time() + sum(stand.processorSeconds() for stand in self.stands)


@contextlib.contextmanager
def standing(options: argparse.Namespace) -> Iterator[Bench]:
    """
    Start all stands; stop them at the end, however it comes.
    """
    bench = Bench(options)
    subjects = [s for s in SUBJECTS if options.haproxy or s.kind is not Kind.HAPROXY]
    with tempfile.TemporaryDirectory(prefix="cmanager-bench-") as name:
        directory = Path(name)
        prepare(directory)
        with ThreadPoolExecutor(STARTED_AT_ONCE) as pool:
            try:
                for stands, kinds in (
                    (bench.busy, [DIRECT, *subjects]),
                    (bench.crowded, subjects),
                    (bench.bare, [BARE]),
                ):
                    stands += [Stand(subject, directory) for subject in kinds]
                list(pool.map(Stand.start, bench.stands))
                yield bench
            finally:
                list(pool.map(Stand.stop, bench.stands))


def parse(arguments: list[str]) -> argparse.Namespace:
    """
    Return what the command line says.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench.cost", description="What the connection manager costs."
    )
    parser.add_argument("--quick", action="store_true", help="a minute, and rougher figures")
    parser.add_argument(
        "--without-haproxy",
        dest="haproxy",
        action="store_const",
        const=None,
        default=HAPROXY_PROGRAM,
        help="as where there is none",
    )
    parser.add_argument("--sessions", type=int, default=100, help="that are busy")
    parser.add_argument("--idle", type=int, help="sessions beside them, 10 or more")
    parser.add_argument("--rate", type=float, default=5000.0, help="stanzas a second, paced")
    parser.add_argument("--window", type=int, default=1, help="stanzas of a session, saturated")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="that each load lasts")
    parser.add_argument("--logins", type=int, help="in each round")
    parser.add_argument("--results", type=Path, default=HERE / "var" / "bench", metavar="FOLDER")
    options = parser.parse_args(arguments)
    defaults = {"idle": 10000, "rounds": 5, "seconds": 1.5, "logins": 400}
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
    raiseFileLimit()
    if options.haproxy is None:
        say(NO_HAPROXY)
    try:
        with standing(options) as bench:
            result = {**environment(options.haproxy, options), **bench.run()}
    except BenchError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    table = text(result)
    if options.haproxy is None:
        table += f"\n{NO_HAPROXY}\n"
    print(table, end="")
    for path in write(options.results, "bench", result, table):
        say(f"written: {path}")
    return 0


if __name__ == "__main__":
    os.chdir(HERE)
    sys.exit(main(sys.argv[1:]))
