# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.preface}.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import LocalError, PrefaceError
from cmanager.preface import MAX_BLOCK_BYTES, MAX_LINE_BYTES, SIGNATURE, Origin, Preface, crc32c
from tests.properties import given, st

REST = b"<stream:stream\r\n"

TCP4 = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"
TCP6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"


def block(
    addresses: bytes = b"",
    *,
    command: int = 0x21,
    family: int = 0x11,
    vectors: bytes = b"",
    length: int | None = None,
) -> bytes:
    """
    Make a preface of version 2.
    """
    body = addresses + vectors
    size = len(body) if length is None else length
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", size) + body


def vector(type_: int, value: bytes) -> bytes:
    """
    Make what stands behind the addresses.
    """
    return struct.pack("!BH", type_, len(value)) + value


def checked(preface: bytes) -> bytes:
    """
    Put a checksum at the end of a preface of version 2.
    """
    length = int.from_bytes(preface[14:16], "big") + 7
    zeroed = preface[:14] + struct.pack("!H", length) + preface[16:] + vector(3, bytes(4))
    return zeroed[:-4] + struct.pack("!I", crc32c(zeroed))


def addresses(source: str, port: int, target: str = "", targetPort: int = 443) -> bytes:
    """
    Make the addresses of version 2.
    """
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    packed = socket.inet_pton(family, source) + socket.inet_pton(family, target or source)
    return packed + struct.pack("!HH", port, targetPort)


V4 = addresses("192.0.2.1", 56324)
V6 = addresses("2001:db8::1", 56324)

GOOD: list[tuple[bytes, str | None, int | None]] = [
    (TCP4, "192.0.2.1", 56324),
    (TCP6, "2001:db8::1", 56324),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 0 65535\r\n", "192.0.2.1", 0),
    (b"PROXY TCP6 2001:DB8:0::1 ::2 65535 0\r\n", "2001:db8::1", 65535),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c000:202 1 2\r\n", "192.0.2.1", 1),
    (b"PROXY UNKNOWN\r\n", None, None),
    (b"PROXY UNKNOWN anything at all \xff\r\n", None, None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None, None),
    (block(V4), "192.0.2.1", 56324),
    (block(V6, family=0x21), "2001:db8::1", 56324),
    (block(addresses("::ffff:192.0.2.1", 9), family=0x21), "192.0.2.1", 9),
    (block(V4, vectors=vector(0x04, b"")), "192.0.2.1", 56324),
    (block(V4, vectors=vector(0x01, b"h2") + vector(0xEA, b"x" * 300)), "192.0.2.1", 56324),
    (checked(block(V4, vectors=vector(2, b"a.example"))), "192.0.2.1", 56324),
    (checked(block(V6, family=0x21)), "2001:db8::1", 56324),
    # Health checks of the proxy's own; what they carry is not looked at.
    (block(command=0x20, family=0), None, None),
    (block(V4, command=0x20), None, None),
    (block(b"?" * 5, command=0x20, family=0xFF), None, None),
    # Nothing that is an address here.
    (block(family=0), None, None),
    (block(b"?" * 7, family=0), None, None),
    (block(b"\0" * 216, family=0x31), None, None),
    (block(b"/run/x".ljust(216, b"\0"), family=0x32), None, None),
    (block(V4, family=0x12), None, None),
    (block(V6, family=0x22), None, None),
    (block(family=0x10), None, None),
    (block(family=0x01), None, None),
]

BAD_LINES = [
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY UNKNOWN2\r\n",
    b"PROXY UNKNOWN\n",
    b"PROXY UNKNOWN \r x\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
    b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
    b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY\tTCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
    b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.256 1 2\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 ::2 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP6 2001:db8::1 192.0.2.2 1 2\r\n",
    b"PROXY TCP6 2001:db8:::1 ::2 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
    b"PROXY TCP6 [2001:db8::1] ::2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1e1 2\r\n",
    b"PROXY TCP4 192.0.2.\xb9 192.0.2.2 1 2\r\n",
    "PROXY TCP4 192.0.2.٣ 192.0.2.2 1 2\r\n".encode(),
]

NOT_ONE = [
    b"proxy ",
    b"PROXX",
    b" PROXY",
    b"PUT / HTTP/1.1",
    b"GET / HTTP/1.1",
    b"\r\n\r\n\0\r\nQUIT\r",
    b"\r\nPROXY",
    b"<stream:stream",
    b"\x16\x03\x01",
    b"\0",
]

