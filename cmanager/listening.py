# Copyright the cmanager authors.
# See LICENSE for details.

"""
Where clients are accepted: Twisted's endpoints with our own transports behind them, or
with Twisted's where several processes accept.  Layer 4; knows nothing of what clients speak.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IReadDescriptor
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cmanager.poller import Poller, isAvailable
from cmanager.securetransport import SecureTransport, connectionsOf
from cmanager.settings import Transports
from cmanager.sockets import addressOf
from cmanager.transport import SocketTransport

if TYPE_CHECKING:
    from cmanager.commons import Balance
    from cmanager.router import Router
    from cmanager.settings import ListenerSettings
    from cmanager.turn import Turn

BACKLOG = 1024
"""
Connections that may wait to be accepted, where an endpoint asks for fewer.
"""

ACCEPTED_AT_ONCE = 64
"""
Connections accepted before the reactor has its turn.
"""

PAUSE_SECONDS = 1.0
"""
How long none is accepted where the process or the machine can take no more.
"""

YIELD_SECONDS = 0.01
"""
How long clients are left to another process whose turn it is.  Who is too busy loses it.
"""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC)


@implementer(IListeningPort, IReadDescriptor)
class Port:
    """
    A socket that clients connect to.

    @param sock: It listens, and does not block.  Other processes may accept from it, too.
    @param reactor: L{IReactorFDSet <twisted.internet.interfaces.IReactorFDSet>} and
        L{IReactorTime <twisted.internet.interfaces.IReactorTime>}.
    @param poller: L{None}: Twisted's transports take the connections.
    @param balance: Between those processes.
    @param make: Makes the transports.
    """

    log = Logger()

    def __init__(
        self,
        sock: socket.socket,
        factory: Factory,
        reactor: Any,
        poller: Poller | None,
        balance: Balance | None = None,
        *,
        make: Callable[..., SocketTransport] = SocketTransport,
    ) -> None:
        self._socket = sock
        self._make = make
        self._balance = balance
        self._factory = factory
        self._reactor = reactor
        self._poller = poller
        self._isListening = False
        self._pause: Any = None  # IDelayedCall

    def startListening(self) -> None:
        """
        See L{IListeningPort}.
        """
        self._factory.doStart()
        self._isListening = True
        if self._balance is not None:
            self._balance.begin()
        self._reactor.addReader(self)

    def stopListening(self) -> Deferred[None]:
        """
        See L{IListeningPort}.  Connections stay.
        """
        if self._isListening:
            self._isListening = False
            if self._balance is not None:
                self._balance.end()
            if self._pause is not None:
                self._pause.cancel()
            else:
                self._reactor.removeReader(self)
            self._socket.close()
            self._factory.doStop()
        return succeed(None)

    def getHost(self) -> IAddress:
        """
        See L{IListeningPort}.
        """
        return addressOf(self._socket.getsockname())

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return self._socket.fileno()

    def doRead(self) -> None:
        """
        See L{IReadDescriptor}: somebody has connected.
        """
        for _ in range(ACCEPTED_AT_ONCE):
            if not self._isListening or self._pause is not None:
                return
            if self._balance is not None and not self._balance.isOurs():
                self._rest(YIELD_SECONDS, self._takeOver)
                return
            if not self._accept():
                return

    def _accept(self) -> bool:
        """
        Accept one, if there is one.
        """
        try:
            sock, peer = self._socket.accept()
        except OSError as error:
            # Others have to do with that one: it is gone, or another process has it.
            if error.errno in _EXHAUSTED:
                self._exhausted(error)
            return False
        sock.setblocking(False)
        self._connected(sock, peer)
        return True

    def _connected(self, sock: socket.socket, peer: Any) -> None:
        if self._poller is None:
            self._adopted(sock)
            return
        try:
            protocol = self._factory.buildProtocol(addressOf(peer))
        except Exception:  # noqa: BLE001 - a bug must cost one client, not the listener
            self.log.failure("a client's connection failed")
            protocol = None
        if protocol is None:
            sock.close()
            return
        try:
            transport = self._make(sock, peer, protocol, self._poller, self._reactor)
        except Exception as error:  # noqa: BLE001 - likewise
            if isinstance(error, OSError):
                self._exhausted(error)
            else:
                self.log.failure("a client's connection failed")
            sock.close()
            return
        try:
            protocol.makeConnection(transport)
        except Exception:  # noqa: BLE001 - likewise
            self._poller.failed(transport, Failure())

    def _adopted(self, sock: socket.socket) -> None:
        # Who adopts it makes a descriptor of its own.
        with sock:
            try:
                self._reactor.adoptStreamConnection(sock.fileno(), sock.family, self._factory)
            except OSError as error:
                if error.errno != errno.ENOTCONN:  # it is gone
                    self._exhausted(error)
            except Exception:  # noqa: BLE001 - as above
                self.log.failure("a client's connection failed")
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _exhausted(self, error: OSError) -> None:
        if not self._isListening:
            return
        self.log.error(
            "clients cannot be accepted for {seconds:g} s: {why}",
            seconds=PAUSE_SECONDS,
            why=os.strerror(error.errno or 0),
        )
        self._rest(PAUSE_SECONDS, self._goOn)

    def _rest(self, seconds: float, then: Callable[[], None]) -> None:
        self._reactor.removeReader(self)
        self._pause = self._reactor.callLater(seconds, then)

    def _goOn(self) -> None:
        self._pause = None
        self._reactor.addReader(self)

    def _takeOver(self) -> None:
        """
        Accept one whom nobody else has accepted meanwhile.
        """
        self._goOn()
        self._accept()

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}: the reactor stops.
        """
        self.stopListening()

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return "listener"


