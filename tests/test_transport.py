# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.transport}.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import weakref
from collections.abc import Callable

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from cmanager.transport import READ_BYTES, SocketTransport
from tests.pollers import HalfRecorder, Recorder, TransportCase, connected
from tests.properties import given, settings, st
from tests.test_consumer import LARGE, Producer

MANY = b"." * 65536


class ReadTests(TransportCase):
    """
    What the peer sends.
    """

    def test_interfaces(self) -> None:
        """
        It is one of Twisted's transports.
        """
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, self.transport)

    def test_read(self) -> None:
        """
        All that comes is received, in order, so much at a time, and then the end, once.
        """
        data = b"." * READ_BYTES + b"," * READ_BYTES + b"!"
        self.far.socket.sendall(data)
        self.far.socket.close()
        self.settle()
        self.assertEqual([len(part) for part in self.protocol.received], [READ_BYTES] * 2 + [1])
        self.assertEqual(b"".join(self.protocol.received), data)
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assertLost(ConnectionDone)

    def test_reset(self) -> None:
        """
        A reset is no end.
        """
        self.far.reset()
        self.settle()
        self.assertLost(ConnectionLost)

    def test_nothing(self) -> None:
        """
        Being called once too often is nothing.
        """
        for call in (self.transport.doRead, self.transport.doWrite, self.transport.hungUp):
            call()
        self.assertEqual((self.protocol.events, self.protocol.received), (["made"], []))
        self.far.socket.close()
        self.settle()
        for call in (self.transport.doRead, self.transport.doWrite, self.transport.hungUp):
            call()
        self.assertLost(ConnectionDone)

    def test_pause(self) -> None:
        """
        While it is paused nothing is received, nor the end; afterwards all is.
        """
        self.transport.pauseProducing()
        self.far.socket.send(b"hello")
        self.far.socket.close()
        self.settle()
        self.transport.doRead()
        self.assertEqual((self.protocol.events, self.protocol.received), (["made"], []))
        self.transport.resumeProducing()
        self.settle()
        self.assertEqual(self.protocol.received, [b"hello"])
        self.assertLost(ConnectionDone)

    def test_pauseWithin(self) -> None:
        """
        It can be paused, and closed, upon what is received, or upon what another receives.
        """
        self.protocol.does["data"] = self.transport.pauseProducing
        self.far.socket.send(MANY)
        self.settle()
        self.assertEqual(len(self.protocol.received), 1)
        self.protocol.does["data"] = self.transport.stopProducing
        self.transport.resumeProducing()
        self.settle()
        self.assertEqual(len(self.protocol.received), 2)
        self.assertLost(ConnectionDone)
        self.transport.resumeProducing()

    def test_pausedReset(self) -> None:
        """
        A paused one is lost upon a reset, as soon as all that came before has been received.
        """
        for data in (b"", b"last"):
            self.connect()
            self.transport.pauseProducing()
            self.far.socket.send(data)
            self.far.reset()
            self.settle()
            self.assertEqual(self.protocol.events, ["made"] if data else ["made", "lost"])
            self.transport.resumeProducing()
            self.settle()
            self.assertEqual(self.protocol.received, [data] if data else [])
            self.assertLost(ConnectionLost)

    def test_bug(self) -> None:
        """
        A protocol that raises is lost for that reason, and no other: not even an error that
        could have been the socket's is taken for one.
        """

        def fail() -> None:
            raise BlockingIOError

        self.protocol.does["data"] = fail
        self.far.socket.send(b"hello")
        self.settle()
        self.assertLost(BlockingIOError)
        self.assertEqual(len(self.flushLoggedErrors(BlockingIOError)), 1)

    def test_bugInEnd(self) -> None:
        """
        One that raises upon the end has heard of it all the same.
        """
        self.protocol.does["lost"] = self.fail
        self.far.socket.close()
        self.settle()
        self.assertLost(ConnectionDone)
        self.assertEqual(len(self.flushLoggedErrors(self.failureException)), 1)

    def test_refused(self) -> None:
        """
        Where the poller cannot have one more, there is none.
        """
        ends = connected()
        for end in ends:
            self.addCleanup(end.close)
        number = ends[0].fileno()
        self.poller.add(number, self.transport, 0)
        self.assertRaises(
            OSError, SocketTransport, ends[0], None, Recorder(), self.poller, self.reactor
        )
        self.poller.remove(number)


