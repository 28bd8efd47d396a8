# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.upgrade}.
"""

from __future__ import annotations

import h11
from twisted.trial.unittest import SynchronousTestCase
from wsproto import WSConnection
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection, Request

from cmanager.upgrade import UpgradeRequest, accepted, refusalFor
from tests.websockets import KEY, Judge, headers

PAGE = "https://chat.verona.example"


def request(**changes: bytes | None) -> UpgradeRequest:
    """
    Return a good request, with some headers changed.
    """
    return UpgradeRequest(b"/ws", headers(**changes))


class RefusalTests(SynchronousTestCase):
    """
    L{refusalFor}
    """

    def status(self, given: UpgradeRequest, *origins: str) -> int | None:
        """
        Return the status of the refusal, L{None} if there is none.
        """
        refusal = refusalFor(given, origins or ("*",))
        return None if refusal is None else refusal.status

    def test_good(self) -> None:
        """
        A request as browsers send it is granted, in whatever case and form it says so.
        """
        self.assertIsNone(self.status(request()))
        for name, value in (
            ("upgrade", b"WebSocket"),
            ("upgrade", b"h2c, websocket"),
            ("connection", b"UPGRADE"),
            ("connection", b"keep-alive,\tUpgrade"),
            ("sec_websocket_protocol", b"xmpp-framing, xmpp"),
            ("sec_websocket_extensions", b"permessage-deflate; client_max_window_bits"),
            ("origin", b"null"),
        ):
            self.assertIsNone(self.status(request(**{name: value})), value)

    def test_lines(self) -> None:
        """
        What may be listed may be listed on several lines.
        """
        lines = headers(sec_websocket_protocol=b"chat", connection=b"keep-alive")
        lines += [(b"CONNECTION", b"upgrade"), (b"Sec-WebSocket-Protocol", b" xmpp ")]
        self.assertIsNone(self.status(UpgradeRequest(b"/ws", lines)))

    def test_bad(self) -> None:
        """
        Without what RFC 6455 section 4.2.1 asks for, or without the subprotocol C{xmpp}, a
        request is bad.
        """
        for name, value in (
            ("upgrade", None),
            ("upgrade", b"websockets"),
            ("connection", None),
            ("connection", b"close"),
            ("sec_websocket_version", None),
            ("sec_websocket_key", None),
            ("sec_websocket_key", b""),
            ("sec_websocket_key", KEY[1:]),
            ("sec_websocket_key", KEY[:21] + b"B=="),
            ("sec_websocket_key", KEY + b"\r\nX: y"),
            ("sec_websocket_key", KEY + b", " + KEY),
            ("sec_websocket_protocol", None),
            ("sec_websocket_protocol", b""),
            ("sec_websocket_protocol", b"XMPP"),
            ("sec_websocket_protocol", b"xmppx"),
            ("sec_websocket_protocol", b"\xff"),
        ):
            self.assertEqual(self.status(request(**{name: value})), 400, (name, value))
        twice = [*headers(), (b"sec-websocket-key", KEY)]
        self.assertEqual(self.status(UpgradeRequest(b"/ws", twice)), 400)

    def test_version(self) -> None:
        """
        Another version is told which one is spoken (section 4.4), whatever else is wrong.
        """
        for version in (b"8", b"13, 8", b"013", b"", b"\xff"):
            refusal = refusalFor(request(sec_websocket_version=version, upgrade=None), ("*",))
            assert refusal is not None
            self.assertEqual(refusal.status, 426)
            self.assertIn(b"\r\nSec-WebSocket-Version: 13\r\n", refusal.encode())

    def test_origins(self) -> None:
        """
        A page may connect if its origin is among the listener's, compared as a whole; who
        does not say where it comes from is no browser.
        """
        for origin, status in (
            (PAGE.encode(), None),
            (PAGE.upper().encode(), None),
            (None, None),
            (b"https://chat.verona.example.org", 403),
            (b"http://chat.verona.example", 403),
            (b"https://chat.verona.example:443", 403),
            (b"null", 403),
            (b"*", 403),
            (b"", 403),
            (b"\xff", 403),
        ):
            given = request(origin=origin)
            self.assertEqual(self.status(given, "https://other.example", PAGE), status, origin)
        self.assertIsNone(refusalFor(request(), ()))
        self.assertIsNotNone(refusalFor(request(origin=PAGE.encode()), ()))
        both = [*headers(origin=PAGE.encode()), (b"origin", b"https://other.example")]
        self.assertEqual(self.status(UpgradeRequest(b"/ws", both), PAGE), 403)

    def test_response(self) -> None:
        """
        A refusal is a whole HTTP response with a reason, the last on its connection.
        """
        for given, status in (
            (request(upgrade=None), 400),
            (request(origin=b"http://x"), 403),
            (request(sec_websocket_version=b"8"), 426),
        ):
            refusal = refusalFor(given, ())
            assert refusal is not None
            client = h11.Connection(h11.CLIENT)
            client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            client.send(h11.EndOfMessage())
            client.receive_data(refusal.encode())
            response, body = client.next_event(), client.next_event()
            assert isinstance(response, h11.Response)
            assert isinstance(body, h11.Data)
            self.assertEqual(response.status_code, status)
            self.assertEqual(bytes(body.data).decode(), refusal.reason + "\n")
            self.assertIsInstance(client.next_event(), h11.EndOfMessage)
            self.assertIs(client.their_state, h11.MUST_CLOSE)
            self.assertIn((b"connection", b"close"), list(response.headers))

    def test_quiet(self) -> None:
        """
        What a request says is not in its text for logs: there may be cookies.
        """
        self.assertNotIn("xmpp", repr(request()))


class AcceptedTests(SynchronousTestCase):
    """
    L{accepted}
    """

    def test_judged(self) -> None:
        """
        The response is what RFC 6455 section 4.2.2 says, with no extension.
        """
        offered = request(sec_websocket_extensions=b"permessage-deflate")
        Judge().feed(accepted(offered))

    def test_client(self) -> None:
        """
        wsproto's client takes it.
        """
        client = WSConnection(ConnectionType.CLIENT)
        sent = client.send(Request(host="x", target="/ws", subprotocols=["xmpp"]))
        lines = [line.split(b": ", 1) for line in sent.split(b"\r\n")[1:] if line]
        given = UpgradeRequest(b"/ws", [(name, value) for name, value in lines])
        self.assertIsNone(refusalFor(given, ("*",)))
        client.receive_data(accepted(given))
        (event,) = client.events()
        assert isinstance(event, AcceptConnection)
        self.assertEqual((event.subprotocol, event.extensions), ("xmpp", []))
