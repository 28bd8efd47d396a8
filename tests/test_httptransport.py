# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.httptransport}.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IPushProducer, ISSLTransport, ITransport
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import directlyProvides, implementer
from zope.interface.verify import verifyObject

from cmanager.arrival import Arrival
from cmanager.errors import LocalError
from cmanager.httptransport import HTTPTransport
from cmanager.openssl import MAX_RECORD_BYTES
from cmanager.records import Records
from cmanager.settings import LimitSettings, ListenerSettings
from tests.suite import Hub, storeIn
from tests.test_records import TLSClient, serverContext
from tests.wires import Transport

CLIENT = "192.0.2.1"


@implementer(IPushProducer)
class FakeChannel:
    """
    A channel that keeps what it gets, and does with it what a test says.
    """

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.producing: list[str] = []
        self.reactions: dict[bytes, Callable[[], object]] = {}
        self.rest = b""
        self.lost = self.detached = 0

    def makeConnection(self, transport: Any) -> None:
        """
        Be connected.
        """
        self.transport = transport
        transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        """
        Keep it, and react.
        """
        self.received.append(data)
        self.reactions.get(data, lambda: None)()

    def pauseProducing(self) -> None:
        """
        Note it.
        """
        self.producing.append("pause")

    def resumeProducing(self) -> None:
        """
        Note it.
        """
        self.producing.append("resume")

    def stopProducing(self) -> None:
        """
        Note it.
        """
        self.producing.append("stop")

    def clearLineBuffer(self) -> bytes:
        """
        Return what a test has put there.
        """
        return self.rest

    def detach(self) -> None:
        """
        Count it.
        """
        self.detached += 1

    def connectionLost(self, reason: Failure) -> None:
        """
        Count it.
        """
        self.lost += 1


class Stream(Protocol):
    """
    What goes on with a connection.
    """

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival


