# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.stream}.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from cmanager.arrival import Arrival
from cmanager.clienttls import TLS_EXPORTER
from cmanager.errors import StreamError
from cmanager.interfaces import IClientStream
from cmanager.limits import AddressLimits
from cmanager.metrics import Metrics
from cmanager.records import Records
from cmanager.settings import (
    ClientSettings,
    LimitSettings,
    ListenerSettings,
    StartTLS,
    TLSSettings,
)
from cmanager.stanza import FOOTER, Stanza, StreamHeader
from cmanager.tcp import TCPFactory, TCPStream, TLSStream
from cmanager.tls import XMPP_CLIENT, CertificateStore
from cmanager.wheel import Wheel
from tests.certificates import authority
from tests.test_outbox import message
from tests.test_records import TLSClient

OPENED = StreamHeader(id="1", from_="verona.example")
HEADER = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" to='a.example' version='1.0'>"
)
STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
PROCEED = b'<proceed xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>'


class RecordingSession:
    """
    A session that notes its inputs, and does with them what a test says.

    @ivar seen: Inputs, each a tuple of its name and what matters of its argument.
    @ivar reactions: Input, or name of a stanza, to what to do then.
    """

    def __init__(self, stream: TCPStream) -> None:
        self.stream = stream
        self.seen: list[tuple[str, Any]] = []
        self.reactions: dict[str, Callable[[], object]] = {}
        self.undelivered: list[Stanza] = []
        self.lost: Deferred[list[Stanza]] = Deferred()

    def _note(self, name: str, what: Any = None, reaction: str | None = None) -> None:
        assert ("transportLost", None) not in self.seen, f"{name} after the end"
        self.seen.append((name, what))
        react = self.reactions.get(reaction or name)
        if react is not None:
            react()

    def streamOpened(self, tag: Any) -> None:
        """
        Note C{to}.
        """
        self._note("opened", tag.attributes.get("to"))

    def stanzaReceived(self, stanza: Stanza) -> None:
        """
        Note its id, or else its name.
        """
        self._note("stanza", stanza.attributes.get("id", stanza.name).lstrip("0"), stanza.name)

    def streamClosed(self) -> None:
        """
        Note it.
        """
        self._note("closed")

    def streamFailed(self, error: StreamError) -> None:
        """
        Note the condition.
        """
        self._note("failed", error.condition)

    def secured(self) -> None:
        """
        Note it.
        """
        self._note("secured")

    def overflowed(self, stanza: Stanza) -> None:
        """
        Note the id.
        """
        self._note("overflowed", stanza.attributes["id"])

    def idle(self, kind: str) -> None:
        """
        Note the kind.
        """
        self._note("idle", kind)

    def transportLost(self, reason: Failure) -> None:
        """
        Note it, and take what is undelivered.
        """
        self._note("transportLost")
        self.undelivered += self.stream.takeUndelivered()
        self.lost.callback(self.undelivered)

    def stanzas(self) -> list[str]:
        """
        Return what was noted of stanzas.
        """
        return [what for name, what in self.seen if name == "stanza"]


class Hub:
    """
    What a stream uses of the router.
    """

    def __init__(self, clock: Any, tls: CertificateStore, **settings: Any) -> None:
        self.settings = ClientSettings(**settings)
        self.limits = AddressLimits(LimitSettings(), clock.seconds)
        self.metrics = Metrics()
        self.wheel = Wheel(clock.seconds)
        self.tls = tls
        self.refusal: StreamError | None = None
        self.sessions: list[RecordingSession] = []

    def openSession(self, stream: TCPStream) -> RecordingSession:
        """
        Make a session.
        """
        if self.refusal is not None:
            raise self.refusal
        self.sessions.append(RecordingSession(stream))
        return self.sessions[-1]


class Transport(StringTransport):
    """
    A transport in memory that has an address, and notes its end.
    """

    aborted = False

    def __init__(self, peer: Any = None) -> None:
        super().__init__(peerAddress=peer or IPv4Address("TCP", "192.0.2.1", 5000))

    def abortConnection(self) -> None:
        """
        Note it.
        """
        self.aborted = True


def storeIn(directory: Path) -> CertificateStore:
    """
    A store with a certificate for C{a.example}.
    """
    directory.mkdir()
    authority().issue("a.example").write(directory, "a")
    store = CertificateStore(TLSSettings(certificates=str(directory)), Clock())
    store.load()
    return store


