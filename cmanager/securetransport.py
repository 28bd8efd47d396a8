# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client's connection with TLS in it, as Twisted's protocols know that.  Layer 4; knows
nothing of what it carries.

Whoever has it need not know of TLS, nor give up knowing what the kernel has taken: it is
a L{Sink <cmanager.sinks.Sink>}, as the one without.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IHandshakeListener,
    INegotiated,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    ISystemHandle,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from cmanager import openssl
from cmanager.records import SocketRecords
from cmanager.transport import SocketTransport

if TYPE_CHECKING:
    from OpenSSL.crypto import X509

    from cmanager.poller import Poller

Connect = Callable[[socket.socket, IProtocol], SSL.Connection]
"""
Makes the server's end of TLS on a socket, for a protocol.
"""


@implementer(INegotiated, ISystemHandle)
class SecureTransport(SocketTransport):
    """
    One accepted connection whose client speaks TLS from the first byte.

    It has no half: as with Twisted's own, what the peer ends is over for us too, behind
    what has been written, and our end of writing is that of reading.  Unlike those it does
    not wait for the peer's word once it has said its own: nothing would bound that.  Where
    sending has failed it reads no more.

    What is written before the handshake waits for it; one that does not come to its end is
    the protocol's to cut off.

    @param connect: Makes the connection.
    """

    __slots__ = ("_records",)

    def __init__(
        self,
        sock: socket.socket,
        peer: Any,
        protocol: IProtocol,
        poller: Poller,
        reactor: Any,
        *,
        connect: Connect,
    ) -> None:
        self._records: SocketRecords | None = SocketRecords(connect(sock, protocol), self)
        super().__init__(sock, peer, protocol, poller, reactor)

    # What is known of it

    def getHandle(self) -> SSL.Connection | None:
        """
        See L{ISystemHandle}: where L{twisted.internet.ssl.Certificate} finds certificates.
        """
        return self._records.connection if self._records is not None else None

    def getPeerCertificate(self) -> X509 | None:
        """
        See L{ISSLTransport <twisted.internet.interfaces.ISSLTransport>}.
        """
        handle = self.getHandle()
        return handle.get_peer_certificate() if handle is not None else None

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """
        See L{INegotiated}.
        """
        return (self._records is not None and self._records.protocol) or None

    # Reading

    def _read(self, sock: socket.socket, offered: object) -> None:
        records = self._records
        assert records is not None, "as long as there is a socket"
        wasEstablished = records.established
        plain = records.receive(b"")
        if plain:
            self.protocol.dataReceived(plain)
        elif records.established and not wasEstablished:
            self._shaken()
        elif records.ended:
            self._peerEnded()
        else:
            self._endIfFailed(records)

    def _shaken(self) -> None:
        if self.disconnecting:
            self.pauseProducing()
        if IHandshakeListener.providedBy(self.protocol):
            self.protocol.handshakeCompleted()
        self.doWrite()

    def _peerEnded(self) -> None:
        producer = self._producer
        if producer is not None:
            self.unregisterProducer()
            producer.stopProducing()
        self.loseConnection()

    def ended(self) -> None:
        """
        For whoever reads: the peer sends no more.  It has not said so in TLS, so that
        something may be missing.
        """
        self.broke(EOFError("it ends without a word"))

    @property
    def _isClean(self) -> bool:
        return self.disconnecting and super()._isClean

    def offer(self, offered: Callable[[bytes], int] | None) -> None:
        """
        Nobody else could read on: what has come is received.
        """

    def handOver(self) -> None:
        """
        Likewise.

        @return: L{None}, as if the connection were lost.
        """

    # Writing

    @property
    def holds(self) -> bool:  # type: ignore[override]  # nobody sets it
        """
        See L{Sink <cmanager.sinks.Sink>}.
        """
        return self._records is not None and self._records.holds

    def write(self, data: bytes) -> None:
        """
        See L{ITransport <twisted.internet.interfaces.ITransport>}.
        """
        if not self._isWriteClosing:
            super().write(data)

    def send(self, data: bytes | memoryview) -> int:
        """
        See L{Sink <cmanager.sinks.Sink>}.  What was not taken has to be offered again as
        it is, though more may follow it, and nothing written by other means.
        """
        isClosed = self.socket is None or self.isWriteClosed or self._isWriteClosing
        if isClosed or self._buffer:
            self.ask()
            return 0
        return self._encrypt(data)

    def _flush(self, sock: socket.socket) -> None:
        taken = self._encrypt(self._buffer)
        self._buffer = self._buffer[taken:]

    def _encrypt(self, data: bytes | memoryview) -> int:
        records = self._records
        assert records is not None, "as long as there is a socket"
        taken = records.send(data)
        self._endIfFailed(records)
        return taken

    @property
    def _wantsRoom(self) -> bool:
        return self._isShaken and super()._wantsRoom

    @property
    def _isShaken(self) -> bool:
        return self._records is not None and self._records.established

    # The end

    def _endIfFailed(self, records: SocketRecords) -> None:
        """
        End it where TLS has failed.  OpenSSL has told the peer.
        """
        if records.error is None:
            return
        self._reason = self._reason or Failure(records.error)
        self.disconnecting = self.isWriteClosed = True
        self._buffer = b""
        self._closeIfAsked()

    def loseConnection(self) -> None:
        """
        See L{ITransport <twisted.internet.interfaces.ITransport>}.
        """
        super().loseConnection()
        if not (self._isShaken or self._isAllWritten):
            # What was written waits for what the peer has to say.
            self._isReading = True
            self._watch()

    def loseWriteConnection(self) -> None:
        """
        See L{ITCPTransport <twisted.internet.interfaces.ITCPTransport>}.
        """
        self.loseConnection()

    def _close(self) -> None:
        records = self._records
        if records is None or self.isWriteClosed or not self._isAllWritten or records.close():
            super()._close()
        else:
            # It waits for room to say so, and nothing can follow that.
            self._isWriteClosing = True
            self.release()
            self.ask()

    def _lose(self, reason: Failure) -> None:
        try:
            super()._lose(reason)
        finally:
            self._records = None


def connectionsOf(contextFactory: Any, factory: IProtocolFactory, clock: IReactorTime) -> Connect:
    """
    Return what makes the connections that a context factory describes, of any kind that
    Twisted takes.

    @param factory: Makes the protocols.
    @raise Exception: Whatever a context factory raises that has no context to offer.
    """
    wrapping = TLSMemoryBIOFactory(contextFactory, False, factory, clock)

    def connect(sock: socket.socket, protocol: IProtocol) -> SSL.Connection:
        # What context factories are told of whom it is for; it is never connected.
        wrapper = TLSMemoryBIOProtocol(wrapping, protocol)
        if IOpenSSLServerConnectionCreator.providedBy(contextFactory):
            connection = contextFactory.serverConnectionForTLS(wrapper)
            openssl.move(connection, sock)
        else:
            connection = SSL.Connection(contextFactory.getContext(), sock)
        connection.set_app_data(wrapper)
        return connection

    return connect
