# Copyright the cmanager authors.
# See LICENSE for details.

"""
C{mod_connection_manager}: a real Prosody spoken to over a link, byte by byte,
by a manager that is a script.
"""

from __future__ import annotations

import atexit
import hashlib
import hmac
import re
import socket
import subprocess
import time
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Callable
from itertools import count
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue, succeed
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from cmanager.config import loads
from tests.certificates import authority
from tests.programs import find
from tests.prosody import HERE, LOOPBACK, MODULES, Prosody
from tests.specification import faults

PAIR = HERE / "etc" / "prosody"

LINK = "{jabber:connectionmanager}"
MANAGEMENT = "http://jabber.org/protocol/connectionmanager"
STANZA_ERRORS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
STREAM_ERRORS = "{urn:ietf:params:xml:ns:xmpp-streams}"
STREAMS = "{http://etherx.jabber.org/streams}"
SASL = "{urn:ietf:params:xml:ns:xmpp-sasl}"
TLS = "urn:cmanager:tls:0"
STREAM = "urn:cmanager:stream:0"
BIND = "{urn:ietf:params:xml:ns:xmpp-bind}"
SECRET = "s3cret"
TIMEOUT_SECONDS = 15

OPTIONS = """
connection_manager_secret = "s3cret"
connection_manager_secrets = {
  own = { "old", "new" }; ["own-1"] = "its"; Capital = "big"; nobody = false
}
"""

HOSTS = """
VirtualHost "example.org"
VirtualHost "example.net"
    allow_registration = true
    disable_sasl_mechanisms = { "DIGEST-MD5", "PLAIN" }
"""

OPTIONAL_MECHANISMS = {"OAUTHBEARER"}
"""
What Prosody 13 offers and 0.12 does not.
"""

PLAIN_TLS = f"<tls xmlns='{TLS}' version='TLSv1.3' cipher='TLS_AES_256_GCM_SHA384'/>"

SLOW = """
local async = require "util.async";
module:hook("pre-message/bare", function () async.sleep(600); end, 1000);
"""

streamIDs = (f"stream{number:04d}" for number in count(1))
users = (f"user{number:04d}" for number in count(1))
links = (f"link-{number}" for number in count(1))


