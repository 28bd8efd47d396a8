# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.worker}.
"""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import globalLogPublisher
from twisted.scripts import twistd
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cmanager.worker import TELL_SECONDS, Tie, main
from tests.processes import CREW


class TieTests(SynchronousTestCase):
    """
    L{Tie} ties a worker to its supervisor.
    """

    def setUp(self) -> None:
        """
        A worker with two servers, in a directory of its own, and its supervisor's ends of
        two pipes.
        """
        self.reactor = MemoryReactorClock()
        self.hosts = [SimpleNamespace(isReady=False) for _ in range(2)]
        lifeline, writing = os.pipe()
        reading, news = os.pipe()
        os.set_blocking(reading, False)
        for descriptor in (lifeline, news):
            self.addCleanup(os.close, descriptor)
        self.writing = os.fdopen(writing, "wb", buffering=0)
        self.news = os.fdopen(reading, "rb", buffering=0)
        self.addCleanup(self.writing.close)
        self.addCleanup(self.news.close)
        self.directory = self.mktemp()
        os.mkdir(self.directory)
        self.paths = tuple(f"{self.directory}/{slot}" for slot in range(3))
        share = SimpleNamespace(isPresent=lambda slot: slot < 2)
        router = SimpleNamespace(hosts=dict(enumerate(self.hosts)), share=share)
        crew = evolve(CREW, slot=1, paths=self.paths)
        self.tie = Tie(self.reactor, router, crew, news, lifeline)
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def told(self) -> bytes:
        """
        Return what the supervisor was told.
        """
        return self.news.read(100) or b""

    def test_news(self) -> None:
        """
        It tells at once that it takes clients, and whenever that becomes possible for all
        servers, or is not any more.
        """
        self.tie.startService()
        self.assertEqual(self.told(), b"waiting\n")
        for states, told in (
            ((True, False), b""),
            ((True, True), b"ready\n"),
            ((True, True), b""),
            ((False, True), b"waiting\n"),
        ):
            for host, state in zip(self.hosts, states, strict=True):
                host.isReady = state
            self.reactor.advance(TELL_SECONDS)
            self.assertEqual(self.told(), told)
        self.tie.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.getReaders(), [])

    def test_lifeline(self) -> None:
        """
        As long as the supervisor is there, nothing happens; then the worker stops, and
        removes its own file, those of nobody, and with the last one the directory.
        """
        verifyObject(IReadDescriptor, self.tie)
        for path in self.paths:
            open(path, "w").close()
        self.tie.startService()
        self.assertEqual(self.reactor.getReaders(), [self.tie])
        self.writing.write(b"x")
        self.tie.doRead()
        self.assertFalse(self.reactor.hasStopped)
        self.writing.close()
        self.tie.doRead()
        self.assertTrue(self.reactor.hasStopped)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(os.listdir(self.directory), ["0"])
        self.assertEqual(
            [event["log_format"] for event in self.events],
            ["the supervisor is gone: this worker stops"],
        )
        os.unlink(self.paths[0])
        open(self.paths[1], "w").close()
        self.tie.doRead()
        self.assertFalse(os.path.exists(self.directory))

    def test_lost(self) -> None:
        """
        So it is where the reactor finds out by itself, but not at its end.
        """
        self.tie.startService()
        self.tie.stopService()
        self.tie.connectionLost(None)
        self.assertFalse(self.reactor.hasStopped)
        self.tie.startService()
        self.tie.connectionLost(None)
        self.assertTrue(self.reactor.hasStopped)

    def test_twice(self) -> None:
        """
        One that stops already goes on with that; and whom it tells may be gone.
        """

        def stop() -> None:
            raise ReactorNotRunning

        self.patch(self.reactor, "stop", stop)
        self.news.close()
        self.writing.close()
        self.tie.startService()
        self.tie.doRead()
        self.assertEqual(self.tie.logPrefix(), "supervisor")
        self.assertEqual(self.tie.fileno(), self.tie._lifeline)

    def test_early(self) -> None:
        """
        It can be stopped before it was started.
        """
        self.tie.stopService()


class MainTests(SynchronousTestCase):
    """
    The command.
    """

    def test_line(self) -> None:
        """
        It is that of C{twistd}, with its options before ours.
        """
        self.patch(sys, "argv", [])
        lines: list[list[str]] = []
        self.patch(twistd, "run", lambda: lines.append(sys.argv))
        main(["3", "--reactor=poll"])
        self.assertEqual(
            lines,
            [
                [
                    "twistd",
                    "--nodaemon",
                    "--pidfile=",
                    "--reactor=poll",
                    "cmanager",
                    "--worker",
                    "3",
                ]
            ],
        )
