# Copyright the cmanager authors.
# See LICENSE for details.

"""
What waits for a client in its transport, written by those who do not ask how much the
kernel has taken.  Layer 4; reads nothing.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from cmanager.sockets import Socket

BUFFER_BYTES = 65536
"""
With more waiting, a producer is paused.
"""


class Consumer(Socket, ABC):
    """
    The writing of a transport, as Twisted's protocols know it.

    @ivar isWriteClosed: Nothing more can be written.
    """

    __slots__ = ("_buffer", "_isFull", "_isStreaming", "_producer", "isWriteClosed")

    def __init__(self, sock: socket.socket, peer: Any) -> None:
        super().__init__(sock, peer)
        self._buffer = b""  # bounded by whoever writes, who is told
        self._producer: Any = None  # IProducer
        self._isStreaming = True
        self._isFull = False  # the producer waits
        self.isWriteClosed = False

    @abstractmethod
    def _watch(self) -> None:
        """
        Wait for room if there is anything to wait for.
        """

    @abstractmethod
    def _closeIfAsked(self) -> None:
        """
        All is written.
        """

    @abstractmethod
    def cannotWrite(self, error: Exception) -> None:
        """
        For whoever writes: that has failed.  What has come can be read all the same.
        """

    @property
    def _isAllWritten(self) -> bool:
        return not self._buffer and (self._producer is None or self.isWriteClosed)

    def write(self, data: bytes) -> None:
        """
        See L{ITransport <twisted.internet.interfaces.ITransport>}.  Not after
        L{handOver}.
        """
        if self.socket is None or self.isWriteClosed:
            return
        wasEmpty = not self._buffer
        self._buffer += data
        if wasEmpty:
            self._flush(self.socket)
        producer = self._producer
        if producer is not None and not self._isFull:
            if not self._isStreaming:
                self._isFull = True
            elif len(self._buffer) > BUFFER_BYTES:
                self._isFull = True
                producer.pauseProducing()
        self._watch()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """
        See L{ITransport <twisted.internet.interfaces.ITransport>}.
        """
        self.write(b"".join(iovec))

    def _flush(self, sock: socket.socket) -> None:
        try:
            self._buffer = self._buffer[sock.send(self._buffer) :]
        except OSError as error:
            self.cannotWrite(error)

    def _produce(self) -> None:
        """
        There is room.
        """
        if self._isFull:
            self._isFull = False
            self._producer.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        See L{IConsumer}.
        """
        if self._producer is not None:
            raise RuntimeError("there is a producer already")
        if self.socket is None:
            producer.stopProducing()
            return
        self._producer = producer
        self._isStreaming = streaming
        if not streaming:
            # Once more later, for what was written before.
            self._isFull = True
            producer.resumeProducing()
        self._watch()

    def unregisterProducer(self) -> None:
        """
        See L{IConsumer}.
        """
        self._producer = None
        self._isFull = False
        if self._isAllWritten:
            self._closeIfAsked()
