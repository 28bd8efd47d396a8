# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.listeners}: whole listeners, from the first byte to a stream.
"""

from __future__ import annotations

import gc
import ssl
import weakref
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.plugin import IPlugin
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from cmanager.body import NS_BODY
from cmanager.door import HTTP_1_1
from cmanager.errors import ConfigError
from cmanager.interfaces import IListener
from cmanager.limits import Refused
from cmanager.listeners import AnyListener, HTTPListener, HTTPSListener
from cmanager.settings import LimitSettings, ListenerSettings, TLSSettings, Transports
from cmanager.tls import XMPP_CLIENT, CertificateStore, ServerTLS
from tests.bosh import post
from tests.suite import HEADER, Hub, storeIn
from tests.test_records import TLSClient
from tests.test_web import Response, responses
from tests.websockets import Judge, headers, text
from tests.wires import Transport

NS = NS_BODY.encode()
CLIENT = "192.0.2.1"
PROXY = "198.51.100.9"
OPEN = b"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example' version='1.0'/>"
HOST_META = b"GET /.well-known/host-meta HTTP/1.1\r\nHost: a\r\n\r\n"
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
LINE = b"PROXY TCP4 192.0.2.77 192.0.2.9 4711 5222\r\n"


def upgrade(*more: tuple[bytes, bytes]) -> bytes:
    """
    Return a WebSocket's request.
    """
    lines = b"".join(b"%b: %b\r\n" % header for header in (*headers(), *more))
    return b"GET /ws HTTP/1.1\r\n" + lines + b"\r\n"


class ListenerCase(TestCase):
    """
    A listener in memory.
    """

    listener: Any = AnyListener()
    settings: dict[str, Any] = {}

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.hub: Any = Hub(self.reactor, storeIn(Path(self.mktemp())))
        self.hub.webURLs = ("wss://a.example/ws",)

    def factory(self, **settings: Any) -> Any:
        """
        Start the listener, and return its factory.
        """
        values = {"transport": Transports.TWISTED, **self.settings, **settings}
        chosen = ListenerSettings(self.listener.name, "tcp:1", **values)
        self.listener.service(self.reactor, chosen, self.hub).startService()
        return self.reactor.tcpServers[-1][1]

    def connect(self, address: str = CLIENT, **settings: Any) -> None:
        """
        Connect a client.
        """
        self.protocol = self.factory(**settings).buildProtocol(None)
        self.transport = self.wire(IPv4Address("TCP", address, 5000))
        self.addCleanup(self.transport.remove)
        self.transport.connect(self.protocol)

    def wire(self, address: IPv4Address) -> Any:
        """
        Return what the connection is to be.
        """
        return Transport(address)

    def receive(self, *parts: bytes) -> None:
        """
        Let the client send, one read each.
        """
        for part in parts:
            self.transport.arrive(part)

    def sent(self) -> bytes:
        """
        Return what was sent since the last call.
        """
        value = self.transport.value()
        self.transport.clear()
        return value

    def secure(self, alpn: bytes | None = None) -> TLSClient:
        """
        Shake hands.
        """
        client = TLSClient(alpn=None if alpn is None else [alpn])
        data = client.exchange()
        while data:
            self.receive(data)
            data = client.exchange(self.sent())
        return client

    def got(self) -> Response:
        """
        Return the response a client has got.
        """
        (response,) = responses(self.sent())
        return response

    def lose(self) -> None:
        """
        Lose the connection.
        """
        self.transport.lose()

    @property
    def stream(self) -> Any:
        """
        The only stream there is.
        """
        (session,) = self.hub.sessions
        return session.stream


class PluginTests(ListenerCase):
    """
    The plugins.
    """

    def test_interfaces(self) -> None:
        """
        They are listeners.
        """
        for name, listener in (
            ("http", HTTPListener()),
            ("https", HTTPSListener()),
            ("any", AnyListener()),
        ):
            verifyObject(IListener, listener)
            verifyObject(IPlugin, listener)
            self.assertEqual(listener.name, name)

    def test_noCertificate(self) -> None:
        """
        Where TLS ends here, a certificate is needed.
        """
        self.hub.tls = CertificateStore(TLSSettings(certificates="/nowhere"), Clock())
        self.listener = HTTPListener()
        self.factory()
        for self.listener in (HTTPSListener(), AnyListener()):
            self.assertRaises(ConfigError, self.factory)

    def test_noFiles(self) -> None:
        """
        So are the files that are to be served.
        """
        self.assertRaises(ConfigError, self.factory, files="/nowhere")


class AnyTests(ListenerCase):
    """
    One port for everything.
    """

    def test_startTLS(self) -> None:
        """
        XMPP with STARTTLS.
        """
        self.connect()
        self.receive(HEADER)
        self.assertEqual(self.stream.transportName, "tcp")
        self.assertTrue(self.stream.canStartTLS)
        self.stream.startTLS(b"<proceed/>")
        self.assertEqual(self.sent(), b"<proceed/>")
        client = self.secure()
        self.receive(client.send(HEADER))
        self.assertTrue(self.stream.secure)
        opened = ("opened", "a.example")
        self.assertEqual(self.hub.sessions[0].seen, [opened, ("secured", None), opened])

    def test_directTLS(self) -> None:
        """
        XMPP in TLS, with its application protocol or none.
        """
        for alpn in (XMPP_CLIENT, None):
            self.hub.sessions.clear()
            self.connect()
            client = self.secure(alpn)
            self.receive(client.send(HEADER))
            self.assertEqual((self.stream.transportName, self.stream.secure), ("tls", True))
            self.assertEqual(self.hub.sessions[0].seen, [("opened", "a.example")])
            self.stream.write(b"<features/>")
            client.exchange(self.sent())
            self.assertEqual(client.received, b"<features/>")

    def test_webSocket(self) -> None:
        """
        WebSocket in TLS, with the application protocol of HTTP or none.
        """
        for alpn in (HTTP_1_1, None):
            self.hub.sessions.clear()
            self.connect()
            client = self.secure(alpn)
            self.receive(client.send(upgrade()))
            self.assertEqual((self.stream.transportName, self.stream.secure), ("websocket", True))
            self.receive(client.send(text(OPEN)))
            self.assertEqual(self.hub.sessions[0].seen, [("opened", "a.example")])
            self.stream.write(b"<features/>")
            client.exchange(self.sent())
            judge = Judge()
            judge.feed(client.received)
            self.assertIn(b"101", judge.response)
            self.assertEqual(len(judge.frames), 1)

    def test_bosh(self) -> None:
        """
        BOSH, in TLS and without.  A session goes on by whatever listener a request comes in.
        """
        self.connect()
        client = self.secure(HTTP_1_1)
        self.receive(client.send(post(b"<body xmlns='%s' rid='1' to='a.example'/>" % NS)))
        session = self.hub.sessions[0]
        self.assertEqual((session.stream.transportName, session.stream.secure), ("bosh", True))
        self.assertEqual(session.seen, [("opened", "a.example")])
        self.connect(bosh="/x")
        client = self.secure()
        last = b"<body xmlns='%s' rid='2' sid='%s' type='terminate'/>"
        data = last % (NS, session.stream.sid.encode())
        self.receive(client.send(post(data, path="/x")))
        self.assertEqual(session.seen[1:], [("closed", None), ("transportLost", None)])
        client.exchange(self.sent())
        self.assertIn(b'type="terminate"', client.received)
        self.connect()
        self.receive(post(b"<body xmlns='%s' rid='1'/>" % NS))
        self.assertFalse(self.hub.sessions[-1].stream.secure)

    def test_clearWebSocket(self) -> None:
        """
        WebSocket without TLS, which is not taken for more than it is.
        """
        self.connect()
        self.receive(upgrade(), text(OPEN))
        self.assertFalse(self.stream.secure or self.stream.canStartTLS)
        self.assertTrue(self.stream.requiresTLS)
        self.assertEqual(self.hub.sessions[0].seen, [("opened", "a.example")])

    def test_http(self) -> None:
        """
        HTTP, in TLS or not.
        """
        self.connect()
        self.receive(HOST_META)
        self.assertEqual(self.got().code, 200)
        self.connect()
        client = self.secure(HTTP_1_1)
        self.receive(client.send(HOST_META))
        client.exchange(self.sent())
        (response,) = responses(client.received)
        self.assertIn(b"wss://a.example/ws", response.body)

    def test_keptAlive(self) -> None:
        """
        A WebSocket may begin on a connection that has been of use before.
        """
        self.connect()
        client = self.secure()
        for _ in range(3):
            self.receive(client.send(HOST_META))
        client.exchange(self.sent())
        self.assertEqual([r.code for r in responses(client.received)], [200] * 3)
        self.receive(client.send(upgrade()), client.send(text(OPEN)))
        self.assertEqual(self.hub.sessions[0].seen, [("opened", "a.example")])
        self.lose()
        self.assertEqual(self.hub.sessions[0].seen[-1], ("transportLost", None))


class PathTests(ListenerCase):
    """
    What is where, is the configuration's business.
    """

    def code(self, path: bytes, **settings: Any) -> int:
        """
        Return what is said of a path.
        """
        self.connect(**settings)
        self.receive(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)
        return self.got().code

    def test_webSocket(self) -> None:
        """
        WebSocket is where it is said to be, or nowhere.
        """
        self.assertEqual(self.code(b"/ws"), 400)
        self.assertEqual(self.code(b"/x/y/", websocket="/x/y"), 400)
        self.assertEqual(self.code(b"/ws", websocket="/x"), 404)
        self.assertEqual(self.code(b"/ws", websocket=""), 404)
        self.assertEqual(self.code(b"/", websocket="", bosh=""), 404)

    def test_bosh(self) -> None:
        """
        So is BOSH.
        """
        self.assertEqual(self.code(b"/http-bind"), 405)
        self.assertEqual(self.code(b"/x", bosh="/x"), 405)
        self.assertEqual(self.code(b"/http-bind", bosh="/x"), 404)
        self.assertEqual(self.code(b"/http-bind", bosh=""), 404)

    def test_hostMeta(self) -> None:
        """
        Where nothing is public, there is nothing to tell.
        """
        self.hub.webURLs = ()
        for suffix in (b"", b".json"):
            self.assertEqual(self.code(b"/.well-known/host-meta" + suffix), 404)

    def test_files(self) -> None:
        """
        All other paths may lead to files.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "index.html").write_text("<p>")
        (folder / "ws").write_text("not reached")
        self.assertEqual(self.code(b"/", files=str(folder)), 200)
        self.assertEqual(self.code(b"/ws", files=str(folder)), 400)


