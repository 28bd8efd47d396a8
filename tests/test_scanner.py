# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.scanner}, L{cmanager.slices} and L{cmanager.markup}.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cmanager.errors import LocalError, StreamError
from cmanager.scanner import RENEW_BYTES, Closed, Event, Opened, Scanner, Text
from cmanager.stanza import (
    NS_CLIENT,
    NS_LINK,
    NS_MULTIPLEX,
    NS_STREAMS,
    Routed,
    RoutedText,
    Stanza,
    Tag,
)
from tests.infoset import infoset, infosetIn
from tests.judge import LinkJudge
from tests.properties import given, settings, st
from tests.strategies import Stream, routes, splits, streams

HEADER = (
    b"<?xml version='1.0'?><stream:stream to='verona.example' version='1.0' xml:lang='en' "
    b"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
LINK_HEADER = (
    b"<?xml version='1.0' encoding='UTF-8'?><stream:stream xmlns='jabber:connectionmanager' "
    b"xmlns:stream='http://etherx.jabber.org/streams' from='cm/1' id='5'>"
)
FOOTER = b"</stream:stream>"

lenient = settings(
    max_examples=150,
)


def known(event: Event) -> Any:
    """
    Return what can be compared.
    """
    if isinstance(event, Opened):
        return event.tag
    if isinstance(event, Routed):
        return (event.name, event.namespace, event.attributes, event.data, event.streamID)
    if isinstance(event, RoutedText):
        return (event.text, event.streamID)
    if isinstance(event, Stanza):
        return (event.name, event.namespace, event.attributes, event.data)
    if isinstance(event, Text):
        return event.text
    return "/" + event.name


def scan(pieces: Iterable[bytes], scanner: Any) -> tuple[list[Any], str | None]:
    """
    Feed all pieces; return the events and the condition it ended with.
    """
    events: list[Event] = []
    try:
        for piece in pieces:
            events += scanner.feed(piece)
    except StreamError as error:
        return [known(event) for event in events + scanner.completed], error.condition
    return [known(event) for event in events], None


def bytewise(data: bytes) -> list[bytes]:
    """
    Return each byte alone.
    """
    return [bytes((byte,)) for byte in data]


class EngineCase(SynchronousTestCase):
    """
    Tests of a scanner, whichever engine it is.  L{tests.test_scanner_native} has them all
    over again for the other one.
    """

    engine: Any = Scanner

    def opened(self, limit: int = 10000, header: bytes = HEADER, **options: Any) -> Any:
        """
        Return a scanner of a client's stream behind its header.
        """
        scanner = self.engine(1, max(limit, len(header)), **options)
        scanner.feed(header)
        scanner.limit = limit
        return scanner

    def one(self, data: bytes, header: bytes = HEADER, **options: Any) -> Stanza:
        """
        Return the one stanza that C{data} is.
        """
        (event,) = self.opened(header=header, **options).feed(data)
        assert isinstance(event, Stanza)
        return event

    def held(self, scanner: Any) -> int:
        """
        Return how many bytes of its peer a scanner holds, or a few more.
        """
        referents = gc.get_referents(scanner)
        return sum(len(r) for r in referents if isinstance(r, bytes | bytearray | list))


class FramingTests(EngineCase):
    """
    Where elements begin and end at level 1.
    """

    def test_header(self) -> None:
        """
        A header is reported with its names, attributes and declarations.
        """
        (event,) = self.engine(1, 10000).feed(HEADER)
        assert isinstance(event, Opened)
        self.assertEqual(
            event.tag,
            Tag(
                "stream",
                NS_STREAMS,
                "stream",
                {"to": "verona.example", "version": "1.0", "xml:lang": "en"},
                {"": NS_CLIENT, "stream": NS_STREAMS},
            ),
        )

    def test_stanza(self) -> None:
        """
        A stanza has a name, a namespace, its root's attributes and its bytes.
        """
        data = b'<iq type="get" xml:lang="de" id="1"><ping xmlns="urn:xmpp:ping"/></iq>'
        stanza = self.one(data)
        self.assertEqual(
            known(stanza), ("iq", NS_CLIENT, {"type": "get", "xml:lang": "de", "id": "1"}, data)
        )

    def test_ends(self) -> None:
        """
        The end of an element is found whatever stands in it and behind it.
        """
        for data in (
            b"<presence/>",
            b"<presence></presence>",
            b"<presence\n/>",
            b"<presence></presence\n>",
            b"<a>x/></a>",
            b"<a b='/>'/>",
            b"<a b='>'></a>",
            b"<a b='/a>'/>",
            b"<a><a/></a>",
            b"<a><a></a></a>",
            b"<a><b c='\"'/>/></a>",
            b"<a><![CDATA[</a>]]></a>",
        ):
            for behind in (b"", b" ", b"<presence/>", FOOTER):
                events, condition = scan([data + behind], self.opened())
                self.assertIsNone(condition, (data, behind))
                expected = [known(self.one(data))]
                if behind == b"<presence/>":
                    expected.append(known(self.one(behind)))
                elif behind:
                    expected += ["/stream"] * behind.startswith(b"<")
                self.assertEqual(events, expected, (data, behind))
                self.assertEqual(scan(bytewise(data + behind), self.opened()), (events, None))

    def test_footer(self) -> None:
        """
        The end of the stream is reported, and white space behind it is not.
        """
        scanner = self.opened()
        self.assertEqual([known(e) for e in scanner.feed(FOOTER + b"\n")], ["/stream"])
        self.assertEqual(scanner.feed(b" "), [])
        self.assertFalse(scanner.pending)

    def test_behindFooter(self) -> None:
        """
        Nothing but white space may follow the end of the stream.
        """
        for data in (b"<presence/>", b"x", b"<!-- x -->", b"<", b"'", b"\xc3", b"&", b"</a>"):
            for strict in (True, False):
                for pieces in ([FOOTER + b"\n" + data], [FOOTER, b" " + data]):
                    scanner = self.opened(strict=strict)
                    self.assertEqual(scan(pieces, scanner), (["/stream"], "not-well-formed"))

    def test_emptyStream(self) -> None:
        """
        A header may be the end as well.
        """
        events, condition = scan([b"<a/>"], self.engine(1, 100))
        self.assertEqual((events, condition), ([Tag("a", ""), "/a"], None))

    def test_whiteSpaceFirst(self) -> None:
        """
        White space in front of the XML declaration is let pass: keep-alives cross a
        restart.
        """
        scanner = self.engine(1, 10000)
        self.assertEqual(scanner.feed(b" "), [])
        self.assertEqual(len(scanner.feed(b"\n" + HEADER)), 1)

    def test_pending(self) -> None:
        """
        C{pending} tells whether anything has begun and not ended.
        """
        scanner = self.engine(1, 10000)
        self.assertFalse(scanner.pending)
        scanner.feed(HEADER[:5])
        self.assertTrue(scanner.pending)
        scanner.feed(HEADER[5:])
        self.assertFalse(scanner.pending)
        scanner.feed(b" \n")
        self.assertFalse(scanner.pending)
        scanner.feed(b"<")
        self.assertTrue(scanner.pending)
        scanner.feed(b"message>")
        self.assertTrue(scanner.pending)
        scanner.feed(b"</message> ")
        self.assertFalse(scanner.pending)

    def test_empty(self) -> None:
        """
        No bytes are no event.
        """
        self.assertEqual(self.engine(1, 100).feed(b""), [])
        scanner = self.opened()
        scanner.feed(b"<a")
        self.assertEqual(scanner.feed(b""), [])
        self.assertEqual(len(scanner.feed(b"/>")), 1)

    def test_representations(self) -> None:
        """
        What a log might show of an event holds nothing of its content.
        """
        scanner = self.engine(2, 10000)
        events = scanner.feed(LINK_HEADER + b"<r>secret</r>")
        self.assertEqual(
            [repr(e) for e in events],
            ["<Opened stream>", "<Opened r>", "<Text of 6 characters>", "<Closed r>"],
        )


class DocumentTests(EngineCase):
    """
    Level 0: a document is a stanza.
    """

    def test_document(self) -> None:
        """
        A whole document is one stanza.
        """
        for head in (b"", b"<?xml version='1.0'?>", b" "):
            data = head + b'<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="x"/>'
            (stanza,) = self.engine(0, 100).feed(data)
            assert isinstance(stanza, Stanza)
            self.assertEqual(stanza.data, data[len(head) :])
            self.assertEqual(stanza.namespace, "urn:ietf:params:xml:ns:xmpp-framing")

    def test_content(self) -> None:
        """
        A stanza is as it would be in a stream: its declaration is taken off.
        """
        (stanza,) = self.engine(0, 100).feed(b"<message xmlns='jabber:client'/>")
        self.assertEqual(known(stanza), ("message", NS_CLIENT, {}, b"<message/>"))

    def test_noNamespace(self) -> None:
        """
        RFC 7395 section 3.3.3: each document declares its namespace.
        """
        self.assertEqual(scan([b"<message/>"], self.engine(0, 100)), ([], "invalid-namespace"))

    def test_second(self) -> None:
        """
        A document has one root.
        """
        for behind in (b"<a xmlns='a'/>", b"<?x?>", b"x"):
            events, condition = scan([b"<a xmlns='a'/>" + behind], self.engine(0, 100))
            self.assertEqual((len(events), condition), (1, "not-well-formed"))

    def test_incomplete(self) -> None:
        """
        An incomplete document is pending.
        """
        scanner = self.engine(0, 100)
        self.assertEqual(scanner.feed(b"<a xmlns='a'>"), [])
        self.assertTrue(scanner.pending)
        self.assertEqual(len(scanner.feed(b"</a> ")), 1)
        self.assertFalse(scanner.pending)

    def test_limit(self) -> None:
        """
        The limit holds for the document with what stands before its root.
        """
        data = b"<?xml version='1.0'?><a xmlns='a'/>"
        self.assertEqual(len(self.engine(0, len(data)).feed(data)), 1)
        self.assertEqual(scan([data], self.engine(0, len(data) - 1)), ([], "policy-violation"))


class LinkTests(EngineCase):
    """
    Level 2, from a server.
    """

    def link(self, data: bytes, **options: Any) -> list[Any]:
        """
        Return the events of a link, and check that they do not depend on reads.
        """
        scanner = self.engine(2, 10000, strict=False, **options)
        scanner.feed(LINK_HEADER)
        events = [known(event) for event in scanner.feed(data)]
        again = self.engine(2, 10000, strict=False, **options)
        again.feed(LINK_HEADER)
        self.assertEqual(scan(bytewise(data), again), (events, None))
        return events

    def test_route(self) -> None:
        """
        Of a route for a session only the stanzas in it are reported, text beside them not.
        """
        message = ("message", NS_CLIENT, {"to": "x"}, b'<message to="x"/>', "1")
        for data, count in (
            (b"<route streamid='1'><message to=\"x\"/></route> ", 1),
            (b"<s:route to='y' streamid='&#x31;' xmlns:s='u'><message to='x'/></s:route>", 1),
            (b"<route type='set' streamid='1'>\n<message to='x'/> y <message to='x'/>z</route>", 2),
            (b"<route streamid='1'/><route streamid='1'> <!-- x --></route>", 0),
        ):
            self.assertEqual(self.link(data), [message] * count)

    def test_otherRoute(self) -> None:
        """
        A route with an error, one for nobody, and what is named so elsewhere are
        elements like others.
        """
        for attributes in (
            {"streamid": "1", "type": "error"},
            {"streamid": ""},
            {"s:streamid": "1", "streamId": "1"},
            {},
        ):
            written = "".join(f" {name}='{value}'" for name, value in attributes.items())
            events = self.link(f"<route{written} xmlns:s='u'><a/></route>".encode())
            self.assertEqual(
                events,
                [
                    Tag("route", NS_LINK, None, attributes, {"s": "u"}),
                    ("a", NS_CLIENT, {}, b"<a/>"),
                    "/route",
                ],
            )
        events = self.link(b"<iq><route streamid='1'><a/></route></iq>")
        self.assertEqual(events[1][0], "route")

    def test_routeAttributes(self) -> None:
        """
        The attributes of a stanza are as they were written, references resolved.
        """
        written = "to='&lt;\u00e9&#10;&quot;&apos;' xml:lang=\"'\" p:x='&amp;amp;' xmlns:p='u' b=''"
        found = {"to": "<\u00e9\n\"'", "xml:lang": "'", "p:x": "&amp;", "b": ""}
        for text in ("", "x"):
            (event,) = self.link(f"<route streamid='1'><a {written}>{text}</a></route>".encode())
            self.assertEqual(event[2], found)
            self.assertEqual(list(event[2]), list(found))
        (event,) = self.link(b'<route streamid="1"><a b="&lt;&#9;&amp;lt;" xmlns="u"/></route>')
        self.assertEqual(event[2], {"b": "<\t&lt;"})

    def test_textPayload(self) -> None:
        """
        A payload may be escaped text; comments in it are not.
        """
        data = b'<route%s>&lt;success xmlns=<![CDATA["u"]]>/&gt;<!-- x --></route>'
        text = '<success xmlns="u"/>'
        self.assertEqual(self.link(data % b""), [Tag("route", NS_LINK), text, "/route"])
        self.assertEqual(self.link(data % b" streamid='1'"), [(text, "1")])

    def test_textAround(self) -> None:
        """
        Text and stanzas keep their order; white space alone is no text.
        """
        data = b"<route> a <x/> b&#32; <y/> </route>"
        events = self.link(data)
        self.assertEqual(events[1::2], [" a ", " b  ", "/route"])

    def test_handshake(self) -> None:
        """
        Elements above the level may be empty, either way.
        """
        self.assertEqual(
            self.link(b"<handshake/><handshake></handshake>"),
            [Tag("handshake", NS_LINK), "/handshake"] * 2,
        )

    def test_textInStream(self) -> None:
        """
        Between the elements of a link there is no text.
        """
        scanner = self.engine(2, 10000, strict=False)
        scanner.feed(LINK_HEADER)
        self.assertEqual(scan([b"<a/>x"], scanner), ([Tag("a", NS_LINK), "/a"], "bad-format"))

    def test_comments(self) -> None:
        """
        A server may send comments and processing instructions: they are dropped.
        """
        data = b"<!-- ' --><route><?x '?><message><!-- a > b --><body/><?y?></message></route><?z?><a/>"
        events = self.link(data)
        self.assertEqual(events[1][3], b"<message><body/></message>")
        self.assertEqual(len(events), 5)

    def test_DTD(self) -> None:
        """
        Nobody may send a DTD.
        """
        self.assertEqual(
            scan([b"<!DOCTYPE a><a/>"], self.engine(2, 10000, strict=False)), ([], "restricted-xml")
        )

    def test_contentNamespaces(self) -> None:
        """
        A stanza in any of the content namespaces is meant to be in
        C{jabber:client}, with what inherits from it.
        """
        for namespace in ("", NS_LINK, NS_MULTIPLEX, "jabber:server"):
            for quote in "\"'":
                data = (
                    f"<route><message xmlns={quote}{namespace}{quote}><body xmlns=''/>"
                    f'<x xmlns="u"><y xmlns=""/></x></message></route>'
                )
                self.assertEqual(
                    self.link(data.encode())[1],
                    (
                        "message",
                        NS_CLIENT,
                        {},
                        b'<message><body/><x xmlns="u"><y xmlns=""/></x></message>',
                    ),
                )

    def test_explicitClient(self) -> None:
        """
        An explicit C{jabber:client} stays.
        """
        data = b'<message xmlns="jabber:client"><body/></message>'
        self.assertEqual(
            self.link(b"<route>%s</route>" % data)[1], ("message", NS_CLIENT, {}, data)
        )

    def test_noNamespace(self) -> None:
        """
        An element of no namespace is taken for content whatever its name.
        """
        self.assertEqual(
            self.link(b'<route><a xmlns=""/></route>')[1], ("a", NS_CLIENT, {}, b"<a/>")
        )

    def test_management(self) -> None:
        """
        What is no stanza keeps its namespace.
        """
        data = f'<iq type="set"><session xmlns="{NS_MULTIPLEX}" id="1"><close/></session></iq>'
        (_, session, _) = self.link(data.encode())
        self.assertEqual(session[:3], ("session", NS_MULTIPLEX, {"id": "1"}))
        self.assertIn(NS_MULTIPLEX.encode(), session[3])

    def test_inheritedPrefix(self) -> None:
        """
        A prefix of the link's header or of the route is declared where it is used.
        """
        (_, error, _) = self.link(
            b'<route xmlns:p="urn:p"><stream:error><conflict p:a="1" xmlns="x"/></stream:error></route>'
        )
        self.assertEqual(
            error[3],
            b'<stream:error xmlns:p="urn:p" xmlns:stream="http://etherx.jabber.org/streams">'
            b'<conflict p:a="1" xmlns="x"/></stream:error>',
        )

    def test_foreignRoute(self) -> None:
        """
        A default namespace that is no content namespace is written on what inherits it.
        """
        (_, child, _) = self.link(b'<x xmlns="urn:x"><y/></x>')
        self.assertEqual(child, ("y", "urn:x", {}, b'<y xmlns="urn:x"/>'))

    def test_limit(self) -> None:
        """
        The limit holds for a route with all that is in it, text and elements.
        """
        for data in (b"<route>%s</route>" % (b"x" * 500), b"<r>%s</r>" % (b"<x/>" * 120)):
            for pieces in ([data, data], bytewise(data + data)):
                scanner = self.engine(2, 10000, strict=False)
                scanner.feed(LINK_HEADER)
                scanner.limit = len(data)
                self.assertIsNone(scan(pieces, scanner)[1])
                scanner.limit = len(data) - 1
                self.assertEqual(scan(pieces, scanner)[1], "policy-violation")

    def test_namespaceLimit(self) -> None:
        """
        Declarations are counted in tags above the level too.
        """
        for count, condition in ((32, None), (33, "policy-violation")):
            declared = b"".join(b" xmlns:p%d='u'" % i for i in range(count))
            scanner = self.engine(2, 10000, strict=False)
            scanner.feed(LINK_HEADER)
            self.assertEqual(scan([b"<route%s/>" % declared], scanner)[1], condition)

    def test_renewal(self) -> None:
        """
        However many routes there are, they are read alike.
        """
        scanner = self.engine(2, 10000, strict=False)
        scanner.feed(LINK_HEADER)
        data = b"<route streamid='1'><stream:x>%s</stream:x></route>" % (b"x" * 999)
        first = [known(event) for event in scanner.feed(data)]
        for _ in range(3 * RENEW_BYTES // len(data)):
            self.assertEqual([known(event) for event in scanner.feed(data)], first)


class LimitTests(EngineCase):
    """
    What is bounded passes at the bound and is refused one above it.
    """

    def test_size(self) -> None:
        """
        An element of C{limit} bytes passes, one of a byte more does not, wherever
        the reads end and whatever stands around it.
        """
        for data in (
            b"<message><body>%s</body></message>" % (b"x" * 900),
            b"<message to='%s'/>" % (b"x" * 900),
            b"<message to='%s'></message>" % (b"> " * 400),
            b"<m%s/>" % (b"x" * 900),
            b"<message>%s</message>" % (b"<a/>" * 200),
            b"<message>&#%s65;</message>" % (b"0" * 900),
        ):
            stream = data + b" \n" * 600 + data + data
            for pieces in ([stream], bytewise(stream), [data[:100], data[100:] + b" " + data]):
                events, condition = scan(pieces, self.opened(len(data)))
                self.assertIsNone(condition)
                self.assertGreaterEqual(len(events), 2)
                self.assertEqual(scan(pieces, self.opened(len(data) - 1)), ([], "policy-violation"))

    def test_sizeOfSecond(self) -> None:
        """
        Each element is measured alone, also when they come in one read.
        """
        small, large = b"<presence/>", b"<presence>%s</presence>" % (b"x" * 300)
        events, condition = scan([small * 50 + large], self.opened(len(large) - 1))
        self.assertEqual((len(events), condition), (50, "policy-violation"))
        events, condition = scan([small * 50 + large], self.opened(len(large)))
        self.assertEqual((len(events), condition), (51, None))

    def test_unfinishedTag(self) -> None:
        """
        A start tag that never ends is refused at the first byte above the limit.
        """
        for data in (b"<message to='", b"<message ", b"<m", b"<m>&#", b'<m a=">', b"<m>"):
            fill = b"0" if data.endswith(b"#") else b"x"
            scanner = self.opened(1000)
            self.assertEqual(scanner.feed(data.ljust(1000, fill)), [])
            with self.assertRaises(StreamError) as raised:
                scanner.feed(fill)
            self.assertEqual(raised.exception.condition, "policy-violation")

    def test_header(self) -> None:
        """
        The header is bounded with the declaration in front of it.
        """
        self.assertEqual(len(self.engine(1, len(HEADER)).feed(HEADER)), 1)
        for pieces in ([HEADER], bytewise(HEADER)):
            self.assertEqual(
                scan(pieces, self.engine(1, len(HEADER) - 1)), ([], "policy-violation")
            )

    def test_lowered(self) -> None:
        """
        A limit that is lowered below what has been read of an element holds for it.
        """
        scanner = self.opened(1000)
        scanner.feed(b"<message>" + b"x" * 500)
        scanner.limit = 100
        self.assertEqual(scan([b"x"], scanner), ([], "policy-violation"))

    def test_depth(self) -> None:
        """
        A stanza has at most C{maxDepth} elements inside each other, itself counted.
        """
        for maximum in (1, 2, 128):
            data = b"<a>" * maximum + b"</a>" * maximum
            self.assertEqual(self.one(data, maxDepth=maximum).data, data)
            self.assertEqual(
                scan([b"<a>" * (maximum + 1)], self.opened(maxDepth=maximum)),
                ([], "policy-violation"),
            )

    def test_depthOfLink(self) -> None:
        """
        The wrapper on a link does not count.
        """
        scanner = self.engine(2, 10000, maxDepth=2)
        scanner.feed(LINK_HEADER)
        self.assertIsNone(scan([b"<route><a><a/></a></route>"], scanner)[1])
        self.assertEqual(scan([b"<route><a><a><a/>"], scanner)[1], "policy-violation")

    def test_attributes(self) -> None:
        """
        An element has at most C{maxAttributes} attributes, at any depth and in the
        header; declarations of namespaces are not among them.
        """
        for count, condition in ((64, None), (65, "policy-violation")):
            attributes = b" xmlns:p='p'" + b"".join(b" a%d=''" % i for i in range(count))
            self.assertEqual(scan([b"<a%s/>" % attributes], self.opened())[1], condition)
            self.assertEqual(scan([b"<a><b%s/></a>" % attributes], self.opened())[1], condition)
            self.assertEqual(scan([b"<a%s>" % attributes], self.engine(1, 10000))[1], condition)

    def test_namespaces(self) -> None:
        """
        An element declares at most C{maxNamespaces} namespaces, at any depth and in
        the header; all elements together may declare more.
        """
        for count, condition in ((32, None), (33, "policy-violation")):
            declared = b" xmlns='a'" + b"".join(b" xmlns:p%d='u'" % i for i in range(count - 1))
            self.assertEqual(scan([b"<a%s/>" % declared], self.opened())[1], condition)
            self.assertEqual(
                scan([b"<a><b%s/><b%s/></a>" % (declared, declared)], self.opened())[1], condition
            )
            self.assertEqual(scan([b"<a%s>" % declared], self.engine(1, 10000))[1], condition)

    def test_written(self) -> None:
        """
        A stanza that would outgrow a link once quotes are escaped is refused; it is
        the client that pays.
        """
        data = b"<message a='%s'/>" % (b'"' * 262000)
        self.assertEqual(scan([data], self.opened(262144)), ([], "policy-violation"))
        data = b"<message a='%s'/>" % (b'"' * 166000)
        self.assertIsNone(scan([data], self.opened(262144))[1])

    def test_namespacesInText(self) -> None:
        """
        What only looks like a declaration is not counted.
        """
        self.one(b"<body>%s</body>" % (b"xmlns " * 100))

    def test_configured(self) -> None:
        """
        The bounds can be set.
        """
        self.assertEqual(
            scan([b"<a b='' c='' d='' e=''/>"], self.opened(maxAttributes=3))[1], "policy-violation"
        )
        self.assertEqual(
            scan([b"<a xmlns:b='b' xmlns:c='c'/>"], self.opened(maxNamespaces=2))[1], None
        )
        self.assertEqual(
            scan([b"<a xmlns:b='b' xmlns:c='c' xmlns:d='d'/>"], self.opened(maxNamespaces=2))[1],
            "policy-violation",
        )


class CostTests(EngineCase):
    """
    Small reads of large elements cost no more than their length, and nothing
    that has been reported is kept.
    """

    LARGE = 262144
    SECONDS = 8.0

    def test_smallReads(self) -> None:
        """
        256 KiB in reads of one byte take a few seconds at most, whatever token they are.
        """
        for begin, middle, end in (
            (b"<m a='", b"x", b"'/>"),
            (b'<m a="', b"'>", b'"/>'),
            (b"<m", b"x", b"/>"),
            (b"<m", b" ", b"/>"),
            (b"<m>", b"x", b"</m>"),
            (b"<m>", b"x>", b"</m>"),
            (b"<m>", b"<a/>", b"</m>"),
            (b"<m>&#", b"0", b"65;</m>"),
            (b"<m>", b"]", b"</m>"),
            (b"<m><![CDATA[", b"]", b"]]></m>"),
            (b"<m><![CDATA[", b"<'", b"]]></m>"),
            (b"<m></m", b" ", b">"),
            (b"<m a='>\"", b"x>", b"'/>"),
        ):
            room = self.LARGE - len(begin) - len(end)
            data = begin + middle * (room // len(middle)) + end
            scanner = self.opened(self.LARGE)
            pieces = bytewise(data)
            start = time.process_time()
            events, condition = scan(pieces, scanner)
            self.assertLess(time.process_time() - start, self.SECONDS, begin + middle)
            self.assertEqual((len(events), condition), (1, None), begin + middle)

    def test_nothingKept(self) -> None:
        """
        Once a stanza has been handed out, the scanner has no bytes of it.
        """
        scanner = self.opened(self.LARGE)
        data = b"<m>" + b"x" * 100000 + b"</m>"
        for pieces in ([data], [data[:50], data[50:]], [data + b"<m"]):
            for piece in pieces:
                scanner.feed(piece)
            scanner.feed(b"/>" if pieces[-1].endswith(b"<m") else b"")
            self.assertLess(self.held(scanner), 1000)

    def test_partlyKept(self) -> None:
        """
        Of a read that ends inside an element, only that element is kept.
        """
        scanner = self.opened(self.LARGE)
        scanner.feed(b"<m>%s</m><m" % (b"x" * 100000))
        scanner.feed(b">")
        self.assertLess(self.held(scanner), 1000)

    def test_renewalInContext(self) -> None:
        """
        A new parser knows the declarations of the header, in elements that come in
        one read with the last of the old one.
        """
        header = HEADER[:-1] + b" xmlns:p='urn:&lt;p'>"
        scanner = self.opened(header=header)
        data = b"<p:m>%s</p:m> " % (b"x" * 100)
        events = scanner.feed(data * 2000 + b"<p:m")
        events += scanner.feed(b"/>" + FOOTER)
        self.assertEqual(len(events), 2002)
        self.assertEqual(len({known(event) for event in map(_hashable, events)}), 3)
        last = events[-2]
        assert isinstance(last, Stanza)
        self.assertEqual(last.data, b'<p:m xmlns:p="urn:&lt;p"/>')

    def test_limitAfterRenewal(self) -> None:
        """
        The limit holds for the element that is open when the parser is renewed.
        """
        data = b"<m>" + b"x" * 993 + b"</m>"
        scanner = self.opened(1000)
        count = RENEW_BYTES // len(data) + 5
        self.assertEqual(scan([data * count], scanner)[1], None)
        for pad in range(count + 3):
            scanner = self.opened(1000)
            events, condition = scan([data * pad + b"<m>%s</m>" % (b"x" * 994)], scanner)
            self.assertEqual((len(events), condition), (pad, "policy-violation"))


def _hashable(event: Event) -> Any:
    if isinstance(event, Stanza):
        return Closed(event.data.decode())
    return event


class ParserTests(EngineCase):
    """
    What expat keeps.
    """

    def parserOf(self, scanner: Any) -> Any:
        """
        Return the parser that a scanner has.
        """
        (parser,) = [r for r in gc.get_referents(scanner) if hasattr(r, "CurrentByteIndex")]
        return parser

    def test_names(self) -> None:
        """
        Expat remembers all names for as long as it lives; the scanner does not let
        one live so long, whether reads end with elements or not.
        """
        for offset in (0, 7):
            scanner = self.opened()
            parser = self.parserOf(scanner)
            data = b"".join(b"<m%d a%d='b'><n%d/></m%d>" % (i, i, i, i) for i in range(9000))
            count = 0
            for start in range(0, len(data) + offset, 1000):
                piece = data[max(0, start - offset) : start - offset + 1000]
                count += len(scanner.feed(piece))
            self.assertEqual(count, 9000)
            self.assertGreater(len(data), 3 * RENEW_BYTES)
            self.assertIsNot(self.parserOf(scanner), parser)
            self.assertLess(self.parserOf(scanner).CurrentByteIndex, RENEW_BYTES + 2000)


class RefusalTests(EngineCase):
    """
    What is refused, and with which condition.
    """

    def refuse(self, condition: str, *inputs: bytes, scanner: Any = None) -> None:
        """
        Each input is refused with the condition, in one read, in several, and behind a
        stanza that is still reported.
        """
        make = scanner or self.opened
        for data in inputs:
            self.assertEqual(scan([data], make()), ([], condition), data)
            self.assertEqual(scan(bytewise(data), make()), ([], condition), data)
            if scanner is None:
                events, found = scan([b"<presence/>" + data], make())
                self.assertEqual((len(events), found), (1, condition), data)

    def fresh(self) -> Any:
        """
        Return a scanner that waits for a header.
        """
        return self.engine(1, 10000)

    def test_restricted(self) -> None:
        """
        RFC 6120 section 11.1: no comments, processing instructions, DTDs and entities.
        """
        self.refuse(
            "restricted-xml",
            b"<!-- x -->",
            b"<!---->",
            b"<?x y?>",
            b"<?xml-stylesheet href='x'?>",
            b"<!DOCTYPE x>",
            b"<a><!-- x --></a>",
            b"<a><?x?></a>",
            b"<a>&foo;</a>",
            b"<a b='&foo;'/>",
            b"<a>&nbsp;</a>",
        )
        self.refuse(
            "restricted-xml",
            b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
            b"<!DOCTYPE stream SYSTEM 'x'><stream>",
            b"<!-- x --><a>",
            b"<?x?><a>",
            b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY a '&#38;b;'>]>",
            scanner=self.fresh,
        )

    def test_restrictedEarly(self) -> None:
        """
        The end of what is refused need not be waited for.
        """
        for data in (b"<!-", b"<!D", b"<?", b"<?x", b"<a><!-", b"<a><?", b"<a>&x;", b"<!-- <a>"):
            self.refuse("restricted-xml", data)
        self.refuse("restricted-xml", b"<!D", b"<?a", b"<!--", scanner=self.fresh)

    def test_notWellFormed(self) -> None:
        """
        XML and namespaces in XML, to the letter.
        """
        self.refuse(
            "not-well-formed",
            b"</message>",
            b"</stream:x>",
            b"<a></b>",
            b"<a><b></a></b>",
            b"<a b='1' b='2'/>",
            b"<a b=1/>",
            b"<a b/>",
            b"<a b='1'c='2'/>",
            b"<a b='<'/>",
            b"<a>]]></a>",
            b"<a>&</a>",
            b"<a>& b;</a>",
            b"<a>&#;</a>",
            b"<a>&#x;</a>",
            b"< a/>",
            b"<1/>",
            b"<a/ >",
            b"<>",
        )

    def test_namespaceErrors(self) -> None:
        """
        Prefixes are declared, never undeclared, reserved ones are left alone, and
        attributes differ in their expanded names.
        """
        self.refuse(
            "not-well-formed",
            b"<p:a/>",
            b"<a p:b=''/>",
            b"<a><b xmlns:p='p'/><p:c/></a>",
            b"<a xmlns:p=''/>",
            b"<a xmlns:xml='x'/>",
            b"<a xmlns:xmlns='x'/>",
            b"<a xmlns:p='http://www.w3.org/2000/xmlns/'/>",
            b"<a xmlns='http://www.w3.org/2000/xmlns/'/>",
            b"<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
            b"<a xmlns:p='u' xmlns:q='u' p:x='' q:x=''/>",
            b"<a xmlns='u' xmlns='v'/>",
            b"<a:b:c xmlns:a='a'/>",
            b"<:a/>",
            b"<a:/>",
            b"<a :b=''/>",
            b"<xmlns:a/>",
        )

    def test_characters(self) -> None:
        """
        No characters but XML's, as they are or by reference, in text, attributes,
        names and CDATA sections.
        """
        bad = [
            *(bytes((code,)) for code in range(32) if code not in (9, 10, 13)),
            b"\xff",
            b"\xfe",
            b"\x80",
            b"\xc3",
            b"\xc0\x80",
            b"\xc1\xbf",
            b"\xe0\x80\xaf",
            b"\xe0\x9f\xbf",
            b"\xf0\x80\x80\xaf",
            b"\xf0\x8f\xbf\xbf",
            b"\xf4\x90\x80\x80",
            b"\xf5\x80\x80\x80",
            b"\xed\xa0\x80",
            b"\xed\xbf\xbf",
            b"\xed\xa0\xbd\xed\xb8\x80",
            b"\xef\xbf\xbe",
            b"\xef\xbf\xbf",
            b"\xe2\x82",
            b"\xf0\x9f\x98",
        ]
        for character in bad:
            self.refuse(
                "not-well-formed",
                b"<a>%s</a>" % character,
                b"<a b='%s'/>" % character,
                b"<a%s/>" % character,
                b"<a><![CDATA[%s]]></a>" % character,
            )
        for reference in (
            *(b"&#%d;" % code for code in range(32) if code not in (9, 10, 13)),
            b"&#xD800;",
            b"&#xDFFF;",
            b"&#xFFFE;",
            b"&#65535;",
            b"&#x110000;",
            b"&#99999999999999999999;",
        ):
            self.refuse("not-well-formed", b"<a>%s</a>" % reference, b"<a b='%s'/>" % reference)

    def test_goodCharacters(self) -> None:
        """
        The first and the last of each range of characters pass.
        """
        text = "\t\n \x7f\x80\x9f\ud7ff\ue000\ufdd0\ufffd\U00010000\U0010ffff".encode()
        self.assertEqual(self.one(b"<a>%s</a>" % text).data, b"<a>%s</a>" % text)
        self.assertEqual(
            self.one(b"<a b='&#9;&#xA;&#13;&#xD7FF;&#xFFFD;&#x10FFFF;'>&#13;</a>").data,
            '<a b="&#9;&#10;&#13;\ud7ff\ufffd\U0010ffff">&#13;</a>'.encode(),
        )

    def test_encodings(self) -> None:
        """
        RFC 6120 section 11.6: UTF-8 and nothing else.
        """
        text = "<?xml version='1.0'?><stream/>"
        self.refuse(
            "unsupported-encoding",
            text.encode("utf-16"),
            b"\xfe\xff" + text.encode("utf-16-be"),
            text.encode("utf-16-le"),
            text.encode("utf-16-be"),
            text.encode("utf-32"),
            b"<?xml version='1.0' encoding='ISO-8859-1'?><stream/>",
            b"<?xml version='1.0' encoding='US-ASCII'?><stream/>",
            b"<?xml version='1.0' encoding='UTF-16'?><stream/>",
            b"<?xml version='1.0' encoding='x-unknown'?><stream/>",
            scanner=self.fresh,
        )

    def test_byteOrderMark(self) -> None:
        """
        RFC 6120 section 11.6: U+FEFF is a character, and no character stands before the
        header.
        """
        self.refuse("not-well-formed", b"\xef\xbb\xbf<stream>", scanner=self.fresh)
        self.assertEqual(self.one(b"<a>\xef\xbb\xbf</a>").data, b"<a>\xef\xbb\xbf</a>")

    def test_prolog(self) -> None:
        """
        What is no XML at all, or not of version 1.0, is refused at once.
        """
        self.refuse(
            "not-well-formed",
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01",
            b"x",
            b"<?xml version='1.1'?><stream/>",
            b"<?xml?><stream/>",
            scanner=self.fresh,
        )

    def test_declarationLater(self) -> None:
        """
        An XML declaration stands at the beginning only: a client that restarts its
        stream too early.
        """
        self.refuse("restricted-xml", HEADER, b"<a>" + HEADER)
        self.refuse("restricted-xml", b"<?xml version='1.0'?>" * 2 + b"<a/>", scanner=self.fresh)

    def test_text(self) -> None:
        """
        Between stanzas there is white space only.
        """
        self.refuse(
            "bad-format",
            b"x",
            b"  x",
            b"x<a/>",
            b"&amp;<a/>",
            b"&#32;<a/>",
            b"\xc2\xa0",
        )
        for data in (b"<![CDATA[ ]]><a/>", b"<![CDATA[x]]></stream:stream>"):
            self.assertEqual(scan([data], self.opened()), ([], "bad-format"))
            self.assertEqual(scan(bytewise(data), self.opened()), ([], "bad-format"))

    def test_spent(self) -> None:
        """
        After an error a scanner takes nothing any more.
        """
        scanner = self.opened()
        self.assertRaises(StreamError, scanner.feed, b"<presence/><a></b>")
        self.assertEqual(len(scanner.completed), 1)
        self.assertFalse(scanner.pending)
        self.assertRaises(LocalError, scanner.feed, b"")

    def test_nothingOfThePeer(self) -> None:
        """
        The text of an error holds nothing the peer sent.
        """
        for data in (b"<a>&secret;", b"<secret></a>", b"secret", b"<secret:a/>"):
            scanner = self.opened()
            with self.assertRaises(StreamError) as raised:
                scanner.feed(data)
            self.assertNotIn("secret", str(raised.exception) + str(raised.exception.text))


class ProfileTests(EngineCase):
    """
    What is handed out is in the profile, whatever came in.
    """

    def test_passThrough(self) -> None:
        """
        What is in the profile already passes byte for byte.
        """
        for data in (
            b"<presence/>",
            b"<presence></presence>",
            b'<message to="a\'b" xml:lang="en"><body>I\'m  \n\t&amp; &lt;&gt;&#13; "x" / =</body></message>',
            b'<message xmlns="jabber:client"><body/></message>',
            b'<m><p:a xmlns:p="p" p:b="&quot;&#9;&#10;&#13;&amp;&lt;&gt;"/></m>',
            "<m>\u00e9\U0001f600</m>".encode(),
            b"<m>stream:stream upstream: x</m>",
            b"<m><a></a>stream:stream</m>",
        ):
            self.assertEqual(self.one(data).data, data)
            events, _ = scan(bytewise(data), self.opened())
            self.assertEqual(events[0][3], data)

    def test_spelledAnew(self) -> None:
        """
        Everything else is spelled anew.
        """
        for data, expected in (
            (b"<a b='c'/>", b'<a b="c"/>'),
            (b"<a  b='\"'/>", b'<a b="&quot;"/>'),
            (b"<a\tb='1'\nc=\"2\" />", b'<a b="1" c="2"/>'),
            (b"<a b = '1'></a >", b'<a b="1"/>'),
            (b"<a b='x\ty\nz\r'/>", b'<a b="x y z "/>'),
            (b"<a>></a>", b"<a>&gt;</a>"),
            (b"<a>\r\n\r</a>", b"<a>\n\n</a>"),
            (b"<a>&apos;&quot;&#65;&#x42;</a>", b"<a>'\"AB</a>"),
            (b"<a><![CDATA[<b>&amp;]]]]></a>", b"<a>&lt;b&gt;&amp;amp;]]</a>"),
            (b"<a b='>'/>", b'<a b="&gt;"/>'),
        ):
            self.assertEqual(self.one(data).data, expected)

    def test_astral(self) -> None:
        """
        C{bmpOnly} replaces astral characters, in the attributes it reports too, and
        nothing else.
        """
        stanza = self.one("<a b='\U0001f600' c='\u00e9'>&#x1F600;\uffee</a>".encode(), bmpOnly=True)
        self.assertEqual(stanza.data, '<a b="\ufffd" c="\u00e9">\ufffd\uffee</a>'.encode())
        self.assertEqual(stanza.attributes, {"b": "\ufffd", "c": "\u00e9"})
        self.assertEqual(self.one(b"<a/>", bmpOnly=True).data, b"<a/>")

    def test_astralAmbiguous(self) -> None:
        """
        Where only astral characters told namespaces apart, the element is refused.
        """
        data = "<a xmlns:p='\U0001f600' xmlns:q='\U0001f601' p:x='' q:x=''/>".encode()
        self.assertIsNone(scan([data], self.opened())[1])
        self.assertEqual(scan([data], self.opened(bmpOnly=True)), ([], "not-well-formed"))


class NamespaceTests(EngineCase):
    """
    Stanzas stand on their own.
    """

    P_HEADER = HEADER[:-1] + b" xmlns:p='urn:p' xmlns:q='urn:q'>"

    def home(self, data: bytes, expected: bytes, header: bytes = P_HEADER) -> Stanza:
        """
        Check what becomes of an element.
        """
        stanza = self.one(data, header)
        self.assertEqual(stanza.data, expected)
        return stanza

    def test_element(self) -> None:
        """
        A prefix of the header, used on the root or inside, is declared on the root.
        """
        stanza = self.home(b"<p:a/>", b'<p:a xmlns:p="urn:p"/>')
        self.assertEqual((stanza.name, stanza.namespace), ("a", "urn:p"))
        self.home(b"<a><b><p:c/></b></a>", b'<a xmlns:p="urn:p"><b><p:c/></b></a>')
        self.home(b"<a b='c'><p:c/></a>", b'<a b="c" xmlns:p="urn:p"><p:c/></a>')

    def test_attribute(self) -> None:
        """
        Attributes have prefixes too.
        """
        stanza = self.home(b'<a p:b="1"/>', b'<a p:b="1" xmlns:p="urn:p"/>')
        self.assertEqual(stanza.attributes, {"p:b": "1"})
        self.home(b"<a><b q:c=''/></a>", b'<a xmlns:q="urn:q"><b q:c=""/></a>')

    def test_both(self) -> None:
        """
        Each prefix is declared once.
        """
        self.home(
            b"<p:a q:b='' p:c=''><q:d/></p:a>",
            b'<p:a q:b="" p:c="" xmlns:p="urn:p" xmlns:q="urn:q"><q:d/></p:a>',
        )

    def test_shadowed(self) -> None:
        """
        A prefix that the stanza declares itself needs nothing; one that is declared
        beside its use only does.
        """
        self.home(b'<a xmlns:p="x"><p:b/></a>', b'<a xmlns:p="x"><p:b/></a>')
        self.home(b'<a><b xmlns:p="x"><p:c/></b></a>', b'<a><b xmlns:p="x"><p:c/></b></a>')
        self.home(
            b'<a><b xmlns:p="x"/><p:c/></a>',
            b'<a xmlns:p="urn:p"><b xmlns:p="x"/><p:c/></a>',
        )
        self.home(
            b'<p:a><p:b xmlns:p="x"/></p:a>',
            b'<p:a xmlns:p="urn:p"><p:b xmlns:p="x"/></p:a>',
        )

    def test_notUsed(self) -> None:
        """
        What only looks like a prefix is none.
        """
        for data in (b"<a>p:b</a>", b'<a b="p:c"/>', b'<a xp:b="" xmlns:xp="x"/>', b"<a> p:b=</a>"):
            self.home(data, data)

    def test_stream(self) -> None:
        """
        The prefix C{stream} is like any other.
        """
        stanza = self.home(
            b"<stream:error><x/></stream:error>",
            b'<stream:error xmlns:stream="http://etherx.jabber.org/streams"><x/></stream:error>',
        )
        self.assertEqual(stanza.namespace, NS_STREAMS)

    def test_language(self) -> None:
        """
        C{xml:lang} needs no declaration.
        """
        data = b'<message xml:lang="en"><body xml:lang="de"/></message>'
        self.assertEqual(self.home(data, data).attributes, {"xml:lang": "en"})

    def test_forwarded(self) -> None:
        """
        A stanza inside another keeps its namespace (XEP-0297, XEP-0280).
        """
        data = (
            b'<message to="a"><received xmlns="urn:xmpp:carbons:2"><forwarded xmlns="urn:xmpp:'
            b'forward:0"><message xmlns="jabber:client"><body>x</body></message></forwarded>'
            b"</received></message>"
        )
        self.home(data, data)
        self.home(data.replace(b'"', b"'"), data)

    def test_XHTML(self) -> None:
        """
        XHTML passes with its namespaces (XEP-0071).
        """
        data = (
            b'<message><html xmlns="http://jabber.org/protocol/xhtml-im"><body xmlns="http://www.w3'
            b'.org/1999/xhtml"><p style="font: x">a<br/>b</p></body></html></message>'
        )
        self.home(data, data)

    def test_foreignDefault(self) -> None:
        """
        A default namespace of the header other than content's is written on each
        stanza that inherits it.
        """
        header = b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='urn:x&amp;y'>"
        stanza = self.home(b"<a><b/></a>", b'<a xmlns="urn:x&amp;y"><b/></a>', header)
        self.assertEqual(stanza.namespace, "urn:x&y")
        self.home(b'<a xmlns="u"/>', b'<a xmlns="u"/>', header)
        self.home(b"<s:a/>", b'<s:a xmlns:s="http://etherx.jabber.org/streams"/>', header)
        self.home(
            b"<s:a><b/></s:a>",
            b'<s:a xmlns="urn:x&amp;y" xmlns:s="http://etherx.jabber.org/streams"><b/></s:a>',
            header,
        )

    def test_reported(self) -> None:
        """
        The content namespace counts as C{jabber:client}; another one that the element
        names itself does not.
        """
        for namespace in ("jabber:client", "jabber:server", ""):
            header = f"<s:s xmlns:s='{NS_STREAMS}' xmlns='{namespace}'>".encode()
            self.assertEqual(self.home(b"<a/>", b"<a/>", header).namespace, NS_CLIENT)
        for namespace in ("jabber:server", "", NS_MULTIPLEX, "urn:x"):
            self.assertEqual(self.one(f"<a xmlns='{namespace}'/>".encode()).namespace, namespace)
        self.assertEqual(self.one(b"<c:a xmlns:c='jabber:client'/>").namespace, NS_CLIENT)
        self.assertEqual(self.one(b"<c:a xmlns:c='jabber:server'/>").namespace, "jabber:server")


class PropertyTests(EngineCase):
    """
    What holds for every stream.
    """

    @lenient
    @given(st.data(), streams())
    def test_splits(self, data: st.DataObject, stream: Stream) -> None:
        """
        How a stream is cut into reads changes nothing.
        """
        whole = scan([stream.data], self.engine(1, 100000))
        self.assertIsNone(whole[1])
        self.assertEqual(len(whole[0]), len(stream.elements) + 2)
        self.assertEqual(scan(data.draw(splits(stream.data)), self.engine(1, 100000)), whole)
        self.assertEqual(scan(bytewise(stream.data), self.engine(1, 100000)), whole)

    @lenient
    @given(st.data(), streams())
    def test_splitsOfMutants(self, data: st.DataObject, stream: Stream) -> None:
        """
        A stream with a wrong byte gives the same events before it however it is cut;
        it is found at the latest when the next tag begins.
        """
        whole = stream.data
        position = data.draw(st.integers(len(stream.header), len(whole)))
        wrong = data.draw(st.sampled_from([b"<", b">", b"&", b"'", b'"', b"\x00", b"\xff", b"]]>"]))
        bad = whole[:position] + wrong + whole[position + 1 :] + b"<"
        expected, condition = scan([bad], self.engine(1, 100000))
        events, again = scan(bytewise(bad), self.engine(1, 100000))
        self.assertEqual((events, again is None), (expected, condition is None))

    @lenient
    @given(st.data(), st.lists(routes(), max_size=3))
    def test_splitsOfLink(self, data: st.DataObject, parts: list[bytes]) -> None:
        """
        The same holds for a link, texts included.
        """
        stream = LINK_HEADER + b"\n".join(parts) + FOOTER
        whole = scan([stream], self.engine(2, 100000, strict=False))
        self.assertIsNone(whole[1])
        for pieces in (data.draw(splits(stream)), bytewise(stream)):
            self.assertEqual(scan(pieces, self.engine(2, 100000, strict=False)), whole)

    @lenient
    @given(streams())
    def test_infoset(self, stream: Stream) -> None:
        """
        Stanzas mean outside of their stream what they meant in it.
        """
        events, _ = scan([stream.data], self.engine(1, 100000))
        for element, event in zip(stream.elements, events[1:-1], strict=True):
            self.assertEqual(infoset(event[3]), infosetIn(stream.header, element, stream.footer))

    @lenient
    @given(streams())
    def test_judged(self, stream: Stream) -> None:
        """
        A link of such stanzas is flawless, and reading it again changes nothing.
        """
        events, _ = scan([stream.data], self.engine(1, 100000))
        judge = LinkJudge()
        judge.feed(b'<stream:stream xmlns="x" xmlns:stream="y">')
        for event in events[1:-1]:
            judge.feed(b'<route streamid="1">%s</route> ' % event[3])
        judge.feed(FOOTER)
        judge.end()
        self.assertEqual(len(judge.elements), len(stream.elements))
        for element, event in zip(judge.elements, events[1:-1], strict=True):
            self.assertEqual(self.one(element[20:-8], limit=100000).data, event[3])

    @lenient
    @given(streams())
    def test_fromServer(self, stream: Stream) -> None:
        """
        Read leniently, the same stream has the same stanzas, content apart.
        """
        strict, _ = scan([stream.data], self.engine(1, 100000))
        free, condition = scan([stream.data], self.engine(1, 100000, strict=False))
        self.assertIsNone(condition)
        self.assertEqual([e[0] for e in strict[1:-1]], [e[0] for e in free[1:-1]])
