# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.poller}.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cmanager.poller import ENOUGH, MAX_EVENTS, READABLE, WRITABLE, Poller
from cmanager.turn import Turn
from tests.pollers import HandReactor


class Listener:
    """
    One end of a pair of sockets, whose other end is at hand.

    @ivar told: What it has been told.
    @ivar does: What it does when told so.
    """

    def __init__(self, poller: Poller, interests: int = READABLE) -> None:
        self.poller = poller
        self.end, self.other = socket.socketpair()
        for end in (self.end, self.other):
            end.setblocking(False)
        self.number = self.end.fileno()
        self.told: list[str] = []
        self.does: dict[str, Callable[[], object]] = {}
        self.reason: Failure | None = None
        poller.add(self.number, self, interests)

    def _tell(self, what: str) -> None:
        self.told.append(what)
        self.does.get(what, lambda: None)()

    def doRead(self) -> None:
        """
        See L{Descriptor}.
        """
        self._tell("read")

    def doWrite(self) -> None:
        """
        See L{Descriptor}.
        """
        self._tell("write")

    def hungUp(self) -> None:
        """
        See L{Descriptor}.
        """
        self._tell("hung up")

    def failed(self, reason: Failure) -> None:
        """
        See L{Descriptor}.
        """
        self.reason = reason
        self._tell("failed")

    def remove(self) -> None:
        """
        Go.
        """
        self.poller.remove(self.number)
        self.end.close()

    def reset(self) -> None:
        """
        Let the other end go with something unread, which is an error.
        """
        self.end.send(b"unread")
        self.other.close()


class PollerCase(SynchronousTestCase):
    """
    A poller, and a reactor that runs by hand.
    """

    gather = 0.0

    def setUp(self) -> None:
        self.time = 100.0
        self.slept: list[float] = []
        self.turned: list[str] = []
        self.reactor = HandReactor()
        self.turn = Turn(self.reactor)
        self.poller = Poller(
            self.reactor, self.gather, self.turn, now=lambda: self.time, sleep=self.slept.append
        )
        self.listeners: list[Listener] = []
        self.addCleanup(self.clean)

    def clean(self) -> None:
        """
        Close all files.
        """
        for listener in self.listeners:
            if listener.end.fileno() >= 0:
                listener.remove()
            listener.other.close()

    def add(self, interests: int = READABLE) -> Listener:
        """
        Add a pair of sockets.
        """
        self.listeners.append(Listener(self.poller, interests))
        return self.listeners[-1]

    def told(self) -> list[list[str]]:
        """
        Take a turn; return what each has been told since the last one.
        """
        for listener in self.listeners:
            listener.told = []
        self.reactor.turn()
        return [listener.told for listener in self.listeners]


