# Copyright the cmanager authors.
# See LICENSE for details.

"""
One place in a pool: connects, holds a link until it is lost, waits, and connects
again.  Layer 4; L{cmanager.pool} tells it what happened to its link.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from cmanager import diagnosis
from cmanager.link import Link
from cmanager.retry import BackOff

if TYPE_CHECKING:
    from cmanager.pool import Pool


EXPECTED = (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
    CancelledError,
    TimeoutError,
    OSError,
)


class _LinkFactory(Factory):
    """
    Makes one link.
    """

    noisy = False

    def __init__(self, make: Callable[[], Link]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> Link:
        """
        See L{Factory}.
        """
        return self._make()


class Place:
    """
    One place in the pool: at most one link, or an attempt to make one, or a wait.
    """

    _log = Logger()

    def __init__(self, pool: Pool) -> None:
        self.link: Link | None = None
        self._pool = pool
        self._backOff = BackOff(pool.settings.retryInitial, pool.settings.retryMax, pool.random)
        self._attempt: Deferred[None] | None = None
        self._timer: Any = None  # IDelayedCall: the deadline of an attempt, or a wait
        self._host = ""

    def start(self) -> None:
        """
        Connect.
        """
        pool = self._pool
        self._host = pool.settings.host or pool.settings.domains[0]
        self._timer = pool.clock.callLater(pool.settings.setupTimeout, self._late)
        attempt = ensureDeferred(self._connect())
        if not attempt.called:
            self._attempt = attempt
        attempt.addErrback(self._failed)

    async def _connect(self) -> None:
        pool = self._pool
        self._host = await pool.host(self._backOff.failures)
        tls = pool.trust.attempt() if pool.trust is not None else None
        endpoint = pool.endpoint(self._host, pool.settings.port, tls)
        link = await endpoint.connect(_LinkFactory(lambda: pool.newLink(self._host, tls)))
        assert isinstance(link, Link)
        self._attempt = None
        self.link = link

    def _failed(self, reason: Failure) -> None:
        self._attempt = None
        self._stopTimer()
        pool = self._pool
        if not reason.check(*EXPECTED):
            self._log.failure("link to {host}: an attempt broke", reason, host=self._host)
        if pool.running:
            error = diagnosis.connectFailed(reason, self._host, pool.settings.port)
            pool.attemptFailed(error)
            self._wait()

    def ready(self) -> None:
        """
        The link is ready.
        """
        self._stopTimer()
        self._backOff.succeeded()

    def lost(self) -> None:
        """
        The link is lost.
        """
        self.link = None
        self._stopTimer()
        if self._pool.running:
            self._wait()

    def stop(self) -> Deferred[None] | None:
        """
        End whatever goes on.
        """
        self._stopTimer()
        if self._attempt is not None:
            self._attempt.cancel()
        return self.link.shutdown() if self.link is not None else None

    def _wait(self) -> None:
        self._timer = self._pool.clock.callLater(self._backOff.failed(), self.start)

    def _late(self) -> None:
        self._timer = None
        if self._attempt is not None:
            self._attempt.cancel()
        elif self.link is not None:
            self.link.lose(diagnosis.late(self.link.step, self._pool.settings.setupTimeout))

    def _stopTimer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
