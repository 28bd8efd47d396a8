# Copyright the cmanager authors.
# See LICENSE for details.

"""
What comes for stream ids that no client stands behind (PROTOCOL section 13.2).
Layer 3.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from cmanager.errors import StanzaError
from cmanager.limits import TokenBucket
from cmanager.stanza import Stanza
from cmanager.table import Ghost
from cmanager.traffic import IQ_REQUESTS, isReturnable, returned

if TYPE_CHECKING:
    from cmanager.interfaces import ILink
    from cmanager.metrics import Metrics

REMEMBERED = 4096
"""
Ids of which it is remembered that the server was told to drop them.
"""

FORGOTTEN_SECONDS = 60.0
"""
After so long the server is told again.
"""

CLOSES_PER_SECOND = 50.0
CLOSES_AT_ONCE = 1000
"""
A server that kept the sessions of a process that died may hold very many.
"""

_GONE = StanzaError("service-unavailable")


class Ghosts:
    """
    Returns to the server what nobody will get, and has it drop the session.
    """

    def __init__(self, metrics: Metrics, now: Callable[[], float]) -> None:
        self._metrics = metrics
        self._now = now
        self._closed: OrderedDict[str, float] = OrderedDict()
        self._bucket = TokenBucket(CLOSES_PER_SECOND, CLOSES_AT_ONCE, now)

    def routed(self, link: ILink, streamID: str, stanza: Stanza) -> None:
        """
        An element came for a stream id we do not know.

        @param link: One that is ready, to the server it came from.
        """
        ghost = Ghost(streamID)
        kind = stanza.attributes.get("type")
        answer = None
        isMessage = isReturnable(stanza)
        if (stanza.name == "iq" and kind in IQ_REQUESTS) or (
            stanza.name == "message" and not isMessage
        ):
            # A message may be too large to be stored; that its sender must know.
            answer = returned(stanza, _GONE)
        if isMessage or answer is not None:
            link.adopt(ghost)
            if answer is None:
                self._metrics.increment("messages_returned")
                link.fail(ghost, stanza)
            else:
                if stanza.name == "iq":
                    self._metrics.increment("iqs_bounced")
                else:
                    self._metrics.increment("stanzas_dropped", "unknown-session")
                link.route(ghost, answer)
            link.forget(ghost)
        else:
            self._metrics.increment("stanzas_dropped", "unknown-session")
        self.close(link, streamID)

    def close(self, link: ILink, streamID: str) -> None:
        """
        Have the server drop the session, unless it was told lately, or is being told
        of very many.
        """
        now = self._now()
        since = self._closed.get(streamID)
        if since is not None and now - since < FORGOTTEN_SECONDS:
            return
        if not self._bucket.tryTake():
            return
        self._closed[streamID] = now
        self._closed.move_to_end(streamID)
        if len(self._closed) > REMEMBERED:
            self._closed.popitem(last=False)
        ghost = Ghost(streamID)
        link.adopt(ghost)
        link.close(ghost)
        self._metrics.increment("ghosts_closed")
