# Copyright the cmanager authors.
# See LICENSE for details.

"""
The witness: two clients talk over the one link that thousands of hostile ones are on.

The real parts of the front are joined in memory to the embedded server.  All that goes
up the link is judged by L{tests.judge} and by expat; what generated inputs are, by lxml.
"""

from __future__ import annotations

import base64
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.parsers import expat

from attrs import frozen
from lxml import etree
from scramp import ScramClient
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from cmanager.config import Security, ServerSettings, Settings
from cmanager.link import Link
from cmanager.pool import Pool
from cmanager.router import Router
from cmanager.server.service import OFFERED, Server, ServerOptions
from cmanager.settings import (
    ClientSettings,
    LimitSettings,
    ListenerSettings,
    ManagerSettings,
    StartTLS,
    TLSSettings,
)
from cmanager.stanza import FOOTER, NS_BIND, NS_CLIENT, NS_SASL
from cmanager.stream import TCPStream
from cmanager.tcp import TCPFactory
from cmanager.tls import CertificateStore
from tests.certificates import authority
from tests.hostile import (
    DOMAIN,
    EITHER,
    HEADER,
    RESTRICTED,
    Hostile,
    fresh,
    loggedIn,
    mutants,
)
from tests.judge import LinkJudge

AT_LEAST = 20000
SEED = 1597
EVERY = 10
"""
Hostile inputs between two messages of the witness.
"""

SMALL = 2048
SECRET = "s3cret"
NOON = 1_700_000_000.0
NAME = DOMAIN.decode()
ACCOUNTS = ("romeo", "juliet", "nurse")

NAMESPACE = frozenset({"bad-namespace-prefix"})
FORMAT = frozenset({"bad-format"})
STRANGE = frozenset({"unsupported-stanza-type", "invalid-namespace"})

_STANZAS = {f"{{{NS_CLIENT}}}{name}" for name in ("message", "presence", "iq")}
_NO_URI = ("is not a valid URI", "is not absolute")
_ERROR = re.compile(rb"<stream:error><([a-z-]+)")


# The stage


class Wire(StringTransport):
    """
    A transport in memory that notes its end.
    """

    over = False

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "192.0.2.1", 5000))

    def abortConnection(self) -> None:
        """
        Note it.
        """
        self.over = True

    def loseConnection(self) -> None:
        """
        Note it.
        """
        self.over = True

    def take(self) -> bytes:
        """
        Return what has been written since the last call.
        """
        data: bytes = self.value()
        if data:
            self.clear()
        return data


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """
    Leads to the embedded server without a socket.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def connect(self, factory: Any) -> Deferred[Link]:
        """
        See L{IStreamClientEndpoint}.
        """
        return succeed(self._stage.joined(factory.buildProtocol(None)))


class MemoryPool(Pool):
    """
    A pool whose links stay in this process.
    """

    stage: Stage

    def endpoint(self, host: str, port: int, tls: object) -> IStreamClientEndpoint:
        """
        See L{Pool.endpoint}.
        """
        return MemoryEndpoint(self.stage)


class Stage:
    """
    A front with one link to a server.

    @ivar links: All links there ever were.
    @ivar up: How many bytes have gone up.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        authority().issue(NAME).write(directory, NAME)
        self.clock = Clock()
        self.clock.advance(NOON)
        self.server = Server(self.clock, ServerOptions(NAME, SECRET, None, seed=1))
        self.server.setConfiguration(mechanisms=(*OFFERED, "ANONYMOUS"))
        self.server.onBytes = self._judge
        for name in ACCOUNTS:
            self.server.addAccount(name, name)
        self.links: list[Link] = []
        self.judge = LinkJudge()
        self.expat = expat.ParserCreate("UTF-8")
        self.up = 0
        listener = ListenerSettings(type="tcp", endpoint="tcp:0", starttls=StartTLS.SERVER)
        server = ServerSettings(
            domains=(NAME,),
            address="192.0.2.9:5262",
            secret=SECRET,
            security=Security.PLAIN,
            links=1,
        )
        many = 1_000_000
        self.settings = Settings(
            manager=ManagerSettings(name="cm"),
            tls=TLSSettings(certificates=str(directory)),
            listeners=(listener,),
            servers=(server,),
            client=ClientSettings(loginTimeout=3600),
            limits=LimitSettings(
                connectionsPerAddress=many,
                connectionRate=many,
                connectionBurst=many,
                bytesPerSecond=1 << 30,
                bytesBurst=1 << 30,
                loginFailures=many,
            ),
        )
        store = CertificateStore(self.settings.tls, self.clock)
        store.load()
        self.router = Router(self.clock, self.settings, store)
        self.pool = MemoryPool(self.clock, server, self.router, manager="cm")
        self.pool.stage = self
        self.router.addPool(self.pool)
        self.factory = TCPFactory(self.clock, listener, self.router, isDirect=False)
        self.server.startService()
        self.router.startService()
        self.pump()

    def joined(self, link: Link) -> Link:
        """
        Join a link to the server.
        """
        self.links.append(link)
        self._near, self._far = Wire(), Wire()
        self._link = link
        self._end = self.server.factory.buildProtocol(None)
        self._end.makeConnection(self._far)
        link.makeConnection(self._near)
        return link

    def _judge(self, link: object, data: bytes) -> None:
        self.up += len(data)
        self.judge.feed(data)
        self.expat.Parse(data, False)
        self.judge.elements.clear()

    def pump(self) -> None:
        """
        Carry bytes to and fro until there are none.
        """
        moving = True
        while moving:
            self.clock.advance(0)
            up, down = self._near.take(), self._far.take()
            if up:
                self._end.dataReceived(up)
            if down:
                self._link.dataReceived(down)
            moving = bool(up or down)

    def stop(self) -> None:
        """
        Stop, at once.
        """
        self.router.stopService()
        self.clock.pump([1.0] * 12)
        self.server.stopService()


