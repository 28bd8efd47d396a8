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
import resource
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from twisted.internet.error import ReactorNotRunning

RESERVED_FILES = 64
"""
Files that are not clients: the log, listeners, certificates being read, the
reactor's own; links come on top.
"""

COLLECTOR_THRESHOLDS = (20000, 20, 50)
"""
Stanzas and sessions form no cycles; what does is rare.  Python's own 700 makes one read of a
link reason enough to look for some.
"""

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


class Signals:
    """
    What signals do while the reactor runs.

    SIGTERM and SIGINT stop the reactor, once; the second of them ends the process
    at once.  twistd's own way ends the process with that signal even after an orderly
    stop; this one leaves the exit status 0.

    @param reactor: L{twisted.internet.interfaces.IReactorCore}.
    @param reload: What SIGHUP does, in the reactor's thread.
    """

    def __init__(self, reactor: Any, reload: Callable[[], object]) -> None:
        self._reactor = reactor
        self._reload = reload

    def install(self) -> None:
        """
        To be called before the reactor runs, and again when it does: then its own are
        installed.
        """
        for number in _STOPPING:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hangUp)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        for each in _STOPPING:
            signal.signal(each, signal.SIG_DFL)
        self._reactor.callFromThread(self._stopReactor)

    def _stopReactor(self) -> None:
        # It may be stopping for a reason of its own.
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()

    def _hangUp(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._reload)
