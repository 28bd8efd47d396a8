# Copyright the cmanager authors.
# See LICENSE for details.

"""
Every session there is, by stream id, by link and by state.  Layer 2; looks at
no stanza and speaks to nobody.

This is the only place a session changes lists: its C{state} and its C{link} are
written here and nowhere else, in the same breath as the lists, so that no count
can drift from the truth.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator
from enum import Enum
from typing import TYPE_CHECKING, NewType

from cmanager.errors import LocalError, StreamError
from cmanager.stanza import escapeAttribute

if TYPE_CHECKING:
    from cmanager.interfaces import ILink
    from cmanager.session import Session

StreamID = NewType("StreamID", str)

STREAM_ID_CHARACTERS = 22
"""
22 of 62 characters are 131 random bits: the id is also the only thing that tells
one session from another at the server.
"""

_ALPHABET = string.ascii_letters + string.digits
_STREAM_IDS = len(_ALPHABET) ** STREAM_ID_CHARACTERS
_WORST_HASH = -(2**31)


class State(Enum):
    """
    Where a session is; see C{docs/session.rst}.
    """

    # There is one object of each; the one of Enum is a call more whenever one is counted.
    __hash__ = object.__hash__

    AWAITING_HEADER = "awaiting-header"
    WAITING = "waiting"
    NEGOTIATING = "negotiating"
    AWAITING_RESTART = "awaiting-restart"
    BINDING = "binding"
    BOUND = "bound"
    CLOSING = "closing"
    CLOSED = "closed"


def _written(number: int) -> str:
    """
    Return a number below C{_STREAM_IDS} in characters of the alphabet, always as many.
    """
    characters = []
    for _ in range(STREAM_ID_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[digit])
    return "".join(characters)


def javaHash(text: str) -> int:
    """
    Return what Java's C{String.hashCode} gives for ASCII: the server chooses a link
    by it.
    """
    result = 0
    for character in text:
        result = (31 * result + ord(character)) & 0xFFFFFFFF
    return result - 2**32 if result >= 2**31 else result


class Ghost:
    """
    A stream id that the server knows and we do not: what stands in for a session
    where something must be returned for it.

    @ivar id: The stream id, as the server wrote it.
    @ivar wireID: See L{Session <cmanager.session.Session>}.
    """

    __slots__ = ("id", "wireID")

    def __init__(self, id: str) -> None:
        self.id = StreamID(id)
        self.wireID = escapeAttribute(id)


class Room:
    """
    How many places for clients are taken, of those that there are.

    @ivar taken: Here.
    """

    __slots__ = ("taken",)

    def __init__(self) -> None:
        self.taken = 0

    def take(self, capacity: int) -> bool:
        """
        Take one, if there is one.

        @param capacity: How many there are.
        """
        if self.taken >= capacity:
            return False
        self.taken += 1
        return True

    def leave(self) -> None:
        """
        Give one back.
        """
        self.taken -= 1


class Table:
    """
    All sessions of the process.

    @param capacity: How many there may be at once, strangers among them.
    @param manager: Our name on the links, which no stream id may hold: it is half a
        secret (pitfall S-1), and clients see their stream id.
    @param room: Where other processes take theirs, too.
    @ivar strangers: Connections without a session: of clients that have not said yet what
        they speak, or that speak HTTP.
    """

    def __init__(self, capacity: int, manager: str = "", room: Room | None = None) -> None:
        self.capacity = capacity
        self._room = Room() if room is None else room
        self.strangers = 0
        self._manager = manager.lower()
        self._byID: dict[str, Session] = {}
        self._byLink: dict[ILink, dict[Session, None]] = {}
        self._byState: dict[State, int] = {}
        self.get = self._byID.get

    def __len__(self) -> int:
        return len(self._byID)

    def __iter__(self) -> Iterator[Session]:
        """
        Iterate over a copy: sessions may come and go meanwhile.
        """
        return iter(list(self._byID.values()))

    def newStreamID(self) -> StreamID:
        """
        Return an unguessable id that no session has.
        """
        while True:
            made = _written(secrets.randbelow(_STREAM_IDS))
            if self.isUsable(made):
                return StreamID(made)

    def isUsable(self, streamID: str) -> bool:
        """
        Tell whether an id can be given to a new session.

        An id whose Java hash is -2**31 never receives anything (pitfall S-9).
        """
        return (
            streamID not in self._byID
            and not (self._manager and self._manager in streamID.lower())
            and javaHash(streamID) != _WORST_HASH
        )

    def add(self, session: Session) -> None:
        """
        List a new session.

        @raise StreamError: C{resource-constraint}; there are as many as there may be.
        """
        if session.id in self._byID:
            raise LocalError("two sessions with one stream id")
        self._requireRoom()
        self._byID[session.id] = session
        self._byState[session.state] = self._byState.get(session.state, 0) + 1

    def addStranger(self) -> None:
        """
        Count a connection that has no session.

        @raise StreamError: As L{add}.
        """
        self._requireRoom()
        self.strangers += 1

    def removeStranger(self) -> None:
        """
        It is gone, or is about to have one.
        """
        self.strangers -= 1
        self._room.leave()

    def _requireRoom(self) -> None:
        if not self._room.take(self.capacity):
            raise StreamError(
                "resource-constraint", "Too many clients.", reason="limits.sessions is reached"
            )

    def move(self, session: Session, state: State) -> None:
        """
        Put a session into another state.
        """
        if session.id in self._byID:
            self._byState[session.state] -= 1
            self._byState[state] = self._byState.get(state, 0) + 1
        session.state = state

    def pin(self, session: Session, link: ILink | None) -> None:
        """
        Pin a session to a link, or to none.
        """
        if session.link is not None:
            others = self._byLink[session.link]
            del others[session]
            if not others:
                del self._byLink[session.link]
        session.link = link
        if link is not None:
            self._byLink.setdefault(link, {})[session] = None

    def remove(self, session: Session) -> None:
        """
        Forget a session.  Once: a second time is harmless.
        """
        if self._byID.pop(session.id, None) is not None:
            self._room.leave()
            self.pin(session, None)
            self._byState[session.state] -= 1

    def pinned(self, link: ILink) -> list[Session]:
        """
        Return the sessions on a link, oldest first; a copy.
        """
        return list(self._byLink.get(link, ()))

    def counts(self) -> dict[State, int]:
        """
        Return how many sessions are in each state; those without any may be missing.
        """
        return {state: count for state, count in self._byState.items() if count}