class HTTPTests(ListenerCase):
    """
    Behind a proxy that ends TLS.
    """

    listener = HTTPListener()
    settings = {"trusted": (PROXY,)}

    def test_proxied(self) -> None:
        """
        A stream's client is who the proxy says it is, and as secure.
        """
        for proto, secure in ((b"https", True), (b"wss", True), (b"http", False)):
            self.hub.sessions.clear()
            self.connect(PROXY)
            self.receive(
                upgrade((b"X-Forwarded-For", b"192.0.2.77"), (b"X-Forwarded-Proto", proto))
            )
            self.assertEqual((self.stream.peer, self.stream.secure), ("192.0.2.77", secure))

    def test_others(self) -> None:
        """
        Nobody else can say such a thing.
        """
        self.connect()
        self.receive(upgrade((b"X-Forwarded-For", b"192.0.2.77"), (b"X-Forwarded-Proto", b"https")))
        self.assertEqual((self.stream.peer, self.stream.secure), (CLIENT, False))

    def test_noTLS(self) -> None:
        """
        There is neither TLS nor plain XMPP.
        """
        for data in (TLSClient().exchange(), HEADER):
            self.connect()
            self.receive(data)
            self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.hub.sessions, [])


class HTTPSTests(ListenerCase):
    """
    HTTP in TLS, and nothing else.
    """

    listener = HTTPSListener()

    def test_tls(self) -> None:
        """
        TLS is a must, and what is in it is HTTP.
        """
        for data in (HOST_META, HEADER):
            self.connect()
            self.receive(data)
            self.assertTrue(self.transport.disconnecting)
            self.assertEqual(self.sent(), b"")
        self.connect()
        client = self.secure()
        self.receive(client.send(HEADER))
        self.assertTrue(self.transport.disconnecting)
        self.connect()
        client = self.secure(HTTP_1_1)
        self.receive(client.send(upgrade()))
        self.assertTrue(self.stream.secure)

    def test_reencrypted(self) -> None:
        """
        A proxy that comes by TLS may have a client that has not.
        """
        self.connect(PROXY, trusted=(PROXY,))
        client = self.secure()
        self.receive(client.send(upgrade((b"X-Forwarded-Proto", b"http"))))
        self.assertFalse(self.stream.secure)


