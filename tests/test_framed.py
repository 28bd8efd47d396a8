# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.framed}.
"""

from __future__ import annotations

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import StreamError
from cmanager.framed import CLOSE, NS_FRAMING, Messages, closeFor, openElement
from cmanager.frames import Part
from cmanager.negotiation import readHeader
from cmanager.settings import ClientSettings
from cmanager.stanza import NS_CLIENT, Closed, Event, Opened, Stanza, StreamHeader

LIMIT = 1000
OPEN = f"<open xmlns='{NS_FRAMING}' to='verona.example' version='1.0'/>".encode()
PRESENCE = b"<presence xmlns='jabber:client'/>"


class ReadCase(SynchronousTestCase):
    """
    The messages of a client.
    """

    def setUp(self) -> None:
        self.messages = Messages(LIMIT, ClientSettings())

    def say(self, *parts: bytes) -> Event | None:
        """
        Say something in so many parts; return what it means.
        """
        found: Event | None = None
        for number, part in enumerate(parts, 1):
            found = self.messages.add(Part(part, number == len(parts)))
            if number < len(parts):
                self.assertIsNone(found)
        return found

    def refused(self, *parts: bytes) -> str:
        """
        Say something wrong; return the condition.
        """
        return self.assertRaises(StreamError, self.say, *parts).condition


class ElementTests(ReadCase):
    """
    What a message may say.
    """

    def test_open(self) -> None:
        """
        An C{<open/>} means the header of a stream, with its attributes.
        """
        event = self.say(OPEN.replace(b"to=", b"from='romeo@verona.example' xml:lang='it' to="))
        assert isinstance(event, Opened)
        header = readHeader(event.tag, preXMPP10=False)
        self.assertEqual(
            (header.domain, header.sender, header.lang, header.isModern),
            ("verona.example", "romeo@verona.example", "it", True),
        )

    def test_close(self) -> None:
        """
        A C{<close/>} means the end of the stream.
        """
        self.assertIsInstance(self.say(CLOSE), Closed)

    def test_prefixed(self) -> None:
        """
        Both are known by their namespace, not by how they are spelled.
        """
        ns = NS_FRAMING.encode()
        self.assertIsInstance(self.say(b"<f:open xmlns:f='%s' to='x'></f:open>" % ns), Opened)
        self.assertIsInstance(self.say(b"<f:close xmlns:f='%s'/>" % ns), Closed)
        self.assertIsInstance(self.say(b"<other xmlns='%s'/>" % ns), Stanza)

    def test_stanza(self) -> None:
        """
        Any other element is a stanza, in C{jabber:client} without a word as over TCP, or in
        a namespace of its own.
        """
        for data, namespace, expected in (
            (b"<message to='x' xmlns='jabber:client'><body>x</body></message>", NS_CLIENT, None),
            (b"<auth xmlns='urn:x'/>", "urn:x", b'<auth xmlns="urn:x"/>'),
            (b"<?xml version='1.0'?>" + PRESENCE + b"\r\n ", NS_CLIENT, b"<presence/>"),
        ):
            event = self.say(data)
            assert isinstance(event, Stanza)
            self.assertEqual(event.namespace, namespace)
            self.assertEqual(event.data, expected or b'<message to="x"><body>x</body></message>')

    def test_parts(self) -> None:
        """
        It may come in parts, empty ones and white space behind it among them.
        """
        for at in range(len(PRESENCE)):
            event = self.say(b"", PRESENCE[:at], b"", PRESENCE[at:], b" ", b"\n", b"")
            assert isinstance(event, Stanza)
            self.assertEqual(event.data, b"<presence/>")


class RefusalTests(ReadCase):
    """
    What it may not.
    """

    def test_table(self) -> None:
        """
        Each has its condition, in one part and in as many as it has bytes; the next message
        is heard.
        """
        ns = NS_FRAMING.encode()
        for data, condition in (
            (b"", "bad-format"),
            (b" ", "bad-format"),
            (b"\n" + PRESENCE, "bad-format"),
            (b"hello", "not-well-formed"),
            (b"\xef\xbb\xbf" + PRESENCE, "not-well-formed"),
            (b"\x00", "unsupported-encoding"),
            (b"<?xml version='1.0' encoding='UTF-16'?>" + PRESENCE, "unsupported-encoding"),
            (b"<?xml version='1.0'?>", "not-well-formed"),
            (b"<presence xmlns='jabber:client'>", "not-well-formed"),
            (b"<", "not-well-formed"),
            (PRESENCE + PRESENCE, "not-well-formed"),
            (PRESENCE + b"x", "not-well-formed"),
            (PRESENCE + b"<", "not-well-formed"),
            (PRESENCE + b"</presence>", "not-well-formed"),
            (b"<presence/>", "invalid-namespace"),
            (b"<!-- -->" + PRESENCE, "restricted-xml"),
            (b"<?php ?>" + PRESENCE, "restricted-xml"),
            (b"<!DOCTYPE presence>" + PRESENCE, "restricted-xml"),
            (b"<stream:stream xmlns='jabber:client' xmlns:stream='urn:x'>", "not-well-formed"),
            (
                b"<x xmlns='a' %s/>" % b" ".join(b"a%d='x'" % n for n in range(65)),
                "policy-violation",
            ),
            (b"<open to='x'/>", "invalid-namespace"),
            (b"<open xmlns='jabber:client' to='x'/>", "invalid-namespace"),
            (b"<close xmlns='jabber:client'/>", "invalid-namespace"),
            (b"<stream xmlns='http://etherx.jabber.org/streams'/>", "invalid-namespace"),
            (b"<open xmlns='%s'/>" % ns.upper(), "invalid-namespace"),
        ):
            for parts in ([data], [data[at : at + 1] for at in range(len(data))] or [b""]):
                found = self.refusedOnce(parts)
                self.assertEqual(found, condition, data)
                self.assertIsInstance(self.say(PRESENCE), Stanza)

    def refusedOnce(self, parts: list[bytes]) -> str | None:
        """
        Say something wrong; return the one condition, and nothing but that.
        """
        found = []
        for number, part in enumerate(parts, 1):
            try:
                said = self.messages.add(Part(part, number == len(parts)))
            except StreamError as error:
                found.append(error.condition)
            else:
                self.assertIsNone(said)
        (condition,) = found
        return condition

    def test_limit(self) -> None:
        """
        A message of n bytes passes, one of n + 1 does not.
        """
        data = b"<a xmlns='u'>%s</a>" % (b"x" * (LIMIT - 17))
        self.assertIsInstance(self.say(data), Stanza)
        self.assertEqual(self.refused(data.replace(b"x", b"xx", 1)), "policy-violation")

    def test_header(self) -> None:
        """
        Elements that are called so have any namespace once the stream is open.
        """
        self.assertEqual(self.refused(b"<open xmlns='urn:x'/>"), "invalid-namespace")
        self.say(OPEN)
        self.assertFalse(self.messages.awaitsOpen)
        self.assertIsInstance(self.say(b"<open xmlns='urn:x'/>"), Stanza)

    def test_kept(self) -> None:
        """
        Nothing is kept from one message to the next, nor of one that is refused.
        """
        self.say(OPEN)
        self.assertIsNone(self.messages._scanner)
        self.assertRaises(StreamError, self.messages.add, Part(b"<!--", False))
        for _ in range(3):
            self.assertIsNone(self.messages.add(Part(b"x" * 100000, False)))
        self.assertIsNone(self.messages.add(Part(b"", True)))
        self.assertIsNone(self.messages._scanner)
        self.assertIsInstance(self.say(PRESENCE), Stanza)


class WritingTests(SynchronousTestCase):
    """
    What we send.
    """

    def test_open(self) -> None:
        """
        An C{<open/>} has the attributes of a header.
        """
        header = StreamHeader(id='"1"', from_="verona.example", to="romeo@verona.example")
        root = etree.fromstring(openElement(header))
        self.assertEqual(root.tag, f"{{{NS_FRAMING}}}open")
        self.assertEqual(
            dict(root.attrib),
            {
                "id": '"1"',
                "from": "verona.example",
                "to": "romeo@verona.example",
                "version": "1.0",
                "{http://www.w3.org/XML/1998/namespace}lang": "en",
            },
        )
        # Strophe.js looks no closer.
        self.assertTrue(openElement(header).startswith(b"<open "))

    def test_close(self) -> None:
        """
        A C{<close/>} may name another place.
        """
        for data, expected in (
            (CLOSE, {}),
            (closeFor("wss://x/?a=1&b='"), {"see-other-uri": "wss://x/?a=1&b='"}),
        ):
            root = etree.fromstring(data)
            self.assertEqual(root.tag, f"{{{NS_FRAMING}}}close")
            self.assertEqual(dict(root.attrib), expected)
            self.assertTrue(data.startswith(b"<close "))
