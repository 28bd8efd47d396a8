# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a server is told about the TLS between a client and us.  Layer 1; a value and how
it is written, see section 7 of C{docs/connection-manager-protocol.rst}.  Knows no
connection: L{cmanager.binding} reads one.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Container

from attrs import evolve, field, frozen

from cmanager.stanza import escapeAttribute

NS_CLIENT_TLS = "urn:cmanager:tls:0"

TLS_EXPORTER = "tls-exporter"
TLS_UNIQUE = "tls-unique"
TLS_SERVER_END_POINT = "tls-server-end-point"

MAX_CERTIFICATE_BYTES = 16384
"""
The largest client certificate that is sent up, in DER; of a larger one the server
learns the fingerprint only.  Common ones have 1 to 2 KiB.  OpenSSL takes up to 100 KiB
from anybody, and everybody's C{create} has to pass the links.
"""


@frozen
class ClientCertificate:
    """
    The certificate that a client has shown.

    @ivar fingerprint: The SHA-256 of its DER form, in lower-case hexadecimal digits.
    @ivar der: Empty where it is larger than L{MAX_CERTIFICATE_BYTES}.
    @ivar isVerified: It was valid when it was shown, and comes from an authority that
        the operator has named.
    @ivar problem: Why it is not verified, in words.
    """

    fingerprint: str
    der: bytes = field(default=b"", repr=False)
    isVerified: bool = False
    problem: str | None = None

    def encode(self) -> bytes:
        """
        Return the element.
        """
        problem = b' problem="%s"' % escapeAttribute(self.problem) if self.problem else b""
        return b'<certificate fingerprint="%s" verified="%s"%s>%s</certificate>' % (
            escapeAttribute(self.fingerprint),
            b"true" if self.isVerified else b"false",
            problem,
            b64encode(self.der),
        )


@frozen
class ClientTLS:
    """
    A client's TLS.  Without any content it says that there is some, and no more.

    Its text for logs holds neither binding data nor certificates.

    @ivar version: As OpenSSL names it: C{TLSv1.3}.
    @ivar cipher: The suite, as OpenSSL spells it.
    @ivar sni: The server name that the client has asked for.
    @ivar alpn: The application protocol of its choice.
    @ivar bindings: Channel-binding data, each with its type (RFC 5929, RFC 9266).
    """

    version: str | None = None
    cipher: str | None = None
    sni: str | None = None
    alpn: str | None = None
    bindings: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    certificate: ClientCertificate | None = field(default=None, repr=False)

    @property
    def bindingTypes(self) -> tuple[str, ...]:
        """
        The types there are data of.
        """
        return tuple(name for name, _ in self.bindings)

    @property
    def permitsExternal(self) -> bool:
        """
        The server can tell from it who the client is.
        """
        certificate = self.certificate
        return certificate is not None and certificate.isVerified and bool(certificate.der)

    def limitedTo(self, types: Container[str]) -> ClientTLS:
        """
        Return this with no binding data but those of C{types}.
        """
        bindings = tuple(binding for binding in self.bindings if binding[0] in types)
        return evolve(self, bindings=bindings)

    def encode(self) -> bytes:
        """
        Return the element.
        """
        attributes = b"".join(
            b' %s="%s"' % (name, escapeAttribute(value))
            for name, value in (
                (b"version", self.version),
                (b"cipher", self.cipher),
                (b"sni", self.sni),
                (b"alpn", self.alpn),
            )
            if value is not None
        )
        children = [
            b'<channel-binding type="%s">%s</channel-binding>'
            % (escapeAttribute(name), b64encode(data))
            for name, data in self.bindings
        ]
        if self.certificate is not None:
            children.append(self.certificate.encode())
        head = b'<tls xmlns="%s"%s' % (NS_CLIENT_TLS.encode(), attributes)
        return head + b">" + b"".join(children) + b"</tls>" if children else head + b"/>"
