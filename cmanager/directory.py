# Copyright the cmanager authors.
# See LICENSE for details.

"""
Where requests over HTTP find the streams they are for.  Layer 3; asks nothing of a
stream.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmanager.bosh import BOSHStream
    from cmanager.settings import BOSHSettings

SID_BYTES = 24
"""
XEP-0124 section 14.1 wants 128 bits that nobody can guess.
"""


class Directory:
    """
    The streams of BOSH, by their sid.

    A stream is here for as long as its session is in the table, so that there are never
    more than C{limits.sessions}.

    That finding takes a little longer for one sid than for another tells nothing of what is
    in them: only those are compared whose hashes, which are keyed, are equal.

    @ivar settings: For who comes next.  May be replaced.
    """

    def __init__(self, settings: BOSHSettings) -> None:
        self.settings = settings
        self._streams: dict[str, BOSHStream] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: BOSHStream) -> str:
        """
        Add a stream.

        @return: Its sid.  Whoever knows that can speak for the client: it is not to be
            told to anybody else, the log included.
        """
        sid = secrets.token_urlsafe(SID_BYTES)
        self._streams[sid] = stream
        return sid

    def find(self, sid: str | None) -> BOSHStream | None:
        """
        Return the stream with a sid, if there is one.
        """
        return None if sid is None else self._streams.get(sid)

    def remove(self, sid: str) -> None:
        """
        Take a stream out.
        """
        del self._streams[sid]
