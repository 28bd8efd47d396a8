# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.door}.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from cmanager.arrival import Arrival
from cmanager.door import HTTP_1_1, MAX_BYTES, Door, Enter, Ways
from cmanager.preface import SIGNATURE
from cmanager.proxied import Networks
from cmanager.settings import LimitSettings, ListenerSettings
from cmanager.tls import XMPP_CLIENT
from tests.pollers import HandReactor
from tests.suite import Hub, storeIn
from tests.test_records import TLSClient
from tests.wires import Transport

CLIENT = "192.0.2.1"
PROXY = "198.51.100.9"
XMPP = b"<?xml version='1.0'?><stream:stream"
HTTP = b"GET / HTTP/1.1\r\n\r\n"
LINE = b"PROXY TCP4 192.0.2.77 192.0.2.9 4711 5222\r\n"
BLOCK = SIGNATURE + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 77, 192, 0, 2, 9]) + b"\x12\x67\x14\x66"
BOTH = (XMPP_CLIENT, HTTP_1_1)


def blockInTLS() -> bytes:
    """
    A preface of version 2 that says that the client has come by TLS.
    """
    tls = b"\x20" + struct.pack("!HBI", 5, 1, 0)
    return BLOCK[:14] + struct.pack("!H", 12 + len(tls)) + BLOCK[16:] + tls


class Inner(Protocol):
    """
    What a client is let through to.

    @ivar received: What it has been told of, and has read itself.
    """

    def __init__(self, kind: str, arrival: Arrival, enter: Enter | None = None) -> None:
        self.kind = kind
        self.arrival = arrival
        self.letIn = enter
        self.received = arrival.rest
        self.lost = 0

    def connectionMade(self) -> None:
        """
        Go on with what has been sent.
        """
        outbox = self.arrival.outbox
        if outbox is not None:
            outbox.redirect(outbox.writable, 1000)

    def dataReceived(self, data: bytes) -> None:
        """
        Keep it, decrypted.
        """
        records = self.arrival.records
        self.received += data if records is None else records.receive(data)

    def connectionLost(self, reason: Any = None) -> None:
        """
        Count it.
        """
        self.lost += 1


@implementer(ITCPTransport)
class TCPTransport(Transport):
    """
    One that stands on TCP.
    """

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Note it.
        """
        self.noDelay = enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        Note it.
        """
        self.keepAlive = enabled


