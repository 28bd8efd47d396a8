# Copyright the cmanager authors.
# See LICENSE for details.

"""
What was sent on a link lately.  Layer 1.
"""

from __future__ import annotations

from collections import deque

from cmanager.framing import Scanner
from cmanager.multiplex import ROUTE_IDS
from cmanager.stanza import Stanza, StreamHeader, escapeAttribute

REMEMBERED_ROUTES = 1024
"""
How many routes a route error can be matched with.
"""

REMEMBERED_BYTES = 4096
"""
Of a larger stanza only what an error must repeat is remembered.
"""

_AROUND = StreamHeader(id="memory", from_=None).encode()
_UNBOUNDED = 1 << 30  # it was bounded when it came


class RouteMemory:
    """
    What was routed lately, for the errors that may come back; never a body.

    Of each route one object is kept that nobody else has.  When it goes, a thousand others
    have come: to let go of all that a stanza was made of would be to fetch it from afar.

    @ivar put: Remember a route and forget the oldest: its L{ROUTE_IDS
        <cmanager.multiplex.ROUTE_IDS>}, and the start tag of what is in it up to the
        C{">"}.
    """

    def __init__(self) -> None:
        self._routes: deque[bytes] = deque(maxlen=REMEMBERED_ROUTES)
        # Called for each stanza, and hardly ever asked.
        self.put = self._routes.append

    def get(self, routeID: str | None, streamID: str) -> Stanza | None:
        """
        Return what had been given this id, without its content, or L{None}.
        """
        try:
            ids = ROUTE_IDS % (escapeAttribute(streamID), int(routeID or "", 16))
        except ValueError:
            return None
        for route in reversed(self._routes):
            if route.startswith(ids):
                return _parsed(route[len(ids) :].removesuffix(b"/") + b"/>")
        return None


def abridged(stanza: Stanza) -> bytes:
    """
    Return what is remembered of a large one.
    """
    parts = [b'<%s xmlns="%s"' % (stanza.name.encode(), escapeAttribute(stanza.namespace))]
    for name in ("id", "to", "type"):
        value = stanza.attributes.get(name)
        if value is not None and len(value) <= REMEMBERED_BYTES:
            parts.append(b' %s="%s"' % (name.encode(), escapeAttribute(value)))
    return b"".join(parts)


def _parsed(tag: bytes) -> Stanza:
    scanner = Scanner(1, _UNBOUNDED, maxAttributes=_UNBOUNDED, maxNamespaces=_UNBOUNDED)
    scanner.feed(_AROUND)
    (stanza,) = scanner.feed(tag)
    assert isinstance(stanza, Stanza), "it was one"
    return Stanza(stanza.name, stanza.namespace, stanza.attributes, b"")
