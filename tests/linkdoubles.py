# Copyright the cmanager authors.
# See LICENSE for details.

"""
Doubles for what is around a link: its pool, the router, sessions, transports.
"""

from __future__ import annotations

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectingCancelledError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from cmanager.clienttls import ClientTLS
from cmanager.config import Security, ServerSettings
from cmanager.errors import LinkError, StreamError
from cmanager.host import Host
from cmanager.link import Link
from cmanager.linkevents import Configuration, Replied
from cmanager.metrics import Metrics
from cmanager.pool import Pool
from cmanager.stanza import NS_CLIENT, Stanza
from cmanager.trust import Attempt
from cmanager.turn import Turn

SECRET = "s3cret"
HEADER = (
    b"<?xml version='1.0' encoding='UTF-8'?><stream:stream xmlns:stream=\"http://etherx.jabber.org/streams\""
    b' xmlns="jabber:connectionmanager" from="cm/x" id="2b9f1c7e" version="1.0" >'
)
NO_FEATURES = b"<stream:features></stream:features>"
TLS_FEATURES = (
    b'<stream:features><starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/></stream:features>'
)
TLS_REQUIRED = TLS_FEATURES.replace(b"/></", b"><required/></starttls></")
PROCEED = b'<proceed xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>'
HANDSHAKE = b"<handshake>143be04ac9b3957c7a58fe730107bc19d2255b2c</handshake>"
ACCEPTED = b"<handshake></handshake>"
CONFIGURATION = (
    b'<iq type="set" id="480-0"><configuration xmlns="http://jabber.org/protocol/connectionmanager">'
    b'<mechanisms xmlns="urn:ietf:params:xml:ns:xmpp-sasl"><mechanism>PLAIN</mechanism></mechanisms>'
    b"</configuration></iq>"
)


def serverSettings(**changes: object) -> ServerSettings:
    """
    Settings of a server without TLS, unless changed.
    """
    values: dict[str, object] = {
        "domains": ("example.org",),
        "address": "192.0.2.1:5262",
        "secret": SECRET,
        "security": Security.PLAIN,
    }
    return ServerSettings(**(values | changes))  # type: ignore[arg-type] # by name


@define
class Hub:
    """
    Records what a router is told, as tuples that begin with the method's name.
    """

    manager: str = "cm"
    metrics: Metrics = field(factory=Metrics)
    told: list[tuple[object, ...]] = field(factory=list)
    broken: bool = False
    isDoubtful: bool | None = None
    turn: Turn = field(factory=lambda: Turn(Clock()))

    def linkReady(self, link: Link) -> None:
        self.told.append(("linkReady", link))

    def linkLost(self, link: Link, error: LinkError, *, isDoubtful: bool) -> None:
        self.isDoubtful = isDoubtful
        self.told.append(("linkLost", link, error))

    def answersLost(self, pool: object) -> None:
        self.told.append(("answersLost", pool))

    def configured(self, pool: object, configuration: Configuration) -> None:
        self.told.append(("configured", pool, configuration))

    def routed(self, link: Link, streamID: str, stanza: Stanza) -> None:
        if self.broken:
            raise RuntimeError("a bug")
        self.told.append(("routed", link, streamID, stanza.data))

    def routeFailed(self, link: Link, streamID: str, condition: str, sent: Stanza | None) -> None:
        self.told.append(("routeFailed", link, streamID, condition, sent))

    def closeRequested(self, link: Link, streamID: str, error: StreamError | None) -> None:
        self.told.append(("closeRequested", link, streamID, error))

    def createRefused(self, link: Link, streamID: str, condition: str) -> None:
        self.told.append(("createRefused", link, streamID, condition))

    def pause(self, link: Link) -> None:
        self.told.append(("pause", link))

    def resume(self, link: Link) -> None:
        self.told.append(("resume", link))

    def names(self) -> list[object]:
        """
        Only the methods' names.
        """
        return [entry[0] for entry in self.told]


@define
class Owner:
    """
    Records what a pool is told by its links.
    """

    settings: ServerSettings = field(factory=serverSettings)
    hub: Hub = field(factory=Hub)
    told: list[tuple[object, ...]] = field(factory=list)
    requests: int = 0
    configuration: Configuration | None = None

    def isCreating(self, streamID: str) -> bool:
        return True

    def newIQ(self, kind: str, streamID: str) -> str:
        self.requests += 1
        return f"{kind}-{self.requests}"

    def linkReady(self, link: Link) -> None:
        self.told.append(("linkReady", link))

    def linkLost(self, link: Link, error: LinkError | None) -> None:
        self.told.append(("linkLost", link, error))

    def configured(self, link: Link, configuration: Configuration) -> None:
        self.told.append(("configured", configuration))

    def replied(self, link: Link, reply: Replied) -> None:
        self.told.append(("replied", reply.iqID, reply.streamID, reply.condition))


@define
class ClientStream:
    """
    As much of a client's stream as a link looks at.
    """

    peer: str = "192.0.2.7"
    secure: bool = False
    facts: ClientTLS | None = None

    def tlsFacts(self) -> ClientTLS | None:
        return self.facts