class PollerTests(PollerCase):
    """
    Who is told what.
    """

    def test_interface(self) -> None:
        """
        For the reactor it is something to read.
        """
        verifyObject(IReadDescriptor, self.poller)
        self.assertEqual(self.poller.logPrefix(), "clients")
        self.assertEqual(self.poller.fileno(), -1)

    def test_interests(self) -> None:
        """
        What is of interest is told as long as it is so.
        """
        both, _, _, neither = map(self.add, (READABLE | WRITABLE, READABLE, WRITABLE, 0))
        self.assertEqual(self.told(), [["write"], [], ["write"], []])
        for listener in self.listeners:
            listener.other.send(b"x")
        for _ in range(2):
            self.assertEqual(self.told(), [["read", "write"], ["read"], ["write"], []])
        both.poller.change(both.number, 0)
        neither.poller.change(neither.number, READABLE)
        self.assertEqual(self.told(), [[], ["read"], ["write"], ["read"]])

    def test_end(self) -> None:
        """
        The end is something to read, for those that do.
        """
        for interests in (READABLE, READABLE | WRITABLE):
            self.add(interests).reset()
        self.assertEqual(self.told(), [["read"], ["read", "write"]])

    def test_hungUp(self) -> None:
        """
        Whoever does not read is told all the same, and if nothing is of interest once:
        nobody can do anything about it.
        """
        for interests in (0, WRITABLE):
            self.add(interests).reset()
        self.assertEqual(self.told(), [["hung up"], ["hung up", "write"]])
        self.assertEqual(self.told(), [[], ["hung up", "write"]])
        self.poller.change(self.listeners[1].number, 0)
        self.assertEqual(self.told(), [[], ["hung up"]])
        self.assertEqual(self.told(), [[], []])
        self.poller.change(self.listeners[0].number, READABLE)
        self.assertEqual(self.told(), [["read"], []])

    def test_removed(self) -> None:
        """
        Whoever goes in the middle of a turn is told nothing more, be it by its own doing or
        another's.
        """
        first, second = self.add(READABLE | WRITABLE), self.add(READABLE | WRITABLE)
        for listener, other in ((first, second), (second, first)):
            listener.other.send(b"x")
            listener.does["read"] = lambda one=listener, other=other: (  # type: ignore[misc]
                one.remove(),
                other.remove(),
            )
        self.assertEqual(sorted(self.told()), [[], ["read"]])
        self.assertEqual(len(self.poller), 0)

    def test_reused(self) -> None:
        """
        A number that becomes another's in the middle of a turn is that one's, who is asked
        to read what is not there, at most.
        """
        first, second = self.add(), self.add()
        new: list[Listener] = []

        def replace(other: Listener) -> None:
            if not new:
                other.remove()
                new.append(self.add())

        for listener, other in ((first, second), (second, first)):
            listener.other.send(b"x")
            listener.does["read"] = lambda other=other: replace(other)  # type: ignore[misc]
        told = self.told()
        self.assertEqual(sorted(told[:2]), [[], ["read"]])
        self.assertEqual(new[0].number, (first if second.told else second).number)
        self.assertEqual(len(self.poller), 2)
        self.assertLessEqual(set(told[2]), {"read"})
        self.assertEqual(self.told()[2], [])

    def test_bug(self) -> None:
        """
        An exception costs the one that raises it, who is told why; not even a second one
        concerns others.
        """
        for _ in range(4):
            self.add(READABLE | WRITABLE).other.send(b"x")
        wrong, worse, worst, _ = self.listeners

        def fail() -> None:
            raise ZeroDivisionError

        wrong.does["read"] = worse.does["write"] = fail
        worst.does = {"read": fail, "failed": fail}
        for listener in (wrong, worse):
            listener.does["failed"] = listener.remove
        read, both = ["read", "failed"], ["read", "write"]
        self.assertEqual(self.told(), [read, [*both, "failed"], read, both])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)
        for listener in (wrong, worse, worst):
            assert listener.reason is not None
            self.assertIsInstance(listener.reason.value, ZeroDivisionError)
        worst.remove()
        self.assertEqual(self.told(), [[], [], [], both])

    def test_turn(self) -> None:
        """
        What was put off until the end of the turn happens when all have been told, even if
        the turn ends badly.
        """
        for _ in range(2):
            listener = self.add()
            listener.other.send(b"x")
            listener.does["read"] = lambda: (
                self.turned.append("read"),
                self.turn.atEnd(lambda: self.turned.append("end")),
            )
        self.poller.doRead()
        self.assertEqual(self.turned, ["read", "read", "end", "end"])
        for listener in self.listeners:
            listener.does["read"] = self.fail
        self.turn.atEnd(lambda: self.turned.append("end"))
        self.told()
        self.assertEqual(self.turned[4:], ["end"])
        self.flushLoggedErrors(self.failureException)

    def test_files(self) -> None:
        """
        The poller's own file is there as long as there is anybody to tell.
        """
        for _ in range(2):
            one, other = self.add(), self.add()
            self.assertEqual(self.reactor.readers, [self.poller])
            number = self.poller.fileno()
            os.fstat(number)
            one.other.send(b"x")
            self.poller.remove(one.number)
            self.assertEqual(self.poller.fileno(), number)
            # Its own file is open yet, but nobody's concern.
            self.assertEqual(self.reactor.ready(), [])
            one.end.close()
            other.remove()
            self.assertRaises(OSError, os.fstat, number)
            self.assertEqual((self.poller.fileno(), self.reactor.readers), (-1, []))
            # The reactor may have been on its way to it.
            self.poller.doRead()

    def test_refused(self) -> None:
        """
        Where there cannot be one more, that one is none, and the others are.
        """
        regular = open(__file__, "rb")  # noqa: SIM115 - closed below
        self.addCleanup(regular.close)
        someone: Any = None
        self.assertRaises(OSError, self.poller.add, regular.fileno(), someone, READABLE)
        self.assertEqual((len(self.poller), self.poller.fileno()), (0, -1))
        self.add().other.send(b"x")
        self.assertRaises(OSError, self.poller.add, regular.fileno(), someone, READABLE)
        self.assertEqual(self.told(), [["read"]])

    def test_stop(self) -> None:
        """
        When the reactor stops, or has found the poller at fault, it is the end of all.
        """

        def fail() -> None:
            raise ZeroDivisionError

        for _ in range(3):
            self.add()
        self.listeners[1].does["failed"] = fail
        for listener in self.listeners[::2]:
            listener.does["failed"] = listener.remove
        reason = Failure(ConnectionDone())
        self.poller.connectionLost(reason)
        self.assertEqual([listener.reason for listener in self.listeners], [reason] * 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_bound(self) -> None:
        """
        So many are told at a time, and no more.
        """
        for number, expected in ((MAX_EVENTS, [MAX_EVENTS, 0]), (MAX_EVENTS + 1, [MAX_EVENTS, 1])):
            while len(self.listeners) < number:
                self.add().does["read"] = lambda one=self.listeners: None  # type: ignore[misc]
            for listener in self.listeners:
                listener.other.send(b"x")
                listener.does["read"] = lambda one=listener: one.end.recv(1)  # type: ignore[misc]
            self.assertEqual([len([t for t in self.told() if t]) for _ in range(2)], expected)


class GatherCase(PollerCase):
    """
    Several of which are ready at a time.
    """

    def look(self, time: float, ready: int = 2) -> list[float]:
        """
        Have so many be ready at that time; return how long was slept for more to be.
        """
        while len(self.listeners) < ready:
            self.add()
        for listener in self.listeners[:ready]:
            listener.other.send(b"x")
            listener.does["read"] = lambda one=listener: one.end.recv(1)  # type: ignore[misc]
        self.time = time
        self.slept.clear()
        self.assertEqual([told for told in self.told() if told], [["read"]] * ready)
        return [round(seconds, 6) for seconds in self.slept]


class GatherTests(GatherCase):
    """
    Looking no more often than every so many seconds.
    """

    gather = 0.001

    def test_gather(self) -> None:
        """
        Who comes in time is told at once; who comes too soon after a look that found
        several is told when it is time.
        """
        self.assertEqual(self.look(10.0), [])
        self.assertEqual(self.look(10.5), [])
        self.assertEqual(self.look(10.5004), [0.0006])
        # That look was at .501.
        self.assertEqual(self.look(10.5012), [0.0008])
        self.assertEqual(self.look(10.503), [])

    def test_alone(self) -> None:
        """
        A client that is by itself never waits.
        """
        for time in (10.0, 10.0002, 10.0004):
            self.assertEqual(self.look(time, 1), [])
        self.assertEqual(self.look(10.0006, 2), [])
        self.assertEqual(self.look(10.0008, 1), [0.0008])
        self.assertEqual(self.look(10.0018, 1), [])

    def test_many(self) -> None:
        """
        Nobody waits for more than are enough to make it cheap.
        """
        for thousandth in range(12):
            self.look(200 + thousandth / 1000, ENOUGH * 2)
        # 64 were ready every thousandth: half of that is enough, and would do for a while.
        self.assertEqual(self.look(200.0112, ENOUGH), [0.0003])
        self.assertEqual(self.look(200.0121, ENOUGH), [])

    def test_enough(self) -> None:
        """
        Where just as many as that are ready in the time, it is waited for all of it.
        """
        for thousandth in range(12):
            self.look(200 + thousandth / 1000, ENOUGH)
        self.assertEqual(self.look(200.0112, 2), [0.0008])

    def test_fewer(self) -> None:
        """
        What was expected does not outlast those who came.
        """
        for thousandth in range(12):
            self.look(200 + thousandth / 1000, ENOUGH * 2)
        self.look(201.0, 2)
        self.assertEqual(self.look(201.0002, 2), [0.0008])


class AtOnceTests(GatherCase):
    """
    With nothing to gather for.
    """

    gather = 0.0

    def test_atOnce(self) -> None:
        """
        Nobody waits.
        """
        for time in (200.0, 200.0, 200.5, 200.5):
            self.assertEqual(self.look(time), [])
