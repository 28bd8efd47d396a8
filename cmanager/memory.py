# Copyright the cmanager authors.
# See LICENSE for details.

"""
What was sent on a link lately.  Layer 1.
"""

from __future__ import annotations

from cmanager.stanza import Stanza

REMEMBERED_ROUTES = 1024
"""
A power of two: how many routes a route error can be matched with.
"""

REMEMBERED_BYTES = 4096
"""
Of a larger stanza only what an error must repeat is remembered.
"""


class RouteMemory:
    """
    What was routed lately, for the errors that may come back: a ring, because
    most routes are never answered.
    """

    def __init__(self) -> None:
        self._ring: list[tuple[int, str, str, str, dict[str, str]] | None]
        self._ring = [None] * REMEMBERED_ROUTES

    def put(self, routeID: int, streamID: str, stanza: Stanza) -> None:
        """
        Remember who sent what; never a body.
        """
        attributes = stanza.attributes
        if len(stanza.data) > REMEMBERED_BYTES:
            attributes = {
                name: value
                for name, value in attributes.items()
                if name in ("id", "to", "type") and len(value) <= REMEMBERED_BYTES
            }
        self._ring[routeID & (REMEMBERED_ROUTES - 1)] = (
            routeID,
            streamID,
            stanza.name,
            stanza.namespace,
            attributes,
        )

    def get(self, routeID: str | None, streamID: str) -> Stanza | None:
        """
        Return what had been given this id, without its content, or L{None}.
        """
        try:
            number = int(routeID or "", 16)
        except ValueError:
            return None
        found = self._ring[number & (REMEMBERED_ROUTES - 1)]
        if found is None or found[:2] != (number, streamID):
            return None
        return Stanza(found[2], found[3], found[4], b"")
