# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.listening}.
"""

from __future__ import annotations

import errno
import os
import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReadDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
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
from cmanager.settings import ListenerSettings, Transports
from cmanager.turn import Turn


class Reactor(Clock):
    """
    A reactor that is asked to read, and does so when a test says.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        """
        See L{IReactorFDSet <twisted.internet.interfaces.IReactorFDSet>}.
        """
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """
        See L{IReactorFDSet <twisted.internet.interfaces.IReactorFDSet>}.
        """
        if reader in self.readers:
            self.readers.remove(reader)


class Clients(Factory):
    """
    Keeps what it makes.

    @ivar mood: What it does instead, once.
    """

    noisy = False

    def __init__(self) -> None:
        self.made: list[Protocol] = []
        self.mood = ""

    def buildProtocol(self, addr: Any) -> Protocol | None:
        """
        See L{Factory.buildProtocol}.
        """
        mood, self.mood = self.mood, ""
        if mood == "refuse":
            return None
        if mood == "break":
            raise ZeroDivisionError
        self.made.append(Protocol())
        return self.made[-1]


class FullSocket:
    """
    One whose process has no file left.
    """

    def __init__(self) -> None:
        self.asked = 0

    def accept(self) -> Any:
        """
        Fail.
        """
        self.asked += 1
        raise OSError(errno.EMFILE, "too many")

    def close(self) -> None:
        """
        See L{socket.socket.close}.
        """


class PortCase(SynchronousTestCase):
    """
    A port on the loopback, read when a test says.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.factory = Clients()
        self.listening = Listening(self.reactor, 0.0, Turn(self.reactor))
        self.port = self.listening.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    def connect(self, count: int = 1) -> None:
        """
        Have so many clients connect.
        """
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", self.port.getHost().port))
            self.addCleanup(client.close)

    def tearDown(self) -> None:
        for protocol in self.factory.made:
            if protocol.transport is not None:
                protocol.transport.abortConnection()
        self.reactor.advance(0)


class PortTests(PortCase):
    """
    A port accepts who comes.
    """

    def test_interfaces(self) -> None:
        """
        It is what Twisted takes for a port.
        """
        verifyObject(IListeningPort, self.port)
        verifyObject(IReadDescriptor, self.port)
        self.assertEqual(self.port.logPrefix(), "listener")

    def test_accepts(self) -> None:
        """
        Each gets a protocol with a transport to its address.
        """
        self.connect(2)
        self.port.doRead()
        self.assertEqual(len(self.factory.made), 2)
        for protocol in self.factory.made:
            self.assertEqual(protocol.transport.getPeer().host, "127.0.0.1")
            self.assertEqual(protocol.transport.getHost(), self.port.getHost())

    def test_nobody(self) -> None:
        """
        Another process may have been faster.
        """
        self.port.doRead()
        self.assertEqual(self.factory.made, [])

    def test_atOnce(self) -> None:
        """
        Others have their turn after so many.
        """
        self.connect(ACCEPTED_AT_ONCE + 1)
        self.port.doRead()
        self.assertEqual(len(self.factory.made), ACCEPTED_AT_ONCE)
        self.port.doRead()
        self.assertEqual(len(self.factory.made), ACCEPTED_AT_ONCE + 1)

    def test_refused(self) -> None:
        """
        A client that gets no protocol, for whatever reason, is closed, and no other.
        """
        for mood, errors in (("refuse", 0), ("break", 1)):
            self.factory.mood = mood
            self.connect(2)
            self.port.doRead()
            self.assertEqual(len(self.factory.made), 1)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), errors)
            self.factory.made.pop().transport.abortConnection()  # type: ignore[union-attr]

    def test_connectionMade(self) -> None:
        """
        One whose protocol breaks at once is closed.
        """

        def broken(addr: Any) -> Protocol:
            protocol = Protocol()
            self.patch(protocol, "connectionMade", lambda: 1 / 0)
            self.factory.made.append(protocol)
            return protocol

        self.patch(self.factory, "buildProtocol", broken)
        self.connect()
        self.port.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(self.factory.made[0].transport.connected)  # type: ignore[union-attr]

    def test_stop(self) -> None:
        """
        Nobody is accepted behind the end, and who has been stays.
        """
        self.connect()
        self.port.doRead()
        self.successResultOf(self.port.stopListening())
        self.successResultOf(self.port.stopListening())
        self.assertNotIn(self.port, self.reactor.readers)
        self.port.doRead()
        self.assertTrue(self.factory.made[0].transport.connected)  # type: ignore[union-attr]


class BalanceTests(PortCase):
    """
    Where others accept from the same socket each waits for its turn.
    """

    def setUp(self) -> None:
        super().setUp()
        shared = os.memfd_create("commons")
        self.addCleanup(os.close, shared)
        commons = Commons(shared, 2, 100)
        ours, self.other = (commons.join(slot) for slot in range(2))
        self.room = ours.room
        assert self.other.balance is not None
        self.other.balance.begin()
        self.listening = Listening(self.reactor, 0.0, Turn(self.reactor), ours.balance)
        self.port.stopListening()
        self.port = self.listening.listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
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
        self.connect(3)
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
        self.connect(2)
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
        self.connect(3)
        self.assertEqual(self.read(), 3)

    def test_stop(self) -> None:
        """
        When it listens no more nobody waits for it.
        """
        self.connect(2)
        self.read()
        self.port.stopListening()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        assert self.other.balance is not None
        for _ in range(5):
            self.assertTrue(self.other.balance.isOurs())
            self.other.room.take(1000)


class ExhaustedTests(SynchronousTestCase):
    """
    Where the process can take no more, clients wait.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.socket = FullSocket()
        poller = Poller(self.reactor, 0.0, Turn(self.reactor))
        self.port = Port(self.socket, Clients(), self.reactor, poller)  # type: ignore[arg-type]  # a double
        self.port.startListening()

    def test_pause(self) -> None:
        """
        It does not try again before some time has passed.
        """
        self.port.doRead()
        self.assertEqual((self.reactor.readers, self.socket.asked), ([], 1))
        self.port.doRead()
        self.assertEqual(self.socket.asked, 1)
        self.reactor.advance(PAUSE_SECONDS)
        self.assertEqual(self.reactor.readers, [self.port])
        self.port.doRead()
        self.assertEqual(self.socket.asked, 2)

    def test_stop(self) -> None:
        """
        It may end meanwhile.
        """
        self.port.doRead()
        self.port.stopListening()
        self.reactor.advance(PAUSE_SECONDS)
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))


