# Copyright the cmanager authors.
# See LICENSE for details.

"""
Bytes of an XML stream in; tags, stanzas and texts out.  Layer 1, sans-I/O;
knows neither transport nor session.

Expat proves that what passes is well-formed and namespace-well-formed; the
scanner counts bytes before expat sees them, finds the slice of each element, and
hands out only slices in the serialisation profile (L{cmanager.profile}) that
stand on their own: whatever a client sends, a link carries nothing else.

A level says at which depth stanzas stand: 1 for a client's stream, 0 for a document
that is one stanza (RFC 7395), 2 for a link, whose C{<route>} elements hold them.  Of a
C{<route>} for a session, without an error, only what is in it is reported.
"""

from __future__ import annotations

from xml.parsers import expat

from cmanager.errors import LocalError, StreamError
from cmanager.markup import OpenMarkup
from cmanager.profile import tagOf, textOf
from cmanager.slices import (
    SEPARATOR,
    openTag,
    plainAttributes,
    scopeFor,
    slicerFor,
    splitName,
)
from cmanager.stanza import (
    CONTENT_NAMESPACES,
    Closed,
    Event,
    Opened,
    Routed,
    RoutedText,
    Tag,
    Text,
    rootTagEnd,
)

__all__ = ["RENEW_BYTES", "Closed", "Event", "Opened", "Scanner", "Text"]

_WHITE = b" \t\r\n"
_BEHIND = "something behind the last tag"
# Expat keeps every name it has ever seen; a parser is given up, between two
# elements, once it has read so many bytes.
RENEW_BYTES = 65536

_UNDEFINED_ENTITY = 11
_MISPLACED_DECLARATION = 17


class _Renewed(Exception):
    """
    Raised out of a parser to give it up.
    """


