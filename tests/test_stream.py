# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.stream}: the suite of all ways in, over TCP with and without TLS, and
what there is in no other way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from cmanager.arrival import Arrival
from cmanager.clienttls import TLS_EXPORTER
from cmanager.errors import StreamError
from cmanager.records import Records
from cmanager.settings import TLSSettings
from cmanager.stanza import FOOTER
from cmanager.tcp import TLSStream
from cmanager.tls import XMPP_CLIENT, CertificateStore
from tests import suite
from tests.certificates import authority
from tests.suite import HEADER, OPENED, StreamCase
from tests.test_outbox import message
from tests.test_records import TLSClient
from tests.ways import TLSWay
from tests.wires import Transport

STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
PROCEED = b'<proceed xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>'


class ConnectTests(suite.ConnectTests):
    """
    A client comes over TCP.
    """

    def test_canStartTLS(self) -> None:
        """
        STARTTLS may be offered; not without a certificate.
        """
        self.assertTrue(self.stream.canStartTLS)
        self.hub.tls = CertificateStore(TLSSettings(certificates="/nowhere"), Clock())
        self.assertFalse(self.stream.canStartTLS)

    def test_slots(self) -> None:
        """
        Nothing that a stream has is in a dict.
        """
        self.lose()
        self.assertEqual(vars(self.stream), {})


class ReadTests(suite.ReadTests):
    """
    Over TCP.
    """


class PauseTests(suite.PauseTests):
    """
    Over TCP.
    """


class TimeTests(suite.TimeTests):
    """
    Over TCP.
    """

    def test_keepaliveOpen(self) -> None:
        """
        White space is sent once the stream is open on both sides: it would stand before the
        XML declaration.
        """
        self.connect(keepalive=5.0)
        self.pass_(6)
        self.receive(HEADER)
        self.pass_(5)
        self.assertEqual(self.sent(), b"")
        self.stream.open(OPENED)
        self.sent()
        self.stream.restart(10000)
        self.stream.write(b"<success/>")
        self.sent()
        self.pass_(20)
        self.assertEqual(self.sent(), b"")


class SocketTests(suite.SocketTests):
    """
    Over TCP.
    """


class TLSConnectTests(suite.ConnectTests):
    """
    A client comes in TLS from the first byte.
    """

    makeWay = TLSWay


class TLSReadTests(suite.ReadTests):
    """
    In TLS.
    """

    makeWay = TLSWay


class TLSPauseTests(suite.PauseTests):
    """
    In TLS.
    """

    makeWay = TLSWay


class TLSTimeTests(suite.TimeTests):
    """
    In TLS.
    """

    makeWay = TLSWay


class TLSSocketTests(suite.SocketTests):
    """
    In TLS.
    """

    makeWay = TLSWay


class TLSCase(StreamCase):
    """
    With a TLS client.
    """

    def setUp(self) -> None:
        super().setUp()
        self.client = TLSClient(name="a.example")

    def exchange(self, data: bytes = b"") -> None:
        """
        Let data of the client's, and all that follows of it, pass both ways.
        """
        data = data or self.client.exchange()
        while data:
            self.receive(data)
            data = self.client.exchange(self.sent())

    def received(self) -> bytes:
        """
        Return what the client has got since the last call.
        """
        self.client.exchange(self.sent())
        value, self.client.received = self.client.received, b""
        return value


class StartTLSTests(TLSCase):
    """
    TLS in the middle of the stream.
    """

    def start(self, behind: bytes = b"") -> None:
        """
        Ask for TLS, with these bytes in the same read.
        """
        self.session.reactions["starttls"] = lambda: self.stream.startTLS(PROCEED)
        self.receive(HEADER, STARTTLS + behind)

    def test_secured(self) -> None:
        """
        After C{<proceed/>} and the handshake the session is told, and reads and writes
        under TLS.
        """
        self.start()
        self.assertEqual(self.sent(), PROCEED)
        self.assertFalse(self.stream.secure or self.stream.canStartTLS)
        self.exchange()
        self.assertEqual(self.session.seen[-1], ("secured", None))
        self.assertTrue(self.stream.secure)
        self.assertEqual(self.stream.transportName, "tcp")
        self.receive(self.client.send(HEADER + message(1).data))
        self.assertEqual(self.session.seen[-2:], [("opened", "a.example"), ("stanza", "1")])
        self.stream.deliver(message(2))
        self.assertEqual(self.received(), message(2).data)

    def test_facts(self) -> None:
        """
        The TLS can be described once it is there; both ends have the same data.
        """
        self.assertIs(self.stream.tlsFacts(), None)
        self.start()
        self.sent()
        self.assertIs(self.stream.tlsFacts(), None)
        self.exchange()
        facts = self.stream.tlsFacts()
        assert facts is not None
        exported = self.client.connection.export_keying_material(
            b"EXPORTER-Channel-Binding", 32, b""
        )
        self.assertIn((TLS_EXPORTER, exported), facts.bindings)

    def test_certificate(self) -> None:
        """
        Without a server name the stream's C{to} picks the certificate.
        """
        directory = Path(self.hub.tls._settings.certificates)
        authority().issue("0.example").write(directory, "0")
        self.hub.tls.reload()
        self.client = TLSClient()
        self.start()
        self.sent()
        self.exchange()
        certificate = self.client.connection.get_peer_certificate(as_cryptography=True)
        self.assertIn("a.example", str(certificate.extensions))  # type: ignore[union-attr]

    def test_injected(self) -> None:
        """
        Bytes behind C{<starttls/>} end the stream; none of them is looked at
        (CVE-2011-0411).
        """
        for behind in (message(1).data, b"<mess", b"</stream:stream>", b"x", b"<!--", b"\x16\x03"):
            self.connect()
            self.session.reactions["failed"] = lambda: self.stream.close()
            self.start(behind)
            self.assertEqual(
                self.session.seen[1:],
                [("stanza", "starttls"), ("failed", "policy-violation")],
                behind,
            )
            self.assertEqual(self.sent(), FOOTER)
            self.assertFalse(self.stream.secure)

    def test_whiteSpace(self) -> None:
        """
        White space there is nothing.
        """
        self.start(b" \r\n")
        self.sent()
        self.exchange()
        self.assertTrue(self.stream.secure)

    def test_order(self) -> None:
        """
        What is written during the handshake goes out encrypted after it.
        """
        self.start()
        self.sent()
        self.stream.write(b"<early/>")
        self.assertEqual(self.sent(), b"")
        self.exchange()
        self.assertEqual(self.client.received, b"<early/>")

    def test_notTLS(self) -> None:
        """
        A client that goes on in plain text is closed.
        """
        self.start()
        self.receive(HEADER)
        self.assertTrue(self.transport.disconnecting)
        self.assertNotIn(("opened", "a.example"), self.session.seen[1:])

    def test_closedDuringHandshake(self) -> None:
        """
        A session that has closed hears of no security.
        """
        self.start()
        self.sent()
        self.stream.close()
        self.exchange()
        self.assertNotIn(("secured", None), self.session.seen)
        self.assertEqual(self.client.received, FOOTER)

    def test_damaged(self) -> None:
        """
        What came before a damaged record arrives.
        """
        self.start()
        self.sent()
        self.exchange()
        good, bad = self.client.send(HEADER), bytearray(self.client.send(b" "))
        bad[-1] ^= 1
        self.receive(good + bytes(bad))
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.session.seen.count(("opened", "a.example")), 2)


