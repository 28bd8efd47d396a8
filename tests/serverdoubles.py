# Copyright the cmanager authors.
# See LICENSE for details.

"""
A manager and its clients, scripted, before the embedded server.  Uses nothing of the
front.
"""

from __future__ import annotations

import base64
import hashlib

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish.domish import Element, elementStream
from wokkel.generic import stripNamespace

from cmanager.server.accounts import Bounds, Store
from cmanager.server.multiplexer import Link
from cmanager.server.service import Server, ServerOptions

SECRET = "s3cret"
NOON = 1_700_000_000.0
NS = "http://jabber.org/protocol/connectionmanager"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"


def fragment(text: str) -> Element:
    """
    Parse one element of a client's.
    """
    roots: list[Element] = []
    stream = elementStream()
    stream.DocumentStartEvent = lambda root: None
    stream.DocumentEndEvent = lambda: None
    stream.ElementEvent = roots.append
    stream.parse(
        b"<x xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>%s</x>"
        % text.encode()
    )
    (root,) = roots
    return root


class Transport(StringTransport):
    """
    A transport that can start TLS, and tells what became of it.
    """

    aborted = False
    context: object = None

    def abortConnection(self) -> None:
        self.aborted = True

    def startTLS(self, context: object) -> None:
        self.context = context


class Peer:
    """
    A manager's end of one link.

    @ivar elements: What came in on the link that is not routed to a client.
    @ivar headers: Stream headers that came in.
    @ivar ended: The server has ended the stream.
    """

    def __init__(self, server: Server, address: str = "cm/one", *, proven: bool = True) -> None:
        link = server.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 4711))
        assert link is not None
        self.server = server
        self.link: Link = link
        self.address = address
        self.transport = Transport()
        self.elements: list[Element] = []
        self.headers: list[Element] = []
        self.clients: dict[str, Client] = {}
        self.ended = False
        self.raw = b""
        self.restart()
        link.makeConnection(self.transport)
        if proven:
            self.open()
            self.prove()
            self.pump()
            self.elements.clear()

    def restart(self) -> None:
        """
        Expect a new stream.
        """
        self._stream = elementStream()
        self._stream.DocumentStartEvent = self.headers.append
        self._stream.ElementEvent = self._came
        self._stream.DocumentEndEvent = self._end

    def _end(self) -> None:
        self.ended = True

    def _came(self, element: Element) -> None:
        client = self.clients.get(element.getAttribute("streamid", ""))
        if element.name == "route" and element.getAttribute("type") is None and client:
            client.routed(element)
        else:
            self.elements.append(element)

    def open(
        self, attributes: str | None = None, namespace: str = "jabber:connectionmanager"
    ) -> None:
        """
        Send a stream header.
        """
        if attributes is None:
            attributes = f' to="{self.address}"'
        self.send(
            f'<stream:stream xmlns:stream="http://etherx.jabber.org/streams" xmlns="{namespace}"'
            f'{attributes} version="1.0">'
        )

    def prove(self, secret: str = SECRET) -> None:
        """
        Send the handshake.
        """
        self.pump()
        digest = hashlib.sha1((self.headers[-1]["id"] + secret).encode()).hexdigest()
        self.send(f"<handshake>{digest}</handshake>")

    def send(self, xml: str | bytes) -> None:
        """
        Send anything.
        """
        self.link.dataReceived(xml.encode() if isinstance(xml, str) else xml)

    def pump(self) -> None:
        """
        Read what the server has written.
        """
        data = self.transport.value()
        self.transport.clear()
        self.raw += data
        if data:
            self._stream.parse(data)

    def take(self) -> list[Element]:
        """
        Return what came in for the manager itself.
        """
        self.pump()
        taken, self.elements = self.elements, []
        return taken

    def session(self, action: str, id: str | None = "s1", iqID: str = "q1") -> None:
        """
        Send a management iq.
        """
        attribute = "" if id is None else f' id="{id}"'
        self.send(
            f'<iq type="set" id="{iqID}" to="localhost" from="{self.address}">'
            f'<session xmlns="{NS}"{attribute}>{action}</session></iq>'
        )

    def route(self, id: str, xml: str, routeID: str = "r1") -> None:
        """
        Send an element of a client's.
        """
        self.send(
            f'<route to="localhost" from="{self.address}" streamid="{id}" id="{routeID}">{xml}</route>'
        )

    def lose(self) -> None:
        """
        The connection breaks.
        """
        self.link.connectionLost(Failure(ConnectionDone()))