class EndpointTests(SynchronousTestCase):
    """
    Endpoints listen with our ports, wherever that is by TCP.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.where = Listening(self.reactor, 0.0, Turn(self.reactor))

    def listen(self, text: str) -> Any:
        """
        Listen on an endpoint.
        """
        port = self.successResultOf(serverFromString(self.where, text).listen(Clients()))
        self.addCleanup(port.stopListening)
        return port

    def test_tcp(self) -> None:
        """
        By IPv4, and by IPv6.
        """
        for text, host in (
            ("tcp:0", "0.0.0.0"),
            (r"tcp:0:interface=127.0.0.1", "127.0.0.1"),
            (r"tcp6:0:interface=\:\:1", "::1"),
        ):
            port = self.listen(text)
            self.assertIsInstance(port, Port)
            self.assertEqual(port.getHost().host, host)

    def test_backlog(self) -> None:
        """
        An endpoint cannot ask for fewer that wait than L{BACKLOG}.
        """
        asked: list[int] = []
        listen = socket.socket.listen

        def noted(sock: socket.socket, backlog: int) -> None:
            asked.append(backlog)
            listen(sock, backlog)

        self.patch(socket.socket, "listen", noted)
        self.listen("tcp:0")
        self.listen(f"tcp:0:backlog={BACKLOG + 1}")
        self.assertEqual(asked, [BACKLOG, BACKLOG + 1])

    def test_adopted(self) -> None:
        """
        On a socket of systemd's, or of another process.
        """
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = self.where.adoptStreamPort(sock.fileno(), socket.AF_INET, Clients())
            self.addCleanup(port.stopListening)
            self.assertEqual(port.getHost().port, sock.getsockname()[1])

    def test_inUse(self) -> None:
        """
        What cannot be is an error of Twisted's.
        """
        port = self.listen("tcp:0:interface=127.0.0.1").getHost().port
        endpoint = serverFromString(self.where, f"tcp:{port}:interface=127.0.0.1")
        self.failureResultOf(endpoint.listen(Clients()), CannotListenError)

    def test_others(self) -> None:
        """
        All else is the reactor's.
        """
        reactor = MemoryReactorClock()
        where = Listening(reactor, 0.0, Turn(reactor))
        serverFromString(where, "unix:/somewhere").listen(Clients())
        self.assertEqual(reactor.unixServers[0][0], "/somewhere")

    def test_chosen(self) -> None:
        """
        A listener may want Twisted's transports.
        """
        hub: Any = SimpleNamespace(turn=Turn(self.reactor), share=Share())
        own = ListenerSettings("tcp", "tcp:0")
        self.assertIsInstance(listening(self.reactor, own, hub), Listening)
        stock = ListenerSettings("tcp", "tcp:0", transport=Transports.TWISTED)
        self.assertIs(listening(self.reactor, stock, hub), self.reactor)
