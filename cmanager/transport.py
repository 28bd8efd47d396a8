# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client's connection: a transport as Twisted's protocols know it, on a socket of its own.
Layer 4; knows nothing of what it carries.

What is written is offered to the kernel at once.  Whoever must know what the kernel has
taken uses it as a L{Sink <cmanager.sinks.Sink>} instead, and TLS is given the socket itself
(L{SocketTransport.handOver}); then no byte is copied from one buffer to the next, and an idle
client has none.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from cmanager.consumer import BUFFER_BYTES, Consumer
from cmanager.poller import READABLE, WRITABLE

if TYPE_CHECKING:
    from cmanager.poller import Poller

READ_BYTES = 16384
"""
What is read of one client at a time.
"""

_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a reset


@implementer(ITCPTransport, IConsumer, IPushProducer)
class SocketTransport(Consumer):
    """
    One accepted connection, of TCP or over a Unix socket.  It is read from the next turn on:
    until then its protocol can be connected.

    @param sock: Not blocking.  It is closed in the end.
    @param peer: As C{accept} has told.
    @param poller: Tells when there is something to do.
    @param reactor: L{IReactorTime <twisted.internet.interfaces.IReactorTime>}.
    @raise OSError: The poller cannot have one more.
    @ivar protocol: Who hears of it.
    @ivar connected: As long as it is there.
    @ivar disconnecting: It ends as soon as all is sent.
    @ivar holds: See L{Sink <cmanager.sinks.Sink>}.
    """

    __slots__ = (
        "_interests",
        "_isAborting",
        "_isHandedOver",
        "_isOver",
        "_isReadClosed",
        "_isReading",
        "_isWaiting",
        "_isWriteClosing",
        "_needsRoom",
        "_offered",
        "_poller",
        "_reactor",
        "_reason",
        "_writable",
        "connected",
        "disconnecting",
        "protocol",
    )

    holds = False

    def __init__(
        self, sock: socket.socket, peer: Any, protocol: IProtocol, poller: Poller, reactor: Any
    ) -> None:
        super().__init__(sock, peer)
        self.protocol: Any = protocol
        self.connected = True
        self.disconnecting = False
        self._poller = poller
        self._reactor = reactor
        self._isReading = True
        self._isHandedOver = False
        self._isWaiting = False  # somebody wants to hear when there is room
        self._needsRoom = False  # somebody cannot read before there is some
        self._isOver = False  # it is lost as soon as whoever reads returns
        self._isReadClosed = False  # the protocol goes on without what the peer does not send
        self._isWriteClosing = self._isAborting = False
        self._offered: Callable[[bytes], int] | None = None
        self._writable: Callable[[], object] | None = None
        self._reason: Failure | None = None  # why it ends
        self._interests = READABLE
        poller.add(sock.fileno(), self, READABLE)

    # Reading

    def doRead(self) -> None:
        """
        For the poller: there is something to read, or the end of it.
        """
        sock = self.socket
        if sock is None or not self._isReading:
            return
        if self._isHandedOver:
            self.protocol.dataReceived(b"")
        else:
            self._read(sock, self._offered)
        if self._isOver:
            self._lose(self._reason or Failure(ConnectionDone()))

    def _read(self, sock: socket.socket, offered: Callable[[bytes], int] | None) -> None:
        try:
            data = sock.recv(READ_BYTES, 0 if offered is None else socket.MSG_PEEK)
        except OSError as error:
            self.broke(error)
            return
        if not data:
            self.ended()
        elif offered is None:
            self.protocol.dataReceived(data)
        else:
            taken = offered(data)
            if taken and self.socket is sock:
                # If it is broken, the next time tells.
                with suppress(OSError):
                    sock.recv(taken)

    def hungUp(self) -> None:
        """
        For the poller: it is broken, or closed in both directions, and nobody reads.  What
        has come before can still be read.
        """
        sock = self.socket
        if sock is None:
            return
        try:
            isUnread = bool(sock.recv(1, socket.MSG_PEEK))
        except OSError as error:
            self.broke(error)
        else:
            self._isOver = self.disconnecting or not isUnread
        if self._isOver:
            kind = ConnectionDone if self._isClean else ConnectionLost
            self._lose(self._reason or Failure(kind()))

    @property
    def _isClean(self) -> bool:
        return not (self._buffer or self._isWaiting)

    def offer(self, offered: Callable[[bytes], int] | None) -> None:
        """
        Call C{offered} with what has come, instead of the protocol's C{dataReceived}, until
        told otherwise.  It returns how many bytes it takes, and is offered the others again.
        """
        self._offered = offered

    def handOver(self) -> socket.socket | None:
        """
        Let somebody else read and write from now on: C{dataReceived} is called, without
        any bytes, when there is something to be read.

        @return: L{None} if the connection is lost.
        """
        self._isHandedOver = True
        return self.socket

    def askToRead(self) -> None:
        """
        For whoever reads: reading needs room for an answer first.
        """
        self._needsRoom = True
        self._watch()

    def discard(self) -> None:
        """
        For whoever reads: what comes is of no use any more.
        """
        assert self.socket is not None, "whoever reads has looked"
        try:
            if not self.socket.recv(READ_BYTES):
                self.ended()
        except OSError as error:
            self.broke(error)

    def ended(self) -> None:
        """
        For whoever reads: the peer sends no more.
        """
        protocol = self.protocol
        if self._reason is None and IHalfCloseableProtocol.providedBy(protocol):
            self._isReadClosed = True
            self.pauseProducing()
            protocol.readConnectionLost()
        else:
            self._isOver = True

    def broke(self, error: Exception) -> None:
        """
        For whoever reads: that has failed.
        """
        if not isinstance(error, BlockingIOError):
            self._reason = self._reason or Failure(ConnectionLost(str(error)))
            self._isOver = True

    def cannotWrite(self, error: Exception) -> None:
        """
        For whoever writes: that has failed.  What has come can be read all the same.
        """
        if isinstance(error, BlockingIOError):
            return
        self._reason = self._reason or Failure(ConnectionLost(str(error)))
        self.isWriteClosed = True
        self._buffer = b""
        self._closeIfAsked()

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._isReading = False
        self._watch()

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        if self.connected and not (self.disconnecting or self._isReadClosed):
            self._isReading = True
            self._watch()

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.loseConnection()

    # Writing, for one that must know how much was taken

    def send(self, data: bytes | memoryview) -> int:
        """
        See L{Sink <cmanager.sinks.Sink>}.
        """
        taken = 0
        if self.socket is not None and not (self._buffer or self.isWriteClosed):
            try:
                taken = self.socket.send(data)
            except OSError as error:
                self.cannotWrite(error)
            else:
                if taken == len(data):
                    return taken
        self.ask()
        return taken

    def ask(self) -> None:
        """
        Call what L{redirect} was told, once there is room.
        """
        self._isWaiting = True
        self._watch()

    def redirect(self, writable: Callable[[], object]) -> None:
        """
        See L{Sink <cmanager.sinks.Sink>}.
        """
        self._writable = writable

    def finish(self) -> None:
        """
        See L{Sink <cmanager.sinks.Sink>}.
        """
        self.isWriteClosed = True
        self._buffer = b""
        if self.socket is not None:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def release(self) -> None:
        """
        See L{Sink <cmanager.sinks.Sink>}.
        """
        self._isWaiting = False
        self._writable = None

    def doWrite(self) -> None:
        """
        For the poller: there is room.
        """
        if self.socket is None:
            return
        if self._needsRoom and self._isReading:
            self._needsRoom = False
            self.doRead()
        if self._buffer and self.socket is not None:
            self._flush(self.socket)
        if not self._buffer and not self.isWriteClosed:
            self._tellOfRoom()
        self._watch()

    def tell(self) -> None:
        """
        Call what L{redirect} was told.
        """
        if self._writable is not None:
            self._writable()

    def _tellOfRoom(self) -> None:
        if self._isWaiting:
            self._isWaiting = False
            self.tell()
        self._produce()
        if self._isAllWritten:
            self._closeIfAsked()

    # The end

    def loseConnection(self) -> None:
        """
        See L{ITransport <twisted.internet.interfaces.ITransport>}.
        """
        if self.disconnecting or self.socket is None:
            return
        self.disconnecting = True
        self.pauseProducing()
        if self._isAllWritten:
            self._closeIfAsked()

    def loseWriteConnection(self) -> None:
        """
        See L{ITCPTransport}.
        """
        self._isWriteClosing = True
        if self._isAllWritten:
            self._closeIfAsked()

    def _closeIfAsked(self) -> None:
        """
        All has been sent.
        """
        if self.socket is None:
            return
        if self.disconnecting:
            self._reactor.callLater(0, self._close)
        elif self._isWriteClosing and not self.isWriteClosed:
            self.finish()
            self._reactor.callLater(0, self._writeClosed)

    def _close(self) -> None:
        # It may have been written to since, or aborted.
        sock = self.socket
        if sock is None or self._isAborting or not self._isAllWritten:
            return
        # If anything is unread, closing is a reset, which can overtake what was sent.
        with suppress(OSError):
            sock.recv(BUFFER_BYTES)
        self._lose(self._reason or Failure(ConnectionDone()))

    def _writeClosed(self) -> None:
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.writeConnectionLost()

    def abortConnection(self) -> None:
        """
        See L{ITCPTransport}.
        """
        if self.socket is None or self._isAborting:
            return
        self._isAborting = self.disconnecting = self.isWriteClosed = True
        self._buffer = b""
        self.release()
        self.pauseProducing()
        self._reactor.callLater(0, self._lose, Failure(ConnectionAborted()))

    def failed(self, reason: Failure) -> None:
        """
        For the poller: whoever hears of it has a bug.
        """
        self._lose(reason)

    def _lose(self, reason: Failure) -> None:
        sock, self.socket = self.socket, None
        if sock is None:
            return
        self.connected = False
        self._poller.remove(sock.fileno())
        if reason.check(ConnectionAborted):
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        sock.close()
        self._buffer = b""
        self._writable = self._offered = None
        self._isWaiting = self._isFull = False
        # What is gone must not wait for the garbage collector.
        producer, self._producer = self._producer, None
        protocol, self.protocol = self.protocol, None
        try:
            if producer is not None:
                producer.stopProducing()
        finally:
            protocol.connectionLost(reason)

    def _watch(self) -> None:
        """
        Have the poller look for what is of interest now.
        """
        sock = self.socket
        if sock is None:
            return
        interests = 0
        if self._isReading:
            interests = WRITABLE if self._needsRoom else READABLE
        if self._wantsRoom:
            interests |= WRITABLE
        if interests != self._interests:
            self._interests = interests
            self._poller.change(sock.fileno(), interests)

    @property
    def _wantsRoom(self) -> bool:
        isAsked = self._buffer or self._isWaiting or self._isFull
        return bool(isAsked) and not self.isWriteClosed
