# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.slices}; L{tests.test_scanner} has them with a scanner before.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import StreamError
from cmanager.slices import (
    MAX_WRITTEN_BYTES,
    SEPARATOR,
    Scope,
    Slicer,
    openTag,
    plainAttributes,
    scopeFor,
    slicerFor,
    splitName,
)
from cmanager.stanza import CONTENT_NAMESPACES, NS_CLIENT, NS_LINK, NS_MULTIPLEX, Stanza

XML = "http://www.w3.org/XML/1998/namespace"


def expatName(*parts: str) -> str:
    """
    Return a name as expat reports it.
    """
    return SEPARATOR.join(parts)


class NameTests(SynchronousTestCase):
    """
    Names as expat reports them.
    """

    def test_split(self) -> None:
        """
        A name has a local name, perhaps a namespace, perhaps a prefix.
        """
        self.assertEqual(splitName("a"), ("", "a", None))
        self.assertEqual(splitName(expatName("u v", "a")), ("u v", "a", None))
        self.assertEqual(splitName(expatName("u", "a", "p")), ("u", "a", "p"))

    def test_attributes(self) -> None:
        """
        Attributes are named as they are written.
        """
        self.assertEqual(plainAttributes({"a": "1"}), {"a": "1"})
        self.assertEqual(
            plainAttributes({"a": "1", expatName(XML, "lang", "xml"): "en"}),
            {"a": "1", "xml:lang": "en"},
        )

    def test_openTag(self) -> None:
        """
        A context is a start tag with declarations alone.
        """
        self.assertEqual(openTag("a", {}), b"<a>")
        self.assertEqual(
            openTag(expatName("u", "a", "p"), {"": '"', "p": "u"}),
            b'<p:a xmlns="&quot;" xmlns:p="u">',
        )


class SharingTests(SynchronousTestCase):
    """
    What many streams have in common there is once.
    """

    def test_scope(self) -> None:
        """
        Headers that declare the same have one scope; what is declared inside hides what
        is outside.
        """
        around = {"": NS_CLIENT, "p": "u"}
        scope = scopeFor(around, {"p": "v"}, CONTENT_NAMESPACES)
        self.assertEqual(scope.namespaces, {"": NS_CLIENT, "p": "v"})
        self.assertIs(scope, scopeFor({"": NS_CLIENT}, {"p": "v"}, CONTENT_NAMESPACES))
        other = scopeFor(around, {"p": "v"}, frozenset())
        self.assertEqual((scope.needles, other.needles), ((b"p:",), (b"p:", b"")))

    def test_slicer(self) -> None:
        """
        So have scanners that are made alike.
        """
        slicer = slicerFor(CONTENT_NAMESPACES, True, False, False, 2)
        self.assertEqual(slicer, Slicer(CONTENT_NAMESPACES, True, False, False, 2))
        self.assertIs(slicer, slicerFor(CONTENT_NAMESPACES, True, False, False, 2))


