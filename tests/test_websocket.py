# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.websocket}: the suite of all ways in, over WebSocket with and without
TLS, and what there is in no other way.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.address import IPv4Address

from cmanager.arrival import Arrival
from cmanager.clienttls import ClientCertificate, ClientTLS
from cmanager.errors import StreamError
from cmanager.framed import CLOSE, NS_FRAMING
from cmanager.records import Records
from cmanager.settings import ListenerSettings
from cmanager.stanza import FOOTER, NS_CLIENT, NS_STREAMS, Stanza, StreamHeader, streamErrorText
from cmanager.upgrade import UpgradeRequest
from cmanager.websocket import WebSocketStream
from tests import suite, test_frames
from tests.suite import HEADER, OPENED, Origin, StreamCase
from tests.test_outbox import message
from tests.test_records import TLSClient
from tests.ways import SecureWebSocketWay, WebSocketWay
from tests.websockets import CLOSE as CLOSE_OPCODE
from tests.websockets import (
    PING,
    PONG,
    TEXT,
    Got,
    Judge,
    fragments,
    frame,
    hangup,
    headers,
    text,
)
from tests.wires import Transport

OPEN = f"<open xmlns='{NS_FRAMING}' to='a.example' version='1.0'/>".encode()
ELSEWHERE = "wss://other.example/ws?a=1&b=2"


class ConnectTests(suite.ConnectTests):
    """
    A client comes over WebSocket.
    """

    makeWay = WebSocketWay

    def test_slots(self) -> None:
        """
        Nothing that a stream has is in a dict.
        """
        self.lose()
        self.assertEqual(vars(self.stream), {})


