# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.listeners}, and of that for TCP, on endpoints that end TLS themselves:
over transports of ours, and of Twisted's.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address

from cmanager.door import HTTP_1_1
from cmanager.listeners import AnyListener, HTTPListener
from cmanager.tcp import TCPListener
from cmanager.tls import XMPP_CLIENT
from tests.bosh import post
from tests.pollers import HandReactor
from tests.suite import HEADER
from tests.test_listeners import HOST_META, LINE, NS, OPEN, PROXY, ListenerCase, upgrade
from tests.test_records import TLSClient
from tests.test_web import responses
from tests.ways import SSLSocketWay, SSLWay
from tests.websockets import Judge, text


class SSLTests(ListenerCase):
    """
    What is in clear elsewhere is secure there.
    """

    makeWay: type[SSLWay] = SSLSocketWay
    listener: Any = HTTPListener()
    alpn: bytes | None = None

    def setUp(self) -> None:
        super().setUp()
        self.hand = HandReactor()

    def wire(self, address: IPv4Address) -> Any:
        """
        Return what the connection is to be.
        """
        way = self.makeWay()
        way.factory = self.made
        return way.wire(self.hand, address)

    def factory(self, **settings: Any) -> Any:
        """
        Start the listener, and return its factory.
        """
        self.made = super().factory(**settings)
        return self.made

    def connect(self, *args: Any, **settings: Any) -> None:
        """
        Connect a client, and shake hands.
        """
        super().connect(*args, **settings)
        self.client: TLSClient | None = None
        self.client = self.secure(self.alpn)

    def receive(self, *parts: bytes) -> None:
        """
        Let the client send, in TLS if that is there.
        """
        client = self.client
        super().receive(*(part if client is None else client.send(part) for part in parts))

    def sent(self) -> bytes:
        """
        Return what was sent since the last call, out of TLS if that is there.
        """
        client = self.client
        if client is None:
            return super().sent()
        client.received = b""
        client.exchange(super().sent())
        return client.received

    def test_alpn(self) -> None:
        """
        The application protocol can be agreed on.
        """
        for self.listener, alpn in (
            (TCPListener(), XMPP_CLIENT),
            (HTTPListener(), HTTP_1_1),
            (AnyListener(), HTTP_1_1),
            (AnyListener(), XMPP_CLIENT),
        ):
            self.alpn = alpn
            self.connect()
            assert self.client is not None
            self.assertEqual(self.client.connection.get_alpn_proto_negotiated(), alpn)
            self.lose()

    def test_xmpp(self) -> None:
        """
        XMPP, which may begin with STARTTLS elsewhere.
        """
        for self.listener in (TCPListener(), AnyListener()):
            self.hub.sessions.clear()
            self.connect()
            self.receive(HEADER)
            self.assertEqual((self.stream.transportName, self.stream.secure), ("tcp", True))
            self.assertFalse(self.stream.canStartTLS)
            self.assertEqual(self.stream.tlsFacts().version, "TLSv1.3")
            self.stream.write(b"<features/>")
            self.assertEqual(self.sent(), b"<features/>")
            self.lose()

    def test_webSocket(self) -> None:
        """
        WebSocket.
        """
        self.connect()
        self.receive(upgrade(), text(OPEN))
        self.assertEqual((self.stream.transportName, self.stream.secure), ("websocket", True))
        self.assertEqual(self.stream.tlsFacts().version, "TLSv1.3")
        self.assertEqual(self.hub.sessions[0].seen, [("opened", "a.example")])
        self.stream.write(b"<features/>")
        judge = Judge()
        judge.feed(self.sent())
        self.assertEqual(len(judge.frames), 1)
        self.lose()

    def test_bosh(self) -> None:
        """
        BOSH.
        """
        self.connect()
        self.receive(post(b"<body xmlns='%s' rid='1' to='a.example'/>" % NS))
        self.assertEqual((self.stream.transportName, self.stream.secure), ("bosh", True))
        self.lose()

    def test_http(self) -> None:
        """
        Any HTTP.
        """
        self.connect()
        self.receive(HOST_META)
        (response,) = responses(self.sent())
        self.assertEqual(response.code, 200)
        self.lose()

    def test_proxied(self) -> None:
        """
        A proxy that comes that way says who its client is, before XMPP or in HTTP, and there
        whether that has come by TLS.
        """
        trusted: dict[str, Any] = {"trusted": (PROXY,)}
        self.connect(PROXY, **trusted)
        self.receive(upgrade((b"X-Forwarded-Proto", b"http")))
        self.assertFalse(self.stream.secure)
        self.hub.sessions.clear()
        self.listener = TCPListener()
        self.connect(PROXY, proxyProtocol=True, **trusted)
        for part in (LINE[:9], LINE[9:] + HEADER):
            self.receive(part)
        self.assertEqual((self.stream.peer, self.stream.secure), ("192.0.2.77", True))
        self.assertEqual(self.hub.sessions[0].seen, [("opened", "a.example")])
        self.lose()

    def test_twice(self) -> None:
        """
        A client may speak TLS in that TLS, if it has to.
        """
        self.listener = AnyListener()
        self.connect()
        inner = self.secure()
        self.receive(inner.send(HEADER))
        self.assertEqual((self.stream.transportName, self.stream.secure), ("tls", True))
        self.stream.write(b"<features/>")
        inner.exchange(self.sent())
        self.assertEqual(inner.received, b"<features/>")
        self.lose()


class StockSSLTests(SSLTests):
    """
    By Twisted's transports.
    """

    makeWay = SSLWay
