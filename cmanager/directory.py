# Copyright the cmanager authors.
# See LICENSE for details.

"""
Where requests over HTTP find the streams they are for, or the worker that has them.
Layer 3; asks nothing of a stream.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmanager.asking import Colleague
    from cmanager.bosh import BOSHStream
    from cmanager.settings import BOSHSettings

SID_BYTES = 24
"""
XEP-0124 section 14.1 wants 128 bits that nobody can guess.
"""


_SLOT = re.compile("[A-Za-z0-9_-]+-([0-9]{1,4})", re.ASCII)


class Directory:
    """
    The streams of BOSH, by their sid.

    A stream is here for as long as its session is in the table, so that there are never
    more than C{limits.sessions}.

    That finding takes a little longer for one sid than for another tells nothing of what is
    in them: only those are compared whose hashes, which are keyed, are equal.

    A sid names the slot of its worker where there is more than one.  That helps nobody to
    guess it.

    @param slot: Ours; L{None} if this is the only process.
    @ivar settings: For who comes next.  May be replaced.
    @ivar colleagues: The other workers, by their slot.
    """

    def __init__(self, settings: BOSHSettings, slot: int | None = None) -> None:
        self.settings = settings
        self.colleagues: Mapping[int, Colleague] = MappingProxyType({})
        self._suffix = "" if slot is None else f"-{slot}"
        self._streams: dict[str, BOSHStream] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: BOSHStream) -> str:
        """
        Add a stream.

        @return: Its sid.  Whoever knows that can speak for the client: it is not to be
            told to anybody else, the log included.
        """
        sid = secrets.token_urlsafe(SID_BYTES) + self._suffix
        self._streams[sid] = stream
        return sid

    def find(self, sid: str | None) -> BOSHStream | None:
        """
        Return the stream with a sid, if there is one.
        """
        return None if sid is None else self._streams.get(sid)

    def colleague(self, sid: str | None) -> Colleague | None:
        """
        Return the worker that has the stream with a sid, if there is one, and it is another.
        """
        match = _SLOT.fullmatch(sid) if self.colleagues and sid is not None else None
        return None if match is None else self.colleagues.get(int(match[1]))

    def remove(self, sid: str) -> None:
        """
        Take a stream out.
        """
        del self._streams[sid]