class Listening:
    """
    What endpoints take for the reactor: it is that, except where they listen by TCP, in
    TLS or without.

    @param reactor: Also L{IReactorTCP <twisted.internet.interfaces.IReactorTCP>}.
    @param gather: See L{Poller}; L{None}: see L{Port}.
    @param turn: Likewise.
    @param balance: See L{Port}.
    """

    def __init__(
        self, reactor: Any, gather: float | None, turn: Turn, balance: Balance | None = None
    ) -> None:
        self._reactor = reactor
        self._gather = gather
        self._turn = turn
        self._balance = balance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: Factory, backlog: int = 50, interface: str = ""
    ) -> Port:
        """
        See L{IReactorTCP.listenTCP <twisted.internet.interfaces.IReactorTCP.listenTCP>}.
        """
        return self.accept(_bound(port, backlog, interface), factory)

    def listenSSL(
        self,
        port: int,
        factory: Factory,
        contextFactory: Any,
        backlog: int = 50,
        interface: str = "",
    ) -> Any:  # Twisted's own port, perhaps
        """
        See L{IReactorSSL.listenSSL <twisted.internet.interfaces.IReactorSSL.listenSSL>}.
        """
        if self._gather is None:
            return self._reactor.listenSSL(port, factory, contextFactory, backlog, interface)
        connect = connectionsOf(contextFactory, factory, self._reactor)
        make = partial(SecureTransport, connect=connect)
        return self.accept(_bound(port, backlog, interface), factory, make)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Factory) -> Port:
        """
        See L{IReactorSocket.adoptStreamPort
        <twisted.internet.interfaces.IReactorSocket.adoptStreamPort>}.
        """
        sock = socket.fromfd(fileDescriptor, addressFamily, socket.SOCK_STREAM)
        return self.accept(sock, factory)

    def accept(
        self,
        sock: socket.socket,
        factory: Factory,
        make: Callable[..., SocketTransport] = SocketTransport,
    ) -> Port:
        """
        Accept clients from a socket that listens.

        @param make: See L{Port}.
        """
        sock.setblocking(False)
        gather = self._gather
        poller = None if gather is None else Poller(self._reactor, gather, self._turn)
        port = Port(sock, factory, self._reactor, poller, self._balance, make=make)
        port.startListening()
        return port


def listening(reactor: Any, listener: ListenerSettings, hub: Router) -> Any:
    """
    Return what a listener's endpoint is to take for the reactor.
    """
    isOwn = listener.transport is Transports.OWN and isAvailable
    balance = hub.share.balance
    if not isOwn and balance is None:
        return reactor
    return Listening(reactor, listener.gather if isOwn else None, hub.turn, balance)


def _bound(port: int, backlog: int, interface: str) -> socket.socket:
    isIPv6 = isIPv6Address(interface)
    family = socket.AF_INET6 if isIPv6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(_resolved(interface, port, family))
        sock.listen(max(backlog, BACKLOG))
    except (OSError, OverflowError) as error:
        sock.close()
        raise CannotListenError(interface, port, error) from error
    return sock


def _resolved(interface: str, port: int, family: int) -> Any:
    if family != socket.AF_INET6:
        return (interface, port)
    flags = socket.AI_NUMERICHOST | socket.AI_PASSIVE  # for the scope
    return socket.getaddrinfo(interface, port, family, socket.SOCK_STREAM, flags=flags)[0][4]