class CountTests(ListenerCase):
    """
    Whatever way a client takes, its address counts once, until it has gone.
    """

    def known(self, address: str = CLIENT) -> int:
        """
        How many more connections of an address come in where two may.
        """
        limits = self.hub.limits
        room = 0
        try:
            while room < 3:
                limits.accept(address)
                room += 1
        except Refused:
            pass
        for _ in range(room):
            limits.released(address)
        return room

    def test_paths(self) -> None:
        """
        On every path.
        """
        self.hub.limits.settings = evolve(
            LimitSettings(), connectionsPerAddress=2, connectionBurst=100000
        )

        def sendSecurely(data: bytes) -> None:
            client = self.secure()
            self.receive(client.send(data))

        paths: tuple[tuple[str, str, dict[str, Any], Any], ...] = (
            (CLIENT, CLIENT, {}, lambda: None),
            (CLIENT, CLIENT, {}, lambda: self.receive(HEADER)),
            (CLIENT, CLIENT, {}, lambda: sendSecurely(HEADER)),
            (CLIENT, CLIENT, {}, lambda: self.receive(GET)),
            (CLIENT, CLIENT, {}, lambda: sendSecurely(GET + GET)),
            (CLIENT, CLIENT, {}, lambda: self.receive(upgrade())),
            (CLIENT, CLIENT, {}, lambda: sendSecurely(upgrade())),
            (CLIENT, CLIENT, {}, lambda: self.receive(GET, upgrade())),
            (CLIENT, CLIENT, {}, lambda: self.receive(b"\0")),
            (
                PROXY,
                "192.0.2.77",
                {"trusted": (PROXY,), "proxyProtocol": True},
                lambda: self.receive(LINE + upgrade()),
            ),
            (
                PROXY,
                "192.0.2.77",
                {"trusted": (PROXY,), "proxyProtocol": True},
                lambda: self.receive(LINE + HEADER),
            ),
            (
                PROXY,
                "192.0.2.77",
                {"trusted": (PROXY,)},
                lambda: self.receive(upgrade((b"X-Forwarded-For", b"192.0.2.77"))),
            ),
            (PROXY, PROXY, {"trusted": (PROXY,)}, lambda: self.receive(upgrade())),
            (PROXY, PROXY, {"trusted": (PROXY,)}, lambda: self.receive(HEADER)),
        )
        for address, counted, settings, path in paths:
            self.connect(address, **settings)
            path()
            self.assertEqual(self.known(counted), 2 if self.transport.isLost else 1)
            self.lose()
            self.assertEqual(self.known(counted), 2)

    def test_proxy(self) -> None:
        """
        A proxy's own connections without a stream do not count.
        """
        self.hub.limits.settings = evolve(LimitSettings(), connectionsPerAddress=1)
        for _ in range(3):
            self.connect(PROXY, trusted=(PROXY,))
            self.receive(GET)
            self.assertEqual(self.got().code, 404)

    def test_limited(self) -> None:
        """
        A client of a proxy's that has too many streams is turned away as a WebSocket.
        """
        self.hub.limits.settings = evolve(LimitSettings(), connectionsPerAddress=1)
        for _ in range(2):
            self.connect(PROXY, trusted=(PROXY,))
            self.receive(upgrade((b"X-Forwarded-For", b"192.0.2.77")))
        self.assertEqual(len(self.hub.sessions), 1)
        judge = Judge()
        judge.feed(self.sent())
        self.assertIn(b"policy-violation", b"".join(got.payload for got in judge.frames))
        self.assertTrue(self.transport.disconnecting)


