# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.funnel}.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from cmanager.errors import LinkError
from cmanager.funnel import FLUSH_BYTES, Funnel
from cmanager.turn import Turn
from tests.linkdoubles import LinkTransport
from tests.test_sinks import SocketTransport

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
        self.makeFunnel(self.transport)

    def makeFunnel(self, transport: Any) -> None:
        """
        Make a funnel on C{transport}.
        """
        self.funnel = Funnel(
            self.clock,
            Turn(self.clock),
            stalledAfter=60.0,
            pause=lambda: self.told.append("pause"),
            resume=lambda: self.told.append("resume"),
            give=self.errors.append,
            backlog=BACKLOG,
        )
        self.funnel.start(transport)

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
        for data in (b"a", b"b", b"c"):
            self.funnel.write(data)
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


class LinkSocket(SocketTransport):
    """
    What a funnel uses of a transport with a socket.
    """

    def __init__(self, handle: socket.socket) -> None:
        super().__init__(handle)
        self.written = b""
        self.streaming = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Keep it; pull it at once, if it is to be pulled.
        """
        self.streaming = streaming
        self.producer = producer
        if not streaming:
            producer.resumeProducing()

    def write(self, data: bytes) -> None:
        """
        Keep it.
        """
        self.written += data

    def beWritable(self) -> None:
        """
        As a reactor does when the socket is.
        """
        assert self.isWriting
        self.isWriting = False
        self.producer.resumeProducing()


class DirectTests(FunnelTestCase):
    """
    A turn's writes go to the socket itself, where the transport is no more than that.
    """

    def setUp(self) -> None:
        """
        Make a funnel on a socket.
        """
        super().setUp()
        ours, self.theirs = socket.socketpair()
        for end in (ours, self.theirs):
            end.setblocking(False)
            self.addCleanup(end.close)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20000)
        self.ours = ours
        self.direct = LinkSocket(ours)
        self.makeFunnel(self.direct)

    def go(self) -> None:
        """
        Write directly from here on.
        """
        self.funnel.goDirect()
        self.direct.beWritable()

    def put(self, data: bytes) -> None:
        """
        Write one stanza, and let the turn pass.
        """
        self.funnel.stanzas += 1
        self.funnel.write(data)
        self.clock.advance(0)

    def read(self) -> bytes:
        """
        Return what has arrived.
        """
        read = []
        try:
            while data := self.theirs.recv(1 << 20):
                read.append(data)
        except BlockingIOError:
            pass
        return b"".join(read)

    def test_atOnce(self) -> None:
        """
        What is written in one turn is with the kernel when it ends, in one piece, and the
        reactor is not asked.
        """
        self.go()
        asked = self.direct.writing
        self.funnel.write(b"a")
        self.assertEqual(self.read(), b"")
        self.put(b"b")
        self.assertEqual((self.read(), self.direct.written), (b"ab", b""))
        self.assertEqual((self.funnel.untaken, self.direct.writing), (0, asked))
        self.assertEqual(self.clock.getDelayedCalls()[1:], [])

    def test_order(self) -> None:
        """
        What the transport was handed before goes first: until it is empty, all waits.
        """
        self.put(b"a")
        self.funnel.goDirect()
        self.put(b"b")
        self.assertEqual((self.direct.written, self.read()), (b"a", b""))
        self.assertEqual(self.funnel.untaken, 2)
        self.direct.beWritable()
        self.assertEqual((self.direct.written, self.read()), (b"a", b"b"))
        self.assertEqual(self.funnel.untaken, 0)

    def test_notWhileFull(self) -> None:
        """
        A transport that is full already is left as it is.
        """
        self.direct.producer.pauseProducing()
        self.funnel.goDirect()
        self.assertIs(self.direct.producer, self.funnel)

    def test_noSocket(self) -> None:
        """
        A transport that is no socket, or more than one, is written to as before.
        """
        self.transport = LinkTransport()
        self.makeFunnel(self.transport)
        self.funnel.goDirect()
        self.assertIs(self.transport.producer, self.funnel)
        self.funnel.write(b"x")
        self.assertEqual(self.turn(), b"x")

    def test_full(self) -> None:
        """
        What the kernel does not take waits, with all behind it; who writes is paused as
        ever; the stanzas of it count until the last byte is taken.
        """
        self.go()
        big = b"x" * (4 * FLUSH_BYTES)
        self.put(big)
        self.put(b"y")
        self.assertEqual((self.funnel.untaken, self.told), (2, []))
        self.put(b"z" * FLUSH_BYTES)
        self.assertEqual((self.funnel.untaken, self.told), (3, ["pause"]))
        read = self.read()
        self.direct.beWritable()
        self.assertEqual(self.funnel.untaken, 3)
        while self.direct.isWriting:
            read += self.read()
            self.direct.beWritable()
        self.assertEqual(read + self.read(), big + b"y" + b"z" * FLUSH_BYTES)
        self.assertEqual((self.funnel.untaken, self.told), (0, ["pause", "resume"]))

    def test_stalled(self) -> None:
        """
        A server that takes no piece whole for 60 s is given up.
        """
        self.go()
        self.put(b"x" * (4 * FLUSH_BYTES))
        self.clock.advance(60)
        self.assertEqual(len(self.errors), 1)

    def test_finish(self) -> None:
        """
        The last words leave behind the rest, through the transport, which knows how to
        wait.
        """
        self.go()
        big = b"x" * (4 * FLUSH_BYTES)
        self.put(big)
        self.funnel.write(b"y")
        self.funnel.finish(b"</end>")
        self.assertEqual(self.read() + self.direct.written, big + b"y</end>")
        self.assertIsNone(self.direct.producer)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_broken(self) -> None:
        """
        Nothing counts as taken by a connection that is broken; the transport finds out.
        """
        self.go()
        self.theirs.close()
        self.put(b"x")
        self.assertEqual(self.funnel.untaken, 1)
        self.assertTrue(self.direct.isWriting)
        self.direct.producer.stopProducing()
        self.funnel.stop(isGone=True)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Reader(Protocol):
    """
    A server that only reads.
    """

    def __init__(self) -> None:
        self.read = b""
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """
        Keep it.
        """
        self.read += data

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:
        """
        The end.
        """
        self.lost.callback(None)


class SocketTests(TestCase):
    """
    On a real connection.
    """

    timeout = 60

    @inlineCallbacks
    def test_order(self) -> Any:
        """
        All arrives in order: what the transport was handed, what went directly, and the
        last words.
        """
        server = Reader()
        factory = Factory.forProtocol(lambda: server)
        port = yield TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client = yield connectProtocol(endpoint, Protocol())
        resumed: Deferred[None] = Deferred()
        funnel = Funnel(
            reactor,
            Turn(reactor),
            stalledAfter=60.0,
            pause=lambda: None,
            resume=lambda: resumed.callback(None),
            give=self.fail,  # type: ignore[arg-type] # never called
        )
        funnel.start(client.transport)
        pieces = [bytes([65 + n]) * FLUSH_BYTES for n in range(20)]
        funnel.write(pieces[0])
        funnel.goDirect()
        for piece in pieces[1:]:
            funnel.stanzas += 1
            funnel.write(piece)
        yield resumed
        funnel.write(b"y")
        funnel.finish(b"z")
        client.transport.loseConnection()
        yield server.lost
        self.assertEqual(server.read, b"".join(pieces) + b"yz")
        self.assertEqual(funnel.untaken, 0)
