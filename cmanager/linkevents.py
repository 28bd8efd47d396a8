# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a server can say on a link.  Layer 1: values, and what turns elements into
them; L{cmanager.multiplex} finds the elements, L{cmanager.link} acts on the values.

All forms that any release of the server uses are accepted at any time, because
nothing on the link tells which release it is (see C{docs/wire.rst}).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmanager.configuration import Configuration, TLSPolicy, configurationOf
from cmanager.errors import StreamError
from cmanager.stanza import (
    CONTENT_NAMESPACES,
    NS_STANZA_ERRORS,
    NS_STREAM_ERRORS,
    NS_STREAMS,
    NS_TLS,
    Routed,
    Stanza,
    Tag,
)

if TYPE_CHECKING:
    from twisted.words.xish.domish import Element

__all__ = [
    "Accepted",
    "CloseRequested",
    "Configuration",
    "Configured",
    "Features",
    "LinkEvent",
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
    "interpreted",
]


class StreamOpened:
    """
    The server's stream header.

    @ivar id: What is hashed in the handshake, or L{None}: the server refuses us.
    """

    __slots__ = ("id",)

    def __init__(self, id: str | None) -> None:
        self.id = id


class Features:
    """
    The server's stream features.

    @ivar starttls: STARTTLS is offered.
    @ivar required: And nothing else is accepted before it.
    """

    __slots__ = ("required", "starttls")

    def __init__(self, starttls: bool, required: bool) -> None:
        self.starttls = starttls
        self.required = required


class Proceed:
    """
    TLS starts behind this.
    """

    __slots__ = ()


class TLSFailure:
    """
    The server cannot start TLS.
    """

    __slots__ = ()


class Accepted:
    """
    The handshake was right.
    """

    __slots__ = ()


class Configured:
    """
    The server's configuration, which wants a result.
    """

    __slots__ = ("configuration", "iqID")

    def __init__(self, iqID: str | None, configuration: Configuration) -> None:
        self.iqID = iqID
        self.configuration = configuration


class RouteFailed:
    """
    The server could not take what was routed to it.

    @ivar routeID: The C{id} of our route, or L{None}.
    """

    __slots__ = ("condition", "routeID", "streamID")

    def __init__(self, streamID: str, routeID: str | None, condition: str) -> None:
        self.streamID = streamID
        self.routeID = routeID
        self.condition = condition


class Unreadable:
    """
    A route whose text is not what a client could be given.
    """

    __slots__ = ("streamID",)

    def __init__(self, streamID: str) -> None:
        self.streamID = streamID


class CloseRequested:
    """
    The server ends a session, and wants a result.

    @ivar error: What the client should be told, or L{None}.
    """

    __slots__ = ("error", "iqID", "streamID")

    def __init__(self, iqID: str | None, streamID: str, error: StreamError | None) -> None:
        self.iqID = iqID
        self.streamID = streamID
        self.error = error


class Replied:
    """
    The answer to one of our requests, whichever link that was sent on.

    @ivar condition: L{None} for a result.
    """

    __slots__ = ("condition", "iqID", "streamID")

    def __init__(self, iqID: str | None, streamID: str | None, condition: str | None) -> None:
        self.iqID = iqID
        self.streamID = streamID
        self.condition = condition


class ServerError:
    """
    The server's last words on this link.
    """

    __slots__ = ("condition", "text")

    def __init__(self, condition: str, text: str | None) -> None:
        self.condition = condition
        self.text = text


class StreamClosed:
    """
    The server's footer.
    """

    __slots__ = ()


LinkEvent = (
    StreamOpened
    | Features
    | Proceed
    | TLSFailure
    | Accepted
    | Configured
    | Routed
    | RouteFailed
    | Unreadable
    | CloseRequested
    | Replied
    | ServerError
    | StreamClosed
)


def interpreted(tag: Tag, children: list[Stanza]) -> LinkEvent | None:
    """
    Return what an element of the stream means, or L{None} if nothing to us.

    @param tag: Its start tag; not that of a route without an error.
    @param children: The elements in it.
    """
    event: LinkEvent | None = None
    if tag.namespace == NS_STREAMS:
        if tag.name == "features":
            event = _features(children)
        elif tag.name == "error":
            event = _serverError(children)
    elif tag.namespace == NS_TLS:
        if tag.name == "proceed":
            event = Proceed()
    elif tag.namespace in CONTENT_NAMESPACES:
        if tag.name == "iq":
            event = _iq(tag, children)
        elif tag.name == "route":
            event = _routeError(tag, children)
        elif tag.name == "handshake":
            event = Accepted()
    return event


def _features(children: list[Stanza]) -> Features:
    for child in children:
        if child.name == "starttls" and child.namespace == NS_TLS:
            return Features(True, _holds(child.element(), "required"))
    return Features(False, False)


def _serverError(children: list[Stanza]) -> ServerError:
    condition, text = "undefined-condition", None
    for child in children:
        if child.namespace == NS_STREAM_ERRORS:
            if child.name == "text":
                text = str(child.element())
            else:
                condition = child.name
    return ServerError(condition, text)


def _routeError(tag: Tag, children: list[Stanza]) -> RouteFailed | None:
    streamID = tag.attributes.get("streamid")
    if not streamID:
        return None
    return RouteFailed(streamID, tag.attributes.get("id"), _condition(children))


def _condition(children: list[Stanza]) -> str:
    for child in children:
        if child.name == "error":
            for element in child.element().elements():
                if element.uri == NS_STANZA_ERRORS and element.name != "text":
                    return str(element.name)
    return "undefined-condition"


def _iq(tag: Tag, children: list[Stanza]) -> LinkEvent | None:
    kind, iqID = tag.attributes.get("type"), tag.attributes.get("id")
    payload = next((child for child in children if child.name != "error"), None)
    name = payload.name if payload is not None else ""
    streamID = payload.attributes.get("id") if payload is not None and name == "session" else None
    if kind in ("result", "error"):
        return Replied(iqID, streamID, _condition(children) if kind == "error" else None)
    if kind == "set" and payload is not None:
        if name == "configuration":
            return Configured(iqID, configurationOf(payload.element()))
        if streamID:
            return _closeRequest(iqID, streamID, payload.element())
    return None


def _closeRequest(iqID: str | None, streamID: str, session: Element) -> CloseRequested | None:
    error: StreamError | None = None
    isClose = False
    for child in session.elements():
        isClose = isClose or child.name == "close"
        if child.name == "error" and child.uri == NS_STREAMS:
            condition, text = "undefined-condition", None
            for element in child.elements():
                if element.uri == NS_STREAM_ERRORS and element.name == "text":
                    text = str(element)
                elif element.uri == NS_STREAM_ERRORS:
                    condition = element.name
            error = StreamError(condition, text)
    return CloseRequested(iqID, streamID, error) if isClose else None


def _holds(element: Element, name: str) -> bool:
    return any(child.name == name for child in element.elements())
