# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.turn}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from cmanager.turn import Turn


class TurnTests(TestCase):
    """
    What is put off happens once all has been dealt with.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.turn = Turn(self.clock)
        self.done: list[str] = []

    def test_inside(self) -> None:
        """
        Within a turn it happens at its end, in order, and once.
        """
        self.turn.begin()
        self.turn.atEnd(lambda: self.done.append("a"))
        self.turn.atEnd(lambda: self.done.append("b"))
        self.assertEqual(self.done, [])
        self.turn.end()
        self.assertEqual(self.done, ["a", "b"])
        self.turn.begin()
        self.turn.end()
        self.clock.advance(0)
        self.assertEqual(self.done, ["a", "b"])

    def test_outside(self) -> None:
        """
        Otherwise it happens when the reactor is back.
        """
        self.turn.atEnd(lambda: self.done.append("a"))
        self.assertEqual(self.done, [])
        self.clock.advance(0)
        self.assertEqual(self.done, ["a"])

    def test_meanwhile(self) -> None:
        """
        What is put off at the end of a turn is not for that turn.
        """
        self.turn.begin()
        self.turn.atEnd(lambda: self.turn.atEnd(lambda: self.done.append("a")))
        self.turn.end()
        self.assertEqual(self.done, [])
        self.clock.advance(0)
        self.assertEqual(self.done, ["a"])

    def test_bug(self) -> None:
        """
        What fails keeps nothing else from being done, then or later.
        """
        self.turn.begin()
        self.turn.atEnd(self.fail)
        self.turn.atEnd(lambda: self.done.append("a"))
        self.turn.end()
        self.assertEqual(self.done, ["a"])
        self.assertEqual(len(self.flushLoggedErrors(self.failureException)), 1)