class DoorCase(TestCase):
    """
    A door in memory, on a clock, in front of streams that keep what they get.
    """

    alpn: tuple[bytes, ...] = BOTH
    ways = Ways(isClear=True)
    hasXMPP = True
    hasHTTP = True
    isProxied = False
    trusted: tuple[str, ...] = (PROXY,)

    def setUp(self) -> None:
        self.clock = HandReactor()
        self.hub = Hub(self.clock, storeIn(Path(self.mktemp())))
        self.limit()
        self.connect()

    def limit(self, **limits: int) -> None:
        """
        Allow so much, and as many new connections as a table needs.
        """
        self.hub.limits.settings = evolve(LimitSettings(connectionBurst=1000000), **limits)

    def makeWays(self) -> Ways:
        """
        What is behind the door.
        """
        return Ways(
            xmpp=(lambda arrival: self.made("xmpp", arrival)) if self.hasXMPP else None,
            http=(lambda arrival, enter: self.made("http", arrival, enter))
            if self.hasHTTP
            else None,
            tls=self.hub.tls.creator(None, self.alpn) if self.alpn else None,
            isClear=self.ways.isClear,
            trusted=Networks(self.trusted),
        )

    def made(self, kind: str, arrival: Arrival, enter: Enter | None = None) -> Inner:
        """
        Make what is behind.
        """
        self.assertIsNone(self.inner, "a second one")
        self.inner = Inner(kind, arrival, enter)
        return self.inner

    def connect(self, address: Any = CLIENT) -> None:
        """
        Connect a client.
        """
        self.inner: Inner | None = None
        self.origin: Any = type("Origin", (), {})()
        self.origin.hub = self.hub
        self.origin.reactor = self.clock
        self.origin.listener = ListenerSettings(
            "any", "tcp:1", proxyProtocol=self.isProxied, trusted=self.trusted
        )
        self.door = Door(self.origin, self.makeWays())
        if isinstance(address, str):
            address = IPv4Address("TCP", address, 5000)
        self.transport = self.wire(address)
        self.addCleanup(self.transport.remove)
        self.transport.connect(self.door)

    def wire(self, address: Any) -> Any:
        """
        Return what the connection is to be.
        """
        return Transport(address)

    def receive(self, *parts: bytes) -> None:
        """
        Let the client send, one read each.
        """
        for part in parts:
            self.transport.arrive(part)

    def exchange(self, client: TLSClient, more: bytes = b"", size: int = 1 << 20) -> None:
        """
        Shake hands, and send C{more} as soon as that can be, in reads of C{size} bytes.
        """
        data = client.exchange()
        while data and not self.transport.disconnecting:
            established = client.connection.get_finished() and client.failure is None
            if established and more:
                data, more = data + client.send(more), b""
            for start in range(0, len(data), size):
                self.receive(data[start : start + size])
            data = client.exchange(self.transport.value())
            self.transport.clear()

    def lose(self) -> None:
        """
        Lose the connection.
        """
        self.transport.lose()

    def pass_(self, seconds: int) -> None:
        """
        Let time pass.
        """
        for _ in range(seconds):
            self.clock.advance(1)
            self.hub.wheel.tick()

    def refused(self, label: str) -> int:
        """
        How many clients have been refused for that.
        """
        return self.hub.metrics.value("clients_refused", label)

    def connections(self, address: str = CLIENT) -> int:
        """
        How many connections an address has, by our count.
        """
        return self.hub.limits.connections(address)


def splits(data: bytes) -> Iterator[list[bytes]]:
    """
    Yield C{data} in two parts, split at every place, and byte by byte.
    """
    for n in range(1, len(data)):
        yield [data[:n], data[n:]]
    yield [data[n : n + 1] for n in range(len(data))]


@frozen
class Row:
    """
    A line of the table.

    @ivar kind: C{"xmpp"}, C{"http"}, or C{""} where the client is refused.
    """

    sent: bytes
    kind: str
    offered: tuple[bytes, ...] | None = None


CLEAR = (
    Row(XMPP, "xmpp"),
    Row(b"<stream:stream", "xmpp"),
    Row(b" <stream:stream", "xmpp"),
    Row(b"\n<stream:stream", "xmpp"),
    Row(b"\r\n<", "xmpp"),
    Row(b"\t", "xmpp"),
    Row(HTTP, "http"),
    Row(b"POST /http-bind HTTP/1.1\r\n", "http"),
    Row(b"AZ", "http"),
    Row(b"Z", "http"),
    Row(b"@", ""),
    Row(b"[", ""),
    Row(b"a", ""),
    Row(b"get / HTTP/1.1\r\n", ""),
    Row(b"\0", ""),
    Row(b"\x15\x03\x01", ""),
    Row(b"\x17\x03\x01", ""),
    Row(b"\x80\x2e\x01\x03\x01", ""),
    Row(b"\xff", ""),
    Row(b"\xef\xbb\xbf<stream:stream", ""),
    Row(b"\xc3\x84", ""),
    Row(b"{}", ""),
    Row(b"\x0b<", ""),
)

TLS = (
    Row(XMPP, "xmpp", (XMPP_CLIENT,)),
    Row(XMPP, "xmpp"),
    Row(b" " + XMPP, "xmpp"),
    Row(XMPP, "http", (HTTP_1_1,)),
    Row(HTTP, "http", (HTTP_1_1,)),
    Row(HTTP, "http"),
    Row(HTTP, "xmpp", (XMPP_CLIENT,)),
    Row(HTTP, "http", (b"h2", HTTP_1_1)),
    Row(HTTP, "xmpp", (HTTP_1_1, XMPP_CLIENT)),
    Row(HTTP, "", (b"h2",)),
    Row(XMPP, "", (b"xmpp-server",)),
    Row(b"\0\0", ""),
    Row(b"\x16\x03\x01", ""),
    Row(b"get", ""),
)