class StreamCase(TestCase):
    """
    A stream in memory, on a clock.
    """

    isDirect = False
    starttls = StartTLS.REQUIRED

    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = Hub(self.clock, storeIn(Path(self.mktemp())))
        self.connect()

    def connect(self, peer: Any = None, **settings: Any) -> None:
        """
        Connect a client, with these settings.
        """
        self.hub.settings = evolve(self.hub.settings, **settings)
        listener = ListenerSettings(type="tcp", endpoint="tcp:0", starttls=self.starttls)
        factory: Any = TCPFactory(self.clock, listener, self.hub, isDirect=self.isDirect)  # type: ignore[arg-type]  # a double
        self.stream = factory.buildProtocol(None)
        self.transport = Transport(peer)
        self.stream.makeConnection(self.transport)
        if self.hub.sessions:
            self.session = self.hub.sessions[-1]

    def receive(self, *parts: bytes) -> None:
        """
        Let the client send, one read each.
        """
        for part in parts:
            self.stream.dataReceived(part)

    def sent(self) -> bytes:
        """
        Return what was sent since the last call.
        """
        value = self.transport.value()
        self.transport.clear()
        return value

    def lose(self) -> None:
        """
        Lose the connection.
        """
        self.stream.connectionLost(Failure(ConnectionDone()))

    def pass_(self, seconds: int) -> None:
        """
        Let time pass.
        """
        for _ in range(seconds):
            self.clock.advance(1)
            self.hub.wheel.tick()


class ConnectTests(StreamCase):
    """
    A client comes.
    """

    def test_interface(self) -> None:
        """
        The stream is an L{IClientStream}.
        """
        verifyObject(IClientStream, self.stream)

    def test_attributes(self) -> None:
        """
        Peer, transport and security are known to the session.
        """
        self.assertEqual(self.stream.peer, "192.0.2.1")
        self.assertEqual(self.stream.transportName, "tcp")
        self.assertTrue(self.stream.requiresTLS)
        self.assertFalse(self.stream.secure)
        self.assertTrue(self.stream.canStartTLS)

    def test_listenerLeavesItToServer(self) -> None:
        """
        A listener may leave it to the server whether TLS is required.
        """
        self.starttls = StartTLS.SERVER
        self.connect()
        self.assertFalse(self.stream.requiresTLS)

    def test_peer(self) -> None:
        """
        The peer is an address literal without a zone; on a Unix socket, this machine.
        """
        for address, peer in (
            (IPv6Address("TCP", "2001:db8::1", 1), "2001:db8::1"),
            (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::1"),
            (IPv6Address("TCP", "::ffff:192.0.2.7", 1), "192.0.2.7"),
            (UNIXAddress(b"/run/x"), "127.0.0.1"),
        ):
            self.connect(address)
            self.assertEqual(self.stream.peer, peer)

    def test_noCertificate(self) -> None:
        """
        Without a certificate STARTTLS cannot be offered.
        """
        self.hub.tls = CertificateStore(TLSSettings(certificates="/nowhere"), Clock())
        self.assertFalse(self.stream.canStartTLS)

    def test_limited(self) -> None:
        """
        The n-th connection of an address gets a session; the one after a header, an error
        and a footer, is closed, and counted.
        """
        self.hub.limits.settings = evolve(LimitSettings(), connectionsPerAddress=2)
        self.connect()
        self.assertEqual(len(self.hub.sessions), 2)
        self.connect()
        self.assertEqual(len(self.hub.sessions), 2)
        sent = self.sent()
        self.assertTrue(sent.startswith(b"<?xml"))
        self.assertIn(b"<stream:error><policy-violation", sent)
        self.assertTrue(sent.endswith(FOOTER))
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.hub.metrics.value("clients_refused", "connections-per-address"), 1)
        self.receive(HEADER)
        self.lose()

    def test_full(self) -> None:
        """
        A hub without room refuses likewise, and the address is not charged.
        """
        self.lose()
        self.hub.refusal = StreamError("resource-constraint")
        self.connect()
        self.assertIn(b"<resource-constraint", self.sent())
        self.assertEqual(self.hub.metrics.value("clients_refused", "resource-constraint"), 1)
        self.lose()
        self.hub.limits.settings = evolve(LimitSettings(), connectionsPerAddress=1)
        self.hub.refusal = None
        self.connect()
        self.assertEqual(len(self.hub.sessions), 2)

    def test_released(self) -> None:
        """
        A client that leaves makes room; one on a Unix socket never took any.
        """
        self.hub.limits.settings = evolve(LimitSettings(), connectionsPerAddress=1)
        self.lose()
        self.connect()
        for _ in range(2):
            self.connect(UNIXAddress(None))
            self.lose()
        self.assertEqual(len(self.hub.sessions), 4)


