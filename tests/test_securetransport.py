# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.securetransport}: those of transports without TLS, as far as TLS leaves
them, and its own.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import weakref
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHandshakeListener,
    INegotiated,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IPushProducer,
    ISSLTransport,
    ISystemHandle,
)
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, CertificateOptions
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from cmanager.outbox import Outbox
from cmanager.records import NoCommonProtocol
from cmanager.securetransport import SecureTransport, connectionsOf
from cmanager.transport import SocketTransport
from tests import test_consumer, test_records_sockets, test_transport
from tests.certificates import authority
from tests.pollers import Far, HalfRecorder, Recorder, TransportCase, connected
from tests.test_consumer import LARGE, Producer
from tests.test_outbox import message
from tests.test_records import TLSClient, serverContext
from tests.tlsforger import Forger

MANY = b"." * 65536


@implementer(IHandshakeListener)
class Listener(Recorder):
    """
    One that hears of handshakes.
    """

    def handshakeCompleted(self) -> None:
        """
        See L{IHandshakeListener}.
        """
        self.tell("shaken")


class TLSSocket:
    """
    The client's socket, with TLS in it.
    """

    def __init__(self, sock: socket.socket, context: SSL.Context) -> None:
        self.raw = sock
        self.connection = SSL.Connection(context, sock)
        self.connection.set_connect_state()
        self._isRude = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    def shake(self) -> bool:
        """
        Go on with the handshake; say if it is done.
        """
        try:
            self.connection.do_handshake()
        except SSL.WantReadError:
            return False
        return True

    def send(self, data: bytes) -> int:
        """
        Send what is taken.
        """
        taken = 0
        try:
            while taken < len(data):
                taken += self.connection.send(data[taken:])
        except (SSL.WantReadError, SSL.WantWriteError):
            if not taken:
                raise BlockingIOError from None
        except SSL.Error:
            raise BrokenPipeError from None
        return taken

    def sendall(self, data: bytes) -> None:
        """
        Send it all.
        """
        while data:
            data = data[self.send(data) :]

    def recv(self, most: int) -> bytes:
        """
        Read; without a word of the other end its end is none.
        """
        while True:
            try:
                return self.connection.recv(most)
            except SSL.WantReadError:
                # It may be that it has read something, but no data.
                self.raw.recv(1, socket.MSG_PEEK)
            except SSL.ZeroReturnError:
                return b""
            except SSL.Error as error:
                raise ConnectionResetError(str(error)) from None

    def shutdown(self, how: int) -> None:
        """
        Send no more.
        """
        with contextlib.suppress(SSL.Error):
            self.connection.shutdown()

    def setsockopt(self, level: int, name: int, value: Any) -> None:
        """
        Set an option.
        """
        self._isRude |= name == socket.SO_LINGER
        self.raw.setsockopt(level, name, value)

    def close(self) -> None:
        """
        Say so, unless it is a reset, and go.
        """
        if self.raw.fileno() >= 0:
            if not self._isRude:
                self.shutdown(socket.SHUT_WR)
            self.raw.close()


class SecureCase(TransportCase):
    """
    A transport with TLS in it, whose handshake is done.
    """

    newest = SSL.TLS1_3_VERSION

    def transportOn(self, sock: socket.socket, peer: Any) -> SocketTransport:
        """
        Make the transport.
        """
        if self.family == socket.AF_INET:
            # Without a moment's wait for what the handshake has been answered.
            for end in (sock, self.far.socket):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(self.newest)
        self.far = Far(TLSSocket(self.far.socket, context))  # type: ignore[arg-type]  # as good as one
        return secureOn(self, sock, peer, serverContext())

    @property
    def raw(self) -> socket.socket:
        """
        The other end's socket, below TLS.
        """
        far: Any = self.far.socket
        raw: socket.socket = far.raw
        return raw

    def connect(self, kind: type[Recorder] | None = None) -> None:
        """
        Connect anew.
        """
        super().connect(kind)
        far: Any = self.far.socket
        for _ in range(100):
            isDone = far.shake()
            if not self.reactor.turn() and isDone:
                # What it is sent to resume from.
                self.far.read()
                return
        self.fail("no handshake")


