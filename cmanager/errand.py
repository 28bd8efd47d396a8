# Copyright the cmanager authors.
# See LICENSE for details.

"""
What workers say to each other about requests that have reached one of them and are for a
session of another.  Layer 1, sans-I/O.

Over a connection one asks and the other answers::

    asks                                answers
                                        Hello        at first: somebody is there
    Question  how much may one send?    Permission
    Errand    a request                 Answer       perhaps much later
    Fate      what became of the request, or of its answer

A number ties together what belongs together.  Each message has its length before it::

    length of what follows: 4 bytes, kind: 1, number: 8, the rest: as the kind is
"""

from __future__ import annotations

import struct
from enum import Enum

from attrs import field, frozen

from cmanager.errors import LocalError

VERSION = 1

MAX_MESSAGE_BYTES = 1 << 29
"""
The largest answer is one stanza of a server's, somewhat longer than C{server.stanza-bytes}
may be.
"""

_LENGTH = struct.Struct(">I")
_START = struct.Struct(">IBQ")
_BEHIND_LENGTH = _START.size - _LENGTH.size
_ANSWER = struct.Struct(">HB")


class Happened(Enum):
    """
    What becomes of a request, or of its answer.
    """

    TAKEN = 0
    """The kernel has all of the answer."""
    RECEIVED = 1
    """The client has the answer."""
    LOST = 2
    """The connection is gone, and had not taken all of the answer, if there was one."""


@frozen
class Hello:
    """
    Somebody is there, who speaks this.
    """

    number: int = VERSION

    def encode(self) -> bytes:
        """
        Return the message.
        """
        return _message(0, self.number)


@frozen
class Question:
    """
    How many bytes may a request have?

    @ivar sid: Of the session that it is for.
    """

    number: int
    sid: str = field(repr=False)

    def encode(self) -> bytes:
        """
        Return the message.
        """
        return _message(1, self.number, self.sid.encode())


@frozen
class Permission:
    """
    So many.
    """

    number: int
    amount: int

    def encode(self) -> bytes:
        """
        Return the message.
        """
        return _message(2, self.number, _LENGTH.pack(self.amount))


@frozen
class Errand:
    """
    A request.

    @ivar isSecure: It came encrypted.
    @ivar address: Of its client; L{None} for a Unix socket.
    """

    number: int
    isSecure: bool
    address: str | None
    body: bytes = field(repr=False)

    def encode(self) -> bytes:
        """
        Return the message.
        """
        address = (self.address or "").encode()
        return _message(3, self.number, bytes((self.isSecure, len(address))), address, self.body)


@frozen
class Answer:
    """
    The answer to a request.

    @ivar status: Of HTTP.
    @ivar type_: The C{Content-Type}.
    """

    number: int
    status: int
    type_: str
    data: bytes = field(repr=False)

    def encode(self) -> bytes:
        """
        Return the message.
        """
        type_ = self.type_.encode()
        return _message(4, self.number, _ANSWER.pack(self.status, len(type_)), type_, self.data)


@frozen
class Fate:
    """
    What became of a request, or of its answer.
    """

    number: int
    happened: Happened

    def encode(self) -> bytes:
        """
        Return the message.
        """
        return _message(5, self.number, bytes((self.happened.value,)))


Message = Hello | Question | Permission | Errand | Answer | Fate


def _message(kind: int, number: int, *rest: bytes) -> bytes:
    length = _BEHIND_LENGTH + sum(map(len, rest))
    return b"".join((_START.pack(length, kind, number), *rest))


def _decode(kind: int, number: int, rest: bytes) -> Message:
    if kind == 0:
        return Hello(number)
    if kind == 1:
        return Question(number, rest.decode())
    if kind == 2:
        return Permission(number, *_LENGTH.unpack(rest))
    if kind == 3:
        end = 2 + rest[1]
        return Errand(number, bool(rest[0]), rest[2:end].decode() or None, rest[end:])
    if kind == 4:
        status, length = _ANSWER.unpack_from(rest)
        end = _ANSWER.size + length
        return Answer(number, status, rest[_ANSWER.size : end].decode(), rest[end:])
    if kind == 5:
        return Fate(number, Happened(rest[0]))
    raise ValueError("a message that is none")


class Reader:
    """
    Bytes in, messages out.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """
        Return the messages that are complete by now.

        @param data: Any split of what was sent.
        @raise LocalError: Somebody says something else; the reader is spent.
        """
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        at = 0
        while len(buffer) - at >= _START.size:
            length, kind, number = _START.unpack_from(buffer, at)
            end = at + _LENGTH.size + length
            if not _BEHIND_LENGTH <= length <= MAX_MESSAGE_BYTES:
                raise LocalError("a message between workers of an impossible length")
            if len(buffer) < end:
                break
            try:
                messages.append(_decode(kind, number, bytes(buffer[at + _START.size : end])))
            except (ValueError, IndexError, struct.error) as error:
                raise LocalError("workers do not understand each other") from error
            at = end
        del buffer[:at]
        return messages
