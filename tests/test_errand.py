# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.errand}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errand import (
    MAX_MESSAGE_BYTES,
    Answer,
    Errand,
    Fate,
    Happened,
    Hello,
    Message,
    Permission,
    Question,
    Reader,
)
from cmanager.errors import LocalError
from tests.properties import given, settings, st

numbers = st.integers(0, 2**64 - 1)
tokens = st.text("AZaz09_-", max_size=64)
bodies = st.binary(max_size=300)
messages = st.one_of(
    st.builds(Hello, numbers),
    st.builds(Question, numbers, tokens),
    st.builds(Permission, numbers, st.integers(0, 2**32 - 1)),
    st.builds(
        Errand,
        numbers,
        st.booleans(),
        st.none() | st.ip_addresses().map(str),
        bodies,
    ),
    st.builds(
        Answer,
        numbers,
        st.integers(100, 599),
        st.sampled_from(["", "text/xml; charset=utf-8", "text/plain"]),
        bodies,
    ),
    st.builds(Fate, numbers, st.sampled_from(Happened)),
)


class CodecTests(SynchronousTestCase):
    """
    What is written is read.
    """

    @settings(max_examples=500)
    @given(st.lists(messages, max_size=8), st.lists(st.integers(0, 3000), max_size=12))
    def test_anySplit(self, said: list[Message], cuts: list[int]) -> None:
        """
        However the bytes come, the same messages are read.
        """
        data = b"".join(message.encode() for message in said)
        reader = Reader()
        heard: list[Message] = []
        at = 0
        for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
            heard += reader.feed(data[at:cut])
            at = cut
        self.assertEqual(heard, said)

    def test_byteByByte(self) -> None:
        """
        A message is there with its last byte, and not before.
        """
        said = Errand(7, True, "192.0.2.1", b"x" * 100)
        reader = Reader()
        *before, last = (reader.feed(bytes((byte,))) for byte in said.encode())
        self.assertEqual((before, last), ([[]] * len(before), [said]))

    def test_large(self) -> None:
        """
        One may be large.
        """
        said = Answer(1, 200, "text/xml", b"x" * 10_000_000)
        data = said.encode()
        reader = Reader()
        heard = [m for n in range(0, len(data), 65536) for m in reader.feed(data[n : n + 65536])]
        self.assertEqual(heard, [said])


class NonsenseTests(SynchronousTestCase):
    """
    What nobody says.
    """

    def test_length(self) -> None:
        """
        A length that cannot be is noticed before anything is kept for it.
        """
        for length in (0, 8, MAX_MESSAGE_BYTES + 1, 2**32 - 1):
            data = length.to_bytes(4) + Hello().encode()[4:]
            self.assertRaises(LocalError, Reader().feed, data)
        self.assertEqual(
            Reader().feed(MAX_MESSAGE_BYTES.to_bytes(4) + Hello().encode()[4:]),
            [],
        )

    def test_kinds(self) -> None:
        """
        So are other kinds, and messages that end too soon.
        """
        wrong = [
            (6, b""),
            (255, b""),
            (1, b"\xff"),
            (2, b"123"),
            (2, b"12345"),
            (3, b""),
            (3, b"\0"),
            (4, b"\0\0"),
            (5, b""),
            (5, b"\3"),
        ]
        for kind, rest in wrong:
            data = (9 + len(rest)).to_bytes(4) + bytes((kind,)) + bytes(8) + rest
            self.assertRaises(LocalError, Reader().feed, data)

    @settings(max_examples=500)
    @given(st.binary(max_size=200))
    def test_noise(self, data: bytes) -> None:
        """
        Noise is no message, or one, and never anything else.
        """
        try:
            heard = Reader().feed(data)
        except LocalError:
            return
        for message in heard:
            self.assertIsInstance(message.encode(), bytes)


class SecretTests(SynchronousTestCase):
    """
    What must not be told.
    """

    def test_repr(self) -> None:
        """
        What is shown of a message in a log shows nothing that opens a session.
        """
        for message in (
            Question(1, "secret"),
            Errand(1, False, None, b"secret"),
            Answer(1, 200, "text/xml", b"secret"),
        ):
            self.assertNotIn("secret", repr(message))
