# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.listening}.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IListeningPort, IReadDescriptor, IStreamServerEndpoint
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cmanager.commons import Commons, Share
from cmanager.listening import (
    ACCEPTED_AT_ONCE,
    BACKLOG,
    PAUSE_SECONDS,
    YIELD_SECONDS,
    Listening,
    Port,
    listening,
)
from cmanager.poller import Poller
from cmanager.securetransport import SecureTransport
from cmanager.settings import ListenerSettings, Transports
from cmanager.transport import SocketTransport
from cmanager.turn import Turn
from tests.certificates import authority
from tests.pollers import HandReactor, Recorder
from tests.test_records import serverContext

PATIENCE_SECONDS = 60.0
"""
How long the kernel may take to tell the other end.
"""


class Recorders(Factory):
    """
    Makes those that write down what happens.

    @ivar made: All of them.
    @ivar addresses: Of whom.
    @ivar fails: How to fail instead, with each but the first so many.
    """

    noisy = False

    def __init__(self) -> None:
        self.made: list[Recorder] = []
        self.addresses: list[Any] = []
        self.started = 0
        self.fails: Any = None

    def doStart(self) -> None:
        """
        Count it.
        """
        self.started += 1
        super().doStart()

    def doStop(self) -> None:
        """
        Count it.
        """
        self.started -= 1
        super().doStop()

    def buildProtocol(self, addr: Any) -> Any:
        """
        See L{IProtocolFactory}.
        """
        self.addresses.append(addr)
        if self.fails is not None:
            return self.fails()
        self.made.append(Recorder())
        return self.made[-1]


class ListeningCase(SynchronousTestCase):
    """
    Endpoints, with a reactor that runs by hand.
    """

    def setUp(self) -> None:
        self.reactor = self.makeReactor()
        self.listening = Listening(self.reactor, 0, Turn(self.reactor))
        self.factory = Recorders()

    def makeReactor(self) -> HandReactor:
        """
        Return the reactor.
        """
        return HandReactor()

    def listen(self, endpoint: str) -> Any:
        """
        Listen there.
        """
        found: IStreamServerEndpoint = serverFromString(self.listening, endpoint)
        port = self.successResultOf(found.listen(self.factory))
        self.addCleanup(port.stopListening)
        self.addCleanup(self.cut)
        return port

    def cut(self) -> None:
        """
        End what there is.
        """
        for protocol in self.factory.made:
            if protocol.transport is not None:
                protocol.transport.abortConnection()
        self.reactor.advance(0)

    def refuse(self, name: Any) -> None:
        """
        Let clients come for whom the factory makes nothing, or fails: they are closed.
        """
        for fails in (lambda: None, self.fail):
            self.factory.fails = fails
            client = self.connect(name)
            self.reactor.settle()
            self.assertEqual(client.recv(1), b"")
        self.assertEqual(len(self.flushLoggedErrors(self.failureException)), 1)

    def connect(self, name: Any, family: int = socket.AF_INET, count: int = 1) -> socket.socket:
        """
        Connect clients; return the last one.
        """
        for _ in range(count):
            client = socket.socket(family)
            self.addCleanup(client.close)
            client.connect(name)
        client.setblocking(False)
        return client

    def name(self, port: Any) -> tuple[str, int]:
        """
        Return where to connect.
        """
        host = port.getHost()
        return host.host, host.port