class RawTLSWay(TLSWay):
    """
    One whose TLS is the test's business.
    """

    isEncrypted = False


class DirectTests(TLSCase):
    """
    TLS from the first byte.
    """

    makeWay = RawTLSWay

    def test_attributes(self) -> None:
        """
        The stream is secure, and nothing more can be made of it.
        """
        self.assertTrue(self.stream.secure)
        self.assertFalse(self.stream.canStartTLS)
        self.assertEqual(self.stream.transportName, "tls")

    def test_facts(self) -> None:
        """
        The client's TLS can be described, unless it ends at a proxy: then ours is not
        the client's.
        """
        factory: Any = self.stream.origin
        for isSecureOutside in (None, True):
            records = Records(self.hub.tls.creator().serverConnectionForTLS(None))
            arrival = Arrival(records=records, isSecureOutside=isSecureOutside)
            self.stream, self.transport = TLSStream(factory, arrival), Transport(None)
            self.transport.connect(self.stream)
            self.assertIs(self.stream.tlsFacts(), None)
            self.client = TLSClient()
            self.exchange()
            self.assertTrue(self.stream.secure)
            self.assertEqual(self.stream.tlsFacts() is None, isSecureOutside is True)

    def test_stream(self) -> None:
        """
        The session begins with the header.
        """
        self.exchange()
        self.receive(self.client.send(HEADER))
        self.assertEqual(self.session.seen, [("opened", "a.example")])

    def test_alpn(self) -> None:
        """
        C{xmpp-client} is agreed on.
        """
        self.client = TLSClient(alpn=[XMPP_CLIENT])
        self.exchange()
        self.assertEqual(self.client.connection.get_alpn_proto_negotiated(), XMPP_CLIENT)

    def test_wrongALPN(self) -> None:
        """
        A client that wants another protocol is refused, with TLS's own alert.
        """
        self.client = TLSClient(alpn=[b"h2"])
        self.receive(self.client.exchange())
        self.assertTrue(self.transport.disconnecting)
        self.client.exchange(self.sent())
        self.assertIn("no application protocol", str(self.client.failure))

    def test_refused(self) -> None:
        """
        A client over a limit is closed without a word: none could be read.
        """
        self.hub.refusal = StreamError("resource-constraint")
        self.connect()
        self.assertEqual(self.sent(), b"")
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.hub.metrics.value("clients_refused", "resource-constraint"), 1)

    def test_peerEnds(self) -> None:
        """
        A client that ends TLS without ending its stream is closed; TLS is ended in turn.
        """
        self.exchange()
        data = self.client.send(HEADER)
        self.client.connection.shutdown()
        self.receive(data + self.client.connection.bio_read(1000))
        self.assertEqual(self.session.seen, [("opened", "a.example")])
        self.assertTrue(self.transport.disconnecting)
        self.client.exchange(self.sent())
        self.assertTrue(self.client.ended)
        self.stream.close()

    def test_peerEndsClosing(self) -> None:
        """
        In a closing stream that counts as its end, once all is taken.
        """
        self.exchange()
        self.fill()
        self.stream.close()
        self.client.connection.shutdown()
        self.receive(self.client.connection.bio_read(1000))
        self.assertFalse(self.transport.disconnecting)
        self.transport.producer.resumeProducing()
        self.assertTrue(self.transport.disconnecting)

    def test_stuck(self) -> None:
        """
        A client that makes TLS answer and does not read is dropped.
        """
        self.exchange()
        self.fill()
        self.stream.deliver(message(1))
        self.stream._outbox._control = b"x" * 70000
        self.receive(self.client.send(b" "))
        self.assertTrue(self.transport.aborted)

    def test_footers(self) -> None:
        """
        Footer and TLS's own end reach the client.
        """
        self.exchange()
        self.session.reactions["closed"] = lambda: self.stream.close()
        self.receive(self.client.send(HEADER + FOOTER))
        self.assertEqual(self.received(), FOOTER)
        self.assertTrue(self.client.ended)
