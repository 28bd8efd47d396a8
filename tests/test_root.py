# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.root}; what only its two kinds do is tested with them.
"""

from __future__ import annotations

import signal

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import ConfigError
from cmanager.root import Root, Surroundings
from tests.processes import CREW, ProcessReactor


class RootTests(SynchronousTestCase):
    """
    L{Root} alone.
    """

    def setUp(self) -> None:
        """
        Keep the signals, and the log.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.logged)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged)
        self.reactor = ProcessReactor()

    def logged(self, event) -> None:
        """
        Keep a line.
        """
        self.lines.append(event["log_format"].format(**event))

    def test_fails(self) -> None:
        """
        What its children cannot bind is a line for each problem, and exit status 1.
        """

        class Child(Service):
            def privilegedStartService(self) -> None:
                raise ConfigError(["one", "two"])

        root = Root(Surroundings(self.reactor))
        Child().setServiceParent(root)
        error = self.assertRaises(SystemExit, root.privilegedStartService)
        self.assertEqual(error.code, 1)
        self.assertEqual(self.lines, ["one", "two"])

    def test_signals(self) -> None:
        """
        Signals are its own, as those of a worker or of a process that is alone.
        """
        for crew, interrupted in ((None, False), (CREW, True)):
            root = Root(Surroundings(self.reactor, crew=crew))
            root.startService()
            self.assertEqual(signal.getsignal(signal.SIGINT) == signal.SIG_IGN, interrupted)
            self.assertEqual(signal.getsignal(signal.SIGHUP), root._signals._hangUp)
            root.reload()

    def test_within(self) -> None:
        """
        A stop has a bound; what comes after it changes nothing.
        """
        root = Root(Surroundings(self.reactor))
        for isLate in (False, True):
            stopping: Deferred[None] = Deferred()
            stopped = root._within(1.0, stopping)
            if isLate:
                self.reactor.advance(1.0)
            stopping.callback(None)
            self.successResultOf(stopped)
        self.assertEqual(self.lines, ["stopped", "stopped before all was closed"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
