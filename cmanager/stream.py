# Copyright the cmanager authors.
# See LICENSE for details.

"""
One client's stream on a connection of its own: what is common to all ways in that
have one.  Layer 4; knows no link, no server and nothing of what a stanza means.

What it writes, and its end, are in L{cmanager.outgoing}.  L{TCPStream
<cmanager.tcp.TCPStream>} and L{WebSocketStream <cmanager.websocket.WebSocketStream>} add
how elements are framed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.interfaces import ITCPTransport
from zope.interface import implementer

from cmanager.arrival import UNKNOWN, Arrival, Origin, factsOf
from cmanager.errors import StreamError
from cmanager.intake import Intake, Pause
from cmanager.interfaces import IClientStream
from cmanager.limits import Refused, TokenBucket, peerAddress
from cmanager.outgoing import Outgoing
from cmanager.records import Records
from cmanager.scanner import Closed, Event, Opened
from cmanager.settings import StartTLS
from cmanager.stanza import Stanza
from cmanager.vigil import Vigil

if TYPE_CHECKING:
    from cmanager.clienttls import ClientTLS


@implementer(IClientStream)
class ClientStream(Outgoing):
    """
    One client's stream.  See L{IClientStream}; what that leaves open is abstract here.

    Waiting is bounded: what has been read but not processed by one read of the
    transport, an incomplete element by the scanner, what is to be sent by C{queueBytes}
    behind one stanza of any size.

    @ivar requiresTLS: The listener allows no login without TLS, whatever the server
        says.
    @ivar session: L{None} for a client that was refused, and after the end.
    """

    __slots__ = (
        "_arrival",
        "_greeting",
        "_headerSent",
        "_isSecureOutside",
        "_keepalive",
        "_limit",
        "_to",
        "requiresTLS",
        "secure",
    )

    transportName = "?"

    def __init__(self, origin: Origin, arrival: Arrival | None = None) -> None:
        super().__init__(origin)
        self.requiresTLS = origin.listener.starttls is StartTLS.REQUIRED
        self.secure = False
        self._arrival = arrival or UNKNOWN
        self._isSecureOutside = self._arrival.isSecureOutside
        self._keepalive = self._settings.keepalive
        self._limit = self._settings.unauthenticatedStanzaBytes
        self._to: str | None = None  # of its first header
        self._greeting = b""  # what stands before the stream
        self._headerSent = False

    def connectionMade(self) -> None:
        """
        Let the client in, or turn it away.
        """
        hub, transport = self.origin.hub, self.transport
        arrival, self._arrival = self._arrival.begun(transport), UNKNOWN
        self.secure = arrival.secure
        address = arrival.address or peerAddress(transport.getPeer())
        try:
            if address is not None:
                self.peer = address
                if not arrival.isCounted:
                    hub.limits.accept(address)
                    self._isCounted = True
            session = hub.openSession(self)
        except StreamError as error:
            self._isEnding = True
            limit = error.limit if isinstance(error, Refused) else error.condition
            hub.metrics.increment("clients_refused", limit)
            self.log.info("client {peer} refused: {error}", peer=self.peer, error=error)
            # Without grace: who floods must not hold sockets.
            arrival.turnAway(transport, self._farewell(error))
            return
        if address is not None and ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        limits = hub.limits.settings
        bucket = TokenBucket(limits.bytesPerSecond, limits.bytesBurst, self._seconds)
        self._intake = Intake(self.origin.reactor, transport, self._dispatch, bucket)
        self._outbox = arrival.outboxFor(transport, self._writable, self._settings.queueBytes)
        self._records = arrival.records
        self.session = session
        self._vigil = Vigil(hub.wheel, self._settings, self, self._keepalive)
        self._outbox.put(self._greeting)
        if arrival.rest:
            self._intake.received(len(arrival.rest))
            self._read(arrival.rest)

    @abstractmethod
    def _farewell(self, error: StreamError) -> bytes:
        """
        Return what a client is told that gets no session.
        """

    # Reading

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes from the client.
        """
        if self.session is None or self._isEnding:
            return
        self._vigil.readAt = self._seconds()
        if self._records is not None:
            self._decrypt(self._records, data)
        else:
            self._intake.received(len(data))
            self._read(data)

    def _decrypt(self, records: Records, data: bytes) -> None:
        wasEstablished = records.established
        plain = records.receive(data)
        self._intake.received(records.amount)
        self._outbox.flush()
        if self._outbox.isStuck:
            self.log.info("client {peer} makes TLS answer and does not read", peer=self.peer)
            self.abort()
            return
        if records.established and not wasEstablished and not self.secure:
            self.secure = True
            if self.session is not None and not self._isClosing:
                self.session.secured()
        if plain and not self._isEnding:
            self._read(plain)
        if records.failure is not None and not self._isEnding:
            self.log.info("TLS with {peer} failed: {why}", peer=self.peer, why=records.failure)
            self._end()
        elif records.ended:
            self._peerClosed = True
            if not self._isClosing or self._outbox.isEmpty:
                self._end()

    def _read(self, data: bytes) -> None:
        events = self._events(data)
        if self._isClosing:
            self._lookForFooter(events)
        elif events:
            self._intake.push(events)

    @abstractmethod
    def _events(self, data: bytes) -> list[Event | StreamError]:
        """
        Return what C{data} completes.  An error makes the stream deaf; while it is that,
        there is nothing, but perhaps the stream's end.
        """

    def _lookForFooter(self, events: Sequence[Event | StreamError]) -> None:
        for event in events:
            if isinstance(event, Closed):
                self._peerEnded(event)
        self._endIfDone()

    def _peerEnded(self, event: Closed) -> None:
        self._peerClosed = True

    def _dispatch(self, event: Event | StreamError) -> None:
        session = self.session
        assert session is not None, "the intake is stopped with the session"
        if event.__class__ is Stanza:
            session.stanzaReceived(event)
        elif isinstance(event, Opened):
            if self._to is None:
                self._to = event.tag.attributes.get("to")
            session.streamOpened(event.tag)
        elif isinstance(event, Closed):
            self._isDeaf = True
            self._peerEnded(event)
            session.streamClosed()
        elif isinstance(event, StreamError):
            session.streamFailed(event)

    def restart(self, limit: int) -> None:
        """
        See L{IClientStream.restart}.
        """
        self.allow(limit)
        self._intake.clear()
        self._headerSent = False

    def allow(self, limit: int) -> None:
        """
        See L{IClientStream.allow}.
        """
        self._limit = limit

    @property
    def canStartTLS(self) -> bool:
        """
        See L{IClientStream}.
        """
        return False

    def startTLS(self, proceed: bytes) -> None:
        """
        See L{IClientStream}.  Not where it cannot be.
        """

    def tlsFacts(self) -> ClientTLS | None:
        """
        See L{IClientStream.tlsFacts}.
        """
        if self._isSecureOutside is not None:
            return None  # the client's TLS with a proxy is another than ours
        return factsOf(self.transport, self._records)

    # Pausing

    def pauseReading(self) -> None:
        """
        See L{IClientStream.pauseReading}.
        """
        if not self._isClosing:
            self._intake.pause(Pause.SESSION)

    def resumeReading(self) -> None:
        """
        See L{IClientStream.resumeReading}.
        """
        self._intake.resume(Pause.SESSION)

    def delayReading(self, seconds: float) -> None:
        """
        See L{IClientStream.delayReading}.
        """
        if seconds > 0 and not self._isClosing:
            self._intake.pauseFor(Pause.DELAY, seconds)

    # Time, see Vigil

    @property
    def isListening(self) -> bool:
        """
        The client is read, so that its silence is its own.
        """
        return not self._intake.isPaused

    def idle(self, kind: str) -> None:
        """
        A time-out has passed: C{"login"} or C{"idle"}.
        """
        if self.session is not None:
            self.session.idle(kind)

    @abstractmethod
    def keepAlive(self) -> None:
        """
        Send something that is nothing, where the stream is open and nothing waits.
        """
