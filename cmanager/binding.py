# Copyright the cmanager authors.
# See LICENSE for details.

"""
What our end of a client's TLS connection can tell about it: channel-binding data, and
the certificate that the client has shown.  Layer 4; knows no stream.
"""

from __future__ import annotations

import hashlib
import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256
from cryptography.x509.oid import SignatureAlgorithmOID
from OpenSSL import SSL, crypto

from cmanager.clienttls import (
    MAX_CERTIFICATE_BYTES,
    TLS_EXPORTER,
    TLS_SERVER_END_POINT,
    TLS_UNIQUE,
    ClientCertificate,
    ClientTLS,
)
from cmanager.trust import PROBLEMS

_EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
_EXPORTER_BYTES = 32
_PROBLEMS = {**PROBLEMS, 26: "it was not issued for clients"}
# What can stand in an attribute.  OpenSSL bounds it, but takes any byte except NUL.
_NAME = re.compile(rb"[!-~]{1,255}")


class Verdict:
    """
    What OpenSSL finds wrong with a client's certificate.

    Nobody is turned away for it: whose certificate has expired may know a password.

    @ivar isVerified: It has seen the whole chain and found nothing.
    """

    __slots__ = ("isVerified", "problem")

    def __init__(self) -> None:
        self.isVerified = False
        self.problem: str | None = None

    def checked(
        self, connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
    ) -> bool:
        """
        Called for each certificate of the chain, the client's own (depth 0) last, and
        once more for each fault.
        """
        if not ok and self.problem is None:
            self.problem = _PROBLEMS.get(code, f"OpenSSL's verification error {code}")
        self.isVerified = self.problem is None and depth == 0
        return True


def requestCertificate(connection: SSL.Connection) -> None:
    """
    Have the client asked for a certificate, which it may decline.

    It is checked in the handshake only: a connection that resumes an older one has a
    certificate and no verdict, which counts as not verified.
    """
    verdict = Verdict()
    # Not on the context: pyOpenSSL drops that, and what it calls, once a server name
    # has picked another.
    connection.set_verify(SSL.VERIFY_PEER, verdict.checked)
    connection.set_app_data(verdict)


def describe(connection: SSL.Connection, *, clientFinishedFirst: bool) -> ClientTLS:
    """
    Return what can be told of a connection whose handshake is done.

    @param clientFinishedFirst: For TLS 1.2: the handshake was a full one, nothing was
        resumed.  Where it is not known, L{False}.
    """
    version = connection.get_protocol_version_name()
    bindings: list[tuple[str, bytes | None]] = []
    if version == "TLSv1.3":
        # Not of TLS 1.2: there it needs the extended master secret (RFC 9266 section
        # 4.2), and pyOpenSSL cannot tell whether that was agreed on.
        exported = connection.export_keying_material(_EXPORTER_LABEL, _EXPORTER_BYTES, b"")
        bindings.append((TLS_EXPORTER, exported))
    elif version == "TLSv1.2" and clientFinishedFirst:
        # Likewise not of a resumed connection (RFC 7677 section 4).
        bindings.append((TLS_UNIQUE, connection.get_peer_finished()))
    bindings.append((TLS_SERVER_END_POINT, _endPoint(connection)))
    return ClientTLS(
        version=version,
        cipher=connection.get_cipher_name(),
        sni=_text(connection.get_servername()),
        alpn=_text(connection.get_alpn_proto_negotiated()),
        bindings=tuple((name, value) for name, value in bindings if value is not None),
        certificate=_certificate(connection),
    )


def _endPoint(connection: SSL.Connection) -> bytes | None:
    shown = connection.get_certificate()
    return None if shown is None else endPoint(shown.to_cryptography())


def endPoint(certificate: x509.Certificate) -> bytes | None:
    """
    Return the hash of a server's certificate that RFC 5929 section 4.1 asks for, or
    L{None} where it defines none: the signature's algorithm must use exactly one.
    """
    if certificate.signature_algorithm_oid == SignatureAlgorithmOID.RSASSA_PSS:
        # It has two hashes, of which one only is easily found.
        return None
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    return certificate.fingerprint(SHA256() if isinstance(algorithm, MD5 | SHA1) else algorithm)


def _certificate(connection: SSL.Connection) -> ClientCertificate | None:
    shown = connection.get_peer_certificate()
    if shown is None:
        return None
    # Not parsed: it need not be in order.
    der = crypto.dump_certificate(crypto.FILETYPE_ASN1, shown)
    verdict = connection.get_app_data()
    if not isinstance(verdict, Verdict):
        verdict = Verdict()
    return ClientCertificate(
        fingerprint=hashlib.sha256(der).hexdigest(),
        der=der if len(der) <= MAX_CERTIFICATE_BYTES else b"",
        isVerified=verdict.isVerified,
        problem=verdict.problem,
    )


def _text(name: bytes | None) -> str | None:
    return name.decode("ascii") if name is not None and _NAME.fullmatch(name) else None
