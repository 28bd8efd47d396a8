# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.binding}, with both ends of TLS connections in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import (
    MD5,
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    HashAlgorithm,
)
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID
from OpenSSL import SSL, crypto
from twisted.trial.unittest import TestCase

from cmanager.binding import Verdict, describe, endPoint, requestCertificate
from cmanager.clienttls import (
    MAX_CERTIFICATE_BYTES,
    TLS_EXPORTER,
    TLS_SERVER_END_POINT,
    TLS_UNIQUE,
    ClientCertificate,
    ClientTLS,
)
from tests.certificates import Authority, Identity, authority
from tests.test_records import TLSClient, serverContext

LABEL = b"EXPORTER-Channel-Binding"
# Object identifiers in DER (RFC 8017 appendix C).
SHA256_WITH_RSA = bytes.fromhex("2a864886f70d01010b")
SHA1_WITH_RSA = SHA256_WITH_RSA[:-1] + b"\x05"
MD5_WITH_RSA = SHA256_WITH_RSA[:-1] + b"\x04"


def shake(server: SSL.Connection, client: TLSClient) -> bool:
    """
    Let both shake hands.

    @return: The client's Finished went before the server's.
    """
    server.set_accept_state()
    isFirst = False
    data = client.exchange()
    while data:
        server.bio_write(data)
        try:
            isFirst = server.get_finished() is None
            server.do_handshake()
        except SSL.WantReadError:
            data = client.exchange(server.bio_read(1 << 16))
        else:
            break
    with contextlib.suppress(SSL.WantReadError):
        client.exchange(server.bio_read(1 << 16))
    assert client.failure is None
    return isFirst


def serverEnd(context: SSL.Context | None = None) -> SSL.Connection:
    """
    Return a server's end.
    """
    return SSL.Connection(context or serverContext(), None)


class DescriptionTests(TestCase):
    """
    What is told of a connection.
    """

    def described(self, client: TLSClient, context: SSL.Context | None = None) -> ClientTLS:
        """
        Shake hands, and describe the server's end.
        """
        server = serverEnd(context)
        isFirst = shake(server, client)
        return describe(server, clientFinishedFirst=isFirst)

    def test_exporter(self) -> None:
        """
        Both ends export the same in TLS 1.3, which has no C{tls-unique}.
        """
        client = TLSClient()
        found = self.described(client)
        self.assertEqual(found.version, "TLSv1.3")
        self.assertEqual(found.cipher, client.connection.get_cipher_name())
        self.assertEqual(found.bindingTypes, (TLS_EXPORTER, TLS_SERVER_END_POINT))
        exported = dict(found.bindings)[TLS_EXPORTER]
        self.assertEqual(len(exported), 32)
        self.assertEqual(exported, client.connection.export_keying_material(LABEL, 32, b""))
        # A context of no length is none in TLS 1.3 (RFC 8446 section 7.5).
        self.assertEqual(exported, client.connection.export_keying_material(LABEL, 32))

    def test_unique(self) -> None:
        """
        In TLS 1.2 it is the client's Finished, and nothing is exported.
        """
        client = TLSClient(newest=SSL.TLS1_2_VERSION)
        found = self.described(client)
        self.assertEqual(found.version, "TLSv1.2")
        self.assertEqual(found.bindingTypes, (TLS_UNIQUE, TLS_SERVER_END_POINT))
        self.assertEqual(dict(found.bindings)[TLS_UNIQUE], client.connection.get_finished())

    def test_resumed(self) -> None:
        """
        Of a resumed connection in TLS 1.2 there is no C{tls-unique}; in TLS 1.3 nothing
        is different.
        """
        for newest, expected in (
            (SSL.TLS1_2_VERSION, (TLS_SERVER_END_POINT,)),
            (SSL.TLS1_3_VERSION, (TLS_EXPORTER, TLS_SERVER_END_POINT)),
        ):
            context = serverContext()
            context.set_session_id(b"cmanager")
            ofClient = SSL.Context(SSL.TLS_CLIENT_METHOD)
            ofClient.set_max_proto_version(newest)
            first, second = TLSClient(context=ofClient), TLSClient(context=ofClient)
            whole = self.described(first, context)
            session = first.connection.get_session()
            assert session is not None
            second.connection.set_session(session)
            resumed = self.described(second, context)
            self.assertEqual(resumed.bindingTypes, expected)
            self.assertEqual(resumed.bindings[-1], whole.bindings[-1])

    def test_serverEndPoint(self) -> None:
        """
        It is the hash of the certificate that the client was shown.
        """
        client = TLSClient()
        found = dict(self.described(client).bindings)[TLS_SERVER_END_POINT]
        shown = client.connection.get_peer_certificate(as_cryptography=True)
        assert shown is not None
        self.assertEqual(found, shown.fingerprint(SHA256()))

    def test_noCertificate(self) -> None:
        """
        An end that has shown none has no C{tls-server-end-point}.
        """
        client = TLSClient()
        shake(serverEnd(), client)
        found = describe(client.connection, clientFinishedFirst=False)
        self.assertEqual(found.bindingTypes, (TLS_EXPORTER,))

    def test_names(self) -> None:
        """
        The server name asked for and the protocol chosen are told; none where there is
        none.
        """
        context = serverContext()
        context.set_alpn_select_callback(lambda connection, offered: offered[0])
        found = self.described(TLSClient(name="a.example", alpn=[b"xmpp-client"]), context)
        self.assertEqual((found.sni, found.alpn), ("a.example", "xmpp-client"))
        found = self.described(TLSClient())
        self.assertEqual((found.sni, found.alpn), (None, None))

    def test_strangeNames(self) -> None:
        """
        A name that cannot stand in XML, or is no name, is not told.
        """
        for name in ("a\x01b", "a b", "\u00e9", "a\ufffe"):
            self.assertIs(self.described(TLSClient(name=name)).sni, None)
        self.assertEqual(self.described(TLSClient(name="x" * 255)).sni, "x" * 255)