class Scanner:
    """
    One stream, from its header to its end.  A stream restart is a new scanner.

    @ivar limit: Largest number of bytes of an element: of a stanza at levels 0 and 1,
        of a C{<route>} with all that is in it at level 2, and of a stream header with
        what stands before it.  May be changed between two calls.
    @ivar completed: After L{feed} has raised: the events it had completed before.
    """

    __slots__ = (
        "_attributes",
        "_base",
        "_boundary",
        "_buffer",
        "_context",
        "_depth",
        "_events",
        "_fed",
        "_isEmpty",
        "_isFilled",
        "_isLeaf",
        "_isSpent",
        "_level",
        "_markup",
        "_maxAttributes",
        "_maxDepth",
        "_name",
        "_origin",
        "_parser",
        "_scopes",
        "_slicer",
        "_start",
        "_streamID",
        "_strict",
        "_unit",
        "completed",
        "limit",
    )

    def __init__(
        self,
        level: int,
        limit: int,
        *,
        maxDepth: int = 128,
        maxAttributes: int = 64,
        maxNamespaces: int = 32,
        strict: bool = True,
        bmpOnly: bool = False,
        content: frozenset[str] = CONTENT_NAMESPACES,
    ) -> None:
        self.limit = limit
        self.completed: list[Event] = []
        self._level = level
        self._maxDepth = level + maxDepth
        self._maxAttributes = maxAttributes
        self._strict = strict
        self._slicer = slicerFor(content, strict, level == 0, bmpOnly, maxNamespaces)
        self._isSpent = False
        self._events: list[Event] = []
        self._depth = 0
        # Offsets count the bytes the parser was given.  The buffer begins at _base; up to
        # _fed the parser has it; the element that is measured begins at _unit; up to
        # _boundary everything has been reported; an open stanza begins at _start.
        self._buffer: bytes | bytearray = b""
        self._base = 0
        self._fed = 0
        self._unit = 0
        self._boundary = 0
        self._start = -1
        self._origin = 0
        # Of the end of the buffer; None while that is empty.
        self._markup: OpenMarkup | None = None
        # A start tag that puts a new parser where this one is between two elements.
        self._context = b""
        self._isEmpty = False
        self._name = ""
        self._attributes: dict[str, str] = {}
        self._isLeaf = False
        # Of the route that is open: whose it is, and that an element was in it.
        self._streamID: str | None = None
        self._isFilled = False
        # One for each open element above the level, and one for the document.
        self._scopes = [scopeFor({}, {}, content)]
        self._parser: expat.XMLParserType | None = None

    @property
    def pending(self) -> bool:
        """
        An element has begun that is not complete, or bytes wait for more.
        """
        return not self._isSpent and (len(self._buffer) > 0 or self._depth > 1)

    def feed(self, data: bytes) -> list[Event]:
        """
        Consume bytes from the peer and report what they completed.

        @param data: Any split of the stream; may be empty, may end inside a tag.
        @return: Complete events in wire order, often none.
        @raise StreamError: C{not-well-formed}, C{restricted-xml} (RFC 6120 section
            11.1), C{unsupported-encoding}, C{bad-format} for text where only elements
            may stand, C{invalid-namespace} for a document without one, or
            C{policy-violation} once a limit is passed.  What was complete before is in
            C{completed}; further calls raise L{LocalError}.
        """
        if self._isSpent:
            raise LocalError("a scanner was fed after its error")
        try:
            if self._buffer:
                self._goOn(data)
            elif data := data.lstrip(_WHITE) if self._depth <= 1 else data:
                if self._parser is None:
                    self._begin(data)
                elif self._depth == 0:
                    raise StreamError("not-well-formed", reason=_BEHIND)
                self._buffer = data
                self._base = self._fed
                self._parse()
        except expat.ExpatError as error:
            failure = self._translated(error)
        except StreamError as error:
            failure = error
        else:
            events = self._events
            if events:
                self._events = []
            return events
        self._isSpent = True
        self.completed = self._events
        self._events = []
        self._parser = None
        self._buffer = b""
        raise failure

    def _goOn(self, data: bytes) -> None:
        """
        Add to what has begun.
        """
        buffer = self._buffer
        assert isinstance(buffer, bytearray), "made by _keep"
        if self._fed == 1 and data[:1] == b"\x00":
            raise StreamError("unsupported-encoding")
        buffer += data
        markup = self._markup
        if (
            markup is None
            or not markup.isOpen
            or markup.goOn(data, self._depth == 0)
            or self._base + len(buffer) - self._unit > self.limit
        ):
            self._parse()

    def _parse(self) -> None:
        """
        Give expat what of the buffer it has not had, and keep what it did not complete.
        """
        while True:
            buffer = self._buffer
            base = self._base
            fed = self._fed
            end = base + len(buffer)
            stop = self._unit + self.limit
            # The limit may have been lowered meanwhile.
            stop = end if end <= stop else max(stop, fed)
            assert self._parser is not None, "made by _begin"
            try:
                self._parser.Parse(buffer[fed - base : stop - base])
            except _Renewed:
                self._renew()
                continue
            self._fed = stop
            if stop == end:
                break
            self._skipWhite()
            if self._unit + self.limit <= stop:
                raise StreamError("policy-violation", "an element is too large")
        if (self._boundary if self._start < 0 else self._start) == end:
            self._buffer = b""
            self._markup = None
        else:
            self._keep()

    def _keep(self) -> None:
        """
        Drop all of the buffer but what later bytes will complete.
        """
        self._skipWhite()
        buffer = self._buffer
        keep = (self._boundary if self._start < 0 else self._start) - self._base
        if keep == len(buffer):
            self._buffer = b""
            self._markup = None
            return
        if isinstance(buffer, bytearray):
            del buffer[:keep]
        else:
            self._buffer = buffer = bytearray(buffer[keep:])
        self._base += keep
        if self._markup is None:
            self._markup = OpenMarkup(self._strict)
        assert self._parser is not None, "made by _begin"
        # Between two calls the index is that of the token that has begun, if any.
        self._markup.begin(buffer[self._parser.CurrentByteIndex - self._base :], self._depth == 0)

    def _begin(self, data: bytes) -> None:
        # RFC 6120 section 11.6: UTF-8 alone, and no byte order mark.
        # Expat would guess.
        if data[0] in b"\x00\xfe\xff" or data[:2] == b"<\x00":
            raise StreamError("unsupported-encoding")
        if data[0] != 0x3C:
            raise StreamError("not-well-formed", reason="something before the first tag")
        self._parser = self._makeParser()
        self._listen(self._parser)

    def _makeParser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate("UTF-8", SEPARATOR)
        parser.namespace_prefixes = True
        # Expat from 2.6 on delays what a short read completes.
        defer = getattr(parser, "SetReparseDeferralEnabled", None)
        if defer is not None:
            defer(False)
        return parser

    def _listen(self, parser: expat.XMLParserType) -> None:
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self._ended
        parser.StartDoctypeDeclHandler = self._restricted
        parser.XmlDeclHandler = self._declared
        if self._strict:
            parser.CommentHandler = self._restricted
            parser.ProcessingInstructionHandler = self._restricted

    def _renew(self) -> None:
        parser = self._makeParser()
        parser.Parse(self._context)
        self._listen(parser)
        self._parser = parser
        self._buffer = self._buffer[self._boundary - self._base :]
        self._origin = self._base = self._fed = self._unit = self._boundary = len(self._context)

    def _translated(self, error: expat.ExpatError) -> StreamError:
        assert self._parser is not None, "it raised"
        position = self._parser.ErrorByteIndex - self._base
        if error.code == _UNDEFINED_ENTITY:
            return StreamError("restricted-xml", reason="an entity reference")
        if self._strict and (
            error.code == _MISPLACED_DECLARATION
            or self._buffer[max(0, position - 2) : position] == b"<!"
        ):
            return StreamError("restricted-xml", reason="a declaration")
        return StreamError("not-well-formed", reason=expat.ErrorString(error.code))

    def _skipWhite(self) -> None:
        # White space between elements belongs to none of them and is not kept.
        if self._start >= 0 or self._depth > 1:
            return
        buffer = self._buffer
        offset = self._boundary - self._base
        if buffer[offset] == 0x3C:
            return
        rest = buffer[offset:].lstrip(_WHITE)
        if rest and rest[0] != 0x3C:
            raise StreamError("bad-format", reason="text between elements")
        self._boundary = self._unit = self._base + len(buffer) - len(rest)

    # Called by expat.

    def _restricted(self, *ignored: object) -> None:
        raise StreamError("restricted-xml")

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.upper() != "UTF-8":
            raise StreamError("unsupported-encoding")
        if version != "1.0":
            raise StreamError("not-well-formed", reason="not XML 1.0")

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        depth = self._depth
        self._depth = depth + 1
        if len(attributes) > self._maxAttributes:
            raise StreamError("policy-violation", "too many attributes")
        if depth > self._level:
            if depth >= self._maxDepth:
                raise StreamError("policy-violation", "elements are nested too deeply")
            self._isLeaf = False
            return
        assert self._parser is not None, "it calls"
        offset = self._parser.CurrentByteIndex
        if depth:
            if offset != self._boundary and self._streamID is None:
                self._between(offset, depth)
            if depth == 1:
                self._unit = offset
        if depth == self._level:
            self._start = offset
            self._isLeaf = True
            self._name = name
            self._attributes = attributes
        else:
            self._openTag(name, attributes, offset)

    def _openTag(self, name: str, attributes: dict[str, str], offset: int) -> None:
        start = offset - self._base
        end = rootTagEnd(self._buffer, start)
        raw = bytes(self._buffer[start:end])
        self._isEmpty = raw.endswith(b"/>")
        self._boundary = self._base + end
        scope = self._scopes[-1]
        namespaces: dict[str, str] = {}
        if b"xmlns" in raw:
            namespaces = tagOf(raw)[2]
            if len(namespaces) > self._slicer.maxNamespaces:
                raise StreamError("policy-violation", "too many namespace declarations")
            scope = scopeFor(scope.namespaces, namespaces, self._slicer.content)
        self._scopes.append(scope)
        if self._depth == 1:
            self._unit = self._boundary
            self._context = openTag(name, namespaces)
        uri, local, prefix = splitName(name)
        plain = plainAttributes(attributes)
        if self._depth == 2 and local == "route" and plain.get("type") != "error":
            self._streamID = plain.get("streamid") or None
        if self._streamID is None:
            self._events.append(Opened(Tag(local, uri, prefix, plain, namespaces)))

    def _between(self, offset: int, depth: int) -> None:
        gap = bytes(self._buffer[self._boundary - self._base : offset - self._base])
        if not gap.strip(_WHITE):
            return
        # A server may have sent a comment there, a client nothing at all.
        text = "" if depth < 2 and self._strict else textOf(gap)
        if depth < 2 and (text.strip() or self._strict):
            raise StreamError("bad-format", reason="text between elements")
        if text.strip():
            streamID = self._streamID
            self._events.append(Text(text) if streamID is None else RoutedText(streamID, text))

    def _ended(self, name: str) -> None:
        depth = self._depth = self._depth - 1
        level = self._level
        if depth > level:
            return
        base = self._base
        assert self._parser is not None, "it calls"
        offset = self._parser.CurrentByteIndex
        if depth == level:
            self._boundary = self._finish(offset - base) + base
            self._start = -1
        else:
            if not self._isEmpty:
                if offset != self._boundary and not self._isFilled:
                    self._between(offset, depth + 1)
                self._boundary = self._buffer.index(b">", offset - base) + 1 + base
            self._isEmpty = False
            self._scopes.pop()
            if self._streamID is None:
                self._events.append(Closed(splitName(name)[1]))
            self._streamID, self._isFilled = None, False
        if depth == 0 and self._buffer[self._boundary - base :].strip(_WHITE):
            raise StreamError("not-well-formed", reason=_BEHIND)
        if depth <= 1:
            self._unit = self._boundary
            if depth and self._boundary - self._origin > RENEW_BYTES:
                raise _Renewed

    def _finish(self, index: int) -> int:
        """
        Report the stanza that ends at the tag at C{index}; return the offset behind it.
        """
        buffer = self._buffer
        start = self._start - self._base
        end = 0
        if self._isLeaf:
            # The event of <x/> is placed behind it, that of <x></x> before its end tag.
            end = rootTagEnd(buffer, start)
        if not end or buffer[end - 2] != 0x2F:
            end = buffer.index(b">", index) + 1
        stanza = self._slicer.stanza(
            bytes(buffer[start:end]), self._name, self._attributes, self._scopes[-1]
        )
        self._attributes = {}
        if self._streamID is None:
            self._events.append(stanza)
        else:
            self._events.append(Routed(self._streamID, stanza))
            self._isFilled = True
        return end