class ReadTests(StreamCase):
    """
    Bytes become inputs of the session.
    """

    def test_inputs(self) -> None:
        """
        Header, stanzas and footer arrive in order, however they are split.
        """
        data = HEADER + message(1).data + b" \n" + message(2).data + FOOTER
        self.receive(*(data[n : n + 1] for n in range(len(data))))
        self.assertEqual(
            self.session.seen,
            [("opened", "a.example"), ("stanza", "1"), ("stanza", "2"), ("closed", None)],
        )

    def test_failed(self) -> None:
        """
        Stanzas before a bad byte arrive before the failure; what follows is not looked at.
        """
        self.receive(HEADER + message(1).data + b"<!--x-->", message(2).data)
        self.assertEqual(self.session.seen[1:], [("stanza", "1"), ("failed", "restricted-xml")])

    def test_afterFooter(self) -> None:
        """
        Nothing counts behind the footer.
        """
        self.receive(HEADER + FOOTER, b"<garbage")
        self.assertEqual(self.session.seen[-1], ("closed", None))

    def test_limit(self) -> None:
        """
        Before the login a stanza of the limit's size passes, one byte more does not.
        """
        self.receive(HEADER, message(1, 10000).data)
        self.assertEqual(self.session.stanzas(), ["1"])
        self.receive(message(2, 10001).data)
        self.assertEqual(self.session.seen[-1], ("failed", "policy-violation"))

    def test_restart(self) -> None:
        """
        A restart expects a header, has its own limit, and gives up what was read behind.
        """
        self.session.reactions["auth"] = lambda: self.stream.restart(20000)
        self.receive(HEADER + b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" + message(1).data)
        self.receive(HEADER, message(2, 20000).data)
        self.assertEqual(
            [what for _, what in self.session.seen], ["a.example", "auth", "a.example", "2"]
        )

    def test_allow(self) -> None:
        """
        The limit can change without a restart, before and after the first byte.
        """
        self.stream.allow(20000)
        self.receive(HEADER, message(1, 20000).data)
        self.stream.allow(30000)
        self.receive(message(2, 30000).data)
        self.assertEqual(self.session.stanzas(), ["1", "2"])

    def test_lostWithin(self) -> None:
        """
        A session that aborts gets no more stanzas of that read.
        """
        self.session.reactions["message"] = self.stream.abort
        self.receive(HEADER + message(1).data + message(2).data, message(3).data)
        self.assertEqual(self.session.stanzas(), ["1"])
        self.assertTrue(self.transport.aborted)

    def test_lostBeforeDispatch(self) -> None:
        """
        Once the transport is lost nothing arrives.
        """
        self.session.reactions["message"] = self.lose
        self.receive(HEADER + message(1).data + message(2).data)
        self.receive(message(3).data)
        self.assertEqual(self.session.seen[-1], ("transportLost", None))


class PauseTests(StreamCase):
    """
    Reading can be stopped.
    """

    def test_pause(self) -> None:
        """
        What is behind a pause in the same read comes with the resume, in order.
        """
        self.session.reactions["message"] = self.stream.pauseReading
        self.receive(HEADER + message(1).data + message(2).data + FOOTER)
        self.assertEqual(self.session.stanzas(), ["1"])
        self.assertEqual(self.transport.producerState, "paused")
        self.session.reactions.clear()
        self.stream.resumeReading()
        self.assertEqual(self.session.seen[2:], [("stanza", "2"), ("closed", None)])
        self.assertEqual(self.transport.producerState, "producing")

    def test_failureHeld(self) -> None:
        """
        So does the failure of what is behind.
        """
        self.session.reactions["message"] = self.stream.pauseReading
        self.receive(HEADER + message(1).data + b"<!--")
        self.assertEqual(self.session.seen[-1], ("stanza", "1"))
        self.stream.resumeReading()
        self.assertEqual(self.session.seen[-1], ("failed", "restricted-xml"))

    def test_delay(self) -> None:
        """
        A delay reads nothing for so long; none for no time.
        """
        self.stream.delayReading(0)
        self.assertEqual(self.transport.producerState, "producing")
        self.stream.delayReading(3)
        self.receive(HEADER)
        self.pass_(2)
        self.assertEqual(self.session.seen, [])
        self.pass_(1)
        self.assertEqual(self.session.seen, [("opened", "a.example")])

    def test_rate(self) -> None:
        """
        A client that sends faster than it may is read slower, and loses nothing.
        """
        self.hub.limits.settings = evolve(LimitSettings(), bytesPerSecond=1024, bytesBurst=4096)
        self.connect(unauthenticatedStanzaBytes=20000)
        self.receive(HEADER, message(1, 4096 - len(HEADER)).data)
        self.assertEqual(self.transport.producerState, "producing")
        self.receive(message(2, 1024).data)
        self.assertEqual(self.transport.producerState, "paused")
        self.clock.advance(1)
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(self.session.stanzas(), ["1", "2"])

    def test_closing(self) -> None:
        """
        A closing stream takes no pauses.
        """
        self.stream.close()
        self.stream.pauseReading()
        self.stream.delayReading(5)
        self.assertEqual(self.transport.producerState, "producing")


class WriteTests(StreamCase):
    """
    What goes to the client.
    """

    def fill(self) -> None:
        """
        Let the transport be full from the next write on.
        """
        write = self.transport.write

        def full(data: bytes) -> None:
            write(data)
            self.transport.producer.pauseProducing()

        self.transport.write = full  # type: ignore[method-assign]  # this one only

    def test_order(self) -> None:
        """
        C{write} and C{deliver} keep their order.
        """
        self.stream.write(b"<a/>")
        self.assertTrue(self.stream.deliver(message(1)))
        self.stream.write(b"<b/>")
        self.assertEqual(self.sent(), b"<a/>" + message(1).data + b"<b/>")
        self.assertEqual(self.stream.takeUndelivered(), [])

    def test_bound(self) -> None:
        """
        With n bytes waiting a stanza is taken; with n + 1 the session is told, once, and
        nothing is taken any more.
        """
        self.connect(queueBytes=16384)
        self.fill()
        self.assertTrue(self.stream.deliver(message(1, 8192)))
        self.assertTrue(self.stream.deliver(message(2, 8192)))
        self.assertFalse(self.stream.deliver(message(3)))
        self.assertFalse(self.stream.deliver(message(4)))
        self.assertEqual(self.session.seen, [("overflowed", "3")])
        undelivered = self.stream.takeUndelivered()
        self.assertEqual([stanza.attributes["id"] for stanza in undelivered], ["1", "2"])

    def test_boundOfWrites(self) -> None:
        """
        So much may be written that is no stanza; one byte more drops a client that
        does not read it.
        """
        self.connect(queueBytes=16384)
        self.fill()
        self.stream.write(b"x" * 16383)
        self.stream.write(b"x")
        self.assertFalse(self.transport.aborted)
        self.stream.write(b"x")
        self.assertTrue(self.transport.aborted)

    def test_lost(self) -> None:
        """
        When the transport is lost, what it had not taken can still be had.
        """
        self.fill()
        self.stream.deliver(message(1))
        self.stream.deliver(message(2))
        self.lose()
        self.assertEqual([s.attributes["id"] for s in self.session.undelivered], ["1", "2"])
        self.assertFalse(self.stream.deliver(message(3)))
        self.stream.write(b"x")
        self.assertEqual(self.stream.takeUndelivered(), [])

    def test_overflowOfNobody(self) -> None:
        """
        C{transportLost} comes once, and nothing after it.
        """
        self.lose()
        self.lose()
        self.assertEqual(self.session.seen, [("transportLost", None)])


class CloseTests(StreamCase):
    """
    The one way a stream ends.
    """

    def test_footerLast(self) -> None:
        """
        A client that has ended its stream is closed at once.
        """
        self.session.reactions["closed"] = lambda: self.stream.close()
        self.receive(HEADER + FOOTER)
        self.assertEqual(self.sent(), FOOTER)
        self.assertTrue(self.transport.disconnecting)

    def test_footerAwaited(self) -> None:
        """
        Another one is waited for; stanzas do not count meanwhile.
        """
        self.receive(HEADER)
        self.stream.close(b"<stream:error/>")
        self.assertEqual(self.sent(), b"<stream:error/>" + FOOTER)
        self.receive(message(1).data)
        self.assertFalse(self.transport.disconnecting)
        self.receive(FOOTER)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.session.stanzas(), [])

    def test_grace(self) -> None:
        """
        After the grace time it is closed anyhow, and cut after as much again.
        """
        self.stream.close()
        self.pass_(4)
        self.assertFalse(self.transport.disconnecting)
        self.pass_(1)
        self.assertTrue(self.transport.disconnecting)
        self.pass_(4)
        self.assertFalse(self.transport.aborted)
        self.pass_(1)
        self.assertTrue(self.transport.aborted)
        self.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.hub.wheel), 0)

    def test_notTaken(self) -> None:
        """
        A client that does not take the last bytes has the grace time twice.
        """
        WriteTests.fill(self)  # type: ignore[arg-type]  # the same case
        self.stream.deliver(message(1))
        self.stream.close()
        self.pass_(9)
        self.assertFalse(self.transport.aborted or self.transport.disconnecting)
        self.pass_(1)
        self.assertTrue(self.transport.aborted)
        self.lose()
        self.assertEqual(len(self.session.undelivered), 1)

    def test_takenLate(self) -> None:
        """
        One that takes them in that time is closed in order.
        """
        WriteTests.fill(self)  # type: ignore[arg-type]  # the same case
        self.stream.deliver(message(1))
        self.stream.close()
        self.pass_(7)
        self.transport.write = lambda data: StringTransport.write(self.transport, data)  # type: ignore[method-assign]
        self.transport.producer.resumeProducing()
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.sent(), message(1).data + FOOTER)

    def test_twice(self) -> None:
        """
        A second close does nothing, nor does one after the end; nothing is taken
        any more.
        """
        self.stream.close()
        self.stream.close()
        self.assertFalse(self.stream.deliver(message(1)))
        self.stream.write(b"x")
        self.stream.startTLS(PROCEED)
        self.assertEqual(self.sent(), FOOTER)
        self.lose()
        self.stream.close()
        self.stream.abort()
        self.assertFalse(self.transport.aborted)

    def test_paused(self) -> None:
        """
        A footer that was held by a pause counts.
        """
        self.session.reactions["message"] = self.stream.pauseReading
        self.receive(HEADER + message(1).data + message(2).data + FOOTER)
        self.stream.close()
        self.assertEqual(self.session.stanzas(), ["1"])
        self.assertTrue(self.transport.disconnecting)

    def test_failed(self) -> None:
        """
        A client whose XML is broken is not listened to, but has time to read why.
        """
        self.session.reactions["failed"] = lambda: self.stream.close()
        self.receive(HEADER + b"<!--", FOOTER)
        self.assertFalse(self.transport.disconnecting)
        self.pass_(5)
        self.assertTrue(self.transport.disconnecting)

    def test_failedWhileClosing(self) -> None:
        """
        XML that breaks while closing is nobody's business.
        """
        self.receive(HEADER)
        self.stream.close()
        self.receive(b"<!--", b"x")
        self.assertEqual(self.session.seen, [("opened", "a.example")])

    def test_cut(self) -> None:
        """
        After half a stanza there is no error and no footer.
        """
        WriteTests.fill(self)  # type: ignore[arg-type]  # the same case
        self.stream.deliver(message(1))
        self.assertEqual(len(self.stream.takeUndelivered()), 1)
        self.stream.close()
        self.assertNotIn(FOOTER, self.sent())
        self.pass_(5)
        self.assertTrue(self.transport.disconnecting)

    def test_abort(self) -> None:
        """
        An abort is at once, and once; it leaves no timers but the transport's.
        """
        self.stream.delayReading(5)
        self.stream.abort()
        self.stream.abort()
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.session.seen, [])
        self.stream.close()
        self.assertEqual(self.sent(), b"")

    def test_abortWhileClosing(self) -> None:
        """
        A closing stream can be aborted, before and after its transport is closing.
        """
        self.stream.close()
        self.pass_(5)
        self.stream.abort()
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class TimeTests(StreamCase):
    """
    Login, idle and keepalive.
    """

    def test_login(self) -> None:
        """
        The session hears of the time for the login, even from a client that sends.
        """
        for _ in range(60):
            self.receive(b" ")
            self.pass_(1)
        self.assertEqual(self.session.seen, [("idle", "login")])

    def test_idle(self) -> None:
        """
        White space counts as something received; what is sent does not.
        """
        self.connect(idleTimeout=10.0)
        self.pass_(9)
        self.receive(b" ")
        self.stream.write(b"<a/>")
        self.pass_(9)
        self.assertEqual(self.session.seen, [])
        self.pass_(1)
        self.assertEqual(self.session.seen, [("idle", "idle")])

    def test_idlePaused(self) -> None:
        """
        A client that is not read is not idle.
        """
        self.connect(idleTimeout=10.0)
        self.stream.pauseReading()
        self.pass_(50)
        self.assertEqual(self.session.seen, [])

    def test_keepalive(self) -> None:
        """
        White space goes to a client that got nothing, once the stream is open on both
        sides.
        """
        self.connect(keepalive=5.0)
        self.pass_(6)
        self.receive(HEADER)
        self.pass_(5)
        self.assertEqual(self.sent(), b"")
        self.stream.open(OPENED)
        self.pass_(4)
        self.assertEqual(self.sent(), OPENED.encode())
        self.pass_(1)
        self.assertEqual(self.sent(), b" ")

    def test_keepaliveRestart(self) -> None:
        """
        Between restart and new header there is none: it would stand before the XML
        declaration.
        """
        self.connect(keepalive=5.0)
        self.receive(HEADER)
        self.stream.write(HEADER)
        self.stream.restart(10000)
        self.stream.write(b"<success/>")
        self.sent()
        self.pass_(20)
        self.assertEqual(self.sent(), b"")

    def test_afterEnd(self) -> None:
        """
        A late time-out is nobody's.
        """
        self.lose()
        self.stream.idle("login")
        self.assertEqual(self.session.seen, [("transportLost", None)])


