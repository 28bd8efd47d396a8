# Copyright the cmanager authors.
# See LICENSE for details.

"""
One of the workers there are to be: the process that is it, or the wait for the next one
after it has died.  Layer 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from cmanager.child import Child
from cmanager.plan import Orders
from cmanager.retry import BackOff

RESTART_SECONDS = 1.0
MOST_RESTART_SECONDS = 60.0
"""
The waits before a worker that died is started again, see L{BackOff}.
"""

PROVEN_SECONDS = 60.0
"""
One that has lived so long is started again as soon as at first.
"""


class Post:
    """
    Keeps one worker running.

    @param hire: Starts a worker.
    @param random: Returns a number from 0 up to 1.
    @ivar slot: Whose.
    @ivar orders: What it does, or the next one will.
    @ivar child: The process, L{None} while there is none.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        slot: int,
        orders: Orders,
        hire: Callable[[int, Orders], Child],
        random: Callable[[], float],
    ) -> None:
        self.slot = slot
        self.orders = orders
        self.child: Child | None = None
        self._reactor = reactor
        self._hire = hire
        self._backOff = BackOff(RESTART_SECONDS, MOST_RESTART_SECONDS, random)
        self._timer: Any = None

    def fill(self) -> None:
        """
        Start a worker.
        """
        self._timer = None
        try:
            self.child = self._hire(self.slot, self.orders)
        except OSError as error:
            self._retry(f"cannot be started: {error.strerror}")

    def lost(self, clients: int) -> None:
        """
        It has died, with so many clients.
        """
        child, self.child = self.child, None
        assert child is not None
        if self._reactor.seconds() - child.started >= PROVEN_SECONDS:
            self._backOff.succeeded()
        self._retry(f"{child.how}, with {clients} clients")

    def _retry(self, what: str) -> None:
        wait = self._backOff.failed()
        self.log.error(
            "worker {worker} {what}; started again in {wait} s",
            worker=self.slot,
            what=what,
            wait=round(wait, 1),
        )
        self._timer = self._reactor.callLater(wait, self.fill)

    def take(self, child: Child, orders: Orders) -> Child | None:
        """
        Have another process be it.

        @return: The one before, if there is one.
        """
        self.vacate()
        before, self.child = self.child, child
        self.slot, self.orders = child.slot, orders
        return before

    def vacate(self) -> None:
        """
        Start none again.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
