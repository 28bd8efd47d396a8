# Copyright the cmanager authors.
# See LICENSE for details.

"""
How the stream of a client behaves, whatever way it comes by.

Each L{StreamCase} here is a base: a test module names those it wants, with a way of
L{tests.ways}.  L{CloseTests}, L{TimeTests} and L{SocketTests} are for ways in that have a
connection of their own.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from attrs import evolve, frozen
from twisted.internet import reactor
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from cmanager.commons import Share
from cmanager.directory import Directory
from cmanager.errors import StreamError
from cmanager.interfaces import IClientStream
from cmanager.limits import AddressLimits
from cmanager.metrics import Metrics
from cmanager.settings import (
    BOSHSettings,
    ClientSettings,
    LimitSettings,
    ListenerSettings,
    StartTLS,
    TLSSettings,
)
from cmanager.stanza import FOOTER, Stanza, StreamHeader
from cmanager.stream import ClientStream
from cmanager.table import Table
from cmanager.tls import CertificateStore
from cmanager.turn import Turn
from cmanager.wheel import Wheel
from tests.certificates import authority
from tests.pollers import HandReactor
from tests.test_outbox import message
from tests.ways import TCPWay

OPENED = StreamHeader(id="1", from_="verona.example")
HEADER = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" to='a.example' version='1.0'>"
)
NOTHING = b" "


class RecordingSession:
    """
    A session that notes its inputs, and does with them what a test says.

    @ivar seen: Inputs, each a tuple of its name and what matters of its argument.
    @ivar reactions: Input, or name of a stanza, to what to do then.
    """

    def __init__(self, stream: ClientStream) -> None:
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
        self.table = Table(self.limits.settings.sessions)
        self.metrics = Metrics()
        self.wheel = Wheel(clock.seconds)
        self.turn = Turn(clock)
        self.bosh = Directory(BOSHSettings(inactivity=10, polling=0))
        self.tls = tls
        self.crew = None
        self.share = Share()
        self.refusal: StreamError | None = None
        self.sessions: list[RecordingSession] = []

    def openSession(self, stream: ClientStream) -> RecordingSession:
        """
        Make a session.
        """
        if self.refusal is not None:
            raise self.refusal
        self.sessions.append(RecordingSession(stream))
        return self.sessions[-1]


def storeIn(directory: Path) -> CertificateStore:
    """
    A store with a certificate for C{a.example}.
    """
    directory.mkdir()
    authority().issue("a.example").write(directory, "a")
    store = CertificateStore(TLSSettings(certificates=str(directory)), Clock())
    store.load()
    return store


@frozen
class Origin:
    """
    A listener.
    """

    reactor: Any
    listener: ListenerSettings
    hub: Hub


class StreamCase(TestCase):
    """
    A stream in memory, on a clock.

    @cvar makeWay: The way its client comes by.
    """

    makeWay: ClassVar[type[TCPWay]] = TCPWay
    starttls = StartTLS.REQUIRED

    def setUp(self) -> None:
        self.clock = HandReactor()
        self.hub = Hub(self.clock, storeIn(Path(self.mktemp())))
        self.connect()

    def connect(self, peer: Any = None, **settings: Any) -> None:
        """
        Connect a client, with these settings.
        """
        self.hub.settings = evolve(self.hub.settings, **settings)
        self.way = self.makeWay()
        how = self.way.listener(keepalive=settings.get("keepalive"))
        listener = ListenerSettings(starttls=self.starttls, **how)
        self.stream: Any = self.way.stream(Origin(self.clock, listener, self.hub))
        self.transport = self.way.wire(self.clock, peer)
        self.addCleanup(self.transport.remove)
        self.arrived = 0
        self.transport.connect(self.stream)
        if self.hub.sessions:
            self.session = self.hub.sessions[-1]
        if self.way.tls is not None:
            self.arrive(self.way.tls.exchange())
        self.sent()

    def arrive(self, *reads: bytes) -> None:
        """
        Let bytes come over the wire.
        """
        for data in reads:
            self.arrived += self.way.weight(data)
            self.transport.arrive(data)

    def receive(self, *reads: bytes | tuple[bytes, ...]) -> None:
        """
        Let the client say something, one read each.
        """
        for tokens in reads:
            self.arrive(self.way.said(*((tokens,) if isinstance(tokens, bytes) else tokens)))

    def sent(self) -> bytes:
        """
        Return what the client was told since the last call.
        """
        told = len(self.way.got)
        while data := self.transport.value():
            self.transport.clear()
            answer = self.way.hears(data)
            if answer:
                self.arrive(answer)
        return self.way.got[told:]

    def fill(self) -> None:
        """
        Let the transport be full from the next write on.
        """
        self.transport.isFull = True

    def lose(self) -> None:
        """
        Lose the connection.
        """
        self.transport.lose()

    @property
    def seen(self) -> list[tuple[str, Any]]:
        """
        The inputs of the session.
        """
        return self.session.seen

    @property
    def isRead(self) -> bool:
        """
        What the client sends is read.
        """
        return bool(self.transport.producerState == "producing")

    @property
    def isOver(self) -> bool:
        """
        We have ended the transport.
        """
        return self.transport.disconnecting

    @property
    def isCut(self) -> bool:
        """
        We have dropped it.
        """
        return self.transport.aborted

    def pass_(self, seconds: int) -> None:
        """
        Let time pass.
        """
        for _ in range(seconds):
            self.clock.advance(1)
            self.hub.wheel.tick()
            self.clock.settle()


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
        self.assertEqual(self.stream.transportName, self.way.name)
        self.assertTrue(self.stream.requiresTLS)
        self.assertEqual(self.stream.secure, self.way.isEncrypted)

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
        self.refused(b"policy-violation")
        self.assertTrue(self.isOver)
        self.assertEqual(self.hub.metrics.value("clients_refused", "connections-per-address"), 1)
        self.arrive(b"<garbage")
        self.lose()

    def refused(self, condition: bytes) -> None:
        """
        See that the client was told so, if it can be told anything yet.
        """
        if self.way.isEncrypted:
            self.assertEqual(self.way.got, b"")
        else:
            self.assertTrue(self.way.got.startswith(b"<?xml"))
            self.assertIn(b"<stream:error><" + condition, self.way.got)
            self.assertTrue(self.way.got.endswith(FOOTER))

    def test_full(self) -> None:
        """
        A hub without room refuses likewise, and the address is not charged.
        """
        self.lose()
        self.hub.refusal = StreamError("resource-constraint")
        self.connect()
        self.refused(b"resource-constraint")
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
        data = self.way.said(HEADER, message(1).data, b" \n", message(2).data, FOOTER)
        self.arrive(*(data[n : n + 1] for n in range(len(data))))
        self.assertEqual(
            self.seen,
            [("opened", "a.example"), ("stanza", "1"), ("stanza", "2"), ("closed", None)],
        )

    def test_failed(self) -> None:
        """
        Stanzas before a bad byte arrive before the failure; what follows is not looked at.
        """
        self.receive((HEADER, message(1).data, b"<!--x-->"), message(2).data)
        self.assertEqual(self.seen[1:], [("stanza", "1"), ("failed", "restricted-xml")])

    def test_afterFooter(self) -> None:
        """
        Nothing counts behind the footer.
        """
        self.receive((HEADER, FOOTER), b"<garbage")
        self.assertEqual(self.seen[-1], ("closed", None))

    def test_limit(self) -> None:
        """
        Before the login a stanza of the limit's size passes, one byte more does not.
        """
        self.receive(HEADER, self.way.stanza(1, 10000))
        self.assertEqual(self.session.stanzas(), ["1"])
        self.receive(self.way.stanza(2, 10001))
        self.assertEqual(self.seen[-1], ("failed", "policy-violation"))

    def test_restart(self) -> None:
        """
        A restart expects a header, has its own limit, and gives up what was read behind.
        """
        self.session.reactions["auth"] = lambda: self.stream.restart(20000)
        auth = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
        self.receive((HEADER, auth, message(1).data))
        self.receive(HEADER, self.way.stanza(2, 20000))
        self.assertEqual([what for _, what in self.seen], ["a.example", "auth", "a.example", "2"])

    def test_allow(self) -> None:
        """
        The limit can change without a restart, before and after the first byte.
        """
        self.stream.allow(20000)
        self.receive(HEADER, self.way.stanza(1, 20000))
        self.stream.allow(30000)
        self.receive(self.way.stanza(2, 30000))
        self.assertEqual(self.session.stanzas(), ["1", "2"])

    def test_lostWithin(self) -> None:
        """
        A session that aborts gets no more stanzas of that read.
        """
        self.session.reactions["message"] = self.stream.abort
        self.receive((HEADER, message(1).data, message(2).data), message(3).data)
        self.assertEqual(self.session.stanzas(), ["1"])
        self.assertTrue(self.isCut)

    def test_lostBeforeDispatch(self) -> None:
        """
        Once the transport is lost nothing arrives.
        """
        self.session.reactions["message"] = self.lose
        self.receive((HEADER, message(1).data, message(2).data))
        self.receive(message(3).data)
        self.assertEqual(self.seen[-1], ("transportLost", None))


class PauseTests(StreamCase):
    """
    Reading can be stopped.
    """

    def test_pause(self) -> None:
        """
        What is behind a pause in the same read comes with the resume, in order.
        """
        self.session.reactions["message"] = self.stream.pauseReading
        self.receive((HEADER, message(1).data, message(2).data, FOOTER))
        self.assertEqual(self.session.stanzas(), ["1"])
        self.assertFalse(self.isRead)
        self.session.reactions.clear()
        self.stream.resumeReading()
        self.assertEqual(self.seen[2:], [("stanza", "2"), ("closed", None)])
        self.assertTrue(self.isRead)

    def test_failureHeld(self) -> None:
        """
        So does the failure of what is behind.
        """
        self.session.reactions["message"] = self.stream.pauseReading
        self.receive((HEADER, message(1).data, b"<!--"))
        self.assertEqual(self.seen[-1], ("stanza", "1"))
        self.stream.resumeReading()
        self.assertEqual(self.seen[-1], ("failed", "restricted-xml"))

    def test_delay(self) -> None:
        """
        A delay reads nothing for so long; none for no time.
        """
        self.receive(HEADER)
        self.stream.delayReading(0)
        self.assertTrue(self.isRead)
        self.stream.delayReading(3)
        self.receive(message(1).data)
        self.pass_(2)
        self.assertEqual(self.session.stanzas(), [])
        self.pass_(1)
        self.assertEqual(self.session.stanzas(), ["1"])

    def test_rate(self) -> None:
        """
        A client that sends faster than it may is read slower, and loses nothing.
        """
        self.hub.limits.settings = evolve(LimitSettings(), bytesPerSecond=1024, bytesBurst=4096)
        self.connect(unauthenticatedStanzaBytes=20000)
        self.receive(HEADER)
        self.arrive(self.way.exactly(1, 4096 - self.arrived))
        self.assertTrue(self.isRead)
        self.arrive(self.way.exactly(2, 1024))
        self.assertFalse(self.isRead)
        self.clock.advance(1)
        self.assertTrue(self.isRead)
        self.assertEqual(self.session.stanzas(), ["1", "2"])

    def test_closing(self) -> None:
        """
        A closing stream takes no pauses.
        """
        self.stream.close()
        self.stream.pauseReading()
        self.stream.delayReading(5)
        self.assertTrue(self.isRead)


class WriteTests(StreamCase):
    """
    What goes to the client.
    """

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
        self.assertTrue(self.stream.deliver(self.way.delivered(1, 8192)))
        self.assertTrue(self.stream.deliver(self.way.delivered(2, 8192)))
        self.assertFalse(self.stream.deliver(message(3)))
        self.assertFalse(self.stream.deliver(message(4)))
        self.assertEqual(self.seen, [("overflowed", "3")])
        undelivered = self.stream.takeUndelivered()
        self.assertEqual([stanza.attributes["id"] for stanza in undelivered], ["1", "2"])

    def test_boundOfWrites(self) -> None:
        """
        So much may be written that is no stanza; one byte more drops a client that
        does not read it.
        """
        for size, isTooMuch in ((8192, False), (8193, True)):
            self.connect(queueBytes=16384)
            self.fill()
            self.stream.write(self.way.delivered(1, 8192).data)
            self.stream.write(self.way.delivered(2, size).data)
            self.assertEqual(self.isCut, isTooMuch)

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
        self.stream.write(b"<x/>")
        self.assertEqual(self.stream.takeUndelivered(), [])

    def test_overflowOfNobody(self) -> None:
        """
        C{transportLost} comes once, and nothing after it.
        """
        self.lose()
        self.lose()
        self.assertEqual(self.seen, [("transportLost", None)])


class EndTests(StreamCase):
    """
    The one way a stream ends.
    """

    def test_footerLast(self) -> None:
        """
        A client that has ended its stream is closed at once.
        """
        self.session.reactions["closed"] = lambda: self.stream.close()
        self.receive((HEADER, FOOTER))
        self.assertEqual(self.sent(), FOOTER)
        self.assertTrue(self.isOver)

    def test_paused(self) -> None:
        """
        A footer that was held by a pause counts.
        """
        self.session.reactions["message"] = self.stream.pauseReading
        self.receive((HEADER, message(1).data, message(2).data, FOOTER))
        self.stream.close()
        self.assertEqual(self.session.stanzas(), ["1"])
        self.assertTrue(self.isOver)

    def test_failedWhileClosing(self) -> None:
        """
        XML that breaks while closing is nobody's business.
        """
        self.receive(HEADER)
        self.stream.close()
        self.receive(b"<!--", b"x")
        self.assertEqual(self.seen, [("opened", "a.example")])


class CloseTests(EndTests):
    """
    On a connection of its own: what comes after our end, and what the client has not taken.
    """

    def test_footerAwaited(self) -> None:
        """
        Another one is waited for; stanzas do not count meanwhile.
        """
        self.receive(HEADER)
        self.stream.close(b"<stream:error/>")
        self.assertEqual(self.sent(), b"<stream:error/>" + FOOTER)
        self.receive(message(1).data)
        self.assertFalse(self.isOver)
        self.receive(FOOTER)
        self.assertTrue(self.isOver)
        self.assertEqual(self.session.stanzas(), [])

    def test_grace(self) -> None:
        """
        After the grace time it is closed anyhow.
        """
        self.stream.close()
        self.pass_(4)
        self.assertFalse(self.isOver)
        self.pass_(1)
        self.assertTrue(self.isOver)
        self.assertFalse(self.isCut)
        self.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.hub.wheel), 0)

    def test_notTaken(self) -> None:
        """
        A client that does not take the last bytes has the grace time twice.
        """
        self.fill()
        self.stream.deliver(message(1))
        self.stream.close()
        self.pass_(9)
        self.assertFalse(self.isCut or self.isOver)
        self.pass_(1)
        self.assertTrue(self.isCut)
        self.lose()
        self.assertEqual(len(self.session.undelivered), 1)

    def test_takenLate(self) -> None:
        """
        One that takes them in that time is closed in order.
        """
        self.fill()
        self.stream.deliver(message(1))
        self.stream.close()
        self.pass_(7)
        self.transport.isFull = False
        self.transport.producer.resumeProducing()
        self.assertTrue(self.isOver)
        self.assertEqual(self.sent(), message(1).data + FOOTER)

    def test_twice(self) -> None:
        """
        A second close does nothing, nor does one after the end; nothing is taken
        any more.
        """
        self.stream.close()
        self.stream.close()
        self.assertFalse(self.stream.deliver(message(1)))
        self.stream.write(b"<x/>")
        self.assertEqual(self.sent(), FOOTER)
        self.lose()
        self.stream.close()
        self.stream.abort()
        self.assertFalse(self.isCut)

    def test_failed(self) -> None:
        """
        A client whose XML is broken is not listened to, but has time to read why.
        """
        self.session.reactions["failed"] = lambda: self.stream.close()
        self.receive((HEADER, b"<!--"), message(1).data)
        self.assertFalse(self.isOver)
        self.pass_(5)
        self.assertTrue(self.isOver)

    def test_cut(self) -> None:
        """
        After half a stanza there is no error and no footer.
        """
        self.fill()
        self.stream.deliver(message(1))
        self.assertEqual(len(self.stream.takeUndelivered()), 1)
        self.stream.close()
        self.assertNotIn(FOOTER, self.sent())
        self.pass_(5)
        self.assertTrue(self.isOver)


class StuckTests(StreamCase):
    """
    On a connection of its own that does not go by itself.
    """

    def test_grace(self) -> None:
        """
        After the grace time it is closed, and cut after as much again.
        """
        self.stream.close()
        self.pass_(9)
        self.assertFalse(self.isCut)
        self.pass_(1)
        self.assertTrue(self.isCut)
        self.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.hub.wheel), 0)

    def test_abort(self) -> None:
        """
        An abort is at once, and once; it leaves no timers but the transport's.
        """
        self.stream.delayReading(5)
        self.stream.abort()
        self.stream.abort()
        self.assertTrue(self.isCut)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.seen, [])
        self.stream.close()
        self.assertEqual(self.sent(), b"")

    def test_abortWhileClosing(self) -> None:
        """
        A closing stream can be aborted, before and after its transport is closing.
        """
        self.stream.close()
        self.pass_(5)
        self.stream.abort()
        self.assertTrue(self.isCut)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LoginTests(StreamCase):
    """
    The time for the login.
    """

    def test_login(self) -> None:
        """
        The session hears of the time for the login, even from a client that sends.
        """
        for _ in range(60):
            self.receive(NOTHING)
            self.pass_(1)
        self.assertEqual(self.seen, [("idle", "login")])


class TimeTests(LoginTests):
    """
    Idle and keepalive, where nobody has to say anything for long.
    """

    def test_idle(self) -> None:
        """
        White space counts as something received; what is sent does not.
        """
        self.connect(idleTimeout=10.0)
        self.pass_(9)
        self.receive(NOTHING)
        self.stream.write(b"<a/>")
        self.pass_(9)
        self.assertEqual(self.seen, [])
        self.pass_(1)
        self.assertEqual(self.seen, [("idle", "idle")])

    def test_idlePaused(self) -> None:
        """
        A client that is not read is not idle.
        """
        self.connect(idleTimeout=10.0)
        self.stream.pauseReading()
        self.pass_(50)
        self.assertEqual(self.seen, [])

    def test_keepalive(self) -> None:
        """
        A client that got nothing for so long gets something that is nothing.
        """
        self.connect(keepalive=5.0)
        self.receive(HEADER)
        self.stream.open(OPENED)
        for seconds, expected in ((4, OPENED.encode()), (1, NOTHING), (5, NOTHING)):
            self.pass_(seconds)
            self.assertEqual(self.sent(), expected)
        self.pass_(4)
        self.stream.write(b"<x/>")
        self.pass_(4)
        self.assertEqual(self.sent(), b"<x/>")

    def test_keepaliveBlocked(self) -> None:
        """
        Nor does one that takes nothing get it.
        """
        self.connect(keepalive=5.0)
        self.receive(HEADER)
        self.stream.open(OPENED)
        self.fill()
        self.stream.deliver(message(1))
        self.sent()
        self.pass_(20)
        self.assertEqual(self.transport.value(), b"")

    def test_afterEnd(self) -> None:
        """
        A late time-out is nobody's.
        """
        self.lose()
        self.stream.idle("login")
        self.assertEqual(self.seen, [("transportLost", None)])


class SlowClient(Protocol):
    """
    A client on a real socket, that need not read.

    @ivar arrived: How many bytes it has read.
    """

    def __init__(self, way: TCPWay) -> None:
        self.way = way
        self.arrived = 0
        self.lost: Deferred[None] = Deferred()
        self._awaited: tuple[bytes, Deferred[None]] | None = None

    @property
    def plain(self) -> bytes:
        """
        What it has read so far.
        """
        return self.way.got

    def connectionMade(self) -> None:
        """
        Begin.
        """
        self.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
        tls = self.way.tls
        self.transport.write(self.way.said(NOTHING) if tls is None else tls.exchange())

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
        self.arrived += len(data)
        answer = self.way.hears(data)
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

    @cvar makeWay: The way the client comes by.
    """

    timeout = 60
    makeWay: ClassVar[type[TCPWay]] = TCPWay

    @inlineCallbacks
    def setUp(self) -> Any:
        self.hub = Hub(reactor, storeIn(Path(self.mktemp())), closeTimeout=5.0)
        way = self.makeWay()
        origin = Origin(reactor, ListenerSettings(**way.listener()), self.hub)
        factory = Factory.forProtocol(lambda: way.stream(origin))
        port = yield TCP4ServerEndpoint(way.ports(reactor), 0, interface="127.0.0.1").listen(
            factory
        )
        self.addCleanup(port.stopListening)
        self.client = SlowClient(way)
        address = port.getHost()
        yield connectProtocol(TCP4ClientEndpoint(reactor, address.host, address.port), self.client)
        self.addCleanup(self.client.transport.abortConnection)
        while not self.hub.sessions:
            yield deferLater(reactor, 0, lambda: None)
        self.session = self.hub.sessions[-1]
        self.stream = self.session.stream
        handle = way.handle(self.stream.transport)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20000)
        # The first bytes show that TLS is there.
        self.stream.write(b"<begin/>")
        yield self.client.until(b"<begin/>")

    def send(self, *tokens: bytes) -> None:
        """
        Let the client say something.
        """
        self.client.transport.write(self.client.way.said(*tokens))

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
        Deliver stanzas that take C{size} bytes until the session is told to stop.
        """
        self.client.transport.pauseProducing()
        before = self.client.arrived
        undelivered: list[Stanza] = []

        def overflowed() -> None:
            undelivered.extend(self.stream.takeUndelivered())
            self.stream.close()

        self.session.reactions["overflowed"] = overflowed
        number = 0
        while self.stream.deliver(self.client.way.delivered(number, size)):
            number += 1
        self.assertGreaterEqual(len(undelivered) * size, (1 << 20) - size)
        self.client.transport.resumeProducing()
        yield self.client.lost
        yield self.session.lost
        received = self.client.ids()
        returned = [int(stanza.attributes["id"]) for stanza in undelivered]
        self.assertGreater(self.client.arrived, before)
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
        self.send(HEADER, FOOTER)
        yield self.client.lost
        yield self.session.lost
        self.assertTrue(self.client.plain.endswith(FOOTER))
        self.assertIsNone(getattr(self.stream.transport, "producer", None))

    def test_options(self) -> None:
        """
        Small stanzas are not delayed, and dead connections are noticed.
        """
        handle = self.stream.transport
        self.assertTrue(handle.getTcpNoDelay() and handle.getTcpKeepAlive())