def secureOn(
    case: TransportCase, sock: socket.socket, peer: Any, context: SSL.Context
) -> SecureTransport:
    """
    Return the transport of a case.
    """

    def connect(sock: socket.socket, protocol: IProtocol) -> SSL.Connection:
        return SSL.Connection(context, sock)

    return SecureTransport(sock, peer, case.protocol, case.poller, case.reactor, connect=connect)


class ReadTests(SecureCase, test_transport.ReadTests):
    """
    What the peer sends.
    """

    def test_interfaces(self) -> None:
        """
        It is one of Twisted's transports.
        """
        for interface in (ISSLTransport, INegotiated, ISystemHandle, IConsumer, IPushProducer):
            verifyObject(interface, self.transport)

    def test_refused(self) -> None:
        """
        Where the poller cannot have one more, there is none.
        """
        ends = connected()
        for end in ends:
            self.addCleanup(end.close)
        number = ends[0].fileno()
        self.poller.add(number, self.transport, 0)
        self.assertRaises(OSError, secureOn, self, ends[0], None, serverContext())
        self.poller.remove(number)

    def test_bugInEnd(self) -> None:
        """
        One that raises upon the end has heard of it all the same.
        """
        self.protocol.does["lost"] = self.fail
        self.far.socket.close()
        self.assertRaises(self.failureException, self.settle)
        self.assertLost(ConnectionDone)
        self.assertIs(self.transport.getHandle(), None)

    def test_cut(self) -> None:
        """
        An end without the peer's word is none, not even for one who could go on with half a
        connection.
        """
        for kind in (Recorder, HalfRecorder):
            self.connect(kind)
            self.raw.close()
            self.settle()
            self.assertLost(ConnectionLost)
            self.assertEqual(self.protocol.events, ["made", "lost"])

    def test_ended(self) -> None:
        """
        The peer's word is the end, for one who could go on with half a connection, too; ours
        is sent back.
        """
        self.connect(HalfRecorder)
        self.far.socket.sendall(b"last")
        self.far.shut()
        self.settle()
        self.assertEqual(self.protocol.received, [b"last"])
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assertLost(ConnectionDone)
        self.far.read()
        self.assertIs(self.far.ended, True)

    def test_endedProducing(self) -> None:
        """
        Whoever produces is stopped then; what has been written is sent.
        """
        producer = Producer()
        self.transport.registerProducer(producer, True)
        self.transport.write(LARGE)
        self.far.shut()
        for _ in range(3):
            self.reactor.turn()
        self.assertEqual(producer.asked, ["pause", "stop"])
        self.pump()
        self.assertTrue(self.far.received == LARGE)
        self.assertLost(ConnectionDone)
        self.assertEqual(producer.asked, ["pause", "stop"])

    def test_damaged(self) -> None:
        """
        What is no record of this connection is the end, for that reason, and the peer is told
        so, whatever else it has sent.  What has been received before counts.
        """
        producer = Producer()
        self.transport.registerProducer(producer, True)
        self.far.socket.sendall(b"good")
        self.raw.send(b"\x17\x03\x03\0\x20" + b"bad" * 1000)
        self.settle()
        self.assertEqual((self.protocol.received, producer.asked), ([b"good"], ["stop"]))
        self.assertLost(SSL.Error)
        self.assertIn("bad record mac", str(self.protocol.reason.value))
        self.far.read()
        self.assertIn("bad record mac", str(self.far.ended))

    def test_nobodyElse(self) -> None:
        """
        Nobody else can read what has come, or the socket.
        """
        self.transport.offer(self.fail)
        self.assertIs(self.transport.handOver(), None)
        self.far.socket.sendall(b"hello")
        self.settle()
        self.assertEqual(self.protocol.received, [b"hello"])


class OldReadTests(ReadTests):
    """
    In TLS 1.2.
    """

    newest = SSL.TLS1_2_VERSION