class TableTests(DoorCase):
    """
    Each first byte and each application protocol leads to what it stands for, however
    the bytes are split.
    """

    def check(self, row: Row) -> None:
        """
        See that the client has got where it belongs, with all it has sent.
        """
        if row.kind:
            assert self.inner is not None, row
            self.assertEqual((self.inner.kind, self.inner.received), (row.kind, row.sent), row)
            self.assertFalse(self.transport.disconnecting)
        else:
            self.assertIsNone(self.inner, row)
            self.assertTrue(self.transport.disconnecting, row)
        self.lose()
        self.assertEqual(self.connections(), 0)

    def test_clear(self) -> None:
        """
        In clear text.
        """
        self.lose()
        refused = 0
        for row in CLEAR:
            for parts in splits(row.sent):
                self.connect()
                self.receive(*parts)
                self.check(row)
                refused += not row.kind
        self.assertEqual(self.refused("first-byte"), refused)

    def test_tls(self) -> None:
        """
        In TLS, whose records do not end where reads do.
        """
        self.lose()
        for row in TLS:
            for size in (1, 2, 3, 7, 100, 1 << 20):
                self.connect()
                offered = None if row.offered is None else list(row.offered)
                self.exchange(TLSClient(name="a.example", alpn=offered), row.sent, size)
                self.check(row)

    def test_tlsSplit(self) -> None:
        """
        In TLS, with the handshake's last bytes and the first of what follows in one read
        or in two, wherever the one ends.
        """
        self.lose()
        for offered in (None, [XMPP_CLIENT], [HTTP_1_1]):
            place = 0
            while True:
                self.connect()
                client = TLSClient(name="a.example", alpn=offered)
                self.receive(client.exchange())
                finished = client.exchange(self.transport.value())
                last = finished + client.send(HTTP)
                place += 1
                if place >= len(last):
                    break
                self.receive(last[:place], last[place:])
                kind = "xmpp" if offered == [XMPP_CLIENT] else "http"
                self.check(Row(HTTP, kind))
            self.lose()

    def test_alpnAlone(self) -> None:
        """
        A client that says by ALPN what it speaks need not say any more.
        """
        for offered, kind in ((XMPP_CLIENT, "xmpp"), (HTTP_1_1, "http")):
            self.connect()
            self.exchange(TLSClient(alpn=[offered]))
            assert self.inner is not None
            self.assertEqual((self.inner.kind, self.inner.received), (kind, b""))

    def test_noALPN(self) -> None:
        """
        One that does not has to begin.
        """
        self.exchange(TLSClient())
        self.assertIsNone(self.inner)


class WaysTests(DoorCase):
    """
    What a listener does not have is refused.
    """

    def test_noHTTP(self) -> None:
        """
        Without HTTP, in clear or in TLS.
        """
        self.hasHTTP = False
        self.alpn = (XMPP_CLIENT,)
        self.connect()
        self.receive(HTTP)
        self.assertTrue(self.transport.disconnecting)
        self.connect()
        self.exchange(TLSClient(), HTTP)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.refused("first-byte"), 2)

    def test_noXMPP(self) -> None:
        """
        Without XMPP, in clear or in TLS.
        """
        self.hasXMPP = False
        self.alpn = (HTTP_1_1,)
        self.connect()
        self.receive(XMPP)
        self.assertTrue(self.transport.disconnecting)
        self.connect()
        self.exchange(TLSClient(), XMPP)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.refused("first-byte"), 2)
        self.connect()
        client = TLSClient(alpn=[XMPP_CLIENT])
        self.exchange(client)
        self.assertIn("no application protocol", str(client.failure))

    def test_noTLS(self) -> None:
        """
        Without TLS, it is a byte like others.
        """
        self.alpn = ()
        self.connect()
        self.receive(TLSClient().exchange())
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.refused("first-byte"), 1)

    def test_noClear(self) -> None:
        """
        Where TLS is a must, nothing else comes in.
        """
        self.ways = Ways(isClear=False)
        for data in (HTTP, XMPP):
            self.connect()
            self.receive(data, data)
            self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.refused("first-byte"), 2)
        self.connect()
        self.exchange(TLSClient(), HTTP)
        self.assertIsNotNone(self.inner)