class TLSCase(StreamCase):
    """
    With a TLS client.
    """

    def setUp(self) -> None:
        super().setUp()
        self.client = TLSClient(name="a.example")

    def exchange(self, data: bytes = b"") -> None:
        """
        Let data of the client's, and all that follows of it, pass both ways.
        """
        data = data or self.client.exchange()
        while data:
            self.receive(data)
            data = self.client.exchange(self.sent())

    def received(self) -> bytes:
        """
        Return what the client has got since the last call.
        """
        self.client.exchange(self.sent())
        value, self.client.received = self.client.received, b""
        return value


class StartTLSTests(TLSCase):
    """
    TLS in the middle of the stream.
    """

    def start(self, behind: bytes = b"") -> None:
        """
        Ask for TLS, with these bytes in the same read.
        """
        self.session.reactions["starttls"] = lambda: self.stream.startTLS(PROCEED)
        self.receive(HEADER, STARTTLS + behind)

    def test_secured(self) -> None:
        """
        After C{<proceed/>} and the handshake the session is told, and reads and writes
        under TLS.
        """
        self.start()
        self.assertEqual(self.sent(), PROCEED)
        self.assertFalse(self.stream.secure or self.stream.canStartTLS)
        self.exchange()
        self.assertEqual(self.session.seen[-1], ("secured", None))
        self.assertTrue(self.stream.secure)
        self.assertEqual(self.stream.transportName, "tcp")
        self.receive(self.client.send(HEADER + message(1).data))
        self.assertEqual(self.session.seen[-2:], [("opened", "a.example"), ("stanza", "1")])
        self.stream.deliver(message(2))
        self.assertEqual(self.received(), message(2).data)

    def test_facts(self) -> None:
        """
        The TLS can be described once it is there; both ends have the same data.
        """
        self.assertIs(self.stream.tlsFacts(), None)
        self.start()
        self.sent()
        self.assertIs(self.stream.tlsFacts(), None)
        self.exchange()
        facts = self.stream.tlsFacts()
        assert facts is not None
        exported = self.client.connection.export_keying_material(
            b"EXPORTER-Channel-Binding", 32, b""
        )
        self.assertIn((TLS_EXPORTER, exported), facts.bindings)

    def test_certificate(self) -> None:
        """
        Without a server name the stream's C{to} picks the certificate.
        """
        directory = Path(self.hub.tls._settings.certificates)
        authority().issue("0.example").write(directory, "0")
        self.hub.tls.reload()
        self.client = TLSClient()
        self.start()
        self.sent()
        self.exchange()
        certificate = self.client.connection.get_peer_certificate(as_cryptography=True)
        self.assertIn("a.example", str(certificate.extensions))  # type: ignore[union-attr]

    def test_injected(self) -> None:
        """
        Bytes behind C{<starttls/>} end the stream; none of them is looked at
        (CVE-2011-0411).
        """
        for behind in (message(1).data, b"<mess", b"</stream:stream>", b"x", b"<!--", b"\x16\x03"):
            self.connect()
            self.session.reactions["failed"] = lambda: self.stream.close()
            self.start(behind)
            self.assertEqual(
                self.session.seen[1:],
                [("stanza", "starttls"), ("failed", "policy-violation")],
                behind,
            )
            self.assertEqual(self.sent(), FOOTER)
            self.assertFalse(self.stream.secure)

    def test_whiteSpace(self) -> None:
        """
        White space there is nothing.
        """
        self.start(b" \r\n")
        self.sent()
        self.exchange()
        self.assertTrue(self.stream.secure)

    def test_order(self) -> None:
        """
        What is written during the handshake goes out encrypted after it.
        """
        self.start()
        self.sent()
        self.stream.write(b"<early/>")
        self.assertEqual(self.sent(), b"")
        self.exchange()
        self.assertEqual(self.client.received, b"<early/>")

    def test_notTLS(self) -> None:
        """
        A client that goes on in plain text is closed.
        """
        self.start()
        self.receive(HEADER)
        self.assertTrue(self.transport.disconnecting)
        self.assertNotIn(("opened", "a.example"), self.session.seen[1:])

    def test_closedDuringHandshake(self) -> None:
        """
        A session that has closed hears of no security.
        """
        self.start()
        self.sent()
        self.stream.close()
        self.exchange()
        self.assertNotIn(("secured", None), self.session.seen)
        self.assertEqual(self.client.received, FOOTER)

    def test_damaged(self) -> None:
        """
        What came before a damaged record arrives.
        """
        self.start()
        self.sent()
        self.exchange()
        good, bad = self.client.send(HEADER), bytearray(self.client.send(b" "))
        bad[-1] ^= 1
        self.receive(good + bytes(bad))
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.session.seen[-1], ("opened", "a.example"))


