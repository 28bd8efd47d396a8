# Copyright the cmanager authors.
# See LICENSE for details.

"""
What travels on a link, as bytes and as events.  Layer 1; knows no transport, no
clock and no session.

L{LinkWriter} makes the elements a manager sends, L{LinkReader} turns what the
server sends into events, L{digest} answers the server's challenge.  All forms
that any release of the server uses are accepted at any time, because nothing on
the link tells which release it is (see C{docs/wire.rst}).
"""

from __future__ import annotations

import hashlib
import re

from attrs import frozen

from cmanager.clienttls import ClientTLS
from cmanager.configuration import NS_CLIENT_STREAM
from cmanager.errors import StreamError
from cmanager.framing import Scanner
from cmanager.linkevents import (
    Accepted,
    CloseRequested,
    Configuration,
    Configured,
    Features,
    LinkEvent,
    Proceed,
    Replied,
    Routed,
    RouteFailed,
    ServerError,
    StreamClosed,
    StreamOpened,
    TLSFailure,
    TLSPolicy,
    Unreadable,
    interpreted,
)
from cmanager.stanza import (
    FOOTER,
    NS_CLIENT,
    NS_LINK,
    NS_MULTIPLEX,
    NS_STREAM_ERRORS,
    NS_STREAMS,
    NS_TLS,
    Closed,
    Event,
    Opened,
    RoutedText,
    Stanza,
    Tag,
    escapeAttribute,
)

__all__ = [
    "MAX_UPWARD_BYTES",
    "STARTTLS",
    "Accepted",
    "ClientHeader",
    "CloseRequested",
    "Configuration",
    "Configured",
    "Features",
    "LinkEvent",
    "LinkReader",
    "LinkWriter",
    "Proceed",
    "Replied",
    "RouteFailed",
    "Routed",
    "ServerError",
    "StreamClosed",
    "StreamOpened",
    "TLSFailure",
    "TLSPolicy",
    "Unreadable",
    "digest",
]

MAX_UPWARD_BYTES = 1048576 - 8192
"""
The largest element that may go up: with what stands around it, the server's scanner
takes 1 MiB, and ends the link over more.  What comes down is not bounded so.
"""

STARTTLS = b'<starttls xmlns="%s"/>' % NS_TLS.encode()

_UNBOUNDED = 1 << 30
"""
Depth, attributes and declarations of an element from the server.  The element's
size bounds them; a limit of its own would let one far user's odd stanza end the
link of all.
"""

_FRAGMENT_HEAD = (
    b'<stream:stream xmlns="' + NS_CLIENT.encode() + b'" xmlns:stream="' + NS_STREAMS.encode()
) + b'">'
_EARLY_HEAD = _FRAGMENT_HEAD.replace(NS_CLIENT.encode(), NS_LINK.encode())
_EARLY = re.compile(rb"\s*(?:<(?:[ir]|\Z)|\Z)")  # <iq, <route; or nobody can tell yet
_NAME = re.compile(rb"<[^\s<>]{0,64}\Z")
_HEADER = re.compile(rb"<(?:\?xml|(?:[^\s<>/:]{1,56}:)?stream)[\s>]")


def digest(streamID: str, secret: str) -> str:
    """
    Return what proves to the server that we know the secret.

    @param streamID: The C{id} of the server's stream header, before or after TLS.
    """
    # The protocol's choice; it protects nothing once the link is not encrypted.
    return hashlib.sha1((streamID + secret).encode(), usedforsecurity=False).hexdigest()


@frozen
class ClientHeader:
    """
    What a client's stream header said.

    @ivar to: The domain it asked for.
    @ivar lang: Its language, where it named one.
    """

    to: str
    lang: str | None = None

    def encode(self) -> bytes:
        """
        Return the element.
        """
        lang = b"" if self.lang is None else b' lang="%s"' % escapeAttribute(self.lang)
        return b'<stream xmlns="%s" to="%s"%s/>' % (
            NS_CLIENT_STREAM.encode(),
            escapeAttribute(self.to),
            lang,
        )


