# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.markup}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import StreamError
from cmanager.markup import OpenMarkup
from cmanager.stanza import rootTagEnd
from tests.properties import given
from tests.strategies import elements


def markup(token: bytes, *, strict: bool = True, inProlog: bool = False) -> OpenMarkup:
    """
    Return a token that has begun.
    """
    result = OpenMarkup(strict)
    result.begin(token, inProlog)
    return result


class OpenTests(SynchronousTestCase):
    """
    What is open, and what ends it.
    """

    def test_nothing(self) -> None:
        """
        What a parser keeps of text is shown to it again at once.
        """
        for token in (b"", b"]", b"]]", b"\xc3", b"\r"):
            self.assertFalse(markup(token).isOpen, token)

    def test_ends(self) -> None:
        """
        What is open ends with the byte that can end it, not with one that looks so.
        """
        for token, without, end in (
            (b"<", b"a b='>' c=\"'>\"", b">"),
            (b"<a b='", b'x>">', b"'>"),
            (b'<a b="', b"x>'>", b'">'),
            (b'<a b="', b"x>'>\" c='>", b"'>"),
            (b'<a b=">" ', b"c", b">"),
            (b"</a", b" \n", b">"),
            (b"&#", b"000 > x", b";"),
            (b"&", b"amp", b";"),
        ):
            one = markup(token)
            self.assertTrue(one.isOpen, token)
            self.assertFalse(one.goOn(without, False), token)
            self.assertTrue(one.isOpen)
            self.assertTrue(one.goOn(end, False), token)
            two = markup(token)
            for byte in without:
                self.assertFalse(two.goOn(bytes((byte,)), False))
            self.assertTrue(markup(token).goOn(without + end, False))

    def test_nextTag(self) -> None:
        """
        A C{<} is always shown to the parser: it ends what was no tag after all, or is an
        error.
        """
        for token in (b"<a", b"<a b='", b'<a b="', b"&amp"):
            self.assertTrue(markup(token).goOn(b"x<b", False))

    def test_anew(self) -> None:
        """
        Nothing is left of one token in the next.
        """
        one = markup(b"<a b='")
        self.assertTrue(one.goOn(b"'>&l", False))
        one.begin(b"&l", False)
        self.assertFalse(one.goOn(b"t", False))
        self.assertTrue(one.goOn(b";<a", False))
        one.begin(b"<a", False)
        self.assertFalse(one.goOn(b'"', False))
        one.begin(b"", False)
        self.assertFalse(one.isOpen)

    @given(elements())
    def test_any(self, element: bytes) -> None:
        """
        Neither the last byte of an element nor that of its start tag is held back.
        """
        for whole in (element, element[: rootTagEnd(element)]):
            tag = whole.rindex(b"<") if whole is element else 0
            one = markup(whole[tag : tag + 1])
            shown = [one.goOn(bytes((byte,)), False) for byte in whole[tag + 1 :]]
            self.assertEqual(shown, [False] * (len(shown) - 1) + [True])


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
