# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.excerpt}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.excerpt import inClientNamespace, selfContained
from cmanager.scanner import Scanner
from cmanager.stanza import NS_STREAMS, Stanza, StreamHeader
from tests.infoset import CONTENT, infoset, infosetIn
from tests.properties import given, st
from tests.strategies import CLIENT_SCOPE, elements

BODY = f'<body xmlns="urn:example:body" xmlns:stream="{NS_STREAMS}">'.encode()
TCP = CONTENT[:-1] + f' xmlns:stream="{NS_STREAMS}">'.encode()


def standing(element: bytes) -> Stanza:
    """
    Return an element of a stream over TCP as a scanner hands it out.
    """
    scanner = Scanner(1, 100000)
    scanner.feed(StreamHeader(id="1", from_="verona.example").encode())
    (event,) = scanner.feed(element)
    assert isinstance(event, Stanza)
    return event


class ClientNamespaceTests(SynchronousTestCase):
    """
    What stands in a body that declares the prefix C{stream}.
    """

    def test_declared(self) -> None:
        """
        An element without a namespace of its own is in C{jabber:client}.
        """
        self.assertEqual(
            inClientNamespace(b'<message to="romeo@verona.example"/>'),
            b'<message xmlns="jabber:client" to="romeo@verona.example"/>',
        )
        self.assertEqual(inClientNamespace(b"<a/>"), b'<a xmlns="jabber:client"/>')
        self.assertEqual(inClientNamespace(b"<a></a>"), b'<a xmlns="jabber:client"></a>')

    def test_ownNamespace(self) -> None:
        """
        One that says where it is stays as it is, wherever in the tag it says so, be it in no
        namespace.
        """
        for element in (
            b'<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>',
            b'<a b="1" xmlns="urn:example:a" c="2"/>',
            b'<a b=" /&gt;" xmlns="urn:example:a"/>',
            b"<a b='\"' xmlns = 'urn:example:a'/>",
            b'<a\n\txmlns="urn:example:a"/>',
            b'<a xmlns=""/>',
        ):
            self.assertEqual(inClientNamespace(element), element)

    def test_notInATag(self) -> None:
        """
        What only looks like a declaration is none: in a value, in a child, with a prefix, in
        a longer name.
        """
        for element in (
            b'<a b=" xmlns="/>',
            b'<a b="" c=" xmlns=" d="1"/>',
            b"<a b='x\" xmlns=\"y'/>",
            b'<a><b xmlns="urn:example:b"/></a>',
            b'<a xmlns:b="urn:example:b"/>',
            b'<a xmlnsx="urn:example:b"/>',
        ):
            self.assertEqual(inClientNamespace(element), b'<a xmlns="jabber:client"' + element[2:])

    def test_prefixed(self) -> None:
        """
        An element with a prefix gets one too, for what is in it.
        """
        self.assertEqual(
            inClientNamespace(b'<p:a xmlns:p="urn:example:p"><b/></p:a>'),
            b'<p:a xmlns="jabber:client" xmlns:p="urn:example:p"><b/></p:a>',
        )

    def test_streams(self) -> None:
        """
        Features and stream errors are left to the body.
        """
        for element in (b"<stream:features/>", b"<stream:error><reset/></stream:error>"):
            self.assertEqual(inClientNamespace(element), element)

    @given(elements(CLIENT_SCOPE))
    def test_meaning(self, element: bytes) -> None:
        """
        An element means in a body what it meant in its stream.
        """
        stanza = standing(element)
        self.assertEqual(
            infosetIn(BODY, inClientNamespace(stanza.data), b"</body>"), infoset(stanza.data)
        )


class SelfContainedTests(SynchronousTestCase):
    """
    What stands alone.
    """

    def test_declared(self) -> None:
        """
        An element without a namespace of its own is in C{jabber:client}.
        """
        self.assertEqual(selfContained(b'<iq id="1"/>'), b'<iq xmlns="jabber:client" id="1"/>')
        self.assertEqual(selfContained(b'<iq xmlns="urn:x"/>'), b'<iq xmlns="urn:x"/>')

    def test_streams(self) -> None:
        """
        Features and stream errors declare their prefix, unless they do already.
        """
        for name in (b"features", b"error"):
            self.assertEqual(
                selfContained(b'<stream:%s><a xmlns="urn:a"/></stream:%s>' % (name, name)),
                b'<stream:%s xmlns:stream="%s"><a xmlns="urn:a"/></stream:%s>'
                % (name, NS_STREAMS.encode(), name),
            )
        whole = f'<stream:features a="1" xmlns:stream="{NS_STREAMS}"/>'.encode()
        self.assertEqual(selfContained(whole), whole)

    @given(st.sampled_from(["features", "error"]), elements({"stream": NS_STREAMS}))
    def test_meaning(self, name: str, element: bytes) -> None:
        """
        An element means alone what it meant in its stream.
        """
        stanza = standing(element)
        self.assertEqual(
            infosetIn(b"<x>", selfContained(stanza.data), b"</x>"), infoset(stanza.data)
        )
        inside = selfContained(stanza.data)
        whole = f"<stream:{name}>".encode() + inside + f"</stream:{name}>".encode()
        self.assertEqual(
            infosetIn(b"<x>", selfContained(whole), b"</x>"), infosetIn(TCP, whole, b"</x>")
        )