class FreeTests(ListenerCase):
    """
    What OpenSSL keeps for a connection is free with its end, and does not wait for the
    garbage collector, which in a large process comes late.
    """

    def test_stages(self) -> None:
        """
        However far a client has come.
        """
        made: list[weakref.ref[Any]] = []
        make = ServerTLS.connection

        def noted(creator: ServerTLS, sock: Any) -> Any:
            connection = make(creator, sock)
            made.append(weakref.ref(connection))
            return connection

        self.patch(ServerTLS, "connection", noted)
        gc.disable()
        self.addCleanup(gc.enable)

        def send(*parts: bytes, alpn: bytes | None = None) -> None:
            client = self.secure(alpn)
            for part in parts:
                self.receive(client.send(part))

        stages: tuple[Any, ...] = (
            lambda: self.receive(TLSClient().exchange()),
            lambda: self.receive(b"\x16garbage"),
            lambda: self.secure(b"h2"),
            lambda: self.secure(),
            lambda: self.secure(HTTP_1_1),
            lambda: self.secure(XMPP_CLIENT),
            lambda: send(b"\0"),
            lambda: send(HEADER),
            lambda: send(GET, alpn=HTTP_1_1),
            lambda: send(GET[:9]),
            lambda: send(b"X\r\n"),
            lambda: send(upgrade()),
            lambda: send(GET, upgrade(), text(OPEN)),
        )
        for stage in stages:
            self.connect()
            stage()
            self.assertEqual(made[-1]() is None, self.transport.isLost)
            self.lose()
            self.assertIs(made[-1](), None, stages.index(stage))