class ThroughTests(DoorCase):
    """
    A client that has been let through.
    """

    def test_arrival(self) -> None:
        """
        What is known of it goes along.
        """
        self.receive(XMPP)
        assert self.inner is not None
        self.assertEqual(
            self.inner.arrival, Arrival(CLIENT, isCounted=True, rest=XMPP, isSecureOutside=None)
        )
        self.assertIs(self.inner.transport, self.transport.real)

    def test_encrypted(self) -> None:
        """
        So do TLS, and what is on its way.
        """
        client = TLSClient()
        self.exchange(client, HTTP)
        assert self.inner is not None
        arrival = self.inner.arrival
        assert arrival.outbox is not None and arrival.records is not None
        self.assertTrue(arrival.secure)
        arrival.outbox.put(b"answer")
        client.exchange(self.transport.value())
        self.assertEqual(client.received, b"answer")
        self.receive(client.send(b"more"))
        self.assertEqual(self.inner.received, HTTP + b"more")

    def test_slowHandshake(self) -> None:
        """
        What the transport could not take goes out once there is room.
        """
        client = TLSClient(alpn=[XMPP_CLIENT])
        hello = client.exchange()
        self.receive(hello[:5])
        self.transport.producer.pauseProducing()
        self.receive(hello[5:])
        self.assertEqual(self.transport.value(), b"")
        self.transport.producer.resumeProducing()
        self.exchange_(client)
        self.assertIsNotNone(self.inner)

    def exchange_(self, client: TLSClient) -> None:
        """
        Go on with a handshake.
        """
        while data := client.exchange(self.transport.value()):
            self.transport.clear()
            self.receive(data)

    def test_lost(self) -> None:
        """
        It hears of the connection's end, once.
        """
        self.receive(HTTP)
        inner = self.inner
        self.lose()
        assert inner is not None
        self.assertEqual(inner.lost, 1)

    def test_enter(self) -> None:
        """
        It may have the connection go to something else, which the transport speaks to
        then.
        """
        self.receive(HTTP)
        first = self.inner
        assert first is not None and first.letIn is not None
        second = Inner("websocket", Arrival())
        first.letIn(second)
        self.assertIs(second.transport, self.transport.real)
        self.receive(b"more")
        self.lose()
        self.assertEqual((first.received, second.received), (HTTP, b"more"))
        self.assertEqual((first.lost, second.lost), (0, 1))

    def test_socket(self) -> None:
        """
        On TCP nothing is delayed, and the kernel looks after who is gone.
        """
        self.transport = TCPTransport(None)
        door = Door(self.origin, self.makeWays())
        door.makeConnection(self.transport)
        self.assertTrue(self.transport.noDelay and self.transport.keepAlive)


class TimeTests(DoorCase):
    """
    Nobody stays at the door.
    """

    def silent(self, *sent: bytes) -> None:
        """
        See that a client that goes no further has to leave.
        """
        self.connect()
        self.receive(*sent)
        self.pass_(59)
        self.assertFalse(self.transport.disconnecting)
        self.pass_(2)
        self.assertTrue(self.transport.disconnecting)
        self.assertFalse(self.transport.aborted)
        self.pass_(6)
        self.assertTrue(self.transport.aborted or self.transport.isLost)
        self.receive(HTTP)
        self.assertIsNone(self.inner)
        self.lose()

    def test_silent(self) -> None:
        """
        Who says nothing, who stops within the handshake or behind it, and who stops
        within a preface has to leave after the login time-out, and is cut if it does not.
        """
        self.lose()
        hello = TLSClient().exchange()
        self.silent()
        self.silent(hello[:100])
        self.silent(hello)
        self.isProxied = True
        self.trusted = (CLIENT,)
        self.silent(LINE[:-1])
        self.silent(LINE)
        self.assertEqual(self.refused("login-timeout"), 5)
        self.assertEqual(len(self.hub.wheel), 0)

    def test_through(self) -> None:
        """
        Who has been let through is no longer waited for.
        """
        self.receive(HTTP)
        self.pass_(100)
        self.assertFalse(self.transport.disconnecting)
        self.assertEqual(len(self.hub.wheel), 0)

    def test_lost(self) -> None:
        """
        Nor is who has gone.
        """
        self.lose()
        self.assertEqual(len(self.hub.wheel), 0)