class UnixReadTests(ReadTests):
    """
    The same over a Unix socket, whose peer ends both directions when it goes.
    """

    family = socket.AF_UNIX

    def test_reset(self) -> None:
        """
        A Unix socket's reset is to close it with something unread.
        """
        self.transport.write(b"unread")
        self.far.socket.close()
        self.settle()
        self.assertLost(ConnectionLost)

    def test_pausedReset(self) -> None:
        """
        That a paused one's peer has gone is known if nothing is left to be received.
        """
        for data in (b"", b"last"):
            self.connect()
            self.transport.pauseProducing()
            self.far.socket.send(data)
            self.far.socket.close()
            self.settle()
            self.assertEqual(self.protocol.events, ["made"] if data else ["made", "lost"])
            self.transport.resumeProducing()
            self.settle()
            self.assertEqual(self.protocol.received, [data] if data else [])
            self.assertLost(ConnectionDone)


class SinkTests(TransportCase):
    """
    For one that must know how much was taken.
    """

    def setUp(self) -> None:
        super().setUp()
        self.room = 0
        self.transport.redirect(self.hasRoom)

    def hasRoom(self) -> None:
        """
        Count it.
        """
        self.room += 1

    def fill(self) -> int:
        """
        Send until no more is taken; return how much that was.
        """
        size = 0
        while True:
            taken = self.transport.send(MANY)
            size += taken
            if taken < len(MANY):
                return size

    def test_exact(self) -> None:
        """
        What was taken, the peer gets, and no other byte.
        """
        self.assertEqual(self.transport.send(b"hello"), 5)
        size = self.fill() + 5
        self.assertEqual(self.transport.send(b"x"), 0)
        self.pump()
        self.assertEqual(len(self.far.received), size)
        self.assertEqual(self.room, 1)
        self.assertEqual(self.transport.send(memoryview(b"hello")), 5)
        self.settle()
        self.assertEqual(self.room, 1)

    def test_release(self) -> None:
        """
        Whoever has let go is not called.
        """
        self.fill()
        self.transport.release()
        self.transport.tell()
        self.pump()
        self.assertEqual(self.room, 0)

    def test_redirect(self) -> None:
        """
        Somebody else can be called instead.
        """
        self.fill()
        told: list[str] = []
        self.transport.redirect(lambda: told.append("told"))
        self.pump()
        self.assertEqual((self.room, told), (0, ["told"]))
        self.transport.tell()
        self.assertEqual(told, ["told"] * 2)

    def test_behind(self) -> None:
        """
        What was written goes first.
        """
        self.transport.write(LARGE)
        self.assertEqual(self.transport.send(b"x"), 0)
        self.pump()
        self.assertEqual(self.room, 1)
        self.assertEqual(self.transport.send(b"x"), 1)
        self.pump()
        self.assertTrue(self.far.received == LARGE + b"x")

    def test_finish(self) -> None:
        """
        After the end nothing is taken, and nobody is told of room; the peer reads what was,
        and then the end, and can go on.
        """
        size = self.fill()
        self.transport.finish()
        self.assertEqual(self.transport.send(b"x"), 0)
        self.transport.write(b"x")
        self.pump()
        self.assertEqual((len(self.far.received), self.far.ended), (size, True))
        self.far.socket.send(b"hello")
        self.settle()
        self.assertEqual((self.room, self.protocol.received), (0, [b"hello"]))
        self.transport.finish()

    def test_finishWritten(self) -> None:
        """
        What was written and waits is given up then, and not waited for.
        """
        self.transport.write(LARGE)
        self.transport.finish()
        self.transport.loseConnection()
        self.settle()
        self.assertLost(ConnectionDone)

    def test_broken(self) -> None:
        """
        On a broken connection nothing is taken; what has come before is received, and then
        it is lost.
        """
        self.far.socket.send(b"last")
        self.far.reset()
        for _ in range(3):
            self.assertEqual(self.transport.send(b"x"), 0)
        self.transport.pauseProducing()
        self.settle()
        self.assertEqual(self.protocol.events, ["made"])
        self.transport.resumeProducing()
        self.settle()
        self.assertEqual((self.room, self.protocol.received), (0, [b"last"]))
        self.assertLost(ConnectionLost)
        self.assertEqual(self.transport.send(b"x"), 0)
        self.transport.release()
        self.transport.finish()

    def test_brokenWaiting(self) -> None:
        """
        A connection that breaks while somebody waits for room is lost.
        """
        for isPaused in (False, True):
            self.connect()
            self.fill()
            if isPaused:
                self.transport.pauseProducing()
            self.far.reset()
            self.settle()
            self.assertLost(ConnectionLost)


