# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.httpbind}: requests over HTTP connections in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from lxml import etree
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from cmanager.body import NS_BODY
from cmanager.bosh import BOSHStream
from cmanager.content import START_BYTES
from cmanager.errors import StreamError
from cmanager.settings import BOSHSettings, LimitSettings, ListenerSettings
from cmanager.terms import BODY_STANZAS
from tests.bosh import PATH, Connection, Got, post
from tests.suite import Hub, Origin, storeIn
from tests.test_outbox import message

CHAT = "https://chat.example.org"
PROXY = "198.51.100.9"
TYPE = b"text/xml; charset=utf-8"


class PlaceCase(TestCase):
    """
    Listeners with a path for BOSH.
    """

    origins: tuple[str, ...] = ("*",)

    def setUp(self) -> None:
        self.clock = Clock()
        self.hub: Any = Hub(self.clock, storeIn(Path(self.mktemp())))
        self.hub.bosh.settings = BOSHSettings(polling=0)

    def connect(self, peer: Any = "192.0.2.1", *, isEncrypted: bool = False) -> Connection:
        """
        Connect to a listener.
        """
        if isinstance(peer, str):
            peer = IPv4Address("TCP", peer, 5000)
        listener = ListenerSettings("http", "tcp:0", origins=self.origins, trusted=(PROXY, "unix"))
        origin: Any = Origin(self.clock, listener, self.hub)
        return Connection(origin, peer, isEncrypted=isEncrypted)

    def ask(self, data: bytes, connection: Connection | None = None) -> Got | None:
        """
        Send an HTTP request, over a connection of its own unless it says otherwise, and return
        the response.
        """
        if connection is None:
            connection = self.connect()
        connection.receive(data)
        self.clock.advance(0)
        found = connection.take()
        return found[0] if found else None

    def body(self, inside: bytes = b"", **attributes: str) -> bytes:
        """
        Return the content of a request.
        """
        text = "".join(f" {name}='{value}'" for name, value in attributes.items())
        return f"<body xmlns='{NS_BODY}'{text}>".encode() + inside + b"</body>"

    def begin(self, connection: Connection | None = None, **attributes: str) -> BOSHStream:
        """
        Make a session, the first request of which is answered.
        """
        self.waiting = connection or self.connect()
        first = {"rid": "1", "to": "a.example", "ver": "1.11", "hold": "1", **attributes}
        self.ask(post(self.body(**first)), self.waiting)
        stream: BOSHStream = self.hub.sessions[-1].stream
        stream.write(b"<features/>")
        self.clock.advance(0)
        self.assertEqual(len(self.waiting.take()), 1)
        return stream

    def assertEnded(self, got: Got | None, condition: str) -> None:
        """
        The answer to a request is that there is no session, or none any more.
        """
        assert got is not None, "it is not held"
        self.assertEqual(got.status, 200)
        self.assertEqual(got.headers[b"content-type"], TYPE)
        self.assertEqual(got.headers[b"cache-control"], b"no-store")
        root = etree.fromstring(got.data)
        self.assertEqual(root.tag, f"{{{NS_BODY}}}body")
        self.assertEqual((root.get("type"), root.get("condition")), ("terminate", condition))


