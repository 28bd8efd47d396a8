# Copyright the cmanager authors.
# See LICENSE for details.

"""
Logins that depend on the client's own TLS: channel binding, and certificates.

The client is made of Twisted, pyOpenSSL and nothing else: no stock client in Python
knows all of this.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Any, ClassVar

from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.acts.actor import PATIENCE_SECONDS
from tests.acts.case import ActCase, ProsodyCase
from tests.acts.stage import CLIENT_PORT, DOMAIN, PASSWORD, TLS_PORT
from tests.certificates import Authority, Identity, authority
from tests.test_prosody_module import SCRAM

OTHER = "mantua.example"
SASL = 'xmlns="urn:ietf:params:xml:ns:xmpp-sasl"'
FEATURES = "<stream:features>.*?</stream:features>"
BIND = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"


@implementer(IOpenSSLClientConnectionCreator)
class ClientTLS:
    """
    The client's end of TLS.

    @ivar connection: It, once begun.
    """

    connection: SSL.Connection

    def __init__(self, newest: int, identity: Identity | None) -> None:
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.set_max_proto_version(newest)
        if identity is not None:
            self._context.use_certificate(identity.certificate)
            self._context.use_privatekey(identity.key)

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """
        See L{IOpenSSLClientConnectionCreator}.
        """
        self.connection = SSL.Connection(self._context, None)
        self.connection.set_tlsext_host_name(DOMAIN.encode())
        return self.connection

    def data(self, binding: str) -> bytes:
        """
        Return channel-binding data as the client sees them.
        """
        if binding == "tls-exporter":
            return self.connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        if binding == "tls-unique":
            return self.connection.get_finished() or b""
        shown = self.connection.get_peer_certificate(as_cryptography=True)
        assert shown is not None
        return shown.fingerprint(SHA256())


class Client(Protocol):
    """
    Says what it is told to, and waits for answers.
    """

    def __init__(self, tls: ClientTLS, domain: str) -> None:
        self.tls = tls
        self._domain = domain
        self._received = ""
        self._wanted = re.compile("")
        self._waiting: Deferred[str] | None = None

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol}.
        """
        self._received += data.decode()
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol}.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(AssertionError(f"the stream ended after {self._received!r}"))

    def _look(self) -> None:
        found = self._wanted.search(self._received)
        if found is not None and self._waiting is not None:
            self._received = self._received[found.end() :]
            waiting, self._waiting = self._waiting, None
            waiting.callback(found[0])

    async def say(self, text: str, wanted: str) -> str:
        """
        Return what of the answer is wanted, a regular expression.
        """
        self._wanted = re.compile(wanted, re.DOTALL)
        self._waiting = waiting = Deferred()
        self.transport.write(text.encode())
        self._look()
        waiting.addTimeout(PATIENCE_SECONDS, reactor)
        return await waiting

    async def open(self) -> str:
        """
        Open a stream and return its features.
        """
        header = (
            f"<stream:stream to='{self._domain}' version='1.0' xmlns='jabber:client'"
            " xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        return await self.say(header, FEATURES)

    async def bind(self) -> str:
        """
        Bind a resource after a login and return the bare address.
        """
        await self.open()
        answer = await self.say(BIND, "<jid>[^<]*</jid>")
        return answer.removeprefix("<jid>").partition("/")[0]

    async def authenticate(self, mechanism: str, content: str = "") -> str:
        """
        Begin a login and return the answer.
        """
        encoded = b64encode(content.encode()).decode() or "="
        auth = f"<auth {SASL} mechanism='{mechanism}'>{encoded}</auth>"
        return await self.say(auth, "<(?:success|challenge|failure) .*?(?:/>|</[cfs].*?>)")

    async def scram(self, binding: str, data: bytes) -> str:
        """
        Log in with channel binding and return the last answer.
        """
        exchange = SCRAM("romeo", PASSWORD, (binding, data))
        challenge = await self.authenticate("SCRAM-SHA-1-PLUS", exchange.first())
        if "<challenge" not in challenge:
            return challenge
        final = exchange.final(_content(challenge))
        answer = await self.say(
            f"<response {SASL}>{b64encode(final.encode()).decode()}</response>",
            "<(success|failure) .*?</(success|failure)>",
        )
        if "<success" in answer:
            assert _content(answer) == exchange.proof
        return answer


def _content(element: str) -> str:
    return b64decode(element.partition(">")[2].partition("<")[0]).decode()


class BindingActs:
    """
    What is to be found with either server; mixed into an L{ActCase}.
    """

    settings: ClassVar[dict[str, str]] = {
        "tls": 'client-certificates = "request"\nclient-ca = "{authority}"'
    }

    async def client(
        self,
        newest: int = SSL.TLS1_3_VERSION,
        identity: Identity | None = None,
        *,
        directTLS: bool = True,
        domain: str = DOMAIN,
    ) -> tuple[Client, str]:
        """
        Open an encrypted stream and return it with its features.
        """
        tls = ClientTLS(newest, identity)
        port = TLS_PORT if directTLS else CLIENT_PORT
        endpoint: Any = TCP4ClientEndpoint(reactor, self.stage.host, port)
        if directTLS:
            endpoint = wrapClientTLS(tls, endpoint)
        client: Any = await connectProtocol(endpoint, Client(tls, domain))
        self.addCleanup(client.transport.loseConnection)
        if not directTLS:
            await client.open()
            await client.say("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed.*>")
            client.transport.startTLS(tls)
        return client, await client.open()

    async def test_channelBinding(self) -> None:
        """
        A client logs in with each type of channel binding that its TLS has.
        """
        for newest, binding in (
            (SSL.TLS1_3_VERSION, "tls-exporter"),
            (SSL.TLS1_3_VERSION, "tls-server-end-point"),
            (SSL.TLS1_2_VERSION, "tls-unique"),
            (SSL.TLS1_2_VERSION, "tls-server-end-point"),
        ):
            for directTLS in (True, False):
                client, features = await self.client(newest, directTLS=directTLS)
                self.assertIn(f'<channel-binding type="{binding}"/>', features)
                answer = await client.scram(binding, client.tls.data(binding))
                self.assertIn("<success", answer)
                self.assertEqual(await client.bind(), f"romeo@{DOMAIN}")

    async def test_between(self) -> None:
        """
        Where somebody is between client and us, both have other data: the login fails.
        """
        client, _ = await self.client()
        stranger, _ = await self.client()
        answer = await client.scram("tls-exporter", stranger.tls.data("tls-exporter"))
        self.assertIn("<failure", answer)

    async def test_certificate(self) -> None:
        """
        A client logs in by its certificate, also after STARTTLS and with TLS 1.2.
        """
        identity = authority().issue(xmpp=[f"romeo@{DOMAIN}"])
        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for directTLS in (True, False):
                client, features = await self.client(newest, identity, directTLS=directTLS)
                self.assertIn("<mechanism>EXTERNAL</mechanism>", features)
                self.assertIn("<success", await client.authenticate("EXTERNAL"))
                self.assertEqual(await client.bind(), f"romeo@{DOMAIN}")

    async def test_noCertificate(self) -> None:
        """
        A certificate of a stranger's logs nobody in and keeps nobody out; neither does
        that of somebody who has no account.
        """
        stranger = Authority("Tybalt").issue(xmpp=[f"romeo@{DOMAIN}"])
        unknown = authority().issue(xmpp=[f"tybalt@{DOMAIN}"])
        for identity, isOffered in ((stranger, False), (unknown, True)):
            client, features = await self.client(identity=identity)
            self.assertIs("EXTERNAL" in features, isOffered)
            self.assertIn("<failure", await client.authenticate("EXTERNAL"))
            answer = await client.scram("tls-exporter", client.tls.data("tls-exporter"))
            self.assertIn("<success", answer)


class EmbeddedBindingActs(BindingActs, ActCase):
    """
    With the embedded server.
    """

    habits = "own"


class ProsodyBindingActs(BindingActs, ProsodyCase):
    """
    With Prosody, which serves another domain, too.
    """

    hosts = (
        f'connection_manager_external = true\nVirtualHost "{OTHER}"\nauthentication = "anonymous"\n'
    )
    options = f"""
    connection_manager_trusted_secure = false
    connection_manager_host = "{DOMAIN}"
    """
    settings: ClassVar[dict[str, str]] = {
        **BindingActs.settings,
        "domains": f'"{DOMAIN}", "{OTHER}"',
    }

    async def test_domains(self) -> None:
        """
        Each domain has its own offer, and a client is logged in to the one it asked for.
        """
        client, features = await self.client(domain=OTHER)
        self.assertIn("<mechanism>ANONYMOUS</mechanism></mechanisms>", features)
        self.assertNotIn("SCRAM", features)
        self.assertIn("<success", await client.authenticate("ANONYMOUS"))
        self.assertTrue((await client.bind()).endswith(f"@{OTHER}"))
        _, features = await self.client()
        self.assertNotIn("ANONYMOUS", features)
