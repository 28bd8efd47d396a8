# Copyright the cmanager authors.
# See LICENSE for details.

"""
What holds for several workers together: sessions by BOSH, the requests of which come to
any of them, and limits.
"""

from __future__ import annotations

import os
import re
import signal
from base64 import b64encode
from pathlib import Path
from typing import Any, ClassVar

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from cmanager.body import NS_BODY, NS_XBOSH
from tests.acts.actor import PATIENCE_SECONDS
from tests.acts.case import ActCase
from tests.acts.stage import CLIENT_PORT, DOMAIN, PASSWORD, Stage
from tests.acts.test_binding import FEATURES, SASL, Client, ClientTLS
from tests.acts.webstage import HTTPS_PORT, LISTENERS
from tests.bosh import post

WORKERS = 3
MESSAGES = 60
MOST = 6
BURST = 5

_BIND = "<iq type='set' id='b' xmlns='jabber:client'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
_BODY = re.compile("<body>([^<]*)</body>")


class HTTPSStage(Stage):
    """
    Has ports for HTTPS.
    """

    listeners = LISTENERS


class Response(Protocol):
    """
    One request over a connection of its own.

    @ivar done: Its response.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._received = b""
        self.done: Deferred[str] = Deferred()

    def connectionMade(self) -> None:
        """
        Ask.
        """
        self.transport.write(self._data)

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol}.
        """
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: (\d+)", head)
        if end and size is not None and len(body) == int(size[1]):
            self.done.callback(f"{head.split()[1].decode()} {body.decode()}")
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol}.
        """
        if not self.done.called:
            self.done.errback(reason)


class BOSHClient:
    """
    A client by BOSH that makes a connection for each request.

    @ivar heard: The messages it has got, in order.
    @ivar last: The last response.
    @ivar requests: How many it has made.
    @ivar repeated: How many because a connection was lost.
    """

    def __init__(self, host: str, name: str) -> None:
        self.name = name
        self.heard: list[str] = []
        self.last = ""
        self.requests = self.repeated = 0
        self.sid = ""
        self._host = host
        self._rid = 1000
        self._read = self._rid
        self._responses: dict[int, str] = {}
        self._polling: Deferred[None] | None = None
        self._wanted: tuple[int, Deferred[None]] | None = None

    async def ask(self, content: str = "", attributes: str = "") -> str:
        """
        Make a request, and return the response.  Where there is none it is repeated.
        """
        rid = self._rid
        self._rid += 1
        response = ""
        while not response.startswith("200 "):
            try:
                response = await self.post(rid, content, attributes)
            except (ConnectionClosed, ConnectError):
                self.repeated += 1
        self._responses[rid] = response
        while self._read in self._responses:
            self.last = self._responses.pop(self._read)
            self.heard += _BODY.findall(self.last)
            self._read += 1
        if self._wanted is not None and len(self.heard) >= self._wanted[0]:
            wanted, self._wanted = self._wanted[1], None
            wanted.callback(None)
        return response

    async def hear(self, number: int) -> None:
        """
        Wait until it has got so many messages.
        """
        if len(self.heard) < number:
            wanted: Deferred[None] = Deferred()
            self._wanted = (number, wanted)
            await wanted.addTimeout(PATIENCE_SECONDS, reactor)

    async def post(self, rid: int, content: str = "", attributes: str = "") -> str:
        """
        Make a request with a rid.
        """
        self.requests += 1
        sid = f" sid='{self.sid}'" if self.sid else ""
        tag = f"<body xmlns='{NS_BODY}' xmlns:xmpp='{NS_XBOSH}' rid='{rid}'{sid} {attributes}>"
        request = Response(post(f"{tag}{content}</body>".encode()))
        tcp = TCP4ClientEndpoint(reactor, self._host, HTTPS_PORT)
        endpoint: Any = wrapClientTLS(ClientTLS(SSL.TLS1_3_VERSION, None), tcp)
        await connectProtocol(endpoint, request)
        request.done.addTimeout(PATIENCE_SECONDS, reactor)
        return await request.done

    async def login(self) -> None:
        """
        Log in, bind a resource, and go on asking.
        """
        first = "ver='1.11' wait='20' hold='1' xmpp:version='1.0'"
        response = await self.ask(attributes=f"to='{DOMAIN}' {first}")
        self.sid = re.findall(' sid="([^"]+)"', response)[0]
        plain = b64encode(f"\0{self.name}\0{PASSWORD}".encode()).decode()
        response = await self.ask(f"<auth {SASL} mechanism='PLAIN'>{plain}</auth>")
        assert "<success" in response, response
        await self.ask(attributes=f"to='{DOMAIN}' xmpp:restart='true'")
        response = await self.ask(_BIND)
        assert "<jid>" in response, response
        self._polling = ensureDeferred(self._poll())
        await self.ask("<presence xmlns='jabber:client'/>")

    @property
    def slot(self) -> int:
        """
        Which worker has the session.
        """
        return int(self.sid.rpartition("-")[2])

    async def _poll(self) -> None:
        while 'type="terminate"' not in self.last:
            await self.ask()

    async def say(self, to: str, text: str) -> None:
        """
        Send a message.
        """
        message = f"<message xmlns='jabber:client' type='chat' to='{to}@{DOMAIN}'>"
        await self.ask(f"{message}<body>{text}</body></message>")

    async def leave(self) -> None:
        """
        End the session.
        """
        await self.ask(attributes="type='terminate'")
        await self.end()

    async def end(self) -> None:
        """
        Wait for the end of the session.
        """
        assert self._polling is not None
        await self._polling


class AcrossCase(ActCase):
    """
    A front of three workers.
    """

    stageType = HTTPSStage
    settings: ClassVar[dict[str, str]] = {"workers": str(WORKERS)}

    def pid(self, slot: int) -> int:
        """
        Return the process of a slot.
        """
        *_, found = (
            record["pid"]
            for record in self.front.records
            if "takes clients" in record["message"] and record["worker"] == slot
        )
        return int(found)

    async def kill(self, slot: int) -> None:
        """
        Kill a worker; its supervisor has noticed.
        """
        os.kill(self.pid(slot), signal.SIGKILL)
        await self.front.until(f"^worker {slot} was ended by SIGKILL")

    async def all(self, *doing: Any) -> list[Any]:
        """
        Wait for all of them, that run at the same time.
        """
        results = await DeferredList(list(map(ensureDeferred, doing)), fireOnOneErrback=True)
        return [result for _, result in results]


class BOSHTests(AcrossCase):
    """
    Clients whose requests come to any worker.
    """

    settings: ClassVar[dict[str, str]] = {
        "workers": str(WORKERS),
        "more": "[limits]\nconnection-rate = 1000\nconnection-burst = 10000\n[bosh]\npolling = 0",
    }

    async def login(self) -> tuple[BOSHClient, BOSHClient]:
        """
        Let two log in.
        """
        clients = BOSHClient(self.stage.host, "romeo"), BOSHClient(self.stage.host, "juliet")
        await self.all(*(client.login() for client in clients))
        return clients

    def passages(self) -> int:
        """
        Return how many connections there are between workers.
        """
        assert self.front.transport is not None
        descriptors = Path(f"/proc/{self.front.transport.pid}/fd")
        inodes = {os.readlink(path).strip("socket:[]") for path in descriptors.iterdir()}
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
        paths = {line[7] for line in lines if len(line) > 7 and line[6] in inodes}
        return sum(len(line) > 7 and line[7] in paths and line[5] == "03" for line in lines)

    async def test_chat(self) -> None:
        """
        They log in, and all that they say to each other arrives, once and in order.
        """
        romeo, juliet = await self.login()

        async def talk(one: BOSHClient, other: BOSHClient) -> None:
            for number in range(MESSAGES):
                await one.say(other.name, f"{one.name} {number}")

        await self.all(talk(romeo, juliet), talk(juliet, romeo))
        await self.all(romeo.hear(MESSAGES), juliet.hear(MESSAGES))
        await self.all(romeo.leave(), juliet.leave())
        for client, other in ((romeo, juliet), (juliet, romeo)):
            self.assertEqual(client.heard, [f"{other.name} {n}" for n in range(MESSAGES)])
        self.assertGreater(romeo.requests, MESSAGES)
        self.assertGreater(self.passages(), 0)

    async def test_dead(self) -> None:
        """
        A session goes with its worker: requests that wait are told, wherever they are, and
        those that come later; other sessions go on.
        """
        romeo, juliet = await self.login()
        while romeo.slot == juliet.slot:
            await juliet.leave()
            juliet = BOSHClient(self.stage.host, "juliet")
            await juliet.login()
        await self.kill(romeo.slot)
        await romeo.end()
        self.assertIn('condition="item-not-found"', romeo.last)
        for _ in range(2 * WORKERS):
            response = await romeo.post(romeo._rid)
            self.assertIn('condition="item-not-found"', response)
        await self.front.until(f"^worker {romeo.slot} takes clients", times=2)
        for _ in range(2 * WORKERS):
            response = await romeo.post(romeo._rid)
            self.assertIn('condition="item-not-found"', response)
        await juliet.say("juliet", "O me!")
        await juliet.hear(1)
        await juliet.leave()
        self.assertEqual(juliet.heard, ["O me!"])


class LimitCase(AcrossCase):
    """
    Connections of one address.
    """

    async def connect(self) -> Client | None:
        """
        Connect, and return the client if it is let in.
        """
        endpoint = TCP4ClientEndpoint(reactor, self.stage.host, CLIENT_PORT)
        client: Any = await connectProtocol(
            endpoint, Client(ClientTLS(SSL.TLS1_3_VERSION, None), DOMAIN)
        )
        self.addCleanup(client.transport.loseConnection)
        header = (
            f"<stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client'"
            " xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        try:
            said = await client.say(header, f"{FEATURES}|<policy-violation")
        except AssertionError:
            return None
        return client if "features" in said else None

    async def connectAll(self, number: int) -> list[Client]:
        """
        Connect so often, one after the other, and return those that are let in.
        """
        clients = [await self.connect() for _ in range(number)]
        return [client for client in clients if client is not None]


class ConnectionTests(LimitCase):
    """
    How many there may be.
    """

    settings: ClassVar[dict[str, str]] = {
        "workers": str(WORKERS),
        "more": f"[limits]\nconnections-per-address = {MOST}",
    }

    async def test_most(self) -> None:
        """
        So many may there be, over all workers.  Those of one that is killed may come again, and
        no more.
        """
        clients = await self.connectAll(MOST + 2 * WORKERS)
        self.assertEqual(len(clients), MOST)
        await self.kill(1)
        await self.front.until("^worker 1 takes clients", times=2)
        others = await self.connectAll(MOST)
        self.assertEqual(len(others), sum(not client.transport.connected for client in clients))


class RateTests(LimitCase):
    """
    How fast they may come.
    """

    settings: ClassVar[dict[str, str]] = {
        "workers": str(WORKERS),
        "more": f"[limits]\nconnection-rate = 0.01\nconnection-burst = {BURST}",
    }

    async def test_burst(self) -> None:
        """
        So many may come at once, over all workers; that they go again does not help, nor
        that a worker is killed.
        """
        clients = await self.connectAll(BURST + 2 * WORKERS)
        self.assertEqual(len(clients), BURST)
        for client in clients:
            client.transport.loseConnection()
        await self.kill(0)
        self.assertEqual(await self.connectAll(2 * WORKERS), [])