class AnswerTests(PlaceCase):
    """
    How requests are answered.
    """

    def test_headers(self) -> None:
        """
        As what nobody may keep, or take for something else, and never compressed.
        """
        connection = self.connect()
        self.ask(
            post(self.body(rid="1", ver="1.11"), b"Accept-Encoding: gzip, deflate"), connection
        )
        self.hub.sessions[-1].stream.write(b"<features/>")
        self.clock.advance(0)
        (got,) = connection.take()
        self.assertEqual(got.status, 200)
        got.headers.pop(b"date")
        self.assertEqual(
            got.headers,
            {
                b"server": b"cmanager",
                b"content-type": TYPE,
                b"content-length": b"%d" % len(got.data),
                b"cache-control": b"no-store",
                b"x-content-type-options": b"nosniff",
                b"access-control-allow-origin": b"*",
            },
        )

    def test_content(self) -> None:
        """
        The client may want another type, but none that browsers run.
        """
        for wanted, expected in (
            ("text/plain; charset=utf-8", b"text/plain; charset=utf-8"),
            ("text/html", TYPE),
        ):
            connection = self.connect()
            self.ask(post(self.body(rid="1", content=wanted)), connection)
            self.hub.sessions[-1].stream.write(b"<features/>")
            self.clock.advance(0)
            (got,) = connection.take()
            self.assertEqual(got.headers[b"content-type"], expected)

    def test_methods(self) -> None:
        """
        Nothing is done but by C{POST}: the script syntax of old is not there.
        """
        stream = self.begin()
        query = f"/http-bind?%3Cbody%20rid='2'%20sid='{stream.sid}'/%3E"
        for method, status in (("GET", 405), ("PUT", 501), ("DELETE", 501)):
            got = self.ask(post(b"", path=query, method=method))
            assert got is not None
            self.assertEqual(got.status, status)
            if status == 405:
                self.assertEqual(got.headers[b"allow"], b"POST, OPTIONS")
        connection = self.connect()
        connection.receive(post(b"", method="HEAD"))
        self.assertTrue(connection.socket.value().startswith(b"HTTP/1.1 405 "))

    def test_slash(self) -> None:
        """
        A slash at the end of the path makes no difference.
        """
        connection = self.connect()
        self.ask(post(self.body(rid="1"), path=PATH + "/"), connection)
        self.assertEqual(len(self.hub.sessions), 1)

    def test_requestType(self) -> None:
        """
        What a request calls its content does not matter: browsers ask first for some types.
        """
        for type_ in (b"text/plain", b"application/x-www-form-urlencoded", b"image/png"):
            before = len(self.hub.sessions)
            self.ask(post(self.body(rid="1"), b"Content-Type: " + type_))
            self.assertEqual(len(self.hub.sessions), before + 1)

    def test_replaced(self) -> None:
        """
        An HTTP request that can wait no longer, because others have come for the same rid, is
        told so by its status.
        """
        stream = self.begin()
        request = post(self.body(rid="2", sid=stream.sid))
        connections = [self.connect() for _ in range(3)]
        for connection in connections:
            self.ask(request, connection)
        (got,) = connections[0].take()
        self.assertEqual((got.status, got.data), (503, b""))


class OriginTests(PlaceCase):
    """
    Web pages of other origins (CORS).
    """

    PREFLIGHT = (
        b"Access-Control-Request-Method: POST",
        b"Access-Control-Request-Headers: content-type",
    )

    def preflight(self, origin: str) -> Got:
        """
        Ask as browsers do.
        """
        got = self.ask(post(b"", b"Origin: " + origin.encode(), *self.PREFLIGHT, method="OPTIONS"))
        assert got is not None
        self.assertEqual(got.status, 204)
        self.assertNotIn(b"access-control-allow-credentials", got.headers)
        return got

    def test_everybody(self) -> None:
        """
        Those of every origin may ask where nothing else is said.
        """
        headers = self.preflight(CHAT).headers
        self.assertEqual(headers[b"access-control-allow-origin"], b"*")
        self.assertEqual(headers[b"access-control-allow-methods"], b"POST, OPTIONS")
        self.assertEqual(headers[b"access-control-allow-headers"], b"Content-Type")
        self.assertIn(b"access-control-max-age", headers)
        self.ask(post(self.body(rid="1"), b"Origin: " + CHAT.encode()))
        self.assertEqual(len(self.hub.sessions), 1)

    def test_listed(self) -> None:
        """
        Or those of the origins that are listed, which the answer names, the end of a session
        included.
        """
        self.origins = (CHAT, "https://b.example")
        self.assertEqual(
            self.preflight(CHAT).headers[b"access-control-allow-origin"], CHAT.encode()
        )
        got = self.ask(post(b"x", b"Origin: " + CHAT.encode()))
        self.assertEnded(got, "bad-request")
        assert got is not None
        self.assertEqual(got.headers[b"access-control-allow-origin"], CHAT.encode())
        self.assertEqual(got.headers[b"vary"], b"Origin")

    def test_others(self) -> None:
        """
        Not those of others; nor is what they send looked at.  Who is no browser is not asked.
        """
        self.origins = (CHAT,)
        stream = self.begin()
        for origin in (b"https://evil.example", b"null", CHAT.encode() + b".evil.example"):
            self.assertNotIn(
                b"access-control-allow-origin", self.preflight(origin.decode()).headers
            )
            for body in (
                self.body(rid="1"),
                self.body(message(1).data, rid="2", sid=stream.sid, type="terminate"),
            ):
                got = self.ask(post(body, b"Origin: " + origin))
                assert got is not None
                self.assertEqual(got.status, 403)
                self.assertNotIn(b"access-control-allow-origin", got.headers)
        self.assertEqual(len(self.hub.sessions), 1)
        self.assertEqual(self.hub.sessions[0].stanzas(), [])


