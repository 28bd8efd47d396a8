# Copyright the cmanager authors.
# See LICENSE for details.

"""
How long sessions wait for a link.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cmanager.grace import ANSWER_SECONDS, Grace
from cmanager.wheel import Wheel
from tests.doubles import FakePool


class Waiting:
    """
    As much of a session as is looked at.
    """

    def __init__(self) -> None:
        self.link: Any = None
        self.isLost = False

    def serverLost(self, reason: str = "") -> None:
        self.isLost = True
        self.reason = reason


class GraceTests(SynchronousTestCase):
    """
    L{Grace} holds sessions for a while.
    """

    def setUp(self) -> None:
        """
        A grace of five seconds.
        """
        self.clock = Clock()
        self.wheel = Wheel(self.clock.seconds)
        self.grace: Any = Grace(self.wheel)
        self.pool = FakePool(linksLostGrace=5.0)

    def advance(self, seconds: int) -> None:
        """
        Let time pass.
        """
        for _ in range(seconds):
            self.clock.advance(1)
            self.wheel.tick()

    def test_over(self) -> None:
        """
        They wait five seconds, and not six.
        """
        session = Waiting()
        self.grace.hold(self.pool, [session])
        self.advance(4)
        self.assertFalse(session.isLost)
        self.advance(2)
        self.assertTrue(session.isLost)

    def test_released(self) -> None:
        """
        Those that are released wait no longer; who has a link again is not among them.
        """
        one, two = Waiting(), Waiting()
        two.link = object()
        self.grace.hold(self.pool, [one, two])
        self.assertEqual(self.grace.release(self.pool), [one])
        self.assertEqual(self.grace.release(self.pool), [])
        self.advance(10)
        self.assertFalse(one.isLost)
        self.assertEqual(len(self.wheel), 0)

    def test_later(self) -> None:
        """
        Those that come later wait no longer than the first.
        """
        one, two = Waiting(), Waiting()
        self.grace.hold(self.pool, [one])
        self.advance(3)
        self.grace.hold(self.pool, [two])
        self.advance(3)
        self.assertEqual((one.isLost, two.isLost), (True, True))

    def test_none(self) -> None:
        """
        Without a grace they end at once.
        """
        session = Waiting()
        self.grace.hold(FakePool(linksLostGrace=0.0), [session])
        self.assertTrue(session.isLost)

    def test_nobody(self) -> None:
        """
        Nobody needs no timer.
        """
        self.grace.hold(self.pool, [])
        self.assertEqual(len(self.wheel), 0)

    def test_servers(self) -> None:
        """
        Each server has a grace of its own.
        """
        one, two = Waiting(), Waiting()
        other = FakePool(linksLostGrace=50.0)
        self.grace.hold(self.pool, [one])
        self.grace.hold(other, [two])
        self.advance(6)
        self.assertEqual((one.isLost, two.isLost), (True, False))

    def test_unanswered(self) -> None:
        """
        Who has asked waits for so long, counted from the first time, and no longer.
        """
        session = Waiting()
        session.link = object()
        self.grace.ask(session)
        self.advance(30)
        self.grace.ask(session)
        self.advance(int(ANSWER_SECONDS) - 31)
        self.assertFalse(session.isLost)
        self.advance(2)
        self.assertTrue(session.isLost)
        self.assertIn("does not say", session.reason)
        self.assertEqual(len(self.wheel), 0)

    def test_answered(self) -> None:
        """
        With the answer the wait is over, once; the next question is another.
        """
        session = Waiting()
        session.link = object()
        self.grace.ask(session)
        self.advance(50)
        for _ in range(2):
            self.grace.answered(session)
        self.assertEqual(len(self.wheel), 0)
        self.grace.ask(session)
        self.advance(50)
        self.assertFalse(session.isLost)

    def test_askedLost(self) -> None:
        """
        Who has lost its link meanwhile waits for another, as long as that takes, and asks anew.
        """
        session = Waiting()
        self.grace.ask(session)
        self.advance(int(ANSWER_SECONDS) + 2)
        self.assertFalse(session.isLost)
        session.link = object()
        self.grace.ask(session)
        self.advance(int(ANSWER_SECONDS) + 2)
        self.assertTrue(session.isLost)