class LinkWriter:
    """
    Makes what a manager sends on one link.  Every attribute is escaped; what
    stands inside C{<route>} and C{<failed>} must be in the serialisation profile.

    @ivar address: C{manager/link}, our own address on this link.
    @ivar routeHead: For L{Routes <cmanager.routes.Routes>}.
    """

    def __init__(self, manager: str, link: str, domain: str) -> None:
        self.address = f"{manager}/{link}"
        self._from = escapeAttribute(self.address)
        self._addresses = b' to="%s" from="%s"' % (escapeAttribute(domain), self._from)
        self.routeHead = b"<route" + self._addresses + b' streamid="'

    def header(self) -> bytes:
        """
        Open the stream; the same before and after TLS.
        """
        return b'<stream:stream xmlns:stream="%s" xmlns="%s" to="%s" version="1.0">' % (
            NS_STREAMS.encode(),
            NS_LINK.encode(),
            self._from,
        )

    def handshake(self, streamID: str, secret: str) -> bytes:
        """
        Prove that we know the secret.
        """
        return b"<handshake>%s</handshake>" % digest(streamID, secret).encode()

    def create(
        self,
        streamID: str,
        iqID: str,
        address: str,
        *,
        tls: ClientTLS | None = None,
        stream: ClientHeader | None = None,
    ) -> bytes:
        """
        Announce a session.

        @param address: The client's IP address as a literal without a zone, or C{""}.
        @param tls: For a server that has asked for it, where the client has any.
        @param stream: For a server that has asked for it.
        """
        # As name too: a name would have to be looked up (pitfall C-13).
        literal = escapeAttribute(address)
        host = b'<host name="%s" address="%s"/>' % (literal, literal) if literal else b""
        more = b"".join(value.encode() for value in (tls, stream) if value is not None)
        return self._session(streamID, iqID, b"<create>%s%s</create>" % (host, more))

    def close(self, streamID: str, iqID: str) -> bytes:
        """
        End a session.
        """
        return self._session(streamID, iqID, b"<close/>")

    def failed(self, streamID: str, iqID: str, message: Stanza) -> bytes:
        """
        Return a message for offline storage.
        """
        # Otherwise it would be stored in the namespace it inherits (pitfall C-17).
        declared = message.withAttributes({"xmlns": NS_CLIENT}).data
        return self._session(streamID, iqID, b"<failed>%s</failed>" % declared)

    def result(self, iqID: str) -> bytes:
        """
        Answer a request of the server's.
        """
        return b'<iq type="result" id="%s"%s/>' % (escapeAttribute(iqID), self._addresses)

    def systemShutdown(self) -> bytes:
        """
        Say why the footer follows.
        """
        # With a declaration of its own: COMPAT Openfire <= 4.7 knows no inherited prefix.
        return b'<stream:error xmlns:stream="%s"><system-shutdown xmlns="%s"/></stream:error>' % (
            NS_STREAMS.encode(),
            NS_STREAM_ERRORS.encode(),
        )

    def footer(self) -> bytes:
        """
        End the stream.
        """
        return FOOTER

    def _session(self, streamID: str, iqID: str, action: bytes) -> bytes:
        return b'<iq type="set" id="%s"%s><session xmlns="%s" id="%s">%s</session></iq>' % (
            escapeAttribute(iqID),
            self._addresses,
            NS_MULTIPLEX.encode(),
            escapeAttribute(streamID),
            action,
        )