class UnixReadTests(ReadTests):
    """
    Over a Unix socket, whose peer ends both directions when it goes.
    """

    family = socket.AF_UNIX

    def test_reset(self) -> None:
        """
        A Unix socket's reset is to close it with something unread.
        """
        self.transport.write(b"unread")
        self.far.reset()
        self.settle()
        self.assertLost(ConnectionLost)

    def test_pausedReset(self) -> None:
        """
        That a paused one's peer has gone is known if nothing is left to be received.  It has
        not said so.
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


class WriteTests(SecureCase, test_consumer.WriteTests):
    """
    What is written.
    """

    def test_unread(self) -> None:
        """
        When writing has failed, it is lost, not ended: TLS does not read on.
        """
        self.far.socket.send(b"last")
        self.far.reset()
        for _ in range(3):
            self.transport.write(b"x")
        self.settle()
        self.assertLost(ConnectionLost)


class ProducerTests(SecureCase, test_consumer.ProducerTests):
    """
    Those who write when they are asked.
    """

    def test_broken(self) -> None:
        """
        When writing fails, one that has nothing to say keeps nobody waiting.
        """
        producer = Producer()
        self.transport.registerProducer(producer, True)
        self.transport.pauseProducing()
        self.far.reset()
        for _ in range(2):
            self.transport.write(b"x")
        self.settle()
        self.assertLost(ConnectionLost)
        self.assertEqual(producer.asked, ["stop"])


class CloseTests(SecureCase, test_transport.CloseTests):
    """
    The end, as we want it.
    """

    def test_lostMeanwhile(self) -> None:
        """
        It may be lost before it is closed.
        """
        for close in ("loseConnection", "abortConnection"):
            self.connect(HalfRecorder)
            getattr(self.transport, close)()
            self.transport.failed(Failure(ConnectionLost()))
            self.assertEqual(self.protocol.events, ["made", "lost"])
            self.settle()
            self.assertLost(ConnectionLost)

    def test_half(self) -> None:
        """
        There is no half of it that could be closed.
        """
        self.connect(HalfRecorder)
        self.transport.write(b"bye")
        self.transport.loseWriteConnection()
        self.settle()
        self.assertEqual(self.protocol.events, ["made", "lost"])
        self.assertLost(ConnectionDone)
        self.assertEqual(self.far.read(), b"bye")
        self.assertIs(self.far.ended, True)

    def test_free(self) -> None:
        """
        What is lost does not wait for the garbage collector: not even the transport itself.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        transport, protocol = self.transport, self.protocol
        transport.redirect(protocol.connectionMade)
        transport.registerProducer(Producer(protocol.connectionMade), True)
        known = weakref.ref(protocol), weakref.ref(transport.getHandle())
        self.far.socket.close()
        self.settle()
        protocol.transport = None
        del protocol, self.protocol
        self.assertEqual([one() for one in known], [None, None])
        self.assertEqual([type(one) for one in gc.get_referrers(transport) if one is not self], [])


