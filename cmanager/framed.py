# Copyright the cmanager authors.
# See LICENSE for details.

"""
A stream whose elements come in messages, each a document of its own (RFC 7395 section
3.3): what the messages of a client say, and how ours say it.  Layer 1, sans-I/O; knows no
frames of the WebSocket but their content, and no session.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmanager.errors import StreamError
from cmanager.frames import Part
from cmanager.framing import Scanner
from cmanager.stanza import (
    NS_CLIENT,
    NS_STREAMS,
    Closed,
    Event,
    Opened,
    Stanza,
    StreamHeader,
    Tag,
    escapeAttribute,
)

if TYPE_CHECKING:
    from cmanager.settings import ClientSettings

NS_FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"

CLOSE = f'<close xmlns="{NS_FRAMING}"/>'.encode()

_NAMESPACES = {"": NS_CLIENT, "stream": NS_STREAMS}
_HEADERS = ("open", "close", "stream")
_WHITE = b" \t\r\n"


def openElement(header: StreamHeader) -> bytes:
    """
    Return the C{<open/>} that says what a stream header says over TCP.
    """
    return b'<open xmlns="%s"%s/>' % (NS_FRAMING.encode(), header.attributes)


def closeFor(uri: str) -> bytes:
    """
    Return the C{<close/>} that sends a client elsewhere (section 3.6.1).
    """
    return b'<close xmlns="%s" see-other-uri="%s"/>' % (NS_FRAMING.encode(), escapeAttribute(uri))


class Messages:
    """
    Reads what one client says.

    Of a message that has begun it keeps what a scanner keeps of an element.

    @ivar limit: How many bytes a message may have.
    @ivar awaitsOpen: The next element has to be an C{<open/>}.
    """

    __slots__ = ("_isSkipping", "_scanner", "_settings", "_stanza", "awaitsOpen", "limit")

    def __init__(self, limit: int, settings: ClientSettings) -> None:
        self.limit = limit
        self.awaitsOpen = True
        self._settings = settings
        # Of the message that has begun:
        self._scanner: Scanner | None = None
        self._stanza: Stanza | None = None
        self._isSkipping = False

    def add(self, part: Part) -> Event | None:
        """
        Consume some of a message, or all of it.

        @return: What the message says, once it has come to its end: the C{<open/>} as the
            header that it stands for, the C{<close/>} as the end of the stream, any other
            element as it is.
        @raise StreamError: The message says nothing that can be heard.  The next one may.
        """
        try:
            return None if self._isSkipping else self._add(part)
        except StreamError:
            self._isSkipping = True
            raise
        finally:
            if part.isLast:
                self._scanner = self._stanza = None
                self._isSkipping = False

    def _add(self, part: Part) -> Event | None:
        data = part.data
        scanner = self._scanner
        if scanner is None:
            if not data and not part.isLast:
                return None
            if not data or data[0] in _WHITE:
                raise StreamError("bad-format", reason="a message without an element at once")
            scanner = self._scanner = self._makeScanner()
        for event in scanner.feed(data):
            assert isinstance(event, Stanza), "nothing stands above a document's root"
            self._stanza = event
        if not part.isLast:
            return None
        if self._stanza is None or scanner.pending:
            raise StreamError("not-well-formed", reason="a message without a whole element")
        return self._meaning(self._stanza)

    def _makeScanner(self) -> Scanner:
        settings = self._settings
        return Scanner(
            0,
            self.limit,
            maxDepth=settings.maxDepth,
            maxAttributes=settings.maxAttributes,
            maxNamespaces=settings.maxNamespaces,
        )

    def _meaning(self, stanza: Stanza) -> Event:
        name = stanza.name
        if stanza.namespace == NS_FRAMING:
            if name == "open":
                self.awaitsOpen = False
                return Opened(Tag("stream", NS_STREAMS, "stream", stanza.attributes, _NAMESPACES))
            if name == "close":
                return Closed(name)
        elif self.awaitsOpen and name in _HEADERS:
            # Section 3.3.2
            raise StreamError("invalid-namespace", "This is no stream of XMPP over WebSocket.")
        return stanza