class CertificateTests(TestCase):
    """
    What is told of a client's certificate.
    """

    def shown(
        self, identity: Identity | None, *, newest: int | None = None, asked: bool = True
    ) -> ClientCertificate | None:
        """
        Let a client show a certificate.
        """
        server = serverContext()
        store = server.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography(authority().certificate))
        connection = serverEnd(server)
        if asked:
            requestCertificate(connection)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if identity is not None:
            context.use_certificate(identity.certificate)
            context.use_privatekey(identity.key)
        shake(connection, TLSClient(context=context, newest=newest))
        return describe(connection, clientFinishedFirst=False).certificate

    def test_verified(self) -> None:
        """
        A certificate of a named authority is verified, in either version of TLS.
        """
        identity = authority().issue(xmpp=["juliet@a.example"])
        der = identity.certificate.public_bytes(Encoding.DER)
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            found = self.shown(identity, newest=newest)
            expected = ClientCertificate(hashlib.sha256(der).hexdigest(), der, isVerified=True)
            self.assertEqual(found, expected)

    def test_refused(self) -> None:
        """
        What is wrong with another is said; the client is let in.
        """
        alone = Authority("Juliet")
        for identity, problem in (
            (Identity(alone.certificate, alone.key), "self-signed"),
            (alone.issue("juliet"), "not known"),
            (authority().issue("juliet", validFor=timedelta(days=-1)), "expired"),
            (
                authority().issue(
                    "juliet",
                    now=datetime.now(UTC) + timedelta(days=9),
                ),
                "not valid yet",
            ),
        ):
            for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                found = self.shown(identity, newest=newest)
                assert found is not None
                self.assertFalse(found.isVerified)
                self.assertIn(problem, str(found.problem))
                der = identity.certificate.public_bytes(Encoding.DER)
                self.assertEqual(found.der, der)

    def test_none(self) -> None:
        """
        A client may decline; one that was not asked shows nothing.
        """
        self.assertIs(self.shown(None), None)
        self.assertIs(self.shown(authority().issue("juliet"), asked=False), None)

    def test_noVerdict(self) -> None:
        """
        A certificate that nobody has checked is not verified.
        """
        client = TLSClient()
        shake(serverEnd(), client)
        found = describe(client.connection, clientFinishedFirst=False).certificate
        assert found is not None
        self.assertFalse(found.isVerified)

    def test_bound(self) -> None:
        """
        Of a certificate that is too large the fingerprint is told, and the verdict.
        """
        for excess in (0, 1):
            identity = certificateOf(MAX_CERTIFICATE_BYTES + excess)
            found = self.shown(identity)
            assert found is not None
            self.assertTrue(found.isVerified)
            self.assertEqual(len(found.der), 0 if excess else MAX_CERTIFICATE_BYTES)
            self.assertEqual(found.fingerprint, identity.certificate.fingerprint(SHA256()).hex())

    def test_verdict(self) -> None:
        """
        The first fault counts, whatever comes later; faults unheard of have a number.
        """
        ends: Any = None, None  # looked at by nobody
        verdict = Verdict()
        self.assertTrue(verdict.checked(*ends, 0, 1, 1))
        self.assertFalse(verdict.isVerified)
        self.assertTrue(verdict.checked(*ends, 26, 0, 0))
        self.assertTrue(verdict.checked(*ends, 10, 0, 0))
        self.assertTrue(verdict.checked(*ends, 0, 0, 1))
        self.assertEqual(verdict.problem, "it was not issued for clients")
        self.assertFalse(verdict.isVerified)
        verdict = Verdict()
        verdict.checked(*ends, 999, 0, 0)
        self.assertIn("999", str(verdict.problem))


