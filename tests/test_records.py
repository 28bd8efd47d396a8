# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.records}.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import TestCase

from cmanager.clienttls import TLS_UNIQUE
from cmanager.openssl import MAX_RECORD_BYTES
from cmanager.records import NoCommonProtocol, Records, reasonOf
from tests.certificates import authority


def serverContext(alpn: bool = False) -> SSL.Context:
    """
    A plain context for C{a.example}; with C{alpn} it refuses every protocol.
    """
    identity = authority().issue("a.example")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(identity.certificate)
    context.use_privatekey(identity.key)
    if alpn:

        def refuse(connection: SSL.Connection, offered: list[bytes]) -> bytes:
            raise NoCommonProtocol

        context.set_alpn_select_callback(refuse)
    return context


class TLSClient:
    """
    The other end, in memory.

    @ivar received: Plaintext, so far.
    @ivar failure: What went wrong, or L{None}.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        alpn: list[bytes] | None = None,
        newest: int | None = None,
        context: SSL.Context | None = None,
    ) -> None:
        context = context or SSL.Context(SSL.TLS_CLIENT_METHOD)
        if newest is not None:
            context.set_max_proto_version(newest)
        self.connection = SSL.Connection(context, None)
        if name is not None:
            self.connection.set_tlsext_host_name(name.encode())
        if alpn is not None:
            self.connection.set_alpn_protos(alpn)
        self.connection.set_connect_state()
        self.received = b""
        self.failure: str | None = None
        self.ended = False

    def exchange(self, data: bytes = b"") -> bytes:
        """
        Take what the server sent; return what there is to answer.
        """
        try:
            if data:
                self.connection.bio_write(data)
            self.connection.do_handshake()
            while True:
                self.received += self.connection.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error as error:
            self.failure = self.failure or reasonOf(error)
        try:
            return self.connection.bio_read(1 << 20)
        except SSL.Error:
            return b""

    def send(self, data: bytes) -> bytes:
        """
        Return C{data} encrypted.
        """
        out = b""
        for start in range(0, len(data), MAX_RECORD_BYTES):
            self.connection.send(data[start : start + MAX_RECORD_BYTES])
            out += self.connection.bio_read(1 << 20)
        return out


class RecordsTests(TestCase):
    """
    One end of TLS, spoken to by another.
    """

    def setUp(self) -> None:
        self.records = Records(SSL.Connection(serverContext(), None))
        self.client = TLSClient()

    def handshake(self) -> bytes:
        """
        Let both shake hands; return plaintext that came with it.
        """
        plain = b""
        data = self.client.exchange()
        while data:
            plain += self.records.receive(data)
            data = self.client.exchange(self.records.outgoing())
        return plain

    def test_handshake(self) -> None:
        """
        After the handshake the end is established, and not before.
        """
        self.assertFalse(self.records.established)
        self.assertEqual(self.handshake(), b"")
        self.assertTrue(self.records.established)
        self.assertIsNone(self.records.failure)

    def test_byteByByte(self) -> None:
        """
        It does not matter how the bytes are split.
        """
        data = self.client.exchange()
        while data:
            for n in range(len(data)):
                self.records.receive(data[n : n + 1])
            data = self.client.exchange(self.records.outgoing())
        self.assertTrue(self.records.established)

    def test_receive(self) -> None:
        """
        All plaintext of what came in is returned, however many records it took.
        """
        self.handshake()
        text = bytes(range(256)) * 400
        self.assertEqual(self.records.receive(self.client.send(text)), text)

    def test_encrypt(self) -> None:
        """
        The largest record reaches the other end as one.
        """
        self.handshake()
        wire = self.records.encrypt(b"x" * MAX_RECORD_BYTES)
        self.client.exchange(wire[:-1])
        self.assertEqual(self.client.received, b"")
        self.client.exchange(wire[-1:])
        self.assertEqual(self.client.received, b"x" * MAX_RECORD_BYTES)

    def test_description(self) -> None:
        """
        Once established, it can be described.
        """
        self.assertIs(self.records.description(), None)
        self.handshake()
        found = self.records.description()
        assert found is not None
        self.assertEqual(found.version, "TLSv1.3")

    def test_finished(self) -> None:
        """
        A full handshake in TLS 1.2 has C{tls-unique}, however its bytes are split; a
        resumed one has none.
        """
        context, ofClient = serverContext(), SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_session_id(b"cmanager")
        ofClient.set_max_proto_version(SSL.TLS1_2_VERSION)
        # One that is dropped without a proper end takes its session along.
        first = self.client = TLSClient(context=ofClient)
        for expected in (True, False):
            self.records = Records(SSL.Connection(context, None))
            data = self.client.exchange()
            while data:
                for n in range(len(data)):
                    self.records.receive(data[n : n + 1])
                data = self.client.exchange(self.records.outgoing())
            found = self.records.description()
            assert found is not None
            self.assertIs(TLS_UNIQUE in found.bindingTypes, expected)
            session = first.connection.get_session()
            assert session is not None
            self.client = TLSClient(context=ofClient)
            self.client.connection.set_session(session)

    def test_peerEnds(self) -> None:
        """
        What came before the peer's end is returned, and the end is noted.
        """
        self.handshake()
        data = self.client.send(b"last")
        self.client.connection.shutdown()
        self.assertEqual(
            self.records.receive(data + self.client.connection.bio_read(1000)), b"last"
        )
        self.assertTrue(self.records.ended)

    def test_close(self) -> None:
        """
        C{close} tells the peer.
        """
        self.handshake()
        self.records.close()
        self.client.exchange(self.records.outgoing())
        self.assertTrue(self.client.ended)

    def test_closeEarly(self) -> None:
        """
        Before the handshake is done there is nothing to tell.
        """
        self.records.close()
        self.assertEqual(self.records.outgoing(), b"")

    def test_garbage(self) -> None:
        """
        What is not TLS is a failure.
        """
        self.assertEqual(self.records.receive(b"<stream:stream to='a.example'>"), b"")
        self.assertIsNotNone(self.records.failure)

    def test_damaged(self) -> None:
        """
        Good records before a damaged one are returned; then it has failed, and an
        alert says so.
        """
        self.handshake()
        good, bad = self.client.send(b"good"), bytearray(self.client.send(b"bad"))
        bad[-1] ^= 1
        self.assertEqual(self.records.receive(good + bytes(bad)), b"good")
        self.assertIn("bad record mac", str(self.records.failure))
        self.client.exchange(self.records.outgoing())
        self.assertIsNotNone(self.client.failure)
        # Closing, and encrypting, do no harm any more.
        self.records.close()

    def test_encryptAfterEnd(self) -> None:
        """
        After our end nothing can be encrypted.
        """
        self.handshake()
        self.records.close()
        self.records.outgoing()
        self.assertEqual(self.records.encrypt(b"x"), b"")
        self.assertIsNotNone(self.records.failure)

    def test_protocol(self) -> None:
        """
        What ALPN has agreed on is known once there is agreement.
        """
        for offered, agreed in (([b"h2", b"x"], b"x"), (None, b"")):
            context = serverContext()
            context.set_alpn_select_callback(lambda _, names: names[-1])
            self.records = Records(SSL.Connection(context, None))
            self.client = TLSClient(alpn=offered)
            self.assertEqual(self.records.protocol, b"")
            self.handshake()
            self.assertEqual(self.records.protocol, agreed)

    def test_noCommonProtocol(self) -> None:
        """
        An ALPN callback that refuses ends the handshake with an alert.
        """
        self.records = Records(SSL.Connection(serverContext(alpn=True), None))
        self.client = TLSClient(alpn=[b"h2"])
        self.handshake()
        self.assertIn("application protocols", str(self.records.failure))
        self.assertIn("no application protocol", str(self.client.failure))


class ReasonTests(TestCase):
    """
    OpenSSL's errors in words.
    """

    def test_reasons(self) -> None:
        """
        Whatever an error carries, there is one line.
        """
        self.assertEqual(reasonOf(SSL.SysCallError(-1, "Unexpected EOF")), "Unexpected EOF")
        self.assertEqual(reasonOf(SSL.Error([("a", "b", "c"), ("d", "e", "f")])), "c; f")
        self.assertEqual(reasonOf(SSL.Error([])), "[]")
        self.assertEqual(reasonOf(ValueError()), "ValueError")
