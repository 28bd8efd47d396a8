# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.process}.
"""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

from twisted.internet.error import ReactorNotRunning
from twisted.trial.unittest import SynchronousTestCase

from cmanager.process import (
    COLLECTOR_THRESHOLDS,
    Signals,
    cores,
    easeCollector,
    raiseFileLimit,
)

INFINITY = resource.RLIM_INFINITY


class FakeLimits:
    """
    Limits of an ordinary process, or of a privileged one.
    """

    RLIMIT_NOFILE = 7

    def __init__(self, soft: int, hard: int, *, privileged: bool = False) -> None:
        self.limits = (soft, hard)
        self.privileged = privileged

    def getrlimit(self, kind: int, /) -> tuple[int, int]:
        """
        See L{resource.getrlimit}.
        """
        assert kind == self.RLIMIT_NOFILE
        return self.limits

    def setrlimit(self, kind: int, limits: tuple[int, int], /) -> None:
        """
        See L{resource.setrlimit}.
        """
        if limits[1] > self.limits[1] and not self.privileged:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


class Collector:
    """
    Notes what it is asked.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> object:
        return lambda *arguments: self.asked.append((name, *arguments))


class CollectorTests(SynchronousTestCase):
    """
    Python's collector of cycles.
    """

    def test_eased(self) -> None:
        """
        What can go goes, what is left is looked at never again, what comes not often.
        """
        collector = Collector()
        easeCollector(collector)
        self.assertEqual(
            collector.asked,
            [("collect",), ("freeze",), ("set_threshold", *COLLECTOR_THRESHOLDS)],
        )


class FileLimitTests(SynchronousTestCase):
    """
    Open files.
    """

    def test_enough(self) -> None:
        """
        A limit that is high enough stays.
        """
        limits = FakeLimits(100, 200)
        self.assertEqual(raiseFileLimit(100, limits), 100)
        self.assertEqual(limits.limits, (100, 200))

    def test_raised(self) -> None:
        """
        The soft limit is raised as far as needed, the hard one left alone.
        """
        limits = FakeLimits(100, 200)
        self.assertEqual(raiseFileLimit(101, limits), 101)
        self.assertEqual(limits.limits, (101, 200))

    def test_hardLimit(self) -> None:
        """
        An ordinary process gets no further than its hard limit.
        """
        limits = FakeLimits(100, 200)
        self.assertEqual(raiseFileLimit(201, limits), 200)
        self.assertEqual(limits.limits, (200, 200))

    def test_privileged(self) -> None:
        """
        A privileged one raises both.
        """
        limits = FakeLimits(100, 200, privileged=True)
        self.assertEqual(raiseFileLimit(300, limits), 300)
        self.assertEqual(limits.limits, (300, 300))

    def test_infinite(self) -> None:
        """
        No limit is as good as any, and is not given up.
        """
        limits = FakeLimits(INFINITY, INFINITY)
        self.assertEqual(raiseFileLimit(300, limits), 300)
        self.assertEqual(limits.limits, (INFINITY, INFINITY))
        limits = FakeLimits(100, INFINITY)
        self.assertEqual(raiseFileLimit(300, limits), 300)
        self.assertEqual(limits.limits, (300, INFINITY))

    def test_stuck(self) -> None:
        """
        Where nothing can be raised the limit is reported as it is.
        """
        self.assertEqual(raiseFileLimit(201, FakeLimits(200, 200)), 200)

    def test_real(self) -> None:
        """
        The module of the standard library is what is asked by default.
        """
        self.assertEqual(raiseFileLimit(1), 1)


class CoreTests(SynchronousTestCase):
    """
    How many cores there are to use.
    """

    def setUp(self) -> None:
        """
        No control groups, and three cores to run on.
        """
        self.groups = Path(os.path.abspath(self.mktemp()))
        self.groups.mkdir()
        self.patch(os, "sched_getaffinity", lambda process: {0, 2, 5})

    def group(self, limit: str) -> int:
        """
        Return what there is where the outermost group has a limit.
        """
        (self.groups / "cpu.max").write_text(limit)
        return cores(self.groups)

    def test_affinity(self) -> None:
        """
        They are those that the process may run on.
        """
        self.assertEqual(cores(self.groups), 3)

    def test_quota(self) -> None:
        """
        Or as many as there is time for, if that is less.
        """
        for limit, found in (
            ("max 100000\n", 3),
            ("400000 100000\n", 3),
            ("200000 100000\n", 2),
            ("150000 100000\n", 2),
            ("100 100000\n", 1),
            ("x\n", 3),
        ):
            self.assertEqual(self.group(limit), found, limit)

    def test_real(self) -> None:
        """
        There is at least one here.
        """
        self.assertGreater(cores(), 0)


class FakeReactor:
    """
    Counts how often it is stopped.
    """

    def __init__(self) -> None:
        self.stopped = 0
        self.running = True

    def callFromThread(self, function) -> None:
        """
        Call at once.
        """
        function()

    def stop(self) -> None:
        """
        See L{IReactorCore.stop}.
        """
        if not self.running:
            raise ReactorNotRunning
        self.running = False
        self.stopped += 1


class SignalTests(SynchronousTestCase):
    """
    Signals that arrive for real.
    """

    def setUp(self) -> None:
        """
        Install, and put back what was there.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.reactor = FakeReactor()
        self.reloads = 0
        Signals(self.reactor, self.reload).install()

    def reload(self) -> None:
        """
        Count.
        """
        self.reloads += 1

    def test_stop(self) -> None:
        """
        SIGTERM and SIGINT stop the reactor.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            self.reactor = FakeReactor()
            Signals(self.reactor, self.reload).install()
            signal.raise_signal(number)
            self.assertEqual(self.reactor.stopped, 1)

    def test_second(self) -> None:
        """
        After the first, either ends the process.
        """
        signal.raise_signal(signal.SIGTERM)
        for number in (signal.SIGTERM, signal.SIGINT):
            self.assertEqual(signal.getsignal(number), signal.SIG_DFL)

    def test_worker(self) -> None:
        """
        A worker is stopped by SIGTERM alone, and never ended by a second one.
        """
        Signals(self.reactor, self.reload, isWorker=True).install()
        signal.raise_signal(signal.SIGINT)
        self.assertEqual(self.reactor.stopped, 0)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        self.assertEqual(self.reactor.stopped, 1)

    def test_alreadyStopping(self) -> None:
        """
        A reactor that is stopping anyway is left alone.
        """
        self.reactor.running = False
        signal.raise_signal(signal.SIGTERM)
        self.assertEqual(self.reactor.stopped, 0)

    def test_reload(self) -> None:
        """
        SIGHUP reloads, as often as it comes.
        """
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        self.assertEqual((self.reloads, self.reactor.stopped), (2, 0))
