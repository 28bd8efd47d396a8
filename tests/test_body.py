# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.body}.
"""

from __future__ import annotations

from typing import Any

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from cmanager.body import (
    BINDING_CONDITIONS,
    MAX_NUMBER,
    MAX_RID,
    NS_BODY,
    Body,
    bindingCondition,
    readBody,
    writeBody,
    writeEnd,
)
from cmanager.errors import BOSHError, StreamError
from cmanager.negotiation import STREAM_CONDITIONS, readHeader
from cmanager.profile import isCanonical
from cmanager.scanner import Scanner
from cmanager.stanza import NS_CLIENT, NS_SASL, NS_STREAMS, NS_TLS, Stanza, streamErrorText
from tests.infoset import infoset
from tests.properties import given
from tests.strategies import elements

LIMIT = 10000
STANZA_LIMIT = 5000


def request(attributes: str = "", children: str = "", rid: str = "rid='1573741820'") -> bytes:
    """
    Return a request.
    """
    return f"<body {rid} {attributes} xmlns='{NS_BODY}'>{children}</body>".encode()


def read(attributes: str = "", children: str = "") -> Body:
    """
    Return what is read from a request.
    """
    return readBody(request(attributes, children), LIMIT, STANZA_LIMIT)


def known(stanza: Stanza) -> tuple[Any, ...]:
    """
    Return what can be compared.
    """
    return stanza.name, stanza.namespace, stanza.attributes, stanza.data


def overTCP(data: bytes) -> list[Stanza]:
    """
    Return the elements that a stream over TCP makes of the same bytes.
    """
    scanner = Scanner(1, STANZA_LIMIT)
    scanner.feed(f"<stream:stream xmlns='{NS_CLIENT}' xmlns:stream='{NS_STREAMS}'>".encode())
    return [event for event in scanner.feed(data) if isinstance(event, Stanza)]


class BodyCase(SynchronousTestCase):
    """
    What all tests of reading need.
    """

    def assertRefused(self, condition: str, data: bytes) -> None:
        """
        The request is refused.
        """
        error = self.assertRaises(BOSHError, readBody, data, LIMIT, STANZA_LIMIT)
        self.assertEqual(error.condition, condition)

    def assertBad(self, attributes: str) -> None:
        """
        The request is refused for its attributes.
        """
        self.assertRefused("bad-request", request(attributes))


class RequestTests(BodyCase):
    """
    The start tag of a request.
    """

    def test_nothingButARid(self) -> None:
        """
        All else is optional.
        """
        self.assertEqual(readBody(request(), LIMIT, STANZA_LIMIT), Body(rid=1573741820, size=75))

    def test_creation(self) -> None:
        """
        A request for a session, with everything in it.
        """
        body = read(
            "to='verona.example' from='romeo@verona.example' xml:lang='it' ver='1.11' wait='60'"
            " hold='1' ack='1' content='text/xml; charset=utf-8' newkey='abc' secure='true'"
            " route='xmpp:verona.example:5222' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'"
        )
        self.assertEqual(
            body,
            Body(
                rid=1573741820,
                size=body.size,
                to="verona.example",
                from_="romeo@verona.example",
                lang="it",
                ver=(1, 11),
                wait=60,
                hold=1,
                ack=1,
                content="text/xml; charset=utf-8",
                newkey="abc",
                xmppVersion="1.0",
            ),
        )

    def test_later(self) -> None:
        """
        A later request.
        """
        body = read("sid='s' key='k' ack='7' pause='30' type='terminate' condition='other-request'")
        self.assertEqual(
            (body.sid, body.key, body.ack, body.pause, body.isTerminate, body.condition),
            ("s", "k", 7, 30, True, "other-request"),
        )

    def test_secrets(self) -> None:
        """
        What would let somebody into the session is not shown.
        """
        shown = repr(read("sid='alpha' key='beta' newkey='gamma'"))
        for secret in ("alpha", "beta", "gamma"):
            self.assertNotIn(secret, shown)

    def test_rid(self) -> None:
        """
        A rid is between 1 and 2**53 - 1.
        """
        for rid in (1, MAX_RID):
            data = request(rid=f"rid='{rid}'")
            self.assertEqual(readBody(data, LIMIT, STANZA_LIMIT).rid, rid)
        for bad in ("0", str(MAX_RID + 1), "-1", "+1", "1.0", " 1", "", "x", "\u0661", "1" * 17):
            self.assertRefused("bad-request", request(rid=f"rid='{bad}'"))
        self.assertRefused("bad-request", request(rid=""))

    def test_numbers(self) -> None:
        """
        Other numbers are not negative, and not absurd; a pause lasts a second at least.
        """
        for name, least in (("hold", 0), ("wait", 0), ("pause", 1)):
            for number in (least, MAX_NUMBER):
                self.assertEqual(getattr(read(f"{name}='{number}'"), name), number)
            for bad in (least - 1, MAX_NUMBER + 1, "", "one"):
                self.assertBad(f"{name}='{bad}'")
        self.assertEqual(read("ack='0'").ack, 0)
        self.assertEqual(read(f"ack='{MAX_RID}'").ack, MAX_RID)
        self.assertBad(f"ack='{MAX_RID + 1}'")

    def test_lengths(self) -> None:
        """
        Texts are bounded.
        """
        for name, most in (
            ("sid", 64),
            ("key", 64),
            ("newkey", 64),
            ("xml:lang", 64),
            ("condition", 64),
            ("to", 1023),
            ("from", 3071),
            ("content", 1023),
        ):
            read(f"{name}='{'x' * most}'")
            self.assertBad(f"{name}='{'x' * (most + 1)}'")
        self.assertBad(f"xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='{'1' * 65}'")

    def test_version(self) -> None:
        """
        The minor version is a number of its own, and may be missing (pitfall C-38).
        """
        for text, version in (("1.6", (1, 6)), ("1.10", (1, 10)), ("1", (1, 0)), ("2.0", (2, 0))):
            self.assertEqual(read(f"ver='{text}'").ver, version)
        for bad in ("", "1.", ".6", "1.6.1", "one", "-1.6", "1.66666"):
            self.assertBad(f"ver='{bad}'")

    def test_type(self) -> None:
        """
        A client may end its session and report an error; nothing else.
        """
        self.assertTrue(read("type='terminate'").isTerminate)
        self.assertFalse(read("type='error'").isTerminate)
        self.assertBad("type='end'")

    def test_restart(self) -> None:
        """
        A restart is known by its namespace, not by its prefix (pitfall C-38).
        """
        for truth in ("true", "1"):
            self.assertTrue(read(f"xmlns:b='urn:xmpp:xbosh' b:restart='{truth}'").isRestart)
        for attributes in (
            "restart='true'",
            "xmlns:xmpp='urn:example:x' xmpp:restart='true'",
            "xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='false'",
            "xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='0'",
            "xmlns:xmpp='urn:xmpp:xbosh'",
        ):
            self.assertFalse(read(attributes).isRestart, attributes)
        self.assertBad("xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='yes'")

    def test_content(self) -> None:
        """
        A content type is granted if no browser would run what is in it.
        """
        for content in (
            "text/xml",
            "text/xml; charset=utf-8",
            "text/xml;charset=UTF-8",
            "Text/Plain",
            "application/xml",
            "text/xml; charset=&quot;utf-8&quot;",
        ):
            expected = content.replace("&quot;", '"')
            self.assertEqual(read(f"content='{content}'").content, expected)
        for content in (
            "",
            "text/html",
            "text/html; charset=utf-8",
            "text/xml; charset=iso-8859-1",
            "text/xml&#13;&#10;Set-Cookie: a=b",
            "application/xhtml+xml",
            "image/svg+xml",
        ):
            self.assertIsNone(read(f"content='{content}'").content, content)

    def test_noBody(self) -> None:
        """
        What is no body of BOSH is refused.
        """
        for data in (
            b"",
            b" ",
            b"<",
            b"hello",
            b"<body",
            b"<body rid='1'/>",
            b"<body rid='1' xmlns='urn:example:x'/>",
            f"<head rid='1' xmlns='{NS_BODY}'/>".encode(),
            b"<!DOCTYPE body><body/>",
            f"<?xml version='1.0' encoding='iso-8859-1'?><body rid='1' xmlns='{NS_BODY}'/>".encode(),
            f"<body rid='1' xmpp:restart='true' xmlns='{NS_BODY}'/>".encode(),
            b"\xef\xbb\xbf" + request(),
            request().decode().encode("utf-16"),
        ):
            self.assertRefused("bad-request", data)

    def test_spellings(self) -> None:
        """
        A body is known by its namespace, and may have an XML declaration before it and white
        space around it.
        """
        data = f"<?xml version='1.0'?>\n<b:body rid='7' xmlns:b='{NS_BODY}'>\n</b:body>\n"
        body = readBody(data.encode(), LIMIT, STANZA_LIMIT)
        self.assertEqual((body.rid, body.children, body.error), (7, (), None))
        self.assertTrue(body.isPoll)

    def test_poll(self) -> None:
        """
        A request that wants something is no poll.
        """
        self.assertTrue(read("ack='7' sid='s'").isPoll)
        for attributes in (
            "pause='1'",
            "type='terminate'",
            "xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='true'",
        ):
            self.assertFalse(read(attributes).isPoll, attributes)
        self.assertFalse(read(children="<presence/>").isPoll)
        self.assertFalse(read(children="text").isPoll)


class LimitTests(BodyCase):
    """
    What a client can make of it.
    """

    def test_bytes(self) -> None:
        """
        A request may have so many bytes and no more.
        """
        data = request()
        self.assertEqual(readBody(data, len(data), 1000).size, len(data))
        error = self.assertRaises(BOSHError, readBody, data, len(data) - 1, 1000)
        self.assertEqual(error.condition, "policy-violation")

    def test_stanzaBytes(self) -> None:
        """
        So may each element in it, as over TCP.
        """
        stanza = "<message>" + "x" * 500 + "</message>"
        data = request(children=2 * stanza)
        body = readBody(data, LIMIT, len(stanza))
        self.assertEqual((len(body.children), body.error), (2, None))
        body = readBody(data, LIMIT, len(stanza) - 1)
        assert body.error is not None
        self.assertEqual((body.children, body.error.condition), ((), "policy-violation"))

    def test_limitOf(self) -> None:
        """
        Whom it is of may say how large an element may be instead.
        """
        asked = []

        def limitOf(sid: str | None) -> int:
            asked.append(sid)
            return 2 * STANZA_LIMIT

        for size, isGood in ((2 * STANZA_LIMIT, True), (2 * STANZA_LIMIT + 1, False)):
            padding = "x" * (size - len("<message><body></body></message>"))
            message = f"<message><body>{padding}</body></message>"
            for children in (message, "<presence/>" + message, message * 2):
                data = request("sid='abc'", children)
                body = readBody(data, 10 * LIMIT, STANZA_LIMIT, limitOf=limitOf)
                self.assertEqual(body.error is None, isGood)
                messages = [child for child in body.children if child.name == "message"]
                self.assertEqual(len(messages), children.count("<message>") if isGood else 0)
        self.assertEqual(set(asked), {"abc"})
        readBody(request(), LIMIT, STANZA_LIMIT, limitOf=limitOf)
        self.assertIsNone(asked[-1])

    def test_limitOfTag(self) -> None:
        """
        Not how large the start tag may be, which says whom it is of.
        """
        data = request(f"sid='abc' x='{'x' * STANZA_LIMIT}'")
        with self.assertRaises(BOSHError):
            readBody(data, 10 * LIMIT, STANZA_LIMIT, limitOf=lambda sid: 2 * STANZA_LIMIT)

    def test_tagBytes(self) -> None:
        """
        So may the start tag of the body.
        """
        data = request(f"to='{'x' * 500}'")
        size = data.index(b">") + 1
        readBody(data, LIMIT, size)
        error = self.assertRaises(BOSHError, readBody, data, LIMIT, size - 1)
        self.assertEqual(error.condition, "bad-request")

    def test_scanner(self) -> None:
        """
        Depth, attributes and namespaces are bounded as over TCP.
        """
        for name, fits, exceeds in (
            ("maxDepth", "<a><b/></a>", "<a><b><c/></b></a>"),
            ("maxAttributes", "<a b='' c=''/>", "<a b='' c='' d=''/>"),
            (
                "maxNamespaces",
                "<a xmlns:b='b' xmlns:c='c'/>",
                "<a xmlns='a' xmlns:b='b' xmlns:c='c'/>",
            ),
        ):
            limit = {name: 2}
            body = readBody(request(children=fits), LIMIT, 1000, **limit)
            self.assertIsNone(body.error, name)
            body = readBody(request(children=exceeds), LIMIT, 1000, **limit)
            self.assertIsNotNone(body.error, name)


class ChildrenTests(BodyCase):
    """
    What is in a body.
    """

    def test_order(self) -> None:
        """
        Elements come in order, white space between them does not count.
        """
        body = read(children="\n<presence/> <iq id='1' type='get'/>\n<message/>\n")
        self.assertEqual([child.name for child in body.children], ["presence", "iq", "message"])

    def test_namespaces(self) -> None:
        """
        A stanza is in C{jabber:client} if it says so, or nothing, or that it is in the
        namespace of the body: it comes up the same.
        """
        message = b'<message to="a"><body>b</body></message>'
        for xmlns in (
            "",
            " xmlns='jabber:client'",
            f" xmlns='{NS_BODY}'",
            f" xmlns='{NS_BODY}' xmlns:b='urn:example:b'",
        ):
            (child,) = read(children=f"<message{xmlns} to='a'><body>b</body></message>").children
            self.assertEqual(child.namespace, NS_CLIENT)
            self.assertEqual(child.data.replace(b' xmlns:b="urn:example:b"', b""), message)
        (child,) = read(children=f"<auth xmlns='{NS_SASL}' mechanism='PLAIN'>AA==</auth>").children
        self.assertEqual((child.name, child.namespace), ("auth", NS_SASL))

    def test_bodyNamespaceInside(self) -> None:
        """
        An inner element that names the namespace of the body loses it as well, but not inside
        of another namespace.
        """
        (child,) = read(children=f"<message><body xmlns='{NS_BODY}'>b</body></message>").children
        self.assertEqual(child.data, b"<message><body>b</body></message>")
        inner = f'<x xmlns="urn:example:x"><y xmlns="{NS_BODY}"/></x>'
        (child,) = read(children=f"<message>{inner}</message>").children
        self.assertEqual(child.data, f"<message>{inner}</message>".encode())

    def test_prefixedBody(self) -> None:
        """
        Where the body has a prefix, a stanza may still name its namespace; one with the same
        prefix means something else.
        """
        for child, namespace in (
            (f"<message xmlns='{NS_BODY}'/>", NS_CLIENT),
            ("<message/>", NS_CLIENT),
            ("<message:message/>", NS_BODY),
        ):
            data = f"<message:body rid='1' xmlns:message='{NS_BODY}'>{child}</message:body>"
            (stanza,) = readBody(data.encode(), LIMIT, STANZA_LIMIT).children
            self.assertEqual((stanza.name, stanza.namespace), ("message", namespace))

    def test_prefixes(self) -> None:
        """
        An element that uses a prefix of the body declares it.
        """
        body = read("xmlns:p='urn:example:p'", "<p:a/><message p:b='1'/>")
        self.assertEqual(
            [child.data for child in body.children],
            [b'<p:a xmlns:p="urn:example:p"/>', b'<message p:b="1" xmlns:p="urn:example:p"/>'],
        )

    @given(elements())
    def test_asOverTCP(self, element: bytes) -> None:
        """
        What comes over BOSH and what comes over TCP cannot be told apart.
        """
        data = b"<body rid='1' xmlns='%s' xmlns:stream='%s'>%s</body>" % (
            NS_BODY.encode(),
            NS_STREAMS.encode(),
            element,
        )
        (child,) = readBody(data, 1000000, 1000000).children
        (expected,) = overTCP(element)
        self.assertEqual(known(child)[:-1], known(expected)[:-1])
        # All but the spelling of what a stream over TCP says once for all.
        self.assertEqual(infoset(child.data), infoset(expected.data))
        self.assertTrue(isCanonical(child.data))

    def test_faults(self) -> None:
        """
        What is wrong in a body ends the stream as over TCP, behind what was right.
        """
        for children, condition in (
            ("<a></b>", "not-well-formed"),
            ("<!-- -->", "restricted-xml"),
            ("<?php ?>", "restricted-xml"),
            ("<a>&x;</a>", "restricted-xml"),
            ("text", "bad-format"),
            ("<p:a/>", "not-well-formed"),
        ):
            body = read(children=f"<presence/>{children}")
            assert body.error is not None, children
            self.assertEqual((len(body.children), body.error.condition), (1, condition), children)

    def test_ends(self) -> None:
        """
        A body ends, and with it the request.
        """
        data = request(children="<presence/>")
        for wrong in (data[:-7], data[:-1], data + b"x", data + b"<a/>", data + data):
            body = readBody(wrong, LIMIT, STANZA_LIMIT)
            assert body.error is not None, wrong
            self.assertEqual((len(body.children), body.error.condition), (1, "not-well-formed"))


class HeaderTests(SynchronousTestCase):
    """
    The stream header that a body stands for.
    """

    def test_creation(self) -> None:
        """
        The session reads it as it would over TCP.
        """
        body = read(
            "to='Verona.Example' from='romeo@verona.example/x' xml:lang='it'"
            " xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'"
        )
        header = readHeader(body.header(), preXMPP10=False)
        self.assertEqual(
            (header.domain, header.sender, header.lang, header.isModern),
            ("verona.example", "romeo@verona.example", "it", True),
        )

    def test_withoutVersion(self) -> None:
        """
        A client that names no version of XMPP gets features: what else could it do?
        """
        self.assertEqual(read("to='verona.example'").header().attributes["version"], "1.0")
        old = read("xmpp:version='0.9' xmlns:xmpp='urn:xmpp:xbosh'").header()
        self.assertEqual(old.attributes, {"version": "0.9"})

    def test_restart(self) -> None:
        """
        A restart need not repeat anything, and may say something else.
        """
        first = Body(rid=1, to="verona.example", lang="it", from_="romeo@verona.example")
        self.assertEqual(Body(rid=2).header(first), first.header())
        again = Body(rid=2, to="mantua.example", lang="en", from_="a@b", xmppVersion="1.1")
        self.assertEqual(again.header(first), again.header())


class ResponseTests(SynchronousTestCase):
    """
    What is written.
    """

    def test_empty(self) -> None:
        """
        Nothing to say.
        """
        self.assertEqual(writeBody(), f'<body xmlns="{NS_BODY}"/>'.encode())

    def test_children(self) -> None:
        """
        Elements get the namespaces they have over TCP from the header.
        """
        self.assertEqual(
            writeBody([b"<message/>", b'<a xmlns="b"/>']),
            f'<body xmlns="{NS_BODY}"><message xmlns="jabber:client"/><a xmlns="b"/></body>'.encode(),
        )

    def test_streams(self) -> None:
        """
        The body declares the prefix of features and errors, wherever they stand.
        """
        for children in ([b"<stream:features/>"], [b"<message/>", b"<stream:error/>"]):
            root = etree.fromstring(writeBody(children))
            self.assertTrue(root[-1].tag.startswith(f"{{{NS_STREAMS}}}"))
        self.assertNotIn(b"xmlns:stream", writeBody([b"<message/>"]))

    def test_attributes(self) -> None:
        """
        Attributes are escaped, and those of XEP-0206 are in its namespace.
        """
        root = etree.fromstring(
            writeBody([b"<a/>"], {"from": 'a"<&', "wait": 60, "xmpp:version": "1.0"})
        )
        self.assertEqual(
            dict(root.attrib),
            {"from": 'a"<&', "wait": "60", "{urn:xmpp:xbosh}version": "1.0"},
        )
        self.assertEqual(writeBody((), {"ack": 7}), f'<body xmlns="{NS_BODY}" ack="7"/>'.encode())

    def test_readBack(self) -> None:
        """
        What is written can be read.
        """
        data = writeBody([b"<message/>", b"<stream:error/>"], {"rid": 7, "xmpp:restart": "true"})
        body = readBody(data, LIMIT, STANZA_LIMIT)
        self.assertEqual((body.rid, len(body.children), body.isRestart), (7, 2, True))

    def test_end(self) -> None:
        """
        The end of a session, with a condition or without, with elements or without.
        """
        self.assertEqual(writeEnd(), (200, f'<body xmlns="{NS_BODY}" type="terminate"/>'.encode()))
        status, data = writeEnd("remote-stream-error", children=[b"<stream:error/>"])
        root = etree.fromstring(data)
        self.assertEqual((status, len(root)), (200, 1))
        self.assertEqual(
            dict(root.attrib), {"type": "terminate", "condition": "remote-stream-error"}
        )

    def test_legacy(self) -> None:
        """
        Old clients are told by the status, where there is one (section 17.1).
        """
        for condition, status in (
            ("bad-request", 400),
            ("policy-violation", 403),
            ("item-not-found", 404),
        ):
            self.assertEqual(writeEnd(condition, isLegacy=True), (status, b""))
            self.assertEqual(writeEnd(condition)[0], 200)
        self.assertEqual(writeEnd("system-shutdown", isLegacy=True), writeEnd("system-shutdown"))
        self.assertEqual(writeEnd(isLegacy=True), writeEnd())


class ConditionTests(SynchronousTestCase):
    """
    How the end of a stream is called.
    """

    def test_conditions(self) -> None:
        """
        As BOSH calls it where it knows it, or else as an error of the stream's.
        """
        self.assertLessEqual(BINDING_CONDITIONS, STREAM_CONDITIONS)
        for condition in STREAM_CONDITIONS:
            text = streamErrorText(StreamError(condition, "Because."))
            for error in (text, text.replace(b"<stream:error", b"<stream:error xmlns:stream='x'")):
                expected = condition if condition in BINDING_CONDITIONS else "remote-stream-error"
                self.assertEqual(bindingCondition(error), expected)

    def test_none(self) -> None:
        """
        Without an error it is called nothing.
        """
        for last in (b"", f"<failure xmlns='{NS_TLS}'/>".encode()):
            self.assertIsNone(bindingCondition(last))