class DirectTests(TLSCase):
    """
    TLS from the first byte.
    """

    isDirect = True

    def test_attributes(self) -> None:
        """
        The stream is secure, and nothing more can be made of it.
        """
        self.assertTrue(self.stream.secure)
        self.assertFalse(self.stream.canStartTLS)
        self.assertEqual(self.stream.transportName, "tls")

    def test_facts(self) -> None:
        """
        The client's TLS can be described, unless it ends at a proxy: then ours is not
        the client's.
        """
        factory: Any = self.stream.origin
        for isSecureOutside in (None, True):
            records = Records(self.hub.tls.creator().serverConnectionForTLS(None))
            arrival = Arrival(records=records, isSecureOutside=isSecureOutside)
            self.stream, self.transport = TLSStream(factory, arrival), Transport(None)
            self.stream.makeConnection(self.transport)
            self.assertIs(self.stream.tlsFacts(), None)
            self.client = TLSClient()
            self.exchange()
            self.assertTrue(self.stream.secure)
            self.assertEqual(self.stream.tlsFacts() is None, isSecureOutside is True)

    def test_stream(self) -> None:
        """
        The session begins with the header.
        """
        self.exchange()
        self.receive(self.client.send(HEADER))
        self.assertEqual(self.session.seen, [("opened", "a.example")])

    def test_alpn(self) -> None:
        """
        C{xmpp-client} is agreed on.
        """
        self.client = TLSClient(alpn=[XMPP_CLIENT])
        self.exchange()
        self.assertEqual(self.client.connection.get_alpn_proto_negotiated(), XMPP_CLIENT)

    def test_wrongALPN(self) -> None:
        """
        A client that wants another protocol is refused, with TLS's own alert.
        """
        self.client = TLSClient(alpn=[b"h2"])
        self.receive(self.client.exchange())
        self.assertTrue(self.transport.disconnecting)
        self.client.exchange(self.sent())
        self.assertIn("no application protocol", str(self.client.failure))

    def test_refused(self) -> None:
        """
        A client over a limit is closed without a word: none could be read.
        """
        self.hub.refusal = StreamError("resource-constraint")
        self.connect()
        self.assertEqual(self.sent(), b"")
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.hub.metrics.value("clients_refused", "resource-constraint"), 1)

    def test_peerEnds(self) -> None:
        """
        A client that ends TLS without ending its stream is closed; TLS is ended in turn.
        """
        self.exchange()
        data = self.client.send(HEADER)
        self.client.connection.shutdown()
        self.receive(data + self.client.connection.bio_read(1000))
        self.assertEqual(self.session.seen, [("opened", "a.example")])
        self.assertTrue(self.transport.disconnecting)
        self.client.exchange(self.sent())
        self.assertTrue(self.client.ended)
        self.stream.close()

    def test_peerEndsClosing(self) -> None:
        """
        In a closing stream that counts as its end, once all is taken.
        """
        self.exchange()
        WriteTests.fill(self)  # type: ignore[arg-type]  # the same case
        self.stream.close()
        self.client.connection.shutdown()
        self.receive(self.client.connection.bio_read(1000))
        self.assertFalse(self.transport.disconnecting)
        self.transport.producer.resumeProducing()
        self.assertTrue(self.transport.disconnecting)

    def test_stuck(self) -> None:
        """
        A client that makes TLS answer and does not read is dropped.
        """
        self.exchange()
        WriteTests.fill(self)  # type: ignore[arg-type]  # the same case
        self.stream.deliver(message(1))
        self.stream._outbox._control = b"x" * 70000
        self.receive(self.client.send(b" "))
        self.assertTrue(self.transport.aborted)

    def test_footers(self) -> None:
        """
        Footer and TLS's own end reach the client.
        """
        self.exchange()
        self.session.reactions["closed"] = lambda: self.stream.close()
        self.receive(self.client.send(HEADER + FOOTER))
        self.assertEqual(self.received(), FOOTER)
        self.assertTrue(self.client.ended)


