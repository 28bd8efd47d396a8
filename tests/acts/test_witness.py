# Copyright the cmanager authors.
# See LICENSE for details.

"""
The witness: two clients talk over the one link that thousands of hostile ones are on.

The real parts of the front are joined in memory to the embedded server.  All that goes
up the link is judged by L{tests.judge} and by expat; what generated inputs are, by lxml.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar

from attrs import frozen
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from cmanager.stanza import FOOTER, NS_CLIENT, NS_STREAMS
from tests.acts.memory import ACCOUNTS, BOSHClient, Client, SocketClient, Stage
from tests.bosh import BareBOSHWay, BOSHWay
from tests.hostile import (
    DOMAIN,
    EITHER,
    HEADER,
    RESTRICTED,
    XML,
    Hostile,
    fresh,
    loggedIn,
    mutants,
)
from tests.hostilebosh import LENGTH, HostileRequest, content, early, requests
from tests.hostileframes import framedFresh, framedLoggedIn
from tests.ways import TCPSocketWay, TCPWay, TLSSocketWay, WebSocketWay, spelled
from tests.workers import BareSpreadWay, spread

SEED = 1597
EVERY = 10
"""
Hostile inputs between two messages of the witness.
"""

SMALL = 2048

NAMESPACE = frozenset({"bad-namespace-prefix"})
FORMAT = frozenset({"bad-format"})
NO_CLIENT = frozenset({"invalid-namespace"})
STRANGE = frozenset({"unsupported-stanza-type", "invalid-namespace"})

_STANZAS = {f"{{{NS_CLIENT}}}{name}" for name in ("message", "presence", "iq")}
_NO_URI = ("is not a valid URI", "is not absolute")
_ERROR = re.compile(rb"<stream:error><([a-z-]+)")


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


def parsed(document: bytes) -> tuple[Any, bool]:
    """
    Return the root of a document, as well as it can be read, and whether it is well-formed.
    """
    safe: dict[str, Any] = {"resolve_entities": False, "no_network": True, "strip_cdata": False}
    legible = document.decode(errors="replace").encode()
    parser = etree.XMLParser(recover=True, **safe)
    try:
        root = etree.fromstring(legible, parser)
    except etree.XMLSyntaxError:
        return None, False
    # Namespaces that are no URIs are well-formed.
    errors = [e for e in parser.error_log if not e.message.endswith(_NO_URI)]
    return root, not errors and legible == document


def judged(data: bytes, before: bytes = HEADER % DOMAIN, behind: bytes = FOOTER) -> Verdict:
    """
    Ask lxml about an input in a stream.
    """
    root, isWellFormed = parsed(before + data + behind)
    extra = _strangers(root) if root is not None else frozenset()
    if not isWellFormed:
        return Verdict(False, True, EITHER | NAMESPACE | extra)
    isRestricted = any(not isinstance(node.tag, str) for node in root.iter())
    allowed = extra | (RESTRICTED if isRestricted else frozenset())
    return Verdict(True, bool(allowed), allowed)


def judgedAlone(data: bytes) -> Verdict:
    """
    Ask lxml about an input that is a message of its own.
    """
    if not data.strip():
        return Verdict(True, False, frozenset())
    root, isWellFormed = parsed(data)
    allowed: frozenset[str] = frozenset()
    if root is not None and root.tag not in _STANZAS:
        allowed |= STRANGE
    if data[:1] != b"<":
        allowed |= FORMAT | XML | frozenset({"unsupported-encoding"})
    if not isWellFormed:
        return Verdict(False, True, EITHER | NAMESPACE | NO_CLIENT | allowed)
    around = [*root.itersiblings(preceding=True), *root.itersiblings(), *root.iter()]
    if any(not isinstance(node.tag, str) for node in around):
        # Whichever is found first; behind the root there may be nothing at all.
        allowed |= EITHER
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
    Romeo writes to Juliet, among hostile clients over TCP.

    @cvar makeWay: How all of them come.
    @cvar atLeast: How many hostile inputs there are.
    """

    timeout = 900
    makeWay: ClassVar[type[TCPWay]] = TCPWay
    atLeast = 20000

    def setUp(self) -> None:
        """
        Let the two in, and the nurse, to whom all hostile messages are addressed.
        """
        self.stage = Stage(Path(self.mktemp()))
        self.addCleanup(self.stage.stop)
        (self.link,) = self.stage.pool.links
        self.romeo, self.juliet, self.nurse = (self.client().login(n) for n in ACCOUNTS)
        for client in (self.romeo, self.juliet, self.nurse):
            client.say(b"<presence/>")
            client.take()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.sent = 0
        self.rest = b""

    # What the way makes of it

    def client(self) -> Client:
        """
        Let a client come.
        """
        return Client(self.stage, self.makeWay)

    def fresh(self) -> list[Hostile]:
        """
        Return what a client sends that has just come, as bytes on the wire.
        """
        return fresh()

    def loggedIn(self) -> list[Hostile]:
        """
        Return what one sends that has logged in.
        """
        return loggedIn()

    def spelled(self, client: Client, data: bytes) -> bytes:
        """
        Return a row's bytes on the wire of a client.
        """
        return data

    def judged(self, data: bytes) -> Verdict:
        """
        Say what is to be made of an input.
        """
        return judged(data)

    def ended(self, client: Client, got: bytes) -> bytes:
        """
        See that an input that may be unfinished is not, and return all that the client got.
        """
        for end in (FOOTER, b"]]>" + FOOTER):
            if _condition(got) is None:
                got += client.say(end)
        return got

    # The witness

    def _speak(self) -> None:
        """
        Have Romeo begin his next message, to be finished after the hostile input.
        """
        self.sent += 1
        message = b"<message type='chat' id='w%d' to='juliet@%s/juliet'><body>%d</body></message>"
        data = self.romeo.way.said(message % (self.sent, DOMAIN, self.sent))
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
        self.assertEqual(_canonical(self.juliet.take()), _canonical(expected))
        self.assertEqual(self.romeo.take(), b"")

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
        client = self.client()
        if not isFresh:
            client.login()
        got = client.send(*split(self.spelled(client, row.data)))
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
        got = client.say(b"<iq type='get' id='alive'><ping xmlns='urn:xmpp:ping'/></iq>")
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
            split = splitter if self.counts["inputs"] % 2 else whole
            self._amid(lambda data=data, split=split: self._feedMutant(data, split))
        if self._mutant is not None:
            self._mutant.drop()

    def _feedMutant(self, data: bytes, split: Callable[[bytes], list[bytes]]) -> None:
        verdict = self.judged(data)
        client = self._mutant or self.client().login()
        self._mutant = client
        got = client.send(*split(client.way.said(data)))
        if not verdict.isWellFormed:
            got = self.ended(client, got)
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
        Thousands of hostile inputs, each answered as it should be; one link, that carries
        nothing but what any server can read; no message lost, none too many.
        """
        self._table(self.fresh(), isFresh=True)
        self._table(self.loggedIn(), isFresh=False)
        self._mutants(self.atLeast)
        print(f"\n{dict(self.counts)}, {self.sent} messages, {self.stage.up} bytes up")
        self.assertEqual(self.wrong, [], "\n".join(self.wrong[:40]))
        self.assertEqual(self.stage.links, [self.link])
        self.assertEqual(self.stage.pool.links, [self.link])
        self.assertTrue(self.link.isReady)
        self.stage.judge.end()
        self.assertGreaterEqual(self.counts["inputs"], self.atLeast)
        told = self.nurse.take()
        self.assertTrue(parsed(HEADER % DOMAIN + told + FOOTER)[1])
        self.assertNotIn(b"never", told)


class SocketWitnessTests(WitnessTests):
    """
    The same over transports of our own.
    """

    makeWay = TCPSocketWay
    atLeast = 4000

    def client(self) -> SocketClient:
        """
        See L{WitnessTests.client}.
        """
        return SocketClient(self.stage, self.makeWay)


class TLSSocketWitnessTests(SocketWitnessTests):
    """
    The same in TLS, on a socket of its own.
    """

    makeWay = TLSSocketWay

    def fresh(self) -> list[Hostile]:
        """
        See L{WitnessTests.fresh}.  There is no TLS to begin.
        """
        return [row for row in fresh() if "behind starttls" not in row.name]

    def spelled(self, client: Client, data: bytes) -> bytes:
        """
        See L{WitnessTests.spelled}.
        """
        return client.way.said(data)


class WebSocketWitnessTests(WitnessTests):
    """
    The same over WebSocket, where inputs are messages, and some no WebSocket's.
    """

    makeWay = WebSocketWay
    atLeast = 3000

    def fresh(self) -> list[Hostile]:
        """
        See L{WitnessTests.fresh}.
        """
        return framedFresh()

    def loggedIn(self) -> list[Hostile]:
        """
        See L{WitnessTests.loggedIn}.
        """
        return framedLoggedIn()

    def judged(self, data: bytes) -> Verdict:
        """
        See L{WitnessTests.judged}.
        """
        return judgedAlone(spelled(data))

    def ended(self, client: Client, got: bytes) -> bytes:
        """
        See L{WitnessTests.ended}.  No message is unfinished.
        """
        return got


class BOSHWitnessTests(WitnessTests):
    """
    The same by BOSH, where inputs are in requests; among them attempts to get into sessions of
    others, and to have a request processed twice.
    """

    makeWay = BareBOSHWay
    atLeast = 2000

    def client(self) -> BOSHClient:
        """
        See L{WitnessTests.client}.
        """
        return BOSHClient(self.stage, BareBOSHWay, isRude=False)

    def fresh(self) -> list[Hostile]:
        """
        See L{WitnessTests.fresh}.
        """
        return early()

    def loggedIn(self) -> list[Hostile]:
        """
        See L{WitnessTests.loggedIn}.
        """
        return content()

    def spelled(self, client: Client, data: bytes) -> bytes:
        """
        See L{WitnessTests.spelled}.  Some begin with a header.
        """
        tokens = [data]
        if data.startswith(b"<?xml"):
            end = data.index(b">", 22) + 1
            tokens = [data[:end], data[end:]]
        return client.way.said(*tokens)

    def judged(self, data: bytes) -> Verdict:
        """
        See L{WitnessTests.judged}.
        """
        before = b"<body xmlns='%s' xmlns:stream='%s'>" % (NS_CLIENT.encode(), NS_STREAMS.encode())
        return judged(data, before, b"</body>")

    def ended(self, client: Client, got: bytes) -> bytes:
        """
        See L{WitnessTests.ended}.  No request is unfinished.
        """
        return got

    def _mutants(self, stop: int) -> None:
        for request in requests():
            ways = [whole, Splitter(SEED)]
            if len(request.body) < SMALL:
                ways.append(bytewise)
            for way in ways:
                self._amid(lambda request=request, way=way: self._ask(request, way))
        super()._mutants(stop)

    def _ask(self, row: HostileRequest, split: Callable[[bytes], list[bytes]]) -> None:
        client = self.client()
        client.login()
        before = client.way.rid
        data = self._completed(row, client.way)
        connection = client.way.connect()
        client.way.connections.remove(connection)
        for part in split(data):
            connection.receive(part)
        self.stage.pump()
        found = connection.take()
        text = b"".join(b"%d " % got.status + got.data for got in found)
        if [got.status for got in found] != [row.status]:
            self._complain(row.name, data, f"not {row.status}", text)
        binding = re.findall(rb" condition=\"([a-z-]*)\"", text)
        if binding and binding[0].decode() not in row.conditions:
            self._complain(row.name, data, f"{binding}, not {set(row.conditions)}", text)
        if row.conditions and not binding:
            self._complain(row.name, data, f"not {set(row.conditions)}", text)
        if client.way.rid != before:
            client.way.answered(before, found[0])
        told = client.take() + text
        if row.inside not in told:
            self._complain(row.name, data, f"no {row.inside!r}", told)
        if not row.isDeadly:
            self._alive(client, row.name, data)
        elif client.way.ours is not None:
            self._complain(row.name, data, "it is still there", text)
        client.drop()

    def _completed(self, row: HostileRequest, way: BOSHWay) -> bytes:
        """
        Return a request with what its client knows.
        """
        sid = way.sid or ""
        other = self.romeo.way.sid or ""
        known = {
            "sid": sid,
            "near": other[:-1] + ("A" if other[-1:] != "A" else "B"),
            "swapped": other.swapcase(),
            "short": other[:-1],
            "streamid": self.romeo.id,
            "rid": str(way.rid),
            "answered": str(way.read),
            "old": str(way.read - 5),
            "far": str(way.rid + 100000),
            "outside": str(way.rid + 2),
        }
        body, head = row.body, row.head
        for name, value in known.items():
            body = body.replace(b"{%b}" % name.encode(), value.encode())
        if f"rid='{way.rid}'".encode() in body and sid.encode() in body:
            way.rid += row.status == HTTPStatus.OK and not row.conditions
        return head.replace(LENGTH, b"%d" % len(body)) + body


class WorkersWitnessTests(BOSHWitnessTests):
    """
    The same with two workers, where half of the requests come to the one that does not have
    their session.
    """

    def client(self) -> BOSHClient:
        """
        See L{WitnessTests.client}.
        """
        router: Any = self.stage.router
        if not hasattr(router, "deputy"):
            spread(router, self.stage.clock)
        return BOSHClient(self.stage, BareSpreadWay, isRude=False)


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
