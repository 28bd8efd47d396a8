# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.sinks}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from cmanager.outbox import Outbox
from cmanager.sinks import SocketSink, TransportSink, sinkFor
from tests.test_outbox import message


class SocketTransport:
    """
    What a sink uses of a transport with a socket.
    """

    def __init__(self, handle: socket.socket) -> None:
        self._handle = handle
        self.producer: Any = None
        self.writing = 0
        self.isWriting = False

    def getHandle(self) -> socket.socket:
        """
        Return the socket.
        """
        return self._handle

    def stopWriting(self) -> None:
        """
        As that of reactors.
        """
        self.isWriting = False

    def startWriting(self) -> None:
        """
        Count it.
        """
        self.writing += 1
        self.isWriting = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Keep it, and begin at once, as transports do with one that is pulled.
        """
        assert not streaming
        self.producer = producer
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """
        Forget it.
        """
        self.producer = None


class SocketSinkTests(TestCase):
    """
    On a socket, bytes are counted exactly.
    """

    def setUp(self) -> None:
        ours, self.theirs = socket.socketpair()
        ours.setblocking(False)
        self.theirs.settimeout(10)
        self.addCleanup(ours.close)
        self.addCleanup(self.theirs.close)
        self.ours = ours
        self.transport = SocketTransport(ours)
        self.calls = 0
        sink = sinkFor(self.transport, self.writable)  # type: ignore[arg-type]  # all it uses
        assert isinstance(sink, SocketSink)
        self.sink = sink

    def writable(self) -> None:
        """
        Count it.
        """
        self.calls += 1

    def test_interface(self) -> None:
        """
        It is the transport's pull producer.
        """
        verifyObject(IPullProducer, self.sink)
        self.assertIs(self.transport.producer, self.sink)

    def test_send(self) -> None:
        """
        What is taken is there for the peer, and no readiness is asked for.
        """
        self.assertEqual(self.sink.send(b"hello"), 5)
        self.assertEqual(self.theirs.recv(100), b"hello")
        self.assertEqual(self.transport.writing, 0)

    def test_full(self) -> None:
        """
        Once less than all is taken, the next readiness is passed on, once.
        """
        sent = 0
        while self.transport.writing == 0:
            sent += self.sink.send(b"x" * 100000)
        self.transport.producer.resumeProducing()
        self.transport.producer.resumeProducing()
        self.assertEqual(self.calls, 1)
        received = 0
        while received < sent:
            received += len(self.theirs.recv(1 << 20))
        self.assertEqual(received, sent)

    def test_spurious(self) -> None:
        """
        Readiness nobody asked for is not passed on.
        """
        self.transport.producer.resumeProducing()
        self.assertEqual(self.calls, 0)

    def test_ask(self) -> None:
        """
        Who asks is called once there is room, and once.
        """
        self.sink.ask()
        self.assertEqual((self.transport.writing, self.calls), (1, 0))
        self.transport.producer.resumeProducing()
        self.transport.producer.resumeProducing()
        self.assertEqual(self.calls, 1)

    def test_broken(self) -> None:
        """
        A broken connection takes nothing; the transport is made to look.
        """
        self.theirs.close()
        self.assertEqual(self.sink.send(b"x"), 0)
        self.assertEqual(self.transport.writing, 1)

    def test_stop(self) -> None:
        """
        Once the connection is lost readiness means nothing.
        """
        self.ours.close()
        self.sink.send(b"x")
        self.sink.stopProducing()
        self.sink.resumeProducing()
        self.assertEqual(self.calls, 0)

    def test_finish(self) -> None:
        """
        The peer gets what was taken, and then the end.
        """
        self.sink.send(b"last")
        self.sink.finish()
        self.assertEqual(self.theirs.recv(100), b"last")
        self.assertEqual(self.theirs.recv(100), b"")

    def test_finishFull(self) -> None:
        """
        A transport that waited for the socket no longer does: it would try it, find it
        ended, and take the connection for lost, while what comes in is still to be read.
        """
        while self.sink.send(b"x" * 65536) == 65536:
            pass
        self.assertTrue(self.transport.isWriting)
        self.sink.finish()
        self.assertFalse(self.transport.isWriting)

    def test_finishBroken(self) -> None:
        """
        The end of a connection that has gone is no news.
        """
        self.ours.close()
        self.sink.finish()

    def test_redirect(self) -> None:
        """
        Another can take over while it is full.
        """
        calls: list[str] = []
        while self.transport.writing == 0:
            self.sink.send(b"x" * 100000)
        self.sink.redirect(lambda: calls.append("there is room"))
        self.transport.producer.resumeProducing()
        self.assertEqual((calls, self.calls), (["there is room"], 0))

    def test_release(self) -> None:
        """
        The transport has no producer afterwards, and may close.
        """
        self.sink.release()
        self.assertIsNone(self.transport.producer)


class TransportSinkTests(TestCase):
    """
    On any other transport, a full one's bytes count once it has drained.
    """

    def setUp(self) -> None:
        self.transport = FillingTransport()
        self.outbox = Outbox(sinkFor(self.transport, self.writable), 1000)

    def writable(self) -> None:
        """
        Go on.
        """
        self.outbox.writable()

    def deliver(self, *numbers: int) -> None:
        """
        Put stanzas.
        """
        for number in numbers:
            stanza = message(number)
            self.outbox.put(stanza.data, stanza)

    def test_interface(self) -> None:
        """
        It is the transport's push producer.
        """
        verifyObject(IPushProducer, TransportSink(StringTransport(), self.writable))

    def test_send(self) -> None:
        """
        A transport with room takes all at once.
        """
        self.deliver(1, 2)
        self.assertTrue(self.outbox.isEmpty)
        self.assertEqual(self.transport.value(), message(1).data + message(2).data)

    def test_full(self) -> None:
        """
        What filled the transport is undelivered until it has drained, and is not
        written again.
        """
        self.transport.isFull = True
        self.deliver(1, 2, 3)
        self.assertEqual(self.transport.value(), message(1).data)
        self.assertEqual(self.outbox.size, 150)
        self.transport.drain()
        self.assertEqual(self.outbox.size, 0)
        self.assertEqual(self.transport.value(), b"".join(message(n).data for n in (1, 2, 3)))

    def test_fullAgain(self) -> None:
        """
        A transport that is full again at once keeps order and count.
        """
        self.transport.isFull = True
        self.deliver(1, 2, 3)
        self.transport.drain(stillFull=True)
        self.assertEqual(self.outbox.size, 100)
        self.transport.drain()
        self.assertTrue(self.outbox.isEmpty)
        self.assertEqual(self.transport.value(), b"".join(message(n).data for n in (1, 2, 3)))

    def test_take(self) -> None:
        """
        What filled the transport is handed out with the rest; the transport is dropped
        at the end, since it would send it too.
        """
        self.transport.isFull = True
        self.deliver(1, 2)
        self.assertEqual(len(self.outbox.take()), 2)
        self.assertTrue(self.outbox.isCut)
        self.outbox.finish()
        self.assertTrue(self.transport.disconnected)

    def test_lost(self) -> None:
        """
        On a lost transport nothing counts as sent.
        """
        self.transport.producer.stopProducing()
        self.deliver(1)
        self.assertEqual(len(self.outbox.take()), 1)
        self.transport.producer.resumeProducing()

    def test_spurious(self) -> None:
        """
        A transport that drains without having been full is nothing to go on about.
        """
        self.transport.producer.resumeProducing()
        self.assertEqual(self.transport.value(), b"")

    def test_redirect(self) -> None:
        """
        Another can take over while it is full, and nothing is written twice.
        """
        self.transport.isFull = True
        self.deliver(1, 2)
        calls: list[str] = []

        def writable() -> None:
            calls.append("there is room")
            self.outbox.writable()

        self.outbox.redirect(writable, 1000)
        self.transport.drain()
        self.assertEqual(calls, ["there is room"])
        self.assertEqual(self.transport.value(), message(1).data + message(2).data)

    def test_release(self) -> None:
        """
        The transport has no producer afterwards.
        """
        self.outbox.release()
        self.assertIsNone(self.transport.producer)

    def test_simple(self) -> None:
        """
        A transport that takes no producer is written to.
        """
        transport = PlainTransport()
        sink = sinkFor(transport, self.writable)  # type: ignore[arg-type]  # all it uses
        self.assertEqual(sink.send(b"hello"), 5)
        sink.release()
        sink.finish()
        self.assertEqual(transport.written, [b"hello", b"lost"])


class FillingTransport(StringTransport):
    """
    A transport that says it is full.
    """

    isFull = False
    disconnected = False

    def write(self, data: bytes) -> None:
        """
        Take it, and say so.
        """
        super().write(data)
        if self.isFull:
            self.producer.pauseProducing()

    def drain(self, stillFull: bool = False) -> None:
        """
        Have room again, for one write at least.
        """
        self.isFull = stillFull
        self.producer.resumeProducing()

    def abortConnection(self) -> None:
        """
        Note it.
        """
        self.disconnected = True


class PlainTransport:
    """
    Less than most.
    """

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """
        Keep it.
        """
        self.written.append(data)

    def loseConnection(self) -> None:
        """
        Note it.
        """
        self.written.append(b"lost")