class Peer(Protocol):
    """
    The manager's end of a link.

    @ivar received: What came, in queues by what it is: C{"header"},
        C{"features"}, C{("route", STREAM)}, C{("reply", ID)}, C{("close", STREAM)},
        C{"configuration"}, C{"handshake"}, C{"error"}, C{"end"}.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.received: defaultdict[object, DeferredQueue[Element]] = defaultdict(DeferredQueue)
        self.lost: Deferred[None] = Deferred()
        self.id = ""
        self._said: list[str] = []
        self._ids = count(1)
        self._reset()

    @property
    def text(self) -> str:
        """
        All that came.
        """
        return "".join(self._said)

    def _reset(self) -> None:
        self._parser = ElementTree.XMLPullParser(["start", "end"])
        self._depth = 0

    def dataReceived(self, data: bytes) -> None:
        """
        Sort what is complete.
        """
        self._said.append(data.decode())
        self._parser.feed(data)
        for event, element in self._parser.read_events():
            if event == "start":
                self._depth += 1
                if self._depth == 1:
                    self.id = element.get("id", "")
                    self.received["header"].put(element)
                continue
            self._depth -= 1
            if self._depth == 0:
                self.received["end"].put(element)
            elif self._depth == 1:
                self.received[self._kind(element)].put(element)

    def _kind(self, element: Element) -> object:
        name = element.tag.partition("}")[2]
        if name == "route":
            return "route", element.get("streamid")
        if name == "iq":
            if element.get("type") != "set":
                return "reply", element.get("id")
            if element[0].tag == f"{{{MANAGEMENT}}}configuration":
                return "configuration"
            return "close", element[0].get("id")
        return name

    def connectionLost(self, reason: Failure) -> None:
        """
        Say so.
        """
        self.lost.callback(None)

    def send(self, xml: str) -> None:
        """
        Write to Prosody.
        """
        self.transport.write(xml.encode())

    async def next(self, kind: object) -> Element:
        """
        Return the next element of a kind.
        """
        waiting = self.received[kind].get()
        waiting.addTimeout(
            TIMEOUT_SECONDS,
            reactor,
            lambda _, __: Failure(AssertionError(f"no {kind}: {self.text}")),
        )
        return await waiting

    async def routed(self, streamID: str) -> Element:
        """
        Return the next element for a client.
        """
        route = await self.next(("route", streamID))
        return route[0]

    def has(self, kind: object) -> bool:
        """
        Say whether something of a kind waits.
        """
        return bool(self.received[kind].pending)

    def header(self) -> None:
        """
        Open the stream.
        """
        self.send(
            '<stream:stream xmlns:stream="http://etherx.jabber.org/streams"'
            f' xmlns="jabber:connectionmanager" to="{self.address}" version="1.0">'
        )

    def handshake(self, secret: str = SECRET) -> None:
        """
        Prove who we are.
        """
        digest = hashlib.sha1((self.id + secret).encode()).hexdigest()
        self.send(f"<handshake>{digest}</handshake>")

    async def ready(self, secret: str = SECRET) -> Element:
        """
        Open the link as far as it goes; return the configuration.
        """
        self.header()
        await self.next("features")
        self.handshake(secret)
        await self.next("handshake")
        return await self.next("configuration")

    async def ask(self, streamID: str, action: str, to: str | None = "example.org") -> Element:
        """
        Send a management request about a client and return the answer.
        """
        return await self.iq(
            f'<session xmlns="{MANAGEMENT}" id={quoteattr(streamID)}>{action}</session>', to=to
        )

    async def iq(self, payload: str, kind: str = "set", to: str | None = "example.org") -> Element:
        """
        Send an IQ of the manager's own and return the answer.
        """
        name = f"q{next(self._ids)}"
        target = f' to="{to}"' if to else ""
        self.send(f'<iq type="{kind}" id="{name}"{target} from="{self.address}">{payload}</iq>')
        return await self.next(("reply", name))

    async def create(
        self, extension: str = PLAIN_TLS, address: str = "192.0.2.7", to: str | None = "example.org"
    ) -> str:
        """
        Announce a client and return its stream id.
        """
        streamID = next(streamIDs)
        reply = await self.ask(
            streamID,
            f'<create><host name="client" address="{address}"/>{extension}</create>',
            to,
        )
        assert reply.get("type") == "result", ElementTree.tostring(reply)
        return streamID

    def route(self, streamID: str, xml: str, routeID: str = "r") -> None:
        """
        Send an element of a client's.
        """
        self.send(
            f'<route to="example.org" from="{self.address}" streamid="{streamID}" id="{routeID}">'
            f"{xml}</route>"
        )

    def plain(self, streamID: str, user: str, password: str = "secret") -> None:
        """
        Begin a login by SASL PLAIN.
        """
        answer = b64encode(f"\0{user}\0{password}".encode()).decode()
        self.route(
            streamID,
            f'<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="PLAIN">{answer}</auth>',
        )

    async def bind(self, streamID: str, resource: str = "desk") -> str:
        """
        Bind a resource and return the full address.
        """
        self.route(
            streamID,
            '<iq type="set" id="bind"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind">'
            f"<resource>{resource}</resource></bind></iq>",
        )
        reply = await self.routed(streamID)
        address = reply.findtext(f"{BIND}bind/{BIND}jid")
        assert address is not None, ElementTree.tostring(reply)
        return address

    async def login(self, user: str, resource: str = "desk", **create: str) -> str:
        """
        Announce a client and log it in by PLAIN; return the stream id.
        """
        streamID = await self.create(**create)
        self.plain(streamID, user)
        success = await self.routed(streamID)
        assert success.tag == f"{SASL}success", ElementTree.tostring(success)
        await self.bind(streamID, resource)
        return streamID

    async def available(self, streamID: str) -> None:
        """
        Send initial presence and wait for its reflection.
        """
        self.route(streamID, "<presence/>")
        while (await self.routed(streamID)).tag != f"{LINK}presence":
            pass


class SCRAM:
    """
    The client's side of SCRAM-SHA-1 (RFC 5802), with any type of channel binding.

    @ivar proof: What the server has to end with.
    """

    def __init__(self, user: str, password: str, binding: tuple[str, bytes] | None) -> None:
        self._password = password.encode()
        self._header = f"p={binding[0]},," if binding else "n,,"
        self._binding = self._header.encode() + (binding[1] if binding else b"")
        self._bare = f"n={user},r=nonce"
        self.proof = ""

    def first(self) -> str:
        """
        Return the first message.
        """
        return self._header + self._bare

    def final(self, challenge: str) -> str:
        """
        Return the last message.
        """
        given = dict(part.split("=", 1) for part in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha1", self._password, b64decode(given["s"]), int(given["i"]))
        without = f"c={b64encode(self._binding).decode()},r={given['r']}"
        message = f"{self._bare},{challenge},{without}".encode()
        key = hmac.digest(salted, b"Client Key", "sha1")
        signature = hmac.digest(hashlib.sha1(key).digest(), message, "sha1")
        proof = bytes(one ^ two for one, two in zip(key, signature, strict=True))
        server = hmac.digest(hmac.digest(salted, b"Server Key", "sha1"), message, "sha1")
        self.proof = f"v={b64encode(server).decode()}"
        return f"{without},p={b64encode(proof).decode()}"


SOCKET_BYTES = 6 << 20
"""
More than the kernel keeps of what goes to a L{narrow} connection that is not read.
"""


def large(to: str) -> str:
    """
    Return a message of 100 kB, of which nothing is kept.
    """
    return f'<message to="{to}" type="headline"><body>{"x" * 100_000}</body></message>'


def narrow(peer: Peer) -> None:
    """
    Have the kernel keep little of what a peer does not read.
    """
    peer.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)


class Shared:
    """
    One Prosody for all tests that leave it as it was; started when first wanted.
    """

    prosody: Prosody | None = None

    @classmethod
    def get(cls) -> Prosody:
        """
        Return it.
        """
        if cls.prosody is None:
            prosody = Prosody(HOSTS, OPTIONS + "connection_manager_grace = 0\n")
            atexit.register(prosody.stop)
            prosody.start()
            cls.prosody = prosody
        return cls.prosody


def condition(reply: Element) -> tuple[str, str, str]:
    """
    Return code, type and condition of an IQ's or a route's error.
    """
    error = reply.find(f"{LINK}error")
    assert error is not None, ElementTree.tostring(reply)
    name = next(child.tag for child in error if child.tag.startswith(STANZA_ERRORS))
    return error.get("code", ""), error.get("type", ""), name.removeprefix(STANZA_ERRORS)


def offered(parent: Element) -> list[str | None]:
    """
    Return the mechanisms that a C{<configuration/>} lists, for a domain or for all.
    """
    names = [m.text for m in parent.findall(f"{SASL}mechanisms/{SASL}mechanism")]
    return [name for name in names if name not in OPTIONAL_MECHANISMS]


def detail(reply: Element) -> str | None:
    """
    Return the application-specific condition of an error, if it has one.
    """
    names = [
        child.tag for child in reply.iter() if child.tag.startswith(f"{{{MANAGEMENT}#errors}}")
    ]
    return names[0].partition("}")[2] if names else None


class ModuleTestCase(TestCase):
    """
    Links, and what ends them.
    """

    def setUp(self) -> None:
        """
        Have a Prosody.
        """
        self.prosody = self.server()

    def server(self) -> Prosody:
        """
        Return the Prosody to test; here the shared one.
        """
        return Shared.get()

    def own(self, hosts: str = HOSTS, options: str = "", **more: tuple[str, ...]) -> Prosody:
        """
        Return a Prosody for this test alone.
        """
        prosody = Prosody(hosts, OPTIONS + options, **more)
        self.addCleanup(prosody.stop)
        return prosody

    async def connect(self, manager: str = "cm1", address: str = LOOPBACK) -> Peer:
        """
        Return a link from C{address} on which nothing was said.
        """
        peer = Peer(f"{manager}/{next(links)}")
        endpoint = HostnameEndpoint(
            reactor, LOOPBACK, self.prosody.linkPort, bindAddress=(address, 0)
        )
        await connectProtocol(endpoint, peer)
        self.addCleanup(self.disconnect, peer)
        return peer

    def disconnect(self, peer: Peer) -> Deferred[None]:
        """
        End a link without a word.
        """
        peer.transport.abortConnection()
        waiting: Deferred[None] = Deferred()
        peer.lost.chainDeferred(waiting)
        peer.lost = waiting
        return waiting

    async def ready(self, manager: str = "cm1", secret: str = SECRET) -> Peer:
        """
        Return a link that is ready.
        """
        peer = await self.connect(manager)
        await peer.ready(secret)
        return peer

    def user(self, host: str = "example.org") -> str:
        """
        Register a user and return the name.
        """
        name = next(users)
        self.prosody.addUser(f"{name}@{host}", "secret")
        return name

    async def logged(self, wanted: Callable[[str], object], since: int) -> str:
        """
        Wait for a line of Prosody's log.
        """
        return await deferToThread(self.prosody.waitForLog, wanted, since)

    async def gone(self, peer: Peer) -> None:
        """
        Lose a link and wait until Prosody knows.
        """
        since = len(self.prosody.log)
        await self.disconnect(peer)
        await self.logged(lambda line: f"Link {peer.address} is gone" in line, since)

    async def streamError(self, peer: Peer) -> str:
        """
        Wait for the end of the link and return the condition it came with.
        """
        error = await peer.next("error")
        await peer.next("end")
        await peer.lost
        peer.lost = Deferred()
        peer.lost.callback(None)
        return error[0].tag.removeprefix(STREAM_ERRORS)


class LinkTests(ModuleTestCase):
    """
    How a link is set up.
    """

    async def test_header(self) -> None:
        """
        The stream header has an id, echoes the manager's address and is followed by
        features.
        """
        peer = await self.connect()
        peer.header()
        header = await peer.next("header")
        self.assertEqual(header.get("from"), peer.address)
        self.assertEqual(header.get("version"), "1.0")
        self.assertGreaterEqual(len(header.get("id", "")), 16)
        self.assertEqual(len(await peer.next("features")), 0)

    async def test_configuration(self) -> None:
        """
        Right after the handshake comes what the default host offers: its mechanisms
        without those that only the extension makes possible, and STARTTLS as required.
        """
        peer = await self.connect()
        configuration = await peer.ready()
        # example.net comes first by name.
        self.assertEqual(offered(configuration[0]), ["SCRAM-SHA-1"])
        starttls = configuration[0].find("{urn:ietf:params:xml:ns:xmpp-tls}starttls")
        assert starttls is not None
        self.assertEqual(len(starttls), 1)
        self.assertIsNotNone(
            configuration[0].find("{http://jabber.org/features/iq-register}register")
        )

    async def test_extension(self) -> None:
        """
        The configuration announces the extensions: the mechanisms that need them, the
        types of channel binding, and each domain with its own offer.
        """
        peer = await self.connect()
        configuration = (await peer.ready())[0]
        self.assertEqual(faults(ElementTree.tostring(configuration)), [])
        tls = configuration.find(f"{{{TLS}}}tls")
        assert tls is not None
        self.assertEqual(
            [element.text for element in tls.findall(f"{{{TLS}}}mechanism")], ["SCRAM-SHA-1-PLUS"]
        )
        self.assertEqual(
            [element.get("type") for element in tls.findall(f"{{{TLS}}}channel-binding")],
            ["tls-exporter", "tls-server-end-point", "tls-unique"],
        )
        domains = configuration.findall(f"{{{STREAM}}}stream/{{{STREAM}}}domain")
        self.assertEqual([d.get("name") for d in domains], ["example.net", "example.org"])
        own = [offered(d) for d in domains]
        self.assertEqual(own, [["SCRAM-SHA-1"], ["SCRAM-SHA-1", "PLAIN"]])

    async def test_wrongSecret(self) -> None:
        """
        A wrong digest ends the link with C{not-authorized}.
        """
        peer = await self.connect()
        peer.header()
        await peer.next("features")
        peer.handshake("guess")
        self.assertEqual(await self.streamError(peer), "not-authorized")
        self.assertFalse(peer.has("handshake"))

    async def test_ownSecrets(self) -> None:
        """
        A manager that has secrets of its own may use any of them, and not the common one;
        its name is compared as a host's would be.
        """
        for secret in ("old", "new"):
            await self.ready("own", secret)
        await self.ready("Capital", "big")
        await self.ready("capital", "big")
        for manager in ("own", "Capital", "capital", "nobody"):
            peer = await self.connect(manager)
            peer.header()
            await peer.next("features")
            peer.handshake(SECRET)
            self.assertEqual(await self.streamError(peer), "not-authorized", manager)

    async def test_workers(self) -> None:
        """
        The secrets of a manager are those of its workers, too, but of nobody else whose
        name is alike; one that has its own has only that.
        """
        await self.ready("own-0", "old")
        await self.ready("capital-12", "big")
        for manager, secret in (
            ("own-0", SECRET),
            ("own-1", "new"),
            ("own-x", "old"),
            ("own-0-0", "old"),
            ("nobody-0", SECRET),
        ):
            peer = await self.connect(manager)
            peer.header()
            await peer.next("features")
            peer.handshake(secret)
            self.assertEqual(await self.streamError(peer), "not-authorized", manager)

    async def test_oddHandshake(self) -> None:
        """
        A handshake that holds an element is a wrong one.
        """
        peer = await self.connect()
        peer.header()
        await peer.next("features")
        peer.send("<handshake><x/></handshake>")
        self.assertEqual(await self.streamError(peer), "not-authorized")

    async def test_badAddress(self) -> None:
        """
        A header without a manager's name ends the link.
        """
        for address in ("", "user@cm1/link", "@/"):
            peer = await self.connect()
            peer.address = address
            peer.header()
            self.assertEqual(await self.streamError(peer), "improper-addressing")

    async def test_badNamespace(self) -> None:
        """
        A stream of another kind is refused.
        """
        peer = await self.connect()
        peer.send("<stream xmlns='jabber:connectionmanager'>")
        self.assertEqual(await self.streamError(peer), "invalid-namespace")

    async def test_routeBeforeHandshake(self) -> None:
        """
        A route before the handshake is answered with C{not-authorized}, and the
        link ends.
        """
        peer = await self.connect()
        peer.header()
        await peer.next("features")
        peer.route("someStream", "<presence/>")
        route = await peer.next(("route", "someStream"))
        self.assertEqual(route.get("type"), "error")
        self.assertEqual(condition(route), ("401", "auth", "not-authorized"))
        self.assertEqual(await self.streamError(peer), "not-authorized")

    async def test_iqBeforeHandshake(self) -> None:
        """
        A request before the handshake is answered with C{not-authorized}, and the
        link ends.
        """
        peer = await self.connect()
        peer.header()
        await peer.next("features")
        reply = await peer.ask("someStream", "<create/>")
        self.assertEqual(condition(reply), ("401", "auth", "not-authorized"))
        self.assertEqual(await self.streamError(peer), "not-authorized")

    async def test_nothingBeforeHandshake(self) -> None:
        """
        A link without a handshake gets no client's traffic, though its manager has clients.
        """
        first = await self.ready()
        silent = await self.connect()
        silent.header()
        await silent.next("features")
        user = self.user()
        stream = await first.login(user)
        await first.available(stream)
        self.assertNotIn("route", silent.text)

    async def test_largeBeforeHandshake(self) -> None:
        """
        What is larger than a handshake is not read before one.
        """
        peer = await self.connect()
        peer.header()
        await peer.next("features")
        peer.send("<handshake>" + "a" * 20000)
        self.assertEqual(await self.streamError(peer), "policy-violation")

    async def test_unknownElement(self) -> None:
        """
        An element that is no route and no IQ ends the link.
        """
        peer = await self.ready()
        peer.send("<message><body>hi</body></message>")
        self.assertEqual(await self.streamError(peer), "unsupported-stanza-type")

    async def test_notWellFormed(self) -> None:
        """
        Bad XML ends the link.
        """
        peer = await self.ready()
        peer.send("<route></iq>")
        self.assertEqual(await self.streamError(peer), "not-well-formed")

    async def test_closed(self) -> None:
        """
        The manager's footer is answered.
        """
        peer = await self.ready()
        peer.send("</stream:stream>")
        await peer.next("end")


class ManagementTests(ModuleTestCase):
    """
    Each request gets its answer, and each mistake its error.
    """

    async def test_result(self) -> None:
        """
        A result has the addresses turned round and the payload repeated.
        """
        peer = await self.ready()
        reply = await peer.ask(next(streamIDs), '<create><host address="192.0.2.1"/></create>')
        self.assertEqual(reply.get("type"), "result")
        self.assertEqual(reply.get("from"), "example.org")
        self.assertEqual(reply.get("to"), peer.address)
        self.assertIsNotNone(reply.find(f"{{{MANAGEMENT}}}session/{{{MANAGEMENT}}}create"))

    async def test_errors(self) -> None:
        """
        The error table of the protocol.
        """
        peer = await self.ready()
        known = await peer.create()
        session = f'<session xmlns="{MANAGEMENT}" id="{known}">'
        message = '<message xmlns="jabber:client"/>'
        bad = ("400", "modify", "bad-request")
        missing = ("404", "cancel", "item-not-found")
        cases = [
            (f'<session xmlns="{MANAGEMENT}"><create/></session>', bad, "id-required"),
            (f'<session xmlns="{MANAGEMENT}" id=""><create/></session>', bad, "id-required"),
            (f'<other xmlns="{MANAGEMENT}" id="x"/>', bad, None),
            ('<session xmlns="urn:other" id="x"><create/></session>', bad, None),
            ("", bad, None),
            (f'<session xmlns="{MANAGEMENT}" id="x"><close/></session>', missing, None),
            (
                f'<session xmlns="{MANAGEMENT}" id="x"><failed>{message}</failed></session>',
                missing,
                None,
            ),
            (f'<session xmlns="{MANAGEMENT}" id="x"><dance/></session>', missing, None),
            (f"{session}<dance/></session>", bad, None),
            (f"{session}</session>", bad, None),
            (f"{session}<failed/></session>", bad, "invalid-payload"),
            (f"{session}<failed>{message}{message}</failed></session>", bad, "invalid-payload"),
            (
                f'{session}<failed><iq xmlns="jabber:client"/></failed></session>',
                bad,
                "unknown-stanza",
            ),
            (f"{session}<create/></session>", ("409", "cancel", "conflict"), None),
            (
                f'<session xmlns="{MANAGEMENT}" id="{"x" * 257}"><create/></session>',
                bad,
                "invalid-payload",
            ),
        ]
        for payload, expected, extra in cases:
            reply = await peer.iq(payload)
            self.assertEqual(condition(reply), expected, payload)
            self.assertEqual(detail(reply), extra, payload)

    async def test_longestID(self) -> None:
        """
        A stream id of 256 bytes is taken.
        """
        peer = await self.ready()
        reply = await peer.ask(next(streamIDs).ljust(256, "x"), "<create/>")
        self.assertEqual(reply.get("type"), "result")

    async def test_get(self) -> None:
        """
        A request to read anything is answered with C{bad-request}: a probe of the link.
        """
        peer = await self.ready()
        reply = await peer.iq('<ping xmlns="urn:xmpp:ping"/>', "get")
        self.assertEqual(condition(reply), ("400", "modify", "bad-request"))

    async def test_unknownHost(self) -> None:
        """
        A client of a domain that is not served is refused.
        """
        peer = await self.ready()
        reply = await peer.ask(next(streamIDs), "<create/>", to="elsewhere.example")
        self.assertEqual(condition(reply), ("503", "cancel", "service-unavailable"))
        self.assertEqual(detail(reply), "host-unknown")

    async def test_routeErrors(self) -> None:
        """
        The error table for routes; the route's id comes back, the stanza does not.
        """
        peer = await self.ready()
        known = await peer.create()
        sm = '<enable xmlns="urn:xmpp:sm:3"/>'
        bad = ("400", "modify", "bad-request")
        for streamID, payload, expected, extra in [
            ("nobody", "<presence/>", ("404", "cancel", "item-not-found"), None),
            (known, sm, bad, "unknown-stanza"),
            (known, '<auth xmlns="urn:other"/>', bad, "unknown-stanza"),
            (known, "", bad, "invalid-payload"),
            (known, "text", bad, "invalid-payload"),
            (known, "<presence/><presence/>", bad, "invalid-payload"),
        ]:
            peer.route(streamID, payload, "r77")
            route = await peer.next(("route", streamID))
            self.assertEqual(route.get("type"), "error")
            self.assertEqual(route.get("id"), "r77")
            self.assertEqual(route.get("to"), peer.address)
            self.assertEqual(condition(route), expected, payload)
            self.assertEqual(detail(route), extra, payload)
            self.assertEqual(len(route), 1)

    async def test_routeWithoutStream(self) -> None:
        """
        A route that names no stream is an error of its own, and the link lives on.
        """
        peer = await self.ready()
        peer.send("<route><presence/></route>")
        route = await peer.next(("route", None))
        self.assertEqual(condition(route), ("400", "modify", "bad-request"))
        self.assertEqual(detail(route), "id-required")
        await peer.create()

    async def test_brokenModule(self) -> None:
        """
        Where another module breaks over a request that is said, and the link lives on.
        """
        self.prosody = self.own(modules=("crash",))
        self.prosody.addModule(
            "crash",
            "module:set_global();\n"
            'module:hook("connection-manager/client-connecting", function (event)\n'
            '    if event.ip == "192.0.2.66" then error("on purpose"); end\n'
            "end);\n",
        )
        self.prosody.start()
        peer = await self.ready()
        create = '<create><host address="192.0.2.66"/></create>'
        reply = await peer.ask(next(streamIDs), create)
        self.assertEqual(condition(reply), ("500", "wait", "internal-server-error"))
        await peer.create()


class LoginTests(ModuleTestCase):
    """
    SASL and resource binding.
    """

    async def test_plain(self) -> None:
        """
        PLAIN logs in, and the resource bound is the one asked for.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.create()
        peer.plain(stream, user)
        self.assertEqual((await peer.routed(stream)).tag, f"{SASL}success")
        self.assertEqual(await peer.bind(stream, "balcony"), f"{user}@example.org/balcony")

    async def test_wrongPassword(self) -> None:
        """
        A wrong password is a SASL failure, after which another attempt may follow.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.create()
        peer.plain(stream, user, "guess")
        failure = await peer.routed(stream)
        self.assertEqual(failure.tag, f"{SASL}failure")
        self.assertEqual(failure[0].tag, f"{SASL}not-authorized")
        peer.plain(stream, user)
        self.assertEqual((await peer.routed(stream)).tag, f"{SASL}success")

    async def test_abort(self) -> None:
        """
        A login that is given up is answered with C{aborted}.
        """
        peer = await self.ready()
        stream = await peer.create()
        peer.route(stream, '<abort xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>')
        self.assertEqual((await peer.routed(stream))[0].tag, f"{SASL}aborted")

    async def test_notSecure(self) -> None:
        """
        Without word of TLS a session is not secure: Prosody takes no password.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.create(extension="")
        peer.plain(stream, user)
        failure = await peer.routed(stream)
        self.assertEqual(failure[0].tag, f"{SASL}encryption-required")

    async def test_laterTLS(self) -> None:
        """
        A client may be announced before its TLS; that is told once, and before the login.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.create(extension="")
        self.assertEqual((await peer.ask(stream, PLAIN_TLS)).get("type"), "result")
        self.assertEqual(condition(await peer.ask(stream, PLAIN_TLS))[2], "bad-request")
        peer.plain(stream, user)
        self.assertEqual((await peer.routed(stream)).tag, f"{SASL}success")

        stream = await peer.create(extension="")
        peer.plain(stream, user)
        self.assertEqual((await peer.routed(stream)).tag, f"{SASL}failure")
        self.assertEqual(condition(await peer.ask(stream, PLAIN_TLS))[2], "bad-request")

    async def test_scram(self) -> None:
        """
        SCRAM logs in.
        """
        await self.scram("SCRAM-SHA-1", None, PLAIN_TLS)

    async def test_plus(self) -> None:
        """
        SCRAM-PLUS logs in with each type of channel binding, by the data the manager sent.
        """
        for name in ("tls-exporter", "tls-server-end-point", "tls-unique"):
            tag = await self.scram("SCRAM-SHA-1-PLUS", (name, b"right"), self.bound(name, b"right"))
            self.assertEqual(tag, f"{SASL}success", name)

    async def test_plusAfterFailure(self) -> None:
        """
        The binding outlives a failed attempt.
        """
        extension = self.bound("tls-exporter", b"right")
        peer = await self.ready()
        user = self.user()
        stream = await peer.create(extension=extension)
        peer.plain(stream, user, "guess")
        self.assertEqual((await peer.routed(stream)).tag, f"{SASL}failure")
        for _ in range(2):
            peer.route(stream, '<abort xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>')
            await peer.routed(stream)
        tag = await self.exchange(
            peer, stream, user, "SCRAM-SHA-1-PLUS", ("tls-exporter", b"right")
        )
        self.assertEqual(tag, f"{SASL}success")

    async def test_plusLie(self) -> None:
        """
        Where client and manager have different TLS, SCRAM-PLUS fails: somebody is between them.
        """
        tag = await self.scram(
            "SCRAM-SHA-1-PLUS", ("tls-exporter", b"seen"), self.bound("tls-exporter", b"other")
        )
        self.assertEqual(tag, f"{SASL}failure")

    async def test_plusOwnCertificate(self) -> None:
        """
        It is the manager's certificate that counts, also where Prosody 13 is told to find
        out which of its own a client has seen.
        """
        self.prosody = self.own(options='tls_server_end_point_hash = "auto"\n')
        self.prosody.start()
        name = "tls-server-end-point"
        tag = await self.scram("SCRAM-SHA-1-PLUS", (name, b"right"), self.bound(name, b"right"))
        self.assertEqual(tag, f"{SASL}success")

    async def test_plusWithoutData(self) -> None:
        """
        SCRAM-PLUS without binding data from the manager fails.
        """
        tag = await self.scram("SCRAM-SHA-1-PLUS", ("tls-exporter", b"seen"), PLAIN_TLS)
        self.assertEqual(tag, f"{SASL}failure")

    async def test_badExtension(self) -> None:
        """
        An extension that cannot be read is refused rather than half believed.
        """
        peer = await self.ready()
        certificate = f"<tls xmlns='{TLS}'><certificate %s>%s</certificate></tls>"
        for extension in (
            f"<tls xmlns='{TLS}'><channel-binding type='tls-exporter'>?</channel-binding></tls>",
            f"<tls xmlns='{TLS}'><channel-binding type='tls-exporter'/></tls>",
            f"<tls xmlns='{TLS}'><channel-binding type='tls-exporter'><x/></channel-binding></tls>",
            certificate % ("", "<x/>"),
            certificate % ("", ""),
            certificate % ("", "?"),
            certificate % ("", b64encode(b"no certificate").decode()),
            *(certificate % (f"fingerprint='{text}'", "") for text in self.noFingerprints()),
        ):
            await self.impossible(peer, extension)

    async def impossible(self, peer: Peer, extension: str) -> None:
        """
        Announce a client with an extension that is refused.
        """
        reply = await peer.ask(next(streamIDs), f"<create>{extension}</create>")
        self.assertEqual(condition(reply)[2], "bad-request", extension)
        self.assertEqual(detail(reply), "invalid-payload", extension)

    def noFingerprints(self) -> list[str]:
        """
        Return what is like the fingerprint C{"ab" * 32}, and is none.
        """
        good = "ab" * 32
        return ["", good[1:], good + "0", good.upper(), ":".join(["ab"] * 32), good[:-1] + "g"]

    async def test_fingerprintOnly(self) -> None:
        """
        A certificate may be told by its fingerprint alone.
        """
        peer = await self.ready()
        await peer.create(f"<tls xmlns='{TLS}'><certificate fingerprint='{'ab' * 32}'/></tls>")

    async def test_doubled(self) -> None:
        """
        Where something is said twice neither is believed, be it the same.
        """
        peer = await self.ready()
        for element in (
            f"<certificate fingerprint='{'ab' * 32}'/>",
            "<channel-binding type='tls-unique'>YWJj</channel-binding>",
        ):
            await peer.create(f"<tls xmlns='{TLS}'>{element}</tls>")
            await self.impossible(peer, f"<tls xmlns='{TLS}'>{element}{element}</tls>")

    async def test_bindingData(self) -> None:
        """
        Binding data is complete base64 and has up to 1024 bytes; data of an unknown type
        may be anything.
        """
        peer = await self.ready()
        binding = f"<tls xmlns='{TLS}'><channel-binding type='%s'>%s</channel-binding></tls>"
        for text in ("YQ==", "YWI=", " Y\nWJj ", b64encode(bytes(1024)).decode()):
            await peer.create(binding % ("tls-unique", text))
        for text in ("YWJjYQ", "YQ=", "YQ==YQ==", "YQ==x", b64encode(bytes(1025)).decode()):
            await self.impossible(peer, binding % ("tls-unique", text))
        await peer.create(binding % ("tls-future", "?"))

    def bound(self, name: str, data: bytes) -> str:
        """
        Return an extension with channel-binding data.
        """
        return (
            f"<tls xmlns='{TLS}' version='TLSv1.3' cipher='TLS_AES_128_GCM_SHA256'>"
            f"<channel-binding type='{name}'>{b64encode(data).decode()}</channel-binding></tls>"
        )

    async def scram(self, mechanism: str, binding: tuple[str, bytes] | None, extension: str) -> str:
        """
        Log in a new client by SCRAM and return how it ended.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.create(extension=extension)
        return await self.exchange(peer, stream, user, mechanism, binding)

    async def exchange(
        self, peer: Peer, stream: str, user: str, mechanism: str, binding: tuple[str, bytes] | None
    ) -> str:
        """
        Do the exchange itself.
        """
        scram = SCRAM(user, "secret", binding)
        first = b64encode(scram.first().encode()).decode()
        peer.route(
            stream,
            f'<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="{mechanism}">{first}</auth>',
        )
        challenge = await peer.routed(stream)
        if challenge.tag != f"{SASL}challenge":
            return challenge.tag
        final = b64encode(scram.final(b64decode(challenge.text or "").decode()).encode()).decode()
        peer.route(stream, f'<response xmlns="urn:ietf:params:xml:ns:xmpp-sasl">{final}</response>')
        end = await peer.routed(stream)
        if end.tag == f"{SASL}success":
            self.assertEqual(b64decode(end.text or "").decode(), scram.proof)
            await peer.bind(stream)
        return end.tag

    async def test_loginTimeout(self) -> None:
        """
        A client that does not log in is closed, and the manager told.
        """
        self.prosody = self.own(options="c2s_timeout = 0.3\n")
        self.prosody.start()
        peer = await self.ready()
        stream = await peer.create()
        error = await peer.routed(stream)
        self.assertEqual(error[0].tag, f"{STREAM_ERRORS}connection-timeout")
        await peer.next(("close", stream))

    async def test_register(self) -> None:
        """
        In-band registration works where the host allows it, and only there.
        """
        peer = await self.ready()
        user = next(users)
        query = (
            '<iq type="set" id="reg"><query xmlns="jabber:iq:register">'
            f"<username>{user}</username><password>secret</password></query></iq>"
        )
        stream = await peer.create(to="example.net")
        peer.route(stream, query)
        self.assertEqual((await peer.routed(stream)).get("type"), "result")
        stream = await peer.create(to="example.org")
        peer.route(stream, query)
        self.assertEqual((await peer.routed(stream)).get("type"), "error")

    async def test_trusted(self) -> None:
        """
        By option all sessions count as secure, for managers without the extension.
        """
        self.prosody = self.own(options="connection_manager_trusted_secure = true\n")
        self.prosody.start()
        peer = await self.ready()
        await peer.login(self.user(), extension="")


