# Copyright the cmanager authors.
# See LICENSE for details.

"""
The judge is judged: it lets pass what a link may carry, and names what it may not.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.judge import FOOTER, LinkJudge

HEADER = b'<stream:stream xmlns="jabber:connectionmanager" xmlns:stream="s" to="cm/1">'


def judged(data: bytes, header: bytes = HEADER, **options: Any) -> LinkJudge:
    """
    Return a judge who has seen all of C{data}.
    """
    judge = LinkJudge(**options)
    judge.feed(header + data)
    judge.end()
    return judge


class JudgeTests(SynchronousTestCase):
    """
    L{LinkJudge}
    """

    def test_passes(self) -> None:
        """
        What is flawless passes, and is kept element by element.
        """
        elements = [
            b'<route streamid="1"><message a="&quot;\'"><body>x &gt; \'"\n</body></message></route>',
            b"<a></a>",
            "<a><\u00e9/>\U0001f600&#13;</a>".encode(),
        ]
        judge = judged(b" \n" + b" ".join(elements) + FOOTER)
        self.assertEqual(judge.elements, elements)
        self.assertEqual(
            judged(elements[0], b"<?xml version='1.0'?>" + HEADER).elements, elements[:1]
        )

    def test_bytewise(self) -> None:
        """
        Reads may end anywhere.
        """
        judge = LinkJudge()
        for byte in HEADER + b'<a b="c"/>' + FOOTER:
            judge.feed(bytes((byte,)))
        judge.end()
        self.assertEqual(judge.elements, [b'<a b="c"/>'])

    def test_refuses(self) -> None:
        """
        Each rule that is broken is named, with the offset.
        """
        for data, rule in (
            (b"<a b='c'/>", "double quotes"),
            (b'<a  b="c"/>', "in a tag"),
            (b'<a\tb="c"/>', "in a tag"),
            (b'<a b ="c"/>', "in a tag"),
            (b'<a b="c" />', "in a tag"),
            (b'<a b="c"d="e"/>', "in a tag"),
            (b'<a b="\n"/>', "bare white space"),
            (b'<a b=">"/>', "in an attribute"),
            (b"<a></a >", "in a tag"),
            (b"<a></b>", "another element"),
            (b"<a></ab>", "another element"),
            (b"</a>", "of nothing"),
            (b"<a>></a>", "> in text"),
            (b"<a>\r</a>", "carriage return"),
            (b"<a><!-- x --></a>", "comment"),
            (b"<a><![CDATA[x]]></a>", "CDATA"),
            (b"<a><?x?></a>", "processing instruction"),
            (b"<?xml version='1.0'?>", "processing instruction"),
            (b"<!DOCTYPE a>", "DTD"),
            (b"x", "text outside"),
            (b"<a>\x00</a>", "control character"),
            (b"<a>&#1;</a>", "no character"),
            (b"<a>&#xFFFE;</a>", "no character"),
            (b"<a>&#x;</a>", "no character"),
            (b"<a>&foo;</a>", "entity"),
            (b"<a>&aaaaaaaaaaaaaaaaaaa", "without an end"),
            (b"<a>\xef\xbf\xbf</a>", "no character"),
            (b"<a>\xff</a>", "UTF-8"),
            (b"<a>\xed\xa0\x80</a>", "UTF-8"),
            (b"<a><p:b/></a>", "on its own"),
            (b"<stream:error/>", "on its own"),
            (b'<a b="" b=""/>', "on its own"),
            (b"<a", "incomplete"),
            (FOOTER + b" ", "behind the end"),
            (b"</stream:stream >", "in a tag"),
            (b"<a/ >", "between / and >"),
        ):
            with self.assertRaises(AssertionError) as raised:
                judged(data)
            self.assertIn(rule, str(raised.exception), data)
            self.assertIn("at offset ", str(raised.exception))

    def test_headers(self) -> None:
        """
        A stream begins with its header.
        """
        for header in (b"<a/>", b"<a>", FOOTER, b"<?x?>"):
            self.assertRaises(AssertionError, judged, b"", header)

    def test_bounds(self) -> None:
        """
        Size, depth and characters are bounded.
        """
        for count, holds in ((7, True), (8, False)):
            data = b"<a>" * count + b"</a>" * count
            if holds:
                judged(data, maxDepth=7)
            else:
                self.assertRaises(AssertionError, judged, data, maxDepth=7)
        large = b"<a>%s</a>" % (b"x" * 192)
        judged(large, limit=200)
        self.assertRaises(AssertionError, judged, large, limit=199)
        astral = "<a>\U0001f600</a>".encode()
        judged(astral)
        for data in (astral, b"<a>&#x1F600;</a>"):
            self.assertRaises(AssertionError, judged, data, bmpOnly=True)
