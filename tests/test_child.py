# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.child}.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cmanager.child import LAST_WORDS_SECONDS, NEWS, READY, WAITING, Child, Start
from tests.processes import FakeProcess, ProcessReactor
from tests.test_plan import PLAN

PATIENCE = 5.0


class ChildCase(SynchronousTestCase):
    """
    A child that does nothing by itself.
    """

    def setUp(self) -> None:
        """
        Start it.
        """
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)
        self.reactor = ProcessReactor()
        self.gone: list[Child] = []
        start = Start(PLAN, {4: 44, 5: 55}, PATIENCE, ("--reactor=poll",))
        self.child = Child(self.reactor, start, self)

    @property
    def process(self) -> FakeProcess:
        """
        What it is.
        """
        return self.reactor.processes[0]

    def childEnded(self, child: Child) -> None:
        """
        See L{IWatch}.
        """
        self.gone.append(child)


class StartTests(ChildCase):
    """
    How it is started.
    """

    def test_process(self) -> None:
        """
        It gets its number on the command line, its plan by a pipe, and descriptors.
        """
        self.assertEqual(
            self.process.line,
            [sys.executable, "-P", "-m", "cmanager.worker", "1", "--reactor=poll"],
        )
        self.assertEqual(self.process.plan["text"], PLAN.text)
        self.assertEqual(
            self.process.descriptors, {0: "w", 1: "r", 2: "r", NEWS: "r", 4: 44, 5: 55}
        )
        self.assertEqual(self.process.environment["PATH"], os.environ["PATH"])
        for path in filter(None, sys.path):
            self.assertIn(path, self.process.environment["PYTHONPATH"].split(os.pathsep))

    def test_news(self) -> None:
        """
        It tells when it takes clients, and whether it can log them in.
        """
        settled = self.child.settled()
        for words, isReady in ((WAITING, False), (READY, True), (WAITING, False), (READY, True)):
            self.process.tell(words)
            self.assertTrue(self.child.isUp)
            self.assertEqual(self.child.isReady, isReady)
        self.successResultOf(settled)
        self.successResultOf(self.child.settled())
        (event,) = self.events
        self.assertEqual((event["worker"], event["pid"], event["name"]), (1, 1000, "cm-1"))

    def test_pieces(self) -> None:
        """
        What it tells comes in any pieces.
        """
        settled = self.child.settled()
        for byte in READY:
            self.process.write(NEWS, bytes([byte]))
        self.assertNoResult(settled)
        self.process.write(NEWS, b"\n")
        self.successResultOf(settled)

    def test_log(self) -> None:
        """
        What it writes is in the log, under its number.
        """
        self.process.say(log_time=1.5, level="info", namespace="cmanager.x", message="hear")
        self.process.fail("Traceback")
        self.assertEqual(
            [(event.get("log_text"), event.get("text")) for event in self.events],
            [("hear", None), (None, "Traceback")],
        )
        self.assertEqual(self.events[0]["log_worker"], 1)


class SignalTests(ChildCase):
    """
    What it is sent.
    """

    def test_hangUp(self) -> None:
        """
        It reads its configuration again; not before it can.
        """
        self.child.hangUp()
        self.child.hangUp()
        self.assertEqual(self.process.signals, [])
        self.process.tell(WAITING)
        self.assertEqual(self.process.signals, ["HUP"])
        self.process.tell(READY)
        self.assertEqual(self.process.signals, ["HUP"])
        self.child.hangUp()
        self.assertEqual(self.process.signals, ["HUP", "HUP"])

    def test_leave(self) -> None:
        """
        It is told to leave once, and ended if it does not in time.
        """
        left = [self.child.leave(), self.child.leave()]
        self.reactor.advance(PATIENCE - 0.01)
        self.assertEqual(self.process.signals, ["TERM"])
        self.reactor.advance(0.01)
        self.assertEqual(self.process.signals, ["TERM", "KILL"])
        self.assertNoResult(left[0])
        self.process.end(None, signal.SIGKILL)
        for each in left:
            self.successResultOf(each)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_late(self) -> None:
        """
        One that is gone hears nothing.
        """
        self.process.isGone = True
        self.child.leave()
        self.process.end()
        self.successResultOf(self.child.leave())
        self.assertEqual(self.process.signals, [])


class EndTests(ChildCase):
    """
    Its end.
    """

    def test_how(self) -> None:
        """
        It is known how it ended.
        """
        for (status, number), how in (
            ((0, None), "ended with status 0"),
            ((1, None), "ended with status 1"),
            ((None, signal.SIGKILL), "was ended by SIGKILL"),
            ((None, signal.SIGRTMIN + 1), f"was ended by signal {signal.SIGRTMIN + 1}"),
        ):
            self.setUp()
            self.process.tell(READY)
            self.process.end(status, number)
            self.assertEqual(self.child.how, how)
            self.assertEqual(self.gone, [self.child])
            self.assertFalse(self.child.isUp or self.child.isReady)

    def test_tells(self) -> None:
        """
        Who waits for it to be ready, or to end, waits no longer.
        """
        waiting = [self.child.settled(), self.child.ended()]
        self.process.end()
        for each in [*waiting, self.child.settled(), self.child.ended()]:
            self.successResultOf(each)

    def test_lastWords(self) -> None:
        """
        What it wrote last is read, but not for as long as others may hold its pipes.
        """
        self.process.write(2, b"help")
        self.child.processExited(None)
        self.reactor.advance(LAST_WORDS_SECONDS)
        self.assertTrue(self.process.isLetGo)
        self.assertEqual(self.events, [])
        self.process.end(1)
        self.assertEqual(self.events[0]["text"], "help")
        self.assertEqual(self.reactor.getDelayedCalls(), [])