class FailureTests(DoorCase):
    """
    TLS that comes to nothing.
    """

    def test_failed(self) -> None:
        """
        A broken handshake is answered with an alert.
        """
        client = TLSClient()
        hello = client.exchange()
        self.receive(hello, b"\x16\x03\x03\0\x04nono")
        self.assertTrue(self.transport.disconnecting)
        self.assertIsNone(self.inner)
        client.exchange(self.transport.value())
        self.assertIsNotNone(client.failure)

    def test_ended(self) -> None:
        """
        A client may leave in order without a word.
        """
        client = TLSClient()
        self.exchange(client)
        client.connection.shutdown()
        self.receive(client.connection.bio_read(1000))
        self.assertTrue(self.transport.disconnecting)
        client.exchange(self.transport.value())
        self.assertTrue(client.ended)


class MemoryTests(DoorCase):
    """
    TLS in memory.
    """

    def test_onItsWay(self) -> None:
        """
        A handshake that the transport has not taken is no obstacle; there will be room.
        """
        client = TLSClient(alpn=[XMPP_CLIENT])
        self.receive(client.exchange())
        flight = self.transport.value()
        self.transport.clear()
        self.transport.producer.pauseProducing()
        self.receive(client.exchange(flight))
        assert self.inner is not None and self.inner.arrival.outbox is not None
        self.transport.producer.resumeProducing()
        self.assertEqual(self.inner.arrival.outbox.isEmpty, True)

    def test_amount(self) -> None:
        """
        The n-th byte that says nothing is waited for, the one after is not.
        """
        client = TLSClient()
        self.exchange(client)
        self.door._amount = MAX_BYTES - 5
        self.receive(client.send(b"G")[:5])
        self.assertFalse(self.transport.disconnecting)
        self.receive(b"x")
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.refused("first-byte"), 1)

    def test_stuck(self) -> None:
        """
        Who has TLS answer without reading is cut off.
        """
        hello = TLSClient().exchange()
        self.receive(hello[:5])
        self.transport.producer.pauseProducing()
        self.receive(hello[5:])
        outbox = self.door._outbox
        assert outbox is not None
        outbox._control = b"x" * 65536
        self.receive(b"\x14")
        self.assertFalse(self.transport.aborted)
        outbox._control += b"x"
        self.receive(b"\3")
        self.assertTrue(self.transport.aborted)


