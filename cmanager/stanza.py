# Copyright the cmanager authors.
# See LICENSE for details.

"""
The values that travel: what a stream is made of as it is read, a stanza above all,
and the texts a stream is opened, answered and closed with.  Layer 0; knows no transport, no
session and no server.

A L{Stanza} carries the bytes of one element as they will leave again.  They
stand on their own: every prefix they use is declared in them, and an element
without an C{xmlns} of its own is in the content namespace of whatever stream it
is put into, C{jabber:client} or C{jabber:connectionmanager}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from attrs import field, frozen

from cmanager.errors import LocalError, StanzaError, StreamError

if TYPE_CHECKING:
    from twisted.words.xish.domish import Element

NS_STREAMS = "http://etherx.jabber.org/streams"
NS_CLIENT = "jabber:client"
NS_SERVER = "jabber:server"
NS_LINK = "jabber:connectionmanager"
NS_MULTIPLEX = "http://jabber.org/protocol/connectionmanager"
NS_MULTIPLEX_ERRORS = NS_MULTIPLEX + "#errors"
NS_TLS = "urn:ietf:params:xml:ns:xmpp-tls"
NS_SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
NS_BIND = "urn:ietf:params:xml:ns:xmpp-bind"
NS_SESSION = "urn:ietf:params:xml:ns:xmpp-session"
NS_STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
NS_STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
NS_IQ_AUTH = "jabber:iq:auth"
NS_IQ_REGISTER = "jabber:iq:register"
NS_FEATURE_IQ_AUTH = "http://jabber.org/features/iq-auth"
NS_FEATURE_IQ_REGISTER = "http://jabber.org/features/iq-register"
NS_FEATURE_ROSTER_VERSION = "urn:xmpp:features:rosterver"
NS_SM = "urn:xmpp:sm:3"
NS_CSI = "urn:xmpp:csi:0"
NS_PING = "urn:xmpp:ping"

CONTENT_NAMESPACES = frozenset({"", NS_CLIENT, NS_SERVER, NS_LINK, NS_MULTIPLEX})
"""
Namespaces in which servers have been seen to hand out stanzas.  All mean
C{jabber:client} to a client; C{NS_MULTIPLEX} is how Openfire returns a message
that an old manager gave back without a namespace (pitfall C-17).
"""

STANZA_NAMES = frozenset({"iq", "message", "presence"})

FOOTER = b"</stream:stream>"


@frozen(slots=True)
class Tag:
    """
    The start tag of an element above the stanzas: a stream header, or a
    C{<route>} or C{<iq>} on a link.

    @ivar name: Local name.
    @ivar namespace: Namespace name, C{""} for none.
    @ivar prefix: Prefix as written, or L{None}.
    @ivar attributes: Unprefixed attributes by name, prefixed ones by
        C{prefix:name}; no namespace declarations.
    @ivar namespaces: Declarations of this tag, prefix (C{""} for the default) to
        namespace name.
    """

    name: str
    namespace: str
    prefix: str | None = None
    attributes: Mapping[str, str] = field(factory=dict)
    namespaces: Mapping[str, str] = field(factory=dict)


class Stanza:
    """
    One complete element at the level of the stanzas.

    Not only C{iq}, C{message} and C{presence}: whatever stands at that level,
    C{<auth/>} and C{<starttls/>} included.

    @ivar name: Local name.
    @ivar namespace: Namespace name of the root, C{""} for none.  The content
        namespace of the stream it came from counts as L{NS_CLIENT}.
    @ivar attributes: Attributes of the root as in L{Tag}.  Treat as frozen.
    @ivar data: The element, standing on its own; see the module's text.
    """

    __slots__ = ("attributes", "data", "name", "namespace")

    def __init__(self, name: str, namespace: str, attributes: dict[str, str], data: bytes) -> None:
        self.name = name
        self.namespace = namespace
        self.attributes = attributes
        self.data = data

    def __repr__(self) -> str:
        # Never the content: this ends up in logs.
        return f"<Stanza {{{self.namespace}}}{self.name} {len(self.data)} bytes>"

    def withAttributes(self, changes: Mapping[str, str | None]) -> Stanza:
        """
        Return this stanza with attributes of its root set, or taken off where
        the value is L{None}.  The rest of the bytes stays as it is.

        @param changes: By name as in C{attributes}.  A prefix must be declared in
            the stanza, or be C{xml}.
        @raise LocalError: The root tag is not in the serialisation profile; scanners
            only hand out stanzas whose root is.
        """
        end = rootTagEnd(self.data)
        tail = end - 2 if self.data[end - 2] == 0x2F else end - 1
        name = _NAME.match(self.data)
        position = name.end() if name else 0
        parts = [self.data[:position]]
        for attribute in _ATTRIBUTE.finditer(self.data, position, tail):
            if attribute.start() != position:
                break
            position = attribute.end()
            if attribute[1].decode() not in changes:
                parts.append(attribute[0])
        if position != tail:
            raise LocalError("a start tag is not in the serialisation profile")
        attributes = {key: value for key, value in self.attributes.items() if key not in changes}
        for key, value in changes.items():
            if value is not None:
                attributes[key] = value
                parts.append(b' %s="%s"' % (key.encode(), escapeAttribute(value)))
        parts.append(self.data[tail:])
        return Stanza(self.name, self.namespace, attributes, b"".join(parts))

    def element(self) -> Element:
        """
        Parse to a new domish tree in C{jabber:client}.  Costs tens of
        microseconds: for filters and for the rare ways, never for the plain one.

        @raise LocalError: C{data} is not one well-formed element.
        """
        from twisted.words.xish.domish import ParserError

        from cmanager.tree import ElementStream

        roots: list[Element] = []
        stream = ElementStream()
        stream.DocumentStartEvent = lambda root: None
        stream.DocumentEndEvent = lambda: None
        stream.ElementEvent = roots.append
        try:
            stream.parse(  # type: ignore[no-untyped-call]  # Twisted's
                b"<x xmlns='%s' xmlns:stream='%s'>%s</x>"
                % (NS_CLIENT.encode(), NS_STREAMS.encode(), self.data)
            )
        except ParserError as error:
            raise LocalError(f"a stanza is not well-formed: {error}") from None
        if len(roots) != 1:
            raise LocalError("a stanza holds other than one element")
        return roots[0]


class Routed(Stanza):
    """
    A stanza from a server for one session: what stood in a C{<route>}.

    Most pass without anybody asking for their attributes, so these are read then.

    @ivar streamID: The session's.
    """

    __slots__ = ("_attributes", "streamID")
    _attributes: dict[str, str] | None

    def __init__(self, streamID: str, stanza: Stanza) -> None:
        self.name = stanza.name
        self.namespace = stanza.namespace
        self.data = stanza.data
        self.streamID = streamID
        self._attributes = stanza.attributes

    @property
    def attributes(self) -> dict[str, str]:  # type: ignore[override]  # nobody writes them
        """
        See L{Stanza}.
        """
        found = self._attributes
        if found is None:
            found = self._attributes = _rootAttributes(self.data)
        return found


class RoutedText:
    """
    The text of a C{<route>} with nothing else in it.
    """

    __slots__ = ("streamID", "text")

    def __init__(self, streamID: str, text: str) -> None:
        self.streamID = streamID
        self.text = text

    def __repr__(self) -> str:
        return f"<RoutedText of {len(self.text)} characters>"


class Opened:
    """
    The start tag of an element above the level.
    """

    __slots__ = ("tag",)

    def __init__(self, tag: Tag) -> None:
        self.tag = tag

    def __repr__(self) -> str:
        return f"<Opened {self.tag.name}>"


class Text:
    """
    Character data in an element above the level, the outermost excepted.  White
    space alone is not reported.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"<Text of {len(self.text)} characters>"


