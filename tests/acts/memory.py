# Copyright the cmanager authors.
# See LICENSE for details.

"""
The real parts of the front, joined in memory to the embedded server, and clients that come
to it by any way.  All that goes up the link is judged by L{tests.judge} and by expat.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any
from xml.parsers import expat

from scramp import ScramClient
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
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
from cmanager.stanza import FOOTER, NS_BIND, NS_SASL
from cmanager.tcp import TCPFactory
from cmanager.tls import CertificateStore
from tests.bosh import BOSHWay
from tests.certificates import authority
from tests.hostile import DOMAIN, HEADER
from tests.judge import LinkJudge
from tests.pollers import HandReactor
from tests.ways import TCPSocketWay, TCPWay
from tests.wires import SocketWire

SECRET = "s3cret"
NOON = 1_700_000_000.0
NAME = DOMAIN.decode()
ACCOUNTS = ("romeo", "juliet", "nurse")


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
    @ivar record: What has gone up, where somebody has put something to keep it in.
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
        self.record: bytearray | None = None
        listener = ListenerSettings(type="tcp", endpoint="tcp:0", starttls=StartTLS.SERVER)
        server = ServerSettings(
            domains=(NAME,),
            address="192.0.2.9:5262",
            secret=SECRET,
            security=Security.PLAIN,
            links=1,
            # Nothing goes up but what clients bring about.
            heartbeat=3600,
            deadAfter=7200,
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
        if self.record is not None:
            self.record += data
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

    @ivar way: The way it comes by.
    """

    way: TCPWay

    def __init__(self, stage: Stage, makeWay: type[TCPWay] = TCPWay) -> None:
        self.stage = stage
        self.wire = Wire()
        self.way = makeWay()
        self.connect()
        self.take()

    def connect(self) -> None:
        """
        Connect.
        """
        self.stream = self.way.stream(self.stage.factory)
        self.stream.makeConnection(self.wire)
        if self.way.tls is not None:
            self.stream.dataReceived(self.way.tls.exchange())

    @property
    def id(self) -> str:
        """
        The id of its stream.
        """
        assert self.stream.session is not None, "it is not over"
        return self.stream.session.id

    def arrive(self, data: bytes) -> None:
        """
        Have bytes come over the wire.
        """
        self.stream.dataReceived(data)

    def send(self, *reads: bytes) -> bytes:
        """
        Have bytes come over the wire, one read each, and return the answer.
        """
        for data in reads:
            self.arrive(data)
        self.stage.pump()
        return self.take()

    def say(self, *tokens: bytes) -> bytes:
        """
        Say something in one read, and return the answer.
        """
        return self.send(self.way.said(*tokens))

    def take(self) -> bytes:
        """
        Return what it has been told since the last call.
        """
        told = len(self.way.got)
        while data := self.wire.take():
            answer = self.way.hears(data)
            if answer:
                self.stream.dataReceived(answer)
        return self.way.got[told:]

    def login(self, name: str | None = None) -> Client:
        """
        Log in and bind, without a name anonymously.
        """
        self.say(HEADER % DOMAIN)
        if name is None:
            answer = self.say(b"<auth xmlns='%s' mechanism='ANONYMOUS'/>" % NS_SASL.encode())
        else:
            answer = self._scram(ScramClient(["SCRAM-SHA-1"], name, name))
        assert b"<success" in answer, answer
        self.say(HEADER % DOMAIN)
        answer = self.say(
            b"<iq type='set' id='b'><bind xmlns='%s'><resource>%s</resource></bind></iq>"
            % (NS_BIND.encode(), (name or "x").encode())
        )
        assert b"<jid>" in answer, answer
        return self

    def _scram(self, scram: ScramClient) -> bytes:
        first = base64.b64encode(scram.get_client_first().encode())
        answer = self.say(
            b"<auth xmlns='%s' mechanism='SCRAM-SHA-1'>%s</auth>" % (NS_SASL.encode(), first)
        )
        found = re.search(rb"<challenge[^>]*>([^<]+)<", answer)
        assert found is not None, answer
        scram.set_server_first(base64.b64decode(found[1]).decode())
        final = base64.b64encode(scram.get_client_final().encode())
        return self.say(b"<response xmlns='%s'>%s</response>" % (NS_SASL.encode(), final))

    def drop(self) -> None:
        """
        Go without a word.
        """
        self.stream.connectionLost(Failure(ConnectionDone()))
        self.stage.pump()


class SocketClient(Client):
    """
    One whose connection is a transport of our own.
    """

    def connect(self) -> None:
        """
        Connect.
        """
        self.stream = self.way.stream(self.stage.factory)
        self.real = SocketWire(HandReactor())
        self.real.connect(self.stream)
        if self.way.tls is not None:
            self.real.arrive(self.way.tls.exchange())

    def arrive(self, data: bytes) -> None:
        """
        Have bytes come over the wire.
        """
        self.real.arrive(data)

    def take(self) -> bytes:
        """
        Return what it has been told since the last call.
        """
        told = len(self.way.got)
        while data := self.real.value():
            self.real.clear()
            answer = self.way.hears(data)
            if answer:
                self.real.arrive(answer)
        self.wire.over = self.real.disconnecting
        return self.way.got[told:]

    def drop(self) -> None:
        """
        Go without a word.
        """
        self.real.remove()
        self.stage.pump()


class BOSHClient(Client):
    """
    One that has no wire of its own.
    """

    way: BOSHWay

    def __init__(
        self, stage: Stage, makeWay: type[TCPWay] = BOSHWay, *, isRude: bool = True
    ) -> None:
        """
        @param isRude: It goes without a word, which takes its time to be noticed.
        """
        super().__init__(stage, makeWay)
        self.isRude = isRude

    def connect(self) -> None:
        """
        See L{Client}.  There is no stream before the header.
        """
        self.way.visit(self.stage.factory)

    @property
    def id(self) -> str:
        """
        See L{Client}.
        """
        ours = self.way.ours
        assert ours is not None, "it has come, and is not over"
        assert ours.session is not None, "likewise"
        return ours.session.id

    def arrive(self, data: bytes) -> None:
        """
        See L{Client}.
        """
        self.way.arrive(data)

    def take(self) -> bytes:
        """
        See L{Client}.  It always asks for more.
        """
        return self.way.told(self.stage.pump)

    def drop(self) -> None:
        """
        See L{Client}.  It has gone when it has not come back.
        """
        if not self.isRude:
            if self.way.ours is not None:
                self.say(FOOTER)
            self.way.lose()
            return
        self.way.lose()
        self.stage.clock.pump([1.0] * (self.stage.settings.bosh.inactivity + 1))
        self.stage.pump()


def clientFor(stage: Stage, makeWay: type[TCPWay]) -> Client:
    """
    Let a client come by a way.
    """
    if issubclass(makeWay, BOSHWay):
        return BOSHClient(stage, makeWay)
    return (SocketClient if issubclass(makeWay, TCPSocketWay) else Client)(stage, makeWay)