class RefusalTests(PlaceCase):
    """
    Requests that are for nothing.
    """

    def test_bad(self) -> None:
        """
        What is no request of BOSH is told so, and counted; no session is the worse for it.
        """
        stream = self.begin()
        bodies = (b"", b"x", self.body(), self.body(rid="0"), self.body(rid="x", sid=stream.sid))
        for body in bodies:
            self.assertEnded(self.ask(post(body)), "bad-request")
        self.assertEqual(self.hub.metrics.value("clients_refused", "bad-request"), len(bodies))
        self.assertEqual(len(self.hub.bosh), 1)

    def test_unknown(self) -> None:
        """
        There is no session by another sid, by the stream id, or after the end.
        """
        stream = self.begin()
        for sid in ("", "x", stream.sid[:-1], stream.sid.swapcase(), "1"):
            self.assertEnded(self.ask(post(self.body(rid="2", sid=sid))), "item-not-found")
        last = post(self.body(rid="2", sid=stream.sid, type="terminate"))
        got = self.ask(last)
        assert got is not None
        self.assertIn(b'type="terminate"', got.data)
        self.assertEnded(self.ask(last), "item-not-found")
        self.assertEqual(self.hub.metrics.value("clients_refused", "item-not-found"), 6)

    def test_secret(self) -> None:
        """
        The log says who it was, and no sid.
        """
        stream = self.begin()
        with capturedLogs() as logs:
            self.ask(post(self.body(rid="2", sid=stream.sid + "x")))
        text = "\n".join(formatEvent(event) for event in logs)
        self.assertIn("192.0.2.1", text)
        self.assertNotIn(stream.sid, text)

    def test_limited(self) -> None:
        """
        A client over a limit of its address is told why, as its version wants it; the operator
        reads it, and it is counted.
        """
        self.hub.limits.settings = evolve(LimitSettings(), connectionsPerAddress=1)
        self.begin()
        with capturedLogs() as logs:
            got = self.ask(post(self.body(rid="1", ver="1.6")))
        self.assertEnded(got, "policy-violation")
        assert got is not None
        self.assertIn(b"<stream:error><policy-violation", got.data)
        self.assertIn(
            "client 192.0.2.1 refused: policy-violation", "\n".join(map(formatEvent, logs))
        )
        got = self.ask(post(self.body(rid="1")))
        assert got is not None
        self.assertEqual((got.status, got.data), (403, b""))
        self.assertEqual(self.hub.metrics.value("clients_refused", "connections-per-address"), 2)
        self.assertEqual(len(self.hub.sessions), 1)

    def test_full(self) -> None:
        """
        So is one for whom there is no room.
        """
        self.hub.refusal = StreamError("resource-constraint")
        self.assertEnded(self.ask(post(self.body(rid="1"))), "remote-stream-error")
        self.assertEqual(self.hub.metrics.value("clients_refused", "resource-constraint"), 1)


