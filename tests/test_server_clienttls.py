# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.clienttls}.
"""

from __future__ import annotations

import base64
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.trial.unittest import SynchronousTestCase

from cmanager.server.clienttls import BINDING_TYPES, MAX_BINDING_BYTES, ClientTLS, parse
from tests.certificates import XMPP_ADDRESS, authority
from tests.serverdoubles import fragment

NS = "urn:cmanager:tls:0"


def base64Of(content: bytes) -> str:
    """
    Encode.
    """
    return base64.b64encode(content).decode()


def binding(kind: str, text: str) -> str:
    """
    Return an element with binding data.
    """
    return f'<channel-binding type="{kind}">{text}</channel-binding>'


def certificateOf(der: bytes, attributes: str = 'verified="true"') -> str:
    """
    Return an element with a certificate.
    """
    return f"<certificate {attributes}>{base64Of(der)}</certificate>"


def read(children: str, attributes: str = "") -> ClientTLS:
    """
    Read a description.
    """
    return parse(fragment(f'<tls xmlns="{NS}"{attributes}>{children}</tls>'))


class DescriptionTests(SynchronousTestCase):
    """
    What is said of the connection.
    """

    def test_empty(self) -> None:
        """
        Everything is optional.
        """
        self.assertEqual(read(""), ClientTLS())

    def test_attributes(self) -> None:
        """
        The attributes are kept.
        """
        tls = read("", ' version="TLSv1.3" cipher="X" sni="localhost" alpn="xmpp-client"')
        self.assertEqual(tls, ClientTLS("TLSv1.3", "X", "localhost", "xmpp-client"))

    def test_secret(self) -> None:
        """
        Binding data is not shown.
        """
        self.assertNotIn("data", repr(ClientTLS(bindings={"tls-exporter": b"data"})))

    def test_unknown(self) -> None:
        """
        Elements that are unknown, or in another namespace, are passed over.
        """
        foreign = '<certificate xmlns="urn:x">?</certificate>'
        self.assertEqual(read(f"{foreign}<future/>"), ClientTLS())


class BindingTests(SynchronousTestCase):
    """
    Channel-binding data.
    """

    def test_types(self) -> None:
        """
        Data of each type is kept; white space does not matter.
        """
        children = "".join(binding(kind, " Y\nQ== ") for kind in BINDING_TYPES)
        self.assertEqual(read(children).bindings, dict.fromkeys(BINDING_TYPES, b"a"))

    def test_unknownTypes(self) -> None:
        """
        Of unknown types, of none, and of those that are not wanted, nothing is kept,
        whatever it is.
        """
        children = binding("tls-future", "?") + "<channel-binding>?</channel-binding>"
        self.assertEqual(read(children).bindings, {})
        element = fragment(f'<tls xmlns="{NS}">{binding("tls-unique", "?")}</tls>')
        self.assertEqual(parse(element, ("tls-exporter",)).bindings, {})

    def test_bytes(self) -> None:
        """
        There are from 1 to 1024 bytes.
        """
        for size in (1, MAX_BINDING_BYTES):
            tls = read(binding("tls-unique", base64Of(bytes(size))))
            self.assertEqual(len(tls.bindings["tls-unique"]), size)
        for size in (0, MAX_BINDING_BYTES + 1):
            self.assertRaises(ValueError, read, binding("tls-unique", base64Of(bytes(size))))

    def test_impossible(self) -> None:
        """
        Data that is not base64, and two of one type, cannot be.
        """
        for children in (
            binding("tls-unique", "YQ"),
            binding("tls-unique", "Y?Q=="),
            binding("tls-unique", "é"),
            binding("tls-unique", "YQ==") * 2,
        ):
            self.assertRaises(ValueError, read, children)


class CertificateTests(SynchronousTestCase):
    """
    The client's certificate.
    """

    def setUp(self) -> None:
        """
        Issue one, with an address that is short and one that is long.
        """
        self.addresses = ("romeo@localhost", "x" * 150 + "@localhost")
        identity = authority().issue(
            "dns.example", xmpp=self.addresses, srv=["_xmpp-client.srv.example"]
        )
        self.der = identity.certificate.public_bytes(Encoding.DER)
        self.fingerprint = hashlib.sha256(self.der).hexdigest()

    def issue(self, extra: x509.GeneralName) -> bytes:
        """
        Issue one with another name.
        """
        identity = authority().issue(xmpp=["romeo@localhost"], extra=[extra])
        return identity.certificate.public_bytes(Encoding.DER)

    def test_verified(self) -> None:
        """
        The addresses of a certificate that is verified are kept.
        """
        for attributes in ("", f'fingerprint="{self.fingerprint}"'):
            tls = read(certificateOf(self.der, f'verified="true" {attributes}'))
            self.assertEqual((tls.fingerprint, tls.verified), (self.fingerprint, True))
            self.assertEqual(tls.addresses, self.addresses)

    def test_notVerified(self) -> None:
        """
        Of others, only what they are and what is wrong with them.
        """
        for attributes in ("", 'verified="false"', 'verified="TRUE"'):
            tls = read(certificateOf(self.der, f'{attributes} problem="expired"'))
            self.assertEqual((tls.verified, tls.problem, tls.addresses), (False, "expired", ()))
            self.assertEqual(tls.fingerprint, self.fingerprint)

    def test_fingerprintOnly(self) -> None:
        """
        Without the certificate itself no address is known.
        """
        tls = read(f'<certificate fingerprint="{self.fingerprint}" verified="true"/>')
        self.assertEqual((tls.fingerprint, tls.verified), (self.fingerprint, True))
        self.assertEqual(tls.addresses, ())

    def test_noAddresses(self) -> None:
        """
        A certificate may have no alternative name, or none that can be read.
        """
        latin = x509.OtherName(XMPP_ADDRESS, b"\x0c\x01\xe9")
        number = x509.OtherName(XMPP_ADDRESS, b"\x02\x01\x01")
        plain = authority().issue(commonName="Romeo").certificate.public_bytes(Encoding.DER)
        for der, addresses in (
            (plain, ()),
            (self.issue(latin), ()),
            (self.issue(number), ("romeo@localhost",)),
        ):
            self.assertEqual(read(certificateOf(der)).addresses, addresses)

    def test_unsupportedNames(self) -> None:
        """
        A name of a kind that nobody uses leaves a certificate without addresses.
        """
        # An ediPartyName with the party "x".
        alternatives = x509.UnrecognizedExtension(
            x509.ObjectIdentifier("2.5.29.17"), bytes.fromhex("3007a505a1030c0178")
        )
        identity = authority().issue(commonName="Romeo")
        old = identity.certificate
        certificate = (
            x509.CertificateBuilder()
            .subject_name(old.subject)
            .issuer_name(old.issuer)
            .public_key(old.public_key())
            .serial_number(old.serial_number)
            .not_valid_before(old.not_valid_before_utc)
            .not_valid_after(old.not_valid_after_utc)
            .add_extension(alternatives, critical=False)
            .sign(identity.key, SHA256())
        )
        der = certificate.public_bytes(Encoding.DER)
        self.assertEqual(read(certificateOf(der)).addresses, ())

    def test_impossible(self) -> None:
        """
        The fingerprint of another, no fingerprint at all, something that is no
        certificate, and two of them cannot be.
        """
        upper = self.fingerprint.upper()
        wrongVersion = self.der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
        for children in (
            certificateOf(self.der, f'fingerprint="{"0" * 64}"'),
            certificateOf(self.der, f'fingerprint="{upper}"'),
            certificateOf(self.der, 'fingerprint=""'),
            '<certificate verified="true"/>',
            f'<certificate fingerprint="{self.fingerprint[1:]}"/>',
            f'<certificate fingerprint="{self.fingerprint}0"/>',
            "<certificate>?</certificate>",
            certificateOf(b"certificate"),
            certificateOf(wrongVersion),
            certificateOf(self.der) * 2,
        ):
            self.assertRaises(ValueError, read, children)
