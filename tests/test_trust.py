# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.trust}.
"""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cmanager.config import Security
from cmanager.errors import ConfigError
from cmanager.trust import Attempt, Trust
from tests.certificates import Authority, Identity, authority
from tests.linkdoubles import serverSettings


def handshake(attempt: Attempt, identity: Identity) -> tuple[Exception | None, str | None]:
    """
    Run a TLS handshake in memory.

    @return: What the client raised, and the name the server was asked for.
    """
    asked: list[str | None] = []
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(crypto.X509.from_cryptography(identity.certificate))
    context.use_privatekey(crypto.PKey.from_cryptography_key(identity.key))

    def named(connection: SSL.Connection) -> None:
        name = connection.get_servername()
        asked.append(name.decode() if name is not None else None)

    context.set_tlsext_servername_callback(named)
    server = SSL.Connection(context, None)
    server.set_accept_state()
    client = attempt.clientConnectionForTLS(None)  # type: ignore[arg-type] # not looked at
    client.set_connect_state()
    failure: Exception | None = None
    for _ in range(10):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            except SSL.Error as error:
                if one is client:
                    failure = error
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(one.bio_read(65536))
    return failure, asked[0] if asked else None


class TrustTestCase(SynchronousTestCase):
    """
    With an authority of its own.
    """

    def setUp(self) -> None:
        """
        Write the authority down.
        """
        self.ca = Path(self.mktemp())
        self.ca.write_bytes(authority().pem)

    def attempt(self, **changes: object) -> Attempt:
        """
        Return an attempt that trusts the authority, unless changed.
        """
        changes = {"security": Security.STARTTLS, "ca": str(self.ca), **changes}
        return Trust(serverSettings(**changes)).attempt()

    def assertRefused(self, attempt: Attempt, identity: Identity, problem: str) -> None:
        """
        The certificate is not accepted, and it is told why.
        """
        failure, _ = handshake(attempt, identity)
        self.assertIsInstance(failure, SSL.Error)
        self.assertFalse(attempt.isVerified)
        self.assertIn(problem, attempt.problem or "")


class AcceptedTests(TrustTestCase):
    """
    Certificates that are accepted.
    """

    def test_interface(self) -> None:
        """
        An attempt makes TLS connections.
        """
        verifyObject(IOpenSSLClientConnectionCreator, self.attempt())

    def test_domain(self) -> None:
        """
        The domain is the name that counts, and the one that is asked for.
        """
        attempt = self.attempt()
        self.assertFalse(attempt.isVerified)
        result = handshake(attempt, authority().issue("example.org"))
        self.assertEqual(result, (None, "example.org"))
        self.assertTrue(attempt.isVerified)
        self.assertIsNone(attempt.problem)

    def test_configuredName(self) -> None:
        """
        Another name can be configured.
        """
        attempt = self.attempt(certificateName="xmpp.example.org")
        result = handshake(attempt, authority().issue("xmpp.example.org"))
        self.assertEqual((result, attempt.isVerified), ((None, "xmpp.example.org"), True))

    def test_idna(self) -> None:
        """
        A name in its own script is asked for as A-labels.
        """
        attempt = self.attempt(domains=("bücher.example",))
        result = handshake(attempt, authority().issue("xn--bcher-kva.example"))
        self.assertEqual((result, attempt.isVerified), ((None, "xn--bcher-kva.example"), True))

    def test_address(self) -> None:
        """
        An address is compared with addresses, and not asked for.
        """
        identity = authority().issue(addresses=["192.0.2.1"])
        attempt = self.attempt(certificateName="192.0.2.1")
        self.assertEqual(handshake(attempt, identity), (None, None))
        self.assertTrue(attempt.isVerified)
        self.assertRefused(self.attempt(certificateName="192.0.2.2"), identity, "192.0.2.2")

    def test_insecure(self) -> None:
        """
        Any certificate does where the operator said so.
        """
        attempt = self.attempt(insecure=True, ca=None)
        self.assertEqual(handshake(attempt, Authority().issue("x"))[0], None)
        self.assertTrue(attempt.isVerified)


class RefusedTests(TrustTestCase):
    """
    Certificates that are not.
    """

    def test_otherName(self) -> None:
        """
        A certificate for another name.
        """
        attempt = self.attempt()
        self.assertRefused(attempt, authority().issue("example.net"), "not for example.org")
        self.assertTrue(attempt.isForOther)

    def test_noName(self) -> None:
        """
        A certificate with no name but a common name, which no longer counts.
        """
        identity = authority().issue(commonName="example.org")
        self.assertRefused(self.attempt(), identity, "not for example.org")

    def test_xmppName(self) -> None:
        """
        A certificate whose names are of a kind that is not looked at.
        """
        identity = authority().issue(xmpp=["example.org"])
        self.assertRefused(self.attempt(), identity, "not for example.org")

    def test_unknownAuthority(self) -> None:
        """
        A certificate of somebody who is not trusted.
        """
        attempt = self.attempt()
        self.assertRefused(attempt, Authority("Mallory").issue("example.org"), "not known")
        self.assertFalse(attempt.isForOther)

    def test_systemAuthorities(self) -> None:
        """
        Without an authority of its own, the system's are trusted, and no others.
        """
        self.assertRefused(self.attempt(ca=None), authority().issue("example.org"), "not known")

    def test_expired(self) -> None:
        """
        A certificate that was good once.
        """
        identity = authority().issue("example.org", validFor=timedelta(days=-1))
        self.assertRefused(self.attempt(), identity, "expired")

    def test_odd(self) -> None:
        """
        A problem nobody has put in words is numbered.
        """
        certificate = crypto.X509.from_cryptography(authority().issue("example.org").certificate)
        attempt = self.attempt()
        self.assertFalse(attempt._checked(None, certificate, 99, 0, 0))  # type: ignore[arg-type] # not looked at
        self.assertFalse(attempt._checked(None, certificate, 10, 0, 0))  # type: ignore[arg-type] # nor here
        self.assertEqual(attempt.problem, "OpenSSL's verification error 99")


class SettingsTests(TrustTestCase):
    """
    What cannot be used is told when the program starts.
    """

    def assertUseless(self, problem: str, **changes: object) -> None:
        """
        The settings are refused.
        """
        error = self.assertRaises(ConfigError, self.attempt, **changes)
        self.assertIn(problem, str(error))

    def test_ca(self) -> None:
        """
        A file that is not there, holds nothing, or holds a broken certificate.
        """
        self.assertUseless("cannot be read", ca=self.mktemp())
        self.ca.write_bytes(b"nothing")
        self.assertUseless("must hold certificates")
        self.ca.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        self.assertUseless("broken certificate")

    def test_several(self) -> None:
        """
        All certificates of the file are trusted.
        """
        other = Authority("Other")
        self.ca.write_bytes(b"# ours\n" + authority().pem + b"\n# theirs\n" + other.pem)
        for one in (authority(), other):
            self.assertEqual(handshake(self.attempt(), one.issue("example.org"))[0], None)

    def test_name(self) -> None:
        """
        A name that is none.
        """
        self.assertUseless("no host name", certificateName="a..b")