class SlowClient(Protocol):
    """
    A client on a real socket, with or without TLS, that need not read.

    @ivar tls: Its TLS, or L{None} for plain text.
    @ivar plain: What it has read so far.
    """

    def __init__(self, tls: TLSClient | None) -> None:
        self.tls = tls
        self._plain = b""
        self.ready: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self._awaited: tuple[bytes, Deferred[None]] | None = None

    @property
    def plain(self) -> bytes:
        """
        What it has read so far.
        """
        return self.tls.received if self.tls is not None else self._plain

    def connectionMade(self) -> None:
        """
        Begin.
        """
        self.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
        if self.tls is not None:
            self.transport.write(self.tls.exchange())

    def until(self, text: bytes) -> Deferred[None]:
        """
        Fire when C{text} has been read at the end.
        """
        done: Deferred[None] = Deferred()
        self._awaited = (text, done)
        self._look()
        return done

    def _look(self) -> None:
        if self._awaited is not None and self.plain.endswith(self._awaited[0]):
            (_, done), self._awaited = self._awaited, None
            done.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """
        Read.
        """
        if self.tls is None:
            self._plain += data
        else:
            answer = self.tls.exchange(data)
            if answer:
                self.transport.write(answer)
        self._look()
        if self.plain.endswith(FOOTER):
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:
        """
        The end.
        """
        self.lost.callback(None)

    def ids(self) -> list[int]:
        """
        Return the numbers of the stanzas that arrived whole.
        """
        return [
            int(n)
            for n in re.findall(rb'<message id="(\d+)"><body>x*</body></message>', self.plain)
        ]


