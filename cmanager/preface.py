# Copyright the cmanager authors.
# See LICENSE for details.

"""
The PROXY protocol, versions 1 and 2: what a proxy says before a connection's first byte.
Layer 1, sans-I/O; knows no transport and trusts nobody: whoever feeds it has asked
L{cmanager.proxied.Networks} whether the peer may say such a thing.

The specification is HAProxy's C{doc/proxy-protocol.txt}.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from attrs import frozen

from cmanager.errors import LocalError, PrefaceError
from cmanager.proxied import literal

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FIXED_BYTES = 16
"""
Of version 2: signature, command, family, length.
"""

MAX_LINE_BYTES = 107
"""
Of version 1, its end of line included (section 2.1).
"""

MAX_BLOCK_BYTES = 2048
"""
Of version 2, behind what is fixed.  The longest addresses are 216 bytes; what proxies add
to them (names, a certificate's subject) does not come near the rest.
"""

_WORD = b"PROXY "
_LINE = re.compile(
    r"PROXY (?:UNKNOWN(?: [^\r\n]*)?"
    r"|TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n"
)
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_FAMILIES = {
    family << 4 | protocol: size if protocol else 0
    for family, size in enumerate((0, 12, 36, 216))
    for protocol in (0, 1, 2)
}
"""
Family (none, IPv4, IPv6, Unix) and protocol (none, stream, datagram), and how many bytes
their addresses have.  Where one of the two is none there is nothing to look into.
"""

_CRC32C, _TLS = 0x03, 0x20
_CLIENT_TLS = 0x01


@frozen
class Origin:
    """
    What a preface says.

    @ivar address: Where the client is, an IP address literal, IPv4 mapped into IPv6 as
        IPv4; L{None} if the preface does not say: the peer is the client then.
    @ivar port: The client's; L{None} without an address.
    @ivar secure: The client speaks TLS with the proxy, which has taken it off.
    @ivar rest: What came behind the preface.
    """

    address: str | None
    port: int | None
    rest: bytes
    secure: bool = False


class Preface:
    """
    Reads one preface.  Holds no more bytes than the longest one and one call's.
    """

    __slots__ = ("_buffer", "_isOver")

    def __init__(self) -> None:
        self._buffer = b""
        self._isOver = False

    def feed(self, data: bytes) -> Origin | None:
        """
        Consume bytes from the peer.

        @param data: Any split of the connection; may be empty.
        @return: L{None} as long as the preface is not complete.
        @raise PrefaceError: This is none, or not a good one; as early as that can be told.
            The preface is spent afterwards, as it is once it is complete.
        """
        if self._isOver:
            raise LocalError("the preface has been read")
        self._buffer += data
        self._isOver = True
        if _agree(self._buffer, SIGNATURE):
            origin = self._block()
        elif _agree(self._buffer, _WORD):
            origin = self._line()
        else:
            raise PrefaceError("no PROXY preface")
        self._isOver = origin is not None
        return origin

    def _line(self) -> Origin | None:
        end = self._buffer.find(b"\n", 0, MAX_LINE_BYTES) + 1
        if end == 0:
            if len(self._buffer) >= MAX_LINE_BYTES:
                raise PrefaceError(f"a PROXY line of more than {MAX_LINE_BYTES} bytes")
            return None
        match = _LINE.fullmatch(self._buffer[:end].decode("ascii", "replace"))
        if match is None:
            raise PrefaceError("a PROXY line that cannot be read")
        rest = self._buffer[end:]
        version, source, target, sourcePort, targetPort = match.groups()
        if version is None:
            return Origin(None, None, rest)
        address = _literal(source, version)
        if address is None or _literal(target, version) is None:
            raise PrefaceError(f"a PROXY line with an address that is not IPv{version}")
        if int(sourcePort) > 65535 or int(targetPort) > 65535:
            raise PrefaceError("a PROXY line with a port above 65535")
        return Origin(address, int(sourcePort), rest)

    def _block(self) -> Origin | None:
        # Each byte is judged when it is there: who is wrong is not waited for.
        fixed = self._buffer[:FIXED_BYTES]
        if len(fixed) > 12 and fixed[12] not in (_LOCAL, _PROXY):
            raise PrefaceError(f"PROXY version and command 0x{fixed[12]:02x}")
        if len(fixed) > 13 and fixed[12] == _PROXY and fixed[13] not in _FAMILIES:
            raise PrefaceError(f"PROXY family and protocol 0x{fixed[13]:02x}")
        if len(fixed) < FIXED_BYTES:
            return None
        length = int.from_bytes(fixed[14:16], "big")
        if length > MAX_BLOCK_BYTES:
            raise PrefaceError(f"a PROXY block of {length} bytes, more than {MAX_BLOCK_BYTES}")
        # What LOCAL is followed by is to be skipped, without a look into it.
        family = fixed[13] if fixed[12] == _PROXY else 0
        if length < _FAMILIES[family]:
            raise PrefaceError(f"a PROXY block of {length} bytes for family 0x{family:02x}")
        end = FIXED_BYTES + length
        if len(self._buffer) < end:
            return None
        return _origin(self._buffer[:end], family, self._buffer[end:])


def _agree(data: bytes, expected: bytes) -> bool:
    """
    Tell whether the one is how the other begins.
    """
    return data.startswith(expected) or expected.startswith(data)


def _literal(text: str, version: str) -> str | None:
    # The address of TCP6 may be one of IPv4 that is mapped.
    return literal(text) if (":" in text) == (version == "6") else None


def _origin(whole: bytes, family: int, rest: bytes) -> Origin:
    if not _FAMILIES[family]:
        return Origin(None, None, rest)
    secure = False
    for type_, place, size in _vectors(whole, FIXED_BYTES + _FAMILIES[family]):
        if type_ == _CRC32C:
            zeroed = whole[:place] + bytes(size) + whole[place + size :]
            if size != 4 or crc32c(zeroed) != int.from_bytes(whole[place : place + 4], "big"):
                raise PrefaceError("a PROXY block with a wrong checksum")
        elif type_ == _TLS:
            secure = size >= 5 and bool(whole[place] & _CLIENT_TLS)
    if family == _TCP4:
        source, port = whole[16:20], whole[24:26]
        address = ".".join(map(str, source))
    elif family == _TCP6:
        source, port = whole[16:32], whole[48:50]
        address = ":".join(f"{group:x}" for group in struct.unpack("!8H", source))
    else:
        return Origin(None, None, rest, secure)
    return Origin(literal(address), int.from_bytes(port, "big"), rest, secure)


def _vectors(whole: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """
    Yield type, place and length of what stands behind the addresses.
    """
    while at < len(whole):
        size = int.from_bytes(whole[at + 1 : at + 3], "big")
        if at + 3 + size > len(whole):
            raise PrefaceError("a PROXY block that ends inside of a value")
        yield whole[at], at + 3, size
        at += 3 + size


def _table() -> Iterator[int]:
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901
        yield value


_CRC_TABLE = tuple(_table())


def crc32c(data: bytes) -> int:
    """
    Return the checksum of RFC 4960 appendix B, as HAProxy's C{proxy-v2-options crc32c}
    sends it.
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC_TABLE[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF
