# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.visits}.
"""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cmanager.body import Body
from cmanager.stanza import NS_CLIENT, Stanza
from cmanager.terms import Rules
from cmanager.visits import Visits
from cmanager.wheel import Wheel
from cmanager.window import Ending, Window
from tests.bosh import SilentExchange

GRACE = 5.0
MESSAGE = Stanza("message", NS_CLIENT, {}, b"<message/>")


class FakeVisited:
    """
    Takes all requests that it may, and notes the end.
    """

    def __init__(self, window: Window) -> None:
        self.window = window
        self.isBehind = False
        self.overs = 0
        self.taken: list[int] = []

    def take(self) -> None:
        """
        Take them.
        """
        while (body := self.window.next()) is not None:
            self.taken.append(body.rid)

    def visitsOver(self) -> None:
        """
        Count it.
        """
        self.overs += 1


class VisitsCase(SynchronousTestCase):
    """
    A client whose first request waits.
    """

    rules = Rules(wait=20, hold=2, inactivity=10, polling=0, maxPause=100)
    ver: tuple[int, int] = (1, 11)

    def setUp(self) -> None:
        self.begin()

    def begin(self, at: float = 0.0, **first: Any) -> None:
        """
        Begin anew.
        """
        self.clock = Clock()
        self.clock.advance(at)
        self.wheel = Wheel(self.clock.seconds)
        body = Body(rid=1, ver=self.ver, **first)
        self.window = Window(self.rules, "sid", body, self.clock.seconds())
        self.visited = FakeVisited(self.window)
        self.visits = Visits(self.clock, self.wheel, self.window, self.visited, "text/xml", GRACE)
        self.rid = 1
        self.first = SilentExchange()
        self.visits.request(self.first, body)

    def ask(self, **body: Any) -> SilentExchange:
        """
        Let the next request come.
        """
        self.rid += 1
        exchange = SilentExchange()
        self.visits.request(exchange, Body(rid=self.rid, **body))
        return exchange

    def send(self) -> None:
        """
        Send a stanza.
        """
        self.window.send(MESSAGE.data, MESSAGE)
        self.visits.flushLater()
        self.visits.flushLater()
        self.clock.advance(0)

    def pass_(self, seconds: float) -> None:
        """
        Let time pass.
        """
        for _ in range(round(seconds)):
            self.clock.advance(1)
            self.wheel.tick()

    def assertOver(self, *, isOver: bool = True) -> None:
        """
        All is over, or not; the end comes once, and leaves nothing.
        """
        self.assertEqual(self.visited.overs, isOver)
        self.assertEqual(self.visits.isOver, isOver)
        if isOver:
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertEqual(len(self.wheel), 0)
            # Or both would wait for the garbage collector.
            self.assertNotIn(self.visited, gc.get_referents(self.visits))


class AnswerTests(VisitsCase):
    """
    When requests are answered.
    """

    def test_turn(self) -> None:
        """
        At the end of the turn in which there was something to say, as what it is to be.
        """
        self.assertEqual(self.visited.taken, [1])
        self.window.send(b"<a/>")
        self.visits.flushLater()
        self.assertEqual(self.first.answers, [])
        self.clock.advance(0)
        self.assertEqual([answer[:2] for answer in self.first.answers], [(200, "text/xml")])

    def test_request(self) -> None:
        """
        At once, where another request brings it about.
        """
        self.ask()
        self.assertEqual(len(self.first.answers), 1)

    def test_wait(self) -> None:
        """
        No later than was agreed on, wherever in a tick that is; and no more than a tick earlier.
        """
        for offset in (0.0, 0.25, 0.5, 0.75):
            self.begin(offset)
            began = self.clock.seconds()
            while not self.first.answers:
                self.clock.advance(0.25)
                if self.clock.seconds() % 1 == 0:
                    self.wheel.tick()
            held = self.clock.seconds() - began
            self.assertLessEqual(held, 20)
            self.assertGreater(held, 18.9)

    def test_sooner(self) -> None:
        """
        What is due before that for which the timer was set is done in time.
        """
        self.send()
        self.ask(pause=100)
        self.ask()
        self.send()
        self.pass_(9)
        self.assertOver(isOver=False)
        self.pass_(1)
        self.assertOver()
        self.assertIs(self.window.ending, Ending.SILENT)

    def test_later(self) -> None:
        """
        Nor is it done too early.
        """
        self.send()
        self.pass_(9)
        exchange = self.ask()
        self.pass_(18)
        self.assertEqual(exchange.answers, [])
        self.pass_(1)
        self.assertEqual(len(exchange.answers), 1)
        self.pass_(9)
        self.assertOver(isOver=False)
        self.pass_(2)
        self.assertOver()

    def test_notTaken(self) -> None:
        """
        For requests that nobody takes nothing is due.
        """
        self.send()
        self.visited.take = lambda: None  # type: ignore[method-assign]  # this one only
        exchange = self.ask()
        self.pass_(200)
        self.assertEqual(exchange.answers, [])
        self.assertOver(isOver=False)

    def test_received(self) -> None:
        """
        That an answer was received counts.
        """
        self.send()
        self.visits.received(self.first)
        self.assertEqual(self.window.takeUndelivered(), [])

    def test_lost(self) -> None:
        """
        So does that it was lost; and a request that is lost is not answered.
        """
        self.visits.lost(self.first)
        self.send()
        self.assertEqual(self.first.answers, [])
        exchange = self.ask()
        self.visits.lost(exchange)
        self.assertEqual(self.window.takeUndelivered(), [MESSAGE])


class EndTests(VisitsCase):
    """
    When there will be no more.
    """

    def test_left(self) -> None:
        """
        When the client has left.
        """
        self.assertIn(b"terminate", self.ask(isTerminate=True).answers[0][2])
        self.assertOver()

    def test_behind(self) -> None:
        """
        Not before all that came with that has been processed; nothing is answered before it.
        """
        self.visited.isBehind = True
        exchange = self.ask(isTerminate=True)
        self.pass_(100)
        self.assertEqual(exchange.answers, [])
        self.visited.isBehind = False
        self.visits.flushLater()
        self.clock.advance(0)
        self.assertEqual(len(exchange.answers), 1)
        self.assertOver()

    def test_broken(self) -> None:
        """
        When it breaks a rule, whatever has not been sent yet.
        """
        self.first.isPending = True
        self.rid = 100
        self.ask()
        self.assertIs(self.window.ending, Ending.BROKEN)
        self.assertOver()

    def test_told(self) -> None:
        """
        When we have ended it and the client was told; not within the call that ends it.
        """
        self.window.end()
        self.visits.close()
        self.assertOver(isOver=False)
        self.clock.advance(0)
        self.assertEqual(len(self.first.answers), 1)
        self.assertOver()

    def test_notTold(self) -> None:
        """
        Where no request is here, when the next comes or the grace time is over.
        """
        for isComing in (True, False):
            self.begin()
            self.send()
            self.visits.received(self.first)
            self.window.end()
            self.visits.close()
            self.pass_(GRACE - 1)
            self.assertOver(isOver=False)
            if isComing:
                self.assertEqual(len(self.ask().answers), 1)
            else:
                self.pass_(1)
            self.assertOver()

    def test_missed(self) -> None:
        """
        Where the client may have missed something, when the grace time is over.
        """
        self.send()
        self.ask()
        self.window.end()
        self.visits.close()
        self.pass_(GRACE - 1)
        self.assertTrue(self.window.isTold)
        self.assertOver(isOver=False)
        self.pass_(1)
        self.assertOver()

    def test_notSent(self) -> None:
        """
        So it is where the kernel has not taken all of an answer, be it the client that leaves,
        unless that answer is lost.
        """
        for isLeaving in (True, False):
            for isLost in (True, False):
                self.begin()
                self.first.isPending = True
                if isLeaving:
                    self.send()
                    self.ask(isTerminate=True)
                else:
                    self.window.end()
                    self.visits.close()
                self.pass_(GRACE - 1)
                self.assertOver(isOver=False)
                if isLost:
                    self.visits.lost(self.first)
                else:
                    self.pass_(1)
                self.assertOver()

    def test_sent(self) -> None:
        """
        What has been taken by then is not waited for.
        """
        self.first.isPending = True
        self.send()
        self.first.isPending = False
        self.ask(isTerminate=True)
        self.assertOver()

    def test_taken(self) -> None:
        """
        Nor is waited on once the last of it is known to have been taken; that may be said of
        answers that nobody waits for.
        """
        self.first.isPending = True
        self.window.end()
        self.visits.close()
        self.clock.advance(0)
        self.assertOver(isOver=False)
        self.visits.taken(SilentExchange())
        self.assertOver(isOver=False)
        self.first.isPending = False
        self.visits.taken(self.first)
        self.assertOver()
        self.visits.taken(self.first)

    def test_slow(self) -> None:
        """
        Answers that were not taken at once, but later, are not remembered.
        """
        exchange = self.first
        for _ in range(100):
            exchange.isPending = True
            self.send()
            exchange.isPending = False
            exchange = self.ask()
        self.assertEqual(len(self.visits._unsent), 1)

    def test_abort(self) -> None:
        """
        Nobody is waited for where it is to be over at once; all that is here is told.
        """
        self.first.isPending = True
        self.send()
        exchange = self.ask()
        self.window.end()
        self.visits.close()
        self.visits.abort()
        self.clock.advance(0)
        self.assertEqual(len(exchange.answers), 1)
        self.assertOver()

    def test_afterwards(self) -> None:
        """
        It comes once, whatever comes afterwards.
        """
        self.ask(isTerminate=True)
        self.visits.lost(self.first)
        self.visits.received(self.first)
        self.visits.flushLater()
        self.visits.abort()
        self.assertOver()

    def test_within(self) -> None:
        """
        It comes once where an answer brings the next request about, and that is the last.
        """
        follower = SilentExchange()

        class Leading(SilentExchange):
            def answer(inner, status: int, type_: str, data: bytes) -> None:
                super().answer(status, type_, data)
                self.visits.request(follower, Body(rid=3, isTerminate=True))

        exchange = Leading()
        self.send()
        self.visits.request(exchange, Body(rid=2))
        self.send()
        self.assertEqual((len(exchange.answers), len(follower.answers)), (1, 1))
        self.assertOver()