class SocketTests(TestCase):
    """
    On a real port, with a client of the standard library.
    """

    async def start(self) -> int:
        """
        Start a listener, and return its port.
        """
        hub: Any = Hub(reactor, storeIn(Path(self.mktemp())))
        hub.webURLs = ("wss://a.example/ws",)
        self.hub = hub
        settings = ListenerSettings("any", "tcp:0:interface=127.0.0.1", websocket="/ws")
        service: Any = AnyListener().service(reactor, settings, hub)  # type: ignore[arg-type]  # a double
        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = await endpoint.listen(service._factory)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def test_refused(self) -> None:
        """
        A client that is still sending a body that nobody wants sees why, however much it
        sends.
        """
        port = await self.start()
        status = await deferToThread(self._post, port)
        self.assertEqual(status, b"HTTP/1.1 413 ")

    def _post(self, port: int) -> bytes:
        import socket

        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(
                b"POST /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300000
            )
            return connection.recv(13, socket.MSG_WAITALL)

    async def test_webSocket(self) -> None:
        """
        Requests, and then a WebSocket, over one connection in TLS.
        """
        port = await self.start()
        answers = await deferToThread(self._talk, port)
        self.assertEqual(answers[0][:12], b"HTTP/1.1 200")
        self.assertEqual(answers[1][:12], b"HTTP/1.1 101")
        (session,) = self.hub.sessions
        await session.lost
        self.assertEqual(session.seen[0], ("opened", "a.example"))

    def _talk(self, port: int) -> list[bytes]:
        import socket

        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        answers = []
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain) as connection,
        ):
            for request in (HOST_META, upgrade()):
                connection.sendall(request)
                answer = b""
                while b"\r\n\r\n" not in answer or (b" 200 " in answer and b"</XRD>" not in answer):
                    answer += connection.recv(65536)
                answers.append(answer)
            connection.sendall(text(OPEN))
        return answers
