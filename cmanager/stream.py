# Copyright the cmanager authors.
# See LICENSE for details.

"""
One client's stream over TCP, in TLS or on the way there.  Layer 4; knows no
link, no server and nothing of what a stanza means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cmanager.errors import StreamError
from cmanager.intake import Intake, Pause
from cmanager.interfaces import IClientStream
from cmanager.limits import TokenBucket, peerAddress
from cmanager.outbox import Outbox
from cmanager.records import Records
from cmanager.scanner import Closed, Event, Opened, Scanner
from cmanager.settings import StartTLS
from cmanager.sinks import sinkFor
from cmanager.stanza import Stanza
from cmanager.tls import XMPP_CLIENT
from cmanager.vigil import Vigil

if TYPE_CHECKING:
    from cmanager.session import Session
    from cmanager.tcp import TCPFactory

LOCAL_PEER = "127.0.0.1"
"""
The address of a client on a Unix socket.  Servers want one for each session, and
these are on this machine.
"""


@implementer(IClientStream)
class TCPStream(Protocol):
    """
    One client's stream.  See L{IClientStream}.

    Waiting is bounded: what has been read but not processed by one read of the
    transport, an incomplete element by the scanner, what is to be sent by C{queueBytes}
    behind one stanza of any size.

    @ivar requiresTLS: The listener allows no login without TLS, whatever the server
        says.
    @ivar session: L{None} for a client that was refused, and after the end.
    """

    log = Logger()
    session: Session | None = None
    peer = LOCAL_PEER
    secure = False
    _outbox: Outbox
    _vigil: Vigil
    _intake: Intake[Event | StreamError]
    _records: Records | None = None
    _scanner: Scanner | None = None
    _deadline: IDelayedCall | None = None
    _isCounted = False
    _isDeaf = False  # what comes in is no longer looked at
    _isClosing = False  # close() has been called
    _isEnding = False  # the transport has been told to close
    _isDelivering = True
    _peerClosed = False
    _to: str | None = None
    _headerReceived = False
    _headerSent = False

    # Any: a transport offers more than one interface; which, is asked where it matters.
    transport: Any

    def __init__(self, factory: TCPFactory) -> None:
        self.factory = factory
        self.transportName = "tls" if factory.isDirect else "tcp"
        self.requiresTLS = factory.listener.starttls is StartTLS.REQUIRED
        self._settings = factory.hub.settings
        self._limit = self._settings.unauthenticatedStanzaBytes
        self._seconds = factory.reactor.seconds

    def connectionMade(self) -> None:
        """
        Let the client in, or turn it away.
        """
        hub = self.factory.hub
        transport = self.transport
        address = peerAddress(transport.getPeer())
        try:
            if address is not None:
                self.peer = address
                hub.limits.accept(address)
                self._isCounted = True
            session = hub.openSession(self)
        except StreamError as error:
            self._isEnding = True
            self.factory.refuse(self, error)
            return
        if address is not None and ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        limits = hub.limits.settings
        bucket = TokenBucket(limits.bytesPerSecond, limits.bytesBurst, self._seconds)
        self._intake = Intake(self.factory.reactor, transport, self._dispatch, bucket)
        self._outbox = Outbox(sinkFor(transport, self._writable), self._settings.queueBytes)
        self.session = session
        self._vigil = Vigil(hub.wheel, self._settings, self)
        if self.factory.isDirect:
            self.secure = True
            self._encrypt((XMPP_CLIENT,))

    # Reading

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes from the client.
        """
        if self.session is None or self._isEnding:
            return
        self._vigil.readAt = self._seconds()
        self._intake.received(len(data))
        if self._records is not None:
            self._decrypt(self._records, data)
        else:
            self._scan(data)

    def _decrypt(self, records: Records, data: bytes) -> None:
        wasEstablished = records.established
        plain = records.receive(data)
        self._outbox.flush()
        if self._outbox.isStuck:
            self.log.info("client {peer} makes TLS answer and does not read", peer=self.peer)
            self.abort()
            return
        if records.established and not wasEstablished and not self.factory.isDirect:
            self.secure = True
            if self.session is not None and not self._isClosing:
                self.session.secured()
        if plain:
            self._scan(plain)
        if records.failure is not None and not self._isEnding:
            self.log.info("TLS with {peer} failed: {why}", peer=self.peer, why=records.failure)
            self._end()
        elif records.ended:
            self._peerClosed = True
            if not self._isClosing or self._outbox.isEmpty:
                self._end()

    def _scan(self, data: bytes) -> None:
        if self._isDeaf or self._isEnding:
            return
        scanner = self._scanner
        if scanner is None:
            settings = self._settings
            scanner = self._scanner = Scanner(
                1,
                self._limit,
                maxDepth=settings.maxDepth,
                maxAttributes=settings.maxAttributes,
                maxNamespaces=settings.maxNamespaces,
            )
        events: list[Event | StreamError]
        try:
            events = [*scanner.feed(data)]
        except StreamError as error:
            events = [*scanner.completed, error]
            self._isDeaf = True
        if self._isClosing:
            self._lookForFooter(events)
        elif events:
            self._intake.push(events)

    def _lookForFooter(self, events: Sequence[Event | StreamError]) -> None:
        if any(isinstance(event, Closed) for event in events):
            self._peerClosed = True
            self._endIfDone()

    def _dispatch(self, event: Event | StreamError) -> None:
        session = self.session
        assert session is not None, "the intake is stopped with the session"
        if isinstance(event, Stanza):
            session.stanzaReceived(event)
        elif isinstance(event, Opened):
            self._headerReceived = True
            if self._to is None:
                self._to = event.tag.attributes.get("to")
            session.streamOpened(event.tag)
        elif isinstance(event, Closed):
            self._peerClosed = self._isDeaf = True
            session.streamClosed()
        elif isinstance(event, StreamError):
            session.streamFailed(event)

    def restart(self, limit: int) -> None:
        """
        See L{IClientStream.restart}.
        """
        self._limit = limit
        self._intake.clear()
        self._scanner = None
        self._headerReceived = self._headerSent = False

    def allow(self, limit: int) -> None:
        """
        See L{IClientStream.allow}.
        """
        self._limit = limit
        if self._scanner is not None:
            self._scanner.limit = limit

    # TLS

    @property
    def canStartTLS(self) -> bool:
        """
        See L{IClientStream}.
        """
        return self._records is None and not self.factory.hub.tls.isEmpty

    def startTLS(self, proceed: bytes) -> None:
        """
        See L{IClientStream.startTLS}.
        """
        if self._isClosing:
            return
        if self._intake.isWaiting or (self._scanner is not None and self._scanner.pending):
            # CVE-2011-0411: what was sent before TLS must not be taken for what came under it.
            self._isDeaf = True
            self._intake.clear()
            self._intake.push([StreamError("policy-violation", reason="bytes behind <starttls/>")])
            return
        self._outbox.put(proceed)
        self.restart(self._limit)
        self._encrypt(())

    def _encrypt(self, alpn: tuple[bytes, ...]) -> None:
        creator = self.factory.hub.tls.creator(self._to, alpn)
        self._records = Records(creator.serverConnectionForTLS(None))
        self._outbox.startTLS(self._records)

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

    def write(self, data: bytes) -> None:
        """
        See L{IClientStream.write}.  A client that provokes answers without reading
        them is cut off at the bound of the queue.
        """
        if not self._isDelivering:
            return
        if not self._outbox.fits(len(data)):
            self.log.info("client {peer} does not read its answers", peer=self.peer)
            self.abort()
            return
        self._headerSent = self._headerReceived
        self._vigil.wroteAt = self._seconds()
        self._outbox.put(data)

    def deliver(self, stanza: Stanza) -> bool:
        """
        See L{IClientStream.deliver}.
        """
        if not self._isDelivering:
            return False
        if not self._outbox.fits(len(stanza.data)):
            self._isDelivering = False
            assert self.session is not None
            self.session.overflowed(stanza)
            return False
        self._vigil.wroteAt = self._seconds()
        self._outbox.put(stanza.data, stanza)
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

    def keepAlive(self) -> None:
        """
        Send white space, where the stream is open and nothing waits.
        """
        if self._headerSent and self._isDelivering and self._outbox.isEmpty:
            self._outbox.put(b" ")

    # The end

    def close(self, data: bytes) -> None:
        """
        See L{IClientStream.close}.  Reading on for a while is also what lets the
        client see the error: a socket that is closed with bytes unread is reset.
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
        self._endIfDone()

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
        """
        Close the transport, in order.
        """
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
        transport = self.transport
        getattr(transport, "abortConnection", transport.loseConnection)()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        The last thing that happens.
        """
        self._isEnding = self._isClosing = True
        self._isDelivering = False
        if self._isCounted:
            self._isCounted = False
            self.factory.hub.limits.released(self.peer)
        if self.session is not None:
            self._stop()
            self._setDeadline(None)
            self.session.transportLost(reason)
            self.session = None

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
            reactor = self.factory.reactor
            self._deadline = reactor.callLater(self._settings.closeTimeout, function)
