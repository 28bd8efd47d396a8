# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.profile}.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import LocalError
from cmanager.profile import (
    canonicalise,
    declarations,
    isCanonical,
    rehome,
    tagOf,
    textOf,
    withoutAstral,
)
from tests.infoset import infoset, infosetIn
from tests.judge import LinkJudge
from tests.properties import given, settings, st
from tests.strategies import HEADER_SCOPES, elements

lenient = settings(
    max_examples=200,
)


class CanonicalTests(SynchronousTestCase):
    """
    L{isCanonical}
    """

    def test_inProfile(self) -> None:
        """
        All that the profile allows.
        """
        for data in (
            b"<a/>",
            b"<a></a>",
            b'<a b=""/>',
            b'<a b="1" c="\'"></a>',
            b'<p:a xmlns:p="u" p:b="c"/>',
            b"<a>text \n\t ' \" / = ? ! ; #</a>",
            b"<a>&amp;&lt;x&gt;&#13;</a>",
            b'<a b="&amp;&lt;&gt;&quot;&#9;&#10;&#13;x / ="/>',
            b"<a><b/>x<c/><d></d></a>",
            '<\u00e9 \u00e9="\u00e9">\u00e9</\u00e9>'.encode(),
        ):
            self.assertTrue(isCanonical(data), data)

    def test_notInProfile(self) -> None:
        """
        All else that may be well-formed.
        """
        for data in (
            b"",
            b"x",
            b" <a/>",
            b"<a />",
            b"<a\n/>",
            b"<a b='1'/>",
            b'<a  b="1"/>',
            b'<a\tb="1"/>',
            b'<a b ="1"/>',
            b'<a b= "1"/>',
            b'<a b="1" />',
            b'<a b="1"c="2"/>',
            b'<a b="\n"/>',
            b'<a b="\t"/>',
            b'<a b="\r"/>',
            b'<a b=">"/>',
            b'<a b="<"/>',
            b'<a b="&apos;"/>',
            b'<a b="&#65;"/>',
            b'<a b="&#x9;"/>',
            b'<a b="&"/>',
            b"<a></a >",
            b"<a></a\n>",
            b"<a>></a>",
            b"<a>\r</a>",
            b"<a>&quot;</a>",
            b"<a>&apos;</a>",
            b"<a>&#9;</a>",
            b"<a>&#xD;</a>",
            b"<a>&#013;</a>",
            b"<a><![CDATA[x]]></a>",
            b"<a><!-- x --></a>",
            b"<a><?x?></a>",
            b"<a",
            b"<a/",
            b"<a/>x<",
        ):
            self.assertFalse(isCanonical(data), data)

    def test_large(self) -> None:
        """
        The expression is linear and does not recurse.
        """
        for part in (b"<a/>", b"x", b"&amp;", b'<a b="">x</a>', b"\n"):
            self.assertTrue(isCanonical(b"<a>" + part * 200000 + b"</a>"))
            self.assertFalse(isCanonical(b"<a>" + part * 200000 + b"</a >"))
        self.assertFalse(isCanonical(b"<a" + b' b="c"' * 100000))


