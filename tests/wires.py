# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a client's connection is in tests: one in memory, or one of our own on a real socket.
Whoever uses them need not know which.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from cmanager.securetransport import SecureTransport, connectionsOf
from cmanager.transport import SocketTransport
from tests.pollers import Far, HandReactor, connected, pollerOn

CLIENT = IPv4Address("TCP", "192.0.2.1", 5000)


class Transport(StringTransport):
    """
    A transport in memory that has an address, and notes its end.

    @ivar isFull: From the next write on.
    @ivar aborted: It has been.
    @ivar isLost: It has gone by itself.
    """

    aborted = False
    isFull = False
    isLost = False

    @property
    def real(self) -> Any:
        """
        What protocols know.
        """
        return self

    def __init__(self, peer: Any = None) -> None:
        super().__init__(peerAddress=peer or CLIENT)

    def connect(self, protocol: Any) -> None:
        """
        Connect C{protocol} to it.
        """
        self.protocol = protocol
        protocol.makeConnection(self)

    def remove(self) -> None:
        """
        Leave nothing behind.
        """

    def arrive(self, data: bytes) -> None:
        """
        Let bytes come over the wire.
        """
        self.protocol.dataReceived(data)

    def lose(self) -> None:
        """
        Lose the connection.
        """
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def write(self, data: bytes) -> None:
        """
        Take it, and say if that was too much.
        """
        super().write(data)
        if self.isFull:
            self.producer.pauseProducing()

    def abortConnection(self) -> None:
        """
        Note it.
        """
        self.aborted = True


class StockWire(Transport):
    """
    The same with Twisted's own TLS in between.
    """

    def __init__(
        self, clock: HandReactor, peer: Any, contextFactory: Any, factory: Factory
    ) -> None:
        super().__init__(peer)
        self._clock = clock
        self._tls = TLSMemoryBIOFactory(contextFactory, False, factory, clock)

    def connect(self, protocol: Any) -> None:
        """
        Connect C{protocol} to it.
        """
        super().connect(self._tls.protocol(self._tls, protocol))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        See L{ITCPTransport}, which all of Twisted's that have TLS in them are.
        """

    setTcpKeepAlive = setTcpNoDelay

    def value(self) -> bytes:
        """
        Return what has been sent, now that it has been.
        """
        self._clock.advance(0)
        return super().value()


class Noting(SocketTransport):
    """
    One of ours that notes what is asked of it.
    """

    isRead = True
    aborted = False

    def pauseProducing(self) -> None:
        """
        Note it.
        """
        self.isRead = False
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """
        Note it.
        """
        self.isRead = True
        super().resumeProducing()

    def abortConnection(self) -> None:
        """
        Note it.
        """
        self.aborted = True
        super().abortConnection()


class SecureNoting(Noting, SecureTransport):
    """
    One with TLS in it.
    """


class SocketWire:
    """
    The same over a Unix socket.  Nothing happens but upon what the test does, and all of it:
    whatever would go on for ever fails.

    @ivar real: What protocols know.
    """

    def __init__(self, clock: HandReactor, peer: Any = None) -> None:
        self._clock = clock
        self._peer = peer or CLIENT
        self._got = b""
        self._ballast = 0

    def connect(self, protocol: IProtocol) -> None:
        """
        See L{Transport}.
        """
        sock, far = connected(socket.AF_UNIX)
        self.far = Far(far)
        self._sock = sock
        poller = pollerOn(self._clock)
        self.real = self.make(sock, _name(self._peer), protocol, poller, self._clock)
        protocol.makeConnection(self.real)
        self._clock.settle()

    def make(self, *args: Any) -> Noting:
        """
        Make the transport.
        """
        return Noting(*args)

    def remove(self) -> None:
        """
        See L{Transport}.
        """
        self.far.socket.close()
        self.real.failed(Failure(ConnectionDone()))

    def arrive(self, data: bytes) -> None:
        """
        See L{Transport}.
        """
        while data and self.real.socket is not None:
            taken = self.far.send(data)
            data = data[taken:]
            self._clock.settle()
            assert taken or not data, "it is not read"

    def lose(self) -> None:
        """
        See L{Transport}.
        """
        self.far.socket.close()
        self.real.failed(Failure(ConnectionDone()))

    def value(self) -> bytes:
        """
        Return what has come to the other end, since the last L{clear}.
        """
        while not self._ballast:
            self._clock.settle()
            got = self.far.read()
            self._got += got
            if not got:
                break
        return self._got

    def clear(self) -> None:
        """
        Forget it.
        """
        self._got = b""

    @property
    def isFull(self) -> bool:
        """
        The other end does not read, and the kernel takes no more.
        """
        return self._ballast > 0

    @isFull.setter
    def isFull(self, isFull: bool) -> None:
        if isFull == self.isFull:
            return
        if isFull:
            self.value()
            while taken := _send(self._sock, b"\0" * 65536):
                self._ballast += taken
        else:
            while self._ballast:
                self._ballast -= len(self.far.read(self._ballast))

    @property
    def producer(self) -> SocketWire:
        """
        Whoever is asked to produce.
        """
        return self

    def resumeProducing(self) -> None:
        """
        Let there be room again.
        """
        self.isFull = False
        self.value()

    def pauseProducing(self) -> None:
        """
        Let there be no more.
        """
        self.isFull = True

    @property
    def producerState(self) -> str:
        """
        Whether it reads.
        """
        return "producing" if self.real.isRead else "paused"

    @property
    def disconnecting(self) -> bool:
        """
        It has been told to close.
        """
        return self.real.disconnecting

    @property
    def isLost(self) -> bool:
        """
        It has gone.
        """
        return self.real.socket is None

    @property
    def aborted(self) -> bool:
        """
        It was reset.
        """
        return self.real.aborted


class SecureWire(SocketWire):
    """
    The same with TLS in it.
    """

    def __init__(
        self, clock: HandReactor, peer: Any, contextFactory: Any, factory: Factory
    ) -> None:
        super().__init__(clock, peer)
        self._connect = connectionsOf(contextFactory, factory, clock)

    def make(self, *args: Any) -> Noting:
        """
        Make the transport.
        """
        return SecureNoting(*args, connect=self._connect)


def _send(sock: socket.socket, data: bytes) -> int:
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0


def _name(peer: Any) -> Any:
    if isinstance(peer, IPv4Address):
        return peer.host, peer.port
    if isinstance(peer, IPv6Address):
        return peer.host, peer.port, 0, 0
    return peer.name or ""
