# Copyright the cmanager authors.
# See LICENSE for details.

"""
The frames of a WebSocket (RFC 6455 section 5), from a client and to it.  Layer 1,
sans-I/O; knows neither XML nor transports.

wsproto reads them; here is what it leaves to others: nothing of a message is kept, and
all that is counted is counted before it is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen
from wsproto import events
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.extensions import Extension
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

from cmanager.errors import StreamError

NORMAL = CloseReason.NORMAL_CLOSURE.value

MAX_CONTROL_BYTES = 125
"""
Payload of a control frame (section 5.5).
"""

_NO_BITS = RsvBits(False, False, False)
_CONDITIONS = {
    CloseReason.INVALID_FRAME_PAYLOAD_DATA: "not-well-formed",
    CloseReason.MESSAGE_TOO_BIG: "policy-violation",
}
_REASONS = {
    CloseReason.UNSUPPORTED_DATA: "a binary message",
    CloseReason.INVALID_FRAME_PAYLOAD_DATA: "not UTF-8",
    CloseReason.MESSAGE_TOO_BIG: "a message is too large",
}
_TEXTS = {
    CloseReason.UNSUPPORTED_DATA: "Messages are text.",
    CloseReason.MESSAGE_TOO_BIG: "an element is too large",
}


class Violation(StreamError):
    """
    What the client sends is no WebSocket, or not one for XMPP: nothing behind it can be
    read.

    @ivar code: For the closing of the WebSocket (section 7.4.1).
    """

    def __init__(self, code: CloseReason, reason: str) -> None:
        condition = _CONDITIONS.get(code, "bad-format")
        super().__init__(condition, _TEXTS.get(code), reason=_REASONS.get(code, reason))
        self.code = code.value


@frozen
class Part:
    """
    Some of a text message, or all of it.  UTF-8, and no character in two parts.
    """

    data: bytes
    isLast: bool


@frozen
class Ping:
    """
    To be answered with the same payload.
    """

    payload: bytes


@frozen
class Hangup:
    """
    The client has closed the WebSocket: it sends no more.

    @ivar code: Why, to be said in return.
    """

    code: int


FrameEvent = Part | Ping | Hangup | Violation


class _Bound(Extension):
    """
    No extension that anybody has heard of: the place where wsproto shows a frame before
    it is there.

    @ivar limit: Payload of a message, in bytes.
    """

    name = "bound"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._isControl = False
        self._size = 0  # what has come of the message

    def enabled(self) -> bool:
        """
        See L{Extension}.
        """
        return True

    def offer(self) -> bool:
        """
        See L{Extension}.  Nobody asks a server.
        """
        return False

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """
        See L{Extension}.  Called again for the same frame where its head comes in pieces.
        """
        self._isControl = opcode.iscontrol()
        if self._isControl:
            return _NO_BITS
        if opcode is Opcode.BINARY:
            return CloseReason.UNSUPPORTED_DATA
        if opcode is Opcode.TEXT:
            self._size = 0
        if self._size + payload_length > self.limit:
            return CloseReason.MESSAGE_TOO_BIG
        return _NO_BITS

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        """
        See L{Extension}.
        """
        if not self._isControl:
            self._size += len(data)
        return data


class Frames:
    """
    Reads what one client sends.

    Between two calls it keeps less than one control frame.

    @ivar isOver: The client has closed, or broken the rules: nothing more is read.
    """

    __slots__ = ("_bound", "_connection", "isOver")

    def __init__(self, limit: int) -> None:
        self._bound = _Bound(limit)
        self._connection = Connection(ConnectionType.SERVER, [self._bound])
        self.isOver = False

    def __del__(self) -> None:
        # The generator by which wsproto reads is kept by what it reads for, which would wait
        # for the garbage collector.
        self._connection._proto._parse_more.close()

    @property
    def limit(self) -> int:
        """
        How many bytes a message may have, in how many fragments however.
        """
        return self._bound.limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._bound.limit = limit

    def feed(self, data: bytes) -> Iterator[FrameEvent]:
        """
        Consume bytes from the client, and report what they hold.  To be read to its end.

        @param data: Any split of what was sent.
        """
        if self.isOver:
            return
        connection = self._connection
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, events.TextMessage):
                yield Part(event.data.encode(), event.message_finished)
            elif isinstance(event, events.Ping):
                yield Ping(bytes(event.payload))
            elif isinstance(event, events.CloseConnection):
                self.isOver = True
                if connection.state is ConnectionState.REMOTE_CLOSING:
                    isSaid = event.code != CloseReason.NO_STATUS_RCVD
                    yield Hangup(int(event.code) if isSaid else NORMAL)
                else:
                    yield Violation(CloseReason(event.code), str(event.reason))


def textFrame(payload: bytes) -> bytes:
    """
    Return a text message of one frame.

    @param payload: UTF-8.
    """
    size = len(payload)
    if size <= MAX_CONTROL_BYTES:
        return b"\x81%c%b" % (size, payload)
    if size < 0x10000:
        return b"\x81\x7e%b%b" % (size.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (size.to_bytes(8, "big"), payload)


PING = b"\x89\x00"


def pongFrame(payload: bytes) -> bytes:
    """
    Return the answer to a ping.
    """
    return b"\x8a%c%b" % (len(payload), payload)


def closeFrame(code: int) -> bytes:
    """
    Return the end of a WebSocket.
    """
    return b"\x88\x02" + code.to_bytes(2, "big")
