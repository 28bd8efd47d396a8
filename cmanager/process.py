# Copyright the cmanager authors.
# See LICENSE for details.

"""
The process this program runs in: its signals and its open files.  Layer 5; knows
no configuration.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from twisted.internet.error import ReactorNotRunning

RESERVED_FILES = 64
"""
Files that are not clients: the log, listeners, certificates being read, the
reactor's own; links come on top.
"""

COLLECTOR_THRESHOLDS = (20000, 10, 5)
"""
Stanzas and sessions form no cycles; what does is rare.  Python's own 700 makes one read of a
link reason enough to look for some.  All is looked through when there is a million objects
more than the last time: that takes 3 ms for a thousand clients, and what has become garbage
after a long life waits for it.
"""

CONTROL_GROUPS = Path("/sys/fs/cgroup")

_STOPPING = (signal.SIGTERM, signal.SIGINT)


class Limits(Protocol):
    """
    What is asked of the module L{resource}.
    """

    RLIMIT_NOFILE: int

    def getrlimit(self, kind: int, /) -> tuple[int, int]:
        """
        Soft and hard limit.
        """

    def setrlimit(self, kind: int, limits: tuple[int, int], /) -> None:
        """
        Set both.
        """


def raiseFileLimit(wanted: int, limits: Limits = resource) -> int:
    """
    Let the process open C{wanted} files, or as many as it may.

    @return: How many of them it may open now.
    """
    kind = limits.RLIMIT_NOFILE
    soft, hard = (
        math.inf if limit == resource.RLIM_INFINITY else limit for limit in limits.getrlimit(kind)
    )
    # Only a privileged process may raise the hard limit, so that is tried first.
    for newSoft, newHard in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        if newSoft <= soft:
            break
        new = int(newSoft), resource.RLIM_INFINITY if newHard == math.inf else int(newHard)
        try:
            limits.setrlimit(kind, new)
        except (ValueError, OSError):
            continue
        return new[0]
    return int(min(soft, wanted))


def easeCollector(collector: Any = gc) -> None:
    """
    Spare Python's collector of cycles what was made so far, which stays, and have it look
    less often.  To be called once everything has started.
    """
    collector.collect()
    collector.freeze()
    collector.set_threshold(*COLLECTOR_THRESHOLDS)


def cores(groups: Path = CONTROL_GROUPS) -> int:
    """
    Return how many cores the process may use: those it may run on, or fewer where a
    control group (a container, CPUQuota of systemd) has less time than they have.

    @param groups: Where the control groups are.
    """
    found = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError):
        own = Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip()
        here = groups / own.lstrip("/")
        for group in (here, *here.parents):
            if group.is_relative_to(groups) and (group / "cpu.max").exists():
                quota, period = (group / "cpu.max").read_text().split()
                if quota != "max":
                    found = min(found, int(quota) / int(period))
    return max(1, math.ceil(found))


class Signals:
    """
    What signals do while the reactor runs.

    SIGTERM and SIGINT stop the reactor, once; the second of them ends the process
    at once.  twistd's own way ends the process with that signal even after an orderly
    stop; this one leaves the exit status 0.

    A worker leaves it to its supervisor to lose patience, and to hear of Ctrl-C, which
    reaches both: SIGINT and a second SIGTERM do nothing there.

    @param reactor: L{twisted.internet.interfaces.IReactorCore}.
    @param reload: What SIGHUP does, in the reactor's thread.
    """

    def __init__(
        self, reactor: Any, reload: Callable[[], object], *, isWorker: bool = False
    ) -> None:
        self._reactor = reactor
        self._reload = reload
        self._isWorker = isWorker

    def install(self) -> None:
        """
        To be called before the reactor runs, and again when it does: then its own are
        installed.
        """
        for number in _STOPPING:
            signal.signal(number, self._stop)
        if self._isWorker:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, self._hangUp)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        for each in _STOPPING:
            signal.signal(each, signal.SIG_IGN if self._isWorker else signal.SIG_DFL)
        self._reactor.callFromThread(self._stopReactor)

    def _stopReactor(self) -> None:
        # It may be stopping for a reason of its own.
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()

    def _hangUp(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._reload)
