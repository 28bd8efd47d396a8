# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.places}.
"""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.internet.protocol import Protocol
from twisted.web.resource import Resource

from cmanager.arrival import Arrival
from cmanager.discovery import HOST_META, HOST_META_JSON, readHostMeta
from cmanager.places import Document, Place, Places, WebSocketPlace, hostMetaPlaces
from cmanager.settings import ListenerSettings
from cmanager.upgrade import UpgradeRequest
from cmanager.web import Request
from tests.test_web import BODY_BYTES, HOST, Response, WebCase

CHAT = "https://chat.example.org"
URLS = ("wss://a.example/ws", "https://a.example/http-bind")
UPGRADE = (
    b"Upgrade: websocket",
    b"Connection: keep-alive, Upgrade",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Protocol: xmpp",
)


class Post(Place):
    """
    A place that can be sent something.
    """

    methods = (b"POST",)
    maxBodyBytes = BODY_BYTES

    def render_POST(self, request: Request) -> bytes:
        """
        Return it.
        """
        return b"got " + request.content.read()


class PlaceCase(WebCase):
    """
    A listener with its paths.
    """

    listener = ListenerSettings("http", "tcp:1")
    origins: tuple[str, ...] = ("*",)

    def setUp(self) -> None:
        self.streams: list[tuple[Any, Arrival, UpgradeRequest]] = []
        super().setUp()

    def connect(self, peer: Any = "192.0.2.1", **arrival: Any) -> None:
        """
        Connect a client.
        """
        origin: Any = type("Origin", (), {})()
        origin.hub, origin.reactor = self.hub, self.clock
        origin.listener = evolve(self.listener, origins=self.origins)
        self.origin = origin
        places: dict[str, Place] = {
            "/ws": WebSocketPlace(origin, self.make),
            "/http-bind": Post(self.origins),
            "/text": Document("text/plain", b"words"),
        }
        others = Resource()
        others.putChild(b"page", Document("text/html", b"<p>"))
        self.site: Any = Places(origin, {**places, **hostMetaPlaces(URLS)}, others)
        super().connect(peer, **arrival)

    def make(self, origin: Any, arrival: Arrival, request: UpgradeRequest) -> Protocol:
        """
        Make a stream.
        """
        self.streams.append((origin, arrival, request))
        return Protocol()


class DocumentTests(PlaceCase):
    """
    What can be read.
    """

    def test_read(self) -> None:
        """
        By all web pages, with its type.
        """
        response = self.ask(b"GET /text", b"Origin: " + CHAT.encode())
        self.assertEqual((response.code, response.body), (200, b"words"))
        self.assertEqual(response.headers[b"content-type"], b"text/plain")
        self.assertEqual(response.headers[b"access-control-allow-origin"], b"*")
        self.assertEqual(self.ask(b"HEAD /text").headers[b"content-length"], b"5")

    def test_hostMeta(self) -> None:
        """
        Two of them lead to the ways in, whatever origins may use those.
        """
        self.origins = (CHAT,)
        self.connect()
        response = self.ask(b"GET " + HOST_META.encode(), b"Origin: http://x.example")
        self.assertEqual(response.headers[b"content-type"], b"application/xrd+xml")
        self.assertEqual(response.headers[b"access-control-allow-origin"], b"*")
        self.assertEqual(readHostMeta(response.body), URLS)
        response = self.ask(b"GET " + HOST_META_JSON.encode())
        self.assertEqual(response.headers[b"content-type"], b"application/json")
        self.assertEqual([link["href"] for link in json.loads(response.body)["links"]], list(URLS))

    def test_methods(self) -> None:
        """
        There is nothing else to do with it.
        """
        response = self.ask(b"POST /text")
        self.assertEqual(response.code, 405)
        self.assertEqual(response.headers[b"allow"], b"GET, HEAD, OPTIONS")


class PathTests(PlaceCase):
    """
    Where things are.
    """

    def code(self, path: bytes) -> int:
        """
        Return what is said of a path.
        """
        return self.ask(b"GET " + path).code

    def test_paths(self) -> None:
        """
        A path may have a slash at its end, whether it was given with one or not; there is
        nothing below it and nothing beside it.
        """
        self.assertEqual(self.code(b"/text/"), 200)
        for path in (b"/text//", b"/text/x", b"/Text", b"/tex", b"//text", b"/", b"/%74ext", b"/."):
            self.assertEqual(self.code(path), 404, path)
        site = Places(self.origin, {"/x/": Document("a/b", b"")})
        self.assertIs(site.find(b"/x"), site.find(b"/x/"))
        self.assertIsNotNone(site.find(b"/x"))
        self.assertIsNone(site.find(b"/y"))

    def test_others(self) -> None:
        """
        What is nobody's may be somebody's.
        """
        self.assertEqual(self.ask(b"GET /page").body, b"<p>")

    def test_requestSeconds(self) -> None:
        """
        A request has as long as a login, as that is set now.
        """
        self.hub.settings = evolve(self.hub.settings, loginTimeout=7.0)
        self.assertEqual(self.site.requestSeconds, 7)


class OriginTests(PlaceCase):
    """
    What web pages may do (CORS).
    """

    def header(self, response: Response, name: str) -> bytes | None:
        """
        Return one of CORS.
        """
        return response.headers.get(b"access-control-" + name.encode())

    def test_all(self) -> None:
        """
        Everybody may, and browsers that ask are told so.
        """
        origin = b"Origin: http://x.example"
        response = self.ask(b"POST /http-bind", origin, b"Content-Length: 1", body=b"x")
        self.assertEqual(response.body, b"got x")
        self.assertEqual(self.header(response, "allow-origin"), b"*")
        self.assertNotIn(b"vary", response.headers)
        response = self.ask(b"OPTIONS /http-bind", origin, b"Access-Control-Request-Method: POST")
        self.assertEqual((response.code, response.body), (204, b""))
        self.assertNotIn(b"content-length", response.headers)
        self.assertEqual(response.headers[b"allow"], b"POST, OPTIONS")
        self.assertEqual(self.header(response, "allow-origin"), b"*")
        self.assertEqual(self.header(response, "allow-methods"), b"POST, OPTIONS")
        self.assertEqual(self.header(response, "allow-headers"), b"Content-Type")
        self.assertEqual(self.header(response, "max-age"), b"86400")

    def test_some(self) -> None:
        """
        Only those that are named; and no cache may mistake the one for the other.
        """
        self.origins = (CHAT, "http://[::1]:8080")
        self.connect()
        for origin, isAllowed in (
            (CHAT, True),
            ("HTTPS://chat.Example.org", True),
            ("http://[::1]:8080", True),
            ("http://chat.example.org", False),
            (CHAT + ":8443", False),
            (CHAT + ".evil.example", False),
            ("null", False),
            ("\xff", False),
            ("*", False),
        ):
            header = b"Origin: " + origin.encode("latin-1")
            for line in (b"POST /http-bind", b"OPTIONS /http-bind"):
                response = self.ask(line, header)
                allowed = origin.encode() if isAllowed else None
                self.assertEqual(self.header(response, "allow-origin"), allowed)
                self.assertEqual(response.headers[b"vary"], b"Origin")
                isTold = isAllowed and line.startswith(b"OPTIONS")
                self.assertEqual(self.header(response, "allow-methods") is not None, isTold)

    def test_admits(self) -> None:
        """
        A place can ask whether a page may use it; who is no browser always may.
        """
        place = Post((CHAT,))
        self.assertTrue(place.admits(None) and place.admits(CHAT.upper().encode()))
        self.assertFalse(place.admits(b"null") or place.admits(b"*"))
        self.assertTrue(Post().admits(b"null"))

    def test_noBrowser(self) -> None:
        """
        Who does not say where it comes from is told nothing of it.
        """
        self.origins = (CHAT,)
        self.connect()
        response = self.ask(b"POST /http-bind")
        self.assertIsNone(self.header(response, "allow-origin"))
        self.assertEqual(response.body, b"got ")


class WebSocketTests(PlaceCase):
    """
    A connection becomes a WebSocket.
    """

    def upgrade(
        self, *headers: bytes, line: bytes = b"GET /ws?x HTTP/1.1", rest: bytes = b""
    ) -> None:
        """
        Ask for that.
        """
        lines = b"".join(header + b"\r\n" for header in (*UPGRADE, *headers))
        self.receive(line + b"\r\n" + HOST + lines + b"\r\n" + rest)

    def test_stream(self) -> None:
        """
        Its stream has the whole request, and the connection; nothing has been answered.
        """
        self.upgrade(b"X-A: b")
        ((origin, arrival, request),) = self.streams
        self.assertIs(origin, self.origin)
        self.assertEqual(arrival.address, "192.0.2.1")
        self.assertEqual(request.target, b"/ws?x")
        self.assertEqual(request.values(b"x-a"), [b"b"])
        self.assertEqual(request.tokens(b"connection"), [b"keep-alive", b"Upgrade"])
        self.assertEqual(self.got(), [])
        self.assertEqual(len(self.entered), 1)

    def test_refused(self) -> None:
        """
        A request that cannot be granted is answered, on a connection that stays.
        """
        for headers, code in (
            ((), 400),
            ((*UPGRADE[:2], b"Sec-WebSocket-Version: 8", *UPGRADE[3:]), 426),
            (UPGRADE[:4], 400),
        ):
            response = self.ask(b"GET /ws", *headers)
            self.assertEqual(response.code, code)
            if code == 426:
                self.assertEqual(response.headers[b"sec-websocket-version"], b"13")
            self.assertFalse(self.transport.disconnecting)
        self.assertEqual(self.streams, [])

    def test_origin(self) -> None:
        """
        Pages of origins that are not named may not come.
        """
        self.origins = (CHAT,)
        self.connect()
        self.assertEqual(self.ask(b"GET /ws", *UPGRADE, b"Origin: http://x.example").code, 403)
        self.upgrade(b"Origin: " + CHAT.encode())
        self.connect()
        self.upgrade()
        self.assertEqual(len(self.streams), 2)

    def test_method(self) -> None:
        """
        Only C{GET} leads there.
        """
        for method in (b"POST", b"HEAD"):
            self.assertEqual(self.ask(method + b" /ws", *UPGRADE).code, 405)

    def test_oldVersion(self) -> None:
        """
        HTTP/1.0 knows no upgrade.
        """
        self.upgrade(line=b"GET /ws HTTP/1.0")
        (response,) = self.got()
        self.assertEqual(response.code, 400)
        self.assertEqual(self.streams, [])

    def test_rest(self) -> None:
        """
        What came before the answer was not meant for us.
        """
        self.upgrade(rest=b"\x81")
        (response,) = self.got()
        self.assertEqual(response.code, 400)
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.streams, [])