BAD_BLOCKS = [
    block(V4, command=0x11),
    block(V4, command=0x31),
    block(V4, command=0x22),
    block(V4, command=0x2F),
    block(V4, family=0x13),
    block(V4, family=0x41),
    block(V4, family=0xFF),
    block(V4[:-1]),
    block(V6[:-1], family=0x21),
    block(V4, family=0x21),
    block(V4[:-1], family=0x12),
    block(b"\0" * 215, family=0x31),
    block(V4, vectors=b"\4"),
    block(V4, vectors=b"\4\0"),
    block(V4, vectors=b"\4\0\1"),
    block(V4, vectors=vector(4, b"") + b"\4\0\4abc"),
    block(V4, vectors=vector(3, b"\0\0\0\0")),
    block(V4, vectors=vector(3, b"\0\0\0")),
    checked(block(V4))[:-1] + b"\0",
]


def read(preface: bytes) -> Origin | None:
    """
    Feed a preface at once.
    """
    return Preface().feed(preface)


class GoodTests(SynchronousTestCase):
    """
    What proxies send.
    """

    def test_read(self) -> None:
        """
        The client's address and port come from the preface; those of health checks, Unix
        sockets and what is no stream are not there.
        """
        for preface, address, port in GOOD:
            self.assertEqual(read(preface), Origin(address, port, b""), preface)

    def test_rest(self) -> None:
        """
        What comes behind in one read is handed back as it is.
        """
        for preface, address, port in GOOD:
            self.assertEqual(read(preface + REST), Origin(address, port, REST), preface)

    def test_everySplit(self) -> None:
        """
        A preface may be split anywhere.
        """
        for preface, address, port in GOOD:
            for cut in range(len(preface)):
                parser = Preface()
                self.assertIsNone(parser.feed(preface[:cut]), (preface, cut))
                self.assertEqual(parser.feed(preface[cut:] + REST), Origin(address, port, REST))

    def test_byteByByte(self) -> None:
        """
        Each byte may come alone, and nothing be read before the last one.
        """
        for preface, address, port in GOOD:
            parser = Preface()
            answers = [parser.feed(preface[i : i + 1]) for i in range(len(preface))]
            self.assertEqual(answers.pop(), Origin(address, port, b""))
            self.assertEqual(set(answers), {None})

    def test_tls(self) -> None:
        """
        A proxy that has taken off TLS says so; one that has only looked at it does not.
        """
        for value, secure in (
            (b"\1\0\0\0\0", True),
            (b"\7\0\0\0\1" + vector(0x21, b"TLSv1.3"), True),
            (b"\6\0\0\0\0", False),
            (b"\1\0\0\0", False),
            (b"", False),
        ):
            for addresses_, family in ((V4, 0x11), (V6, 0x21), (b"\0" * 216, 0x31)):
                origin = read(block(addresses_, family=family, vectors=vector(0x20, value)))
                assert origin is not None
                self.assertEqual(origin.secure, secure, value)
        local = read(block(V4, command=0x20, vectors=vector(0x20, b"\1\0\0\0\0")))
        assert local is not None
        self.assertFalse(local.secure)

    def test_crc32c(self) -> None:
        """
        The checksum is the one of RFC 3720 B.4.
        """
        self.assertEqual(crc32c(bytes(32)), 0x8A9136AA)
        self.assertEqual(crc32c(b"\xff" * 32), 0x62A8AB43)
        self.assertEqual(crc32c(bytes(range(32))), 0x46DD794E)


class BadTests(SynchronousTestCase):
    """
    Whatever is no preface is refused.
    """

    def refused(self, parser: Preface, data: bytes) -> str:
        """
        Feed what is refused, and return why.
        """
        reason = self.assertRaises(PrefaceError, parser.feed, data).reason
        self.assertTrue(reason.isascii())
        self.assertNotIn("192.0.2", reason)
        return reason

    def test_lines(self) -> None:
        """
        A line that is not as the specification has it is refused, wherever it is split.
        """
        for line in BAD_LINES:
            self.refused(Preface(), line)
            self.refused(Preface(), line + REST)
            parser = Preface()
            with self.assertRaises(PrefaceError, msg=line):
                for i in range(len(line)):
                    self.assertIsNone(parser.feed(line[i : i + 1]))

    def test_blocks(self) -> None:
        """
        So is a block.
        """
        for preface in BAD_BLOCKS:
            self.refused(Preface(), preface)
            parser = Preface()
            with self.assertRaises(PrefaceError, msg=preface):
                for i in range(len(preface)):
                    self.assertIsNone(parser.feed(preface[i : i + 1]))

    def test_notOne(self) -> None:
        """
        What does not begin like a preface is refused with the first byte that differs.
        """
        for data in NOT_ONE:
            self.assertEqual(self.refused(Preface(), data), "no PROXY preface")
        for begin in (SIGNATURE, b"PROXY "):
            for i in range(len(begin)):
                parser = Preface()
                self.assertIsNone(parser.feed(begin[:i]))
                self.refused(parser, b"#")

    def test_early(self) -> None:
        """
        The bytes behind the signature are judged when they come.
        """
        for begin in (b"\x11", b"\x21\x41", b"\x21\x11\0\x0b", b"\x20\x00\xff\xff"):
            parser = Preface()
            self.assertIsNone(parser.feed(SIGNATURE + begin[:-1]))
            self.refused(parser, begin[-1:])

    def test_spent(self) -> None:
        """
        Neither after a preface nor after a refusal is there another.
        """
        parser = Preface()
        parser.feed(TCP4)
        self.assertRaises(LocalError, parser.feed, b"")
        parser = Preface()
        self.refused(parser, b"?")
        self.assertRaises(LocalError, parser.feed, TCP4)

    def test_nothing(self) -> None:
        """
        No bytes are no reason for anything.
        """
        parser = Preface()
        self.assertIsNone(parser.feed(b""))
        self.assertIsNone(parser.feed(TCP4[:-1]))
        self.assertIsNone(parser.feed(b""))
        self.assertIsNotNone(parser.feed(TCP4[-1:]))


