# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.routes}, and for what the native engine has in its place.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cmanager import routes as module
from cmanager.routes import ROUTE_IDS
from tests import native
from tests.properties import given, st

HEAD = b'<route to="example.org" from="cm/x" streamid="'
MESSAGE = b'<message to="a" id="&gt;"><body>b</body></message>'


class RoutesTests(SynchronousTestCase):
    """
    L{module.Routes}
    """

    engine: Any = module.Routes

    def setUp(self) -> None:
        """
        Make some that remember three.
        """
        self.routes = self.engine(HEAD, 3)

    def test_wrapped(self) -> None:
        """
        An element is wrapped as it is, under ids that count up.
        """
        for number in range(1, 300):
            self.assertEqual(
                self.routes.wrap(b"s&quot;", MESSAGE),
                HEAD + b's&quot;" id="%x">' % number + MESSAGE + b"</route>",
            )

    def test_remembered(self) -> None:
        """
        Start tags are remembered, content is not.
        """
        for data, tag in (
            (MESSAGE, b'<message to="a" id="&gt;"'),
            (b"<presence/>", b"<presence/"),
            (b"", b""),
        ):
            self.routes.wrap(b"s", data)
            number = self.number(data)
            self.assertEqual(self.routes.sent(ROUTE_IDS % (b"s", number)), tag)
            for ids in (
                ROUTE_IDS % (b"t", number),
                ROUTE_IDS % (b"", number),
                ROUTE_IDS % (b"s", number + 1),
                ROUTE_IDS % (b"s", -number),
                ROUTE_IDS % (b"s" * 1000, number),
            ):
                self.assertIsNone(self.routes.sent(ids))

    def number(self, data: bytes) -> int:
        """
        Return the number of the route that was made last.
        """
        route = self.routes.wrap(b"other", data)
        return int(route[len(HEAD) :].split(b'"')[2], 16) - 1

    def test_instead(self) -> None:
        """
        Something else may be remembered.
        """
        for tag, found in ((b"<iq", b"<iq"), (b"", b""), (None, b'<message to="a" id="&gt;"')):
            self.routes = self.engine(HEAD, 3)
            self.assertTrue(self.routes.wrap(b"s", MESSAGE, tag).endswith(MESSAGE + b"</route>"))
            self.assertEqual(self.routes.sent(b's" id="1">'), found)

    def test_bounded(self) -> None:
        """
        So many are remembered, and not one more.
        """
        for _ in range(3):
            self.routes.wrap(b"s", MESSAGE)
        self.assertIsNotNone(self.routes.sent(b's" id="1">'))
        self.routes.wrap(b"s", MESSAGE)
        self.assertIsNone(self.routes.sent(b's" id="1">'))
        self.assertEqual([*map(bool, map(self.routes.sent, self.ids(2, 5)))], [True] * 3 + [False])

    def ids(self, first: int, last: int) -> list[bytes]:
        """
        Return ids.
        """
        return [ROUTE_IDS % (b"s", number) for number in range(first, last + 1)]

    @given(st.lists(st.tuples(st.binary(), st.binary(), st.none() | st.binary()), max_size=9))
    def test_same(self, elements: list[tuple[bytes, bytes, bytes | None]]) -> None:
        """
        Whatever is put in, the engines agree.
        """
        ours, theirs = module.Routes(HEAD, 4), self.engine(HEAD, 4)
        for element in elements:
            self.assertEqual(ours.wrap(*element), theirs.wrap(*element))
        for number in range(len(elements) + 2):
            for wireID, _, _ in elements:
                ids = ROUTE_IDS % (wireID, number)
                self.assertEqual(ours.sent(ids), theirs.sent(ids))


class NativeRoutesTests(RoutesTests):
    """
    The same of the native engine.
    """

    engine = native.Routes

    def setUp(self) -> None:
        """
        Skip where it has not been built.
        """
        native.requireNative()
        super().setUp()

    def test_misused(self) -> None:
        """
        Anything but bytes is refused, and no room.
        """
        for arguments in ((), (b"s",), (b"s", "x"), ("s", b""), (b"", b"", 1), (b"",) * 4):
            self.assertRaises(TypeError, self.routes.wrap, *arguments)
        self.assertRaises(TypeError, self.routes.sent, "s")
        for arguments in ((HEAD,), ("x", 1), (HEAD, "x")):
            self.assertRaises(TypeError, self.engine, *arguments)
        self.assertRaises(ValueError, self.engine, HEAD, 0)
        self.assertRaises(MemoryError, self.engine, HEAD, sys.maxsize)

    def test_kept(self) -> None:
        """
        What it has it lets go of in the end.
        """
        tag = bytes(bytearray(b"<iq"))
        before = sys.getrefcount(tag)
        for _ in range(5):
            self.routes.wrap(b"s", MESSAGE, tag)
        del self.routes
        self.assertEqual(sys.getrefcount(tag), before)
