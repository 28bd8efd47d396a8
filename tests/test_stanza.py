# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.stanza}.
"""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import LocalError, StanzaError, StreamError
from cmanager.profile import isCanonical
from cmanager.scanner import Scanner
from cmanager.stanza import (
    FOOTER,
    NS_CLIENT,
    NS_STANZA_ERRORS,
    NS_STREAM_ERRORS,
    NS_STREAMS,
    Routed,
    RoutedText,
    Stanza,
    StreamHeader,
    Tag,
    bounce,
    escapeAttribute,
    escapeText,
    rootTagEnd,
    streamErrorText,
)
from tests import native
from tests.properties import given, st


def stanza(data: bytes) -> Stanza:
    """
    Return the stanza that C{data} is in a client's stream.
    """
    scanner = Scanner(1, 100000)
    scanner.feed(StreamHeader(id="x", from_="verona.example").encode())
    (event,) = scanner.feed(data)
    assert isinstance(event, Stanza)
    return event


class RoutedTests(SynchronousTestCase):
    """
    L{Routed}
    """

    def test_stanza(self) -> None:
        """
        It is the stanza it is made of, for a session.
        """
        before = stanza(b'<message to="a"><body/></message>')
        routed = Routed("s", before)
        self.assertEqual(
            (routed.name, routed.namespace, routed.attributes, routed.data, routed.streamID),
            (before.name, before.namespace, before.attributes, before.data, "s"),
        )
        after = routed.withAttributes({"to": "b"})
        self.assertEqual((after.__class__, after.attributes), (Stanza, {"to": "b"}))

    @given(st.dictionaries(st.sampled_from(["to", "from", "xml:lang", "a"]), st.text()))
    def test_attributes(self, attributes: dict[str, str]) -> None:
        """
        Attributes that nobody has looked at yet are those that were written.
        """
        native.requireNative()
        plain = stanza(b'<a xmlns="u" xmlns:p="v" p:b="c"/>').withAttributes(attributes)
        scanner = native.Scanner(2, 100000, strict=False)
        scanner.feed(b"<stream>")
        (routed,) = scanner.feed(b'<route streamid="s">' + plain.data + b"</route>")
        expected = stanza(plain.data).attributes
        self.assertEqual((routed.attributes, list(routed.attributes)), (expected, list(expected)))
        self.assertIs(routed.attributes, routed.attributes)

    def test_repr(self) -> None:
        """
        Neither shows what a user has written.
        """
        for event in (Routed("s", stanza(b"<a>secret</a>")), RoutedText("s", "secret")):
            self.assertNotIn("secret", repr(event))


class AttributeTests(SynchronousTestCase):
    """
    L{Stanza.withAttributes}
    """

    def change(self, data: bytes, expected: bytes, **changes: str | None) -> None:
        """
        Check a change, and that what is reported of the result is what it says.
        """
        before = stanza(data)
        named = {name.replace("_", ":"): value for name, value in changes.items()}
        after = before.withAttributes(named)
        self.assertEqual(after.data, expected)
        again = stanza(expected)
        self.assertEqual(
            (after.name, after.namespace, after.attributes),
            (again.name, again.namespace, again.attributes),
        )
        self.assertEqual(before.data, data)
        self.assertEqual(before.attributes, stanza(data).attributes)

    def test_set(self) -> None:
        """
        An attribute is added, or set anew.
        """
        self.change(b"<a/>", b'<a b="c"/>', b="c")
        self.change(b"<a></a>", b'<a b="c"></a>', b="c")
        self.change(b'<a b="x"/>', b'<a b="c"/>', b="c")
        self.change(b'<a b="x" d="e">x</a>', b'<a d="e" b="c">x</a>', b="c")

    def test_escaped(self) -> None:
        """
        The value is escaped, and taken literally.
        """
        self.change(b"<a/>", b'<a b="&quot;&lt;&gt;&amp;\'\\1&#10;"/>', b="\"<>&'\\1\n")

    def test_remove(self) -> None:
        """
        L{None} takes an attribute off, if it is there.
        """
        self.change(b'<a b="c"/>', b"<a/>", b=None)
        self.change(b'<a b="c" d="e" f="g"></a>', b'<a b="c" f="g"></a>', d=None)
        self.change(b'<a b="c"/>', b'<a b="c"/>', d=None)

    def test_suffixes(self) -> None:
        """
        Names that end in, or begin with, the changed one are others.
        """
        self.change(
            b'<a xto="1" to="2" tox="3" xml:to="4" x-to="5"/>',
            b'<a xto="1" tox="3" xml:to="4" x-to="5"/>',
            to=None,
        )

    def test_values(self) -> None:
        """
        A value that looks like an attribute is none.
        """
        data = b'<a b=" to=" to="x"/>'
        self.change(data, b'<a b=" to="/>', to=None)
        self.change(b"<a b=\" to='x'/>\"/>".replace(b'/>"', b'"'), b"<a b=\" to='x'\"/>", to=None)

    def test_prefixed(self) -> None:
        """
        Prefixed attributes are changed by their names as written.
        """
        self.change(b'<a xml:lang="en" lang="x"/>', b'<a lang="x" xml:lang="de"/>', xml_lang="de")
        self.change(b'<a xml:lang="en" lang="x"/>', b'<a xml:lang="en"/>', lang=None)
        self.change(b'<a xmlns:p="u" p:b="1" b="2"/>', b'<a xmlns:p="u" b="2"/>', p_b=None)

    def test_inside(self) -> None:
        """
        Only the root's attributes are changed.
        """
        self.change(b'<a><b to="x"/></a>', b'<a to="y"><b to="x"/></a>', to="y")
        self.change(b'<a>to="x" </a>', b'<a>to="x" </a>', to=None)

    def test_nothing(self) -> None:
        """
        No change is no change.
        """
        self.change(b'<a b="c" ><d/></a>'.replace(b" >", b">"), b'<a b="c"><d/></a>')

    def test_notInProfile(self) -> None:
        """
        A root tag that is not in the profile is not edited.
        """
        for data in (b"<a b='c'/>", b'<a  b="c"/>', b'<a b="c" />', b'<a b ="c"/>', b"<a />", b"x"):
            broken = Stanza("a", NS_CLIENT, {}, data)
            self.assertRaises(LocalError, broken.withAttributes, {"to": "x"})

    @given(st.dictionaries(st.sampled_from(["to", "from", "id", "xto"]), st.none() | st.text()))
    def test_any(self, changes: dict[str, str | None]) -> None:
        """
        Whatever the values are, the result is in the profile and has them.
        """
        before = stanza(b'<message to="a" id="1"><body/></message>')
        after = before.withAttributes(changes)
        self.assertTrue(isCanonical(after.data))
        root = etree.fromstring(after.data)
        for name, value in changes.items():
            found = root.get(name)
            self.assertEqual(found is None, value is None)
            if value is not None and "\ufffd" not in found:
                self.assertEqual(found, value)


class ElementTests(SynchronousTestCase):
    """
    L{Stanza.element}
    """

    def test_tree(self) -> None:
        """
        The tree is in C{jabber:client}; each call makes a new one.
        """
        one = stanza(b'<message to="x"><body>a&lt;</body><x xmlns="u"/></message>')
        element = one.element()
        self.assertEqual((element.uri, element.name, element["to"]), (NS_CLIENT, "message", "x"))
        self.assertEqual(str(element.body), "a<")
        self.assertEqual(element.x.uri, "u")
        self.assertIsNot(one.element(), element)

    def test_strangeNamespace(self) -> None:
        """
        A client may write any namespace; what a filter writes of the tree is safe.
        """
        namespace = "a b'/&gt;&lt;/route&gt;"
        element = stanza(f'<message><x xmlns="{namespace}"/></message>'.encode()).element()
        written = element.toXml()
        self.assertNotIn("</route>", written)
        self.assertIn(b"a b", stanza(written.encode()).element().toXml().encode())

    def test_stream(self) -> None:
        """
        The C{stream} prefix may be used in it.
        """
        self.assertEqual(stanza(b"<stream:error/>").element().uri, NS_STREAMS)

    def test_bad(self) -> None:
        """
        What is not one element is refused.
        """
        for data in (b"<a>", b"<a/><b/>", b"", b"</x>", b"<a></x><y>"):
            self.assertRaises(LocalError, Stanza("a", NS_CLIENT, {}, data).element)

    def test_representation(self) -> None:
        """
        What a log may show has no content.
        """
        self.assertEqual(
            repr(stanza(b'<message to="secret">secret</message>')),
            "<Stanza {jabber:client}message 37 bytes>",
        )


class EscapeTests(SynchronousTestCase):
    """
    Text and attribute values in the profile.
    """

    def test_text(self) -> None:
        """
        Text has four characters to escape.
        """
        self.assertEqual(escapeText("a&<>\r\n\t\"'"), b"a&amp;&lt;&gt;&#13;\n\t\"'")
        self.assertEqual(escapeText("\u00e9\U0001f600"), "\u00e9\U0001f600".encode())

    def test_attribute(self) -> None:
        """
        Attributes have three more.
        """
        self.assertEqual(escapeAttribute("a&<>\r\n\t\"'"), b"a&amp;&lt;&gt;&#13;&#10;&#9;&quot;'")

    def test_noCharacters(self) -> None:
        """
        What XML has no characters for is replaced.
        """
        bad = "".join(map(chr, {*range(32)} - {9, 10, 13})) + "\ud800\udfff\ufffe\uffff"
        for escape in (escapeText, escapeAttribute):
            self.assertEqual(escape(bad), ("\ufffd" * len(bad)).encode())
            self.assertEqual(escape("\ud7ff\ue000\ufffd"), "\ud7ff\ue000\ufffd".encode())

    @given(st.text())
    def test_any(self, text: str) -> None:
        """
        A parser reads back what was escaped.
        """
        data = b'<a b="%s">%s</a>' % (escapeAttribute(text), escapeText(text))
        self.assertTrue(isCanonical(data))
        root = etree.fromstring(data)
        self.assertEqual(root.get("b"), root.text or "")

    def test_rootTagEnd(self) -> None:
        """
        The end of a tag is found behind quoted C{>}.
        """
        for tag in (b"<a>", b"<a/>", b"<a b='>'>", b"<a b=\">'\" c='\"'/>", b"</a>"):
            self.assertEqual(rootTagEnd(tag + b"x>"), len(tag))
            self.assertEqual(rootTagEnd(b"<x>" + tag, 3), len(tag) + 3)
        for tag in (b"", b"x", b"<a", b"<a b='>", b'<a b=">'):
            self.assertRaises(LocalError, rootTagEnd, tag)


class StreamTests(SynchronousTestCase):
    """
    The texts a stream is opened and closed with.
    """

    def test_header(self) -> None:
        """
        A header has an address, an id, a language and a version.
        """
        (event,) = Scanner(1, 1000).feed(StreamHeader(id='i"<', from_="a&b", lang="de").encode())
        self.assertEqual(
            event.tag,  # type: ignore[union-attr]  # the assertion is about it
            Tag(
                "stream",
                NS_STREAMS,
                "stream",
                {"from": "a&b", "id": 'i"<', "xml:lang": "de", "version": "1.0"},
                {"": NS_CLIENT, "stream": NS_STREAMS},
            ),
        )

    def test_headerParts(self) -> None:
        """
        All but the id may be left out.
        """
        header = StreamHeader(id="1", from_=None, lang=None, version=None).encode()
        self.assertTrue(header.startswith(b"<?xml version="))
        self.assertTrue(header.endswith(b'streams" id="1">'))

    def test_headerTo(self) -> None:
        """
        A client that named itself is named.
        """
        header = StreamHeader(id="1", from_="v", to='r"@v').encode()
        self.assertIn(b' from="v" to="r&quot;@v" id="1"', header)

    def test_error(self) -> None:
        """
        A stream error has its condition, and a text if there is one for the peer.
        """
        header = StreamHeader(id="1", from_=None).encode()
        for error, text in (
            (StreamError("policy-violation", "a < b"), "a < b"),
            (StreamError("policy-violation", reason="for us"), None),
        ):
            (root,) = etree.fromstring(header + streamErrorText(error) + FOOTER)
            self.assertEqual(root.tag, f"{{{NS_STREAMS}}}error")
            self.assertEqual(root[0].tag, f"{{{NS_STREAM_ERRORS}}}policy-violation")
            self.assertEqual(root.findtext(f"{{{NS_STREAM_ERRORS}}}text"), text)


class BounceTests(SynchronousTestCase):
    """
    L{bounce}
    """

    ERROR = StanzaError("item-not-found", "cancel")

    def test_swapped(self) -> None:
        """
        The answer goes from the addressee to the sender.
        """
        data = b'<iq type="get" id="1&lt;" to="a" from="b"><q xmlns="u"/></iq>'
        self.assertEqual(
            bounce(stanza(data), self.ERROR),
            b'<iq id="1&lt;" from="a" to="b" type="error"><error type="cancel">'
            b'<item-not-found xmlns="%s"/></error></iq>' % NS_STANZA_ERRORS.encode(),
        )

    def test_notSwapped(self) -> None:
        """
        A client of ours is not told its own address.
        """
        answer = bounce(stanza(b'<message to="a" from="b"/>'), self.ERROR, swap=False)
        assert answer is not None
        self.assertEqual(etree.fromstring(answer).attrib, {"from": "a", "type": "error"})

    def test_text(self) -> None:
        """
        A text is escaped.
        """
        answer = bounce(stanza(b"<presence/>"), StanzaError("x", "wait", "a<b"))
        assert answer is not None
        self.assertIn(b">a&lt;b</text>", answer)
        self.assertTrue(isCanonical(answer))

    def test_never(self) -> None:
        """
        Errors, results, and what is no stanza, are never answered (RFC 6120 section
        8.3.1).
        """
        for data in (
            b"<message type='error'/>",
            b"<presence type='error'/>",
            b"<iq type='error'/>",
            b"<iq type='result'/>",
            b"<iq/>",
            b"<iq type='x'/>",
            b"<auth/>",
            b"<message xmlns='urn:x'/>",
        ):
            self.assertIsNone(bounce(stanza(data), self.ERROR), data)

    def test_answered(self) -> None:
        """
        Everything else is.
        """
        for data in (
            b"<message/>",
            b"<message type='groupchat'/>",
            b"<presence type='subscribe'/>",
            b"<iq type='get'/>",
            b"<iq type='set'/>",
        ):
            self.assertIsNotNone(bounce(stanza(data), self.ERROR), data)
