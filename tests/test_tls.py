# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.tls}.
"""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from cmanager.clienttls import TLS_SERVER_END_POINT, ClientCertificate
from cmanager.errors import ConfigError
from cmanager.records import Records
from cmanager.settings import ClientCertificates, Preset, TLSSettings
from cmanager.tls import XMPP_CLIENT, CertificateStore
from tests.certificates import Authority, Identity, authority
from tests.test_records import TLSClient

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def showing(identity: Identity, *, name: str | None = None) -> TLSClient:
    """
    Return a client with a certificate.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.use_certificate(identity.certificate)
    context.use_privatekey(identity.key)
    return TLSClient(name=name, context=context)


class StoreCase(TestCase):
    """
    A store over a directory with a certificate for C{a.example}, on 2030-01-01.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.identity = self.issue("a.example")
        self.identity.write(self.directory, "a")
        self.clock = Clock()
        self.now = NOW
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def issue(self, *names: str, days: float = 90) -> Identity:
        """
        Issue a certificate that is valid for so long.
        """
        return authority().issue(*names, validFor=timedelta(days=days), now=NOW)

    def store(self, **settings: Any) -> CertificateStore:
        """
        Make a loaded store.
        """
        store = self.unloaded(**settings)
        store.load()
        return store

    def unloaded(self, **settings: Any) -> CertificateStore:
        """
        Make a store.
        """
        values = {"certificates": str(self.directory), **settings}
        return CertificateStore(TLSSettings(**values), self.clock, lambda: self.now)

    def logged(self, level: LogLevel) -> list[str]:
        """
        Return what was logged at C{level}.
        """
        return [
            event["log_format"].format(**event)
            for event in self.events
            if event.get("log_level") is level
            and event.get("log_namespace") == "cmanager.tls.CertificateStore"
        ]

    def handshake(
        self,
        store: CertificateStore,
        client: TLSClient,
        *,
        to: str | None = None,
        alpn: tuple[bytes, ...] = (),
    ) -> Records:
        """
        Let a client shake hands with the store's side.
        """
        records = Records(store.creator(to, alpn).serverConnectionForTLS(None))
        data = client.exchange()
        while data:
            records.receive(data)
            data = client.exchange(records.outgoing())
        return records

    def shown(self, store: CertificateStore, name: str | None = None, to: str | None = None) -> str:
        """
        Return the serial number shown to a client that asks for C{name}.
        """
        client = TLSClient(name=name)
        self.handshake(store, client, to=to)
        certificate = client.connection.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return str(certificate.serial_number)

    def assertShows(
        self,
        identity: Identity,
        store: CertificateStore,
        name: str | None = None,
        to: str | None = None,
    ) -> None:
        """
        That certificate is shown.
        """
        self.assertEqual(self.shown(store, name, to), str(identity.certificate.serial_number))


class PickTests(StoreCase):
    """
    Which certificate a client is shown.
    """

    def setUp(self) -> None:
        super().setUp()
        self.other = self.issue("b.example", "*.b.example")
        self.other.write(self.directory, "b")

    def test_interface(self) -> None:
        """
        A creator is what Twisted's own TLS can use too.
        """
        verifyObject(IOpenSSLServerConnectionCreator, self.store().creator())

    def test_serverName(self) -> None:
        """
        The server name decides.
        """
        store = self.store()
        self.assertShows(self.other, store, "b.example")
        self.assertShows(self.other, store, "X.B.example")
        self.assertShows(self.identity, store, "a.example")

    def test_to(self) -> None:
        """
        Without a server name the stream's C{to} does.
        """
        self.assertShows(self.other, self.store(), None, "b.example")

    def test_serverNameFirst(self) -> None:
        """
        A known server name goes before C{to}, an unknown one does not.
        """
        store = self.store()
        self.assertShows(self.identity, store, "a.example", "b.example")
        self.assertShows(self.other, store, "nobody.example", "b.example")

    def test_default(self) -> None:
        """
        Without anything that fits it is the default.
        """
        store = self.store()
        self.assertShows(self.identity, store)
        self.assertShows(self.identity, store, "nobody.example", "\u2603..")

    def test_chain(self) -> None:
        """
        The issuers' certificates are sent along.
        """
        client = TLSClient(name="b.example")
        self.handshake(self.store(), client)
        chain = client.connection.get_peer_cert_chain(as_cryptography=True) or []
        self.assertEqual(chain[1:], [authority().certificate])

    def test_none(self) -> None:
        """
        Without any certificate there is no context.
        """
        store = self.unloaded()
        self.assertTrue(store.isEmpty)
        self.assertRaises(ConfigError, store.contextFor, "a.example")
        store.load()
        self.assertFalse(store.isEmpty)


class ProtocolTests(StoreCase):
    """
    Versions, ciphers and extensions.
    """

    def test_intermediate(self) -> None:
        """
        TLS 1.3 and 1.2 are spoken, with forward secrecy; 1.1 is not.
        """
        for version, name in ((None, "TLSv1.3"), (SSL.TLS1_2_VERSION, "TLSv1.2")):
            client = TLSClient(newest=version)
            self.assertTrue(self.handshake(self.store(), client).established)
            self.assertEqual(client.connection.get_protocol_version_name(), name)
        self.assertIn("ECDHE", str(client.connection.get_cipher_name()))
        context = self.store().contextFor(None)
        for cipher in SSL.Connection(context, None).get_cipher_list():
            self.assertTrue(cipher.startswith(("ECDHE-", "TLS_")), cipher)
            self.assertTrue("GCM" in cipher or "POLY1305" in cipher or "CCM" in cipher, cipher)

    def test_modern(self) -> None:
        """
        With C{modern} it is TLS 1.3 only.
        """
        store = self.store(preset=Preset.MODERN)
        client = TLSClient(newest=SSL.TLS1_2_VERSION)
        self.assertFalse(self.handshake(store, client).established)
        self.assertIsNotNone(client.failure)
        self.assertTrue(self.handshake(store, TLSClient()).established)

    def test_buffers(self) -> None:
        """
        An idle connection has none: OpenSSL would keep half as much again.
        """
        self.issue("a.example").write(self.directory, "a")
        modes = self.store().contextFor(None).set_mode(0)
        self.assertTrue(modes & SSL.MODE_RELEASE_BUFFERS)

    def test_tickets(self) -> None:
        """
        A session is resumed by its ticket.
        """
        store = self.store()
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        first, second = TLSClient(context=context), TLSClient(context=context)
        self.handshake(store, first)
        session = first.connection.get_session()
        assert session is not None
        second.connection.set_session(session)
        self.handshake(store, second)
        self.assertEqual(first.connection.master_key(), second.connection.master_key())

    def test_renegotiation(self) -> None:
        """
        Renegotiation is refused.
        """
        client = TLSClient(newest=SSL.TLS1_2_VERSION)
        records = self.handshake(self.store(), client)
        client.connection.renegotiate()
        records.receive(client.exchange())
        client.exchange(records.outgoing())
        self.assertIn("no renegotiation", str(client.failure))

    def test_alpn(self) -> None:
        """
        Of the protocols offered ours is chosen.
        """
        client = TLSClient(alpn=[b"h2", XMPP_CLIENT])
        self.handshake(self.store(), client, alpn=(XMPP_CLIENT,))
        self.assertEqual(client.connection.get_alpn_proto_negotiated(), XMPP_CLIENT)

    def test_alpnByName(self) -> None:
        """
        So it is with a certificate that a server name has picked.
        """
        self.issue("b.example").write(self.directory, "b")
        store = self.store()
        client = TLSClient(name="b.example", alpn=[XMPP_CLIENT])
        self.handshake(store, client, alpn=(XMPP_CLIENT,))
        self.assertEqual(client.connection.get_alpn_proto_negotiated(), XMPP_CLIENT)
        client = TLSClient(name="b.example", alpn=[b"h2"])
        self.assertFalse(self.handshake(store, client, alpn=(XMPP_CLIENT,)).established)

    def test_noALPN(self) -> None:
        """
        A client that offers none is served.
        """
        self.assertTrue(self.handshake(self.store(), TLSClient(), alpn=(XMPP_CLIENT,)).established)

    def test_wrongALPN(self) -> None:
        """
        A client that offers others only is refused.
        """
        client = TLSClient(alpn=[b"http/1.1"])
        records = self.handshake(self.store(), client, alpn=(XMPP_CLIENT,))
        self.assertFalse(records.established)
        self.assertIn("no application protocol", str(client.failure))

    def test_ignoredALPN(self) -> None:
        """
        Where we want no protocol in particular, what is offered does not matter.
        """
        self.assertTrue(self.handshake(self.store(), TLSClient(alpn=[b"h2"])).established)

    def test_clientCertificates(self) -> None:
        """
        With C{request} a client's certificate is checked, and may be left out.  One
        that is no good does not keep the client out.  So it is with a certificate of ours
        that a server name has picked.
        """
        self.issue("b.example").write(self.directory, "b")
        store = self.asking()
        good = authority().issue("juliet.example")
        stranger = Authority("Stranger").issue("juliet.example")
        for name in (None, "b.example"):
            found = self.certificate(store, TLSClient(name=name))
            self.assertIs(found, None)
            for identity, accepted in ((good, True), (stranger, False)):
                found = self.certificate(store, showing(identity, name=name))
                assert found is not None
                self.assertIs(found.isVerified, accepted)
                self.assertEqual(
                    found.fingerprint, identity.certificate.fingerprint(SHA256()).hex()
                )

    def test_notAsked(self) -> None:
        """
        Otherwise nobody is asked for a certificate.
        """
        found = self.certificate(self.store(), showing(authority().issue("juliet.example")))
        self.assertIs(found, None)

    def test_notResumed(self) -> None:
        """
        Where clients are asked for certificates each handshake is a full one, so that
        each certificate is checked.
        """
        store = self.asking()
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            identity = authority().issue("juliet.example")
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_max_proto_version(newest)
            context.use_certificate(identity.certificate)
            context.use_privatekey(identity.key)
            first, second = TLSClient(context=context), TLSClient(context=context)
            self.certificate(store, first)
            session = first.connection.get_session()
            assert session is not None
            second.connection.set_session(session)
            found = self.certificate(store, second)
            assert found is not None
            self.assertTrue(found.isVerified)

    def test_reloadedWhileShaking(self) -> None:
        """
        New contexts in the middle of a handshake do no harm to it.
        """
        self.issue("b.example").write(self.directory, "b")
        store = self.asking()
        client = showing(authority().issue("juliet.example"), name="b.example")
        records = Records(store.creator().serverConnectionForTLS(None))
        records.receive(client.exchange())
        store.reload()
        gc.collect()
        data = client.exchange(records.outgoing())
        while data:
            records.receive(data)
            data = client.exchange(records.outgoing())
        found = records.description()
        assert found is not None and found.certificate is not None
        self.assertTrue(found.certificate.isVerified)

    def asking(self) -> CertificateStore:
        """
        Make a store that asks clients for certificates.
        """
        ca = self.directory / "ca"
        ca.write_bytes(authority().pem)
        return self.store(clientCertificates=ClientCertificates.REQUEST, clientCa=str(ca))

    def certificate(self, store: CertificateStore, client: TLSClient) -> ClientCertificate | None:
        """
        Return what is told of a client's certificate.
        """
        found = self.handshake(store, client).description()
        assert found is not None
        return found.certificate

    def test_serverEndPoint(self) -> None:
        """
        C{tls-server-end-point} is of the certificate that this client was shown, in
        either version of TLS.
        """
        self.issue("b.example").write(self.directory, "b")
        store = self.store()
        hashes = set()
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for name in ("a.example", "b.example"):
                client = TLSClient(name=name, newest=newest)
                found = self.handshake(store, client).description()
                assert found is not None
                shown = client.connection.get_peer_certificate(as_cryptography=True)
                assert shown is not None
                bound = dict(found.bindings)[TLS_SERVER_END_POINT]
                self.assertEqual(bound, shown.fingerprint(SHA256()))
                self.assertEqual(found.sni, name)
                hashes.add(bound)
        self.assertEqual(len(hashes), 2)


class LoadTests(StoreCase):
    """
    The first reading.
    """

    def problems(self, **settings: Any) -> tuple[str, ...]:
        """
        Return what is wrong.
        """
        return self.assertRaises(ConfigError, self.store, **settings).problems

    def test_missing(self) -> None:
        """
        A directory that is not there is named.
        """
        (problem,) = self.problems(certificates="/nowhere/at/all")
        self.assertIn("/nowhere/at/all", problem)

    def test_empty(self) -> None:
        """
        An empty one is an error with advice.
        """
        (self.directory / "a.pem").unlink()
        (problem,) = self.problems()
        self.assertIn("put NAME.pem", problem)

    def test_all(self) -> None:
        """
        All problems are named at once.
        """
        (self.directory / "b.pem").write_bytes(self.identity.certificatePEM)
        (self.directory / "c.pem").write_bytes(b"garbage")
        self.assertEqual(len(self.problems()), 2)

    def test_clientAuthority(self) -> None:
        """
        A missing or broken authority for clients is an error.
        """
        request = ClientCertificates.REQUEST
        (problem,) = self.problems(clientCertificates=request, clientCa="/nowhere.pem")
        self.assertIn("/nowhere.pem", problem)
        ca = self.directory / "ca"
        ca.write_bytes(b"garbage")
        (problem,) = self.problems(clientCertificates=request, clientCa=str(ca))
        self.assertIn("not usable for TLS", problem)


class ReloadTests(StoreCase):
    """
    Reading again while running.
    """

    def test_new(self) -> None:
        """
        A renewed certificate is shown from then on.
        """
        store = self.store()
        new = self.issue("a.example")
        new.write(self.directory, "a")
        self.assertShows(self.identity, store, "a.example")
        self.assertEqual(store.reload(), ())
        self.assertShows(new, store, "a.example")
        self.assertEqual(self.logged(LogLevel.info), ["1 certificates in use"])

    def test_running(self) -> None:
        """
        A connection made before goes on.
        """
        store = self.store()
        client = TLSClient()
        records = self.handshake(store, client)
        self.issue("a.example").write(self.directory, "a")
        store.reload()
        self.assertEqual(records.receive(client.send(b"still here")), b"still here")

    def test_broken(self) -> None:
        """
        A broken file leaves its certificate in force and is logged; others are taken.
        """
        store = self.store()
        (self.directory / "a.pem").write_bytes(b"garbage")
        new = self.issue("b.example")
        new.write(self.directory, "b")
        self.assertEqual(len(store.reload()), 1)
        self.assertIn("a.pem", self.logged(LogLevel.error)[0])
        self.assertShows(self.identity, store, "a.example")
        self.assertShows(new, store, "b.example")

    def test_unusable(self) -> None:
        """
        So does one that OpenSSL does not like.
        """
        store = self.store()
        new = self.issue("a.example")
        new.write(self.directory, "a")
        good = SSL.Context.check_privatekey

        def refuse(context: SSL.Context) -> None:
            raise SSL.Error([("", "", "key too small")])

        self.patch(SSL.Context, "check_privatekey", refuse)
        (problem,) = store.reload()
        self.patch(SSL.Context, "check_privatekey", good)
        self.assertIn("key too small", problem)
        self.assertShows(self.identity, store, "a.example")

    def test_removed(self) -> None:
        """
        A file that is gone takes its certificate along, unless it was the last.
        """
        other = self.issue("b.example")
        other.write(self.directory, "b")
        store = self.store()
        (self.directory / "a.pem").unlink()
        self.assertEqual(store.reload(), ())
        self.assertShows(other, store, "a.example")
        (self.directory / "b.pem").unlink()
        self.assertEqual(len(store.reload()), 1)
        self.assertShows(other, store, "b.example")

    def test_directoryGone(self) -> None:
        """
        Without the directory everything stays as it was.
        """
        store = self.store()
        (self.directory / "a.pem").unlink()
        self.directory.rmdir()
        self.assertEqual(len(store.reload()), 1)
        self.assertShows(self.identity, store, "a.example")

    def test_authorityGone(self) -> None:
        """
        Without the clients' authority everything stays as it was.
        """
        ca = self.directory / "ca"
        ca.write_bytes(authority().pem)
        store = self.store(clientCertificates=ClientCertificates.REQUEST, clientCa=str(ca))
        ca.unlink()
        self.issue("a.example").write(self.directory, "a")
        self.assertEqual(len(store.reload()), 1)
        self.assertShows(self.identity, store, "a.example")

    def test_settings(self) -> None:
        """
        New settings hold from the reload on: another directory, another interval.
        """
        store = self.store()
        store.startService()
        self.addCleanup(store.stopService)
        elsewhere = Path(self.mktemp())
        elsewhere.mkdir()
        new = self.issue("a.example")
        new.write(elsewhere, "x")
        store.reload(TLSSettings(certificates=str(elsewhere), checkInterval=5.0))
        self.assertShows(new, store, "a.example")
        newer = self.issue("a.example")
        newer.write(elsewhere, "x")
        self.clock.advance(5)
        self.assertShows(newer, store, "a.example")

    def test_settingsNotRunning(self) -> None:
        """
        A store that does not run takes new settings too.
        """
        store = self.store()
        store.reload(TLSSettings(certificates=str(self.directory), checkInterval=5.0))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WatchTests(StoreCase):
    """
    As a service the store looks for changed files.
    """

    def setUp(self) -> None:
        super().setUp()
        self.running = self.store()
        self.running.startService()
        self.addCleanup(self.running.stopService)

    def test_changed(self) -> None:
        """
        A changed file is taken at the next look, not before.
        """
        new = self.issue("a.example")
        new.write(self.directory, "a")
        self.clock.advance(59)
        self.assertShows(self.identity, self.running)
        self.clock.advance(1)
        self.assertShows(new, self.running)

    def test_unchanged(self) -> None:
        """
        Nothing is read while nothing changes; a broken file is logged once.
        """
        self.clock.pump([60] * 3)
        self.assertEqual(self.logged(LogLevel.info), [])
        (self.directory / "a.pem").write_bytes(b"garbage")
        self.clock.pump([60] * 3)
        self.assertEqual(len(self.logged(LogLevel.error)), 1)

    def test_symbolicLink(self) -> None:
        """
        A link that leads to another file is a change.
        """
        new = self.issue("a.example")
        elsewhere = Path(self.mktemp()).absolute()
        elsewhere.mkdir()
        new.write(elsewhere, "new")
        (self.directory / "a.pem").unlink()
        (self.directory / "a.pem").symlink_to(elsewhere / "new.pem")
        self.clock.advance(60)
        self.assertShows(new, self.running)

    def test_stop(self) -> None:
        """
        Stopped, it looks no more; stopping twice does no harm.
        """
        self.running.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.running.startService()
        self.clock.advance(60)


class ExpiryTests(StoreCase):
    """
    Certificates that expire are warned of.
    """

    def run_(self, days: float, **settings: Any) -> CertificateStore:
        """
        Start a store whose certificate is valid for so long.
        """
        self.issue("a.example", "b.example", days=days).write(self.directory, "a")
        store = self.store(**settings)
        store.startService()
        self.addCleanup(store.stopService)
        return store

    def test_late(self) -> None:
        """
        With 14 days left there is a warning that names file, domains and time; with more
        there is none.
        """
        self.run_(14.1)
        self.assertEqual(self.logged(LogLevel.warn), [])
        self.now += timedelta(days=0.1)
        self.clock.advance(60)
        (line,) = self.logged(LogLevel.warn)
        for word in ("a.pem", "a.example, b.example", "2030-01-15"):
            self.assertIn(word, line)

    def test_daily(self) -> None:
        """
        The warning comes once a day.
        """
        self.run_(10)
        for _ in range(48):
            self.now += timedelta(hours=1)
            self.clock.advance(60)
        self.assertEqual(len(self.logged(LogLevel.warn)), 3)

    def test_expired(self) -> None:
        """
        An expired one is an error.
        """
        self.run_(0)
        self.assertEqual(self.logged(LogLevel.warn), [])
        self.assertIn("EXPIRED", self.logged(LogLevel.error)[0])

    def test_configured(self) -> None:
        """
        How early is configured.
        """
        self.run_(20, expiryWarningDays=30)
        self.assertEqual(len(self.logged(LogLevel.warn)), 1)

    def test_renewed(self) -> None:
        """
        Once renewed it is warned of no more.
        """
        store = self.run_(10)
        self.issue("a.example").write(self.directory, "a")
        store.reload()
        self.now += timedelta(days=2)
        self.clock.advance(60)
        self.assertEqual(len(self.logged(LogLevel.warn)), 1)