class SessionTests(PlaceCase):
    """
    Requests find their session, wherever they come from.
    """

    def test_anywhere(self) -> None:
        """
        By other connections, other listeners, from other addresses: its client is where the
        first was from.
        """
        stream = self.begin()
        for rid, peer in (("2", "192.0.2.1"), ("3", "203.0.113.5")):
            self.ask(
                post(self.body(message(int(rid)).data, rid=rid, sid=stream.sid)), self.connect(peer)
            )
        self.assertEqual(self.hub.sessions[0].stanzas(), ["2", "3"])
        self.assertEqual(stream.peer, "192.0.2.1")

    def test_encrypted(self) -> None:
        """
        One that has begun in TLS does not go on in clear text: who has heard the sid there, or
        wants the client to say it there, gets nowhere.  The session goes on.
        """
        stream = self.begin(self.connect(isEncrypted=True))
        self.assertTrue(stream.secure)
        request = post(self.body(message(1).data, rid="2", sid=stream.sid))
        self.assertEnded(self.ask(request), "item-not-found")
        self.assertEqual(self.hub.sessions[0].stanzas(), [])
        self.ask(request, self.connect(isEncrypted=True))
        self.assertEqual(self.hub.sessions[0].stanzas(), ["1"])

    def test_encryptedLater(self) -> None:
        """
        One that has begun in clear text may go on in TLS, and does not count as encrypted.
        """
        stream = self.begin()
        request = post(self.body(message(1).data, rid="2", sid=stream.sid))
        self.ask(request, self.connect(isEncrypted=True))
        self.assertEqual(self.hub.sessions[0].stanzas(), ["1"])
        self.assertFalse(stream.secure)

    def test_proxied(self) -> None:
        """
        Behind a proxy that is trusted it is as the proxy says.
        """
        forwarded = (b"X-Forwarded-For: 203.0.113.5", b"X-Forwarded-Proto: https")
        for peer in (PROXY, UNIXAddress(None)):
            self.ask(post(self.body(rid="1"), *forwarded), self.connect(peer))
            stream = self.hub.sessions[-1].stream
            self.assertEqual((stream.peer, stream.secure), ("203.0.113.5", True))
            request = self.body(message(1).data, rid="2", sid=stream.sid)
            self.assertEnded(self.ask(post(request), self.connect(peer)), "item-not-found")
            self.ask(post(request, *forwarded), self.connect(peer))
            self.assertEqual(self.hub.sessions[-1].stanzas(), ["1"])
        self.ask(post(self.body(rid="1"), *forwarded))
        stream = self.hub.sessions[-1].stream
        self.assertEqual((stream.peer, stream.secure), ("192.0.2.1", False))

    def test_counted(self) -> None:
        """
        It is one client of its address from its first request to its end.
        """
        stream = self.begin()
        self.hub.limits.settings = evolve(LimitSettings(), connectionsPerAddress=1)
        got = self.ask(post(self.body(rid="1", ver="1.6")))
        self.assertEnded(got, "policy-violation")
        self.ask(post(self.body(rid="2", sid=stream.sid, type="terminate")))
        self.begin()
        self.assertEqual(len(self.hub.sessions), 2)


class ConnectionTests(PlaceCase):
    """
    Connections that come and go.
    """

    def undelivered(self) -> int:
        """
        Let the client be silent, and return how many stanzas come back.
        """
        for _ in range(self.hub.bosh.settings.inactivity + self.hub.bosh.settings.wait):
            self.clock.advance(1)
            self.hub.wheel.tick()
        self.assertEqual(self.hub.sessions[-1].seen[-1], ("transportLost", None))
        return len(self.hub.sessions[-1].undelivered)

    def test_lostBefore(self) -> None:
        """
        A request that is lost before it is answered can be repeated, and gets what it would have
        got; it is processed once.
        """
        stream = self.begin()
        request = post(self.body(message(1).data, rid="2", sid=stream.sid))
        connection = self.connect()
        self.assertIsNone(self.ask(request, connection))
        connection.lose()
        stream.deliver(message(2))
        self.clock.advance(0)
        got = self.ask(request)
        assert got is not None
        self.assertIn(message(2).attributes["id"].encode(), got.data)
        self.assertEqual(self.hub.sessions[0].stanzas(), ["1"])

    def test_lostAfter(self) -> None:
        """
        So can one that has been answered, and gets the same bytes.
        """
        stream = self.begin()
        request = post(self.body(rid="2", sid=stream.sid))
        connection = self.connect()
        self.ask(request, connection)
        stream.deliver(message(2))
        self.clock.advance(0)
        (first,) = connection.take()
        self.assertEqual(getattr(self.ask(request), "data", None), first.data)

    def test_lostWithin(self) -> None:
        """
        Half a request is none.
        """
        stream = self.begin()
        request = post(self.body(message(1).data, rid="2", sid=stream.sid))
        for cut in range(1, len(request), 20):
            connection = self.connect()
            connection.receive(request[:cut])
            connection.lose()
        self.assertEqual(self.hub.sessions[0].stanzas(), [])
        self.ask(request)
        self.assertEqual(self.hub.sessions[0].stanzas(), ["1"])

    def test_usedAgain(self) -> None:
        """
        Who uses a connection again has got the answer before.  A proxy that does says nothing
        of its client, so that what that may not have got comes back.
        """
        for peer, expected in (("192.0.2.1", 0), (PROXY, 1)):
            stream = self.begin(self.connect(peer))
            self.ask(post(self.body(rid="2", sid=stream.sid)), self.waiting)
            stream.deliver(message(1))
            self.clock.advance(0)
            self.assertEqual(len(self.waiting.take()), 1)
            self.assertIsNone(self.ask(post(self.body(rid="3", sid=stream.sid)), self.waiting))
            self.waiting.lose()
            self.assertEqual(self.undelivered(), expected)

    def test_notTaken(self) -> None:
        """
        An answer that the kernel has not taken when the connection goes is lost, even to a client
        that leaves in order.
        """
        for isTaken in (True, False):
            stream = self.begin()
            connection = self.connect()
            self.ask(post(self.body(rid="2", sid=stream.sid)), connection)
            if not isTaken:
                connection.fill()
            stream.deliver(message(1))
            self.clock.advance(0)
            connection.lose()
            self.ask(post(self.body(rid="3", sid=stream.sid, type="terminate")))
            self.assertEqual(len(self.hub.sessions[-1].undelivered), not isTaken)

    def test_endNotTaken(self) -> None:
        """
        Where that is the last, telling of our end, all is over when it is lost.
        """
        stream = self.begin()
        connection = self.connect()
        self.ask(post(self.body(rid="2", sid=stream.sid)), connection)
        connection.fill()
        stream.deliver(message(1))
        stream.close(b"<stream:error/>")
        self.clock.advance(0)
        self.assertEqual(len(self.hub.bosh), 1)
        connection.lose()
        self.clock.advance(0)
        self.assertEqual(len(self.hub.bosh), 0)
        self.assertEqual(len(self.hub.sessions[-1].undelivered), 1)

    def test_pipelined(self) -> None:
        """
        Requests behind one that is held, on the same connection, wait for its answer.
        """
        stream = self.begin()
        connection = self.connect()
        requests = [
            post(self.body(message(rid).data, rid=str(rid), sid=stream.sid)) for rid in (2, 3, 4)
        ]
        self.assertIsNone(self.ask(b"".join(requests), connection))
        self.assertEqual(self.hub.sessions[0].stanzas(), ["2"])
        stream.deliver(message(9))
        self.clock.advance(0)
        self.assertEqual(len(connection.take()), 1)
        self.assertEqual(self.hub.sessions[0].stanzas(), ["2", "3"])
        self.ask(post(self.body(rid="4", sid=stream.sid, type="terminate")))
        self.assertEqual(len(connection.take()), 2)