class CanonicaliseTests(SynchronousTestCase):
    """
    L{canonicalise}
    """

    @lenient
    @given(st.data(), st.sampled_from(HEADER_SCOPES))
    def test_infoset(self, data: st.DataObject, scope: Any) -> None:
        """
        The result means outside what the element meant in its stream, is in the
        profile, passes the judge and does not change any more.
        """
        element = data.draw(elements(scope))
        result = canonicalise(element, scope)
        header = b"<x %s>" % b" ".join(
            b'%s="%s"'
            % (
                b"xmlns:" + prefix.encode() if prefix else b"xmlns",
                uri.replace("&", "&amp;").encode(),
            )
            for prefix, uri in scope.items()
        )
        self.assertEqual(infoset(result), infosetIn(header, element, b"</x>"))
        self.assertTrue(isCanonical(result))
        self.assertEqual(canonicalise(result, {}), result)
        self.assertEqual(rehome(result, {}), result)
        judge = LinkJudge()
        judge.feed(b'<stream:stream xmlns:stream="s">' + result)
        self.assertEqual(judge.elements, [result])

    @lenient
    @given(st.data(), st.sampled_from(HEADER_SCOPES))
    def test_rehome(self, data: st.DataObject, scope: Any) -> None:
        """
        An element in the profile is at home after L{rehome}, and otherwise untouched.
        """
        element = data.draw(elements(scope))
        if isCanonical(element):
            result = rehome(element, scope)
            self.assertTrue(isCanonical(result))
            self.assertEqual(infoset(result), infoset(canonicalise(element, scope)))

    def test_drop(self) -> None:
        """
        Namespaces to drop are taken off the root and off what is surrounded by them.
        """
        drop = frozenset(("", "m"))
        for data, expected in (
            (b'<a xmlns="m"/>', b"<a/>"),
            (b'<a xmlns=""/>', b"<a/>"),
            (b'<a><b xmlns="m"><c xmlns=""/></b></a>', b"<a><b><c/></b></a>"),
            (b'<a xmlns="n"><b xmlns="m"/></a>', b'<a xmlns="n"><b xmlns="m"/></a>'),
            (b'<a><n xmlns="n"/><b xmlns="m"/></a>', b'<a><n xmlns="n"/><b/></a>'),
            (b'<a xmlns:p="m"/>', b'<a xmlns:p="m"/>'),
        ):
            self.assertEqual(canonicalise(data, {}, drop=drop), expected)

    def test_content(self) -> None:
        """
        Which inherited default namespace need not be written can be said.
        """
        scope = {"": "urn:x"}
        for content, expected in ((frozenset(), b'<a xmlns="urn:x"/>'), ({"urn:x"}, b"<a/>")):
            self.assertEqual(canonicalise(b"<a/>", scope, content=frozenset(content)), expected)
            self.assertEqual(rehome(b"<a/>", scope, content=frozenset(content)), expected)

    def test_comments(self) -> None:
        """
        Comments and processing instructions go, the text around them stays.
        """
        self.assertEqual(
            canonicalise(b"<a>x<!-- - -->y<?z?>z<b><!----></b></a>", {}), b"<a>xyz<b/></a>"
        )

    def test_notWellFormed(self) -> None:
        """
        What is not one element is the caller's mistake.
        """
        for data in (b"", b"<a>", b"<a/><b/>", b"x"):
            self.assertRaises(LocalError, canonicalise, data, {})


class PartTests(SynchronousTestCase):
    """
    The smaller functions.
    """

    def test_declarations(self) -> None:
        """
        The declarations of the element that has most are counted.
        """
        self.assertEqual(declarations(b"<a b=''>xmlns='u'</a>"), 0)
        self.assertEqual(
            declarations(b"<a xmlns='u'><b xmlns='u' xmlns:p='u' xmlnsx=''/><c xmlns:q='u'/></a>"),
            2,
        )

    def test_text(self) -> None:
        """
        Text is put together from all its spellings.
        """
        self.assertEqual(textOf(b"a&amp;&#65;<![CDATA[<&]]><!-- x --><?y?> "), "a&A<& ")

    def test_tag(self) -> None:
        """
        A start tag's names are given as written.
        """
        for end in (b">", b"/>"):
            self.assertEqual(
                tagOf(b"<p:a b='1' p:c='&lt;' xmlns='u' xmlns:p='v'" + end),
                ("p:a", {"b": "1", "p:c": "<"}, {"": "u", "p": "v"}),
            )
        for data in (b"<a", b"<a></a>", b"</a>", b""):
            self.assertRaises(LocalError, tagOf, data)

    def test_astral(self) -> None:
        """
        Characters outside the basic multilingual plane, and no others, are replaced.
        """
        text = "\x00\x7f\x80\u07ff\u0800\uffff"
        self.assertEqual(withoutAstral(text.encode()), text.encode())
        self.assertEqual(withoutAstral("\U00010000a\U0010ffff".encode()), "\ufffda\ufffd".encode())
