# Copyright the cmanager authors.
# See LICENSE for details.

"""
The routes of one link: made, and remembered for a while.  Layer 1, pure; knows neither
stanzas nor sessions.

There is a native engine for this too, see L{cmanager.framing}: it is done for each
stanza that goes up.
"""

from __future__ import annotations

from collections import deque

ROUTE_IDS = b'%s" id="%x">'
"""
How the start tag of a route ends: with the id of the stream, as it stands between quotes,
and that of the route, which comes back in an error.
"""


class Routes:
    """
    Wraps elements, and remembers who sent what; never a body.

    Of each route one object is kept that nobody else has.  When it goes, many others have
    come: to let go of all that a stanza was made of would be to fetch it from afar.
    """

    def __init__(self, head: bytes, room: int) -> None:
        """
        @param head: What all routes begin with, up to the id of the stream.
        @param room: How many are remembered.
        """
        self._head = head
        self._count = 0
        self._sent: deque[bytes] = deque(maxlen=room)

    def wrap(self, wireID: bytes, data: bytes, tag: bytes | None = None, /) -> bytes:
        """
        Return a route.  Their ids count up from 1, in lower-case hexadecimal.

        @param wireID: See L{Session <cmanager.session.Session>}.
        @param data: An element in the serialisation profile, where the first C{>} ends the
            start tag.
        @param tag: What to remember instead of that, without the C{>}.
        """
        self._count += 1
        ids = ROUTE_IDS % (wireID, self._count)
        self._sent.append(ids + (data.partition(b">")[0] if tag is None else tag))
        return b"".join((self._head, ids, data, b"</route>"))

    def sent(self, ids: bytes, /) -> bytes | None:
        """
        Return the start tag of what was in a route, without its C{>}; L{None} if that was
        long ago, or never.

        @param ids: L{ROUTE_IDS} with both.
        """
        for sent in self._sent:
            if sent.startswith(ids):
                return sent[len(ids) :]
        return None
