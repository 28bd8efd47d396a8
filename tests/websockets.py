# Copyright the cmanager authors.
# See LICENSE for details.

"""
A WebSocket client's end, as strict with a server as the standard allows, and able to
break every rule itself.  Shares no code with the program.
"""

from __future__ import annotations

import base64
import hashlib
import struct

from attrs import frozen

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x37\xfa\x21\x3d"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

HEADERS = (
    (b"Host", b"verona.example"),
    (b"Upgrade", b"websocket"),
    (b"Connection", b"keep-alive, Upgrade"),
    (b"Sec-WebSocket-Key", KEY),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Protocol", b"xmpp"),
)


def headers(**changes: bytes | None) -> list[tuple[bytes, bytes]]:
    """
    Return a good request's headers, with some changed, added or left out.

    @param changes: By name, with an underscore for a hyphen.
    """
    wanted: dict[bytes, bytes | None] = {name.lower(): value for name, value in HEADERS}
    wanted.update((name.replace("_", "-").encode(), value) for name, value in changes.items())
    return [(name, value) for name, value in wanted.items() if value is not None]


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    isLast: bool = True,
    mask: bytes | None = MASK,
    bits: int = 0,
    length: bytes | None = None,
) -> bytes:
    """
    Return a client's frame.

    @param mask: L{None} for none.
    @param bits: The reserved ones, RSV1 is 4.
    @param length: The length as it is to be written, in 1, 3 or 9 bytes, without the bit
        that says that there is a mask.
    """
    size = len(payload)
    if length is None:
        if size < 126:
            length = bytes([size])
        elif size < 65536:
            length = b"\x7e" + struct.pack("!H", size)
        else:
            length = b"\x7f" + struct.pack("!Q", size)
    head = bytes([isLast << 7 | bits << 4 | opcode, length[0] | (mask is not None) << 7])
    if mask is None:
        return head + length[1:] + payload
    return head + length[1:] + mask + _masked(payload, mask)


def _masked(payload: bytes, mask: bytes) -> bytes:
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def text(payload: bytes) -> bytes:
    """
    Return a text message.
    """
    return frame(TEXT, payload)


def fragments(payload: bytes, size: int) -> list[bytes]:
    """
    Return the frames of a text message in fragments of so many bytes.
    """
    parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
    return [
        frame(CONTINUATION if at else TEXT, part, isLast=at == len(parts) - 1)
        for at, part in enumerate(parts)
    ]


def hangup(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """
    Return the end of the WebSocket.
    """
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + reason)


@frozen
class Got:
    """
    A frame of the server's.
    """

    opcode: int
    payload: bytes


class Judge:
    """
    Reads what a server sends.

    @ivar response: The head of the HTTP response, once it is there.
    @ivar frames: What came behind it.
    """

    def __init__(self) -> None:
        self.response = b""
        self.frames: list[Got] = []
        self._buffer = b""
        self._isClosed = False

    def feed(self, data: bytes) -> None:
        """
        @raise AssertionError: It is not a WebSocket server's, or not one for XMPP.
        """
        self._buffer += data
        if not self.response:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self.response, self._buffer = head, rest
            _judgeResponse(head)
        while self._frame():
            pass

    def _frame(self) -> bool:
        data = self._buffer
        if len(data) < 2:
            return False
        first, size, at = data[0], data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
            assert len(data) < at or size > 125, "a length in too many bytes"
        elif size == 127:
            size, at = int.from_bytes(data[2:10], "big"), 10
            assert len(data) < at or 65535 < size < 1 << 63, "a length in too many bytes"
        assert size < 128 or at > 2, "a server's frame is not masked"
        assert first & 0xF0 == 0x80, "one whole frame, without extensions"
        assert first & 15 in (TEXT, CLOSE, PING, PONG), "text, or control"
        assert first < 0x88 or size < 126, "a control frame is small"
        assert not self._isClosed, "nothing comes behind the end"
        if len(data) < at + size:
            return False
        self._buffer = data[at + size :]
        got = Got(first & 15, data[at : at + size])
        if got.opcode == TEXT:
            assert got.payload[:1] == b"<" and got.payload[:2] != b"<?"
            got.payload.decode()
        elif got.opcode == CLOSE:
            self._isClosed = True
            assert size == 2, "a code and no reason"
        self.frames.append(got)
        return True

    def messages(self) -> list[bytes]:
        """
        Return the text messages so far.
        """
        return [got.payload for got in self.frames if got.opcode == TEXT]

    @property
    def code(self) -> int | None:
        """
        Return the code of the end, L{None} before.
        """
        ends = [got.payload for got in self.frames if got.opcode == CLOSE]
        return int.from_bytes(ends[0], "big") if ends else None


def _judgeResponse(head: bytes) -> None:
    status, *lines = head.split(b"\r\n")
    assert status == b"HTTP/1.1 101 Switching Protocols", head
    found = {}
    for line in lines:
        name, _, value = line.partition(b": ")
        found[name.lower()] = value
    accept = base64.b64encode(hashlib.sha1(KEY + _GUID, usedforsecurity=False).digest())
    assert found == {
        b"upgrade": b"websocket",
        b"connection": b"Upgrade",
        b"sec-websocket-accept": accept,
        b"sec-websocket-protocol": b"xmpp",
    }, found