class SizeTests(PlaceCase):
    """
    How much a request may bring.
    """

    def send(self, size: int, **attributes: str) -> Got | None:
        """
        Send a body of so many bytes, read by read.
        """
        body = self.body(b"<x/>", rid="2", **attributes)
        body = body.replace(b"<x/>", b"<x/>" + b" " * (size - len(body)))
        data = post(body)
        connection = self.connect()
        for at in range(0, len(data), 1000):
            connection.receive(data[at : at + 1000])
        self.clock.advance(0)
        found = connection.take()
        return found[0] if found else None

    def test_strangers(self) -> None:
        """
        Without a session, or with one that has not logged in, little.
        """
        limit = BODY_STANZAS * self.hub.settings.unauthenticatedStanzaBytes
        self.assertGreater(limit, START_BYTES)
        for sid in ("nobody", self.begin().sid):
            got = self.send(limit + 1, sid=sid)
            assert got is not None
            self.assertEqual(got.status, 413)
        self.assertEnded(self.send(limit, sid="nobody"), "item-not-found")

    def test_known(self) -> None:
        """
        After the login much, but not more.
        """
        limit = BODY_STANZAS * self.hub.settings.stanzaBytes
        stream = self.begin()
        stream.allow(self.hub.settings.stanzaBytes)
        got = self.send(limit + 1, sid=stream.sid)
        assert got is not None
        self.assertEqual(got.status, 413)
        self.send(limit, sid=stream.sid)
        self.assertEqual(self.hub.sessions[-1].stanzas(), ["x"])

    def test_stanzas(self) -> None:
        """
        A stanza may be as large as its session permits, whatever may be in a request.
        """
        for limit in (10000, 20000):
            for over in (0, 1):
                stream = self.begin()
                stream.allow(limit)
                stanza = message(1, limit + over)
                self.ask(post(self.body(stanza.data, rid="2", sid=stream.sid)))
                expected = ("failed", "policy-violation") if over else ("stanza", "1")
                self.assertEqual(self.hub.sessions[-1].seen[-1], expected)

    def test_live(self) -> None:
        """
        The bounds follow the configuration.
        """
        stream = self.begin()
        stream.allow(1000000)
        self.hub.settings = evolve(self.hub.settings, stanzaBytes=20000)
        got = self.send(40001, sid=stream.sid)
        assert got is not None
        self.assertEqual(got.status, 413)
