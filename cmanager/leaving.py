# Copyright the cmanager authors.
# See LICENSE for details.

"""
How all clients are made to leave.  Layer 3; knows no listener and no link.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

if TYPE_CHECKING:
    from cmanager.settings import ManagerSettings
    from cmanager.table import Table

STEP_SECONDS = 0.05

ABORT_SECONDS = 0.3
"""
How long the transports of clients that had to be cut off may take to say that they
are gone: a turn of the reactor.
"""


class Leaving:
    """
    The end of all sessions.

    @param reactor: For its clock.
    """

    def __init__(self, reactor: Any, table: Table, times: ManagerSettings) -> None:
        self._reactor = reactor
        self._table = table
        self._times = times
        self._emptied: Deferred[None] | None = None

    def sessionClosed(self) -> None:
        """
        There is one less in the table.
        """
        if self._emptied is not None and not len(self._table) and not self._emptied.called:
            self._emptied.callback(None)

    async def begin(self) -> None:
        """
        Tell everybody to leave, spread over C{manager.drain}, so that they do not all
        come back elsewhere in the same moment; wait for at most C{manager.grace}.
        """
        sessions = list(self._table)
        steps = max(1, math.ceil(self._times.drain / STEP_SECONDS))
        size = math.ceil(len(sessions) / steps)
        for start in range(0, len(sessions), max(size, 1)):
            if start:
                await deferLater(self._reactor, STEP_SECONDS)
            for session in sessions[start : start + size]:
                session.shutdown()
        await self._untilEmpty(self._times.grace)
        for session in self._table:
            session.stream.abort()
        # Only then can what they did not get be given back, over links that still are.
        await self._untilEmpty(ABORT_SECONDS)

    async def _untilEmpty(self, seconds: float) -> None:
        """
        Wait until the last client is gone, but no longer than that.
        """
        if len(self._table):
            emptied = self._emptied = Deferred()
            giveUp = self._reactor.callLater(seconds, emptied.callback, None)
            await emptied
            self._emptied = None
            if giveUp.active():
                giveUp.cancel()
