# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.frames}.
"""

from __future__ import annotations

import gc
import struct
import weakref
from itertools import pairwise
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase
from wsproto import events
from wsproto.connection import Connection, ConnectionType

from cmanager.frames import (
    PING,
    FrameEvent,
    Frames,
    Hangup,
    Part,
    Ping,
    Violation,
    closeFrame,
    pongFrame,
    textFrame,
)
from tests.properties import given, st
from tests.websockets import BINARY, CONTINUATION, PONG, TEXT, fragments, frame, hangup, text
from tests.websockets import CLOSE as CLOSE_OPCODE
from tests.websockets import PING as PING_OPCODE

LIMIT = 1000


def read(*reads: bytes, limit: int = LIMIT) -> list[FrameEvent]:
    """
    Return the events of some reads, parts of one message joined.
    """
    frames = Frames(limit)
    found: list[FrameEvent] = []
    for data in reads:
        for event in frames.feed(data):
            last = found[-1] if found else None
            if isinstance(event, Part) and isinstance(last, Part) and not last.isLast:
                found[-1] = Part(last.data + event.data, event.isLast)
            else:
                found.append(event)
    return found


def bytewise(data: bytes) -> list[bytes]:
    """
    Return as many reads as there are bytes.
    """
    return [data[at : at + 1] for at in range(len(data))]


def code(*reads: bytes, limit: int = LIMIT) -> int | None:
    """
    Return the code of the violation that some reads end with, or L{None}.
    """
    last = read(*reads, limit=limit)[-1:]
    return last[0].code if last and isinstance(last[0], Violation) else None


class MessageTests(SynchronousTestCase):
    """
    What may come.
    """

    def test_text(self) -> None:
        """
        A text message arrives, whatever its length is written in.
        """
        for size in (0, 1, 125, 126, 65535, 65536):
            data = b"x" * size
            self.assertEqual(read(text(data), limit=70000), [Part(data, True)])

    def test_fragments(self) -> None:
        """
        So does one in fragments, empty ones among them, and with pings and pongs in between.
        """
        whole = "Wherefore \u00e4\u20ac\U0001f339".encode()
        for size in range(1, len(whole) + 1):
            first, *rest = fragments(whole, size)
            mixed = [first, frame(PING_OPCODE, b"a"), *rest]
            found = read(b"".join(mixed))
            self.assertEqual([e for e in found if isinstance(e, Ping)], [Ping(b"a")])
            parts = [e.data for e in found if isinstance(e, Part)]
            self.assertEqual(b"".join(parts), whole)
        empty = [frame(TEXT, b"", isLast=False), frame(CONTINUATION, b"", isLast=False)]
        self.assertEqual(read(*empty, frame(CONTINUATION, b"x")), [Part(b"x", True)])

    def test_splits(self) -> None:
        """
        However it is split, the same arrives.
        """
        for size in (3, 126):
            data = b"".join([*fragments(b"x" * size, 2), text(b"y" * size), hangup(4000)])
            expected = [Part(b"x" * size, True), Part(b"y" * size, True), Hangup(4000)]
            self.assertEqual(read(data), expected)
            self.assertEqual(read(*bytewise(data)), expected)

    def test_pings(self) -> None:
        """
        Pings are reported with what they carry, up to 125 bytes; pongs are nothing.
        """
        data = frame(PING_OPCODE, b"x" * 125) + frame(PONG, b"y" * 125)
        for reads in ([data], bytewise(data)):
            self.assertEqual(read(*reads), [Ping(b"x" * 125)])

    def test_hangup(self) -> None:
        """
        The end has a code, 1000 where it says none; what comes behind it is not read.
        """
        for sent, expected in (
            (hangup(None), 1000),
            (hangup(1000), 1000),
            (hangup(1001, b"going away"), 1001),
            (hangup(1011), 1011),
            (hangup(3000), 3000),
            (hangup(4999, "\u20ac".encode() * 41), 4999),
        ):
            self.assertEqual(read(sent + text(b"x"), text(b"y")), [Hangup(expected)])

    def test_characters(self) -> None:
        """
        No character is in two parts.
        """
        frames = Frames(LIMIT)
        whole = text("a\u20ac".encode())
        (one,) = frames.feed(whole[:-1])
        (two,) = frames.feed(whole[-1:])
        self.assertEqual([one, two], [Part(b"a", False), Part("\u20ac".encode(), True)])


class LimitTests(SynchronousTestCase):
    """
    How large a message may be.
    """

    def test_frame(self) -> None:
        """
        A message of n bytes passes; one byte more is refused before any of it is there.
        """
        self.assertEqual(read(text(b"x" * LIMIT)), [Part(b"x" * LIMIT, True)])
        head = text(b"x" * (LIMIT + 1))[:4]
        self.assertEqual(code(*bytewise(head)), 1009)
        self.assertIsNone(code(*bytewise(head[:3])))

    def test_fragments(self) -> None:
        """
        So it is for all fragments together, and anew for the next message.
        """
        for size in (1, 7, LIMIT):
            whole = b"".join(fragments(b"x" * LIMIT, size))
            self.assertEqual(read(whole + whole), [Part(b"x" * LIMIT, True)] * 2)
            self.assertEqual(read(*bytewise(whole)), [Part(b"x" * LIMIT, True)])
            more = [*fragments(b"x" * LIMIT + b"x", size)]
            self.assertEqual(code(*bytewise(b"".join(more))), 1009)
            self.assertEqual(code(*more), 1009)

    def test_control(self) -> None:
        """
        Pings between fragments do not count.
        """
        first, last = fragments(b"x" * LIMIT, LIMIT // 2)
        data = first + frame(PING_OPCODE, b"y" * 125) + last
        for reads in ([data], bytewise(data)):
            self.assertEqual(read(*reads)[-1], Part(b"x" * (LIMIT // 2), True))

    def test_giant(self) -> None:
        """
        What is announced counts, not what comes.
        """
        for size in (LIMIT + 1, 65535):
            length = b"\x7e" + struct.pack("!H", size)
            self.assertEqual(code(frame(TEXT, b"", length=length)), 1009)
        for size in (65536, 1 << 40, (1 << 63) - 1):
            length = b"\x7f" + struct.pack("!Q", size)
            self.assertEqual(code(frame(TEXT, b"", length=length)), 1009)
            first = frame(TEXT, b"x", isLast=False)
            self.assertEqual(code(first, frame(CONTINUATION, b"", length=length)), 1009)

    def test_changed(self) -> None:
        """
        The limit can be changed, even within a message.
        """
        frames = Frames(3)
        self.assertEqual(frames.limit, 3)
        first, last = fragments(b"xxxxxx", 3)
        self.assertEqual(len(list(frames.feed(first))), 1)
        frames.limit = 6
        self.assertEqual(list(frames.feed(last)), [Part(b"xxx", True)])

    def test_kept(self) -> None:
        """
        Of a message in a thousand pieces nothing is kept, nor of a flood behind a violation.
        """
        frames = Frames(100000)
        for piece in fragments(b"x" * 5000, 5)[:-1]:
            list(frames.feed(piece))
        self.assertLess(self.held(frames), 50)
        list(frames.feed(text(b"x")))
        self.assertTrue(frames.isOver)
        for _ in range(100):
            self.assertEqual(list(frames.feed(b"x" * 10000)), [])
        self.assertLess(self.held(frames), 50)

    def test_free(self) -> None:
        """
        What is no longer needed does not wait for the garbage collector.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        frames = Frames(LIMIT)
        known = weakref.ref(frames._connection._proto)
        list(frames.feed(text(b"<a/>")[:-1]))
        del frames
        self.assertIs(known(), None)

    def held(self, frames: Frames) -> int:
        """
        Return how many bytes wsproto holds.
        """
        decoder = frames._connection._proto._frame_decoder
        return len(decoder.buffer) + len(frames._connection._events)


