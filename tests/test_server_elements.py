# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.elements}.
"""

from __future__ import annotations

from unittest import mock

from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.jid import internJID
from twisted.words.xish import domish
from twisted.words.xish.domish import ParserError

from cmanager.server import elements
from cmanager.server.elements import (
    JIDS_REMEMBERED,
    StanzaError,
    StrictStream,
    address,
    build,
    delayed,
    freed,
    parse,
    payload,
    result,
    streamError,
)
from tests.serverdoubles import fragment


class AddressTests(SynchronousTestCase):
    """
    Addresses.
    """

    def test_prepared(self) -> None:
        """
        Addresses are prepared.
        """
        self.assertEqual(address("RoMeo@LocalHost/A").full(), "romeo@localhost/A")

    def test_malformed(self) -> None:
        """
        What is none is C{jid-malformed}.
        """
        for text in ("", "@", "a@", "\0@b", "a b@c"):
            error = self.assertRaises(StanzaError, address, text)
            self.assertEqual(error.condition, "jid-malformed")

    def test_forgotten(self) -> None:
        """
        So many are remembered, and no more, and none for ever.
        """
        address.cache_clear()
        for number in range(JIDS_REMEMBERED + 1):
            address(f"u{number}@localhost")
        self.assertEqual(address.cache_info().currsize, JIDS_REMEMBERED)
        self.assertNotIn("u1@localhost", internJID.__globals__["__internJIDs"])


class BuildTests(SynchronousTestCase):
    """
    Elements that are made.
    """

    def test_build(self) -> None:
        """
        Attributes that are C{None} are left out.
        """
        element = build("urn:x", "a", "text", from_="b", to=None)
        self.assertEqual(element.toXml(), "<a xmlns='urn:x' from='b'>text</a>")

    def test_result(self) -> None:
        """
        A result goes back with the request's ID.
        """
        iq = build(None, "iq", type="get", id="1", from_="a", to="b")
        self.assertEqual(
            result(iq, build("urn:x", "y")).toXml(),
            "<iq to='a' from='b' id='1' type='result'><y xmlns='urn:x'/></iq>",
        )

    def test_streamError(self) -> None:
        """
        A stream error declares its prefix, or trusts the header's.
        """
        error = fragment(streamError("conflict"))
        self.assertEqual(error.uri, "http://etherx.jabber.org/streams")
        self.assertEqual(error.firstChildElement().name, "conflict")
        self.assertNotIn("xmlns:stream", streamError("conflict", declared=False))

    def test_delayed(self) -> None:
        """
        The stamp is in UTC.
        """
        message = delayed(build(None, "message"), "localhost", 1_700_000_000.0)
        self.assertEqual(
            message.toXml(),
            "<message><delay xmlns='urn:xmpp:delay' from='localhost'"
            " stamp='2023-11-14T22:13:20Z'/></message>",
        )


class NamespaceTests(SynchronousTestCase):
    """
    Content namespaces.
    """

    def test_freed(self) -> None:
        """
        They go, down to where another begins; others stay.
        """
        self.assertEqual(
            freed(fragment("<iq><q xmlns='urn:q'><a xmlns='jabber:client'/></q></iq>")).toXml(),
            "<iq><q xmlns='urn:q'><a xmlns='jabber:client'/></q></iq>",
        )
        self.assertEqual(freed(fragment("<iq xmlns='urn:x'/>")).uri, "urn:x")

    def test_parse(self) -> None:
        """
        What is parsed again is free.
        """
        self.assertIsNone(parse("<message><body>x</body></message>").uri)

    def test_payload(self) -> None:
        """
        A payload has a namespace of its own.
        """
        self.assertIsNone(payload(fragment("<iq>text<a/></iq>")))
        found = payload(fragment("<iq><a/><b xmlns='urn:x'/></iq>"))
        self.assertEqual(found.name, "b")  # type: ignore[union-attr] # else it fails


class StrictStreamTests(SynchronousTestCase):
    """
    The reader of links; see also the tests of links.
    """

    def stream(self) -> StrictStream:
        """
        Return a reader that tells nobody.
        """
        stream = StrictStream()
        stream.DocumentStartEvent = stream.ElementEvent = lambda element: None
        return stream

    def test_refused(self) -> None:
        """
        Comments and text between elements are refused, white space there and text in
        elements are not.
        """
        for bad in (b"<!-- -->", b"x"):
            stream = self.stream()
            stream.parse(b"<a> <b>text</b>\n")
            self.assertRaises(ParserError, stream.parse, bad)

    def test_deferral(self) -> None:
        """
        Where expat would put off reading, it is told not to.
        """

        class Parser:
            deferral = True

            def SetReparseDeferralEnabled(self, enabled: bool) -> None:
                self.deferral = enabled

        class Plain:
            pass

        for kind in (Parser, Plain):
            parser = kind()
            with mock.patch("pyexpat.ParserCreate", lambda *args: parser):
                StrictStream()
            self.assertFalse(getattr(parser, "deferral", False))

    def test_reexports(self) -> None:
        """
        The module hands out Twisted's own classes.
        """
        self.assertIs(elements.Element, domish.Element)