def certificateOf(size: int) -> Identity:
    """
    Return a certificate of exactly so many bytes in DER, which is valid.
    """
    # The lengths of its signature and numbers vary by a few bytes.
    length = size - 600
    while True:
        identity = authority().issue(extra=[x509.DNSName("x" * length)])
        excess = len(identity.certificate.public_bytes(Encoding.DER)) - size
        if excess == 0:
            return identity
        length -= excess


class EndPointTests(TestCase):
    """
    L{endPoint}.
    """

    def signed(self, key: Any, algorithm: HashAlgorithm | None, **more: Any) -> x509.Certificate:
        """
        Return a certificate signed so.
        """
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")])
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(datetime(2030, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2031, 1, 1, tzinfo=UTC))
            .sign(key, algorithm, **more)
        )

    def test_hash(self) -> None:
        """
        The hash is that of the signature.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        for algorithm in (SHA256(), SHA384(), SHA512()):
            certificate = self.signed(key, algorithm)
            der = certificate.public_bytes(Encoding.DER)
            expected = hashlib.new(algorithm.name, der).digest()
            self.assertEqual(endPoint(certificate), expected)

    def test_weak(self) -> None:
        """
        Instead of MD5 and SHA-1 it is SHA-256.
        """
        strong = self.signed(rsaKey(), SHA256()).public_bytes(Encoding.DER)
        for weak in (MD5_WITH_RSA, SHA1_WITH_RSA):
            # Nobody signs like that any more.
            der = strong.replace(SHA256_WITH_RSA, weak)
            certificate = x509.load_der_x509_certificate(der)
            self.assertIsInstance(certificate.signature_hash_algorithm, MD5 | SHA1)
            self.assertEqual(endPoint(certificate), hashlib.sha256(der).digest())

    def test_undefined(self) -> None:
        """
        Where the signature has no hash, or several, or one unheard of, there is none.
        """
        self.assertIs(endPoint(self.signed(ed25519.Ed25519PrivateKey.generate(), None)), None)
        pss = padding.PSS(padding.MGF1(SHA256()), 32)
        self.assertIs(endPoint(self.signed(rsaKey(), SHA256(), rsa_padding=pss)), None)

        class Odd:
            signature_algorithm_oid = SignatureAlgorithmOID.ED448

            @property
            def signature_hash_algorithm(self) -> None:
                raise UnsupportedAlgorithm("a hash of the future")

        odd: Any = Odd()
        self.assertIs(endPoint(odd), None)


def rsaKey() -> rsa.RSAPrivateKey:
    """
    Return a key that signs with what others do not.
    """
    return rsa.generate_private_key(65537, 2048)
