# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.markup}.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import StreamError
from cmanager.markup import OpenMarkup
from tests.strategies import elements


def markup(data: bytes, *, strict: bool = True, inProlog: bool = False) -> OpenMarkup:
    """
    Return what C{data} leaves open.
    """
    result = OpenMarkup(strict)
    result.begin(data, inProlog)
    return result


class OpenTests(SynchronousTestCase):
    """
    What leaves something open, and what ends it.
    """

    def test_nothing(self) -> None:
        """
        Complete tags, references and plain text leave nothing open.
        """
        for data in (b"", b"x", b"<a>", b"<a b='>'>x", b"<a>&amp; x", b"</a>", b"<a b='&amp;'/>"):
            self.assertFalse(markup(data).isOpen, data)

    def test_ends(self) -> None:
        """
        What is open ends with the byte that can end it, not with one that looks so.
        """
        for data, without, end in (
            (b"<", b"a b='>' c=\"'>\"", b">"),
            (b"<a b='", b'x>">', b"'>"),
            (b'<a b="', b"x>'>", b'">'),
            (b'<a b="', b"x>'>\" c='>", b"'>"),
            (b"x</a", b" \n", b">"),
            (b"<a>&#", b"000 > x", b";"),
            (b"<a b='>'>&", b"amp", b";"),
        ):
            one = markup(data)
            self.assertTrue(one.isOpen, data)
            self.assertFalse(one.goOn(without, False), data)
            self.assertTrue(one.isOpen)
            self.assertTrue(one.goOn(end, False), data)
            self.assertFalse(one.isOpen)
            two = markup(data)
            for byte in without:
                self.assertFalse(two.goOn(bytes((byte,)), False))
            self.assertTrue(markup(data).goOn(without + end, False))

    def test_nextTag(self) -> None:
        """
        A C{<} is always shown to expat: it ends what was no tag after all, or is an
        error.
        """
        for data in (b"<a", b"<a b='", b'<a b="', b"&amp", b"<![CDATA[<'"):
            one = markup(data)
            self.assertTrue(one.goOn(b"x<b", False))
            self.assertTrue(one.isOpen)
            self.assertTrue(one.goOn(b">", False))

    def test_followed(self) -> None:
        """
        What ends one thing may open the next.
        """
        one = markup(b"<a")
        self.assertTrue(one.goOn(b"><b c='", False))
        self.assertFalse(one.goOn(b">", False))
        self.assertTrue(one.goOn(b"'>&l", False))
        self.assertFalse(one.goOn(b"t", False))
        self.assertTrue(one.goOn(b";", False))
        self.assertFalse(one.isOpen)

    @settings(
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(elements())
    def test_any(self, element: bytes) -> None:
        """
        The last byte of an element is never held back.
        """
        one = OpenMarkup(True)
        shown = False
        for byte in element:
            if one.isOpen:
                shown = one.goOn(bytes((byte,)), False)
            else:
                one.begin(bytes((byte,)), False)
                shown = True
        self.assertTrue(shown)


class RefusalTests(SynchronousTestCase):
    """
    What a client may not begin.
    """

    def test_refused(self) -> None:
        """
        Comments, processing instructions and DTDs are refused when they begin,
        however that is cut.
        """
        for data in (b"<!-", b"<!--x", b"<!D", b"<?", b"<?xml ", b"<![CDATAx", b"<!x"):
            self.assertRaises(StreamError, markup, data)
            one = markup(data[:1])
            with self.assertRaises(StreamError) as raised:
                for byte in data[1:]:
                    one.goOn(bytes((byte,)), False)
            self.assertEqual(raised.exception.condition, "restricted-xml")

    def test_prolog(self) -> None:
        """
        An XML declaration may stand before the header, nothing else.
        """
        self.assertTrue(markup(b"<?xml version='1.0'", inProlog=True).isOpen)
        one = markup(b"<", inProlog=True)
        for byte in b"?xml version=":
            self.assertFalse(one.goOn(bytes((byte,)), True))
        for data in (b"<?x-", b"<?a", b"<!D"):
            with self.assertRaises(StreamError):
                markup(data, inProlog=True)

    def test_CDATA(self) -> None:
        """
        CDATA sections are not refused.
        """
        for end in range(1, 12):
            self.assertTrue(markup(b"<![CDATA[ab"[:end]).isOpen)

    def test_lenient(self) -> None:
        """
        A server may begin what it likes.
        """
        for data in (b"<!--", b"<?x", b"<!D"):
            one = markup(data, strict=False)
            self.assertTrue(one.isOpen)
            self.assertFalse(one.goOn(b"x", False))
