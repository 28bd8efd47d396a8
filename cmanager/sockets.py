# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a socket tells of itself, in Twisted's terms.  Layer 4; reads and writes nothing.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress


class Socket:
    """
    One connection.

    @param peer: As C{accept} has told.
    @ivar socket: L{None} once it is lost.
    """

    __slots__ = ("_peer", "socket")

    def __init__(self, sock: socket.socket, peer: Any) -> None:
        self.socket: socket.socket | None = sock
        self._peer = peer

    def getPeer(self) -> Any:  # a Unix socket has none of the kinds that ITCPTransport knows
        """
        See L{ITransport <twisted.internet.interfaces.ITransport>}.
        """
        return addressOf(self._peer)

    def getHost(self) -> Any:  # likewise
        """
        See L{ITransport <twisted.internet.interfaces.ITransport>}.  Of a connection that is
        lost nothing is known.
        """
        return addressOf(self.socket.getsockname() if self.socket is not None else None)

    def getHandle(self) -> Any:  # TLS has another
        """
        Return the socket.
        """
        return self.socket

    def getTcpNoDelay(self) -> bool:
        """
        See L{ITCPTransport}.
        """
        return self._option(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        See L{ITCPTransport}.
        """
        self._setOption(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """
        See L{ITCPTransport}.
        """
        return self._option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """
        See L{ITCPTransport}.
        """
        self._setOption(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def _option(self, level: int, name: int) -> bool:
        return self.socket is not None and bool(self.socket.getsockopt(level, name))

    def _setOption(self, level: int, name: int, enabled: bool) -> None:
        # The peer may be gone by now.
        with suppress(OSError):
            if self.socket is not None:
                self.socket.setsockopt(level, name, enabled)


def addressOf(name: Any) -> IAddress:
    """
    Return what a socket's name says.
    """
    if not isinstance(name, tuple):
        return UNIXAddress(name or None)
    return (IPv4Address if len(name) == 2 else IPv6Address)("TCP", *name)
