# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client that sends what it is told to, well-formed or not, and keeps each element that
comes back, in a form that can be compared.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.python.failure import Failure

from tests.acts.actor import PATIENCE_SECONDS, ActorError
from tests.certificates import authority

XML = "{http://www.w3.org/XML/1998/namespace}"
STREAMS = "{http://etherx.jabber.org/streams}"
END = "(end)"
UNORDERED = {
    "{http://jabber.org/protocol/disco#info}query",
    "{http://jabber.org/protocol/disco#items}query",
    "{http://jabber.org/protocol/rsm}set",
    "{jabber:x:data}x",
    "{urn:ietf:params:xml:ns:xmpp-sasl}mechanisms",
}
"""
Prosody writes what is in them in no order, each time another.
"""


def canonical(element: Element, default: str = "jabber:client", *, tagOnly: bool = False) -> str:
    """
    Write an element without what says nothing: prefixes, the order of attributes and of
    the children of L{UNORDERED} elements, how characters are escaped.

    @param default: The namespace in force.
    @param tagOnly: Leave out what is inside.
    """
    namespace, _, name = element.tag.rpartition("}")
    namespace = namespace[1:]
    attributes = sorted((key.replace(XML, "xml:"), value) for key, value in element.items())
    if namespace != default:
        attributes.insert(0, ("xmlns", namespace))
    tag = name + "".join(f" {key}={quoteattr(value)}" for key, value in attributes)
    inner = "" if tagOnly else escape(element.text or "")
    children = (
        []
        if tagOnly
        else [canonical(child, namespace) + escape(child.tail or "") for child in element]
    )
    inner += "".join(sorted(children) if element.tag in UNORDERED else children)
    return f"<{tag}>{inner}</{name}>" if inner else f"<{tag}/>"


def name(element: Element) -> str:
    """
    Return the local name of an element.
    """
    return element.tag.rpartition("}")[2]


class Wire(Protocol):
    """
    The client's end of a connection.

    @ivar received: All that came and was not yet taken: the start tag of each stream,
        elements, and L{END} for the server's end tag; before them the words by which
        L{take} knows them.
    @ivar isOver: Nothing more can come: the stream has ended, or the connection.
    """

    def __init__(self, reactor: Any) -> None:
        self.received: list[tuple[set[str], str, Element | None]] = []
        self.isOver = False
        self._ended: Deferred[None] = Deferred()
        self._reactor = reactor
        self._waiting: tuple[set[str], Deferred[None]] | None = None
        self._reset()

    def _reset(self) -> None:
        self._parser = ElementTree.XMLPullParser(["start", "end"])
        self._depth = 0

    def send(self, xml: str) -> None:
        """
        Write something.
        """
        assert self.transport is not None
        self.transport.write(xml.encode())

    def restart(self) -> None:
        """
        What comes now is a new stream.
        """
        self._reset()

    def secure(self, domain: str) -> None:
        """
        Begin TLS.
        """
        trust = trustRootFromCertificates([Certificate.loadPEM(authority().pem)])
        self._reset()
        self.transport.startTLS(optionsForClientTLS(domain, trustRoot=trust))

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol}.
        """
        self._parser.feed(data)
        for event, element in self._parser.read_events():
            if event == "start":
                self._depth += 1
                if self._depth == 1:
                    self._came({"stream"}, canonical(element, tagOnly=True), element)
                continue
            self._depth -= 1
            if self._depth == 0:
                self.isOver = True
                self._came({END}, END, None)
            elif self._depth == 1:
                words = {name(element), f"#{element.get('id')}"}
                self._came(words, canonical(element), element)

    def connectionLost(self, reason: Failure | None = None) -> None:
        """
        See L{Protocol}.
        """
        self.isOver = True
        self._notify()
        self._ended.callback(None)

    def _came(self, words: set[str], text: str, element: Element | None) -> None:
        self.received.append((words, text, element))
        self._notify()

    def _has(self, words: set[str]) -> bool:
        return self.isOver or any(words & found[0] for found in self.received)

    def _notify(self) -> None:
        if self._waiting is not None and self._has(self._waiting[0]):
            waiting, self._waiting = self._waiting[1], None
            waiting.callback(None)

    def _until(self, words: set[str]) -> Deferred[None]:
        assert self._waiting is None
        if self._has(words):
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting = words, waiting

        def late(_: object, seconds: float) -> Any:
            self._waiting = None
            raise ActorError(f"no {words} in {seconds} s, but {[f[1] for f in self.received]}")

        return waiting.addTimeout(PATIENCE_SECONDS, self._reactor, late)

    async def take(self, *words: str) -> list[tuple[str, Element | None]]:
        """
        Wait for an element, or for the end of the connection, and return what came up to it.

        @param words: Its local name, or C{#} and its id; or those of others that will do.
        """
        await self._until(set(words))
        taken = []
        while self.received:
            found, text, element = self.received.pop(0)
            taken.append((text, element))
            if found & set(words):
                break
        return taken

    async def close(self) -> None:
        """
        End the connection.
        """
        if self.connected:
            self.transport.abortConnection()
        await self._ended


async def dial(reactor: Any, host: str, port: int, source: str | None = None) -> Wire:
    """
    Connect.

    @param source: The address to come from.
    """
    wire = Wire(reactor)
    bound = None if source is None else (source, 0)
    await connectProtocol(TCP4ClientEndpoint(reactor, host, port, bindAddress=bound), wire)
    return wire
