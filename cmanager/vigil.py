# Copyright the cmanager authors.
# See LICENSE for details.

"""
The time-outs of one client: login, idle, keepalive.  Layer 4; knows no transport.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cmanager.wheel import Timer

if TYPE_CHECKING:
    from cmanager.settings import ClientSettings
    from cmanager.wheel import Wheel


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


class Vigil(Timer):
    """
    A timer for whatever is due next.  What happens in between only writes down
    when, and the timer, once it goes off, finds that it came too early.

    @param keepalive: Seconds without anything sent; 0 for ever.
    @ivar readAt: When something was last received.  The stream writes it.
    @ivar wroteAt: When something was last sent.
    """

    __slots__ = (
        "_keepalive",
        "_loginDue",
        "_settings",
        "_watched",
        "readAt",
        "wroteAt",
    )

    def __init__(
        self, wheel: Wheel, settings: ClientSettings, watched: Watched, keepalive: float
    ) -> None:
        self._settings = settings
        self._watched: Watched | None = watched
        self._keepalive = keepalive
        now = wheel.now()
        self.readAt = now
        self.wroteAt = now
        self._loginDue: float | None = now + settings.loginTimeout
        super().__init__(wheel, self._next())

    def stop(self) -> None:
        """
        Watch no more.
        """
        self.cancel()
        self._watched = None

    def _next(self) -> float:
        settings = self._settings
        due = self.readAt + settings.idleTimeout
        if self._keepalive:
            due = min(due, self.wroteAt + self._keepalive)
        if self._loginDue is not None:
            due = min(due, self._loginDue)
        return due

    def fire(self) -> None:
        """
        See L{Timer.fire}.
        """
        now = self.wheel.now()
        if self._watched is not None and self._loginDue is not None and now >= self._loginDue:
            self._loginDue = None
            self._watched.idle("login")
        if self._watched is not None:
            if not self._watched.isListening:
                self.readAt = now
            elif now >= self.readAt + self._settings.idleTimeout:
                self.readAt = now
                self._watched.idle("idle")
        if self._watched is not None and self._keepalive and now >= self.wroteAt + self._keepalive:
            self.wroteAt = now
            self._watched.keepAlive()
        if self._watched is not None:
            self.due = self._next()
            self.wheel.insert(self)