class EndpointTests(ListeningCase):
    """
    Endpoints as they stand in the configuration.
    """

    def test_tcp(self) -> None:
        """
        TCP's are ours.
        """
        port = self.listen("tcp:0:interface=127.0.0.1")
        self.assertIsInstance(port, Port)
        host, number = self.name(port)
        self.assertEqual(port.getHost(), IPv4Address("TCP", "127.0.0.1", number))
        client = self.connect((host, number))
        self.reactor.settle()
        (protocol,) = self.factory.made
        assert protocol.transport is not None
        self.assertIsInstance(protocol.transport, SocketTransport)
        address = IPv4Address("TCP", "127.0.0.1", client.getsockname()[1])
        self.assertEqual(self.factory.addresses, [address])
        self.assertEqual(protocol.transport.getPeer(), address)
        self.assertEqual(protocol.transport.getHost(), port.getHost())
        client.send(b"hello")
        self.reactor.settle()
        self.assertEqual(protocol.received, [b"hello"])
        protocol.transport.write(b"hello")
        self.assertEqual(client.recv(10), b"hello")

    def test_ssl(self) -> None:
        """
        So are those of TCP with TLS in it.
        """
        directory = Path(self.mktemp())
        directory.mkdir()
        authority().issue("a.example").write(directory, "a")
        pem = directory / "a.pem"
        port = self.listen(f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}")
        self.assertIsInstance(port, Port)
        raw = self.connect(self.name(port))
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), raw)
        client.set_connect_state()
        while True:
            with contextlib.suppress(SSL.WantReadError):
                client.send(b"hello")
                break
            self.reactor.settle()
        self.reactor.settle()
        (protocol,) = self.factory.made
        self.assertIsInstance(protocol.transport, SecureTransport)
        self.assertEqual(protocol.received, [b"hello"])

    def test_stockSSL(self) -> None:
        """
        Where all transports are Twisted's, those are, too.
        """
        reactor = MemoryReactorClock()
        context: Any = object()
        Listening(reactor, None, Turn(reactor)).listenSSL(5223, self.factory, context, 7, "::")
        self.assertEqual(reactor.sslServers, [(5223, self.factory, context, 7, "::")])

    def test_noContext(self) -> None:
        """
        Where there is no certificate for it, nobody listens.
        """
        broken = SimpleNamespace(getContext=self.fail)
        self.assertRaises(self.failureException, self.listening.listenSSL, 0, self.factory, broken)
        self.flushWarnings()
        self.assertEqual(self.reactor.readers, [])

    def test_name(self) -> None:
        """
        A name is as good as an address.
        """
        port = self.listen("tcp:0:interface=localhost")
        self.assertEqual(port.getHost().host, "127.0.0.1")

    def test_backlog(self) -> None:
        """
        Enough clients may wait, whatever the endpoint thinks; and more, if it says so.
        """
        backlogs: list[int] = []

        class Noting(socket.socket):
            def listen(self, backlog: int = 0, /) -> None:
                backlogs.append(backlog)
                super().listen(backlog)

        self.patch(socket, "socket", Noting)
        for text in ("", f":backlog={BACKLOG + 1}"):
            self.listen(f"tcp:0:interface=127.0.0.1{text}")
        self.assertEqual(backlogs, [BACKLOG, BACKLOG + 1])

    def test_ipv6(self) -> None:
        """
        So are those of version 6, where the machine has it.
        """
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
        except OSError:
            return
        port = self.listen(r"tcp:0:interface=\:\:1")
        self.assertIsInstance(port, Port)
        self.assertIsInstance(port.getHost(), IPv6Address)
        self.connect(self.name(port), socket.AF_INET6)
        self.reactor.settle()
        self.assertIsInstance(self.factory.addresses[0], IPv6Address)
        self.assertEqual(self.factory.addresses[0].host, "::1")

    def test_systemd(self) -> None:
        """
        Sockets that were opened by somebody else are taken over, those of Unix, too.
        """
        path = str(Path("/tmp") / f"cmanager-{os.getpid()}-{id(self)}")  # a short one
        self.addCleanup(os.unlink, path)
        for family, name in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, path)):
            with socket.socket(family) as opened:
                opened.bind(name)
                opened.listen()
                name = opened.getsockname()
                port = self.listening.adoptStreamPort(opened.fileno(), family, self.factory)
            self.addCleanup(port.stopListening)
            self.addCleanup(self.cut)
            client = self.connect(name, family)
            self.reactor.settle()
            client.send(b"hello")
            client.close()
            self.reactor.settle()
            self.assertEqual(self.factory.made[-1].received, [b"hello"])
            self.assertIs(self.factory.made[-1].reason.type, ConnectionDone)
        self.assertEqual(port.getHost(), UNIXAddress(path))
        self.assertEqual(self.factory.addresses[-1], UNIXAddress(None))

    def test_others(self) -> None:
        """
        All others are the reactor's.
        """
        reactor = MemoryReactorClock()
        where: Any = Listening(reactor, 0, Turn(reactor))
        serverFromString(where, "unix:/run/x").listen(self.factory)
        self.assertEqual(reactor.unixServers[0][0], "/run/x")
        self.assertEqual(where.seconds(), reactor.seconds())

    def test_taken(self) -> None:
        """
        A port that is another's, or no port at all, is an error that says so.
        """
        number = self.listen("tcp:0:interface=127.0.0.1").getHost().port
        for interface, port in (
            ("127.0.0.1", number),
            ("127.0.0.1", 65536),
            ("192.0.2.1", 0),
            ("::1%nowhere", 0),
        ):
            found = serverFromString(
                self.listening, f"tcp:{port}:interface=" + interface.replace(":", r"\:")
            )
            failure = self.failureResultOf(found.listen(self.factory), CannotListenError)
            self.assertEqual((failure.value.interface, failure.value.port), (interface, port))
        self.assertEqual(self.factory.started, 1)

    def test_again(self) -> None:
        """
        A port can be listened on at once where a client's connection is not over yet.
        """
        port = self.listen("tcp:0:interface=127.0.0.1")
        name = self.name(port)
        self.connect(name)
        self.reactor.settle()
        assert self.factory.made[0].transport is not None
        self.factory.made[0].transport.loseConnection()
        self.reactor.settle()
        port.stopListening()
        again = self.listen(f"tcp:{name[1]}:interface=127.0.0.1")
        self.assertEqual(self.name(again), name)


