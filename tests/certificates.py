# Copyright the cmanager authors.
# See LICENSE for details.

"""
Certificates made in memory, for tests.  P-256 keys, unless others are asked for: a
certificate costs a millisecond.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

XMPP_ADDRESS = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
SRV_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7")
_UTF8_STRING = 0x0C
_IA5_STRING = 0x16


@frozen
class Identity:
    """
    A certificate with its key, and who signed it.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def certificatePEM(self) -> bytes:
        """
        The certificate alone.
        """
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def keyPEM(self) -> bytes:
        """
        The key alone, not encrypted.
        """
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def chainPEM(self) -> bytes:
        """
        The certificate and those of its issuers.
        """
        return self.certificatePEM + b"".join(c.public_bytes(Encoding.PEM) for c in self.issuers)

    def write(self, directory: Path, name: str = "server") -> Path:
        """
        Write C{name.pem}, with chain and key, and return its path.
        """
        path = directory / f"{name}.pem"
        path.write_bytes(self.chainPEM + self.keyPEM)
        return path


class Authority:
    """
    A certificate authority that lives as long as a test.
    """

    def __init__(
        self,
        name: str = "Test Authority",
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
        algorithm: HashAlgorithm | None = None,
    ) -> None:
        """
        @param key: L{None} for a new one, P-256.
        @param algorithm: The hash it signs with; L{None} for SHA-256.
        """
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self._algorithm = algorithm or SHA256()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(self.name, self.key, timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_keyUsage(authority=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False
            )
            .sign(self.key, self._algorithm)
        )

    @property
    def pem(self) -> bytes:
        """
        The certificate to trust.
        """
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *names: str,
        xmpp: Sequence[str] = (),
        srv: Sequence[str] = (),
        commonName: str | None = None,
        addresses: Sequence[str] = (),
        validFor: timedelta = timedelta(days=90),
        now: datetime | None = None,
        extra: Sequence[x509.GeneralName] = (),
    ) -> Identity:
        """
        Issue a certificate for servers and clients.

        @param names: dNSName entries, A-labels.
        @param xmpp: XmppAddr entries.
        @param srv: SRVName entries, C{_service.domain}.
        @param validFor: From C{now} on; negative: expired already.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, commonName)] if commonName else []
        )
        builder = self._builder(subject, key, validFor, now)
        alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
        alternatives += [x509.OtherName(XMPP_ADDRESS, _der(_UTF8_STRING, name)) for name in xmpp]
        alternatives += [x509.OtherName(SRV_NAME, _der(_IA5_STRING, name)) for name in srv]
        alternatives += [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
        alternatives += extra
        if alternatives:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternatives), critical=not commonName
            )
        certificate = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_keyUsage(authority=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, self._algorithm)
        )
        return Identity(certificate, key, (self.certificate,))

    def _builder(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
        validFor: timedelta,
        now: datetime | None = None,
    ) -> x509.CertificateBuilder:
        end = (now or datetime.now(UTC)) + validFor
        start = min(now or datetime.now(UTC), end) - timedelta(days=2)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
        )


@cache
def authority() -> Authority:
    """
    Return one authority for all tests of a run.
    """
    return Authority()


def _der(tag: int, text: str) -> bytes:
    value = text.encode()
    if len(value) < 128:
        return bytes([tag, len(value)]) + value
    return bytes([tag, 0x81, len(value)]) + value


def _keyUsage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