class ReadTests(suite.ReadTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class PauseTests(suite.PauseTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class WriteTests(suite.WriteTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class CloseTests(suite.CloseTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class StuckTests(suite.StuckTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class TimeTests(suite.TimeTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class SocketTests(suite.SocketTests):
    """
    Over WebSocket.
    """

    makeWay = WebSocketWay


class SecureConnectTests(suite.ConnectTests):
    """
    A client comes over WebSocket in TLS.
    """

    makeWay = SecureWebSocketWay


class SecureReadTests(suite.ReadTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class SecurePauseTests(suite.PauseTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class SecureWriteTests(suite.WriteTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class SecureCloseTests(suite.CloseTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class SecureStuckTests(suite.StuckTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class SecureTimeTests(suite.TimeTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class SecureSocketTests(suite.SocketTests):
    """
    In TLS.
    """

    makeWay = SecureWebSocketWay


class WebSocketCase(StreamCase):
    """
    What XMPP does not say.
    """

    makeWay = WebSocketWay
    way: Any

    def frames(self) -> list[Got]:
        """
        Return what came since the last call.
        """
        before = len(self.way.judge.frames)
        self.sent()
        return self.way.judge.frames[before:]

    def listen(self, arrival: Arrival | None = None, **settings: Any) -> None:
        """
        Connect anew, by a listener with these settings.
        """
        listener = ListenerSettings(type="websocket", endpoint="tcp:0", **settings)
        self.way = self.makeWay()
        request = UpgradeRequest(b"/ws", headers(origin=b"https://a.example"))
        origin: Any = Origin(self.clock, listener, self.hub)
        self.stream = WebSocketStream(origin, arrival, request)
        self.transport = Transport(None)
        self.transport.connect(self.stream)
        self.session = self.hub.sessions[-1]


class CertifiedRecords(Records):
    """
    TLS with a client that has shown a certificate.
    """

    def description(self) -> ClientTLS:
        """
        See L{Records.description}.
        """
        return ClientTLS(alpn="http/1.1", certificate=ClientCertificate("00", isVerified=True))


class HandshakeTests(WebSocketCase):
    """
    The answer to the request.
    """

    def test_first(self) -> None:
        """
        It comes before anything else, and alone.
        """
        self.listen()
        self.assertEqual(self.sent(), b"")
        self.assertTrue(self.way.judge.response)

    def test_refused(self) -> None:
        """
        A request that is not granted is told so in HTTP; it gets no session, and its address
        is not charged.
        """
        self.hub.limits.settings = evolve(self.hub.limits.settings, connectionsPerAddress=1)
        self.lose()
        origin = self.stream.origin
        before = len(self.hub.sessions)
        for changes, status in (
            ({"sec_websocket_protocol": b"chat"}, b"400"),
            ({"sec_websocket_version": b"8"}, b"426"),
            ({"origin": b"http://elsewhere.example"}, b"403"),
        ):
            listener = evolve(origin.listener, origins=("https://a.example",))
            stream = WebSocketStream(
                evolve(origin, listener=listener), None, UpgradeRequest(b"/", headers(**changes))
            )
            transport = Transport()
            stream.makeConnection(transport)
            self.assertTrue(transport.value().startswith(b"HTTP/1.1 " + status))
            self.assertTrue(transport.disconnecting)
            stream.dataReceived(text(OPEN))
            stream.connectionLost()
        self.assertEqual(len(self.hub.sessions), before)
        self.listen()
        self.assertEqual(len(self.hub.sessions), before + 1)

    def test_rest(self) -> None:
        """
        What came behind the request is read, and counts as something received.
        """
        self.listen(Arrival(rest=text(OPEN) + text(b"<presence xmlns='jabber:client'/>")))
        self.assertEqual(self.session.seen, [("opened", "a.example"), ("stanza", "presence")])

    def test_outside(self) -> None:
        """
        Behind a proxy that ends TLS the stream is secure, and its client where the proxy says.
        """
        self.listen(Arrival(address="203.0.113.5", isSecureOutside=True))
        self.assertTrue(self.stream.secure)
        self.assertEqual(self.stream.peer, "203.0.113.5")
        self.assertIsNone(self.stream.tlsFacts())

    def test_certificate(self) -> None:
        """
        A certificate that a browser has shown for a page counts where the listener names
        whose pages may come; that of who is no browser counts anyhow.
        """
        listener = self.stream.origin.listener
        for origins, page, counts in (
            (("*",), None, True),
            (("*",), b"https://a.example", False),
            (("https://a.example",), b"https://a.example", True),
        ):
            origin: Any = Origin(self.clock, evolve(listener, origins=origins), self.hub)
            records = CertifiedRecords(self.hub.tls.creator().serverConnectionForTLS(None))
            request = UpgradeRequest(b"/ws", headers(origin=page))
            stream = WebSocketStream(origin, Arrival(records=records), request)
            stream.makeConnection(Transport())
            facts = stream.tlsFacts()
            assert facts is not None
            self.assertEqual((facts.certificate is not None, facts.alpn), (counts, "http/1.1"))
            stream.connectionLost()

    def test_noStartTLS(self) -> None:
        """
        STARTTLS is never offered (RFC 7395 section 3.9), and changes nothing.
        """
        self.assertFalse(self.stream.canStartTLS)
        self.stream.startTLS(b"<proceed/>")
        self.assertEqual(self.sent(), b"")

    def test_fullInTLS(self) -> None:
        """
        Where TLS is up by now a client over a limit can read why it is refused.
        """
        records = Records(self.hub.tls.creator().serverConnectionForTLS(None))
        client, transport = TLSClient(), Transport(IPv4Address("TCP", "192.0.2.1", 1))
        outbox = Arrival(records=records).outboxFor(transport, lambda: None, 100000)
        data = client.exchange()
        while data:
            records.receive(data)
            outbox.flush()
            data, _ = client.exchange(transport.value()), transport.clear()
        self.hub.refusal = StreamError("resource-constraint")
        arrival = Arrival(records=records, outbox=outbox)
        stream = WebSocketStream(self.stream.origin, arrival, UpgradeRequest(b"/", headers()))
        stream.makeConnection(transport)
        client.exchange(transport.value())
        judge = Judge()
        judge.feed(client.received)
        opened, error, closed = judge.messages()
        self.assertTrue(opened.startswith(b"<open "))
        self.assertIn(b"<resource-constraint", error)
        self.assertEqual((closed, judge.code), (CLOSE, 1000))
        self.assertTrue(transport.disconnecting)
        self.assertTrue(client.ended)


class SpellingTests(WebSocketCase):
    """
    Each element is a message that stands on its own.
    """

    def test_features(self) -> None:
        """
        Header and features are two messages.
        """
        self.stream.open(OPENED, b"<stream:features/>")
        opened, features = (got.payload for got in self.frames())
        self.assertTrue(opened.startswith(b'<open xmlns="%s" from="verona' % NS_FRAMING.encode()))
        self.assertEqual(features, b'<stream:features xmlns:stream="%s"/>' % NS_STREAMS.encode())

    def test_elements(self) -> None:
        """
        What has a namespace keeps it; what has none is in C{jabber:client}.
        """
        self.stream.write(b'<success xmlns="urn:x"/>')
        self.stream.deliver(Stanza("iq", NS_CLIENT, {}, b'<iq id="1"><x xmlns="u"/></iq>'))
        self.assertEqual(
            [got.payload for got in self.frames()],
            [
                b'<success xmlns="urn:x"/>',
                b'<iq xmlns="jabber:client" id="1"><x xmlns="u"/></iq>',
            ],
        )

    def test_inwards(self) -> None:
        """
        A stanza arrives as it would over TCP.
        """
        got: list[Stanza] = []
        self.patch(self.session, "stanzaReceived", got.append)
        self.receive(HEADER)
        self.arrive(text(b"<message xmlns='jabber:client' to='x'><body>y</body></message>"))
        self.assertEqual(got[0].data, b'<message to="x"><body>y</body></message>')
        self.assertEqual(got[0].namespace, NS_CLIENT)

    def test_fragments(self) -> None:
        """
        It may come in fragments, with a ping between them; their sum is limited.
        """
        self.receive(HEADER)
        stanza = message(1, 9978).data.replace(b" ", b" xmlns='jabber:client' ", 1)
        self.assertEqual(len(stanza), 10000)
        for size in (1000, 9999):
            self.arrive(*(frame(PING, b"x") + part for part in fragments(stanza, size)))
        self.assertEqual(self.session.stanzas(), ["1", "1"])
        self.assertEqual({got.opcode for got in self.frames()}, {PONG})
        self.arrive(*fragments(stanza + b" ", 1000))
        self.assertEqual(self.session.seen[-1], ("failed", "policy-violation"))

    def test_limitOfMessages(self) -> None:
        """
        The limit holds for messages, changes with the login, and is seen in what a frame
        announces.
        """
        for change, limit in ((lambda: None, 10000), (lambda: self.stream.allow(20000), 20000)):
            self.connect()
            change()
            self.receive(HEADER)
            self.arrive(text(b"x" * limit)[:8])
            self.assertEqual(len(self.session.seen), 1)
            self.connect()
            change()
            self.receive(HEADER)
            self.arrive(text(b"x" * (limit + 1))[:4])
            self.assertEqual(self.session.seen[-1], ("failed", "policy-violation"))

    def test_namespace(self) -> None:
        """
        A header in another namespace is told so (section 3.3.2), after a restart too.
        """
        wrong = OPEN.replace(NS_FRAMING.encode(), b"jabber:client")
        self.arrive(text(wrong))
        self.assertEqual(self.session.seen, [("failed", "invalid-namespace")])
        self.connect()
        self.arrive(text(OPEN))
        self.stream.restart(20000)
        self.arrive(text(wrong))
        self.assertEqual(
            self.session.seen, [("opened", "a.example"), ("failed", "invalid-namespace")]
        )

    def test_bad(self) -> None:
        """
        A bad message is told so; the next ones are not heard, but the end is.
        """
        self.session.reactions["failed"] = lambda: self.stream.close(b"<error xmlns='x'/>")
        self.receive(HEADER)
        self.arrive(text(b" <presence xmlns='jabber:client'/>") + self.way.said(message(1).data))
        self.receive(message(2).data)
        self.assertEqual(self.session.seen[1:], [("failed", "bad-format")])
        self.assertFalse(self.transport.disconnecting)
        self.arrive(text(b"<") + text(CLOSE))
        self.assertEqual([got.opcode for got in self.frames()], [TEXT, TEXT, CLOSE_OPCODE])
        self.arrive(hangup())
        self.assertTrue(self.transport.disconnecting)

    def test_badBeforeTheEnd(self) -> None:
        """
        So it is if both come at once, and the session has not heard of either.
        """
        self.stream.pauseReading()
        self.session.reactions["failed"] = lambda: self.stream.close()
        self.arrive(text(OPEN) + text(b"<") + text(CLOSE) + hangup(1001))
        self.stream.resumeReading()
        self.assertEqual(self.session.seen[1:], [("failed", "not-well-formed")])
        self.assertTrue(self.transport.disconnecting)
        self.sent()
        self.assertEqual(self.way.judge.code, 1001)


class EndTests(WebSocketCase):
    """
    Stream, WebSocket and transport end one after the other.
    """

    def codes(self) -> list[bytes | int]:
        """
        Return what came since the last call: messages, and the code of the end.
        """
        return [
            int.from_bytes(got.payload, "big") if got.opcode == CLOSE_OPCODE else got.payload
            for got in self.frames()
        ]

    def test_ours(self) -> None:
        """
        We close the WebSocket once the client has ended its stream, and the transport once
        it has closed the WebSocket.
        """
        self.receive(HEADER)
        error = streamErrorText(StreamError("conflict"))
        self.stream.close(error)
        first, second = self.codes()
        self.assertEqual(second, CLOSE)
        self.assertIn(b"<conflict", first)  # type: ignore[arg-type]
        self.assertIn(b'xmlns:stream="%s"' % NS_STREAMS.encode(), first)  # type: ignore[arg-type]
        self.arrive(text(CLOSE))
        self.assertEqual(self.codes(), [1000])
        self.assertFalse(self.transport.disconnecting)
        self.arrive(text(CLOSE), hangup())
        self.assertEqual(self.codes(), [])
        self.assertTrue(self.transport.disconnecting)

    def test_theirs(self) -> None:
        """
        A client that ends its stream gets the end of ours and of the WebSocket.
        """
        self.session.reactions["closed"] = lambda: self.stream.close()
        self.arrive(text(OPEN), text(CLOSE))
        self.assertEqual(self.codes(), [CLOSE, 1000])
        self.assertFalse(self.transport.disconnecting)
        self.arrive(hangup())
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.session.seen, [("opened", "a.example"), ("closed", None)])

    def test_hangup(self) -> None:
        """
        A client that closes the WebSocket has ended its stream (section 3.6); it gets nothing
        but the same code.
        """
        self.session.reactions["closed"] = lambda: self.stream.close(b"<x/>", OPENED)
        for code in (1000, 1001, 4999):
            self.connect()
            self.session.reactions["closed"] = lambda: self.stream.close(b"<x/>", OPENED)
            self.arrive(text(OPEN), hangup(code), text(b"<presence xmlns='jabber:client'/>"))
            self.assertEqual(self.codes(), [code])
            self.assertTrue(self.transport.disconnecting)
            self.assertEqual(self.session.seen, [("opened", "a.example"), ("closed", None)])

    def test_once(self) -> None:
        """
        The session hears of the end once, however it is said.
        """
        self.arrive(text(OPEN) + text(CLOSE) + text(CLOSE) + hangup())
        self.assertEqual(self.session.seen, [("opened", "a.example"), ("closed", None)])

    def test_silence(self) -> None:
        """
        A client that does neither has its WebSocket closed after the grace time.
        """
        self.stream.close()
        self.assertEqual(self.codes(), [CLOSE])
        self.pass_(4)
        self.assertEqual(self.codes(), [])
        self.pass_(1)
        self.assertEqual(self.codes(), [1000])
        self.assertTrue(self.transport.disconnecting)

    def test_headerFirst(self) -> None:
        """
        Where none was sent, a header comes before the error (section 3.5).
        """
        self.stream.close(b"<x/>", StreamHeader(id="7", from_="a.example"))
        opened, error, end = self.codes()
        self.assertTrue(opened.startswith(b"<open "))  # type: ignore[union-attr]
        self.assertEqual((error, end), (b'<x xmlns="jabber:client"/>', CLOSE))

    def test_violations(self) -> None:
        """
        Who breaks the rules of WebSocket is told so as XMPP says it and as WebSocket says it,
        and has time to read that.
        """
        for name, (data, code, condition) in test_frames.ViolationTests.TABLE.items():
            self.connect()
            error = streamErrorText(StreamError(condition))
            session = self.session
            session.reactions["failed"] = lambda error=error: self.stream.close(error)
            self.receive(HEADER, message(1).data)
            self.arrive(data + self.way.said(message(2).data))
            self.assertEqual(session.seen[1:], [("stanza", "1"), ("failed", condition)], name)
            told, *rest = self.codes()
            self.assertIn(condition.encode(), told, name)  # type: ignore[arg-type]
            self.assertEqual(rest, [CLOSE, code], name)
            self.assertFalse(self.transport.disconnecting)
            self.arrive(self.way.said(FOOTER))
            self.pass_(5)
            self.assertEqual(self.codes(), [])
            self.assertTrue(self.transport.disconnecting)

    def test_violationWhileClosing(self) -> None:
        """
        Nobody cares while the stream is closing.
        """
        self.stream.close()
        self.arrive(frame(TEXT, b"x", mask=None), self.way.said(FOOTER))
        self.assertEqual(self.codes(), [CLOSE])
        self.pass_(5)
        self.assertEqual(self.codes(), [1000])

    def test_violationBehindTheEnd(self) -> None:
        """
        Nor behind the end.
        """
        self.session.reactions["closed"] = lambda: self.stream.close()
        self.arrive(text(OPEN) + text(CLOSE) + frame(TEXT, b"x", mask=None))
        self.assertEqual(self.session.seen, [("opened", "a.example"), ("closed", None)])
        self.assertEqual(self.codes(), [CLOSE, 1000])

    def test_notTaken(self) -> None:
        """
        The end waits behind what the client has not taken.
        """
        self.fill()
        self.stream.deliver(message(1))
        self.stream.close()
        self.arrive(text(CLOSE), hangup())
        self.assertFalse(self.transport.disconnecting)
        self.transport.isFull = False
        self.transport.producer.resumeProducing()
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.codes()[-2:], [CLOSE, 1000])

    def test_twice(self) -> None:
        """
        A second close does nothing, not even after the client's end.
        """
        self.stream.close()
        self.arrive(text(CLOSE))
        self.stream.close(b"<x/>")
        self.assertEqual(self.codes(), [CLOSE, 1000])


class ElsewhereTests(WebSocketCase):
    """
    The listener sends its clients to another (section 3.6.1).
    """

    def test_elsewhere(self) -> None:
        """
        The answer to C{<open/>} is a C{<close/>} that says where to go.
        """
        self.listen(seeOtherUri=ELSEWHERE)
        self.session.reactions["closed"] = lambda: self.stream.close(b"", OPENED)
        self.arrive(text(OPEN) + text(b"<presence xmlns='jabber:client'/>"))
        self.assertEqual(self.session.seen, [("closed", None)])
        (got,) = self.frames()
        self.assertEqual(
            got.payload,
            b'<close xmlns="%s" see-other-uri="wss://other.example/ws?a=1&amp;b=2"/>'
            % NS_FRAMING.encode(),
        )
        self.arrive(hangup())
        self.assertEqual([got.opcode for got in self.frames()], [CLOSE_OPCODE])
        self.assertTrue(self.transport.disconnecting)

    def test_bad(self) -> None:
        """
        Who sends no C{<open/>} is sent nowhere.
        """
        self.listen(seeOtherUri=ELSEWHERE)
        self.arrive(text(b"<presence xmlns='jabber:client'/>"))
        self.assertEqual(self.session.seen, [("stanza", "presence")])


class PingTests(WebSocketCase):
    """
    Pings, theirs and ours.
    """

    def test_answered(self) -> None:
        """
        A ping is answered with what it carries, before the header and behind it; of several
        in one read the last is enough.
        """
        self.arrive(frame(PING, b"a"))
        self.assertEqual(self.frames(), [Got(PONG, b"a")])
        self.receive(HEADER)
        self.arrive(frame(PING, b"b") + frame(PING, b"c" * 125))
        self.assertEqual(self.frames(), [Got(PONG, b"c" * 125)])

    def test_flood(self) -> None:
        """
        A client that pings and does not read is cut off at the bound; nothing more of it
        is heard.
        """
        self.connect(queueBytes=16384)
        self.receive(HEADER)
        self.fill()
        pings = 16384 // 127
        self.arrive(*[frame(PING, b"x" * 125)] * pings)
        self.assertFalse(self.transport.aborted)
        self.arrive(frame(PING, b"x" * 125) + self.way.said(message(1).data))
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.session.stanzas(), [])

    def test_closing(self) -> None:
        """
        A closing stream answers none.
        """
        self.stream.close()
        self.frames()
        self.arrive(frame(PING))
        self.assertEqual(self.frames(), [])

    def test_pong(self) -> None:
        """
        A pong nobody asked for is nothing, but a sign of life.
        """
        self.connect(idleTimeout=10.0)
        for _ in range(3):
            self.pass_(9)
            self.arrive(frame(PONG, b"x"))
        self.assertEqual((self.session.seen, self.frames()), ([], []))
        self.pass_(10)
        self.assertEqual(self.session.seen, [("idle", "idle")])

    def test_ours(self) -> None:
        """
        A client that got nothing for so long as its listener says gets a ping, even before
        its header, and whatever interval TCP has.
        """
        self.hub.settings = evolve(self.hub.settings, keepalive=1.0)
        self.listen(ping=30.0)
        self.sent()
        self.pass_(29)
        self.assertEqual(self.frames(), [])
        self.pass_(1)
        self.assertEqual(self.frames(), [Got(PING, b"")])

    def test_silence(self) -> None:
        """
        In five minutes in which nobody says anything nothing ends, and no proxy that waits for
        a minute has reason to, whether the client answers or not.
        """
        for isAnswering in (False, True):
            self.listen()
            self.receive(HEADER)
            self.sent()
            del self.session.seen[:]
            for _ in range(10):
                self.pass_(29)
                self.assertEqual(self.frames(), [])
                self.pass_(1)
                self.assertEqual(self.frames(), [Got(PING, b"")])
                if isAnswering:
                    self.arrive(frame(PONG))
            self.assertEqual(self.session.seen, [("idle", "login")])
            self.assertFalse(self.transport.disconnecting or self.transport.aborted)

    def test_never(self) -> None:
        """
        With an interval of 0 it gets none.
        """
        self.listen(ping=0.0)
        self.sent()
        self.pass_(50)
        self.assertEqual(self.frames(), [])
