# Copyright the cmanager authors.
# See LICENSE for details.

"""
XMPP over WebSocket (RFC 7395): one client's stream.  Layer 4; the HTTP request that it
began with has been read by others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from cmanager.errors import StreamError
from cmanager.excerpt import selfContained
from cmanager.framed import CLOSE, Messages, closeFor, openElement
from cmanager.frames import (
    NORMAL,
    PING,
    Frames,
    Hangup,
    Part,
    Ping,
    Violation,
    closeFrame,
    pongFrame,
    textFrame,
)
from cmanager.scanner import Closed, Event, Opened
from cmanager.stanza import StreamHeader, streamErrorText
from cmanager.stream import ClientStream
from cmanager.upgrade import ANY, Refusal, UpgradeRequest, accepted, refusalFor

if TYPE_CHECKING:
    from cmanager.arrival import Arrival, Origin
    from cmanager.clienttls import ClientTLS

__all__ = ["Refusal", "UpgradeRequest", "WebSocketStream", "refusalFor"]

_HANGUP = "websocket"
"""
What L{Closed} names where it was not the stream that the client ended, but the WebSocket.
"""


class WebSocketStream(ClientStream):
    """
    One client's stream over WebSocket.

    It ends in this order: an error, C{<close/>}, the client's C{<close/>}, the closing of
    the WebSocket on both sides, the transport.  What the client does not do in the grace
    time is not waited for.

    @param request: Not refused (L{refusalFor}) if it is to become a stream.
    """

    __slots__ = (
        "_code",
        "_frames",
        "_hasEnded",
        "_isAnyPage",
        "_isElsewhere",
        "_isHungUp",
        "_messages",
        "_refusal",
    )

    transportName = "websocket"

    def __init__(self, origin: Origin, arrival: Arrival | None, request: UpgradeRequest) -> None:
        super().__init__(origin, arrival)
        self._isElsewhere = False  # the client has been sent to another server
        self._hasEnded = False  # the client has ended its stream, or can say nothing any more
        self._isHungUp = False  # we have closed the WebSocket
        self._code = NORMAL  # and that is why
        self._refusal = refusalFor(request, origin.listener.origins)
        if self._refusal is None:
            self._greeting = accepted(request)
        self._isAnyPage = ANY in origin.listener.origins and bool(request.values(b"origin"))
        self._keepalive = origin.listener.ping
        self._frames = Frames(self._limit)
        self._messages = Messages(self._limit, self._settings)

    def connectionMade(self) -> None:
        """
        Answer the request, and let the client in or turn it away.
        """
        refusal = self._refusal
        if refusal is None:
            super().connectionMade()
            self._greeting = b""
            return
        self._isEnding = True
        self.log.debug("no WebSocket: {status} {reason}", **refusal._asdict())
        self._arrival.turnAway(self.transport, refusal.encode())

    def _farewell(self, error: StreamError) -> bytes:
        header = openElement(StreamHeader(id="refused", from_=None))
        last = self._framed(streamErrorText(error)) + textFrame(CLOSE) + closeFrame(NORMAL)
        return self._greeting + textFrame(header) + last

    def tlsFacts(self) -> ClientTLS | None:
        """
        See L{IClientStream.tlsFacts}.  A browser shows its user's certificate on behalf of
        whatever page asks: that it was shown means nothing where all pages may come.
        """
        facts = super().tlsFacts()
        return evolve(facts, certificate=None) if facts and self._isAnyPage else facts

    # Reading

    def _events(self, data: bytes) -> list[Event | StreamError]:
        events: list[Event | StreamError] = []
        ping: Ping | None = None
        for frame in self._frames.feed(data):
            if isinstance(frame, Part):
                self._hear(frame, events)
            elif isinstance(frame, Ping):
                ping = frame
            elif isinstance(frame, Hangup):
                self._code = frame.code
                events.append(Closed(_HANGUP))
            elif not self._isDeaf:
                self._isDeaf = True
                events.append(frame)
        if ping is not None:
            # RFC 6455 section 5.5.3: the last of several is enough.
            self._put(pongFrame(ping.payload))
            if self._isEnding:
                return []
        return events

    def _hear(self, part: Part, events: list[Event | StreamError]) -> None:
        """
        Add what a message says.  Of a deaf stream's client nothing counts but its end.
        """
        said: Event | StreamError | None
        try:
            said = self._messages.add(part)
        except StreamError as error:
            said = error
        if said is not None and (not self._isDeaf or isinstance(said, Closed)):
            events.append(said)
        if isinstance(said, StreamError):
            self._isDeaf = True

    def _dispatch(self, event: Event | StreamError) -> None:
        if isinstance(event, Opened) and self.origin.listener.seeOtherUri:
            assert self.session is not None, "the intake is stopped with the session"
            self._isElsewhere = True
            self.session.streamClosed()
        elif isinstance(event, Closed) and self._hasEnded:
            self._peerEnded(event)  # the WebSocket, behind the stream
        else:
            if isinstance(event, Violation):
                self._hasEnded = True
                self._code = event.code
            super()._dispatch(event)

    def restart(self, limit: int) -> None:
        """
        See L{IClientStream.restart}.
        """
        super().restart(limit)
        self._messages.awaitsOpen = True

    def allow(self, limit: int) -> None:
        """
        See L{IClientStream.allow}.
        """
        super().allow(limit)
        self._frames.limit = self._messages.limit = limit

    # Writing

    def open(self, header: StreamHeader, features: bytes = b"") -> None:
        """
        See L{IClientStream.open}.
        """
        self._headerSent = True
        opened = textFrame(openElement(header))
        self._put(opened + self._framed(features) if features else opened)

    def _framed(self, element: bytes) -> bytes:
        return textFrame(selfContained(element))

    def keepAlive(self) -> None:
        """
        Send a ping, where nothing waits.  Its answer counts as something received.
        """
        if self._isDelivering and self._outbox.isEmpty:
            self._outbox.put(PING)

    # The end

    def close(self, element: bytes = b"", header: StreamHeader | None = None) -> None:
        """
        See L{IClientStream.close}.
        """
        if self._isClosing:
            return
        data = b""
        if self._isElsewhere:
            data = textFrame(closeFor(self.origin.listener.seeOtherUri))
        elif not self._peerClosed:
            start = textFrame(openElement(header)) if header is not None else b""
            said = self._framed(element) if element else b""
            data = start + said + textFrame(CLOSE)
        if self._hasEnded and not self._isHungUp:
            self._isHungUp = True
            data += closeFrame(self._code)
        self._close(data)

    def _peerEnded(self, event: Closed) -> None:
        self._hasEnded = True
        if event.name == _HANGUP:
            self._peerClosed = True
        if self._isClosing:
            self._hangUp()

    def _hangUp(self) -> None:
        if not self._isHungUp:
            self._isHungUp = True
            self._outbox.put(closeFrame(self._code))

    def _graceOver(self) -> None:
        self._hangUp()
        super()._graceOver()
