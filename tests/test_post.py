# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.post}.
"""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cmanager.post import (
    MOST_RESTART_SECONDS,
    PROVEN_SECONDS,
    RESTART_SECONDS,
    Post,
)


class PostTests(SynchronousTestCase):
    """
    L{Post} keeps one worker running.
    """

    def setUp(self) -> None:
        """
        A post without a worker.
        """
        self.clock = Clock()
        self.hired: list[tuple[int, Any]] = []
        self.error: OSError | None = None
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.logged)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged)
        self.post: Any = Post(self.clock, 2, "orders", self.hire, lambda: 1.0)

    def logged(self, event: dict[str, Any]) -> None:
        """
        Keep a line.
        """
        self.lines.append(event["log_format"].format(**event))

    def hire(self, slot: int, orders: Any) -> Any:
        """
        Start a worker, or fail.
        """
        if self.error is not None:
            raise self.error
        self.hired.append((slot, orders))
        return SimpleNamespace(slot=slot, started=self.clock.seconds(), how="was ended by SIGKILL")

    def test_fill(self) -> None:
        """
        It starts one with its slot and orders.
        """
        self.post.fill()
        self.assertEqual(self.hired, [(2, "orders")])
        self.assertEqual(self.post.child.slot, 2)

    def test_lost(self) -> None:
        """
        One that died is followed by another, after a while that grows.
        """
        self.post.fill()
        for wait in (RESTART_SECONDS, RESTART_SECONDS * 2, RESTART_SECONDS * 4):
            del self.hired[:]
            self.post.lost(7)
            self.assertIsNone(self.post.child)
            self.clock.advance(wait - 0.01)
            self.assertEqual(self.hired, [])
            self.clock.advance(0.01)
            self.assertEqual(self.hired, [(2, "orders")])
        self.assertEqual(
            self.lines[1],
            "worker 2 was ended by SIGKILL, with 7 clients; started again in 2.0 s",
        )

    def test_bounded(self) -> None:
        """
        The wait does not grow for ever, and begins anew after one that has lived.
        """
        self.post.fill()
        for _ in range(10):
            self.post.lost(7)
            self.clock.advance(MOST_RESTART_SECONDS)
        self.assertEqual(len(self.hired), 11)
        self.clock.advance(PROVEN_SECONDS)
        self.post.lost(7)
        self.clock.advance(RESTART_SECONDS)
        self.assertEqual(len(self.hired), 12)

    def test_cannot(self) -> None:
        """
        One that cannot be started is tried again.
        """
        self.error = OSError(errno.EAGAIN, "Resource temporarily unavailable")
        self.post.fill()
        self.assertIsNone(self.post.child)
        self.assertEqual(
            self.lines,
            [
                "worker 2 cannot be started: Resource temporarily unavailable;"
                " started again in 1.0 s"
            ],
        )
        self.error = None
        self.clock.advance(RESTART_SECONDS)
        self.assertEqual(self.hired, [(2, "orders")])

    def test_take(self) -> None:
        """
        Another process takes the place of one, or of none that is to come.
        """
        self.post.fill()
        first = self.post.child
        second = SimpleNamespace(slot=3, started=0.0, how=None)
        self.assertIs(self.post.take(second, "others"), first)
        self.assertEqual((self.post.child, self.post.slot), (second, 3))
        self.post.lost(7)
        third = SimpleNamespace(slot=1, started=0.0, how=None)
        self.assertIsNone(self.post.take(third, "more"))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.post.lost(7)
        self.clock.advance(MOST_RESTART_SECONDS)
        self.assertEqual(self.hired[1:], [(1, "more")])

    def test_vacate(self) -> None:
        """
        At a stop none is started again.
        """
        self.post.vacate()
        self.post.fill()
        self.post.lost(7)
        self.post.vacate()
        self.assertEqual(self.clock.getDelayedCalls(), [])
