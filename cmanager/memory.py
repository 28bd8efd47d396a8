# Copyright the cmanager authors.
# See LICENSE for details.

"""
What was sent on a link lately.  Layer 1.
"""

from __future__ import annotations

from collections import deque

from cmanager.stanza import Stanza

REMEMBERED_ROUTES = 1024
"""
How many routes a route error can be matched with.
"""

REMEMBERED_BYTES = 4096
"""
Of a larger stanza only what an error must repeat is remembered.
"""


Sent = tuple[int, str, str, str, dict[str, str]]
"""
The id of a route and that of its stream; name, namespace and attributes of what was
in it; never a body.
"""


class RouteMemory:
    """
    What was routed lately, for the errors that may come back.

    @ivar put: Remember a L{Sent}, and forget one.
    """

    def __init__(self) -> None:
        self._sent: deque[Sent] = deque(maxlen=REMEMBERED_ROUTES)
        # Called for each stanza, and hardly ever asked.
        self.put = self._sent.append

    def get(self, routeID: str | None, streamID: str) -> Stanza | None:
        """
        Return what had been given this id, without its content, or L{None}.
        """
        try:
            number = int(routeID or "", 16)
        except ValueError:
            return None
        for sent in reversed(self._sent):
            if sent[:2] == (number, streamID):
                return Stanza(*sent[2:], b"")
        return None


def abridged(attributes: dict[str, str]) -> dict[str, str]:
    """
    Return what is remembered of those of a large stanza.
    """
    return {
        name: value
        for name, value in attributes.items()
        if name in ("id", "to", "type") and len(value) <= REMEMBERED_BYTES
    }
