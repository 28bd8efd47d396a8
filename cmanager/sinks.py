# Copyright the cmanager authors.
# See LICENSE for details.

"""
Where the bytes for a client go, and how many of them have been taken.  Layer 4;
knows no stanza.

Bytes go to the socket directly, so that we know how many the kernel took; the
transport is only asked to say when there is room again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.interfaces import IConsumer, IPullProducer, IPushProducer, ITransport
from zope.interface import implementer

from cmanager.transport import SocketTransport


class Sink(Protocol):
    """
    Where an L{Outbox} puts bytes.

    @ivar holds: Bytes are on their way that L{send} has not owned up to yet.
    """

    @property
    def holds(self) -> bool: ...

    def send(self, data: bytes | memoryview) -> int:
        """
        Take what can be taken now and return how much that was.  After less than
        all, the callback is called once there is room.
        """

    def redirect(self, writable: Callable[[], object]) -> None:
        """
        Call C{writable} from now on.
        """

    def finish(self) -> None:
        """
        Send no more, but what has been taken: the end of the connection, our way.
        """

    def release(self) -> None:
        """
        Let go of the transport.
        """


def sinkFor(transport: ITransport, writable: Callable[[], object]) -> Sink:
    """
    Return the sink for C{transport}: the exact one if it stands on a socket.
    """
    if isinstance(transport, SocketTransport):
        transport.redirect(writable)
        return transport
    handle = socketOf(transport)
    if handle is not None:
        return SocketSink(transport, handle, writable)
    return TransportSink(transport, writable)


def socketOf(transport: ITransport) -> socket.socket | None:
    """
    Return the socket C{transport} stands on, if bytes may go to that directly.
    """
    getHandle = getattr(transport, "getHandle", None)
    handle = getHandle() if getHandle is not None else None
    if isinstance(handle, socket.socket) and hasattr(transport, "startWriting"):
        return handle
    return None


@implementer(IPullProducer)
class SocketSink:
    """
    Sends to a transport's socket.

    The transport's own buffer stays empty.  As its pull producer we are called
    whenever it finds the socket writable after C{startWriting}.  (Its C{bufferSize},
    which a push producer would need at 0 for the same, is its read size too.)
    """

    __slots__ = ("_socket", "_transport", "_waiting", "_writable")

    holds = False

    def __init__(
        self, transport: Any, handle: socket.socket, writable: Callable[[], object]
    ) -> None:
        # Any: startWriting is a method of every reactor's descriptors, in no interface.
        self._transport = transport
        self._socket = handle
        self._writable = writable
        self._waiting = False
        self._transport.registerProducer(self, False)

    def send(self, data: bytes | memoryview) -> int:
        """
        See L{Sink}.  On a broken connection nothing is taken, and the transport,
        which tries too, finds out.
        """
        try:
            taken = self._socket.send(data)
        except OSError:
            taken = 0
        if taken < len(data):
            self.ask()
        return taken

    def ask(self) -> None:
        """
        Call C{writable} once there is room, and nothing waits in the transport itself.
        """
        self._waiting = True
        self._transport.startWriting()

    def resumeProducing(self) -> None:
        """
        The socket is writable.
        """
        if self._waiting:
            self._waiting = False
            self._writable()

    def stopProducing(self) -> None:
        """
        The connection is lost.
        """
        self._waiting = False

    def redirect(self, writable: Callable[[], object]) -> None:
        """
        See L{Sink}.
        """
        self._writable = writable

    def finish(self) -> None:
        """
        See L{Sink}.
        """
        # A transport that finds the socket writable tries it with no bytes at all: after
        # the end that is an error, which would cost it the connection.
        self._waiting = False
        self._transport.stopWriting()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def release(self) -> None:
        """
        See L{Sink}.
        """
        self._waiting = False
        self._transport.unregisterProducer()


@implementer(IPushProducer)
class TransportSink:
    """
    Writes to any other transport: one in memory, or one that wraps another.

    What it takes counts as sent unless it says that it is full; then it counts once
    it is no longer.
    """

    __slots__ = ("_full", "_owed", "_transport", "_writable")

    def __init__(self, transport: Any, writable: Callable[[], object]) -> None:
        # Any: whether it takes producers is asked.
        self._transport = transport
        self._writable = writable
        self._full = False
        self._owed = 0
        if IConsumer.providedBy(transport):
            self._transport.registerProducer(self, True)

    def send(self, data: bytes | memoryview) -> int:
        """
        See L{Sink}.
        """
        if self._full:
            return 0
        # What filled the transport has gone since, and leads what is offered again.
        taken, self._owed = self._owed, 0
        rest = data[taken:]
        if rest:
            self._transport.write(bytes(rest))
            if self._full:
                self._owed = len(rest)
                return taken
        return len(data)

    @property
    def holds(self) -> bool:
        """
        See L{Sink}.
        """
        return self._owed > 0

    def pauseProducing(self) -> None:
        """
        The transport is full.
        """
        self._full = True

    def resumeProducing(self) -> None:
        """
        The transport has drained.
        """
        if self._full:
            self._full = False
            self._writable()

    def stopProducing(self) -> None:
        """
        The connection is lost.
        """
        self._full = True

    def redirect(self, writable: Callable[[], object]) -> None:
        """
        See L{Sink}.
        """
        self._writable = writable

    def finish(self) -> None:
        """
        See L{Sink}.  What such a transport holds it would send all the same.
        """
        abort = getattr(self._transport, "abortConnection", self._transport.loseConnection)
        abort()

    def release(self) -> None:
        """
        See L{Sink}.
        """
        if IConsumer.providedBy(self._transport):
            self._transport.unregisterProducer()
