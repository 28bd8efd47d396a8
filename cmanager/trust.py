# Copyright the cmanager authors.
# See LICENSE for details.

"""
TLS towards a server: whose certificate is accepted, and what was wrong with the
one that was not.  Layer 4.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import idna
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from twisted.internet import ssl
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from cmanager.config import ServerSettings
from cmanager.errors import ConfigError

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

PROBLEMS = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed and not in the trusted ones",
    19: "its chain ends in an authority that is not trusted",
    20: "the certificate that signed it is not known",
    21: "the certificate that signed it was not sent and is not known",
    23: "it has been revoked",
    26: "it was not issued for servers",
    66: "its key is too weak",
    68: "its signature is too weak",
}
"""
X509_V_ERR_ codes of OpenSSL, as far as operators meet them.
"""


class Trust:
    """
    What one C{[[server]]} says about certificates.

    @ivar identity: The name a certificate must carry, as A-labels, or an IP address.
    @raise ConfigError: C{ca} or the name cannot be used.
    """

    def __init__(self, server: ServerSettings) -> None:
        self.identity = server.identity
        self.isAddress = isIPAddress(self.identity) or isIPv6Address(self.identity)
        if not self.isAddress:
            try:
                self.identity = idna.encode(self.identity, uts46=True).decode()
            except idna.IDNAError as error:
                raise ConfigError(
                    [f"server.certificate-name = {self.identity}: no host name: {error}"]
                ) from None
        self.isVerified = not server.insecure
        roots: Any = None  # IOpenSSLTrustRoot, which is not public
        if self.isVerified:
            roots = ssl.platformTrust()
            if server.ca is not None:
                roots = ssl.trustRootFromCertificates(_certificates(server.ca))
        self.context = ssl.CertificateOptions(trustRoot=roots).getContext()

    def attempt(self) -> Attempt:
        """
        Return what makes the TLS connection of one link.
        """
        return Attempt(self)


@implementer(IOpenSSLClientConnectionCreator)
class Attempt:
    """
    TLS of one link.

    L{ssl.optionsForClientTLS} is not enough: it cannot tell what is wrong with a
    certificate, and Twisted 26.10 lets pass a certificate without any names.

    @ivar isVerified: The certificate was accepted; only then is the link what the
        configuration asks for.
    @ivar problem: Why the certificate was refused.
    @ivar isForOther: It was refused because of the names it carries.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self.isVerified = not trust.isVerified
        self.isForOther = False
        self.problem: str | None = None

    @property
    def identity(self) -> str:
        """
        The name the certificate must carry.
        """
        return self._trust.identity

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """
        See L{IOpenSSLClientConnectionCreator}.
        """
        connection = SSL.Connection(self._trust.context, None)
        if not self._trust.isAddress:
            connection.set_tlsext_host_name(self.identity.encode("ascii"))
        if self._trust.isVerified:
            flags = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
            connection.set_verify(flags, self._checked)
        return connection

    def _checked(
        self, connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
    ) -> bool:
        # Called for each certificate of the chain, the server's own last (depth 0).  What
        # is raised here refuses the certificate.
        if not ok:
            if self.problem is None:
                self.problem = PROBLEMS.get(code, f"OpenSSL's verification error {code}")
            return False
        if depth == 0:
            found = certificate.to_cryptography()
            try:
                if self._trust.isAddress:
                    verify_certificate_ip_address(found, self.identity)
                else:
                    verify_certificate_hostname(found, self.identity)
            except (VerificationError, CertificateError):
                self.isForOther = True
                self.problem = f"it is not for {self.identity}"
                return False
            self.isVerified = True
        return True


def _certificates(path: str) -> list[ssl.Certificate]:
    try:
        found = _CERTIFICATE.findall(Path(path).read_bytes())
        made = [ssl.Certificate.loadPEM(pem + b"\n") for pem in found]
    except OSError as error:
        raise ConfigError([f"server.ca = {path}: cannot be read: {error.strerror}"]) from None
    except crypto.Error:
        raise ConfigError([f"server.ca = {path}: holds a broken certificate"]) from None
    if not made:
        raise ConfigError([f"server.ca = {path}: must hold certificates in PEM"])
    return made