class Client:
    """
    One client behind scripted links.
    """

    def __init__(self, peers: list[Peer], id: str, *, created: bool = True) -> None:
        self.peers = peers
        self.id = id
        self.received: list[Element] = []
        self.texts = 0
        for peer in peers:
            peer.clients[id] = self
        if created:
            peers[0].session('<create><host name="a" address="192.0.2.7"/></create>', id)
            for peer in peers:
                peer.take()

    def routed(self, route: Element) -> None:
        """
        A route came.
        """
        child = route.firstChildElement()
        if child is None:
            self.texts += 1
            child = fragment(str(route))
        self.received.append(stripNamespace(child) if child.name != "error" else child)

    def send(self, xml: str) -> None:
        """
        Send an element.
        """
        self.peers[0].route(self.id, xml)

    def take(self) -> list[Element]:
        """
        Return what came in.
        """
        for peer in self.peers:
            peer.pump()
        taken, self.received = self.received, []
        return taken

    def ask(self, xml: str) -> Element:
        """
        Send a request and return the one answer.
        """
        self.take()
        self.send(xml)
        (answer,) = self.take()
        return answer

    def plain(self, name: str, password: str) -> Element:
        """
        Log in.
        """
        token = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        return self.ask(f'<auth xmlns="{SASL}" mechanism="PLAIN">{token}</auth>')

    def bind(self, resource: str | None) -> Element:
        """
        Bind.
        """
        wanted = "" if resource is None else f"<resource>{resource}</resource>"
        return self.ask(f'<iq type="set" id="b"><bind xmlns="{BIND}">{wanted}</bind></iq>')


def told(elements: list[Element]) -> list[tuple[str | None, ...]]:
    """
    Return name, type, sender and receiver of stanzas.
    """
    return [
        (e.name, e.getAttribute("type"), e.getAttribute("from"), e.getAttribute("to"))
        for e in elements
    ]


def condition(stanza: Element) -> str:
    """
    Return the condition of an error stanza.
    """
    (error,) = [child for child in stanza.elements() if child.name == "error"]
    first = error.firstChildElement()
    assert first is not None
    name: str = first.name
    return name


class ServerTestCase(SynchronousTestCase):
    """
    A server with the accounts romeo and juliet, and one link.
    """

    bounds: Bounds | None = None

    def setUp(self) -> None:
        """
        Start.
        """
        self.clock = Clock()
        self.clock.advance(NOON)
        self.serve()

    def serve(self, **changes: object) -> None:
        """
        Begin anew with other options.
        """
        options: dict[str, object] = {"secret": SECRET, "endpoint": None, "seed": 1}
        store = Store(bounds=self.bounds)
        self.server = Server(self.clock, ServerOptions(**(options | changes)), store)  # type: ignore[arg-type] # by name
        self.server.addAccount("romeo", "r0meo")
        self.server.addAccount("juliet", "jul1et")
        self.peer = Peer(self.server)

    def client(self, name: str, resource: str = "a", *, available: bool = False) -> Client:
        """
        Return a client that has bound.
        """
        password = {"romeo": "r0meo", "juliet": "jul1et"}[name]
        client = Client([self.peer], f"{name}{resource}")
        self.assertEqual(client.plain(name, password).name, "success")
        self.assertEqual(client.bind(resource)["type"], "result")
        if available:
            client.send("<presence/>")
            self.quiet()
        return client

    def quiet(self) -> None:
        """
        Forget what came in so far.
        """
        for client in list(self.peer.clients.values()):
            client.take()
        self.peer.take()