class LinkReader:
    """
    Reads one stream of the server's: a new one after TLS.

    COMPAT Openfire hands out stanzas on a link from its first header on, so that they
    come before the second where TLS begins in between.

    @ivar completed: What the last L{feed} completed, also where it raised.
    """

    def __init__(self, limit: int) -> None:
        """
        @param limit: Bytes of the largest element of the stream: it bounds what is kept
            of an element until its end.
        """
        self.completed: list[LinkEvent] = []
        self._limit = limit
        # Before the header: what may be its beginning (None: it has begun), of a name's length
        # at most, and who reads the rest.
        self._early: bytes | None = b""
        self._ahead: LinkReader | None = None
        self._scanner = Scanner(
            2,
            limit,
            strict=False,
            maxDepth=_UNBOUNDED,
            maxAttributes=_UNBOUNDED,
            maxNamespaces=_UNBOUNDED,
        )
        self._depth = 0
        self._tag: Tag | None = None
        self._children: list[Stanza] = []

    @property
    def pending(self) -> bool:
        """
        Something has been begun and is not complete.
        """
        return self._ahead is not None or bool(self._early) or self._scanner.pending

    def feed(self, data: bytes) -> list[LinkEvent]:
        """
        Consume bytes from the server and report what they completed.

        @raise StreamError: The server broke the protocol; what was completed before
            is in L{completed}.
        """
        self.completed = []
        if self._early is not None:
            data = self._begun(data)
        try:
            parsed = self._scanner.feed(data)
        except StreamError:
            self._read(self._scanner.completed)
            raise
        for event in parsed:
            if event.__class__ is not Routed:
                self._read(parsed)
                return self.completed
        if parsed:
            self.completed = parsed  # type: ignore[assignment] # as was seen
        return self.completed

    def _begun(self, data: bytes) -> bytes:
        """
        Read what comes before the header; return what is left to be read.
        """
        assert self._early is not None, "the header has not begun"
        data = self._early + data
        if self._ahead is None:
            if not _EARLY.match(data):
                self._early = None
                return data
            self._ahead = LinkReader(self._limit)
            self._ahead._early = None
            self._ahead.feed(_EARLY_HEAD)
        ahead, position = self._ahead, 0
        try:
            for header in _HEADER.finditer(data):
                self.completed += ahead.feed(data[position : header.start()])
                position = header.start()
                if ahead._depth == 1 and not ahead.pending:
                    self._early = self._ahead = None
                    return data[position:]
            # A name may be the header's, and go on.
            name = _NAME.search(data, position)
            end = len(data) if name is None else name.start()
            self.completed += ahead.feed(data[position:end])
        except StreamError:
            self.completed += ahead.completed
            raise
        self._early = data[end:]
        return b""

    def _read(self, parsed: list[Event]) -> None:
        events = self.completed
        for event in parsed:
            kind = event.__class__
            if kind is Routed:
                events.append(event)  # type: ignore[arg-type] # kind
            elif kind is Stanza:
                self._children.append(event)  # type: ignore[arg-type] # kind
            elif kind is Opened:
                self._opened(event.tag, events)  # type: ignore[union-attr] # kind
            elif kind is Closed:
                self._closed(events)
            elif kind is RoutedText:
                self._fragment(event.streamID, event.text, events)  # type: ignore[union-attr] # kind

    def _opened(self, tag: Tag, events: list[LinkEvent]) -> None:
        self._depth += 1
        if self._depth == 1:
            if tag.name != "stream" or tag.namespace != NS_STREAMS:
                raise StreamError("invalid-namespace", reason="the server sent no stream header")
            events.append(StreamOpened(tag.attributes.get("id") or None))
            return
        self._tag = tag
        if tag.name == "failure" and tag.namespace == NS_TLS:
            # COMPAT Openfire <= 4.7 never closes this element.
            events.append(TLSFailure())

    def _closed(self, events: list[LinkEvent]) -> None:
        self._depth -= 1
        if self._depth == 0:
            events.append(StreamClosed())
        else:
            self._element(events)

    def _fragment(self, streamID: str, text: str, events: list[LinkEvent]) -> None:
        """
        Read a payload that came as text.  COMPAT Openfire >= 4.8 escapes SASL
        elements and stream errors.
        """
        scanner = Scanner(
            1,
            self._limit,
            strict=False,
            maxDepth=_UNBOUNDED,
            maxAttributes=_UNBOUNDED,
            maxNamespaces=_UNBOUNDED,
        )
        try:
            parsed = scanner.feed(_FRAGMENT_HEAD + text.encode() + FOOTER)
        except StreamError:
            parsed = []
        stanzas = [event for event in parsed if isinstance(event, Stanza)]
        if not stanzas:
            events.append(Unreadable(streamID))
        events.extend(Routed(streamID, stanza) for stanza in stanzas)

    def _element(self, events: list[LinkEvent]) -> None:
        """
        Report an element of the stream that is not a plain route.
        """
        assert self._tag is not None
        event = interpreted(self._tag, self._children)
        if self._children:
            self._children = []
        if event is not None:
            events.append(event)
