# Copyright the cmanager authors.
# See LICENSE for details.

"""
The time-outs of one client: login, idle, keepalive.  Layer 4; knows no transport.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from cmanager.settings import ClientSettings
    from cmanager.wheel import Timer, Wheel


class Watched(Protocol):
    """
    What a L{Vigil} watches: a stream.
    """

    @property
    def isListening(self) -> bool:
        """
        The client is read, so that its silence is its own.
        """

    def idle(self, kind: str) -> None:
        """
        A time-out has passed: C{"login"}, once, or C{"idle"}.
        """

    def keepAlive(self) -> None:
        """
        The client has got nothing for long.
        """


class Vigil:
    """
    One timer for whatever is due next.  What happens in between only writes down
    when, and the timer, once it goes off, finds that it came too early.

    @param keepalive: Seconds without anything sent; 0 for ever.
    @ivar readAt: When something was last received.  The stream writes it.
    @ivar wroteAt: When something was last sent.
    """

    __slots__ = (
        "_keepalive",
        "_loginDue",
        "_settings",
        "_timer",
        "_watched",
        "_wheel",
        "readAt",
        "wroteAt",
    )

    def __init__(
        self, wheel: Wheel, settings: ClientSettings, watched: Watched, keepalive: float
    ) -> None:
        self._wheel = wheel
        self._settings = settings
        self._watched = watched
        self._keepalive = keepalive
        now = wheel.now()
        self.readAt = now
        self.wroteAt = now
        self._loginDue: float | None = now + settings.loginTimeout
        self._timer: Timer | None = None
        self._schedule(now)

    def stop(self) -> None:
        """
        Watch no more.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, now: float) -> None:
        settings = self._settings
        due = self.readAt + settings.idleTimeout
        if self._keepalive:
            due = min(due, self.wroteAt + self._keepalive)
        if self._loginDue is not None:
            due = min(due, self._loginDue)
        self._timer = self._wheel.schedule(max(due - now, 0), self._timeOut)

    def _timeOut(self) -> None:
        now = self._wheel.now()
        settings = self._settings
        if self._loginDue is not None and now >= self._loginDue:
            self._loginDue = None
            self._watched.idle("login")
        if self._timer is not None:
            if not self._watched.isListening:
                self.readAt = now
            elif now >= self.readAt + settings.idleTimeout:
                self.readAt = now
                self._watched.idle("idle")
        if self._timer is not None:
            if self._keepalive and now >= self.wroteAt + self._keepalive:
                self.wroteAt = now
                self._watched.keepAlive()
            self._schedule(now)
