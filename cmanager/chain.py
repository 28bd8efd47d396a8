# Copyright the cmanager authors.
# See LICENSE for details.

"""
The filters of one session, one behind the other.  Layer 3; the seam behind
which foreign code runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from cmanager.errors import StanzaError, StreamError
from cmanager.framing import Scanner
from cmanager.settings import MAX_STANZA_BYTES
from cmanager.stanza import Stanza, StreamHeader

if TYPE_CHECKING:
    from cmanager.interfaces import ISessionFilter, IStanzaFilter
    from cmanager.metrics import Metrics
    from cmanager.session import Session

Chosen = Sequence[tuple["IStanzaFilter", Mapping[str, Any]]]
"""
The filter plugins of the configuration, in its order, with their options.
"""

MAX_DOWNWARD_BYTES = 16777216
"""
A server's stanzas are not bounded as a client's are.
"""

_AROUND = StreamHeader(id="filter", from_=None).encode()


class Chain:
    """
    Upwards the filters are asked first to last, downwards last to first.
    """

    __slots__ = ("_filters", "_metrics")

    log = Logger()

    def __init__(self, filters: Sequence[tuple[str, ISessionFilter]], metrics: Metrics) -> None:
        self._filters = tuple(filters)
        self._metrics = metrics

    def upstream(self, stanza: Stanza) -> Stanza | None:
        """
        Ask for a stanza from the client.

        @return: What goes up instead, or L{None} for nothing.
        @raise StanzaError: The client gets this.
        """
        for name, filter_ in self._filters:
            taken = self._ask(name, filter_.upstream, stanza)
            if taken is None:
                return None
            if taken is not stanza:
                taken = self._proved(name, taken, Scanner(1, MAX_STANZA_BYTES))
            stanza = taken
        return stanza

    def downstream(self, stanza: Stanza) -> Stanza | None:
        """
        Ask for a stanza from the server; as L{upstream}.
        """
        for name, filter_ in reversed(self._filters):
            taken = self._ask(name, filter_.downstream, stanza)
            if taken is None:
                return None
            if taken is not stanza:
                # What the client does not get goes up again.
                taken = self._proved(name, taken, Scanner(1, MAX_DOWNWARD_BYTES, strict=False))
            stanza = taken
        return stanza

    def _ask(
        self, name: str, question: Callable[[Stanza], Stanza | None], stanza: Stanza
    ) -> Stanza | None:
        try:
            return question(stanza)
        except StanzaError:
            raise
        except Exception as error:
            self.log.failure("filter {name} failed", name=name)
            raise self._refusal(name) from error

    def _proved(self, name: str, stanza: Stanza, scanner: Scanner) -> Stanza:
        """
        Return what a filter made as it may go up: a link carries thousands, and one
        ill-formed stanza would end it.
        """
        scanner.feed(_AROUND)
        try:
            events = scanner.feed(stanza.data)
        except StreamError as error:
            events = []
            self.log.error("filter {name} made a stanza out of profile", name=name, error=error)
        if len(events) == 1 and isinstance(events[0], Stanza) and not scanner.pending:
            return events[0]
        raise self._refusal(name)

    def _refusal(self, name: str) -> StanzaError:
        self._metrics.increment("filter_errors", name)
        return StanzaError("internal-server-error", "wait")


def compose(chosen: Chosen, session: Session, metrics: Metrics) -> Chain | None:
    """
    Return the filters for a session; L{None} if none is interested, and then they
    cost nothing.

    @raise StanzaError: One of them failed: who knows what it is there to prevent.
    """
    opened: list[tuple[str, ISessionFilter]] = []
    for filter_, options in chosen:
        try:
            made = filter_.open(session, options)
        except Exception as error:
            Chain.log.failure("filter {name} failed", name=filter_.name)
            metrics.increment("filter_errors", filter_.name)
            raise StanzaError("internal-server-error", "wait") from error
        if made is not None:
            opened.append((filter_.name, made))
    return Chain(opened, metrics) if opened else None