class OfferTests(TransportCase):
    """
    What has come is offered, for somebody to take as much as is theirs.
    """

    def setUp(self) -> None:
        super().setUp()
        self.offers: list[bytes] = []
        self.takes = 1 << 30
        self.transport.offer(self.offered)

    def offered(self, data: bytes) -> int:
        """
        Take some of it.
        """
        self.offers.append(data)
        return min(self.takes, len(data))

    def test_taken(self) -> None:
        """
        What is taken is not offered again, and what is not taken is, perhaps with more.
        """
        self.takes = 2
        self.far.socket.send(b"abcde")
        self.reactor.turn()
        self.far.socket.send(b"f")
        self.reactor.turn()
        self.takes = 9
        self.settle()
        self.assertEqual(self.offers, [b"abcde", b"cdef", b"ef"])
        self.transport.offer(None)
        self.far.socket.send(b"g")
        self.settle()
        self.assertEqual(self.protocol.received, [b"g"])

    def test_instead(self) -> None:
        """
        Whoever is offered something can have the rest of it received.
        """

        def offered(data: bytes) -> int:
            self.transport.offer(None)
            return 1

        self.transport.offer(offered)
        self.far.socket.send(b"abc")
        self.settle()
        self.assertEqual(self.protocol.received, [b"bc"])

    def test_end(self) -> None:
        """
        The end is none of it.
        """
        for reset, kind in ((False, ConnectionDone), (True, ConnectionLost)):
            self.connect()
            self.transport.offer(self.offered)
            if reset:
                self.far.reset()
            else:
                self.far.socket.close()
            self.settle()
            self.assertEqual(self.offers, [])
            self.assertLost(kind)

    def test_lost(self) -> None:
        """
        Whoever is offered something can close, or abort, and then nothing is taken.
        """
        for close in ("loseConnection", "abortConnection"):
            self.connect()

            def offered(data: bytes, close: str = close) -> int:
                getattr(self.transport, close)()
                return len(data)

            self.transport.offer(offered)
            self.far.socket.send(b"abc")
            self.settle()
            self.assertLost(ConnectionDone if close == "loseConnection" else ConnectionAborted)
        self.connect()

        def fail(data: bytes) -> int:
            self.transport.failed(Failure(ZeroDivisionError()))
            return len(data)

        self.transport.offer(fail)
        self.far.socket.send(b"abc")
        self.settle()
        self.assertLost(ZeroDivisionError)

    def test_handOver(self) -> None:
        """
        Somebody else can be given the socket: then it is told to read, and offered nothing.
        """
        sock = self.transport.handOver()
        assert sock is not None
        self.protocol.does["data"] = lambda: self.offers.append(sock.recv(3))
        self.far.socket.send(b"abcde")
        self.settle()
        self.assertEqual(self.offers, [b"abc", b"de"])
        self.assertEqual(self.protocol.received, [b"", b""])

    def test_handOverLost(self) -> None:
        """
        There is no socket to give once the connection is lost.
        """
        self.far.socket.close()
        self.settle()
        self.assertIs(self.transport.handOver(), None)


