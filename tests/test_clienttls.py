# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.clienttls}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.clienttls import (
    NS_CLIENT_TLS,
    TLS_EXPORTER,
    TLS_UNIQUE,
    ClientCertificate,
    ClientTLS,
)
from cmanager.profile import isCanonical

HEAD = b'<tls xmlns="%s"' % NS_CLIENT_TLS.encode()


class ClientTLSTests(SynchronousTestCase):
    """
    A client's TLS, and how it is written.
    """

    def test_empty(self) -> None:
        """
        Without any content it says that the stream is encrypted.
        """
        self.assertEqual(ClientTLS().encode(), HEAD + b"/>")
        self.assertEqual(ClientTLS().bindingTypes, ())

    def test_full(self) -> None:
        """
        Everything there is stands in the element, in the profile of the links.
        """
        tls = ClientTLS(
            "TLSv1.3",
            "TLS_AES_256_GCM_SHA384",
            'a"&<b',
            "xmpp-client",
            ((TLS_EXPORTER, b"\x00" * 3), (TLS_UNIQUE, b"\xff" * 3)),
            ClientCertificate("7ad2", b"DER", isVerified=True),
        )
        self.assertEqual(
            tls.encode(),
            HEAD + b' version="TLSv1.3" cipher="TLS_AES_256_GCM_SHA384" sni="a&quot;&amp;&lt;b"'
            b' alpn="xmpp-client"><channel-binding type="tls-exporter">AAAA</channel-binding>'
            b'<channel-binding type="tls-unique">////</channel-binding>'
            b'<certificate fingerprint="7ad2" verified="true">REVS</certificate></tls>',
        )
        self.assertTrue(isCanonical(tls.encode()))

    def test_problem(self) -> None:
        """
        What is wrong with a certificate is said; without DER there is no text.
        """
        tls = ClientTLS(certificate=ClientCertificate("7ad2", problem='it "expired"'))
        self.assertEqual(
            tls.encode(),
            HEAD + b'><certificate fingerprint="7ad2" verified="false"'
            b' problem="it &quot;expired&quot;"></certificate></tls>',
        )

    def test_limitedTo(self) -> None:
        """
        Data of other types are left out, and nothing else is.
        """
        tls = ClientTLS("TLSv1.2", bindings=((TLS_EXPORTER, b"1"), (TLS_UNIQUE, b"2")))
        self.assertEqual(tls.bindingTypes, (TLS_EXPORTER, TLS_UNIQUE))
        found = tls.limitedTo((TLS_UNIQUE, "x"))
        self.assertEqual(found, ClientTLS("TLSv1.2", bindings=((TLS_UNIQUE, b"2"),)))

    def test_external(self) -> None:
        """
        EXTERNAL takes a certificate that was verified and that the server will see.
        """
        self.assertFalse(ClientTLS().permitsExternal)
        for certificate, permitted in (
            (ClientCertificate("f", b"DER", isVerified=True), True),
            (ClientCertificate("f", b"DER"), False),
            (ClientCertificate("f", isVerified=True), False),
        ):
            self.assertIs(ClientTLS(certificate=certificate).permitsExternal, permitted)

    def test_text(self) -> None:
        """
        What a log would show of it holds no binding data and no certificate.
        """
        certificate = ClientCertificate("f", b"secret DER")
        tls = ClientTLS("TLSv1.3", bindings=((TLS_EXPORTER, b"secret"),), certificate=certificate)
        for text in (repr(tls), str(tls), repr(certificate)):
            self.assertNotIn("secret", text)
