# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.multiplex}.
"""

from __future__ import annotations

from itertools import pairwise

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from cmanager.clienttls import (
    MAX_CERTIFICATE_BYTES,
    TLS_EXPORTER,
    ClientCertificate,
    ClientTLS,
)
from cmanager.errors import LocalError, StreamError
from cmanager.linkevents import (
    Accepted,
    CloseRequested,
    Configured,
    Features,
    LinkEvent,
    Proceed,
    Replied,
    Routed,
    RouteFailed,
    ServerError,
    StreamClosed,
    StreamOpened,
    TLSFailure,
    Unreadable,
)
from cmanager.multiplex import (
    MAX_UPWARD_BYTES,
    ClientHeader,
    LinkReader,
    LinkWriter,
    digest,
)
from cmanager.profile import isCanonical
from cmanager.routes import Routes
from cmanager.stanza import (
    NS_CLIENT,
    NS_LINK,
    NS_MULTIPLEX,
    NS_SASL,
    NS_STREAMS,
    Stanza,
    escapeAttribute,
)
from tests.linkdoubles import ACCEPTED, CONFIGURATION, HEADER, NO_FEATURES, PROCEED, message
from tests.properties import given, st

LIMIT = 16384
SUCCESS = b'<success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>'
CONFLICT = (
    b'<stream:error xmlns:stream="http://etherx.jabber.org/streams">'
    b'<conflict xmlns="urn:ietf:params:xml:ns:xmpp-streams"/></stream:error>'
)


def described(event: LinkEvent) -> tuple[object, ...]:
    """
    Return an event as a tuple that can be compared.
    """
    values: list[object] = [type(event).__name__]
    for name in sorted(type(event).__slots__):  # type: ignore[attr-defined] # they all have them
        value = getattr(event, name)
        if isinstance(value, Stanza):
            value = (value.name, value.namespace, value.attributes, value.data)
        values.append(str(value) if isinstance(value, Exception) else value)
    return tuple(values)


def read(*pieces: bytes, limit: int = LIMIT) -> list[LinkEvent]:
    """
    Return what a reader makes of pieces behind a header.
    """
    reader = LinkReader(limit)
    reader.feed(HEADER)
    return [event for piece in pieces for event in reader.feed(piece)]


def route(payload: bytes, attributes: bytes = b"") -> bytes:
    """
    Wrap a payload as the server does.
    """
    head = b'<route streamid="s" from="example.org" to="cm"' + attributes + b">"
    return head + payload + b"</route>"


def escaped(payload: bytes) -> bytes:
    """
    Wrap a payload as servers from 4.8 on do.
    """
    text = payload.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
    return route(text)


class DigestTests(SynchronousTestCase):
    """
    The answer to the server's challenge.
    """

    def test_vectors(self) -> None:
        """
        SHA-1 of id and secret as UTF-8, in lower-case hexadecimal.
        """
        for streamID, secret, expected in (
            ("2b9f1c7e", "s3cret", "143be04ac9b3957c7a58fe730107bc19d2255b2c"),
            ("1n3x8z0kq2", "s3cret", "cecf4cd979bd2b55896b41d728bf98a4e9fe031b"),
            ("2b9f1c7e", "pässwörd", "4273595cb7efbba83c8f60bc8ee78361563280a3"),
        ):
            self.assertEqual(digest(streamID, secret), expected)


class WriterTests(SynchronousTestCase):
    """
    What a manager sends.
    """

    def setUp(self) -> None:
        """
        Make a writer.
        """
        self.writer = LinkWriter("cm", "x1", "example.org")

    def test_header(self) -> None:
        """
        The header names this link as C{to}, and has no declaration in front.
        """
        self.assertEqual(
            self.writer.header(),
            b'<stream:stream xmlns:stream="http://etherx.jabber.org/streams"'
            b' xmlns="jabber:connectionmanager" to="cm/x1" version="1.0">',
        )
        self.assertEqual(self.writer.address, "cm/x1")

    def test_handshake(self) -> None:
        """
        The handshake is the digest.
        """
        self.assertEqual(
            self.writer.handshake("2b9f1c7e", "s3cret"),
            b"<handshake>143be04ac9b3957c7a58fe730107bc19d2255b2c</handshake>",
        )

    def test_route(self) -> None:
        """
        A route has a session and a short id.
        """
        self.assertEqual(
            Routes(self.writer.routeHead, 1).wrap(b"s1", b"<presence/>"),
            b'<route to="example.org" from="cm/x1" streamid="s1" id="1"><presence/></route>',
        )

    def test_create(self) -> None:
        """
        The client's address is given as a literal, as its name too; none where it is
        not known.
        """
        head = (
            b'<iq type="set" id="i" to="example.org" from="cm/x1">'
            b'<session xmlns="http://jabber.org/protocol/connectionmanager" id="s1"><create>'
        )
        self.assertEqual(
            self.writer.create("s1", "i", "2001:db8::7"),
            head + b'<host name="2001:db8::7" address="2001:db8::7"/></create></session></iq>',
        )
        self.assertEqual(self.writer.create("s1", "i", ""), head + b"</create></session></iq>")

    def test_createDescribed(self) -> None:
        """
        What a server wants to know of the client's TLS and stream follows the address.
        """
        tls = ClientTLS("TLSv1.3", bindings=((TLS_EXPORTER, b"DATA"),))
        for stream, written in (
            (ClientHeader("mantua.example"), b'to="mantua.example"/>'),
            (ClientHeader("mantua.example", "it"), b'to="mantua.example" lang="it"/>'),
        ):
            made = self.writer.create("s1", "i", "192.0.2.7", tls=tls, stream=stream)
            self.assertTrue(
                made.endswith(
                    b'address="192.0.2.7"/>' + tls.encode() + b'<stream xmlns="'
                    b'urn:cmanager:stream:0" ' + written + b"</create></session></iq>"
                )
            )
            self.assertTrue(isCanonical(made))

    def test_createSize(self) -> None:
        """
        The largest certificate fits, with everything else at its largest.
        """
        certificate = ClientCertificate("0" * 64, b"x" * MAX_CERTIFICATE_BYTES, problem="x" * 100)
        bindings = tuple((f"x-{n}", b"x" * 1024) for n in range(3))
        tls = ClientTLS("x" * 100, "x" * 100, "&" * 255, "x" * 255, bindings, certificate)
        stream = ClientHeader("&" * 1023, "x" * 35)
        made = self.writer.create("s1", "i", "192.0.2.7", tls=tls, stream=stream)
        self.assertLess(len(made), MAX_UPWARD_BYTES)

    def test_close(self) -> None:
        """
        A session is closed by its id.
        """
        self.assertEqual(
            self.writer.close("s1", "i"),
            b'<iq type="set" id="i" to="example.org" from="cm/x1">'
            b'<session xmlns="http://jabber.org/protocol/connectionmanager" id="s1"><close/>'
            b"</session></iq>",
        )

    def test_failed(self) -> None:
        """
        A returned message is in C{jabber:client} by a declaration of its own, once.
        """
        plain = message(to="juliet@example.org")
        declared = plain.withAttributes({"xmlns": NS_CLIENT})
        for given_ in (plain, declared):
            root = etree.fromstring(self.writer.failed("s1", "i", given_))
            (failed,) = root[0]
            self.assertEqual(failed.tag, f"{{{NS_MULTIPLEX}}}failed")
            (returned,) = failed
            self.assertEqual(returned.tag, f"{{{NS_CLIENT}}}message")
            self.assertEqual(returned[0].tag, f"{{{NS_CLIENT}}}body")
            self.assertEqual(returned.get("to"), "juliet@example.org")

    def test_result(self) -> None:
        """
        A result is empty.
        """
        self.assertEqual(
            self.writer.result("480-0"),
            b'<iq type="result" id="480-0" to="example.org" from="cm/x1"/>',
        )

    def test_end(self) -> None:
        """
        The stream's prefix is declared where it is used alone; the footer is exact.
        """
        self.assertEqual(self.writer.footer(), b"</stream:stream>")
        root = etree.fromstring(self.writer.systemShutdown())
        self.assertEqual(root.tag, f"{{{NS_STREAMS}}}error")

    def test_escaped(self) -> None:
        """
        No attribute can break out, whatever stands in it.
        """
        nasty = "a\"b'<c>&d\t\n\r"
        writer = LinkWriter(nasty, nasty, nasty)
        shown = ClientCertificate(nasty, problem=nasty)
        for element in (
            writer.header() + writer.footer(),
            Routes(writer.routeHead, 1).wrap(escapeAttribute(nasty), b""),
            writer.create(
                nasty,
                nasty,
                nasty,
                tls=ClientTLS(nasty, nasty, nasty, nasty, ((nasty, b""),), shown),
                stream=ClientHeader(nasty, nasty),
            ),
            writer.close(nasty, nasty),
            writer.result(nasty),
        ):
            root = etree.fromstring(element)
            values = [v for e in root.iter() for k, v in e.attrib.items()]
            odd = {v for v in values if v not in ("1", "1.0", "set", "result", "false")}
            self.assertTrue(odd <= {nasty, f"{nasty}/{nasty}"}, odd)
            self.assertEqual(element.count(b"'"), element.count(b"a&quot;b'"))


class StreamTests(SynchronousTestCase):
    """
    The stream's own elements.
    """

    def test_opened(self) -> None:
        """
        The header gives the id that is hashed, also behind an XML declaration.
        """
        (event,) = LinkReader(LIMIT).feed(HEADER)
        assert isinstance(event, StreamOpened)
        self.assertEqual(event.id, "2b9f1c7e")

    def test_withoutID(self) -> None:
        """
        A header without an id, or with an empty one, has none.
        """
        for header in (HEADER.replace(b' id="2b9f1c7e"', b""), HEADER.replace(b"2b9f1c7e", b"")):
            (event,) = LinkReader(LIMIT).feed(header)
            assert isinstance(event, StreamOpened)
            self.assertIsNone(event.id)

    def test_notAStream(self) -> None:
        """
        Anything else than a stream's header is refused.
        """
        for header in (b"<html>", b'<stream xmlns="jabber:client">', b"HTTP/1.1 400 Bad"):
            self.assertRaises(StreamError, LinkReader(LIMIT).feed, header)

    def test_setUp(self) -> None:
        """
        Features, TLS and handshake, then the footer.
        """
        events = read(
            b"\n<stream:features/> ",
            PROCEED,
            ACCEPTED + b"<handshake/>" + CONFIGURATION,
            b"</stream:stream>",
        )
        self.assertEqual(
            [type(event) for event in events],
            [Features, Proceed, Accepted, Accepted, Configured, StreamClosed],
        )

    def test_tlsFailure(self) -> None:
        """
        The failure is known at once, because old servers do not close the element.
        """
        (event,) = read(b'<failure xmlns="urn:ietf:params:xml:ns:xmpp-tls">')
        self.assertIsInstance(event, TLSFailure)

    def test_error(self) -> None:
        """
        A stream error is read with the prefix it inherits or declares.
        """
        for error in (
            CONFLICT,
            CONFLICT.replace(b' xmlns:stream="http://etherx.jabber.org/streams"', b""),
        ):
            event, end = read(error + b"</stream:stream>")
            assert isinstance(event, ServerError)
            self.assertEqual(event.condition, "conflict")
            self.assertIsInstance(end, StreamClosed)

    def test_unknown(self) -> None:
        """
        Unknown elements and requests are passed over.
        """
        iq = b'<iq type="get" id="1"><x xmlns="urn:x"/></iq>'
        self.assertEqual(read(b"<bogus>text</bogus>" + iq + b"<message/><route/>"), [])

    def test_pending(self) -> None:
        """
        It is known whether something has been begun.
        """
        reader = LinkReader(LIMIT)
        reader.feed(HEADER)
        self.assertFalse(reader.pending)
        for beginning in (b"<route", b' streamid="s">', b"<a/>"):
            reader.feed(beginning)
            self.assertTrue(reader.pending)
        reader.feed(b"</route>")
        self.assertFalse(reader.pending)


class EarlyTests(SynchronousTestCase):
    """
    What comes before the header.
    """

    EARLY = b' <route streamid="s"><presence/></route> <iq type="result" id="1"/>'

    def test_taken(self) -> None:
        """
        It is read as if the header stood before it.
        """
        reader = LinkReader(LIMIT)
        kinds = [type(event) for event in reader.feed(self.EARLY)]
        self.assertEqual(kinds, [Routed, Replied])
        self.assertTrue(reader.pending)
        self.assertEqual([type(event) for event in reader.feed(HEADER)], [StreamOpened])
        self.assertFalse(reader.pending)
        self.assertEqual([type(event) for event in reader.feed(route(b"<presence/>"))], [Routed])

    def test_completed(self) -> None:
        """
        What was complete before an error is told.
        """
        reader = LinkReader(LIMIT)
        with self.assertRaises(StreamError):
            reader.feed(self.EARLY + b"<route streamid='s'></iq>")
        self.assertEqual([type(event) for event in reader.completed][:2], [Routed, Replied])

    def test_anyHeader(self) -> None:
        """
        Whatever its prefix is, with an XML declaration or without.
        """
        for prefix, rest in ((b"", b"stream:"), (b"<?xml version='1.0'?>", b"x:"), (b"", b"")):
            name = rest[:-1] and b":" + rest[:-1]
            header = b'%s<%sstream xmlns%s="http://etherx.jabber.org/streams" id="1">' % (
                prefix,
                rest,
                name,
            )
            events = LinkReader(LIMIT).feed(self.EARLY + header)
            self.assertEqual(len(events), 3)

    def test_beginning(self) -> None:
        """
        It stands on its own: where the header comes it is complete.
        """
        for early in (b"<route", b'<route streamid="s"><presence>', b"<iq></route>"):
            reader = LinkReader(LIMIT)
            with self.assertRaises(StreamError):
                reader.feed(early)
                reader.feed(HEADER)

    def test_likeHeader(self) -> None:
        """
        What anybody may write in a stanza is not taken for the header, wherever it is cut.
        """
        payloads = (
            b'<message><stream xmlns="a">x</stream></message>',
            b'<message><a:stream xmlns:a="a"> </a:stream></message>',
            b"<message><body>&lt;stream &gt;<![CDATA[<stream ><?xml ]]></body></message>",
            b'<presence/><stream xmlns="a"/>',
            b"<streams/><stream/><stream ></stream >",
        )
        for payload in payloads:
            wire = route(payload) + b" " + route(b"<presence/>") + HEADER
            whole = LinkReader(LIMIT).feed(wire)
            self.assertEqual([type(event) for event in whole[-2:]], [Routed, StreamOpened])
            for cut in range(len(wire)):
                reader = LinkReader(LIMIT)
                events = reader.feed(wire[:cut]) + reader.feed(wire[cut:])
                self.assertEqual(
                    [type(event) for event in events], [type(event) for event in whole]
                )
            reader = LinkReader(LIMIT)
            parts = [reader.feed(wire[n : n + 1]) for n in range(len(wire))]
            self.assertEqual(sum(map(len, parts)), len(whole))

    def test_nothingElse(self) -> None:
        """
        Anything else there is refused at once.
        """
        for early in (b"<message/>", b"<stream:error/>", b"x"):
            self.assertRaises(StreamError, LinkReader(LIMIT).feed, early)

    def test_limit(self) -> None:
        """
        An element of it is as large as others may be; of a name that may be the header's no
        more is kept than that could have.
        """
        early = route(b"<message>" + b"x" * 300 + b"</message>")
        LinkReader(len(early)).feed(early)
        self.assertRaises(StreamError, LinkReader(len(early) - 1).feed, early)
        for size in (64, 65):
            reader = LinkReader(LIMIT)
            reader.feed(self.EARLY + b"<" + b"r" * size)
            assert reader._early is not None
            self.assertLessEqual(len(reader._early), 65)


class RouteTests(SynchronousTestCase):
    """
    What comes for sessions.
    """

    def routed(self, data: bytes) -> list[tuple[str, str, str, bytes]]:
        """
        Return session, name, namespace and bytes of each stanza.
        """
        found = []
        for event in read(data):
            assert isinstance(event, Routed)
            stanza = event
            found.append((event.streamID, stanza.name, stanza.namespace, stanza.data))
        return found

    def test_element(self) -> None:
        """
        A stanza that inherits the link's namespace is in C{jabber:client}.
        """
        data = b'<message to="juliet@example.org"><body>hi</body></message>'
        self.assertEqual(self.routed(route(data)), [("s", "message", NS_CLIENT, data)])

    def test_sasl(self) -> None:
        """
        SASL comes as an element, or escaped: both mean the same.
        """
        expected = [("s", "success", NS_SASL, SUCCESS)]
        self.assertEqual(self.routed(route(SUCCESS)), expected)
        self.assertEqual(self.routed(escaped(SUCCESS)), expected)
        self.assertEqual(self.routed(escaped(b"\n " + SUCCESS + b"\n")), expected)

    def test_streamError(self) -> None:
        """
        So does a stream error, with or without a declaration of its prefix.
        """
        bare = CONFLICT.replace(b' xmlns:stream="http://etherx.jabber.org/streams"', b"")
        for payload in (route(CONFLICT), escaped(CONFLICT), escaped(bare), route(bare)):
            ((streamID, name, namespace, data),) = self.routed(payload)
            self.assertEqual((streamID, name, namespace), ("s", "error", NS_STREAMS))
            self.assertEqual(etree.fromstring(data).tag, f"{{{NS_STREAMS}}}error")

    def test_severalChildren(self) -> None:
        """
        All children are delivered, in order; escaped ones too.
        """
        children = b"<presence/><message/>"
        for payload in (route(children), escaped(children)):
            self.assertEqual([found[1] for found in self.routed(payload)], ["presence", "message"])

    def test_textBesideElement(self) -> None:
        """
        Text is not unescaped where an element stands, before or behind it.
        """
        text = b"&lt;presence/&gt;"
        for payload in (text + b"<message/>", b"<message/>" + text, text + b"<message/>" + text):
            self.assertEqual([found[1] for found in self.routed(route(payload))], ["message"])

    def test_textInPieces(self) -> None:
        """
        Escaped text may come in any pieces, and only once.
        """
        payload = escaped(SUCCESS)
        events = read(*[payload[i : i + 1] for i in range(len(payload))], payload)
        self.assertEqual([type(event) for event in events], [Routed, Routed])

    def test_escapedStanza(self) -> None:
        """
        A stanza in text is in C{jabber:client}; its own text stays text.
        """
        data = b"<message><body>1 &lt; 2</body></message>"
        self.assertEqual(self.routed(escaped(data)), [("s", "message", NS_CLIENT, data)])

    def test_unreadable(self) -> None:
        """
        Text that is no XML harms nobody but itself.
        """
        for text in (b"hello", b"<a>", b"<a/></stream:stream><b/>", b"<!DOCTYPE a>", b"&"):
            events = read(escaped(text) + route(b"<presence/>"))
            self.assertEqual([type(event) for event in events], [Unreadable, Routed])

    def test_empty(self) -> None:
        """
        A route with nothing in it, or for nobody, is nothing.
        """
        self.assertEqual(read(route(b"") + route(b" \n ")), [])
        self.assertEqual(read(b"<route><presence/></route>"), [])
        self.assertEqual(read(b'<route streamid=""><presence/></route>'), [])

    def test_error(self) -> None:
        """
        An error is recognised before its payload, whatever that is.
        """
        error = (
            b'<error code="404" type="cancel">'
            b'<item-not-found xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error>'
        )
        for payload in (error, b"&lt;presence/&gt;" + error):
            (event,) = read(route(payload, b' type="error" id="1f"'))
            assert isinstance(event, RouteFailed)
            self.assertEqual(
                (event.streamID, event.routeID, event.condition), ("s", "1f", "item-not-found")
            )

    def test_nothingLeaks(self) -> None:
        """
        What one element leaves is not taken for the next one's.
        """
        events = read(
            b'<iq type="result" id="1"><session xmlns="urn:x" id="a"/></iq>'
            + b'<iq type="result" id="2"/>'
            + route(b"text")
            + route(b"<presence/>")
            + b'<iq type="result" id="3"/>'
        )
        replies = [e.streamID for e in events if isinstance(e, Replied)]
        self.assertEqual(replies, ["a", None, None])
        self.assertEqual([type(e) for e in events].count(Routed), 1)

    def test_manyAttributes(self) -> None:
        """
        A far user's odd stanza, deep or with many attributes and declarations, does
        not end the link of all.
        """
        attributes = b"".join(b' a%d="x" xmlns:n%d="urn:x"' % (n, n) for n in range(200))
        data = b"<message" + attributes + b">" + b"<a>" * 200 + b"</a>" * 200 + b"</message>"
        self.assertEqual(len(self.routed(route(data))), 1)


class LimitTests(SynchronousTestCase):
    """
    What the server can make us keep is bounded.
    """

    def test_element(self) -> None:
        """
        An element of the limit passes; of one byte more it does not.
        """
        whole = route(b"<message>" + b"x" * 1000 + b"</message>")
        self.assertEqual(len(read(whole, limit=len(whole))), 1)
        self.assertRaises(StreamError, read, whole, limit=len(whole) - 1)

    def test_text(self) -> None:
        """
        So it is with text, and with the elements of a reply.
        """
        for content in (b"&lt;a/&gt;" * 200, b"<a/>" * 400):
            whole = b'<iq type="result">' + content + b"</iq>"
            self.assertEqual(len(read(whole, limit=len(whole))), 1)
            self.assertRaises(StreamError, read, whole, limit=len(whole) - 1)
            whole = route(content)
            self.assertTrue(read(whole, limit=len(whole)))
            self.assertRaises(StreamError, read, whole, limit=len(whole) - 1)

    def test_completed(self) -> None:
        """
        What stood before the fault is not lost, and the reader is spent.
        """
        reader = LinkReader(LIMIT)
        reader.feed(HEADER)
        self.assertRaises(StreamError, reader.feed, route(b"<presence/>") + b"<a></b>")
        self.assertEqual([type(event) for event in reader.completed], [Routed])
        self.assertRaises(LocalError, reader.feed, b" ")


class SplitTests(SynchronousTestCase):
    """
    How the bytes are cut does not matter.
    """

    WHOLE = (
        EarlyTests.EARLY
        + HEADER
        + NO_FEATURES
        + ACCEPTED
        + CONFIGURATION
        + route(b'<message to="a"><body>\xc3\xa9 &amp;</body></message>')
        + b" "
        + escaped(SUCCESS)
        + escaped(CONFLICT)
        + b'<iq type="set" id="2"><session xmlns="http://jabber.org/protocol/connectionmanager" id="s">'
        + b"<close/></session></iq>"
        + b"</stream:stream>"
    )

    def test_bytes(self) -> None:
        """
        One byte at a time gives the same events.
        """
        whole = [described(event) for event in LinkReader(LIMIT).feed(self.WHOLE)]
        self.assertEqual(len(whole), 11)
        self.assertIn(CloseRequested.__name__, [event[0] for event in whole])
        reader = LinkReader(LIMIT)
        single = [
            described(event)
            for i in range(len(self.WHOLE))
            for event in reader.feed(self.WHOLE[i : i + 1])
        ]
        self.assertEqual(single, whole)

    @given(st.lists(st.integers(0, len(WHOLE)), max_size=8).map(sorted))
    def test_anywhere(self, cuts: list[int]) -> None:
        """
        Any split gives the same events.
        """
        whole = [described(event) for event in LinkReader(LIMIT).feed(self.WHOLE)]
        reader = LinkReader(LIMIT)
        places = [0, *cuts, len(self.WHOLE)]
        found = [
            described(event)
            for start, end in pairwise(places)
            for event in reader.feed(self.WHOLE[start:end])
        ]
        self.assertEqual(found, whole)


class RoundTripTests(SynchronousTestCase):
    """
    Wrapped and unwrapped is the same.
    """

    @given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1))
    def test_identity(self, streamID: str) -> None:
        """
        What a writer wraps, a reader hands out byte for byte, for the same session.
        """
        data = message(to="juliet@example.org").data
        writer = LinkWriter("cm", "x", "example.org")
        (event,) = read(Routes(writer.routeHead, 1).wrap(escapeAttribute(streamID), data))
        assert isinstance(event, Routed)
        self.assertEqual((event.streamID, event.data), (streamID, data))
        self.assertEqual(event.namespace, NS_CLIENT)
        self.assertNotIn(NS_LINK.encode(), event.data)