class SinkTests(SecureCase):
    """
    For one that must know how much was taken.
    """

    family = socket.AF_UNIX

    def setUp(self) -> None:
        super().setUp()
        self.room = 0
        self.transport.redirect(self.hasRoom)

    def hasRoom(self) -> None:
        """
        Count it.
        """
        self.room += 1

    def fill(self) -> None:
        """
        Send until no more is taken.
        """
        while self.transport.send(MANY) == len(MANY):
            pass
        self.assertTrue(self.transport.holds)

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
        After the end nothing is taken, and nobody is told of room; the peer finds that it was
        cut off, and can go on.
        """
        self.fill()
        self.transport.finish()
        self.assertEqual(self.transport.send(b"x"), 0)
        self.transport.write(b"x")
        self.far.socket.sendall(b"hello")
        self.settle()
        self.far.read()
        self.assertIsInstance(self.far.ended, ConnectionResetError)
        self.assertEqual((self.room, self.protocol.received), (0, [b"hello"]))
        self.transport.loseConnection()
        self.settle()
        self.assertLost(ConnectionDone)
        self.assertEqual(self.transport.send(b"x"), 0)
        self.assertFalse(self.transport.holds)

    def test_finishDamaged(self) -> None:
        """
        What is no record is the end then, too.
        """
        self.transport.finish()
        self.raw.send(b"\x17\x03\x03\0\x20" + b"bad" * 1000)
        self.settle()
        self.assertLost(SSL.Error)

    def test_notAgain(self) -> None:
        """
        Whoever does not offer again what was not taken breaks TLS, which is the end.
        """
        self.fill()
        self.assertEqual(self.transport.send(b"something else"), 0)
        self.settle()
        self.assertLost(SSL.Error)

    def test_held(self) -> None:
        """
        Behind half a record there can be no word of ours.
        """
        self.fill()
        self.transport.loseConnection()
        self.settle()
        self.assertLost(ConnectionDone)
        self.far.read()
        self.assertIsInstance(self.far.ended, ConnectionResetError)

    def test_noRoom(self) -> None:
        """
        Closing waits for room for our word, behind which nothing is written; nobody is told of
        that room.
        """
        for isGone in (False, True):
            self.connect()
            self.transport.redirect(self.hasRoom)
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.transport.socket.send(b"x")
            self.transport.loseConnection()
            self.settle()
            self.assertEqual(self.protocol.events, ["made"])
            self.transport.write(b"late")
            self.assertEqual(self.transport.send(b"late"), 0)
            if isGone:
                self.raw.close()
                self.settle()
                self.assertLost(ConnectionLost)
                continue
            wire = b""
            with contextlib.suppress(BlockingIOError):
                while part := self.raw.recv(65536):
                    wire += part
                    self.settle()
            self.assertEqual(len(wire.lstrip(b"x")), 24)
            self.assertLost(ConnectionDone)
            self.assertEqual(self.room, 0)


class HandshakeCase(test_records_sockets.SocketRecordsCase):
    """
    A transport whose client has not said anything, with little room.
    """

    kind = Listener

    def setUp(self) -> None:
        self.context = serverContext()
        super().setUp()

    def transportOn(self, sock: socket.socket, peer: Any) -> SocketTransport:
        """
        Make the transport.
        """
        return secureOn(self, sock, peer, self.context)

    def begin(self) -> None:
        """
        There is TLS already; have an outbox send by it.
        """
        self.outbox = Outbox(self.transport, 1000)
        self.outbox.redirect(self.outbox.writable, 1000)
        self.records: Any = self.transport  # what holds half of one
        self.plain = self.protocol.received

    def cutOff(self) -> None:
        """
        End it where half a record stands.
        """
        self.outbox.finish()

    @property
    def failure(self) -> str | None:
        """
        Why it has ended.
        """
        return None if self.protocol.reason is None else str(self.protocol.reason.value)


class HandshakeTests(HandshakeCase):
    """
    Before there is anything to be received.
    """

    def test_completed(self) -> None:
        """
        The protocol is told, once, before it receives anything, and can write.
        """
        self.protocol.does["shaken"] = lambda: self.transport.write(b"welcome")
        self.exchange()
        self.exchange(self.client.send(b"hello"))
        self.assertEqual(self.protocol.events, ["made", "shaken"])
        self.assertEqual(self.protocol.received, [b"hello"])
        self.assertEqual(self.client.received, b"welcome")

    def test_byteByByte(self) -> None:
        """
        It does not matter how the bytes are split.
        """
        data = self.client.exchange()
        while data:
            for n in range(len(data)):
                self.send(data[n : n + 1])
            data = self.client.exchange(self.far.read())
        self.assertEqual(self.protocol.events, ["made", "shaken"])

    def test_written(self) -> None:
        """
        What is written before goes out behind it, in order, and costs nothing meanwhile; so
        does what is sent as it is taken.
        """
        self.transport.write(b"one, ")
        self.transport.writeSequence([b"two, ", b"three, "])
        self.deliver(message(1))
        self.settle()
        self.assertEqual(self.far.read(), b"")
        self.protocol.does["shaken"] = lambda: self.transport.write(b"four, ")
        self.exchange()
        self.assertEqual(self.client.received, b"one, two, three, four, " + message(1).data)
        self.assertTrue(self.outbox.isEmpty)

    def test_producers(self) -> None:
        """
        One that is pulled is asked once before, and goes on behind it; one that pushes is
        paused above the bound.
        """
        for streaming in (False, True):
            self.start()
            parts = [b"a" * 10000, b"b", b"c" * 10000]
            producer = Producer()
            if streaming:
                self.transport.registerProducer(producer, True)
                self.transport.write(MANY)
                self.assertEqual(producer.asked, [])
                self.transport.write(b"!")
            else:
                producer.resume = lambda parts=parts: parts and self.transport.write(parts.pop(0))
                self.transport.registerProducer(producer, False)
            self.settle()
            self.assertEqual(producer.asked, ["pause" if streaming else "resume"])
            self.exchange()
            expected = MANY + b"!" if streaming else b"a" * 10000 + b"b" + b"c" * 10000
            self.assertTrue(self.client.received == expected)
            self.assertEqual(producer.asked[-1], "resume")

    def test_fullBefore(self) -> None:
        """
        A handshake whose answer there is no room for waits until there is some.
        """
        sock: Any = self.transport.getHandle()
        size = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                size += self.transport.socket.send(b"x" * 500)
        self.send(self.client.exchange())
        self.settle()
        self.assertEqual(self.protocol.events, ["made"])
        self.assertIs(sock, self.transport.getHandle())
        wire = self.drained()
        self.send(self.client.exchange(wire[size:]))
        self.exchange()
        self.assertEqual(self.protocol.events, ["made", "shaken"])

    def test_paused(self) -> None:
        """
        One that is not read does not shake hands.
        """
        self.transport.pauseProducing()
        self.transport.write(b"hello")
        self.send(self.client.exchange())
        self.settle()
        self.assertEqual(self.far.read(), b"")
        self.transport.resumeProducing()
        self.exchange()
        self.assertEqual(self.protocol.events, ["made", "shaken"])
        self.assertEqual(self.client.received, b"hello")

    def test_loseConnection(self) -> None:
        """
        With nothing to be sent it closes at once, and there is nothing to say; nor is there
        when it is half done.
        """
        for data in (b"", self.client.exchange()):
            self.start()
            self.send(data)
            self.transport.loseConnection()
            self.settle()
            self.assertLost(ConnectionDone)
            self.assertEqual(bool(self.far.read()), bool(data))
            self.assertIs(self.far.ended, True)

    def test_loseWritten(self) -> None:
        """
        With something written it closes behind that, and does not receive anything more, even
        if it was paused.
        """
        for isPaused in (False, True):
            self.start()
            if isPaused:
                self.transport.pauseProducing()
            self.transport.write(MANY)
            self.transport.loseConnection()
            self.settle()
            self.assertEqual(self.protocol.events, ["made"])
            data = self.client.exchange()
            self.send(data)
            data = self.client.exchange(self.far.read())
            with contextlib.suppress(SSL.Error):
                data += self.client.send(b"hello")
            self.send(data)
            self.exchange()
            self.assertEqual((self.client.received, self.client.ended), (MANY, True))
            self.assertEqual(self.protocol.events, ["made", "shaken", "lost"])
            self.assertEqual(self.protocol.received, [])
            self.assertLost(ConnectionDone)

    def test_loseLost(self) -> None:
        """
        The peer may go before that, or fail.
        """
        for data, kind in ((b"", ConnectionLost), (b"garbage", SSL.Error)):
            self.start()
            self.transport.write(b"bye")
            self.transport.loseConnection()
            self.send(data)
            self.far.shut()
            self.settle()
            self.assertLost(kind)

    def test_abort(self) -> None:
        """
        It can be aborted, before or upon the handshake, with something waiting.
        """
        for isShaken in (False, True):
            self.start()
            self.transport.write(b"hello")
            if isShaken:
                self.protocol.does["shaken"] = self.transport.abortConnection
                self.exchange()
            else:
                self.transport.abortConnection()
            self.settle()
            self.assertLost(ConnectionAborted)
            self.assertEqual(self.client.received, b"")

    def test_garbage(self) -> None:
        """
        What is not TLS is the end, for that reason; the client finds an alert where it has
        spoken TLS at all, however much else it has sent.
        """
        for data, isTLS in (
            (b"<stream:stream to='a.example'>", False),
            (b"\x16\x03\x01\0\x04what" * 2000, True),
        ):
            self.start()
            self.far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            self.transport.write(b"hello")
            self.send(data)
            self.settle()
            self.assertLost(SSL.Error)
            self.client.exchange(self.far.read())
            self.assertIs(self.far.ended, True)
            self.assertTrue(self.client.failure is not None or not isTLS)

    def test_cutOff(self) -> None:
        """
        A peer that goes before it is done has not ended it.
        """
        for data in (b"", self.client.exchange()[:9]):
            self.start()
            self.send(data)
            self.far.socket.close()
            self.settle()
            self.assertLost(ConnectionLost)

    def test_alert(self) -> None:
        """
        The client's own alert is the end, for that reason.
        """
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_verify(SSL.VERIFY_PEER, lambda *args: False)
        self.start(TLSClient(context=context))
        self.exchange()
        self.assertLost(SSL.Error)
        self.assertIn("alert", str(self.failure))

    def test_noCommonProtocol(self) -> None:
        """
        So is a refusal of ours that OpenSSL has not thought of.
        """
        self.start(TLSClient(alpn=[b"h2"]), serverContext(alpn=True))
        self.exchange()
        self.assertLost(NoCommonProtocol)
        self.assertIn("no application protocol", str(self.client.failure))

    def test_bug(self) -> None:
        """
        What a context's callback raises is a bug that costs this client.
        """
        context = serverContext()
        context.set_alpn_select_callback(lambda *args: 1 // 0)
        self.start(TLSClient(alpn=[b"h2"]), context)
        self.exchange()
        self.assertLost(ZeroDivisionError)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_negotiated(self) -> None:
        """
        The application protocol is known, if there is one.
        """
        for offered, expected in (([b"h2", b"http/1.1"], b"http/1.1"), (None, None)):
            context = serverContext()
            context.set_alpn_select_callback(lambda connection, offered: offered[-1])
            self.start(TLSClient(alpn=offered), context)
            self.exchange()
            self.assertEqual(self.transport.negotiatedProtocol, expected)
        self.transport.abortConnection()
        self.settle()
        self.assertIs(self.transport.negotiatedProtocol, None)

    def test_certificate(self) -> None:
        """
        The client's certificate is known where it has shown one, to the last: Twisted finds
        it, and ours.
        """
        identity = authority().issue("romeo.example")
        ofClient = SSL.Context(SSL.TLS_CLIENT_METHOD)
        ofClient.use_certificate(identity.certificate)
        ofClient.use_privatekey(identity.key)
        context = serverContext()
        context.set_verify(SSL.VERIFY_PEER, lambda *args: True)
        self.exchange()
        self.assertIs(self.transport.getPeerCertificate(), None)
        self.start(TLSClient(context=ofClient), context)
        self.exchange()
        shown: list[Any] = []
        self.protocol.does["lost"] = lambda: shown.append(self.transport.getPeerCertificate())
        peer = Certificate.peerFromTransport(self.transport)
        self.assertEqual(peer.original.to_cryptography(), identity.certificate)
        self.transport.abortConnection()
        self.settle()
        self.assertEqual(shown[0].to_cryptography(), peer.original.to_cryptography())
        self.assertIs(self.transport.getPeerCertificate(), None)


class OldHandshakeTests(HandshakeTests):
    """
    In TLS 1.2.
    """

    newest = SSL.TLS1_2_VERSION


class ExactTests(HandshakeCase):
    """
    What has been taken, the client gets, and what has not can be had back.
    """

    Theirs = test_records_sockets.SocketRecordsTests
    test_exact = Theirs.test_exact
    test_exactProperty = Theirs.test_exactProperty


class ForgedTests(HandshakeCase):
    """
    Keys that change, and records that no library would send.
    """

    Theirs = test_records_sockets.ForgedTests
    test_plain = Theirs.test_plain
    test_answerBehindHalf = Theirs.test_answerBehindHalf
    test_anyOrder = Theirs.test_anyOrder

    def setUp(self) -> None:
        super().setUp()
        self.forger = Forger()
        self.start(TLSClient(context=self.forger.context))
        self.exchange()
        self.far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)

    def test_updates(self) -> None:
        """
        One record is read at a time, also of those that bring no data: whoever sends nothing
        else keeps nobody waiting.
        """
        updates = [self.forger.keyUpdate(isRequest=False) for _ in range(100)]
        self.far.socket.send(b"".join(updates) + self.forger.record(b"hello"))
        for _ in range(100):
            self.reactor.turn()
            self.assertEqual(self.plain, [])
        self.reactor.turn()
        self.assertEqual(self.plain, [b"hello"])

    def test_answers(self) -> None:
        """
        One that asks for new keys and does not read them is read no more, until it does;
        what is waiting for it, and what it sends behind, is not lost.
        """
        updates = [self.forger.keyUpdate(isRequest=True) for _ in range(1000)]
        self.far.socket.send(b"".join(updates) + self.forger.record(b"hello"))
        self.settle()
        self.assertEqual(self.plain, [])
        self.transport.write(MANY)
        self.client.exchange(self.drained())
        self.assertTrue(self.client.received == MANY)
        self.assertEqual(self.plain, [b"hello"])

    def test_answerBehindHalfAgain(self) -> None:
        """
        Whoever asks for new keys and then has some of its own, all while it does not read, asks
        too much of OpenSSL; what it was to be sent can be had back.
        """
        late = message(1, 50000)
        self.deliver(late)
        for isRequest in (True, False):
            self.send(self.forger.keyUpdate(isRequest=isRequest))
            self.settle()
        self.assertEqual(self.outbox.take(), [late])
        self.assertLost(SSL.Error)
        self.assertIn("bad length", str(self.failure))


class AnyOrderTests(SecureCase, test_transport.AnyOrderTests):
    """
    Whatever happens, in whatever order, to one that is written to.

    @cvar isSink: Or to one that is sent by.
    """

    isSink = False
    closing = test_transport.AnyOrderTests.closing | {"lose writing", "far goes"}

    def connect(self, kind: type[Recorder] | None = None) -> None:
        """
        Connect anew.
        """
        self.rest = b""
        super().connect(kind)

    def write(self, data: bytes) -> None:
        """
        Write, or send.
        """
        if self.isSink:
            self.send(data)
        else:
            super().write(data)

    def send(self, data: bytes) -> None:
        """
        Send behind what has not been taken, or write.
        """
        if not self.isSink:
            super().write(data)
            return
        self.rest += data
        taken = self.transport.send(self.rest)
        self.said += self.rest[:taken]
        self.rest = self.rest[taken:]


class SinkAnyOrderTests(AnyOrderTests):
    """
    To one that is sent by.
    """

    isSink = True


@implementer(IOpenSSLServerConnectionCreator)
class Creator:
    """
    Makes connections of its own kind.
    """

    def __init__(self) -> None:
        self.made: list[SSL.Connection] = []

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """
        See L{IOpenSSLServerConnectionCreator}.
        """
        self.made.append(SSL.Connection(serverContext(), None))
        return self.made[-1]


class Old:
    """
    Has a context.
    """

    def getContext(self) -> SSL.Context:
        """
        See L{IOpenSSLContextFactory}.
        """
        return serverContext()


class ConnectionsTests(HandshakeCase):
    """
    The kinds of context factories.
    """

    def transportOn(self, sock: socket.socket, peer: Any) -> SocketTransport:
        """
        Make the transport.
        """
        return SecureTransport(
            sock,
            peer,
            self.protocol,
            self.poller,
            self.reactor,
            connect=connectionsOf(self.contextFactory, self.factory, self.reactor),
        )

    def setUp(self) -> None:
        identity = authority().issue("a.example")
        self.contextFactory: Any = CertificateOptions(
            privateKey=PKey.from_cryptography_key(identity.key),
            certificate=X509.from_cryptography(identity.certificate),
        )
        self.factory = Factory()
        super().setUp()

    def test_context(self) -> None:
        """
        One that has a context: Twisted's own for certificates.
        """
        self.transport.write(b"hello")
        self.exchange()
        self.assertEqual(self.client.received, b"hello")

    def test_creator(self) -> None:
        """
        One that makes connections, which stay what they are.
        """
        self.contextFactory = Creator()
        self.start()
        self.transport.write(b"hello")
        self.exchange()
        self.assertEqual(self.client.received, b"hello")
        (made,) = self.contextFactory.made
        self.assertIs(made, self.transport.getHandle())
        purpose = made.get_app_data()
        self.assertIs(purpose.wrappedProtocol, self.protocol)
        self.assertIs(purpose.factory.wrappedFactory, self.factory)

    def test_old(self) -> None:
        """
        One that has a context and no interface.
        """
        self.contextFactory = Old()
        self.start()
        self.flushWarnings()
        self.transport.write(b"hello")
        self.exchange()
        self.assertEqual(self.client.received, b"hello")

    def test_broken(self) -> None:
        """
        One that has nothing to offer says so at once.
        """
        broken: Any = Old()
        broken.getContext = self.fail
        self.assertRaises(self.failureException, connectionsOf, broken, self.factory, self.reactor)
        self.flushWarnings()
