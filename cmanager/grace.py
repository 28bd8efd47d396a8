# Copyright the cmanager authors.
# See LICENSE for details.

"""
Sessions that wait for a link, because their server has none left, or for the server to
say that it still has them (PROTOCOL section 13.6).  Layer 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmanager.wheel import Timer, Wheel

if TYPE_CHECKING:
    from cmanager.host import IPool
    from cmanager.session import Session


ANSWER_SECONDS = 60.0
"""
How long a server has to answer for a session.  It may have a hundred thousand to answer for.
"""


class Grace:
    """
    Holds sessions for C{links-lost-grace}, by server, and then for L{ANSWER_SECONDS}; all
    are in the table, too, and so are no more than that has.
    """

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._held: dict[IPool, list[Session]] = {}
        self._timers: dict[IPool, Timer] = {}
        self._asking: dict[Session, Timer] = {}

    def hold(self, pool: IPool, sessions: list[Session]) -> None:
        """
        Let sessions wait, those that come later no longer than the first; end them when
        it is time.
        """
        if not sessions:
            return
        self._held.setdefault(pool, []).extend(sessions)
        seconds = pool.settings.linksLostGrace
        if seconds <= 0:
            self._over(pool)
        elif pool not in self._timers:
            self._timers[pool] = self._wheel.schedule(seconds, lambda: self._over(pool))

    def release(self, pool: IPool) -> list[Session]:
        """
        Return those that still wait.  Nobody does any more.
        """
        timer = self._timers.pop(pool, None)
        if timer is not None:
            timer.cancel()
        return [session for session in self._held.pop(pool, ()) if session.link is None]

    def _over(self, pool: IPool) -> None:
        for session in self.release(pool):
            session.serverLost()

    def ask(self, session: Session) -> None:
        """
        Let a session wait for the answer, from the first time that it asks.
        """
        if session not in self._asking:
            timer = self._wheel.schedule(ANSWER_SECONDS, lambda: self._unanswered(session))
            self._asking[session] = timer

    def answered(self, session: Session) -> None:
        """
        It waits no more.
        """
        timer = self._asking.pop(session, None)
        if timer is not None:
            timer.cancel()

    def _unanswered(self, session: Session) -> None:
        del self._asking[session]
        if session.link is not None:
            # Otherwise it asks anew, or waits for a link in vain.
            session.serverLost("the server does not say whether it still has the session")