class SocketTests(TestCase):
    """
    On real sockets: nothing is lost, nothing comes twice.
    """

    timeout = 60
    isDirect = False

    @inlineCallbacks
    def setUp(self) -> Any:
        self.hub = Hub(reactor, storeIn(Path(self.mktemp())), closeTimeout=5.0)
        listener = ListenerSettings(type="tcp", endpoint="tcp:0")
        factory: Any = TCPFactory(reactor, listener, self.hub, isDirect=self.isDirect)  # type: ignore[arg-type]  # a double
        port = yield TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        self.client = SlowClient(TLSClient(name="a.example") if self.isDirect else None)
        address = port.getHost()
        yield connectProtocol(TCP4ClientEndpoint(reactor, address.host, address.port), self.client)
        self.addCleanup(self.client.transport.abortConnection)
        self.client.transport.write(b" " if self.client.tls is None else b"")
        while not self.hub.sessions:
            yield deferLater(reactor, 0, lambda: None)
        self.session = self.hub.sessions[-1]
        self.stream = self.session.stream
        self.stream.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20000)
        # The first bytes show that TLS is there.
        self.stream.write(b"<begin/>")
        yield self.client.until(b"<begin/>")

    def send(self, data: bytes) -> None:
        """
        Let the client send.
        """
        tls = self.client.tls
        self.client.transport.write(data if tls is None else tls.send(data))

    def test_overflow(self) -> Any:
        """
        A client that does not read is closed at the bound.  When it then does read,
        each stanza has reached it or is undelivered, none both, in order.
        """
        return self.overflow(3000)

    @inlineCallbacks
    def test_overflowWithinStanza(self) -> Any:
        """
        So it is where the kernel has taken half of a stanza; then there is no footer.
        """
        yield self.overflow(100000)
        self.assertFalse(self.client.plain.endswith(FOOTER))

    @inlineCallbacks
    def overflow(self, size: int) -> Any:
        """
        Deliver stanzas of C{size} bytes until the session is told to stop.
        """
        self.client.transport.pauseProducing()
        undelivered: list[Stanza] = []

        def overflowed() -> None:
            undelivered.extend(self.stream.takeUndelivered())
            self.stream.close()

        self.session.reactions["overflowed"] = overflowed
        number = 0
        while self.stream.deliver(message(number, size)):
            number += 1
        self.assertGreaterEqual(len(undelivered) * size, (1 << 20) - size)
        self.client.transport.resumeProducing()
        yield self.client.lost
        yield self.session.lost
        received = self.client.ids()
        returned = [int(stanza.attributes["id"]) for stanza in undelivered]
        self.assertGreater(len(self.client.plain), len(b"<begin/>"))
        self.assertEqual(received + returned, list(range(number)))

    @inlineCallbacks
    def test_lateReader(self) -> Any:
        """
        A client that reads late but before the bound gets everything.
        """
        self.client.transport.pauseProducing()
        for number in range(300):
            self.assertTrue(self.stream.deliver(message(number, 3000)))
        self.stream.write(b"<end/>")
        self.client.transport.resumeProducing()
        yield self.client.until(b"<end/>")
        self.assertEqual(self.client.ids(), list(range(300)))
        self.assertEqual(self.stream.takeUndelivered(), [])

    @inlineCallbacks
    def test_closeWaitsForReader(self) -> Any:
        """
        A stream that is closed while much waits sends it all, then the footer.
        """
        self.send(HEADER)
        self.client.transport.pauseProducing()
        for number in range(300):
            self.stream.deliver(message(number, 3000))
        self.stream.close()
        self.client.transport.resumeProducing()
        yield self.client.lost
        yield self.session.lost
        self.assertEqual(self.client.ids(), list(range(300)))
        self.assertTrue(self.client.plain.endswith(FOOTER))
        self.assertEqual(self.session.undelivered, [])

    @inlineCallbacks
    def test_goneReader(self) -> Any:
        """
        When a client that does not read goes, what its kernel and ours had not taken
        is undelivered.
        """
        self.client.transport.pauseProducing()
        for number in range(300):
            self.stream.deliver(message(number, 3000))
        self.client.transport.abortConnection()
        undelivered = yield self.session.lost
        ids = [int(stanza.attributes["id"]) for stanza in undelivered]
        self.assertGreater(len(ids), 0)
        self.assertEqual(ids, list(range(300 - len(ids), 300)))

    @inlineCallbacks
    def test_goneWhileWriting(self) -> Any:
        """
        A write to a client that has gone, and is not being read, ends the stream.
        """
        self.stream.pauseReading()
        self.client.transport.abortConnection()
        yield self.client.lost
        self.stream.deliver(message(1))
        undelivered = yield self.session.lost
        self.assertEqual([stanza.attributes["id"] for stanza in undelivered], ["1"])

    @inlineCallbacks
    def test_end(self) -> Any:
        """
        A client that ends its stream gets our footer and the end of the connection.
        """
        self.session.reactions["closed"] = lambda: self.stream.close()
        self.send(HEADER + FOOTER)
        yield self.client.lost
        yield self.session.lost
        self.assertTrue(self.client.plain.endswith(FOOTER))
        handle = self.stream.transport
        self.assertIsNone(handle.producer)

    def test_options(self) -> None:
        """
        Small stanzas are not delayed, and dead connections are noticed.
        """
        handle = self.stream.transport
        self.assertTrue(handle.getTcpNoDelay() and handle.getTcpKeepAlive())


class TLSSocketTests(SocketTests):
    """
    The same with TLS.
    """

    isDirect = True