class SlicerTests(SynchronousTestCase):
    """
    L{Slicer.stanza}
    """

    def stanza(
        self,
        data: bytes,
        uri: str = NS_CLIENT,
        scope: Any = None,
        **options: Any,
    ) -> tuple[str, bytes]:
        """
        Return what namespace and bytes become of an element C{message}.
        """
        settings = {
            "content": CONTENT_NAMESPACES,
            "strict": True,
            "mustDeclare": False,
            "bmpOnly": False,
            "maxNamespaces": 2,
            **options,
        }
        name = expatName(uri, "message") if uri else "message"
        around = Scope({"": NS_CLIENT} if scope is None else scope, settings["content"])
        result = Slicer(**settings).stanza(data, name, {"a": "\U0001f600"}, around)
        self.assertIsInstance(result, Stanza)
        self.assertEqual(result.name, "message")
        return result.namespace, result.data

    def test_attributes(self) -> None:
        """
        Attributes are reported as they are written.
        """
        slicer = Slicer(CONTENT_NAMESPACES, True, False, False, 2)
        around = Scope({}, CONTENT_NAMESPACES)
        for given, expected in (
            ({"a": "1"}, {"a": "1"}),
            ({"a": "1", expatName(XML, "lang", "xml"): "x"}, {"a": "1", "xml:lang": "x"}),
        ):
            self.assertEqual(slicer.stanza(b"<a/>", "a", given, around).attributes, expected)

    def test_asItIs(self) -> None:
        """
        The very same bytes come back if they may.
        """
        data = b'<message a="b"><c/></message>'
        self.assertIs(self.stanza(data)[1], data)
        self.assertIs(self.stanza(data, NS_LINK, {"": NS_LINK}, strict=False)[1], data)

    def test_spelled(self) -> None:
        """
        Otherwise they are spelled anew.
        """
        self.assertEqual(self.stanza(b"<message a='b'/>")[1], b'<message a="b"/>')

    def test_prefix(self) -> None:
        """
        A prefix from around is declared; one that only seems used is not.
        """
        scope = {"": NS_CLIENT, "p": "u"}
        self.assertEqual(
            self.stanza(b"<message><p:a/></message>", scope=scope)[1],
            b'<message xmlns:p="u"><p:a/></message>',
        )
        data = b"<message>p:a</message>"
        self.assertIs(self.stanza(data, scope=scope)[1], data)

    def test_foreign(self) -> None:
        """
        A default namespace from around that is no content is declared.
        """
        self.assertEqual(self.stanza(b"<message/>", "u", {"": "u"}), ("u", b'<message xmlns="u"/>'))
        self.assertEqual(
            self.stanza(b"<message/>", "u", {"": "u"}, content=frozenset({"u"})),
            (NS_CLIENT, b"<message/>"),
        )

    def test_server(self) -> None:
        """
        Content namespaces are taken off what a server sends, and left on what a client
        does.
        """
        data = b'<message xmlns="%s"/>' % NS_MULTIPLEX.encode()
        self.assertEqual(self.stanza(data, NS_MULTIPLEX, strict=False), (NS_CLIENT, b"<message/>"))
        self.assertEqual(self.stanza(data, NS_MULTIPLEX), (NS_MULTIPLEX, data))

    def test_mustDeclare(self) -> None:
        """
        Where nothing is around, an element says its own namespace.
        """
        with self.assertRaises(StreamError) as raised:
            self.stanza(b"<message/>", "", {}, mustDeclare=True)
        self.assertEqual(raised.exception.condition, "invalid-namespace")
        data = b'<message xmlns="jabber:client"/>'
        self.assertEqual(self.stanza(data, scope={}, mustDeclare=True), (NS_CLIENT, b"<message/>"))

    def test_saysSo(self) -> None:
        """
        What a client has to say of its namespace, because nothing around it does, is taken
        off its root and off nothing else; where something around does it stays.
        """
        inner = b"<x xmlns='urn:x'><message xmlns=\"jabber:client\"/></x>"
        for said in (
            b' xmlns="jabber:client"',
            b" xmlns='jabber:client'",
            b" xmlns='jabber&#58;client'",
        ):
            data = b"<message a='x xmlns=\"jabber:client\"'%s>%s</message>" % (said, inner)
            self.assertEqual(
                self.stanza(data, scope={"": "http://jabber.org/protocol/httpbind"}),
                (
                    NS_CLIENT,
                    b'<message a="x xmlns=&quot;jabber:client&quot;">'
                    b'<x xmlns="urn:x"><message xmlns="jabber:client"/></x></message>',
                ),
            )
        data = b'<message xmlns="jabber:client"/>'
        self.assertEqual(self.stanza(data), (NS_CLIENT, data))
        prefixed = b'<c:message xmlns:c="jabber:client"/>'
        name = expatName(NS_CLIENT, "message", "c")
        slicer = Slicer(CONTENT_NAMESPACES, True, True, False, 2)
        stanza = slicer.stanza(prefixed, name, {}, Scope({}, CONTENT_NAMESPACES))
        self.assertEqual(stanza.data, prefixed)

    def test_written(self) -> None:
        """
        What a client sent must fit when it is written in the profile too; what a
        server sent need not.
        """
        room = MAX_WRITTEN_BYTES - len(b'<message a=""/>')
        whole, rest = divmod(room, len(b"&quot;"))
        data = b"<message a='%s'/>" % (b'"' * whole + b"x" * rest)
        self.assertEqual(len(self.stanza(data)[1]), MAX_WRITTEN_BYTES)
        data = data.replace(b"x'", b"xx'") if rest else data.replace(b"'/", b"x'/")
        with self.assertRaises(StreamError) as raised:
            self.stanza(data)
        self.assertEqual(raised.exception.condition, "policy-violation")
        self.assertEqual(len(self.stanza(data, strict=False)[1]), MAX_WRITTEN_BYTES + 1)

    def test_prefixXML(self) -> None:
        """
        The prefix that is always declared is not declared.
        """
        data = b'<message xmlns:xml="%s" xml:lang="en"/>' % XML.encode()
        self.assertEqual(self.stanza(data)[1], b'<message xml:lang="en"/>')
        scope = {"": NS_CLIENT, "xml": XML}
        data = b'<message xml:lang="en"/>'
        self.assertIs(self.stanza(data, scope=scope)[1], data)

    def test_nothingToDrop(self) -> None:
        """
        An element that is no stanza keeps its namespace, whoever sent it.
        """
        scope = Scope({"": NS_LINK}, CONTENT_NAMESPACES)
        slicer = Slicer(CONTENT_NAMESPACES, False, False, False, 2)
        data = b'<session xmlns="%s"/>' % NS_MULTIPLEX.encode()
        result = slicer.stanza(data, expatName(NS_MULTIPLEX, "session"), {}, scope)
        self.assertEqual((result.namespace, result.data), (NS_MULTIPLEX, data))
        result = slicer.stanza(b"<handshake/>", expatName(NS_LINK, "handshake"), {}, scope)
        self.assertEqual((result.namespace, result.data), (NS_CLIENT, b"<handshake/>"))

    def test_declarations(self) -> None:
        """
        C{maxNamespaces} declarations pass, one more does not.
        """
        data = b'<message xmlns:a="a" xmlns:b="b"/>'
        self.stanza(data)
        self.stanza(b"<message>xmlns xmlns xmlns</message>")
        with self.assertRaises(StreamError) as raised:
            self.stanza(data[:-2] + b' xmlns:c="c"/>')
        self.assertEqual(raised.exception.condition, "policy-violation")

    def test_astral(self) -> None:
        """
        Astral characters are replaced on demand, if that leaves names distinct.
        """
        data = '<message a="\U0001f600"/>'.encode()
        self.assertIs(self.stanza(data)[1], data)
        self.assertEqual(self.stanza(data, bmpOnly=True)[1], '<message a="\ufffd"/>'.encode())
        ambiguous = '<message xmlns:p="\U0001f600" xmlns:q="\U0001f601" p:a="" q:a=""/>'
        with self.assertRaises(StreamError) as raised:
            self.stanza(ambiguous.encode(), bmpOnly=True)
        self.assertEqual(raised.exception.condition, "not-well-formed")