class OtherReaderTests(TransportCase):
    """
    With somebody else who reads the socket.
    """

    def setUp(self) -> None:
        super().setUp()
        self.transport.handOver()

    def readBy(self, read: Callable[[], object]) -> None:
        """
        Read like that.
        """
        self.protocol.does["data"] = read
        self.far.socket.send(b"x")

    def test_ended(self) -> None:
        """
        Whoever reads says that it is the end, and it is, once that returns.
        """

        def read() -> None:
            self.transport.ended()
            self.assertEqual(self.protocol.events, ["made"])

        self.readBy(read)
        self.settle()
        self.assertLost(ConnectionDone)

    def test_broke(self) -> None:
        """
        Or that it is broken, which it is not for want of anything to read.
        """
        for error in (OSError("broken"), BlockingIOError()):
            self.connect()
            self.transport.handOver()
            self.readBy(lambda error=error: self.transport.broke(error))  # type: ignore[misc]
            self.reactor.turn()
            if error.args:
                self.assertLost(ConnectionLost)
                self.assertIn("broken", str(self.protocol.reason.value))
            else:
                self.assertEqual(self.protocol.events, ["made"])

    def test_discard(self) -> None:
        """
        What is of no use is read, for the end behind it.
        """
        for isReset in (False, True):
            self.connect()
            self.transport.handOver()
            self.protocol.does["data"] = self.transport.discard
            self.far.fill()
            if isReset:
                self.settle()
                self.transport.discard()
                self.far.reset()
            else:
                self.far.socket.close()
            self.settle()
            self.assertLost(ConnectionLost if isReset else ConnectionDone)

    def test_room(self) -> None:
        """
        Whoever cannot read for lack of room reads when there is some, and not before, even
        if more comes.
        """
        self.transport.write(LARGE)
        reads: list[int] = []

        def read() -> None:
            reads.append(len(self.far.received))
            self.transport.askToRead()

        self.readBy(read)
        for _ in range(5):
            self.reactor.turn()
        self.assertEqual(reads, [0])
        self.protocol.does["data"] = lambda: reads.append(-1)
        self.far.read(1 << 20)
        for _ in range(3):
            self.reactor.turn()
        self.assertEqual(reads[:2], [0, -1])

    def test_roomPaused(self) -> None:
        """
        If it is paused meanwhile, it reads when it is resumed, though nothing has come.
        """
        reads: list[str] = []

        def read() -> None:
            reads.append("read")
            self.transport.socket.recv(10)
            self.transport.askToRead()
            self.transport.pauseProducing()
            self.protocol.does["data"] = lambda: reads.append("again")

        self.readBy(read)
        self.settle()
        self.transport.doWrite()
        self.assertEqual(reads, ["read"])
        self.transport.resumeProducing()
        self.settle()
        self.assertEqual(reads, ["read", "again"])

    def test_roomLost(self) -> None:
        """
        It can find the connection lost when there is room.
        """
        for find in ("broke", "close"):
            self.connect()
            self.transport.handOver()
            self.protocol.does["data"] = self.transport.askToRead
            self.far.socket.send(b"x")
            self.reactor.turn()
            self.protocol.does["data"] = lambda: self.transport.broke(OSError())
            if find == "close":
                self.far.reset()
            self.settle()
            self.assertLost(ConnectionLost)


