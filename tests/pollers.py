# Copyright the cmanager authors.
# See LICENSE for details.

"""
Connections of our own transports, and a reactor for them that runs by hand.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from cmanager.poller import Poller
from cmanager.transport import SocketTransport
from cmanager.turn import Turn


class HandReactor(Clock):
    """
    Knows the time, and what is to be read, and looks when it is told to.

    @ivar readers: Whoever has been added.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        """
        See L{IReactorFDSet}.
        """
        assert reader not in self.readers, "added twice"
        assert reader.fileno() >= 0, "it has no file"
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """
        See L{IReactorFDSet}.
        """
        assert reader.fileno() >= 0, "its file is gone"
        if reader in self.readers:
            self.readers.remove(reader)

    def turn(self) -> bool:
        """
        Do what is due, and have those read that can.

        @return: There were any.
        """
        self.advance(0)
        ready = self.ready()
        for reader in ready:
            if reader in self.readers:
                reader.doRead()
        self.advance(0)
        return bool(ready)

    def ready(self) -> list[Any]:
        """
        Return whoever has something to read.
        """
        by = {reader.fileno(): reader for reader in self.readers}
        return [by[number] for number in select.select(list(by), [], [], 0)[0]]

    def settle(self, most: int = 10000) -> None:
        """
        Take turns until nothing is to be done any more.

        @param most: More turns than anything takes that does not spin.
        """
        for _ in range(most):
            if not self.turn():
                return
        raise AssertionError("it spins")


def pollerOn(reactor: HandReactor) -> Poller:
    """
    Return one that looks whenever anything is ready.
    """
    return Poller(reactor, 0, Turn(reactor))


def connected(family: int = socket.AF_INET) -> tuple[socket.socket, socket.socket]:
    """
    Return both ends of a connection, which do not block: of TCP over the loopback
    interface, or of C{AF_UNIX}.
    """
    if family == socket.AF_UNIX:
        ends = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            ends = listening.accept()[0], client
    for end in ends:
        end.setblocking(False)
    return ends


class Recorder(Protocol):
    """
    Writes down what happens to it.

    @ivar events: What it was told, data excepted.
    @ivar received: Data, as it came.
    @ivar does: What it does when told so.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received: list[bytes] = []
        self.does: dict[str, Callable[[], object]] = {}
        self.reason: Any = None

    def tell(self, what: str) -> None:
        """
        Write it down, and do what is to be done.
        """
        self.events.append(what)
        self.does.get(what, lambda: None)()

    def connectionMade(self) -> None:
        """
        See L{IProtocol}.
        """
        self.tell("made")

    def dataReceived(self, data: bytes) -> None:
        """
        See L{IProtocol}.
        """
        self.received.append(data)
        self.does.get("data", lambda: None)()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        """
        See L{IProtocol}.
        """
        self.reason = reason
        self.tell("lost")


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """
    One that outlives either direction.
    """

    def readConnectionLost(self) -> None:
        """
        See L{IHalfCloseableProtocol}.
        """
        self.tell("read lost")

    def writeConnectionLost(self) -> None:
        """
        See L{IHalfCloseableProtocol}.
        """
        self.tell("write lost")


class Far:
    """
    The other end of a connection.

    @ivar received: What it has read.
    @ivar ended: It has read the end, or L{None}; or an error, and that is it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.received = b""
        self.ended: Any = None

    def read(self, most: int = 1 << 30) -> bytes:
        """
        Read what there is.
        """
        start = len(self.received)
        while self.ended is None and len(self.received) - start < most:
            try:
                data = self.socket.recv(min(65536, most))
            except BlockingIOError:
                break
            except OSError as error:
                self.ended = error
                break
            self.received += data
            if not data:
                self.ended = True
        return self.received[start:]

    def fill(self) -> int:
        """
        Send until no more is taken; return how much that was.
        """
        size = 0
        while taken := self.send(b"." * 65536):
            size += taken
        return size

    def send(self, data: bytes) -> int:
        """
        Send what is taken; return how much that was.
        """
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0

    def shut(self) -> None:
        """
        Send no more.
        """
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """
        Go with a reset.
        """
        if self.socket.fileno() < 0:
            return
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class TransportCase(SynchronousTestCase):
    """
    A transport on a real connection, a reactor that runs by hand, and the other end.
    """

    family: int = socket.AF_INET
    kind: type[Recorder] = Recorder

    def setUp(self) -> None:
        self.reactor = HandReactor()
        self.poller = pollerOn(self.reactor)
        self.transport: Any = None
        self.addCleanup(self.cut)
        self.connect()

    def connect(self, kind: type[Recorder] | None = None) -> None:
        """
        Connect, instead of what has been.
        """
        self.cut()
        sock, far = connected(self.family)
        self.far = Far(far)
        self.protocol = (kind or self.kind)()
        peer = "" if self.family == socket.AF_UNIX else far.getsockname()
        self.transport = self.transportOn(sock, peer)
        self.protocol.makeConnection(self.transport)

    def transportOn(self, sock: socket.socket, peer: Any) -> SocketTransport:
        """
        Make the transport.
        """
        return SocketTransport(sock, peer, self.protocol, self.poller, self.reactor)

    def cut(self) -> None:
        """
        Close both ends.
        """
        if self.transport is not None:
            self.far.socket.close()
            self.transport.abortConnection()
            self.reactor.turn()

    def settle(self) -> None:
        """
        Let happen what does.
        """
        self.reactor.settle()

    def pump(self) -> None:
        """
        Let happen what does while the other end reads.
        """
        while self.far.read() or self.reactor.turn():
            pass

    def assertLost(self, kind: type[Exception]) -> None:
        """
        The protocol has heard that the connection is lost, once, and nothing is left.
        """
        self.assertEqual(self.protocol.events.count("lost"), 1)
        self.assertIs(self.protocol.reason.type, kind)
        self.assertEqual(self.protocol.events[-1], "lost")
        self.assertIs(self.transport.socket, None)
        self.assertFalse(self.transport.connected)
        self.assertEqual((len(self.poller), self.reactor.readers), (0, []))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