class ExternalTests(ModuleTestCase):
    """
    SASL EXTERNAL by the certificate that the manager has seen.
    """

    def server(self) -> Prosody:
        """
        Return a Prosody that trusts its managers with certificates.
        """
        prosody = self.own(options="connection_manager_external = true\n")
        prosody.start()
        return prosody

    def certificate(self, *addresses: str, verified: bool = True) -> str:
        """
        Return an extension with a certificate for C{addresses}.
        """
        identity = authority().issue(xmpp=addresses)
        der = identity.certificate.public_bytes(Encoding.DER)
        return (
            f"<tls xmlns='{TLS}' version='TLSv1.3' cipher='TLS_AES_128_GCM_SHA256'>"
            f"<certificate fingerprint='{hashlib.sha256(der).hexdigest()}'"
            f" verified='{str(verified).lower()}'>{b64encode(der).decode()}</certificate></tls>"
        )

    async def attempt(self, extension: str, authzid: str = "=") -> str:
        """
        Try EXTERNAL and return the end.
        """
        peer = await self.ready()
        stream = await peer.create(extension=extension)
        if authzid != "=":
            authzid = b64encode(authzid.encode()).decode()
        peer.route(
            stream,
            f'<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="EXTERNAL">{authzid}</auth>',
        )
        end = await peer.routed(stream)
        if end.tag == f"{SASL}success":
            self.address = await peer.bind(stream)
        return end.tag

    async def test_announced(self) -> None:
        """
        EXTERNAL is announced in the extension, never among the mechanisms for everybody.
        """
        peer = await self.connect()
        configuration = (await peer.ready())[0]
        tls = configuration.find(f"{{{TLS}}}tls")
        assert tls is not None
        self.assertIn("EXTERNAL", [e.text for e in tls.findall(f"{{{TLS}}}mechanism")])
        plain = [m.text for m in configuration.iter(f"{SASL}mechanism")]
        self.assertNotIn("EXTERNAL", plain)

    async def test_success(self) -> None:
        """
        The address in a verified certificate logs in without a password.
        """
        user = self.user()
        end = await self.attempt(self.certificate(f"{user}@example.org"))
        self.assertEqual(end, f"{SASL}success")
        self.assertEqual(self.address, f"{user}@example.org/desk")

    async def test_everyLength(self) -> None:
        """
        A certificate of any length is read: its lines in PEM may be full or not.
        """
        peer = await self.ready()
        lengths = set()
        for padding in range(52):
            extension = self.certificate("x" * padding + "@example.org")
            lengths.add(len(extension.partition("verified='true'>")[2].partition("<")[0]) % 64)
            await peer.create(extension=extension)
        self.assertIn(0, lengths)

    async def test_emptyElement(self) -> None:
        """
        An C{auth} without data means the same as an empty authorization identity.
        """
        user = self.user()
        end = await self.attempt(self.certificate(f"{user}@example.org"), "")
        self.assertEqual(end, f"{SASL}success")

    async def test_choice(self) -> None:
        """
        With several addresses in the certificate the client has to choose one of them.
        """
        romeo, juliet = self.user(), self.user()
        extension = self.certificate(f"{romeo}@example.org", f"{juliet}@example.org")
        self.assertEqual(await self.attempt(extension), f"{SASL}failure")
        self.assertEqual(await self.attempt(extension, f"{juliet}@example.org"), f"{SASL}success")
        self.assertEqual(self.address, f"{juliet}@example.org/desk")
        self.assertEqual(await self.attempt(extension, "admin@example.org"), f"{SASL}failure")

    async def test_notVerified(self) -> None:
        """
        A certificate that the manager did not verify does not log in.
        """
        user = self.user()
        extension = self.certificate(f"{user}@example.org", verified=False)
        self.assertEqual(await self.attempt(extension), f"{SASL}failure")

    async def test_verifiedOtherwise(self) -> None:
        """
        Only C{"true"} says that it was verified.
        """
        user = self.user()
        extension = self.certificate(f"{user}@example.org")
        for word in ("1", "TRUE", " true"):
            told = extension.replace("verified='true'", f"verified='{word}'")
            self.assertEqual(await self.attempt(told), f"{SASL}failure", word)

    async def test_otherHost(self) -> None:
        """
        An address of another host, or of nobody, does not log in.
        """
        user = self.user()
        self.assertEqual(
            await self.attempt(self.certificate(f"{user}@example.net")), f"{SASL}failure"
        )
        self.assertEqual(
            await self.attempt(self.certificate("nobody@example.org")), f"{SASL}failure"
        )


