# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.consumer}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPullProducer, IPushProducer
from zope.interface import implementer
from zope.interface.verify import verifyObject

from cmanager.consumer import BUFFER_BYTES
from tests.pollers import TransportCase

LARGE = b"0123456789abcdef" * (1 << 20)  # no kernel takes so much at once


@implementer(IPushProducer, IPullProducer)
class Producer:
    """
    Writes down what it is asked to do.
    """

    def __init__(self, resume: Callable[[], object] = lambda: None) -> None:
        self.asked: list[str] = []
        self.resume = resume

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.asked.append("resume")
        self.resume()

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.asked.append("stop")


class WriteTests(TransportCase):
    """
    What is written.
    """

    def test_interface(self) -> None:
        """
        It is what producers write to.
        """
        verifyObject(IConsumer, self.transport)

    def test_atOnce(self) -> None:
        """
        What the kernel takes is with it before anything else happens.
        """
        self.transport.write(b"hello ")
        self.transport.writeSequence([b"wo", b"rl", b"d"])
        self.transport.write(b"")
        self.assertEqual(self.far.read(), b"hello world")
        self.settle()

    def test_order(self) -> None:
        """
        What it does not take is sent when there is room, in order, and all of it.
        """
        self.transport.write(LARGE)
        self.transport.write(b"more")
        self.transport.writeSequence([b"and", b"more"])
        self.pump()
        self.assertTrue(self.far.received == LARGE + b"moreandmore")
        self.settle()

    def test_text(self) -> None:
        """
        Text is refused.
        """
        text: Any = "text"
        self.assertRaises(TypeError, self.transport.write, text)
        self.assertRaises(TypeError, self.transport.writeSequence, [text])
        self.transport.write(b"bytes")
        self.assertEqual(self.far.read(), b"bytes")

    def test_lost(self) -> None:
        """
        Once the connection is lost, writing is nothing.
        """
        self.far.socket.close()
        self.settle()
        self.assertLost(ConnectionDone)
        self.transport.write(b"x")
        self.transport.writeSequence([b"x"])

    def test_lostUnderWay(self) -> None:
        """
        The connection may be lost with something waiting.
        """
        self.transport.write(LARGE)
        self.far.reset()
        self.settle()
        self.assertLost(ConnectionLost)

    def test_unread(self) -> None:
        """
        When writing has failed, what had come before is read first, and then it is lost, not
        ended.
        """
        self.far.socket.send(b"last")
        self.far.reset()
        for _ in range(3):
            self.transport.write(b"x")
        self.settle()
        self.assertEqual(self.protocol.received, [b"last"])
        self.assertLost(ConnectionLost)

    def test_lostWhileClosing(self) -> None:
        """
        Whoever is not read any more, since the connection closes, is lost when writing fails.
        """
        self.transport.write(LARGE)
        self.far.socket.send(b"unread")
        self.transport.loseConnection()
        self.far.socket.close()
        self.transport.write(b"x")
        self.settle()
        self.assertLost(ConnectionLost)


