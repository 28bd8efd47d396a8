# Copyright the cmanager authors.
# See LICENSE for details.

"""
The body of an HTTP request as it comes: how much of it is wanted may depend on how it begins.
Layer 4; knows no path.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any, Protocol

from twisted.internet.defer import Deferred

START_BYTES = 4096
"""
Of a request's body what may come whoever sends it.
"""


class Source(Protocol):
    """
    The connection that it comes over.
    """

    transport: Any  # Any: its producer

    def refuse(self, code: int) -> None:
        """
        Answer a request that is not wanted, and close.
        """


class Content:
    """
    One body.

    While it is not known how much is wanted, no more is read than was on its way.

    @ivar most: So many bytes are wanted.
    @ivar data: What has come.
    @ivar isComplete: Nothing more will.
    """

    __slots__ = ("_allowance", "_size", "_source", "data", "isComplete", "most")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._size = 0
        self._allowance: Callable[[bytes], int | Deferred[int]] | None = None
        self.most = 0
        self.data = BytesIO()
        self.isComplete = False

    def expect(self, resource: object) -> None:
        """
        Say who it is for.

        Where that has C{maxBodyBytes}, it may be sent so much.  Where it has C{allowance},
        too, that is called with the beginning of what is longer than L{START_BYTES}, and says
        how much of this it takes; or returns a L{Deferred} that will, and does not fail.
        """
        self.most = getattr(resource, "maxBodyBytes", 0)
        self._allowance = getattr(resource, "allowance", None)

    def received(self, data: bytes) -> None:
        """
        A piece of it, which has perhaps not said how long it is.
        """
        self._size += len(data)
        if self._allowance is not None and self._size > START_BYTES:
            allowance, self._allowance = self._allowance, None
            allowed = allowance((self.data.getvalue() + data)[:START_BYTES])
            if isinstance(allowed, Deferred):
                transport = self._source.transport
                transport.pauseProducing()
                allowed.addCallback(self._allowed)
                allowed.addCallback(lambda _: transport.resumeProducing())
            else:
                self.most = min(self.most, allowed)
        if self._size <= self.most:
            self.data.write(data)
        else:
            self._source.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def _allowed(self, most: int) -> None:
        self.most = min(self.most, most)
        if self._size > self.most and not self.isComplete:
            self._source.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