class TransportCase(TestCase):
    """
    A connection that speaks HTTP.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = Hub(self.clock, storeIn(Path(self.mktemp())))
        self.connect()

    def connect(self, peer: Any = CLIENT, **arrival: Any) -> None:
        """
        Connect a client.
        """
        self.origin: Any = type("Origin", (), {})()
        self.origin.hub, self.origin.reactor = self.hub, self.clock
        self.origin.listener = ListenerSettings("http", "tcp:1")
        self.channel = FakeChannel()
        self.entered: list[Any] = []
        self.http = HTTPTransport(
            self.origin, Arrival(**arrival), self.channel, self.entered.append
        )
        if isinstance(peer, str):
            peer = IPv4Address("TCP", peer, 5000)
        self.transport = Transport(peer)
        self.http.makeConnection(self.transport)

    def sent(self) -> bytes:
        """
        Return what was sent since the last call.
        """
        value = self.transport.value()
        self.transport.clear()
        return value

    def fill(self, *more: bytes) -> None:
        """
        Let the transport be full, and write.
        """
        self.transport.producer.pauseProducing()
        for data in more:
            self.http.write(data)

    def lose(self) -> None:
        """
        Lose the connection.
        """
        self.http.connectionLost(Failure(ConnectionDone()))

    def pass_(self, seconds: int) -> None:
        """
        Let time pass.
        """
        for _ in range(seconds):
            self.clock.advance(1)
            self.hub.wheel.tick()


class ReadTests(TransportCase):
    """
    Bytes reach the channel.
    """

    def test_interfaces(self) -> None:
        """
        It is a transport, a consumer, and a producer that can be paused.
        """
        for interface in (ITransport, IConsumer, IPushProducer):
            verifyObject(interface, self.http)

    def test_received(self) -> None:
        """
        As they come; what came before the channel comes first.
        """
        self.connect(rest=b"a")
        self.http.dataReceived(b"b")
        self.assertEqual(self.channel.received, [b"a", b"b"])

    def test_paused(self) -> None:
        """
        While the channel pauses, nothing reaches it; what waited comes before the
        transport goes on.
        """
        self.http.pauseProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.http.dataReceived(b"a")
        self.assertEqual(self.channel.received, [])
        self.http.resumeProducing()
        self.assertEqual(self.channel.received, [b"a"])
        self.assertEqual(self.transport.producerState, "producing")

    def test_rate(self) -> None:
        """
        Who sends more than its rate is read more slowly, whatever the channel wants.
        """
        self.hub.limits.settings = LimitSettings(bytesPerSecond=1024, bytesBurst=4096)
        self.connect(rest=b"x" * 4096, address=CLIENT, isCounted=True)
        self.assertEqual(self.transport.producerState, "producing")
        self.http.dataReceived(b"x" * 1024)
        self.http.resumeProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.clock.advance(1.1)
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(len(self.channel.received), 2)

    def test_proxy(self) -> None:
        """
        Who is trusted, and hence not counted, brings many clients and has no rate.
        """
        self.hub.limits.settings = LimitSettings(bytesPerSecond=1024, bytesBurst=4096)
        self.connect(rest=b"x" * 10000)
        self.http.dataReceived(b"x" * 10000)
        self.clock.advance(1)
        self.http.dataReceived(b"x" * 10000)
        self.http.resumeProducing()
        self.assertEqual(self.transport.producerState, "producing")


class WriteTests(TransportCase):
    """
    Answers reach the client.
    """

    def test_written(self) -> None:
        """
        As they are, in order.
        """
        self.http.write(b"a")
        self.http.writeSequence([b"b", b"c"])
        self.assertEqual(self.sent(), b"abc")
        self.assertEqual(self.channel.producing, [])

    def test_producer(self) -> None:
        """
        The producer is paused while anything waits, once, and resumed when nothing does.
        """
        self.fill(b"a", b"b")
        self.assertEqual(self.channel.producing, ["pause"])
        self.transport.producer.resumeProducing()
        self.assertEqual(self.channel.producing, ["pause", "resume"])
        self.assertEqual(self.sent(), b"ab")

    def test_lateProducer(self) -> None:
        """
        One that comes while something waits is paused at once; one that has gone is left
        alone.
        """
        self.http.unregisterProducer()
        self.fill(b"a")
        self.http.registerProducer(self.channel, True)
        self.assertEqual(self.channel.producing, ["pause"])
        self.http.unregisterProducer()
        self.transport.producer.resumeProducing()
        self.assertEqual(self.channel.producing, ["pause"])

    def test_wrongProducers(self) -> None:
        """
        A second one, and one that would have to be pulled, are mistakes.
        """
        self.assertRaises(LocalError, self.http.registerProducer, self.channel, True)
        self.http.unregisterProducer()
        self.assertRaises(LocalError, self.http.registerProducer, self.channel, False)

    def test_bound(self) -> None:
        """
        So much may wait for a client that does not read; with one byte more it is cut.
        """
        bound = self.hub.settings.queueBytes
        self.fill(b"x" * 100, b"x" * (bound - 100))
        self.assertFalse(self.transport.aborted)
        self.http.write(b"x")
        self.assertTrue(self.transport.aborted)
        self.http.write(b"x")
        self.lose()
        self.assertEqual(self.channel.lost, 1)

    def test_large(self) -> None:
        """
        Where nothing waits, a single answer may be of any size.
        """
        self.fill(b"x" * (2 * self.hub.settings.queueBytes))
        self.assertFalse(self.transport.aborted)


class WhoTests(TransportCase):
    """
    Both ends have addresses.
    """

    def test_peer(self) -> None:
        """
        The client is who is connected, or who the door says it is.
        """
        self.assertEqual(self.http.getPeer(), IPv4Address("TCP", CLIENT, 5000))
        self.assertEqual(self.http.address, CLIENT)
        self.connect(address=CLIENT)
        self.assertEqual(self.http.getPeer(), IPv4Address("TCP", CLIENT, 5000))
        for address, kind in (("192.0.2.77", IPv4Address), ("2001:db8::7", IPv6Address)):
            self.connect()
            self.http = HTTPTransport(
                self.origin, Arrival(address=address), FakeChannel(), self.entered.append
            )
            self.http.makeConnection(Transport(IPv4Address("TCP", CLIENT, 5000)))
            self.assertEqual(self.http.getPeer(), kind("TCP", address, 0))
            self.assertEqual(self.http.address, address)

    def test_unix(self) -> None:
        """
        On a Unix socket there is no address.
        """
        self.connect(UNIXAddress(None))
        self.assertEqual(self.http.getPeer(), UNIXAddress(None))
        self.assertIsNone(self.http.address)

    def test_host(self) -> None:
        """
        Our end is the transport's.
        """
        self.assertEqual(self.http.getHost(), self.transport.getHost())

    def test_secure(self) -> None:
        """
        It is known whether it is encrypted.
        """
        self.assertFalse(self.http.secure)
        self.connect(isSecureOutside=True)
        self.assertTrue(self.http.secure and self.http.isSecureOutside)
        self.connect(isSecureOutside=False)
        self.assertFalse(self.http.secure)

    def test_interface(self) -> None:
        """
        Twisted's interface says so, too: of TLS here, in the transport itself, or up to a
        proxy.  Its options are those of the connection; only what is known has a certificate.
        """
        self.assertFalse(ISSLTransport.providedBy(self.http))
        self.assertRaises(AttributeError, getattr, self.http, "nothing")
        connection = SSL.Connection(serverContext(), None)
        for how in ("outside", "here", "below"):
            self.connect()
            records = Records(connection) if how == "here" else None
            arrival = Arrival(isSecureOutside=how == "outside" or None, records=records)
            below: Any = Transport(IPv4Address("TCP", CLIENT, 5000))
            if how == "below":
                directlyProvides(below, ISSLTransport)
                below.getPeerCertificate = lambda: "theirs"
                below.getTcpNoDelay = lambda: True
            http = HTTPTransport(self.origin, arrival, FakeChannel(), self.entered.append)
            http.makeConnection(below)
            verifyObject(ISSLTransport, http)
            self.assertIs(http.getTcpNoDelay(), how == "below")
            self.assertEqual(http.getPeerCertificate(), "theirs" if how == "below" else None)
            http.loseWriteConnection()
            self.assertTrue(http.disconnecting and below.disconnecting)


class CloseTests(TransportCase):
    """
    The connection ends.
    """

    def test_lose(self) -> None:
        """
        With nothing on its way it closes at once, and hears no more.
        """
        self.http.write(b"a")
        self.http.loseConnection()
        self.assertTrue(self.http.disconnecting)
        self.assertTrue(self.transport.disconnecting)
        self.assertIsNone(self.transport.producer)
        self.http.write(b"b")
        self.http.dataReceived(b"c")
        self.http.loseConnection()
        self.assertEqual(self.sent(), b"a")
        self.assertEqual(self.channel.received, [])
        self.lose()
        self.assertEqual(self.channel.lost, 1)
        self.assertEqual(len(self.hub.wheel), 0)

    def test_drain(self) -> None:
        """
        What is on its way goes first.
        """
        self.fill(b"a")
        self.http.stopProducing()
        self.assertFalse(self.transport.disconnecting)
        self.http.write(b"b")
        self.http.dataReceived(b"c")
        self.transport.producer.resumeProducing()
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual((self.sent(), self.channel.received), (b"a", []))

    def test_notDrained(self) -> None:
        """
        A client that takes nothing of it for long is cut; one that takes some is not.
        """
        self.transport.isFull = True
        self.http.write(b"a" * 5 * MAX_RECORD_BYTES)
        self.http.loseConnection()
        for _ in range(3):
            self.pass_(59)
            self.assertFalse(self.transport.aborted)
            self.transport.producer.resumeProducing()
        self.pass_(59)
        self.assertFalse(self.transport.aborted or self.transport.disconnecting)
        self.pass_(2)
        self.assertTrue(self.transport.aborted)

    def test_notGone(self) -> None:
        """
        A transport that does not close is cut.
        """
        self.http.loseConnection()
        self.pass_(6)
        self.assertTrue(self.transport.aborted)

    def test_linger(self) -> None:
        """
        A client that is still sending has time to see the answer; what it sends is
        dropped.
        """
        self.http.write(b"no")
        self.http.linger()
        self.http.dataReceived(b"more")
        self.pass_(4)
        self.assertFalse(self.transport.disconnecting)
        self.pass_(2)
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.transport.aborted)
        self.assertEqual(self.channel.received, [])
        self.http.linger()
        self.pass_(6)
        self.assertTrue(self.transport.aborted)

    def test_lingerFull(self) -> None:
        """
        One that does not take the answer is cut in the end.
        """
        self.fill(b"no")
        self.http.linger()
        self.pass_(6)
        self.assertFalse(self.transport.disconnecting or self.transport.aborted)
        self.pass_(6)
        self.assertTrue(self.transport.aborted)

    def test_lingerDrained(self) -> None:
        """
        That the answer has gone out is not yet the end.
        """
        self.fill(b"no")
        self.http.linger()
        self.transport.producer.resumeProducing()
        self.assertFalse(self.transport.disconnecting)
        self.lose()
        self.pass_(20)
        self.assertFalse(self.transport.aborted)

    def test_abort(self) -> None:
        """
        It can be cut, once.
        """
        self.http.abortConnection()
        self.assertTrue(self.transport.aborted)
        self.transport.aborted = False
        self.http.abortConnection()
        self.assertFalse(self.transport.aborted)

    def test_lost(self) -> None:
        """
        The channel hears that it is gone, and nothing after.
        """
        self.http.pauseProducing()
        self.http.dataReceived(b"a")
        self.lose()
        self.lose()
        self.http.resumeProducing()
        self.assertEqual((self.channel.lost, self.channel.received), (1, []))


class TLSTests(TransportCase):
    """
    In TLS.
    """

    def setUp(self) -> None:
        super().setUp()
        self.client = TLSClient()
        self.records = Records(self.hub.tls.creator().serverConnectionForTLS(None))
        self.connect(records=self.records)
        data = self.client.exchange()
        while data:
            self.http.dataReceived(data)
            data = self.client.exchange(self.sent())

    def got(self) -> bytes:
        """
        Return what the client has got since the last call.
        """
        self.client.exchange(self.sent())
        value, self.client.received = self.client.received, b""
        return value

    def test_both(self) -> None:
        """
        Both ways.
        """
        self.http.dataReceived(self.client.send(b"question"))
        self.assertEqual(self.channel.received, [b"question"])
        self.http.write(b"answer")
        self.assertEqual(self.got(), b"answer")

    def test_close(self) -> None:
        """
        TLS ends in order.
        """
        self.http.loseConnection()
        self.got()
        self.assertTrue(self.client.ended)

    def test_peerEnds(self) -> None:
        """
        Where the client's does, the connection closes, with what is on its way.
        """
        self.fill(b"answer")
        last = self.client.send(b"last")
        self.client.connection.shutdown()
        self.http.dataReceived(last + self.client.connection.bio_read(1000))
        self.assertEqual(self.channel.received, [b"last"])
        self.assertFalse(self.transport.disconnecting)
        self.transport.producer.resumeProducing()
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.got(), b"answer")

    def test_peerEndsLingering(self) -> None:
        """
        A client that ends is not waited for.
        """
        self.http.linger()
        self.client.connection.shutdown()
        self.http.dataReceived(self.client.connection.bio_read(1000))
        self.assertTrue(self.transport.disconnecting)

    def test_failed(self) -> None:
        """
        So it does where TLS fails.
        """
        self.http.dataReceived(b"\x17\x03\x03\0\x04nono")
        self.assertTrue(self.transport.disconnecting)
        self.got()
        self.assertIsNotNone(self.client.failure)

    def test_stuck(self) -> None:
        """
        Who has TLS answer without reading is cut off.
        """
        self.fill(b"a")
        self.http._outbox._control = b"x" * 70000
        self.http.dataReceived(self.client.send(b"x"))
        self.assertTrue(self.transport.aborted)


class TakeOverTests(TransportCase):
    """
    Something else goes on with the connection.
    """

    def takeOver(self, address: str | None = CLIENT, isSecureOutside: bool | None = None) -> bool:
        """
        Take over.
        """
        return self.http.takeOver(Stream, address, isSecureOutside)

    def test_arrival(self) -> None:
        """
        It is handed all there is, and who the client is.
        """
        self.connect(address=CLIENT, isCounted=True, rest=b"head")
        self.http.write(b"before")
        self.assertTrue(self.takeOver("2001:db8::1", True))
        (stream,) = self.entered
        arrival = stream.arrival
        assert arrival.outbox is not None
        self.assertEqual(arrival, Arrival("2001:db8::1", None, True, True, arrival.outbox, b""))
        arrival.outbox.put(b"after")
        self.assertEqual(self.sent(), b"beforeafter")

    def test_silence(self) -> None:
        """
        The channel hears no more, and has nothing to say; nor is there a time-out of
        ours.
        """
        self.takeOver()
        self.assertEqual(self.channel.detached, 1)
        self.http.dataReceived(b"x")
        self.http.write(b"x")
        self.http.loseConnection()
        self.http.abortConnection()
        self.lose()
        self.assertEqual((self.channel.received, self.channel.lost), ([], 0))
        self.assertFalse(self.transport.disconnecting or self.transport.aborted)
        self.assertEqual(self.sent(), b"")
        self.assertEqual(len(self.hub.wheel), 0)

    def test_full(self) -> None:
        """
        What is on its way goes out first, by whoever has it now.
        """
        self.fill(b"before")
        self.takeOver()
        arrival = self.entered[0].arrival
        outbox = arrival.outboxFor(self.transport, lambda: outbox.writable(), 1000)
        outbox.put(b"after")
        self.transport.producer.resumeProducing()
        self.assertEqual(self.sent(), b"beforeafter")
        self.assertEqual(self.channel.producing, ["pause"])

    def test_paused(self) -> None:
        """
        A transport that was paused is read again.
        """
        self.hub.limits.settings = evolve(LimitSettings(), bytesPerSecond=1024, bytesBurst=4096)
        self.connect(rest=b"x" * 10000, address=CLIENT, isCounted=True)
        self.assertEqual(self.transport.producerState, "paused")
        self.assertTrue(self.takeOver())
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_within(self) -> None:
        """
        The channel may do so while it reads.
        """
        records = Records(self.hub.tls.creator().serverConnectionForTLS(None))
        client = TLSClient()
        self.connect(records=records)
        data = client.exchange()
        while data:
            self.http.dataReceived(data)
            data = client.exchange(self.sent())
        self.channel.reactions[b"head"] = self.takeOver
        last = client.send(b"head")
        client.connection.shutdown()
        self.http.dataReceived(last + client.connection.bio_read(1000))
        self.assertEqual(len(self.entered), 1)
        self.assertFalse(self.transport.disconnecting)
        self.assertIs(self.entered[0].arrival.records, records)

    def test_rest(self) -> None:
        """
        A client that has sent more than the request is not handed over, be that read by
        the channel or not.
        """
        self.channel.rest = b"frame"
        self.assertFalse(self.takeOver())
        self.connect()
        self.channel.reactions[b"head"] = self.http.pauseProducing
        self.http.dataReceived(b"head")
        self.http.dataReceived(b"frame")
        self.assertFalse(self.takeOver())
        self.assertEqual(self.channel.detached, 0)
        self.assertEqual(self.entered, [])
        self.http.write(b"no")
        self.assertEqual(self.sent(), b"no")

    def test_gone(self) -> None:
        """
        Nor is one that has gone, or is going.
        """
        self.http.linger()
        self.assertFalse(self.takeOver())
        self.lose()
        self.assertFalse(self.takeOver())
