# Copyright the cmanager authors.
# See LICENSE for details.

"""
What managers say of the TLS between them and a client: C{<tls/>} of
C{urn:cmanager:tls:0}, section 7.2 of C{docs/connection-manager-protocol.rst}.  Knows no
session and no account.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from attrs import Factory, field, frozen
from cryptography import x509

from cmanager.server.elements import Element

NS_CLIENT_TLS = "urn:cmanager:tls:0"

BINDING_TYPES = ("tls-exporter", "tls-server-end-point", "tls-unique")

MAX_BINDING_BYTES = 1024

_XMPP_ADDRESS = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5")
_UTF8_STRING = 0x0C
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@frozen
class ClientTLS:
    """
    The TLS of one client.

    @ivar bindings: Channel-binding data by type.
    @ivar fingerprint: SHA-256 of the client's certificate, in hexadecimal digits.
    @ivar verified: The manager has found it valid.
    @ivar problem: Why not.
    @ivar addresses: The XMPP addresses in it, if it is verified.
    """

    version: str | None = None
    cipher: str | None = None
    sni: str | None = None
    alpn: str | None = None
    bindings: Mapping[str, bytes] = field(default=Factory(dict), repr=False)
    fingerprint: str | None = None
    verified: bool = False
    problem: str | None = None
    addresses: tuple[str, ...] = ()


def parse(element: Element, types: Collection[str] = BINDING_TYPES) -> ClientTLS:
    """
    Read C{<tls/>}.

    @param types: Of channel binding, that are to be kept.
    @raise ValueError: It cannot be true.
    """
    bindings: dict[str, bytes] = {}
    for child in element.elements(NS_CLIENT_TLS, "channel-binding"):
        kind = child.getAttribute("type")
        if kind in types:
            data = _decoded(child)
            if kind in bindings or not 0 < len(data) <= MAX_BINDING_BYTES:
                raise ValueError("channel-binding data")
            bindings[kind] = data
    said = {name: element.getAttribute(name) for name in ("version", "cipher", "sni", "alpn")}
    certificates = list(element.elements(NS_CLIENT_TLS, "certificate"))
    if len(certificates) > 1:
        raise ValueError("two certificates")
    for certificate in certificates:
        said |= _certificate(certificate)
    return ClientTLS(bindings=bindings, **said)


def _decoded(element: Element) -> bytes:
    return base64.b64decode("".join(str(element).split()), validate=True)


def _certificate(element: Element) -> dict[str, Any]:
    """
    Return what a L{ClientTLS} holds of it.
    """
    der = _decoded(element)
    actual = hashlib.sha256(der).hexdigest() if der else ""
    fingerprint = element.getAttribute("fingerprint", actual)
    if not _FINGERPRINT.fullmatch(fingerprint) or (der and fingerprint != actual):
        raise ValueError("fingerprint")
    verified = element.getAttribute("verified") == "true"
    try:
        certificate = x509.load_der_x509_certificate(der) if der else None
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from None
    return {
        "fingerprint": fingerprint,
        "verified": verified,
        "problem": element.getAttribute("problem"),
        "addresses": _addresses(certificate) if certificate is not None and verified else (),
    }


def _addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    """
    Return the XmppAddr entries (RFC 6120 section 13.7.1.4).
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        values = [
            n.value for n in names if isinstance(n, x509.OtherName) and n.type_id == _XMPP_ADDRESS
        ]
        # The parser has checked the lengths; a long one stands in so many more bytes.
        return tuple(
            der[2 + (der[1] & 0x7F if der[1] & 0x80 else 0) :].decode()
            for der in values
            if der[0] == _UTF8_STRING
        )
    except (
        ValueError,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        return ()
