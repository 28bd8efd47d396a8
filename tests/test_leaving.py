# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.leaving}.  What the server hears of it is tested with L{cmanager.router}.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cmanager.leaving import ABORT_SECONDS, STEP_SECONDS, Leaving
from cmanager.settings import ManagerSettings
from cmanager.table import State, Table


class Client:
    """
    A session, and its stream.

    @ivar heard: What it was told.
    """

    state = State.BOUND
    link = None

    def __init__(self, id: str) -> None:
        self.id = id
        self.stream = self
        self.heard: list[str] = []

    def shutdown(self) -> None:
        """
        It is told to leave.
        """
        self.heard.append("shutdown")

    def abort(self) -> None:
        """
        It is cut off.
        """
        self.heard.append("abort")


class LeavingTests(SynchronousTestCase):
    """
    Everybody leaves.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.table = Table(100)
        self.clients: list[Any] = [Client(str(n)) for n in range(10)]
        for client in self.clients:
            self.table.add(client)
        times = ManagerSettings(drain=5 * STEP_SECONDS, grace=2.0)
        self.leaving = Leaving(self.clock, self.table, times)

    def begin(self) -> Deferred[None]:
        """
        Have them leave.
        """
        return ensureDeferred(self.leaving.begin())

    def leave(self, client: Any) -> None:
        """
        One has left.
        """
        self.table.remove(client)
        self.leaving.sessionClosed()

    def told(self, word: str) -> int:
        """
        Return how many have been told that.
        """
        return sum(word in client.heard for client in self.clients)

    def test_inOrder(self) -> None:
        """
        They are told little by little; when the last is gone, it is over.
        """
        self.leave(self.clients.pop())
        leaving = self.begin()
        for expected in (2, 4, 6, 8, 9):
            self.assertEqual(self.told("shutdown"), expected)
            self.clock.advance(STEP_SECONDS)
        for client in self.clients:
            self.assertNoResult(leaving)
            self.leave(client)
        self.successResultOf(leaving)
        self.assertEqual(self.told("abort"), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late(self) -> None:
        """
        Who has not gone in time is cut off, and waited for a little longer.
        """
        leaving = self.begin()
        self.clock.pump([STEP_SECONDS] * 4)
        self.leave(self.clients.pop())
        self.clock.advance(1.9)
        self.assertEqual(self.told("abort"), 0)
        self.clock.advance(0.1)
        self.assertEqual(self.told("abort"), 9)
        self.assertNoResult(leaving)
        self.clock.advance(ABORT_SECONDS)
        self.successResultOf(leaving)
        self.leave(self.clients.pop())

    def test_lastInTime(self) -> None:
        """
        All may go in the moment in which the time is over.
        """
        leaving = self.begin()
        self.clock.pump([STEP_SECONDS] * 4)
        for client in self.clients:
            client.abort = lambda client=client: self.leave(client)
        self.clock.advance(2)
        self.successResultOf(leaving)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nobody(self) -> None:
        """
        Without anybody it is over at once.
        """
        for client in self.clients:
            self.leave(client)
        self.successResultOf(self.begin())