class CountTests(DoorCase):
    """
    Each connection counts once, from its first moment to its last.
    """

    def setUp(self) -> None:
        super().setUp()
        self.lose()

    def test_paths(self) -> None:
        """
        On every path: silent, refused, broken, let through.
        """

        def silent() -> None:
            pass

        paths: tuple[Callable[[], None], ...] = (
            silent,
            lambda: self.receive(b"\0"),
            lambda: self.receive(XMPP),
            lambda: self.receive(HTTP),
            lambda: self.exchange(TLSClient(), XMPP),
            lambda: self.exchange(TLSClient(alpn=[b"h2"])),
            lambda: self.pass_(70),
        )
        for path in paths:
            self.connect()
            self.assertEqual(self.connections(), 1)
            path()
            self.assertEqual(self.connections(), 0 if self.transport.isLost else 1)
            if self.inner is not None:
                self.assertTrue(self.inner.arrival.isCounted)
            hasStream = self.inner is not None and self.inner.kind == "xmpp"
            isOut = hasStream or self.transport.isLost
            self.assertEqual(self.hub.table.strangers, 0 if isOut else 1)
            for _ in range(2):
                self.lose()
                self.assertEqual(self.connections(), 0)
                self.assertEqual(self.hub.table.strangers, 0)

    def test_full(self) -> None:
        """
        Each connection takes the place of a session until it has a stream; the n-th comes in,
        the one after does not, and charges nobody.
        """
        self.hub.table.capacity = 2
        self.connect()
        self.receive(HTTP)
        first = self.inner
        self.connect()
        self.assertFalse(self.transport.disconnecting)
        self.connect()
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.refused("resource-constraint"), 1)
        self.lose()
        self.assertEqual((self.connections(), self.hub.table.strangers), (2, 2))
        assert first is not None and first.letIn is not None
        first.letIn(Inner("xmpp", first.arrival))
        self.connect()
        self.assertFalse(self.transport.disconnecting)

    def test_limited(self) -> None:
        """
        The n-th connection of an address comes in, the one after does not, and does not
        count.
        """
        self.limit(connectionsPerAddress=2)
        self.connect()
        first = self.door
        self.connect()
        self.assertFalse(self.transport.disconnecting)
        self.connect()
        self.assertTrue(self.transport.disconnecting)
        self.receive(HTTP)
        self.assertIsNone(self.inner)
        self.assertEqual(self.refused("connections-per-address"), 1)
        self.lose()
        self.assertEqual(self.connections(), 2)
        first.connectionLost(Failure(ConnectionDone()))
        self.connect()
        self.assertFalse(self.transport.disconnecting)

    def test_trusted(self) -> None:
        """
        Whoever may speak for others is not counted, and says so; nor is who comes by a
        Unix socket.
        """
        self.limit(connectionsPerAddress=1)
        for address in (PROXY, PROXY, UNIXAddress(None), UNIXAddress(None)):
            self.connect(address)
            self.receive(HTTP)
            assert self.inner is not None
            self.assertFalse(self.inner.arrival.isCounted)
            self.lose()

    def test_mapped(self) -> None:
        """
        An IPv4 address mapped into IPv6 is the address that it is.
        """
        self.connect(IPv6Address("TCP", "::ffff:192.0.2.1", 1))
        self.assertEqual(self.connections(), 1)
        self.receive(XMPP)
        assert self.inner is not None
        self.assertEqual(self.inner.arrival.address, CLIENT)


