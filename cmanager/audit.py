# Copyright the cmanager authors.
# See LICENSE for details.

"""
Finds sessions that the server has ended without a word (PROTOCOL section 13.4).
Layer 3; sends nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cmanager.table import State

if TYPE_CHECKING:
    from cmanager.host import Host
    from cmanager.session import Session
    from cmanager.table import Table


class _Round:
    """
    One look at each session of a domain, spread evenly over C{auditAfter}.
    """

    __slots__ = ("begun", "done", "sessions")

    def __init__(self, begun: float, sessions: list[Session]) -> None:
        self.begun = begun
        self.sessions = sessions
        self.done = 0


class Auditor:
    """
    Has each session ask that was silent for a whole round, never many at once.

    Its lists are copies of the table's, and so no longer than that is.
    """

    def __init__(self, table: Table, now: Callable[[], float]) -> None:
        self._table = table
        self._now = now
        self._rounds: dict[Host, _Round] = {}

    def tick(self, hosts: Iterable[Host]) -> None:
        """
        Do what is due.
        """
        for host in hosts:
            if host.auditAfter:
                self._advance(host)

    def _advance(self, host: Host) -> None:
        now = self._now()
        current = self._rounds.get(host)
        if current is None or now - current.begun >= host.auditAfter:
            if current is not None:
                self._visit(current, len(current.sessions))
            sessions = [s for s in self._table if s.host is host and s.state is State.BOUND]
            self._rounds[host] = _Round(now, sessions)
        else:
            share = (now - current.begun) / host.auditAfter
            self._visit(current, int(share * len(current.sessions)))

    def _visit(self, current: _Round, until: int) -> None:
        for session in current.sessions[current.done : until]:
            if session.heard:
                session.heard = False
            else:
                session.audit()
        current.done = max(current.done, until)