class Closed:
    """
    The end of an element above the level.

    @ivar name: Its local name.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<Closed {self.name}>"


Event = Opened | Stanza | Text | RoutedText | Closed


_NAME = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb' ([^\s="/>]+)="([^"]*)"')
_TAG = re.compile(rb"""<[^"'>]*+(?>(?:"[^"]*+"[^"'>]*+|'[^']*+'[^"'>]*+)*)>""")
_TEXT_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_ATTRIBUTE_ESCAPES = {**_TEXT_ESCAPES, '"': "&quot;", "\t": "&#9;", "\n": "&#10;"}
_REFERENCE = re.compile("|".join(set(_ATTRIBUTE_ESCAPES.values())))
_REFERENCES = {written: character for character, written in _ATTRIBUTE_ESCAPES.items()}
# What is no character of XML at all becomes U+FFFD: one would end a link.
_ILLEGAL = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_TEXT_SPECIAL = re.compile(f"[&<>\r{_ILLEGAL}]")
_ATTRIBUTE_SPECIAL = re.compile(f'[&<>"\t\n\r{_ILLEGAL}]')


def rootTagEnd(data: bytes | bytearray, start: int = 0) -> int:
    """
    Return the offset just behind the tag that begins at C{start}.

    @raise LocalError: There is none, or not all of it.
    """
    match = _TAG.match(data, start)
    if match is None:
        raise LocalError("no tag where one was expected")
    return match.end()


def _rootAttributes(data: bytes) -> dict[str, str]:
    """
    Return the attributes of the root of an element in the serialisation profile.
    """
    found: dict[str, str] = {}
    match = _NAME.match(data)
    while match is not None and (match := _ATTRIBUTE.match(data, match.end())) is not None:
        name = match[1].decode()
        if name != "xmlns" and not name.startswith("xmlns:"):
            value = match[2].decode()
            if "&" in value:
                value = _REFERENCE.sub(lambda m: _REFERENCES[m.group()], value)
            found[name] = value
    return found


def escapeText(text: str) -> bytes:
    """
    Encode character data in the serialisation profile.
    """
    if _TEXT_SPECIAL.search(text):
        text = _TEXT_SPECIAL.sub(lambda m: _TEXT_ESCAPES.get(m.group(), "\ufffd"), text)
    return text.encode()


def escapeAttribute(value: str) -> bytes:
    """
    Encode an attribute value, to stand in double quotes, in the serialisation
    profile.
    """
    if _ATTRIBUTE_SPECIAL.search(value):
        value = _ATTRIBUTE_SPECIAL.sub(lambda m: _ATTRIBUTE_ESCAPES.get(m.group(), "\ufffd"), value)
    return value.encode()


@frozen(kw_only=True)
class StreamHeader:
    """
    The header that answers a client's (RFC 6120 section 4.7).

    @ivar to: The bare address of the client, if it named itself (section 4.7.2).
    """

    id: str
    from_: str | None
    to: str | None = None
    lang: str | None = "en"
    version: str | None = "1.0"

    @property
    def attributes(self) -> bytes:
        """
        Its attributes, namespaces excepted, each with a space before it.
        """
        return b"".join(
            b" " + name + b'="' + escapeAttribute(value) + b'"'
            for name, value in (
                (b"from", self.from_),
                (b"to", self.to),
                (b"id", self.id),
                (b"xml:lang", self.lang),
                (b"version", self.version),
            )
            if value is not None
        )

    def encode(self) -> bytes:
        """
        Return it with an XML declaration, as it opens a stream over TCP.
        """
        return _HEADER_BEGINS + self.attributes + b">"


_HEADER_BEGINS = (
    b'<?xml version="1.0" encoding="UTF-8"?><stream:stream'
    b' xmlns="' + NS_CLIENT.encode() + b'" xmlns:stream="' + NS_STREAMS.encode() + b'"'
)


def streamErrorText(error: StreamError) -> bytes:
    """
    Return the C{<stream:error>} for C{error}; the footer is L{FOOTER}.
    """
    ns = NS_STREAM_ERRORS.encode()
    text = b""
    if error.text is not None:
        text = b'<text xmlns="' + ns + b'" xml:lang="en">' + escapeText(error.text) + b"</text>"
    return (
        b"<stream:error><"
        + error.condition.encode()
        + b' xmlns="'
        + ns
        + b'"/>'
        + text
        + b"</stream:error>"
    )


def bounce(stanza: Stanza, error: StanzaError, *, swap: bool = True) -> bytes | None:
    """
    Return the error stanza that answers C{stanza}, without its payload, or L{None}
    where there must be none: errors and results are never answered (RFC 6120
    section 8.3.1), nor is anything but a message, a presence or an iq.

    @param swap: Address it to the sender (C{from} and C{to} change places).  Without
        it, C{to} is left out and C{from} is the stanza's C{to}: the answer to a client
        of ours, whose own address the answer need not name.
    """
    kind = stanza.attributes.get("type")
    if stanza.name not in STANZA_NAMES or stanza.namespace != NS_CLIENT or kind == "error":
        return None
    if stanza.name == "iq" and kind not in ("get", "set"):
        return None
    sender = stanza.attributes.get("to")
    receiver = stanza.attributes.get("from") if swap else None
    parts = ["<", stanza.name]
    for name, value in (("id", stanza.attributes.get("id")), ("from", sender), ("to", receiver)):
        if value is not None:
            parts += [" ", name, '="', escapeAttribute(value).decode(), '"']
    parts += [
        f' type="error"><error type="{error.type}">',
        f'<{error.condition} xmlns="{NS_STANZA_ERRORS}"/>',
    ]
    if error.text is not None:
        parts.append(f'<text xmlns="{NS_STANZA_ERRORS}">{escapeText(error.text).decode()}</text>')
    parts += ["</error></", stanza.name, ">"]
    return "".join(parts).encode()
