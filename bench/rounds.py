# Copyright the cmanager authors.
# See LICENSE for details.

"""
Loads, put on all stands of L{bench.cost} in turn, in several rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from attrs import frozen

from bench.report import SATURATED, Row, spread
from bench.subjects import Stand, Way

WARM_SHARE = 0.5
BUSY_LIMIT = 0.9
"""
Where clients, far end or machine are busier than that, they may be what was measured.
"""
KEPT = 0.98
"""
A pace is kept where so much of it has come back in time.
"""


@frozen
class Load:
    """
    What the clients of a stand send.

    @ivar rate: Stanzas a second, of all together; 0 where there is no pace.
    @ivar window: Of each session, where there is none; see L{bench.pace.Pace.load}.
    """

    rate: float = 0.0
    window: int = 0

    @property
    def name(self) -> str:
        """
        As the table says it.
        """
        return SATURATED if self.window else f"{self.rate:.0f}/s"


Results = dict[tuple[Stand, Load], list[dict[str, Any]]]


def rounds(stands: Sequence[Stand], count: int) -> Iterator[tuple[int, Stand]]:
    """
    Yield each stand once a round, each round beginning with another one.

    @return: With each stand the number of the round; round 0 is for warming up.
    """
    for number in range(count + 1):
        at = number % len(stands)
        for stand in (*stands[at:], *stands[:at]):
            yield number, stand


def measure(
    loads: Mapping[Stand, Sequence[Load]], sessions: int, options: argparse.Namespace
) -> Results:
    """
    Put on each stand its loads.

    @param sessions: Of each, that send.
    @return: What L{Stand.load} returned, round by round.
    """
    found: Results = {(stand, load): [] for stand in loads for load in loads[stand]}
    for number, stand in rounds(list(loads), options.rounds):
        for load in loads[stand]:
            if stand.subject.way is Way.BOSH:
                # Connections for HTTP are closed when they have been silent for a while.
                stand.close()
                stand.connect(sessions)
            seconds = options.seconds if number else options.seconds * WARM_SHARE
            result = stand.load(seconds, sessions, rate=load.rate, window=load.window)
            if number:
                found[stand, load].append(result)
    return found


def costs(found: Results, sessions: int) -> list[Row]:
    """
    Return a row for each load of each stand, those of one load together.
    """
    rows: list[Row] = [
        {
            "subject": stand.subject.name,
            "kind": stand.subject.kind.value,
            "transport": stand.subject.transport,
            "workers": stand.subject.workers,
            "load": load.name,
            "sessions": sessions,
            "idle": stand.sessions - sessions,
            "cost": spread([r["cpu"] / r["count"] * 1e6 for r in results]),
            "rate": spread([r["rate"] for r in results]),
            "share": spread([r["cpu"] / r["seconds"] for r in results]),
            **{
                key: spread([r[key] for r in results])
                for key in ("busiest", "clients", "far", "machine", "burst")
            },
            "isLimited": any(max(r["clients"], r["far"]) > BUSY_LIMIT for r in results),
            "isMachineLimited": median(r["machine"] for r in results) > BUSY_LIMIT,
            "stanzas": sum(r["count"] for r in results),
            "isBehind": median(r["rate"] for r in results) < load.rate * KEPT,
        }
        for (stand, load), results in found.items()
    ]
    order = list(dict.fromkeys((row["transport"], row["workers"], row["load"]) for row in rows))
    rows.sort(key=lambda row: order.index((row["transport"], row["workers"], row["load"])))
    return rows
