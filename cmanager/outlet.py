# Copyright the cmanager authors.
# See LICENSE for details.

"""
What one worker says to another, as far as it has not been read.  Layer 4; knows no message.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

MAX_BYTES = 16777216
"""
Bytes that may wait until the other worker reads.
"""


@implementer(IPushProducer)
class Outlet:
    """
    One direction of one connection, also before there is one.

    @param limit: Bytes that may wait.
    """

    __slots__ = ("_isFull", "_limit", "_parts", "_size", "_transport")

    def __init__(self, limit: int = MAX_BYTES) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._isFull = True
        self._transport: Any = None  # Any: ITransport and IConsumer

    def start(self, transport: Any) -> None:
        """
        Write to C{transport}.
        """
        self._transport = transport
        transport.registerProducer(self, True)
        self.resumeProducing()

    def stop(self) -> None:
        """
        There is nobody to say anything to.
        """
        self._limit = -1
        self._isFull = True
        self._parts = []
        self._size = 0

    def fits(self, amount: int) -> bool:
        """
        So much more may wait.  Where nothing waits anything does.
        """
        return self._size + amount <= self._limit or not (self._size or self._limit < 0)

    def put(self, data: bytes) -> None:
        """
        Say something.  What is long, or said without being asked, has to ask L{fits}.
        """
        if not self._isFull:
            self._transport.write(data)
        elif self._limit >= 0:
            self._parts.append(data)
            self._size += len(data)

    def pauseProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._isFull = True

    def resumeProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self._isFull = False
        if self._parts:
            data = b"".join(self._parts)
            self._parts = []
            self._size = 0
            self._transport.write(data)

    def stopProducing(self) -> None:
        """
        See L{IPushProducer}.
        """
        self.stop()