class ViolationTests(SynchronousTestCase):
    """
    What must not come.
    """

    TABLE: ClassVar[dict[str, tuple[bytes, int, str]]] = {
        "not masked": (frame(TEXT, b"<a/>", mask=None), 1002, "bad-format"),
        "ping not masked": (frame(PING_OPCODE, mask=None), 1002, "bad-format"),
        "RSV1": (frame(TEXT, b"<a/>", bits=4), 1002, "bad-format"),
        "RSV2": (frame(TEXT, b"<a/>", bits=2), 1002, "bad-format"),
        "RSV3 on a ping": (frame(PING_OPCODE, bits=1), 1002, "bad-format"),
        **{
            f"opcode {opcode}": (frame(opcode, b"x"), 1002, "bad-format")
            for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
        },
        "binary": (frame(BINARY, b"<a/>"), 1003, "bad-format"),
        "continues nothing": (frame(CONTINUATION, b"<a/>"), 1002, "bad-format"),
        "a message in a message": (
            frame(TEXT, b"<a", isLast=False) + text(b"<a/>"),
            1002,
            "bad-format",
        ),
        "binary in a message": (
            frame(TEXT, b"<a", isLast=False) + frame(BINARY, b"x"),
            1003,
            "bad-format",
        ),
        "ping in fragments": (frame(PING_OPCODE, b"x", isLast=False), 1002, "bad-format"),
        "end in fragments": (frame(CLOSE_OPCODE, b"", isLast=False), 1002, "bad-format"),
        "large ping": (frame(PING_OPCODE, b"x" * 126), 1002, "bad-format"),
        "large end": (hangup(1000, b"x" * 124), 1002, "bad-format"),
        "end of one byte": (frame(CLOSE_OPCODE, b"\x03"), 1002, "bad-format"),
        **{
            f"end with {number}": (hangup(number), 1002, "bad-format")
            for number in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
        },
        "end with no UTF-8": (hangup(1000, b"\xff"), 1007, "not-well-formed"),
        "length in 3 bytes": (
            frame(TEXT, b"x", length=b"\x7e\x00\x7d"),
            1002,
            "bad-format",
        ),
        "length in 9 bytes": (
            frame(TEXT, b"x", length=b"\x7f" + struct.pack("!Q", 65535)),
            1002,
            "bad-format",
        ),
        "negative length": (
            frame(TEXT, b"x", length=b"\x7f" + struct.pack("!Q", 1 << 63)),
            1002,
            "bad-format",
        ),
        **{
            f"bad UTF-8 {bad.hex()}": (text(b"<" + bad + b">"), 1007, "not-well-formed")
            for bad in (
                b"\xff",
                b"\xc0\xaf",
                b"\xe0\x80\xaf",
                b"\xed\xa0\x80",
                b"\xf4\x90\x80\x80",
                b"\xf8\x88\x80\x80\x80",
                b"\x80",
                b"\xe2\x82",
            )
        },
        "unfinished character": (text(b"\xe2\x82"), 1007, "not-well-formed"),
        "character broken between fragments": (
            frame(TEXT, b"\xe2\x82", isLast=False) + frame(CONTINUATION, b"x"),
            1007,
            "not-well-formed",
        ),
    }

    def test_table(self) -> None:
        """
        Each has its code and condition, however it is split; what came before it arrives,
        and nothing behind it.
        """
        for name, (data, expected, condition) in self.TABLE.items():
            whole = text(b"<good/>") + data + text(b"<late/>")
            for reads in ([whole], bytewise(whole)):
                found = read(*reads)
                self.assertEqual(found[0], Part(b"<good/>", True), name)
                last = found[-1]
                assert isinstance(last, Violation), (name, found)
                self.assertEqual((last.code, last.condition), (expected, condition), name)
                self.assertLessEqual(len(found), 3, name)
                self.assertNotIn(b"late", repr(found).encode())

    def test_texts(self) -> None:
        """
        The operator is told what was wrong; what the client is told holds nothing it sent.
        """
        for data, text_, reason in (
            (frame(BINARY), "Messages are text.", "a binary message"),
            (text(b"\xff"), None, "not UTF-8"),
            (text(b"x" * 2000), "an element is too large", "a message is too large"),
            (frame(TEXT, mask=None), None, "server received unexpected unmasked frame"),
        ):
            (violation,) = read(data)
            assert isinstance(violation, Violation)
            self.assertEqual((violation.text, violation.reason), (text_, reason))

    @given(
        st.lists(
            st.builds(
                frame,
                st.sampled_from((TEXT, CONTINUATION, PING_OPCODE, PONG, CLOSE_OPCODE, BINARY, 3)),
                st.binary(max_size=10) | st.text(max_size=200).map(str.encode),
                isLast=st.booleans(),
                bits=st.sampled_from((0, 0, 0, 0, 1)),
            ),
            max_size=5,
        ),
        st.binary(max_size=3),
        st.lists(st.integers(0, 300), max_size=4),
    )
    def test_anything(self, sent: list[bytes], rest: bytes, cuts: list[int]) -> None:
        """
        Whatever is sent, it means the same wherever it is cut, and an end is the last.
        """
        data = b"".join(sent) + rest
        places = [0, *sorted(cuts), len(data)]
        found = read(data)
        self.assertFalse([e for e in found[:-1] if isinstance(e, Hangup | Violation)])
        one, other = (
            # Of a message that is not over more or less may have come.
            [
                (event.code, event.condition) if isinstance(event, Violation) else event
                for event in events_
                if not isinstance(event, Part) or event.isLast
            ]
            for events_ in (found, read(*(data[a:b] for a, b in pairwise(places))))
        )
        self.assertEqual(one, other)


class WritingTests(SynchronousTestCase):
    """
    What we send.
    """

    def test_equal(self) -> None:
        """
        Frames are, byte for byte, those that wsproto makes.
        """
        server = Connection(ConnectionType.SERVER)
        for size in (0, 1, 125, 126, 127, 128, 65535, 65536, 70000):
            data = "\u20ac" * (size // 3) + "x" * (size % 3)
            self.assertEqual(textFrame(data.encode()), server.send(events.TextMessage(data)))
        for size in (0, 1, 125):
            payload = b"x" * size
            self.assertEqual(pongFrame(payload), server.send(events.Pong(payload)))
        self.assertEqual(server.send(events.Ping()), PING)
        for number in (1000, 1002, 4999):
            ending = Connection(ConnectionType.SERVER)
            self.assertEqual(closeFrame(number), ending.send(events.CloseConnection(number)))