class CloseTests(TransportCase):
    """
    The end, as we want it.
    """

    def test_loseConnection(self) -> None:
        """
        All is sent, nothing more is received, and the protocol hears of it later, once.
        """
        self.transport.write(b"bye")
        self.far.socket.send(b"hello")
        for _ in range(2):
            self.transport.loseConnection()
        self.transport.resumeProducing()
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.protocol.events, ["made"])
        self.settle()
        self.assertEqual(self.protocol.received, [])
        self.assertLost(ConnectionDone)
        self.transport.loseConnection()
        self.assertEqual(self.far.read(), b"bye")

    def test_unread(self) -> None:
        """
        What has come and is not read makes no reset, which would overtake what was sent.
        """
        self.far.socket.send(MANY)
        self.transport.write(b"bye")
        self.transport.loseConnection()
        self.settle()
        self.assertEqual(self.far.read(), b"bye")
        self.assertIs(self.far.ended, True)

    def test_waiting(self) -> None:
        """
        What is waiting is sent first, and what is written behind it, before it is too late.
        """
        self.transport.write(LARGE)
        self.transport.loseConnection()
        self.transport.write(b"bye")
        self.pump()
        self.assertTrue(self.far.received == LARGE + b"bye")
        self.assertLost(ConnectionDone)

    def test_writtenBehind(self) -> None:
        """
        So is what is more than the kernel takes, where nothing was waiting.
        """
        self.transport.loseConnection()
        self.transport.write(LARGE)
        self.pump()
        self.assertTrue(self.far.received == LARGE)
        self.assertLost(ConnectionDone)

    def test_brokenBehind(self) -> None:
        """
        Writing that fails while it closes is no clean end, and nothing is waited for.
        """
        for isWaiting in (False, True):
            self.connect()
            if isWaiting:
                self.transport.registerProducer(Producer(), True)
            self.transport.loseConnection()
            self.far.reset()
            for _ in range(2):
                self.transport.write(b"x")
            self.settle()
            self.assertLost(ConnectionLost)

    def test_gone(self) -> None:
        """
        A peer that goes without having read what was waiting has not been sent it all.
        """
        self.transport.write(LARGE)
        self.transport.loseConnection()
        self.far.reset()
        self.settle()
        self.assertLost(ConnectionLost)

    def test_abort(self) -> None:
        """
        Nothing more is sent or received, the peer is reset, and the protocol hears of it
        later, once.
        """
        self.transport.write(LARGE)
        self.far.socket.send(b"hello")
        for _ in range(2):
            self.transport.abortConnection()
        self.transport.write(b"x")
        self.transport.resumeProducing()
        self.assertEqual(self.protocol.events, ["made"])
        self.settle()
        self.assertLost(ConnectionAborted)
        self.far.read()
        self.assertIsInstance(self.far.ended, ConnectionResetError)
        self.transport.abortConnection()

    def test_abortAndLose(self) -> None:
        """
        It is aborted, whether before or after it was to be closed.
        """
        closing = "loseConnection", "loseWriteConnection", "abortConnection"
        for calls in (closing, closing[::-1]):
            self.connect(HalfRecorder)
            for call in calls:
                getattr(self.transport, call)()
            self.settle()
            self.assertLost(ConnectionAborted)
            self.far.read()
            self.assertIsInstance(self.far.ended, ConnectionResetError)

    def test_within(self) -> None:
        """
        It can be closed and aborted upon what is received, which is no re-entrance.
        """
        for close in ("loseConnection", "abortConnection"):
            self.connect()

            def received(close: str = close) -> None:
                getattr(self.transport, close)()
                self.assertEqual(self.protocol.events, ["made"])

            self.protocol.does["data"] = received
            self.far.socket.send(b"x")
            self.settle()
            self.assertEqual(self.protocol.events, ["made", "lost"])

    def test_lostMeanwhile(self) -> None:
        """
        It may be lost before it is closed.
        """
        for close in ("loseConnection", "abortConnection"):
            self.connect(HalfRecorder)
            self.transport.loseWriteConnection()
            getattr(self.transport, close)()
            self.transport.failed(Failure(ConnectionLost()))
            self.assertEqual(self.protocol.events, ["made", "lost"])
            self.settle()
            self.assertLost(ConnectionLost)

    def test_free(self) -> None:
        """
        What is lost does not wait for the garbage collector.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        protocol, transport = self.protocol, self.transport
        transport.redirect(protocol.connectionMade)
        transport.offer(protocol.received.index)
        transport.registerProducer(Producer(protocol.connectionMade), True)
        known = weakref.ref(protocol)
        self.far.socket.close()
        self.settle()
        del protocol, self.protocol
        self.assertIs(known(), None)


class HalfCloseTests(TransportCase):
    """
    One direction ends before the other.
    """

    kind = HalfRecorder

    def test_write(self) -> None:
        """
        Our end: all is sent, and the protocol hears of it; it goes on receiving.
        """
        self.transport.write(LARGE)
        self.transport.loseWriteConnection()
        self.pump()
        self.transport.write(b"too late")
        self.transport.loseWriteConnection()
        self.pump()
        self.assertTrue(self.far.received == LARGE)
        self.assertIs(self.far.ended, True)
        self.assertEqual(self.protocol.events, ["made", "write lost"])
        self.far.socket.send(b"hello")
        self.settle()
        self.assertEqual(self.protocol.received, [b"hello"])
        self.far.socket.close()
        self.settle()
        self.assertEqual(self.protocol.events, ["made", "write lost", "read lost", "lost"])
        self.assertLost(ConnectionDone)

    def test_read(self) -> None:
        """
        The peer's end: the protocol hears of it, once, and goes on sending.
        """
        self.far.socket.send(b"hello")
        self.far.socket.shutdown(socket.SHUT_WR)
        self.settle()
        self.assertEqual(self.protocol.received, [b"hello"])
        self.assertEqual(self.protocol.events, ["made", "read lost"])
        self.transport.resumeProducing()
        self.settle()
        self.transport.write(b"hello")
        self.assertEqual(self.far.read(), b"hello")
        self.assertEqual(self.protocol.events, ["made", "read lost"])
        self.transport.loseConnection()
        self.settle()
        self.assertLost(ConnectionDone)
        self.far.read()
        self.assertIs(self.far.ended, True)

    def test_both(self) -> None:
        """
        When both have ended, so has the connection.
        """
        self.far.socket.shutdown(socket.SHUT_WR)
        self.settle()
        self.transport.loseWriteConnection()
        self.settle()
        self.assertEqual(self.protocol.events, ["made", "read lost", "write lost", "lost"])
        self.assertLost(ConnectionDone)

    def test_reset(self) -> None:
        """
        A reset is the end of both directions.
        """
        self.far.reset()
        self.settle()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assertLost(ConnectionLost)

    def test_resetBehind(self) -> None:
        """
        So it is after the peer's end, even if it is found out by writing.
        """
        for isWriting in (False, True):
            self.connect()
            self.far.socket.shutdown(socket.SHUT_WR)
            self.settle()
            if isWriting:
                self.transport.write(LARGE)
            self.far.reset()
            self.settle()
            self.assertEqual(self.protocol.events, ["made", "read lost", "lost"])

    def test_writeFailed(self) -> None:
        """
        Where writing has failed, the peer's end is that of the connection.
        """
        self.far.socket.send(b"last")
        self.far.reset()
        self.transport.write(b"x")
        self.settle()
        self.assertEqual(self.protocol.received, [b"last"])
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assertLost(ConnectionLost)

    def test_bug(self) -> None:
        """
        One that raises is lost.
        """
        self.protocol.does["read lost"] = self.fail
        self.far.socket.shutdown(socket.SHUT_WR)
        self.settle()
        self.assertLost(self.failureException)
        self.flushLoggedErrors(self.failureException)

    def test_whole(self) -> None:
        """
        A protocol that knows nothing of halves can end its own; the peer's end is the end.
        """
        self.connect(Recorder)
        self.transport.loseWriteConnection()
        self.settle()
        self.far.read()
        self.assertIs(self.far.ended, True)
        self.assertEqual(self.protocol.events, ["made"])
        self.far.socket.shutdown(socket.SHUT_WR)
        self.settle()
        self.assertLost(ConnectionDone)


class UnixHalfCloseTests(HalfCloseTests):
    """
    The same over a Unix socket.
    """

    family = socket.AF_UNIX

    def test_reset(self) -> None:
        """
        A Unix socket's reset is to close it with something unread.
        """
        self.transport.write(b"unread")
        super().test_reset()

    def test_shutDown(self) -> None:
        """
        A peer that reads no more, but goes on sending, can do so.
        """
        self.far.socket.shutdown(socket.SHUT_RD)
        for _ in range(2):
            self.transport.write(b"x")
            self.transport.send(b"x")
            self.settle()
        self.far.socket.send(b"hello")
        self.settle()
        self.assertEqual(self.protocol.received, [b"hello"])
        self.far.socket.close()
        self.settle()
        self.assertLost(ConnectionLost)

    def test_shutDownAndLost(self) -> None:
        """
        What cannot be sent is not waited for when it closes.
        """
        self.far.socket.shutdown(socket.SHUT_RD)
        self.transport.write(b"x")
        self.transport.loseConnection()
        self.settle()
        self.assertLost(ConnectionLost)


class AnyOrderTests(TransportCase):
    """
    Whatever happens, in whatever order.

    @ivar said: What has been taken of what was to be sent.
    @ivar told: What the other end has sent.
    @cvar closing: What leaves something of it unread.
    """

    closing = frozenset({"lose", "abort", "far resets"})

    def setUp(self) -> None:
        super().setUp()
        self.calls: dict[str, Callable[[], object]] = {
            "write": lambda: self.write(b"w" * 10),
            "write much": lambda: self.write(b"W" * (1 << 20)),
            "send": lambda: self.send(b"s" * 10),
            "send much": lambda: self.send(b"S" * (1 << 20)),
            "pause": lambda: self.transport.pauseProducing(),
            "resume": lambda: self.transport.resumeProducing(),
            "lose": lambda: self.transport.loseConnection(),
            "lose writing": lambda: self.transport.loseWriteConnection(),
            "abort": lambda: self.transport.abortConnection(),
            "push": lambda: self.register(True),
            "pull": lambda: self.register(False),
            "unregister": lambda: self.transport.unregisterProducer(),
            "ask": lambda: self.transport.ask(),
            "finish": lambda: self.transport.finish(),
            "release": lambda: self.transport.release(),
            "turn": lambda: self.reactor.turn(),
            "far reads": lambda: self.far.read(100000),
            "far reads all": lambda: self.pump(),
            "far sends": self.tell,
            "far ends": lambda: self.far.shut(),
            "far goes": lambda: self.far.socket.close(),
            "far resets": lambda: self.far.reset(),
        }

    def connect(self, kind: type[Recorder] | None = None) -> None:
        """
        Connect anew.
        """
        super().connect(kind)
        self.said = self.told = b""
        self.transport.redirect(lambda: self.send(b"r" * 5))

    def write(self, data: bytes) -> None:
        """
        Write, and remember it if it can still be sent.
        """
        if self.transport.socket is not None and not self.transport.isWriteClosed:
            self.said += data
        self.transport.write(data)

    def send(self, data: bytes) -> None:
        """
        Send, and remember what was taken.
        """
        self.said += data[: self.transport.send(data)]

    def register(self, streaming: bool) -> None:
        """
        Register a producer if there is none, which writes when it is asked, twice.
        """
        parts = [b"p" * 10] * 2
        producer = Producer(lambda: parts and self.write(parts.pop()))
        try:
            self.transport.registerProducer(producer, streaming)
        except RuntimeError:
            self.assertEqual(producer.asked, [])

    def tell(self) -> None:
        """
        Let the other end send.
        """
        with contextlib.suppress(OSError):
            self.told += b"t" * self.far.socket.send(b"t" * 1000)

    @settings(max_examples=400)
    @given(
        st.lists(st.integers(0, 21), max_size=25),
        st.sampled_from((Recorder, HalfRecorder)),
        st.sampled_from((socket.AF_INET, socket.AF_UNIX)),
    )
    def test_anyOrder(self, numbers: list[int], kind: type[Recorder], family: int) -> None:
        """
        Nothing spins; the end is told once and last; what either end gets is what the other
        has sent, from the beginning, and if it ends well all of it.
        """
        self.family = family
        self.connect(kind)
        names = [[*self.calls][number] for number in numbers]
        for name in names:
            self.calls[name]()
            self.assertLessEqual(self.protocol.events.count("lost"), 1)
        self.settle()
        self.pump()
        isOpen = self.far.socket.fileno() >= 0
        if isOpen and self.far.ended is True and "lost" in self.protocol.events:
            isWhole = not {"finish", "far ends"} & set(names)
            if isWhole and self.protocol.reason.check(ConnectionDone):
                self.assertTrue(self.far.received == self.said, names)
        self.assertTrue(self.said.startswith(self.far.received), names)
        if isOpen:
            self.far.socket.close()
        self.transport.unregisterProducer()
        self.transport.resumeProducing()
        self.settle()
        self.transport.loseConnection()
        self.settle()
        events = self.protocol.events
        self.assertEqual((events.count("lost"), events[-1]), (1, "lost"), names)
        for event in ("read lost", "write lost"):
            self.assertLessEqual(events.count(event), 1)
        got = b"".join(self.protocol.received)
        self.assertTrue(self.told.startswith(got), names)
        if not self.closing & set(names) and events[-2:-1] != ["lost"]:
            self.assertEqual(len(got), len(self.told), names)
        self.assertEqual((len(self.poller), self.reactor.getDelayedCalls()), (0, []))