class PortTests(ListeningCase):
    """
    Accepting.
    """

    def setUp(self) -> None:
        super().setUp()
        self.port: Port = self.listen("tcp:0:interface=127.0.0.1")

    def limitFiles(self, more: int) -> None:
        """
        Have no more files than so many.
        """
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, before[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        self.unlimited = before

    def test_interface(self) -> None:
        """
        It is what endpoints return, and what reactors read.
        """
        verifyObject(IListeningPort, self.port)
        verifyObject(IReadDescriptor, self.port)
        self.assertEqual(self.port.logPrefix(), "listener")

    def test_bound(self) -> None:
        """
        So many are accepted before others have their turn.
        """
        self.connect(self.name(self.port), count=ACCEPTED_AT_ONCE)
        self.port.doRead()
        self.assertEqual(len(self.factory.made), ACCEPTED_AT_ONCE)
        self.connect(self.name(self.port), count=ACCEPTED_AT_ONCE + 1)
        self.port.doRead()
        self.assertEqual(len(self.factory.made), 2 * ACCEPTED_AT_ONCE)
        self.port.doRead()
        self.assertEqual(len(self.factory.made), 2 * ACCEPTED_AT_ONCE + 1)

    def test_noConnection(self) -> None:
        """
        A context that makes no connection costs one client.
        """
        contexts = [serverContext()] * 2
        broken = SimpleNamespace(getContext=contexts.pop)
        port = self.listening.listenSSL(0, self.factory, broken, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.flushWarnings()
        self.connect(self.name(port), count=2)
        self.reactor.settle()
        self.assertEqual([protocol.events for protocol in self.factory.made], [["made"], []])
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)
        self.cut()

    def test_shared(self) -> None:
        """
        A client that another process has accepted, or that is gone, is nobody.
        """
        self.port.doRead()
        client = self.connect(self.name(self.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.reactor.settle()
        self.connect(self.name(self.port))
        self.reactor.settle()
        self.assertEqual(self.factory.made[-1].events, ["made"])

    def test_stop(self) -> None:
        """
        Nobody is accepted any more then, and those who were stay.
        """
        client = self.connect(self.name(self.port))
        self.reactor.settle()
        name = self.name(self.port)
        for _ in range(2):
            self.successResultOf(self.port.stopListening())
        self.assertEqual(self.factory.started, 0)
        self.assertRaises(ConnectionRefusedError, self.connect, name)
        client.send(b"hello")
        self.reactor.settle()
        self.assertEqual(self.factory.made[0].received, [b"hello"])
        self.port.doRead()

    def test_stopWithin(self) -> None:
        """
        It can be stopped in the middle, by whoever is accepted.
        """

        def made() -> Recorder:
            self.port.stopListening()
            self.factory.made.append(Recorder())
            return self.factory.made[-1]

        self.factory.fails = made
        self.connect(self.name(self.port), count=2)
        self.reactor.settle()
        self.assertEqual([one.events for one in self.factory.made], [["made"]])

    def test_stopReactor(self) -> None:
        """
        So it is when the reactor stops; clients are lost then.
        """
        self.connect(self.name(self.port))
        self.reactor.settle()
        for reader in list(self.reactor.readers):
            reader.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((self.reactor.readers, self.factory.started), ([], 0))
        self.assertEqual(self.factory.made[0].events, ["made", "lost"])

    def test_refused(self) -> None:
        """
        A client for whom the factory makes nothing is closed, and so is one for whom it
        fails; that does not concern others.
        """
        self.refuse(self.name(self.port))
        self.factory.fails = None
        self.connect(self.name(self.port))
        self.reactor.settle()
        self.assertEqual(self.factory.made[0].events, ["made"])

    def test_bug(self) -> None:
        """
        A protocol that fails when it is connected, and perhaps once more, is lost.
        """

        def made() -> Recorder:
            protocol = Recorder()
            protocol.does = {"made": self.fail, "lost": self.fail}
            self.factory.made.append(protocol)
            return protocol

        self.factory.fails = made
        client = self.connect(self.name(self.port))
        self.reactor.settle()
        self.assertEqual(self.factory.made[0].events, ["made", "lost"])
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(len(self.flushLoggedErrors(self.failureException)), 2)

    def test_exhausted(self) -> None:
        """
        Without a file for one more, none is accepted for a while, and then those who wait.
        """
        client = self.connect(self.name(self.port))
        client.send(b"hello")
        self.limitFiles(0)
        logged: list[Any] = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        self.reactor.turn()
        self.assertEqual((self.factory.addresses, self.reactor.readers), ([], []))
        self.assertIn(
            "clients cannot be accepted for 1 s: Too many open files", map(formatEvent, logged)
        )
        resource.setrlimit(resource.RLIMIT_NOFILE, self.unlimited)
        self.port.doRead()
        self.reactor.advance(PAUSE_SECONDS - 0.01)
        self.reactor.settle()
        self.assertEqual(self.factory.addresses, [])
        self.reactor.advance(0.01)
        self.reactor.settle()
        self.assertEqual(self.factory.made[0].received, [b"hello"])

    def test_exhaustedLater(self) -> None:
        """
        With one for the client, but none for the poller, that client is closed, and none is
        accepted for a while.
        """
        client = self.connect(self.name(self.port))
        self.limitFiles(1)
        self.reactor.turn()
        resource.setrlimit(resource.RLIMIT_NOFILE, self.unlimited)
        client.settimeout(PATIENCE_SECONDS)
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(self.factory.made[0].events, [])
        self.assertEqual(self.reactor.readers, [])
        self.reactor.advance(PAUSE_SECONDS)
        self.connect(self.name(self.port))
        self.reactor.settle()
        self.assertEqual(self.factory.made[1].events, ["made"])

    def test_exhaustedStopped(self) -> None:
        """
        It can be stopped meanwhile, even by whoever is the one too many.
        """
        self.connect(self.name(self.port))
        self.limitFiles(0)
        self.reactor.turn()
        self.port.stopListening()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        resource.setrlimit(resource.RLIMIT_NOFILE, self.unlimited)
        self.port = self.listen("tcp:0:interface=127.0.0.1")

        class Full(Poller):
            def add(self, number: int, descriptor: Any, interests: int) -> None:
                raise OSError(errno.ENOSPC, "no room")

        def made() -> Recorder:
            self.port.stopListening()
            return Recorder()

        self.factory.fails = made
        self.port._poller = Full(self.reactor, 0, Turn(self.reactor))
        client = self.connect(self.name(self.port))
        self.reactor.settle()
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class BalanceTests(ListeningCase):
    """
    Where others accept from the same socket each waits for its turn.
    """

    gather: float | None = 0

    def setUp(self) -> None:
        super().setUp()
        shared = os.memfd_create("commons")
        self.addCleanup(os.close, shared)
        commons = Commons(shared, 2, 100)
        ours, self.other = (commons.join(slot) for slot in range(2))
        self.room = ours.room
        assert self.other.balance is not None
        self.other.balance.begin()
        self.listening = Listening(self.reactor, self.gather, Turn(self.reactor), ours.balance)
        self.port: Port = self.listen("tcp:0:interface=127.0.0.1")
        make = self.factory.buildProtocol

        def counted(addr: Any) -> Any:
            self.room.take(1000)
            return make(addr)

        self.patch(self.factory, "buildProtocol", counted)

    def read(self) -> int:
        """
        Let the port accept.

        @return: How many it has accepted so far.
        """
        self.port.doRead()
        return len(self.factory.made)

    def test_inTurn(self) -> None:
        """
        It takes one, and leaves the next to the other, which has none; so it goes on.
        """
        self.connect(self.name(self.port), count=3)
        self.assertEqual(self.read(), 1)
        self.assertNotIn(self.port, self.reactor.readers)
        self.assertEqual(self.read(), 1)
        self.other.room.take(1000)
        self.other.room.take(1000)
        self.reactor.advance(YIELD_SECONDS)
        self.assertIn(self.port, self.reactor.readers)
        self.assertEqual(len(self.factory.made), 2)
        self.assertEqual(self.read(), 3)

    def test_busy(self) -> None:
        """
        Whom the other does not take in time, it takes itself.
        """
        self.connect(self.name(self.port), count=2)
        self.assertEqual(self.read(), 1)
        self.reactor.advance(YIELD_SECONDS / 2)
        self.assertEqual(len(self.factory.made), 1)
        self.reactor.advance(YIELD_SECONDS / 2)
        self.assertEqual(len(self.factory.made), 2)

    def test_alone(self) -> None:
        """
        If no other takes clients it takes them all.
        """
        assert self.other.balance is not None
        self.other.balance.end()
        self.connect(self.name(self.port), count=3)
        self.assertEqual(self.read(), 3)

    def test_stop(self) -> None:
        """
        When it listens no more nobody waits for it.
        """
        self.connect(self.name(self.port), count=2)
        self.read()
        self.port.stopListening()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        assert self.other.balance is not None
        for _ in range(5):
            self.assertTrue(self.other.balance.isOurs())
            self.other.room.take(1000)


class StockReactor(HandReactor):
    """
    Has Twisted's transports.

    @ivar fails: How it fails instead.
    """

    _supportedAddressFamilies = PosixReactorBase._supportedAddressFamilies

    def __init__(self) -> None:
        super().__init__()
        self.fails: Exception | None = None

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> None:
        """
        See L{IReactorSocket}.
        """
        if self.fails is not None:
            raise self.fails
        reactor: Any = self
        PosixReactorBase.adoptStreamConnection(reactor, fileDescriptor, addressFamily, factory)

    def removeWriter(self, writer: Any) -> None:
        """
        See L{IReactorFDSet}: it never writes.
        """


class StockTests(BalanceTests):
    """
    Where others accept, Twisted's transports wait for their turn, too.
    """

    gather = None

    def makeReactor(self) -> HandReactor:
        """
        See L{ListeningCase}.
        """
        return StockReactor()

    def cut(self) -> None:
        """
        See L{ListeningCase}.
        """
        for reader in list(self.reactor.readers):
            reader.connectionLost(Failure(ConnectionLost()))

    def test_transport(self) -> None:
        """
        The transports are theirs, and nothing of a connection stays with the port.
        """
        client = self.connect(self.name(self.port))
        self.assertEqual(self.read(), 1)
        (protocol,) = self.factory.made
        self.assertIsInstance(protocol.transport, Server)
        client.send(b"hello")
        self.reactor.settle()
        self.assertEqual(protocol.received, [b"hello"])
        self.cut()
        self.assertEqual(client.recv(1), b"")

    def test_unix(self) -> None:
        """
        Sockets of Unix, too.
        """
        path = str(Path("/tmp") / f"cmanager-{os.getpid()}-{id(self)}")  # a short one
        self.addCleanup(os.unlink, path)
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path)
            opened.listen()
            port = self.listening.adoptStreamPort(opened.fileno(), socket.AF_UNIX, self.factory)
        self.addCleanup(port.stopListening)
        client = self.connect(path, socket.AF_UNIX)
        client.send(b"hello")
        self.reactor.settle()
        self.assertEqual(self.factory.made[0].received, [b"hello"])

    def test_refused(self) -> None:
        """
        A client for whom the factory makes nothing is closed, and so is one for whom it
        fails.
        """
        assert self.other.balance is not None
        self.other.balance.end()
        self.refuse(self.name(self.port))

    def test_refusedGone(self) -> None:
        """
        That it is gone by then does no harm.
        """
        assert isinstance(self.reactor, StockReactor)
        self.reactor.fails = ValueError("a bug")
        client = self.connect(self.name(self.port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.read()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertIn(self.port, self.reactor.readers)

    def test_exhausted(self) -> None:
        """
        Without a file for one more, none is accepted for a while; one that is gone already
        concerns nobody.
        """
        assert isinstance(self.reactor, StockReactor)
        for number, pauses in ((errno.ENOTCONN, 0), (errno.EMFILE, 1)):
            self.reactor.fails = OSError(number, "failed")
            self.connect(self.name(self.port))
            self.read()
            self.assertEqual(len(self.reactor.getDelayedCalls()), pauses)
        self.assertNotIn(self.port, self.reactor.readers)


class ChoiceTests(SynchronousTestCase):
    """
    Whose transports it is.
    """

    def test_choice(self) -> None:
        """
        Ours, unless the listener wants Twisted's; our port also with those, where there are
        others to wait for.
        """
        reactor = HandReactor()
        hub: Any = SimpleNamespace(turn=Turn(reactor), share=Share())
        for transport, isOwn in ((Transports.OWN, True), (Transports.TWISTED, False)):
            settings = ListenerSettings("tcp", "tcp:1", transport=transport)
            found = listening(reactor, settings, hub)
            self.assertEqual(isinstance(found, Listening), isOwn)
            self.assertEqual(found is reactor, not isOwn)
            balance: Any = object()
            shared: Any = SimpleNamespace(turn=Turn(reactor), share=Share(balance=balance))
            found = listening(reactor, settings, shared)
            self.assertIs(found._balance, balance)
            self.assertEqual(found._gather is None, not isOwn)
