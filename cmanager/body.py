# Copyright the cmanager authors.
# See LICENSE for details.

"""
The C{<body/>} of BOSH, in which elements travel over HTTP: read from a request, written
for a response (XEP-0124 sections 6 and 7, XEP-0206).  Layer 1, sans-I/O; knows neither
HTTP nor the order of requests, which is L{cmanager.window}'s part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from attrs import field, frozen

from cmanager.errors import BOSHError, StreamError
from cmanager.excerpt import STREAM_ELEMENTS, inClientNamespace
from cmanager.framing import Scanner
from cmanager.profile import canonicalise
from cmanager.stanza import (
    CONTENT_NAMESPACES,
    NS_CLIENT,
    NS_STREAMS,
    Closed,
    Event,
    Opened,
    Stanza,
    Tag,
    escapeAttribute,
)

NS_BODY = "http://jabber.org/protocol/httpbind"
NS_XBOSH = "urn:xmpp:xbosh"

MAX_RID = 2**53 - 1
"""
The largest integer all of JavaScript's numbers hold (XEP-0124 section 14.1).
"""

MAX_NUMBER = 2**31 - 1
MAX_NAME_CHARACTERS = 1023
MAX_ADDRESS_CHARACTERS = 3071
MAX_TOKEN_CHARACTERS = 64
"""
Of C{sid}, C{key}, C{newkey}, C{xml:lang} and the like.
"""

LEGACY_STATUS = {"bad-request": 400, "policy-violation": 403, "item-not-found": 404}
"""
What clients from before version 1.6 are told instead (section 17.1).
"""

STREAM_CONDITION = "remote-stream-error"
"""
The condition of a body that ends a session with a C{<stream:error/>} in it.
"""

BINDING_CONDITIONS = frozenset(
    {
        "host-gone",
        "host-unknown",
        "improper-addressing",
        "internal-server-error",
        "policy-violation",
        "remote-connection-failed",
        "system-shutdown",
    }
)
"""
Of the errors of streams those that section 17.2 knows by the same name.
"""

_CONTENT = CONTENT_NAMESPACES | {NS_BODY}
_STREAM_ERROR = re.compile(rb'<([a-z-]+) xmlns="urn:ietf:params:xml:ns:xmpp-streams"')
_MARK = NS_BODY.encode()
_VERSION = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,4}))?")
# Who reads a response as HTML would run what somebody has sent to somebody.
_MEDIA_TYPE = re.compile(r"(?:text/(?:xml|plain)|application/xml)(?: *; *charset=\"?utf-8\"?)?")
_TRUTH = {None: False, "false": False, "0": False, "true": True, "1": True}
_HEADER_NAMESPACES = {"": NS_CLIENT, "stream": NS_STREAMS}
_TYPES = {None: False, "error": False, "terminate": True}


@frozen(kw_only=True)
class Body:
    """
    What a client has sent in one request.  Its C{repr} tells no secret.

    @ivar size: Bytes of the request.
    @ivar ver: Major and minor version of BOSH, L{None} if the client named none.
    @ivar content: The C{Content-Type} it wants in responses.  L{None} if it has no wish,
        or one that is not safe to grant.
    @ivar isTerminate: It ends the session.
    @ivar condition: Why, if it is for an error.
    @ivar pause: Seconds for which it will be away.
    @ivar isRestart: It wants a new stream (XEP-0206 section 6).
    @ivar xmppVersion: The C{version} of its stream's header.
    @ivar children: The elements in it, as from a stream over TCP.
    @ivar error: What is wrong with what stands behind them.
    """

    rid: int
    size: int = 0
    sid: str | None = field(default=None, repr=False)
    to: str | None = None
    from_: str | None = None
    lang: str | None = None
    hold: int | None = None
    wait: int | None = None
    ver: tuple[int, int] | None = None
    content: str | None = None
    ack: int | None = None
    key: str | None = field(default=None, repr=False)
    newkey: str | None = field(default=None, repr=False)
    isTerminate: bool = False
    condition: str | None = None
    pause: int | None = None
    isRestart: bool = False
    xmppVersion: str | None = None
    children: tuple[Stanza, ...] = ()
    error: StreamError | None = None

    @property
    def isPoll(self) -> bool:
        """
        It asks for nothing but a response.
        """
        return not (
            self.children
            or self.error
            or self.isRestart
            or self.isTerminate
            or self.pause is not None
        )

    def header(self, first: Body | None = None) -> Tag:
        """
        Return the stream header that it stands for.

        @param first: The request that made the session: holds for what a restart does
            not say again.
        """
        if first is None:
            first = self
        wanted = {
            "to": self.to or first.to,
            "from": self.from_ or first.from_,
            "xml:lang": self.lang or first.lang,
            # COMPAT clients older than XEP-0206: they have no other way to log in.
            "version": self.xmppVersion or first.xmppVersion or "1.0",
        }
        attributes = {name: value for name, value in wanted.items() if value is not None}
        return Tag("stream", NS_STREAMS, "stream", attributes, _HEADER_NAMESPACES)


def readBody(
    data: bytes,
    limit: int,
    stanzaLimit: int,
    *,
    limitOf: Callable[[str | None], int] | None = None,
    maxDepth: int = 128,
    maxAttributes: int = 64,
    maxNamespaces: int = 32,
) -> Body:
    """
    Read a request.  What is wrong inside of the body is the stream's affair and not that of
    BOSH: it is noted in C{error} and meets the session in the order of requests.

    @param data: All of it.
    @param limit: Most bytes it may have.
    @param stanzaLimit: Most bytes an element in it, or its start tag, may have.
    @param limitOf: Says how many an element may have instead, no less, by the sid.
    @raise BOSHError: C{bad-request}, or C{policy-violation} for one that is too large.
    """
    if len(data) > limit:
        raise BOSHError("policy-violation", "a request is too large")
    scanner = Scanner(
        1,
        stanzaLimit,
        maxDepth=maxDepth,
        maxAttributes=maxAttributes,
        maxNamespaces=maxNamespaces,
        content=_CONTENT,
    )
    events: list[Event] = []
    error: StreamError | None = None
    try:
        # The first part holds the start tag, and no element that is too large.
        for part in filter(None, (data[:stanzaLimit], data[stanzaLimit:])):
            events += scanner.feed(part)
            if limitOf is not None and events and isinstance(events[0], Opened):
                scanner.limit = limitOf(events[0].tag.attributes.get("sid"))
    except StreamError as failure:
        events += scanner.completed
        error = failure
    if not events or not isinstance(events[0], Opened):
        raise BOSHError("bad-request", "a request without a body")
    if error is None and not isinstance(events[-1], Closed):
        error = StreamError("not-well-formed", reason="a body without an end")
    children = tuple(_atHome(event) for event in events if isinstance(event, Stanza))
    return _readTag(events[0].tag, len(data), children, error)


def _atHome(stanza: Stanza) -> Stanza:
    """
    Take the namespace of the body off a child that names it: to XEP-0206 section 2 it
    means C{jabber:client}.
    """
    if _MARK not in stanza.data:
        return stanza
    data = canonicalise(stanza.data, {}, drop=frozenset((NS_BODY,)))
    namespace = stanza.namespace
    if namespace == NS_BODY and data[len(stanza.name) + 1 : len(stanza.name) + 2] in b" />":
        namespace = NS_CLIENT
    return Stanza(stanza.name, namespace, stanza.attributes, data)


def _readTag(tag: Tag, size: int, children: tuple[Stanza, ...], error: StreamError | None) -> Body:
    if tag.name != "body" or tag.namespace != NS_BODY:
        raise BOSHError("bad-request", "a request that is no body of BOSH")
    rid = _number(tag, "rid", 1, MAX_RID)
    if rid is None:
        raise BOSHError("bad-request", "a request without a rid")
    content = _text(tag, "content", MAX_NAME_CHARACTERS)
    return Body(
        rid=rid,
        size=size,
        sid=_text(tag, "sid"),
        to=_text(tag, "to", MAX_NAME_CHARACTERS),
        from_=_text(tag, "from", MAX_ADDRESS_CHARACTERS),
        lang=_text(tag, "xml:lang"),
        hold=_number(tag, "hold"),
        wait=_number(tag, "wait"),
        ver=_version(tag),
        content=content if content and _MEDIA_TYPE.fullmatch(content.lower()) else None,
        ack=_number(tag, "ack", 0, MAX_RID),
        key=_text(tag, "key"),
        newkey=_text(tag, "newkey"),
        isTerminate=_choice("type", tag.attributes.get("type"), _TYPES),
        condition=_text(tag, "condition"),
        pause=_number(tag, "pause", 1),
        isRestart=_choice("restart", _xbosh(tag, "restart"), _TRUTH),
        xmppVersion=_xbosh(tag, "version"),
        children=children,
        error=error,
    )


def _text(tag: Tag, name: str, most: int = MAX_TOKEN_CHARACTERS) -> str | None:
    value = tag.attributes.get(name)
    if value is not None and len(value) > most:
        raise BOSHError("bad-request", f"the {name} of a body is too long")
    return value


def _number(tag: Tag, name: str, least: int = 0, most: int = MAX_NUMBER) -> int | None:
    value = tag.attributes.get(name)
    if value is None:
        return None
    # 2**53 has 16 digits; there are digits that are none of ASCII.
    if len(value) > 16 or not (value.isascii() and value.isdigit()):
        raise BOSHError("bad-request", f"the {name} of a body is no number")
    number = int(value)
    if not least <= number <= most:
        raise BOSHError("bad-request", f"the {name} of a body is out of range")
    return number


def _version(tag: Tag) -> tuple[int, int] | None:
    value = tag.attributes.get("ver")
    if value is None:
        return None
    match = _VERSION.fullmatch(value)
    if match is None:
        raise BOSHError("bad-request", "the ver of a body is no version")
    return int(match[1]), int(match[2] or 0)


def _choice(name: str, value: str | None, choices: Mapping[str | None, bool]) -> bool:
    try:
        return choices[value]
    except KeyError:
        raise BOSHError("bad-request", f"the {name} of a body is none there is") from None


def _xbosh(tag: Tag, name: str) -> str | None:
    """
    Return an attribute in the namespace of XEP-0206, whatever its prefix.
    """
    for prefix, uri in tag.namespaces.items():
        if uri == NS_XBOSH and prefix:
            value = _text(tag, f"{prefix}:{name}")
            if value is not None:
                return value
    return None


# Responses.

_BEGIN = f'<body xmlns="{NS_BODY}"'.encode()
_EMPTY = _BEGIN + b"/>"
_XMLNS_STREAM = f' xmlns:stream="{NS_STREAMS}"'.encode()
_XMLNS_XBOSH = f' xmlns:xmpp="{NS_XBOSH}"'.encode()


def writeBody(
    children: Sequence[bytes] = (), attributes: Mapping[str, str | int] | None = None
) -> bytes:
    """
    Return a response.

    @param children: Elements as they stand in a stream over TCP.
    @param attributes: By name; the prefix C{xmpp} is that of XEP-0206.
    """
    if not (attributes or children):
        return _EMPTY
    parts = [_BEGIN]
    if attributes:
        if any(name.startswith("xmpp:") for name in attributes):
            parts.append(_XMLNS_XBOSH)
        for name, value in attributes.items():
            parts.append(b' %s="%s"' % (name.encode(), escapeAttribute(str(value))))
    elements = [inClientNamespace(child) for child in children]
    if any(element.startswith(STREAM_ELEMENTS) for element in elements):
        parts.insert(1, _XMLNS_STREAM)
    if not elements:
        parts.append(b"/>")
    else:
        parts.append(b">")
        parts += elements
        parts.append(b"</body>")
    return b"".join(parts)


def bindingCondition(last: bytes) -> str | None:
    """
    Return the terminal binding condition for the end of a stream (XEP-0206 section 8).

    @param last: The element at its end, as for L{writeBody}; mostly an error, or nothing.
    """
    match = _STREAM_ERROR.search(last)
    if match is None:
        return None
    condition = match[1].decode()
    return condition if condition in BINDING_CONDITIONS else STREAM_CONDITION


def writeEnd(
    condition: str | None = None, *, isLegacy: bool = False, children: Sequence[bytes] = ()
) -> tuple[int, bytes]:
    """
    Return the status and the content of a response that ends a session, or says that there
    is none.

    @param condition: A terminal binding condition; L{None} if nothing is wrong.
    @param isLegacy: The client is one that goes by the status (section 17.1).
    @param children: As for L{writeBody}.
    """
    status = LEGACY_STATUS.get(condition or "")
    if isLegacy and status is not None:
        return status, b""
    attributes = {"type": "terminate"}
    if condition is not None:
        attributes["condition"] = condition
    return 200, writeBody(children, attributes)