class Client:
    """
    A client, in memory.

    @ivar got: All that came since L{take}.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.wire = Wire()
        self.stream: TCPStream = stage.factory.buildProtocol(None)
        self.stream.makeConnection(self.wire)

    def send(self, *parts: bytes) -> bytes:
        """
        Send, one read each, and return the answer.
        """
        for part in parts:
            self.stream.dataReceived(part)
        self.stage.pump()
        return self.wire.take()

    def login(self, name: str | None = None) -> Client:
        """
        Log in and bind, without a name anonymously.
        """
        self.send(HEADER % DOMAIN)
        if name is None:
            answer = self.send(b"<auth xmlns='%s' mechanism='ANONYMOUS'/>" % NS_SASL.encode())
        else:
            answer = self._scram(ScramClient(["SCRAM-SHA-1"], name, name))
        assert b"<success" in answer, answer
        self.send(HEADER % DOMAIN)
        answer = self.send(
            b"<iq type='set' id='b'><bind xmlns='%s'><resource>%s</resource></bind></iq>"
            % (NS_BIND.encode(), (name or "x").encode())
        )
        assert b"<jid>" in answer, answer
        return self

    def _scram(self, scram: ScramClient) -> bytes:
        first = base64.b64encode(scram.get_client_first().encode())
        answer = self.send(
            b"<auth xmlns='%s' mechanism='SCRAM-SHA-1'>%s</auth>" % (NS_SASL.encode(), first)
        )
        found = re.search(rb"<challenge[^>]*>([^<]+)<", answer)
        assert found is not None, answer
        scram.set_server_first(base64.b64decode(found[1]).decode())
        final = base64.b64encode(scram.get_client_final().encode())
        return self.send(b"<response xmlns='%s'>%s</response>" % (NS_SASL.encode(), final))

    def drop(self) -> None:
        """
        Go without a word.
        """
        self.stream.connectionLost(Failure(ConnectionDone()))
        self.stage.pump()


# Who says what an input is


@frozen
class Verdict:
    """
    What lxml makes of a generated input.

    @ivar isWellFormed: With the stream's header before and its footer behind it.
    @ivar mustEnd: The stream must end with an error, and with one of C{allowed}.
    """

    isWellFormed: bool
    mustEnd: bool
    allowed: frozenset[str]


def _strangers(root: Any) -> frozenset[str]:
    """
    Return the conditions that whole children of a stream can bring about.
    """
    found: frozenset[str] = frozenset()
    if (root.text or "").strip(" \t\r\n"):
        found |= FORMAT
    for child in root:
        if (child.tail or "").strip(" \t\r\n"):
            found |= FORMAT
        if isinstance(child.tag, str) and child.tag not in _STANZAS:
            found |= STRANGE
    return found


def judged(data: bytes) -> Verdict:
    """
    Ask lxml about an input.
    """
    document = HEADER % DOMAIN + data + FOOTER
    safe: dict[str, Any] = {"resolve_entities": False, "no_network": True, "strip_cdata": False}
    legible = document.decode(errors="replace").encode()
    parser = etree.XMLParser(recover=True, **safe)
    root = etree.fromstring(legible, parser)
    # Namespaces that are no URIs are well-formed.
    errors = [e for e in parser.error_log if not e.message.endswith(_NO_URI)]
    if errors or legible != document:
        extra = _strangers(root) if root is not None else frozenset()
        return Verdict(False, True, EITHER | NAMESPACE | extra)
    isRestricted = any(not isinstance(node.tag, str) for node in root.iter())
    allowed = _strangers(root) | (RESTRICTED if isRestricted else frozenset())
    return Verdict(True, bool(allowed), allowed)


# The act


def whole(data: bytes) -> list[bytes]:
    """
    One read.
    """
    return [data]


def bytewise(data: bytes) -> list[bytes]:
    """
    As many reads as bytes.
    """
    return [data[at : at + 1] for at in range(len(data))]


class Splitter:
    """
    Reads of random size.
    """

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def __call__(self, data: bytes) -> list[bytes]:
        """
        Split.
        """
        count = self._chance.randrange(1, 6)
        cuts = sorted(self._chance.randrange(len(data) + 1) for _ in range(count))
        return [
            part
            for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
            if (part := data[start:end])
        ]


class WitnessTests(SynchronousTestCase):
    """
    Romeo writes to Juliet.
    """

    timeout = 900

    def setUp(self) -> None:
        """
        Let the two in, and the nurse, to whom all hostile messages are addressed.
        """
        self.stage = Stage(Path(self.mktemp()))
        self.addCleanup(self.stage.stop)
        (self.link,) = self.stage.pool.links
        self.romeo, self.juliet, self.nurse = (Client(self.stage).login(n) for n in ACCOUNTS)
        for client in (self.romeo, self.juliet, self.nurse):
            client.send(b"<presence/>")
            client.wire.take()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.sent = 0
        self.rest = b""

    # The witness

    def _speak(self) -> None:
        """
        Have Romeo begin his next message, to be finished after the hostile input.
        """
        self.sent += 1
        message = b"<message type='chat' id='w%d' to='juliet@%s/juliet'><body>%d</body></message>"
        data = message % (self.sent, DOMAIN, self.sent)
        cut = self.sent % len(data)
        self.rest = data[cut:]
        self.romeo.send(data[:cut])

    def _listen(self) -> None:
        """
        Have him finish it.  Juliet gets this message and nothing else, and he nothing.
        """
        self.romeo.send(self.rest)
        expected = (
            b'<message type="chat" id="w%d" to="juliet@%s/juliet" from="romeo@%s/romeo">'
            b"<body>%d</body></message>" % (self.sent, DOMAIN, DOMAIN, self.sent)
        )
        self.assertEqual(_canonical(self.juliet.wire.take()), _canonical(expected))
        self.assertEqual(self.romeo.wire.take(), b"")

    def _amid(self, function: Callable[[], None]) -> None:
        """
        Do something in the middle of one of Romeo's messages, now and then.
        """
        self.counts["inputs"] += 1
        if self.counts["inputs"] % EVERY:
            function()
            return
        self._speak()
        function()
        self._listen()

    # The offenders

    def _complain(self, name: str, data: bytes, why: str, got: bytes) -> None:
        self.wrong.append(f"{name}: {why}: {data[:300]!r} -> {got[-300:]!r}")

    def _feed(self, row: Hostile, split: Callable[[bytes], list[bytes]], *, isFresh: bool) -> None:
        client = Client(self.stage)
        if not isFresh:
            client.login()
        got = client.send(*split(row.data))
        condition = _condition(got)
        if b"<proceed" in got:
            # Alone in its read was <starttls/>: what follows is no TLS.
            if condition is not None or not client.wire.over:
                self._complain(row.name, row.data, "not closed", got)
        elif row.streamError and condition not in row.streamError:
            self._complain(row.name, row.data, f"{condition}, not {set(row.streamError)}", got)
        if not row.streamError and condition is not None:
            self._complain(row.name, row.data, f"{condition}, unexpected", got)
        if row.answer not in got:
            self._complain(row.name, row.data, f"no {row.answer!r}", got)
        if not row.streamError and not isFresh:
            self._alive(client, row.name, row.data)
        client.drop()

    def _alive(self, client: Client, name: str, data: bytes) -> None:
        got = client.send(b"<iq type='get' id='alive'><ping xmlns='urn:xmpp:ping'/></iq>")
        if b'id="alive"' not in got:
            self._complain(name, data, "the stream is dead", got)

    def _table(self, rows: list[Hostile], *, isFresh: bool) -> None:
        for row in rows:
            ways = [whole, Splitter(SEED)]
            if len(row.data) < SMALL:
                ways.append(bytewise)
            for way in ways:
                self._amid(lambda row=row, way=way: self._feed(row, way, isFresh=isFresh))

    def _mutants(self, stop: int) -> None:
        splitter = Splitter(SEED)
        generated: Iterator[bytes] = mutants(SEED)
        self._mutant: Client | None = None
        while self.counts["inputs"] < stop:
            data = next(generated)
            parts = splitter(data) if self.counts["inputs"] % 2 else [data]
            self._amid(lambda data=data, parts=parts: self._feedMutant(data, parts))
        if self._mutant is not None:
            self._mutant.drop()

    def _feedMutant(self, data: bytes, parts: list[bytes]) -> None:
        verdict = judged(data)
        client = self._mutant or Client(self.stage).login()
        self._mutant = client
        got = client.send(*parts)
        if not verdict.isWellFormed:
            # What may be unfinished is not, once the stream ends, and no CDATA is open.
            for end in (FOOTER, b"]]>" + FOOTER):
                if _condition(got) is None:
                    got += client.send(end)
        condition = _condition(got)
        self.counts[condition or "none"] += 1
        if verdict.mustEnd and condition not in verdict.allowed:
            self._complain("mutant", data, f"{condition}, not {set(verdict.allowed)}", got)
        if not verdict.mustEnd and condition is not None:
            self._complain("mutant", data, f"{condition}, but well-formed", got)
        if condition is not None or verdict.mustEnd:
            client.drop()
            self._mutant = None

    def test_witness(self) -> None:
        """
        At least 20,000 hostile inputs, each answered as it should be; one link, that
        carries nothing but what any server can read; no message lost, none too many.
        """
        self._table(fresh(), isFresh=True)
        self._table(loggedIn(), isFresh=False)
        self._mutants(AT_LEAST)
        print(f"\n{dict(self.counts)}, {self.sent} messages, {self.stage.up} bytes up")
        self.assertEqual(self.wrong, [], "\n".join(self.wrong[:40]))
        self.assertEqual(self.stage.links, [self.link])
        self.assertEqual(self.stage.pool.links, [self.link])
        self.assertTrue(self.link.isReady)
        self.stage.judge.end()
        self.assertGreaterEqual(self.counts["inputs"], AT_LEAST)
        etree.fromstring(HEADER % DOMAIN + self.nurse.wire.take() + FOOTER)


def _condition(got: bytes) -> str | None:
    """
    Return the condition of the stream error that a client got.
    """
    found = _ERROR.search(got)
    return found[1].decode() if found is not None else None


def _canonical(data: bytes) -> bytes:
    root = etree.fromstring(b"<x>" + data + b"</x>")
    result: bytes = etree.tostring(root, method="c14n")
    return result