class BoundTests(SynchronousTestCase):
    """
    Nobody is listened to without end.
    """

    def line(self, size: int) -> bytes:
        """
        Make a line of so many bytes.
        """
        return b"PROXY UNKNOWN ".ljust(size - 2, b"x") + b"\r\n"

    def test_line(self) -> None:
        """
        A line has at most 107 bytes with its end.
        """
        self.assertEqual(MAX_LINE_BYTES, 107)
        self.assertEqual(read(self.line(107) + REST), Origin(None, None, REST))
        self.assertRaises(PrefaceError, read, self.line(108))

    def test_noEnd(self) -> None:
        """
        107 bytes without an end are refused, 106 are not yet.
        """
        parser = Preface()
        self.assertIsNone(parser.feed(self.line(108)[:106]))
        self.assertRaises(PrefaceError, parser.feed, b"x")

    def test_block(self) -> None:
        """
        A block has at most 2048 bytes behind what is fixed, and a longer one is refused
        before it comes.
        """
        self.assertEqual(MAX_BLOCK_BYTES, 2048)
        full = block(V4, vectors=vector(4, b"x" * (2048 - len(V4) - 3)))
        self.assertEqual(read(full + REST), Origin("192.0.2.1", 56324, REST))
        for command in (0x20, 0x21):
            self.assertIsNone(read(block(command=command, length=2048)))
            error = self.assertRaises(PrefaceError, read, block(command=command, length=2049))
            self.assertIn("2049", error.reason)


class PropertyTests(SynchronousTestCase):
    """
    What is written is read.
    """

    @given(st.ip_addresses(), st.integers(0, 65535), st.binary(max_size=9), st.data())
    def test_both(self, address: object, port: int, rest: bytes, data: st.DataObject) -> None:
        """
        Any address in either version comes out as itself, however it is split.
        """
        text = str(address)
        version = 6 if ":" in text else 4
        mapped = getattr(ip_address(text), "ipv4_mapped", None)
        expected = Origin(str(mapped or text), port, rest)
        line = f"PROXY TCP{version} {text} {text} {port} 443\r\n".encode()
        binary = block(addresses(text, port), family=0x11 if version == 4 else 0x21)
        for preface in (line, binary, checked(binary)):
            cuts = sorted(data.draw(st.sets(st.integers(1, len(preface) - 1), max_size=4)))
            parser = Preface()
            for begin, end in zip([0, *cuts], cuts, strict=False):
                self.assertIsNone(parser.feed(preface[begin:end]))
            self.assertEqual(parser.feed(preface[max([0, *cuts]) :] + rest), expected)

    @given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", SIGNATURE, b"PROXY TCP4 "]))
    def test_anything(self, data: bytes, begin: bytes) -> None:
        """
        Whatever comes is a preface, not yet one, or refused; never another error.  What a
        split changes is not the outcome.
        """
        outcomes = []
        for pieces in (
            [begin + data],
            [(begin + data)[i : i + 1] for i in range(len(begin + data))],
        ):
            parser = Preface()
            outcome: object = None
            try:
                for i, piece in enumerate(pieces):
                    origin = parser.feed(piece)
                    if origin is not None:
                        rest = origin.rest + b"".join(pieces[i + 1 :])
                        outcome = (origin.address, origin.port, rest)
                        break
            except PrefaceError:
                outcome = PrefaceError
            outcomes.append(outcome)
        self.assertEqual(outcomes[0], outcomes[1])
