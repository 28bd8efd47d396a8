# Copyright the cmanager authors.
# See LICENSE for details.

"""
One client's stream over BOSH (XEP-0124, XEP-0206).  Layer 4; knows no HTTP, which is
L{cmanager.httpbind}'s part, and neither the order of requests nor what is said to which,
which is L{cmanager.window}'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from cmanager.arrival import LOCAL_PEER, Origin
from cmanager.body import bindingCondition
from cmanager.errors import StreamError
from cmanager.intake import Intake, Pause
from cmanager.interfaces import IClientStream
from cmanager.limits import TokenBucket
from cmanager.scanner import Closed, Event, Opened
from cmanager.settings import StartTLS
from cmanager.stanza import Stanza, StreamHeader
from cmanager.terms import contentType, rulesFor
from cmanager.visits import Exchange, Visits
from cmanager.window import Window

if TYPE_CHECKING:
    from cmanager.body import Body
    from cmanager.clienttls import ClientTLS
    from cmanager.session import Session


@implementer(IClientStream)
class BOSHStream:
    """
    One client's stream.  See L{IClientStream}.

    Its transport is the requests that come for it (L{Visits}), over whatever connections and
    from whatever addresses: the client is where the first request was from, and as secure.
    It is never idle: who comes back in time stays, C{client.idle-timeout} is for others.

    Waiting is bounded: requests and what is to be sent by the L{Window}, what has been
    read but not processed by one request, as none is taken before.

    @ivar sid: See L{Directory <cmanager.directory.Directory>}.
    @ivar limit: Most bytes a stanza may have in requests from here on.
    @ivar session: L{None} after the end.
    """

    log = Logger()
    transportName = "bosh"
    canStartTLS = False
    peer = LOCAL_PEER
    session: Session | None = None
    _isDeaf = False  # no more requests are looked at
    _isClosing = False  # close() or abort() has been called
    _isDelivering = True

    def __init__(self, origin: Origin, first: Body, address: str | None, *, secure: bool) -> None:
        """
        Let a client in.

        @param first: Its first request, to be passed to L{request} too.
        @param address: Where that came from; L{None} for a Unix socket.
        @raise StreamError: There are too many.
        """
        hub = origin.hub
        self.origin = origin
        self.secure = secure
        self.requiresTLS = origin.listener.starttls is StartTLS.REQUIRED
        self.limit = hub.settings.unauthenticatedStanzaBytes
        self._isCounted = address is not None
        if address is not None:
            self.peer = address
            hub.limits.accept(address)
        try:
            self.session = hub.openSession(self)
        except StreamError:
            self._release()
            raise
        seconds = origin.reactor.seconds
        self.sid = hub.bosh.add(self)
        rules = rulesFor(hub.bosh.settings, hub.settings)
        self._window = Window(rules, self.sid, first, seconds())
        self._visits = Visits(
            origin.reactor,
            hub.wheel,
            self._window,
            self,
            contentType(first),
            hub.settings.closeTimeout,
        )
        limits = hub.limits.settings
        bucket = TokenBucket(limits.bytesPerSecond, limits.bytesBurst, seconds)
        self._intake: Intake[Event | StreamError] = Intake(
            origin.reactor, self, self._dispatch, bucket
        )
        self._loginTimer = hub.wheel.schedule(hub.settings.loginTimeout, self._loginTimedOut)

    # Reading

    def request(self, exchange: Exchange, body: Body) -> None:
        """
        A request has come.
        """
        self._visits.request(exchange, body)

    def lost(self, exchange: Exchange) -> None:
        """
        The connection of a request is gone, before all of its answer was sent.
        """
        self._visits.lost(exchange)

    def taken(self, exchange: Exchange) -> None:
        """
        The kernel has taken all of the answer to a request.
        """
        self._visits.taken(exchange)

    def received(self, exchange: Exchange) -> None:
        """
        The client is known to have the answer to a request.
        """
        self._visits.received(exchange)

    @property
    def isBehind(self) -> bool:
        """
        See L{Visited <cmanager.visits.Visited>}.
        """
        return self._intake.isWaiting

    def take(self) -> None:
        """
        See L{Visited <cmanager.visits.Visited>}: as far as the session wants it.
        """
        intake = self._intake
        try:
            while not (intake.isPaused or intake.isWaiting or self._isDeaf):
                body = self._window.next()
                if body is None:
                    break
                intake.received(body.size)
                intake.push(self._events(body))
        except Exception:  # noqa: BLE001 - a bug must cost one session, and it must end
            self.log.failure("session of {peer} failed", peer=self.peer)
            if self.session is not None:
                self.session.end(StreamError("internal-server-error"))

    def _events(self, body: Body) -> list[Event | StreamError]:
        events: list[Event | StreamError] = []
        first = self._window.first
        if body.rid == first.rid:
            events = [Opened(body.header()), *body.children]
        elif body.isRestart:
            # XEP-0206 section 6: there is nothing in it.
            events = [Opened(body.header(first))]
        else:
            events = [*body.children]
        if body.error is not None:
            events.append(body.error)
        elif body.isTerminate:
            events.append(Closed("body"))
        self._isDeaf = body.error is not None or body.isTerminate
        return events

    def _dispatch(self, event: Event | StreamError) -> None:
        session = self.session
        assert session is not None, "the intake is stopped with the session"
        if isinstance(event, Stanza):
            session.stanzaReceived(event)
        elif isinstance(event, Opened):
            session.streamOpened(event.tag)
        elif isinstance(event, Closed):
            session.streamClosed()
        elif isinstance(event, StreamError):
            session.streamFailed(event)

    def restart(self, limit: int) -> None:
        """
        See L{IClientStream.restart}.
        """
        self.allow(limit)
        self._intake.clear()

    def allow(self, limit: int) -> None:
        """
        See L{IClientStream.allow}.
        """
        self.limit = limit

    def startTLS(self, proceed: bytes) -> None:
        """
        See L{IClientStream}.  Not where it cannot be.
        """

    def tlsFacts(self) -> ClientTLS | None:
        """
        See L{IClientStream.tlsFacts}.  Each connection has TLS of its own.
        """
        return None

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

    def pauseProducing(self) -> None:
        """
        For L{Intake}: take no more requests.
        """

    def resumeProducing(self) -> None:
        """
        For L{Intake}: take more.
        """
        self.take()
        self._visits.flushLater()

    # Writing

    def open(self, header: StreamHeader, features: bytes = b"") -> None:
        """
        See L{IClientStream.open}.  Where there are no features yet the client is told when
        they are there.
        """
        attributes = {
            "authid": header.id,
            "from": header.from_,
            "to": header.to,
            "xml:lang": header.lang,
            "xmpp:version": header.version,
        }
        self._window.announce({k: v for k, v in attributes.items() if v is not None})
        if features:
            self.write(features)

    def write(self, element: bytes) -> None:
        """
        See L{IClientStream.write}.  A client that provokes answers without fetching them
        is cut off at the bound of the queue.
        """
        if not self._isDelivering:
            return
        if not self._window.fits(len(element)):
            self.log.info("client {peer} does not read its answers", peer=self.peer)
            self._window.end("policy-violation")
            self.abort()
            return
        self._window.send(element)
        self._visits.flushLater()

    def deliver(self, stanza: Stanza) -> bool:
        """
        See L{IClientStream.deliver}.
        """
        if not self._isDelivering:
            return False
        if not self._window.fits(len(stanza.data)):
            self._isDelivering = False
            assert self.session is not None
            self.session.overflowed(stanza)
            return False
        self._window.send(stanza.data, stanza)
        self._visits.flushLater()
        return True

    def takeUndelivered(self) -> list[Stanza]:
        """
        See L{IClientStream.takeUndelivered}.  Nothing is delivered afterwards.

        Those that the client is not known to have are among them: it may have got the last
        of them all the same.
        """
        self._isDelivering = False
        return self._window.takeUndelivered() if self.session is not None else []

    # Time

    def _loginTimedOut(self) -> None:
        if self.session is not None:
            self.session.idle("login")

    # The end

    def close(self, element: bytes = b"", header: StreamHeader | None = None) -> None:
        """
        See L{IClientStream.close}.  A client is told of a header only where there is more
        to come.
        """
        if self._isClosing or self.session is None:
            return
        self._window.end(bindingCondition(element), element)
        self._close()

    def _close(self) -> None:
        self._isClosing = True
        self._isDelivering = False
        self._intake.stop()
        self._loginTimer.cancel()
        self._visits.close()

    def abort(self) -> None:
        """
        See L{IClientStream.abort}.
        """
        if self.session is None:
            return
        self._window.end()
        if not self._isClosing:
            self._close()
        self._visits.abort()

    def visitsOver(self) -> None:
        """
        The last thing that happens.
        """
        error = self._window.error
        if error is not None:
            self.log.info("BOSH with {peer} failed: {why}", peer=self.peer, why=error)
        self._isClosing = True
        self._intake.stop()
        self._loginTimer.cancel()
        self.origin.hub.bosh.remove(self.sid)
        self._release()
        if self.session is not None:
            self.session.transportLost(connectionDone)
            self.session = None

    def _release(self) -> None:
        if self._isCounted:
            self._isCounted = False
            self.origin.hub.limits.released(self.peer)
