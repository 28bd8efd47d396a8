# Copyright the cmanager authors.
# See LICENSE for details.

"""
One client's stream on a connection of its own: what is common to all ways in that
have one.  Layer 4; knows no link, no server and nothing of what a stanza means.

L{TCPStream <cmanager.tcp.TCPStream>} and L{WebSocketStream
<cmanager.websocket.WebSocketStream>} add how elements are framed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cmanager.arrival import LOCAL_PEER, UNKNOWN, Arrival, Origin, factsOf
from cmanager.errors import StreamError
from cmanager.intake import Intake, Pause
from cmanager.interfaces import IClientStream
from cmanager.limits import Refused, TokenBucket, peerAddress
from cmanager.outbox import Outbox
from cmanager.records import Records
from cmanager.scanner import Closed, Event, Opened
from cmanager.settings import StartTLS
from cmanager.stanza import Stanza, StreamHeader
from cmanager.vigil import Vigil

if TYPE_CHECKING:
    from cmanager.clienttls import ClientTLS
    from cmanager.session import Session


@implementer(IClientStream)
class ClientStream(Protocol, ABC):
    """
    One client's stream.  See L{IClientStream}; what that leaves open is abstract here.

    Waiting is bounded: what has been read but not processed by one read of the
    transport, an incomplete element by the scanner, what is to be sent by C{queueBytes}
    behind one stanza of any size.

    @ivar requiresTLS: The listener allows no login without TLS, whatever the server
        says.
    @ivar session: L{None} for a client that was refused, and after the end.
    """

    log = Logger()
    session: Session | None = None
    transportName = "?"
    peer = LOCAL_PEER
    secure = False
    _outbox: Outbox
    _vigil: Vigil
    _intake: Intake[Event | StreamError]
    _records: Records | None = None
    _deadline: IDelayedCall | None = None
    _to: str | None = None  # of its first header
    _greeting = b""  # what stands before the stream
    _isCounted = False
    _isDeaf = False  # what comes in is no longer looked at
    _isClosing = False  # close() has been called
    _isEnding = False  # the transport has been told to close
    _isDelivering = True
    _peerClosed = False
    _headerSent = False

    # Any: a transport offers more than one interface; which, is asked where it matters.
    transport: Any

    def __init__(self, origin: Origin, arrival: Arrival | None = None) -> None:
        self.origin = origin
        self.requiresTLS = origin.listener.starttls is StartTLS.REQUIRED
        self._arrival = arrival or UNKNOWN
        self._isSecureOutside = self._arrival.isSecureOutside
        self._settings = origin.hub.settings
        self._keepalive = self._settings.keepalive
        self._limit = self._settings.unauthenticatedStanzaBytes
        self._seconds = origin.reactor.seconds

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

    # Writing

    @abstractmethod
    def open(self, header: StreamHeader, features: bytes = b"") -> None:
        """
        See L{IClientStream.open}.
        """

    def write(self, element: bytes) -> None:
        """
        See L{IClientStream.write}.
        """
        self._put(self._framed(element))

    def _framed(self, element: bytes) -> bytes:
        """
        Return what goes over the wire for an element of a stream over TCP.
        """
        return element

    def _put(self, data: bytes) -> None:
        """
        Send what need not be returned.  A client that provokes answers without reading
        them is cut off at the bound of the queue.
        """
        if not self._isDelivering:
            return
        if not self._outbox.fits(len(data)):
            self.log.info("client {peer} does not read its answers", peer=self.peer)
            self.abort()
            return
        self._vigil.wroteAt = self._seconds()
        self._outbox.put(data)

    def deliver(self, stanza: Stanza) -> bool:
        """
        See L{IClientStream.deliver}.
        """
        if not self._isDelivering:
            return False
        data = self._framed(stanza.data)
        outbox = self._outbox
        if outbox.size and not outbox.fits(len(data)):
            self._isDelivering = False
            assert self.session is not None
            self.session.overflowed(stanza)
            return False
        self._vigil.wroteAt = self._seconds()
        outbox.put(data, stanza)
        return True

    def takeUndelivered(self) -> list[Stanza]:
        """
        See L{IClientStream.takeUndelivered}.  Nothing is delivered afterwards.

        Where the kernel has taken half of a stanza, or of the TLS record that holds it,
        that stanza is among them, and the stream ends there: a client that reads on
        finds no error and no footer.
        """
        self._isDelivering = False
        return self._outbox.take() if self.session is not None else []

    def _writable(self) -> None:
        self._outbox.writable()
        self._endIfDone()

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

    # The end

    @abstractmethod
    def close(self, element: bytes = b"", header: StreamHeader | None = None) -> None:
        """
        See L{IClientStream.close}.
        """

    def _close(self, data: bytes) -> None:
        """
        Send the last bytes.  Reading on for a while is also what lets the client see
        the error: a socket that is closed with bytes unread is reset.
        """
        if self._isClosing or self.session is None:
            return
        self._isClosing = True
        self._isDelivering = False
        self._vigil.stop()
        if self._isEnding:
            return
        if self._outbox.isCut:
            self._outbox.finish()
        else:
            self._outbox.put(data)
        self._setDeadline(self._graceOver)
        self._lookForFooter(self._intake.release())

    def _endIfDone(self) -> None:
        if self._isClosing and self._peerClosed and self._outbox.isEmpty:
            self._end()

    def _graceOver(self) -> None:
        """
        The client has neither ended its stream nor perhaps taken all of ours.
        """
        self._peerClosed = self._isDeaf = True
        if self._outbox.isEmpty:
            self._end()
        else:
            self._setDeadline(self.abort)

    def _end(self) -> None:
        if self._isEnding:
            return
        self._isEnding = True
        self._stop()
        if self._records is not None:
            self._records.close()
            self._outbox.flush()
        self._outbox.release()
        self._setDeadline(self._abortTransport)
        self.transport.loseConnection()

    def abort(self) -> None:
        """
        See L{IClientStream.abort}.
        """
        if self.session is None:
            return
        if not self._isEnding:
            self._isEnding = True
            self._stop()
            self._outbox.release()
        self._abortTransport()

    def _abortTransport(self) -> None:
        self._setDeadline(None)
        getattr(self.transport, "abortConnection", self.transport.loseConnection)()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The last thing that happens.
        """
        self._isEnding = self._isClosing = True
        self._isDelivering = False
        if self._isCounted:
            self._isCounted = False
            self.origin.hub.limits.released(self.peer)
        if self.session is not None:
            self._stop()
            self._setDeadline(None)
            self.session.transportLost(reason)
            self.session = self._records = None
            self._outbox.forget()

    def _stop(self) -> None:
        self._vigil.stop()
        self._intake.stop()

    def _setDeadline(self, function: Callable[[], object] | None) -> None:
        """
        Call C{function}, and none of before, unless the transport goes in time.
        """
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        if function is not None:
            self._deadline = self.origin.reactor.callLater(self._settings.closeTimeout, function)