@define
class Session:
    """
    As much of a session as a link looks at.
    """

    id: str = "q7Zk2mX4aB9sLwT1"
    wireID: bytes = b"q7Zk2mX4aB9sLwT1"
    stream: ClientStream = field(factory=ClientStream)
    host: Host = field(factory=lambda: Host("mantua.example"))
    lang: str | None = None


class LinkTransport(StringTransport):
    """
    A transport that can be made to fill up, to encrypt, and to be lost.
    """

    protocol: Link | None = None

    def __init__(self) -> None:
        super().__init__()
        self.isFull = False
        self.aborted = False
        self.tls: Attempt | None = None

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.isFull:
            self.producer.pauseProducing()

    def drain(self) -> None:
        """
        Let the kernel take everything.
        """
        self.isFull = False
        self.producer.resumeProducing()

    def startTLS(self, creator: Attempt) -> None:
        self.tls = creator

    def abortConnection(self) -> None:
        self.aborted = True
        self.lost(ConnectionLost())

    def lost(self, reason: Exception | None = None) -> None:
        """
        The connection is gone.
        """
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(reason or ConnectionDone()))

    def take(self) -> bytes:
        """
        Return what has been written since the last call.
        """
        data: bytes = self.value()
        self.clear()
        return data


def connect(link: Link) -> LinkTransport:
    """
    Put a link on a transport.
    """
    transport = LinkTransport()
    transport.protocol = link
    link.makeConnection(transport)
    return transport


@define
class Trusting:
    """
    Stands in for L{Attempt}.
    """

    isVerified: bool = True
    isForOther: bool = False
    problem: str | None = None


class LinkBench:
    """
    One link between its doubles.
    """

    def __init__(self, **settings: object) -> None:
        self.clock = Clock()
        self.owner = Owner(serverSettings(**settings))
        self.hub = self.owner.hub
        self.hub.turn = Turn(self.clock)
        self.tls = Trusting()
        self.link = Link(self.owner, self.clock, "cm", "x", "192.0.2.1", self.tls)  # type: ignore[arg-type] # doubles
        self.transport = connect(self.link)

    def send(self, data: bytes) -> bytes:
        """
        Let the server send C{data}, one turn pass, and return what the link wrote.
        """
        self.link.dataReceived(data)
        return self.turn()

    def turn(self) -> bytes:
        """
        Let one turn of the reactor pass; return what the link wrote.
        """
        self.clock.advance(0)
        return self.transport.take()

    def ready(self) -> LinkBench:
        """
        Go through the set-up without TLS.
        """
        self.turn()
        self.send(HEADER + NO_FEATURES)
        self.send(ACCEPTED)
        assert self.link.isReady
        return self

    @property
    def error(self) -> LinkError | None:
        """
        Why the link was lost.
        """
        ((_, _, error),) = [entry for entry in self.owner.told if entry[0] == "linkLost"]
        assert error is None or isinstance(error, LinkError)
        return error


def message(body: bytes = b"hi", **attributes: str) -> Stanza:
    """
    Return a message.
    """
    written = b"".join(b' %s="%s"' % (k.encode(), v.encode()) for k, v in attributes.items())
    return Stanza(
        "message", NS_CLIENT, attributes, b"<message%s><body>%s</body></message>" % (written, body)
    )


@implementer(IStreamClientEndpoint)
class Endpoint:
    """
    An endpoint whose outcome a test decides.
    """

    def __init__(self, outcome: Exception | None = None, *, hangs: bool = False) -> None:
        self.outcome = outcome
        self.hangs = hangs
        self.cancelled = False
        self.transport: LinkTransport | None = None

    def connect(self, factory: object) -> Deferred[Link]:
        if self.hangs:
            return Deferred(self._cancel)
        if self.outcome is not None:
            return fail(self.outcome)
        link = factory.buildProtocol(None)  # type: ignore[attr-defined] # a factory
        self.transport = connect(link)
        return succeed(link)

    def _cancel(self, connecting: Deferred[Link]) -> None:
        self.cancelled = True
        # As Twisted's endpoints do.
        connecting.errback(ConnectingCancelledError(IPv4Address("TCP", "192.0.2.1", 5262)))


class ScriptedPool(Pool):
    """
    A pool whose connections a test decides.

    @ivar script: The endpoints to use, in order; then ones that connect.
    @ivar endpoints: Those that were used.
    @ivar asked: Host and port of each.
    """

    def __init__(self, clock: Clock, settings: ServerSettings, **more: object) -> None:
        self.router = Hub(turn=Turn(clock))
        more = {"manager": "cm", "random": lambda: 1.0, **more}
        super().__init__(clock, settings, self.router, **more)  # type: ignore[arg-type] # doubles
        self.script: list[Endpoint] = []
        self.endpoints: list[Endpoint] = []
        self.asked: list[tuple[str, int]] = []

    def endpoint(self, host: str, port: int, tls: Attempt | None) -> IStreamClientEndpoint:
        self.asked.append((host, port))
        self.endpoints.append(self.script.pop(0) if self.script else Endpoint())
        return self.endpoints[-1]


def accept(clock: Clock, link: Link) -> None:
    """
    Let the server accept a link that has just connected, without TLS.
    """
    link.dataReceived(HEADER + NO_FEATURES)
    link.dataReceived(ACCEPTED)
    clock.advance(0)
    link.transport.take()
