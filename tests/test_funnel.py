# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.funnel}.
"""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cmanager.errors import LinkError
from cmanager.funnel import FLUSH_BYTES, Funnel
from tests.linkdoubles import LinkTransport

BACKLOG = 4 * FLUSH_BYTES


class FunnelTestCase(SynchronousTestCase):
    """
    A funnel on a transport.
    """

    def setUp(self) -> None:
        """
        Make both.
        """
        self.clock = Clock()
        self.told: list[str] = []
        self.errors: list[LinkError] = []
        self.transport = LinkTransport()
        self.funnel = Funnel(
            self.clock,
            stalledAfter=60.0,
            pause=lambda: self.told.append("pause"),
            resume=lambda: self.told.append("resume"),
            give=self.errors.append,
            backlog=BACKLOG,
        )
        self.funnel.start(self.transport)

    def turn(self) -> bytes:
        """
        Let a turn pass and return what left in it.
        """
        self.clock.advance(0)
        return self.transport.take()

    def fill(self) -> None:
        """
        Make the kernel take nothing more.
        """
        self.transport.isFull = True
        self.funnel.write(b"full")
        self.turn()


class TurnTests(FunnelTestCase):
    """
    What is written in one turn leaves in one piece.
    """

    def test_interface(self) -> None:
        """
        A funnel is a push producer.
        """
        verifyObject(IPushProducer, self.funnel)
        self.funnel.stopProducing()

    def test_together(self) -> None:
        """
        Nothing leaves before the turn ends, and then all at once.
        """
        writes: list[bytes] = []
        self.transport.write = writes.append  # type: ignore[method-assign] # looks at the calls
        self.funnel.write(b"a", b"b")
        self.funnel.write(b"c")
        self.assertEqual(writes, [])
        self.clock.advance(0)
        self.assertEqual(writes, [b"abc"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_threshold(self) -> None:
        """
        64 KiB leave without waiting for the end; one byte less waits.
        """
        self.funnel.write(b"x" * (FLUSH_BYTES - 1))
        self.assertEqual(self.transport.take(), b"")
        self.funnel.write(b"y")
        self.assertEqual(len(self.transport.take()), FLUSH_BYTES)
        self.assertEqual(self.turn(), b"")


class BackPressureTests(FunnelTestCase):
    """
    A server that does not read makes clients wait.
    """

    def test_pause(self) -> None:
        """
        Who writes is paused once more than 64 KiB wait, and only once.
        """
        self.fill()
        self.funnel.write(b"x" * FLUSH_BYTES)
        self.assertEqual(self.told, [])
        self.funnel.write(b"x")
        self.funnel.write(b"x")
        self.assertEqual(self.told, ["pause"])
        self.assertEqual(self.turn(), b"")

    def test_resume(self) -> None:
        """
        When the kernel has taken all, the rest leaves, then who writes may go on.
        """
        self.fill()
        self.funnel.write(b"x" * (FLUSH_BYTES + 1))
        self.transport.drain()
        self.assertEqual(len(self.transport.take()), FLUSH_BYTES + 1)
        self.assertEqual(self.told, ["pause", "resume"])
        self.transport.drain()
        self.assertEqual(self.told, ["pause", "resume"])

    def test_shortWait(self) -> None:
        """
        A little that waits pauses nobody.
        """
        self.fill()
        self.funnel.write(b"x")
        self.transport.drain()
        self.assertEqual((self.transport.take(), self.told), (b"x", []))

    def test_backlog(self) -> None:
        """
        The bytes that wait are bounded: one more, and the server is given up.
        """
        self.fill()
        self.funnel.write(b"x" * BACKLOG)
        self.assertEqual(self.errors, [])
        self.funnel.write(b"x")
        (error,) = self.errors
        self.assertIn(str(BACKLOG), error.reason)

    def test_stalled(self) -> None:
        """
        A server that takes nothing for 60 s is given up.
        """
        self.fill()
        self.clock.advance(59.9)
        self.assertEqual(self.errors, [])
        self.clock.advance(0.1)
        (error,) = self.errors
        self.assertIn("60 s", error.reason)

    def test_slowIsNotStalled(self) -> None:
        """
        Each piece has its own 60 s.
        """
        self.fill()
        self.clock.advance(40)
        self.transport.drain()
        self.fill()
        self.clock.advance(59.9)
        self.assertEqual(self.errors, [])
        self.clock.advance(0.1)
        self.assertEqual(len(self.errors), 1)

    def test_drainedIsNotStalled(self) -> None:
        """
        With everything taken nothing is watched.
        """
        self.fill()
        self.transport.drain()
        self.clock.advance(1000)
        self.assertEqual((self.errors, self.clock.getDelayedCalls()), ([], []))


class CountTests(FunnelTestCase):
    """
    It is known which stanzas the kernel has not taken.
    """

    def put(self) -> None:
        """
        Write one stanza.
        """
        self.funnel.stanzas += 1
        self.funnel.write(b"x")

    def test_waiting(self) -> None:
        """
        What waits, and what the transport has, count; what it got rid of does not.
        """
        self.transport.isFull = True
        self.put()
        self.put()
        self.assertEqual(self.funnel.untaken, 2)
        self.turn()
        self.put()
        self.assertEqual(self.funnel.untaken, 3)
        self.transport.drain()
        self.assertEqual(self.funnel.untaken, 1)
        self.transport.drain()
        self.assertEqual(self.funnel.untaken, 0)

    def test_neverFull(self) -> None:
        """
        Where a transport never filled up, what it was handed earlier is gone.
        """
        self.put()
        self.turn()
        self.put()
        self.turn()
        self.assertEqual(self.funnel.untaken, 1)

    def test_confirm(self) -> None:
        """
        A server that ends the stream in order has read everything.
        """
        self.put()
        self.funnel.confirm()
        self.assertEqual(self.funnel.untaken, 0)


class EndTests(FunnelTestCase):
    """
    Nothing is written behind the end.
    """

    def test_stop(self) -> None:
        """
        What waits is forgotten, and no timer is left.
        """
        self.fill()
        self.funnel.write(b"x")
        self.funnel.stop()
        self.assertEqual((self.turn(), self.clock.getDelayedCalls()), (b"", []))
        self.assertIsNone(self.transport.producer)
        self.funnel.stop()

    def test_stopInTurn(self) -> None:
        """
        The same in the middle of a turn, and for what is written later.
        """
        self.funnel.write(b"x")
        self.funnel.stop()
        self.funnel.write(b"y")
        self.assertEqual(self.turn(), b"")

    def test_finish(self) -> None:
        """
        The last words leave behind everything that waits, even when the kernel is full.
        """
        self.fill()
        self.funnel.write(b"x")
        self.transport.isFull = False
        self.funnel.finish(b"</end>")
        self.assertEqual(self.transport.take(), b"x</end>")
        self.assertIsNone(self.transport.producer)
        self.assertEqual(self.clock.getDelayedCalls(), [])