class PrefaceTests(DoorCase):
    """
    Behind proxies that speak the PROXY protocol.
    """

    isProxied = True

    def setUp(self) -> None:
        super().setUp()
        self.lose()
        self.connect(PROXY)

    def test_split(self) -> None:
        """
        The client is who the preface says, wherever it is split, and what follows is its
        own.
        """
        for preface in (LINE, BLOCK):
            for data, kind in ((XMPP, "xmpp"), (HTTP, "http")):
                for parts in splits(preface + data):
                    self.connect(PROXY)
                    self.receive(*parts)
                    assert self.inner is not None
                    self.assertEqual(self.inner.kind, kind)
                    self.assertEqual(self.inner.arrival.address, "192.0.2.77")
                    self.assertEqual(self.inner.received, data)
                    self.assertEqual(self.connections("192.0.2.77"), 1)
                    self.lose()
                    self.assertEqual(self.connections("192.0.2.77"), 0)

    def test_tls(self) -> None:
        """
        TLS may begin behind it, in the same read or in another.
        """
        for size in (1, 1 << 20):
            self.connect(PROXY)
            client = TLSClient()
            hello = BLOCK + client.exchange()
            for start in range(0, len(hello), size):
                self.receive(hello[start : start + size])
            finished = client.exchange(self.transport.value())
            self.receive(finished + client.send(XMPP))
            assert self.inner is not None
            self.assertEqual(self.inner.received, XMPP)
            self.assertTrue(self.inner.arrival.secure)
            self.assertIsNone(self.inner.arrival.isSecureOutside)

    def test_secureOutside(self) -> None:
        """
        The preface may say that the client's leg is in TLS; where it does not, that is
        not known.
        """
        for preface, secure in ((blockInTLS(), True), (BLOCK, None), (LINE, None)):
            self.connect(PROXY)
            self.receive(preface + XMPP)
            assert self.inner is not None
            self.assertEqual(self.inner.arrival.isSecureOutside, secure)

    def test_own(self) -> None:
        """
        A proxy may come on its own account, as to see whether we are well.
        """
        for preface in (SIGNATURE + b"\x20\0\0\0", b"PROXY UNKNOWN\r\n"):
            self.connect(PROXY)
            self.receive(preface + XMPP)
            assert self.inner is not None
            self.assertEqual(self.inner.arrival.address, PROXY)
            self.assertFalse(self.inner.arrival.isCounted)

    def test_untrusted(self) -> None:
        """
        Who is not trusted is turned away before it has said anything, and told nothing.
        """
        before = self.refused("untrusted-proxy")
        for address in (CLIENT, UNIXAddress(None)):
            self.connect(address)
            self.assertTrue(self.transport.disconnecting)
            self.receive(LINE + XMPP)
            self.assertIsNone(self.inner)
            self.assertEqual(self.transport.value(), b"")
            self.lose()
        self.assertEqual(self.refused("untrusted-proxy"), before + 2)

    def test_unix(self) -> None:
        """
        Who comes by a Unix socket can be trusted.
        """
        self.trusted = ("unix",)
        self.connect(UNIXAddress(None))
        self.receive(LINE + XMPP)
        assert self.inner is not None
        self.assertEqual(self.inner.arrival.address, "192.0.2.77")
        self.assertTrue(self.inner.arrival.isCounted)

    def test_none(self) -> None:
        """
        A connection without a preface is refused at the first byte that is none of it.
        """
        for data in (XMPP, HTTP, b"PROXY SCTP\r\n", b"\r\n\r\n\0\r\nQUIX"):
            self.connect(PROXY)
            self.receive(*(data[n : n + 1] for n in range(len(data))))
            self.assertTrue(self.transport.disconnecting)
            self.assertIsNone(self.inner)
        self.assertEqual(self.refused("proxy-protocol"), 4)

    def test_limited(self) -> None:
        """
        It is the client's address that is limited, not the proxy's.
        """
        self.limit(connectionsPerAddress=1)
        other = LINE.replace(b"192.0.2.77", b"192.0.2.78")
        for preface, isLimited in ((LINE, False), (other, False), (LINE, True)):
            self.connect(PROXY)
            self.receive(preface + XMPP)
            self.assertEqual(self.inner is None, isLimited)
            self.assertEqual(self.transport.disconnecting, isLimited)
        self.assertEqual(self.refused("connections-per-address"), 1)

    def test_one(self) -> None:
        """
        Where there is nothing to choose, the stream gets all there is, and at once.
        """
        self.hasHTTP, self.alpn = False, ()
        for rest in (b"", b"\0", HTTP):
            self.connect(PROXY)
            self.receive(LINE + rest)
            assert self.inner is not None
            self.assertEqual((self.inner.kind, self.inner.received), ("xmpp", rest))


class PlainTransport:
    """
    The least a transport can be.
    """

    def __init__(self) -> None:
        self.closed = 0

    def getPeer(self) -> IPv4Address:
        """
        Return the client's address.
        """
        return IPv4Address("TCP", CLIENT, 1)

    def loseConnection(self) -> None:
        """
        Count it.
        """
        self.closed += 1


class PlainTests(DoorCase):
    """
    On a transport that cannot be cut.
    """

    def test_refused(self) -> None:
        """
        It is closed again.
        """
        transport = PlainTransport()
        door = Door(self.origin, self.makeWays())
        door.makeConnection(transport)  # type: ignore[arg-type]  # as said
        door.dataReceived(b"\0")
        self.assertEqual(transport.closed, 1)
        self.pass_(6)
        self.assertEqual(transport.closed, 2)