class ProducerTests(TransportCase):
    """
    Those who write when they are asked.
    """

    def test_push(self) -> None:
        """
        One that pushes is paused above the bound, and resumed when all is written.
        """
        producer = Producer()
        self.transport.registerProducer(producer, True)
        while not self.transport._buffer:
            self.transport.write(b"." * 65536)
        waiting = len(self.transport._buffer)
        self.transport.write(b"." * (BUFFER_BYTES - waiting))
        self.assertEqual(producer.asked, [])
        self.transport.write(b".")
        self.transport.write(b".")
        self.assertEqual(producer.asked, ["pause"])
        self.far.read(65536)
        self.reactor.turn()
        self.pump()
        self.assertEqual(producer.asked, ["pause", "resume"])
        self.settle()

    def test_pull(self) -> None:
        """
        One that is pulled is asked at once, and again each time that all is written, for as
        long as it writes.
        """
        parts = [LARGE, b"a", b"b"]

        def resume() -> None:
            if parts:
                self.transport.write(parts.pop(0))

        producer = Producer(resume)
        self.transport.registerProducer(producer, False)
        self.assertEqual(producer.asked, ["resume"])
        self.pump()
        self.assertTrue(self.far.received == LARGE + b"ab")
        self.assertEqual(producer.asked, ["resume"] * 4)
        # It has nothing to say, and nobody waits for it.
        self.settle()
        self.transport.write(b"c")
        self.settle()
        self.assertEqual(producer.asked, ["resume"] * 5)

    def test_written(self) -> None:
        """
        One that is pulled is asked again for what was written before it came.
        """
        self.transport.write(b"x")
        producer = Producer()
        self.transport.registerProducer(producer, False)
        self.settle()
        self.assertEqual(producer.asked, ["resume"] * 2)

    def test_second(self) -> None:
        """
        There is one at a time.
        """
        self.transport.registerProducer(Producer(), True)
        self.assertRaises(RuntimeError, self.transport.registerProducer, Producer(), True)
        self.transport.unregisterProducer()
        self.transport.registerProducer(Producer(), True)

    def test_closing(self) -> None:
        """
        The connection closes when the producer has gone and all is written.
        """
        for isLate in (False, True):
            self.connect()
            producer = Producer()
            self.transport.registerProducer(producer, True)
            self.transport.write(LARGE)
            self.transport.loseConnection()
            self.transport.loseConnection()
            if isLate:
                self.pump()
                self.assertEqual(producer.asked, ["pause", "resume"])
            self.transport.write(b"last")
            self.transport.unregisterProducer()
            self.pump()
            self.assertTrue(self.far.received == LARGE + b"last")
            self.assertLost(ConnectionDone)
            self.assertNotIn("stop", producer.asked)

    def test_idle(self) -> None:
        """
        With a producer that has nothing to say it stays, until that goes.
        """
        self.transport.registerProducer(Producer(), True)
        self.transport.loseConnection()
        self.settle()
        self.assertEqual(self.protocol.events, ["made"])
        self.transport.unregisterProducer()
        self.settle()
        self.assertLost(ConnectionDone)
        self.transport.unregisterProducer()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_late(self) -> None:
        """
        One that comes when the connection is about to close is waited for.
        """
        self.transport.loseConnection()
        self.transport.registerProducer(Producer(), True)
        self.settle()
        self.transport.write(b"last")
        self.transport.unregisterProducer()
        self.settle()
        self.assertEqual(self.far.read(), b"last")
        self.assertLost(ConnectionDone)

    def test_lost(self) -> None:
        """
        When the connection is lost, a producer is stopped, before the protocol hears of it;
        one that comes late is stopped at once.
        """
        producer = Producer()
        self.transport.registerProducer(producer, True)
        self.protocol.does["lost"] = lambda: producer.asked.append("lost")
        self.far.socket.close()
        self.settle()
        self.assertEqual(producer.asked, ["stop", "lost"])
        self.assertLost(ConnectionDone)
        for streaming in (True, False):
            late = Producer()
            self.transport.registerProducer(late, streaming)
            self.assertEqual(late.asked, ["stop"])

    def test_bug(self) -> None:
        """
        One that cannot even be stopped does not keep the protocol from hearing of the end.
        """
        producer = Producer(self.fail)
        producer.stopProducing = self.fail  # type: ignore[method-assign]  # a bug
        self.transport.registerProducer(producer, True)
        self.transport.write(LARGE)
        self.pump()
        self.assertLost(self.failureException)
        self.assertEqual(len(self.flushLoggedErrors(self.failureException)), 2)

    def test_abort(self) -> None:
        """
        One that aborts the connection when asked for more is stopped, and not asked again.
        """
        producer = Producer(self.transport.abortConnection)
        self.transport.registerProducer(producer, True)
        self.transport.write(LARGE)
        self.pump()
        self.assertEqual(producer.asked, ["pause", "resume", "stop"])
        self.assertLost(ConnectionAborted)