class SessionTests(ModuleTestCase):
    """
    What a client can do once it is in.
    """

    async def pair(self) -> tuple[Peer, str, str, str, str]:
        """
        Log in two users.
        """
        peer = await self.ready()
        romeo, juliet = self.user(), self.user()
        one = await peer.login(romeo)
        two = await peer.login(juliet)
        return peer, romeo, one, juliet, two

    async def test_roster(self) -> None:
        """
        The roster comes, and a push follows a change.
        """
        peer = await self.ready()
        stream = await peer.login(self.user())
        peer.route(stream, '<iq type="get" id="a"><query xmlns="jabber:iq:roster"/></iq>')
        roster = await peer.routed(stream)
        self.assertEqual(roster[0].tag, "{jabber:iq:roster}query")
        peer.route(
            stream,
            '<iq type="set" id="b"><query xmlns="jabber:iq:roster">'
            '<item jid="nurse@example.org"/></query></iq>',
        )
        got = [await peer.routed(stream), await peer.routed(stream)]
        self.assertEqual(sorted(iq.get("type", "") for iq in got), ["result", "set"])

    async def test_message(self) -> None:
        """
        A message arrives with the sender's address, which nobody can forge.
        """
        peer, romeo, one, juliet, two = await self.pair()
        peer.route(
            one,
            f'<message to="{juliet}@example.org/desk" from="{juliet}@example.org" type="chat">'
            "<body>&lt;3 \N{SPARKLES}</body></message>",
        )
        message = await peer.routed(two)
        self.assertEqual(message.get("from"), f"{romeo}@example.org/desk")
        self.assertEqual(message.findtext(f"{LINK}body"), "<3 \N{SPARKLES}")

    async def test_log(self) -> None:
        """
        What is sent to a client is logged as for a direct connection: by the tag it begins
        with.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        since = len(self.prosody.log)
        peer.route(
            stream, f'<message to="{user}@example.org/desk" id="seen"><body>words</body></message>'
        )
        await peer.routed(stream)
        line = await self.logged(lambda line: "Sending[c2s]: <message" in line, since)
        self.assertRegex(line, "id='seen'[^>]*>$")
        self.assertNotIn("words", "".join(self.prosody.log[since:]))

    async def test_namespace(self) -> None:
        """
        A stanza that says C{jabber:client} is the same as one that says nothing, and
        what is nested in another namespace keeps its own.
        """
        peer, _, one, juliet, two = await self.pair()
        inner = '<message xmlns="jabber:client"><body>old</body></message>'
        peer.route(
            one,
            f'<message xmlns="jabber:client" to="{juliet}@example.org/desk"><body>hi</body>'
            f'<forwarded xmlns="urn:xmpp:forward:0">{inner}</forwarded></message>',
        )
        message = await peer.routed(two)
        self.assertEqual(message.findtext(f"{LINK}body"), "hi")
        forwarded = message.find("{urn:xmpp:forward:0}forwarded")
        assert forwarded is not None
        self.assertEqual(forwarded[0].tag, "{jabber:client}message")

    async def test_language(self) -> None:
        """
        The language of the client's stream goes with its stanzas.
        """
        peer = await self.ready()
        user = self.user()
        extension = f"{PLAIN_TLS}<stream xmlns='{STREAM}' to='example.org' lang='it'/>"
        stream = await peer.login(user, extension=extension)
        peer.route(stream, f'<message to="{user}@example.org/desk"><body>ciao</body></message>')
        message = await peer.routed(stream)
        self.assertEqual(message.get("{http://www.w3.org/XML/1998/namespace}lang"), "it")

    async def test_presence(self) -> None:
        """
        Presence reaches the user's other resource, and so does its end.
        """
        peer = await self.ready()
        user = self.user()
        one = await peer.login(user, "one")
        await peer.available(one)
        two = await peer.login(user, "two")
        peer.route(two, "<presence><show>away</show></presence>")
        presence = await peer.routed(one)
        self.assertEqual(presence.get("from"), f"{user}@example.org/two")
        self.assertEqual(presence.findtext(f"{LINK}show"), "away")
        self.assertEqual((await peer.ask(two, "<close/>")).get("type"), "result")
        presence = await peer.routed(one)
        self.assertEqual(presence.get("type"), "unavailable")

    async def test_badIQ(self) -> None:
        """
        A stanza that is no good is answered to the client; the link does not care.
        """
        peer = await self.ready()
        stream = await peer.login(self.user())
        peer.route(stream, '<iq type="dance" id="x"><a xmlns="urn:b"/></iq>')
        error = await peer.routed(stream)
        self.assertEqual(error.get("type"), "error")
        peer.route(stream, '<message to="@@@"/>')
        error = await peer.routed(stream)
        self.assertEqual(error[0][0].tag, f"{STANZA_ERRORS}jid-malformed")

    async def test_crash(self) -> None:
        """
        An error in one of Prosody's modules is that one stanza's.
        """
        self.prosody = self.own(modules=("crash",))
        self.prosody.addModule(
            "crash",
            'module:hook("pre-message/bare", function () error("on purpose"); end, 1000);\n',
        )
        self.prosody.start()
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        peer.route(stream, f'<message to="{user}@example.org"/>', "r5")
        route = await peer.next(("route", stream))
        self.assertEqual(route.get("id"), "r5")
        self.assertEqual(condition(route), ("500", "wait", "internal-server-error"))
        await peer.available(stream)

    async def test_close(self) -> None:
        """
        After C{close} the stream is unknown, and its id may be used again.
        """
        peer = await self.ready()
        stream = await peer.login(self.user())
        await peer.ask(stream, "<close/>")
        peer.route(stream, "<presence/>")
        self.assertEqual(condition(await peer.next(("route", stream)))[2], "item-not-found")
        self.assertEqual((await peer.ask(stream, "<create/>")).get("type"), "result")
        self.assertFalse(peer.has(("close", stream)))

    async def test_destroyed(self) -> None:
        """
        A session that some module destroyed without closing it leaves nothing behind.
        """
        self.prosody = self.own(modules=("destroy",))
        self.prosody.addModule(
            "destroy",
            'local destroy = require "core.sessionmanager".destroy_session;\n'
            'module:hook("pre-message/bare", function (event)\n'
            "    destroy(event.origin); return true;\n"
            "end, 1000);\n",
        )
        self.prosody.start()
        peer = await self.ready()
        user = self.user()
        for action in ("<close/>", PLAIN_TLS, "<failed/>"):
            stream = await peer.login(user)
            peer.route(stream, f'<message to="{user}@example.org"/>')
            await peer.create()  # which comes behind
            reply = await peer.ask(stream, action)
            self.assertNotEqual(reply.get("type"), "result")
            self.assertNotIn("c2s_destroyed", self.prosody.shell('c2s:show(nil, "id type")'))
            self.assertEqual((await peer.ask(stream, "<create/>")).get("type"), "result")

    async def test_closeDuringWork(self) -> None:
        """
        A client that leaves while a module is at work for it is gone soon, though the
        module may never end.
        """
        self.prosody = self.own(modules=("slow",), options="c2s_close_timeout = 0.2\n")
        self.prosody.addModule("slow", SLOW)
        self.prosody.start()
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        peer.route(stream, f'<message to="{user}@example.org"/>')
        since = len(self.prosody.log)
        for _ in range(2):
            self.assertEqual((await peer.ask(stream, "<close/>")).get("type"), "result")
        await self.logged(lambda line: f"Unbinding resource for {user}@" in line, since)
        self.assertEqual(condition(await peer.ask(stream, "<close/>"))[2], "item-not-found")

    async def test_shell(self) -> None:
        """
        The admin shell shows the client's own address and encryption.
        """
        peer = await self.ready()
        user = self.user()
        six = self.user()
        extension = PLAIN_TLS.replace("/>", " sni='example.org'/>")
        await peer.login(user, address="198.51.100.23", extension=extension)
        await peer.login(six, address="2001:db8::7")
        shown = self.prosody.shell('c2s:show(nil, "jid ip ipv secure encryption sni")')
        line = next(line for line in shown.splitlines() if user in line)
        for part in ("198.51.100.23", "IPv4", "TLSv1.3", "TLS_AES_256_GCM_SHA384", "example.org"):
            self.assertIn(part, line)
        line = next(line for line in shown.splitlines() if six in line)
        self.assertIn("2001:db8::7", line)
        self.assertIn("IPv6", line)
        self.assertIn(user, self.prosody.shell("c2s:show()"))
        self.assertIn(user, self.prosody.shell("c2s:show_tls()"))

    async def test_shellBeforeLogin(self) -> None:
        """
        The admin shell also shows clients that have not logged in, and a wrong
        address counts as none.
        """
        peer = await self.ready()
        await peer.create(address="203.0.113.77")
        await peer.create(address="no.address.example", to="example.net")
        shown = self.prosody.shell('c2s:show(nil, "jid ip")')
        self.assertIn("203.0.113.77", shown)
        self.assertNotIn("no.address.example", shown)

    async def test_kick(self) -> None:
        """
        Somebody whom the administrator throws out gets the reason, and the manager a
        C{close}, at once, as the schemas have it.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        said = self.prosody.shell(f'c2s:close("{user}@example.org", "Out!", "policy-violation")')
        self.assertIn("1 sessions closed", said)
        error = await peer.routed(stream)
        self.assertEqual(error.tag, f"{STREAMS}error")
        self.assertEqual(error[0].tag, f"{STREAM_ERRORS}policy-violation")
        self.assertEqual(error.findtext(f"{STREAM_ERRORS}text"), "Out!")
        close = await peer.next(("close", stream))
        self.assertEqual(close.get("to"), "cm1")
        self.assertEqual(faults(ElementTree.tostring(close)), [])
        peer.send(f'<iq type="result" id="{close.get("id")}"/>')
        peer.route(stream, "<presence/>")
        self.assertEqual(condition(await peer.next(("route", stream)))[2], "item-not-found")

    async def test_kickWithoutReason(self) -> None:
        """
        Even an end without a reason is announced.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        self.prosody.shell(f'c2s:close("{user}@example.org")')
        await peer.next(("close", stream))
        self.assertFalse(peer.has(("route", stream)))

    async def test_conflict(self) -> None:
        """
        The same resource twice: the older goes, with C{conflict}.
        """
        peer = await self.ready()
        user = self.user()
        old = await peer.login(user)
        new = await peer.login(user)
        error = await peer.routed(old)
        self.assertEqual(error[0].tag, f"{STREAM_ERRORS}conflict")
        await peer.next(("close", old))
        await peer.available(new)

    async def test_hosts(self) -> None:
        """
        The virtual host is the one the IQ names, unless the extension names another.
        """
        peer = await self.ready()
        name = next(users)
        self.prosody.addUser(f"{name}@example.org", "secret")
        for extension, to in (
            (PLAIN_TLS, "Example.ORG"),
            (f"{PLAIN_TLS}<stream xmlns='{STREAM}' to='example.org'/>", "example.net"),
        ):
            stream = await peer.create(extension=extension, to=to)
            peer.plain(stream, name)
            route = await peer.next(("route", stream))
            self.assertEqual(route[0].tag, f"{SASL}success")
            self.assertEqual(route.get("from"), "example.org")

    async def test_defaultHost(self) -> None:
        """
        Without any name it is the default host, the first by name.
        """
        peer = await self.ready()
        stream = await peer.create(to=None)
        peer.plain(stream, "whoever")
        route = await peer.next(("route", stream))
        self.assertEqual(route.get("from"), "example.net")

    async def test_managersApart(self) -> None:
        """
        Two managers may use the same stream id; neither sees the other's client.
        """
        one, two = await self.ready("cm1"), await self.ready("cm2")
        stream = await one.create()
        self.assertEqual((await two.ask(stream, "<create/>")).get("type"), "result")
        await two.ask(stream, "<close/>")
        one.plain(stream, self.user())
        self.assertEqual((await one.routed(stream)).tag, f"{SASL}success")


class UndeliveredTests(ModuleTestCase):
    """
    Messages that did not reach their client.
    """

    def failed(self, to: str, body: str, kind: str = "chat", more: str = "") -> str:
        """
        Return a C{failed} request.
        """
        return (
            f'<failed><message xmlns="jabber:client" from="nurse@example.org/x" to="{to}"'
            f' type="{kind}"><body>{body}</body>{more}</message></failed>'
        )

    async def bodies(self, peer: Peer, user: str) -> list[str | None]:
        """
        Log in anew and return what was waiting.
        """
        stream = await peer.login(user, "later")
        peer.route(stream, "<presence/>")
        peer.route(stream, '<iq type="get" id="end"><ping xmlns="urn:xmpp:ping"/></iq>')
        got = []
        while (stanza := await peer.routed(stream)).tag != f"{LINK}iq":
            if stanza.tag == f"{LINK}message":
                got.append(stanza.findtext(f"{LINK}body"))
        return got

    async def test_offline(self) -> None:
        """
        A message that is handed back waits in offline storage for the next login.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        reply = await peer.ask(stream, self.failed(f"{user}@example.org/desk", "later"))
        self.assertEqual(reply.get("type"), "result")
        await peer.ask(stream, "<close/>")
        self.assertEqual(await self.bodies(peer, user), ["later"])

    async def test_afterClose(self) -> None:
        """
        A message that was on its way when its client left is taken back all the same.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        await peer.ask(stream, "<close/>")
        reply = await peer.ask(stream, self.failed(f"{user}@example.org/desk", "crossed"))
        self.assertEqual(reply.get("type"), "result")
        self.assertEqual(await self.bodies(peer, user), ["crossed"])

    async def test_oldNamespace(self) -> None:
        """
        A message of an old manager, which forgets to name its namespace, is stored as
        any other.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        request = self.failed(f"{user}@example.org/desk", "old").replace(
            ' xmlns="jabber:client"', ""
        )
        await peer.ask(stream, request)
        await peer.ask(stream, "<close/>")
        self.assertEqual(await self.bodies(peer, user), ["old"])

    async def test_slowStorage(self) -> None:
        """
        Where storage has to be waited for, messages are stored in order all the same, and
        each is answered when it is.
        """
        self.prosody = self.own(modules=("slow",))
        self.prosody.addModule(
            "slow",
            'local async = require "util.async";\n'
            'module:hook("message/offline/handle", function (event)\n'
            '    if event.stanza:get_child_text("body") == "1" then async.sleep(0.3); end\n'
            "end, 1000);\n",
        )
        self.prosody.start()
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        to = f"{user}@example.org/desk"
        for number in range(3):
            peer.send(
                f'<iq type="set" id="f{number}"><session xmlns="{MANAGEMENT}" id="{stream}">'
                f"{self.failed(to, str(number))}</session></iq>"
            )
        await peer.ask(stream, "<close/>")
        for number in range(3):
            reply = await peer.next(("reply", f"f{number}"))
            self.assertEqual(reply.get("type"), "result")
        self.assertEqual(await self.bodies(peer, user), ["0", "1", "2"])

    async def test_brokenStorage(self) -> None:
        """
        A message over which storage breaks is an error; the next one is stored.
        """
        self.prosody = self.own(modules=("crash",))
        self.prosody.addModule(
            "crash",
            'module:hook("message/offline/handle", function (event)\n'
            '    if event.stanza:get_child_text("body") == "bad" then error("on purpose"); end\n'
            "end, 1000);\n",
        )
        self.prosody.start()
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        to = f"{user}@example.org/desk"
        reply = await peer.ask(stream, self.failed(to, "bad"))
        self.assertEqual(condition(reply)[2], "internal-server-error")
        reply = await peer.ask(stream, self.failed(to, "good"))
        self.assertEqual(reply.get("type"), "result")

    async def test_notForOthers(self) -> None:
        """
        A client's stream gives back that user's messages only.
        """
        peer = await self.ready()
        stream = await peer.login(self.user())
        reply = await peer.ask(stream, self.failed(f"{self.user()}@example.org", "hm"))
        self.assertEqual(condition(reply)[2], "bad-request")

    async def test_notKept(self) -> None:
        """
        Errors, headlines, groupchat and copies are not stored.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        to = f"{user}@example.org/desk"
        copies = '<received xmlns="urn:xmpp:carbons:2"/>'
        for request in (
            *(self.failed(to, kind, kind) for kind in ("error", "headline", "groupchat")),
            self.failed(to, "copy", more=copies),
        ):
            self.assertEqual((await peer.ask(stream, request)).get("type"), "result")
        await peer.ask(stream, "<close/>")
        self.assertEqual(await self.bodies(peer, user), [])


class SeveralLinksTests(ModuleTestCase):
    """
    A manager with more than one link.
    """

    async def test_sticky(self) -> None:
        """
        What is for a client comes on the link its last element came on.
        """
        one, two = await self.ready(), await self.ready()
        user = self.user()
        stream = await one.login(user)
        ping = '<iq type="get" id="p"><ping xmlns="urn:xmpp:ping"/></iq>'
        for peer, other in ((two, one), (one, two), (two, one)):
            peer.route(stream, ping)
            self.assertEqual((await peer.routed(stream)).get("type"), "result")
            self.assertFalse(other.has(("route", stream)))

    async def test_lost(self) -> None:
        """
        With one link of two gone the client is reached on the other.
        """
        one, two = await self.ready(), await self.ready()
        romeo, juliet = self.user(), self.user()
        first = await one.login(romeo)
        second = await two.login(juliet)
        await self.gone(one)
        two.route(second, f'<message to="{romeo}@example.org/desk"><body>there?</body></message>')
        message = await two.routed(first)
        self.assertEqual(message.findtext(f"{LINK}body"), "there?")


class GraceTests(ModuleTestCase):
    """
    A manager that has lost all links.
    """

    def server(self) -> Prosody:
        """
        Return a Prosody that waits for managers long enough for a test.
        """
        prosody = self.own(
            options="connection_manager_grace = 20\nconnection_manager_probe_timeout = 0.5\n"
        )
        prosody.start()
        return prosody

    async def test_back(self) -> None:
        """
        Within the grace sessions live on, and what came for them meanwhile is delivered.
        """
        away, here = await self.ready(), await self.ready("cm2")
        romeo, juliet = self.user(), self.user()
        stream = await away.login(romeo)
        other = await here.login(juliet)
        await self.gone(away)
        here.route(other, f'<message to="{romeo}@example.org/desk"><body>wait</body></message>')
        self.assertIn(romeo, self.prosody.shell("c2s:show()"))
        back = await self.ready()
        message = await back.routed(stream)
        self.assertEqual(message.findtext(f"{LINK}body"), "wait")
        ping = await back.routed(stream)
        self.assertEqual(ping[0].tag, "{urn:xmpp:ping}ping")
        back.route(stream, f'<iq type="result" id="{ping.get("id")}" to="example.org"/>')
        since = len(self.prosody.log)
        back.route(stream, '<iq type="get" id="p"><ping xmlns="urn:xmpp:ping"/></iq>')
        self.assertEqual((await back.routed(stream)).get("type"), "result")
        self.assertFalse([line for line in self.prosody.log[since:] if "error" in line])

    async def test_ghost(self) -> None:
        """
        A session of which nothing is heard after the manager's return is closed.
        """
        away = await self.ready()
        stream = await away.login(self.user())
        await self.gone(away)
        back = await self.ready()
        await back.routed(stream)
        error = await back.routed(stream)
        self.assertEqual(error[0].tag, f"{STREAM_ERRORS}connection-timeout")
        await back.next(("close", stream))

    async def test_queueFull(self) -> None:
        """
        What is too much to wait goes to offline storage.
        """
        self.prosody.stop()
        self.prosody = self.own(options="connection_manager_queue_bytes = 500\n")
        self.prosody.start()
        away, here = await self.ready(), await self.ready("cm2")
        romeo, juliet = self.user(), self.user()
        await away.login(romeo)
        other = await here.login(juliet)
        await self.gone(away)
        since = len(self.prosody.log)
        here.route(
            other,
            f'<message to="{romeo}@example.org/desk" type="chat"><body>{"x" * 600}</body></message>',
        )
        await self.logged(lambda line: "Saved to offline storage" in line, since)

    async def test_over(self) -> None:
        """
        After the grace the sessions end, and what waited for them is stored.
        """
        self.prosody.stop()
        self.prosody = self.own(options="connection_manager_grace = 0.7\n")
        self.prosody.start()
        away, here = await self.ready(), await self.ready("cm2")
        romeo, juliet = self.user(), self.user()
        await away.login(romeo)
        other = await here.login(juliet)
        await self.gone(away)
        since = len(self.prosody.log)
        here.route(
            other,
            f'<message to="{romeo}@example.org/desk" type="chat"><body>x</body></message>',
        )
        await self.logged(lambda line: "Saved to offline storage" in line, since)
        self.assertNotIn(romeo, self.prosody.shell("c2s:show()"))

    async def test_brokenModule(self) -> None:
        """
        A module that breaks over the end of one session keeps no other one alive.
        """
        self.prosody.stop()
        self.prosody = self.own(modules=("crash",), options="connection_manager_grace = 0.5\n")
        self.prosody.addModule(
            "crash", 'module:hook("resource-unbind", function () error("on purpose"); end);\n'
        )
        self.prosody.start()
        away = await self.ready()
        names = [self.user() for _ in range(3)]
        for name in names:
            await away.login(name)
        since = len(self.prosody.log)
        await self.gone(away)
        await self.logged(lambda line: "Ending 3 sessions of cm1" in line, since)
        shown = self.prosody.shell("c2s:show()")
        for name in names:
            self.assertNotIn(name, shown)

    async def test_queuesFull(self) -> None:
        """
        What waits for all clients of a manager has an end, too.
        """
        self.prosody.stop()
        self.prosody = self.own(
            options="connection_manager_queue_bytes = 15000\nconnection_manager_send_buffer = 20000\n"
        )
        self.prosody.start()
        away, here = await self.ready(), await self.ready("cm2")
        names = [self.user(), self.user()]
        first = [await away.login(name) for name in names]
        other = await here.login(self.user())
        await self.gone(away)
        since = len(self.prosody.log)
        body = f"<body>{'x' * 11000}</body>"
        for name in names:
            here.route(other, f'<message to="{name}@example.org/desk" type="chat">{body}</message>')
        await self.logged(lambda line: "Saved to offline storage" in line, since)
        back = await self.ready()
        self.assertEqual((await back.routed(first[0])).tag, f"{LINK}message")
        ping = await back.routed(first[1])
        self.assertEqual(ping[0].tag, "{urn:xmpp:ping}ping")

    async def test_cleanly(self) -> None:
        """
        A manager that takes its leave takes its sessions with it at once.
        """
        for leave in (
            "</stream:stream>",
            '<stream:error><system-shutdown xmlns="urn:ietf:params:xml:ns:xmpp-streams"/>'
            "</stream:error>",
        ):
            peer = await self.ready()
            user = self.user()
            await peer.login(user)
            since = len(self.prosody.log)
            peer.send(leave)
            await self.logged(lambda line: "Ending 1 sessions of cm1" in line, since)
            self.assertNotIn(user, self.prosody.shell("c2s:show()"))


class ChangeTests(ModuleTestCase):
    """
    A Prosody whose configuration changes, or that stops.
    """

    def server(self) -> Prosody:
        """
        Return a Prosody to change.
        """
        prosody = self.own('VirtualHost "example.org"\n')
        prosody.start()
        return prosody

    async def test_host(self) -> None:
        """
        A host that comes or goes makes the configuration be pushed again; without a
        change it is not.
        """
        peer = await self.ready()
        self.prosody.shell('host:activate("example.com")')
        configuration = await peer.next("configuration")
        names = [d.get("name") for d in configuration.iter(f"{{{STREAM}}}domain")]
        self.assertEqual(names, ["example.com", "example.org"])
        stream = await peer.create(to="example.com")
        self.prosody.shell('host:deactivate("example.com")')
        error = await peer.routed(stream)
        self.assertEqual(error[0].tag, f"{STREAM_ERRORS}host-gone")
        await peer.next(("close", stream))
        configuration = await peer.next("configuration")
        self.assertEqual(len(list(configuration.iter(f"{{{STREAM}}}domain"))), 1)
        self.prosody.shell("config:reload()")
        self.assertFalse(peer.has("configuration"))

    async def test_options(self) -> None:
        """
        Options that are changed and reloaded are told to the managers.
        """
        peer = await self.ready()
        self.prosody.configure(
            'VirtualHost "example.org"\n',
            OPTIONS + 'connection_manager_client_tls = "optional"\nallow_registration = true\n',
        )
        self.prosody.shell("config:reload()")
        configuration = await peer.next("configuration")
        starttls = configuration[0].find("{urn:ietf:params:xml:ns:xmpp-tls}starttls")
        assert starttls is not None
        self.assertEqual(len(starttls), 0)

    async def test_brokenModule(self) -> None:
        """
        A module that breaks over what one host offers hides neither the host nor the
        others.
        """
        self.prosody.stop()
        self.prosody = self.own()
        self.prosody.addModule(
            "crash", 'module:hook("stream-features", function () error("on purpose"); end, -100);\n'
        )
        self.prosody.configure(
            HOSTS.replace('"example.org"', '"example.org"\n    modules_enabled = { "crash" }'),
            OPTIONS,
        )
        self.prosody.start()
        peer = await self.connect()
        configuration = await peer.ready()
        found = {d.get("name"): offered(d) for d in configuration.iter(f"{{{STREAM}}}domain")}
        self.assertEqual(
            found, {"example.net": ["SCRAM-SHA-1"], "example.org": ["SCRAM-SHA-1", "PLAIN"]}
        )

    async def test_module(self) -> None:
        """
        A module that is unloaded takes its offer with it.
        """
        self.prosody.stop()
        self.prosody = self.own('VirtualHost "example.org"\nallow_registration = true\n')
        self.prosody.start()
        peer = await self.connect()
        register = "{http://jabber.org/features/iq-register}register"
        self.assertIsNotNone((await peer.ready())[0].find(register))
        self.prosody.shell('module:unload("register_ibr", "example.org")')
        self.assertIsNone((await peer.next("configuration"))[0].find(register))

    async def test_stop(self) -> None:
        """
        When Prosody stops, clients are closed with C{system-shutdown}, and then the link.
        """
        peer = await self.ready()
        stream = await peer.login(self.user())
        stopped = deferToThread(self.prosody.halt)
        error = await peer.routed(stream)
        self.assertEqual(error[0].tag, f"{STREAM_ERRORS}system-shutdown")
        await peer.next(("close", stream))
        self.assertEqual(await self.streamError(peer), "system-shutdown")
        await stopped

    async def test_unload(self) -> None:
        """
        When the module is unloaded its sessions and links end.
        """
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        self.prosody.shell('module:unload("connection_manager")')
        error = await peer.routed(stream)
        self.assertEqual(error[0].tag, f"{STREAM_ERRORS}system-shutdown")
        self.assertEqual(await self.streamError(peer), "system-shutdown")
        self.assertNotIn(user, self.prosody.shell("c2s:show()"))


class BoundTests(ModuleTestCase):
    """
    What a peer can make grow has an end.
    """

    async def test_sessions(self) -> None:
        """
        A manager may have so many sessions and not one more.
        """
        self.prosody = self.own(options="connection_manager_max_sessions = 2\n")
        self.prosody.start()
        peer = await self.ready()
        first = await peer.create()
        await peer.create()
        reply = await peer.ask(next(streamIDs), "<create/>")
        self.assertEqual(condition(reply), ("500", "wait", "resource-constraint"))
        await peer.ask(first, "<close/>")
        await peer.create()

    async def refused(self, address: str) -> None:
        """
        Connect from C{address}, and be cut.
        """
        peer = await self.connect(address=address)
        await peer.lost
        peer.lost = succeed(None)

    async def opened(self, address: str) -> Peer:
        """
        Connect from C{address}, and be asked for the handshake.
        """
        peer = await self.connect(address=address)
        peer.header()
        await peer.next("features")
        return peer

    async def test_linksBeforeHandshake(self) -> None:
        """
        64 links may be without a handshake; the next one is cut.
        """
        self.prosody = self.own()
        self.prosody.start()
        peers = [await self.opened(f"127.0.1.{number // 16}") for number in range(64)]
        await self.refused("127.0.1.4")
        peers[0].handshake()
        await peers[0].next("handshake")
        await self.opened("127.0.1.4")
        await self.refused("127.0.1.0")

    async def test_linksFromOneAddress(self) -> None:
        """
        16 links from one address may be without a handshake; the next one from there is cut,
        until one of them has made it or is gone.
        """
        self.prosody = self.own()
        self.prosody.start()
        peers = [await self.opened("127.0.1.1") for _ in range(16)]
        await self.refused("127.0.1.1")
        await self.opened("127.0.1.2")
        peers[0].handshake()
        await peers[0].next("handshake")
        await self.opened("127.0.1.1")
        await self.refused("127.0.1.1")
        peers[1].send("</stream:stream>")
        await peers[1].next("end")
        await peers[1].lost
        peers[1].lost = succeed(None)
        await self.opened("127.0.1.1")
        await self.refused("127.0.1.1")

    async def test_waitingStanzas(self) -> None:
        """
        256 stanzas of one client may wait for a slow module; with the next one the
        client is closed, and its link has gone on all the while.
        """
        self.prosody = self.own(modules=("slow",))
        self.prosody.addModule("slow", SLOW)
        self.prosody.start()
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        message = f'<message to="{user}@example.org"/>'
        for _ in range(257):  # one of them is being worked on
            peer.route(stream, message)
        await peer.create()
        self.assertFalse(peer.has(("close", stream)))
        peer.route(stream, message)
        error = await peer.routed(stream)
        self.assertEqual(error[0].tag, f"{STREAM_ERRORS}policy-violation")
        await peer.next(("close", stream))

    async def test_waitingBytes(self) -> None:
        """
        The stanzas that wait for a slow module may have so many bytes together and not one
        more, but for the first, which may have any number.
        """
        self.prosody = self.own(
            options="connection_manager_pending_bytes = 2000\n", modules=("slow",)
        )
        self.prosody.addModule("slow", SLOW)
        self.prosody.start()
        peer = await self.ready()
        user = self.user()

        def message(size: int) -> str:
            frame = f"<message to='{user}@example.org' xml:lang='en'><body>%s</body></message>"
            return frame % ("x" * (size - len(frame % "")))

        for sizes in ((1500, 500), (5000,)):
            stream = await peer.login(user)
            peer.route(stream, message(9000))  # that one is being worked on
            for size in sizes:
                peer.route(stream, message(size))
            await peer.create()
            self.assertFalse(peer.has(("close", stream)), sizes)
        for sizes in ((1500, 501), (5000, 200)):
            stream = await peer.login(user)
            peer.route(stream, message(9000))
            for size in sizes:
                peer.route(stream, message(size))
            error = await peer.routed(stream)
            self.assertEqual(error[0].tag, f"{STREAM_ERRORS}policy-violation", sizes)
            await peer.next(("close", stream))

    async def test_returns(self) -> None:
        """
        1000 messages of a manager may wait for storage, behind the one that is being
        stored, and not one more.
        """
        self.prosody = self.own(modules=("slow",))
        self.prosody.addModule("slow", SLOW.replace("pre-message/bare", "message/offline/handle"))
        self.prosody.start()
        peer = await self.ready()
        user = self.user()
        stream = await peer.login(user)
        request = (
            f'<session xmlns="{MANAGEMENT}" id="{stream}"><failed><message xmlns="jabber:client"'
            f' to="{user}@example.org"/></failed></session>'
        )
        peer.send(f'<iq type="set" id="many">{request}</iq>' * 1001)
        await peer.create()
        self.assertFalse(peer.has(("reply", "many")))
        reply = await peer.iq(request)
        self.assertEqual(condition(reply), ("500", "wait", "resource-constraint"))

    async def test_deaf(self) -> None:
        """
        A manager that does not read loses its link at once, and what is written to its
        clients afterwards is stored; for another one nothing changes.
        """
        self.prosody = self.own(
            options="connection_manager_send_buffer = 1000000\nconnection_manager_grace = 0\n"
        )
        self.prosody.start()
        deaf, here = await self.ready(), await self.ready("cm2")
        narrow(deaf)
        romeo = self.user()
        await deaf.login(romeo)
        stream = await here.login(self.user())
        deaf.transport.pauseProducing()
        since = len(self.prosody.log)
        message = large(f"{romeo}@example.org/desk")
        for _ in range((SOCKET_BYTES + 1_000_000) // len(message) + 1):
            here.route(stream, message)
        here.route(stream, f'<message to="{romeo}@example.org/desk"><body>late</body></message>')
        gone = f"Link {deaf.address} is gone: the manager does not read"
        await self.logged(lambda line: gone in line, since)
        await self.logged(lambda line: "Saved to offline storage" in line, since)
        self.assertNotIn(romeo, self.prosody.shell("c2s:show()"))
        await here.create()

    async def test_busy(self) -> None:
        """
        A link on which something always waits to be written, and which moves, is kept.
        """
        limit = SOCKET_BYTES + (4 << 20)
        self.prosody = self.own(options=f"connection_manager_send_buffer = {limit}\n")
        self.prosody.start()
        busy, here = await self.ready(), await self.ready("cm2")
        narrow(busy)
        romeo = self.user()
        reader = await busy.login(romeo)
        stream = await here.login(self.user())
        message = large(f"{romeo}@example.org/desk")
        ahead = (SOCKET_BYTES + (2 << 20)) // len(message)
        busy.transport.pauseProducing()
        many = (limit + SOCKET_BYTES) // len(message) + 10
        for number in range(many + ahead):
            if number < many:
                here.route(stream, message)
            if number >= ahead:
                await here.iq("", "get")  # the answer comes when all has been written
                busy.transport.resumeProducing()
                await busy.routed(reader)
                busy.transport.pauseProducing()
        busy.transport.resumeProducing()
        await busy.create()


class PairTests(ModuleTestCase):
    """
    The configurations that we hand out.
    """

    def server(self) -> Prosody:
        """
        Return a Prosody with the configuration of C{etc}.
        """
        prosody = self.own()
        prosody.adopt((PAIR / "prosody.cfg.lua").read_text())
        prosody.start()
        return prosody

    async def test_pair(self) -> None:
        """
        A manager with the name, the secret and the domain of the one half is welcome to
        the other.
        """
        secret = Path(self.mktemp())
        secret.write_text("put-a-long-random-secret-here\n")
        secret.chmod(0o600)
        text = (PAIR / "cmanager-prosody.toml").read_text()
        settings = loads(
            text.replace("/etc/cmanager/secret", str(secret.resolve())), {}, directory=PAIR
        )
        (server,) = settings.servers
        peer = await self.connect(settings.manager.name)
        configuration = await peer.ready(server.secret)
        self.assertEqual(offered(configuration[0]), ["SCRAM-SHA-256", "PLAIN"])
        domains = [d.get("name") for d in configuration.iter(f"{{{STREAM}}}domain")]
        self.assertEqual(domains, list(server.domains))
        await peer.login(self.user())


class KeepaliveTests(ModuleTestCase):
    """
    Links that say nothing.
    """

    async def test_space(self) -> None:
        """
        A space is sent on each link; one on which nothing came for too long ends.
        """
        self.prosody = self.own(
            options="connection_manager_keepalive = 1\nconnection_manager_dead_after = 1.5\n"
        )
        self.prosody.start()
        peer = await self.ready()
        self.assertEqual(await self.streamError(peer), "connection-timeout")
        self.assertTrue(re.search(r">\s+<", peer.text))

    async def test_often(self) -> None:
        """
        Whatever is wanted, there is no more than one space a second.
        """
        for wanted in ("0", "-5"):
            self.prosody = self.own(
                options=f"connection_manager_keepalive = {wanted}\n"
                "connection_manager_dead_after = 1.5\n"
            )
            self.prosody.start()
            begin = time.monotonic()
            peer = await self.ready()
            self.assertEqual(await self.streamError(peer), "connection-timeout")
            spaces = re.findall(r"(?<=>)\s+(?=<)", peer.text)
            self.assertLessEqual(len("".join(spaces)), time.monotonic() - begin + 1)


class LinkTLSTests(ModuleTestCase):
    """
    A link that is encrypted itself.
    """

    def server(self) -> Prosody:
        """
        Return a Prosody that requires TLS on links.
        """
        prosody = self.own(
            'VirtualHost "example.org"\n', 'connection_manager_starttls = "required"\n'
        )
        identity = authority().issue("example.org")
        prosody.addCertificate("example.org", identity.certificatePEM, identity.keyPEM)
        prosody.start()
        return prosody

    async def test_starttls(self) -> None:
        """
        After STARTTLS the stream begins anew, with the same id and no second offer.
        """
        peer = await self.connect()
        peer.header()
        features = await peer.next("features")
        self.assertEqual(features[0].tag, "{urn:ietf:params:xml:ns:xmpp-tls}starttls")
        self.assertEqual(len(features[0]), 1)
        before = peer.id
        peer.send('<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>')
        await peer.next("proceed")
        peer._reset()
        peer.transport.startTLS(CertificateOptions())
        await peer.ready()
        self.assertEqual(peer.id, before)
        await peer.login(self.user())

    async def test_required(self) -> None:
        """
        Without TLS there is no handshake.
        """
        peer = await self.connect()
        peer.header()
        await peer.next("features")
        peer.handshake()
        self.assertEqual(await self.streamError(peer), "not-authorized")


class LintTests(TestCase):
    """
    The module's code.
    """

    def test_luacheck(self) -> None:
        """
        C{luacheck} finds nothing.
        """
        program = find("luacheck", "lua-check")
        done = subprocess.run(
            [program, "--no-color", "."], cwd=MODULES, capture_output=True, text=True, check=False
        )
        self.assertEqual(done.returncode, 0, done.stdout)
