# Copyright the cmanager authors.
# See LICENSE for details.

"""
Recordings of a real server: our reader understands every byte it sent, and our
writer sends what it accepted from others.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from attrs import frozen
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from cmanager.linkevents import (
    Accepted,
    CloseRequested,
    Configured,
    Features,
    LinkEvent,
    Replied,
    Routed,
    RouteFailed,
    StreamOpened,
    TLSPolicy,
)
from cmanager.multiplex import LinkReader, LinkWriter, digest
from cmanager.profile import canonicalise
from cmanager.routes import Routes
from cmanager.stanza import (
    NS_CLIENT,
    NS_LINK,
    NS_MULTIPLEX,
    NS_STREAMS,
    Stanza,
    escapeAttribute,
)
from tests.properties import given, st
from tests.test_multiplex import described

HERE = Path(__file__).parent / "transcripts"
SECRET = "mux-secret"
LIMIT = 16777216

DIFFERENCES = {
    "route-id": "a route has an id, so that an error can be matched with it (R4)",
    "address-as-name": "the client's address stands where its name would have to be looked up (C-13)",
    "empty-result": "a configuration is answered without repeating it; results are discarded",
    "declared-client": "a returned message declares jabber:client (C-17)",
    "no-error-at-end": "the footer alone ends a link: sessions have been closed before (C-21)",
    "error-declares-prefix": "a stream error declares its prefix, for servers up to 4.7",
}
"""
Where what we send differs from the recordings, and why.
"""


@frozen
class Said:
    """
    One line of a recording.
    """

    link: str
    isServer: bool
    text: str


def recording(name: str) -> list[Said]:
    """
    Read a recording; a new stream on a link is a new link here.
    """
    said = []
    streams: dict[str, int] = {}
    for line in (HERE / name).read_text("utf-8").splitlines():
        found = re.fullmatch(r"(?:\[[\d.]+\] )?#?(\w+) ([<>]|C:|S:) (.*)", line)
        if found is None:
            continue
        link, side, text = found.groups()
        isServer = side in ("<", "S:")
        if "<stream:stream" in text and not isServer:
            streams[link] = streams.get(link, 0) + 1
        text = re.sub(r"\(EOF\)|<<EOF>>", "", text)
        if text.strip():
            said.append(Said(f"{link}-{streams[link]}", isServer, text))
    return said


JAVA = recording("openfire-4.2.4-with-java-cm.txt")
EDGES = recording("openfire-4.2.4-edge-cases.txt")


def streams(said: list[Said], isServer: bool) -> dict[str, bytes]:
    """
    Return what one side sent, by link.
    """
    found: dict[str, bytes] = {}
    for each in said:
        if each.isServer is isServer:
            found[each.link] = found.get(each.link, b"") + each.text.encode()
    return found


def read(data: bytes) -> list[LinkEvent]:
    """
    Read a whole stream at once.
    """
    return LinkReader(LIMIT).feed(data)


def elements(header: bytes, data: bytes) -> list[etree._Element]:
    """
    Parse top-level elements that stand under a header, by another parser.
    """
    root = etree.fromstring(header + data + b"</stream:stream>")
    for element in root.iter():
        element.tail = None
    return list(root)


class ServerTests(SynchronousTestCase):
    """
    What the server sent.
    """

    def test_everything(self) -> None:
        """
        Every top-level element of all recordings gives its event, and no other.
        """
        for said in (JAVA, EDGES):
            for link, data in streams(said, isServer=True).items():
                events = read(data)
                expected = [type(event) for event in events if not isinstance(event, StreamOpened)]
                self.assertIsInstance(events[0], StreamOpened, link)
                header = data[: data.index(b">", data.index(b"<stream:stream")) + 1]
                found = [self.kind(e) for e in elements(header, data.removeprefix(header))]
                self.assertEqual(expected, found, link)

    def kind(self, element: etree._Element) -> type:
        """
        Tell which event an element should give, from its tree.
        """
        name = etree.QName(element).localname
        if name == "route":
            self.assertEqual(len(element), 1)
            return RouteFailed if element.get("type") == "error" else Routed
        if name == "iq":
            if element.get("type") != "set":
                return Replied
            configuration = element.find(f"{{{NS_MULTIPLEX}}}configuration")
            return CloseRequested if configuration is None else Configured
        return {"features": Features, "handshake": Accepted}[name]

    def test_payloads(self) -> None:
        """
        Each routed stanza means what the server wrote, in the client's namespace.
        """
        count = 0
        for said in (JAVA, EDGES):
            for data in streams(said, isServer=True).values():
                header = data[: data.index(b">", data.index(b"<stream:stream")) + 1]
                routes = [
                    element[0]
                    for element in elements(header, data.removeprefix(header))
                    if etree.QName(element).localname == "route" and element.get("type") != "error"
                ]
                events = [event for event in read(data) if isinstance(event, Routed)]
                for event, payload in zip(events, routes, strict=True):
                    self.assertEqual(canonical(parsed(event.data)), canonical(inClient(payload)))
                    self.assertEqual(event.streamID, payload.getparent().get("streamid"))
                    count += 1
        self.assertGreater(count, 60)

    def test_offlineMessage(self) -> None:
        """
        The message that came back in the namespace it was stored in is the client's again.
        """
        (event,) = [
            event
            for data in streams(EDGES, isServer=True).values()
            for event in read(data)
            if isinstance(event, Routed) and b"undelivered" in event.data
        ]
        root = parsed(event.data)
        self.assertEqual(
            (root.tag, root[0].tag), (f"{{{NS_CLIENT}}}message", f"{{{NS_CLIENT}}}body")
        )

    def test_configuration(self) -> None:
        """
        The configuration is what the recording's server had been set to.
        """
        (event,) = [e for e in read(streams(JAVA, True)["21-1"]) if isinstance(e, Configured)]
        configuration = event.configuration
        self.assertIs(configuration.starttls, TLSPolicy.OPTIONAL)
        self.assertEqual(
            configuration.mechanisms,
            ("PLAIN", "ANONYMOUS", "SCRAM-SHA-1", "EXTERNAL", "CRAM-MD5", "DIGEST-MD5"),
        )
        self.assertTrue(configuration.compression and configuration.register)
        self.assertFalse(configuration.auth)

    def test_conditions(self) -> None:
        """
        All errors of the recordings are told by their conditions.
        """
        found = set()
        for data in streams(EDGES, isServer=True).values():
            for event in read(data):
                if isinstance(event, Replied | RouteFailed) and event.condition:
                    found.add((type(event).__name__, event.condition))
        self.assertEqual(
            found,
            {
                ("Replied", "not-authorized"),
                ("Replied", "bad-request"),
                ("Replied", "item-not-found"),
                ("RouteFailed", "not-authorized"),
                ("RouteFailed", "bad-request"),
                ("RouteFailed", "item-not-found"),
            },
        )

    def test_closes(self) -> None:
        """
        The two closes of the conflict are seen, behind the stream errors routed before.
        """
        events = read(streams(EDGES, isServer=True)["A-5"])
        names = [
            event.name if isinstance(event, Routed) else type(event).__name__
            for event in events
            if isinstance(event, Routed | CloseRequested)
        ]
        self.assertIn(("error", "CloseRequested"), list(pairwise(names)))

    def test_oneByteAtATime(self) -> None:
        """
        Byte by byte they give the same events.
        """
        for said in (JAVA, EDGES):
            for data in streams(said, isServer=True).values():
                reader = LinkReader(LIMIT)
                found = [
                    described(event)
                    for place in range(len(data))
                    for event in reader.feed(data[place : place + 1])
                ]
                self.assertEqual(found, [described(event) for event in read(data)])

    @given(st.integers(1, 4000), st.integers(0, 4000))
    def test_anySplit(self, size: int, first: int) -> None:
        """
        So do reads of any size.
        """
        data = streams(JAVA, isServer=True)["21-1"]
        reader = LinkReader(LIMIT)
        found = [described(event) for event in reader.feed(data[:first])]
        for place in range(first, len(data), size):
            found += [described(event) for event in reader.feed(data[place : place + size])]
        self.assertEqual(found, [described(event) for event in read(data)])


class ManagerTests(SynchronousTestCase):
    """
    What the old program, or the probe, sent and the server accepted.
    """

    def setUp(self) -> None:
        """
        Note the differences that are met.
        """
        self.met: set[str] = set()
        self.skipped = 0

    def replay(self, said: list[Said]) -> int:
        """
        Send all of it by our writer, and compare.

        @return: How many elements were compared.
        """
        count = 0
        ids: dict[str, str] = {}
        writers: dict[str, LinkWriter] = {}
        for each in said:
            if each.isServer:
                for event in self.quietly(each.text):
                    if isinstance(event, StreamOpened):
                        ids[each.link] = event.id or ""
                continue
            if "<stream:stream" in each.text:
                manager, _, link = (
                    etree.fromstring(each.text + "</stream:stream>").get("to", "").partition("/")
                )
                if not link or NS_LINK not in each.text:
                    continue
                writer = writers[each.link] = LinkWriter(manager, link, "openfire.test")
                self.assertEqual(writer.header().decode(), each.text)
                count += 1
                continue
            writer = writers[each.link]
            if each.text == "</stream:stream>":
                self.assertEqual(writer.footer().decode(), each.text)
                count += 1
                continue
            if "<message></route>" in each.text:
                continue
            for element in elements(writer.header(), each.text.encode()):
                ours = self.ours(writer, element, ids.get(each.link, ""))
                if ours is None:
                    self.skipped += 1
                else:
                    (again,) = elements(writer.header(), ours)
                    self.assertEqual(
                        canonical(self.levelled(again)), canonical(self.levelled(element))
                    )
                    count += 1
        return count

    def quietly(self, text: str) -> list[LinkEvent]:
        """
        Read a header, or nothing.
        """
        return read(text.encode()) if "<stream:stream" in text else []

    def ours(self, writer: LinkWriter, element: etree._Element, streamID: str) -> bytes | None:
        """
        Let our writer say what an element says; L{None} for what we never say.
        """
        name = etree.QName(element).localname
        if name == "handshake":
            if element.text != digest(streamID, SECRET):
                return None
            return writer.handshake(streamID, SECRET)
        if name == "route" and element.get("streamid") and len(element) == 1:
            wireID = escapeAttribute(element.get("streamid"))
            return Routes(writer.routeHead, 1).wrap(wireID, stanzaOf(element[0]).data)
        if name == "error":
            self.met.add("no-error-at-end")
            self.met.add("error-declares-prefix")
            return writer.systemShutdown()
        if name == "iq" and element.get("type") == "result":
            return writer.result(element.get("id"))
        if name == "iq" and len(element) == 1 and etree.QName(element[0]).localname == "session":
            return self.management(writer, element)
        return None

    def management(self, writer: LinkWriter, element: etree._Element) -> bytes | None:
        """
        The same for a request.
        """
        session, iqID = element[0], element.get("id")
        streamID = session.get("id")
        action = etree.QName(session[0]).localname
        if streamID is None:
            return None
        if action == "create":
            host = session[0][0] if len(session[0]) else None
            return writer.create(streamID, iqID, "" if host is None else host.get("address"))
        if action == "close":
            return writer.close(streamID, iqID)
        if action == "failed" and etree.QName(session[0][0]).localname == "message":
            return writer.failed(streamID, iqID, stanzaOf(session[0][0]))
        return None

    def levelled(self, element: etree._Element) -> etree._Element:
        """
        Take off what differs on purpose, and note that it did.
        """
        if element.tag.endswith("}route") and element.attrib.pop("id", None) is not None:
            self.met.add("route-id")
        if element.get("type") == "result":
            for payload in list(element):
                element.remove(payload)
                self.met.add("empty-result")
        for host in element.iter(f"{{{NS_MULTIPLEX}}}host"):
            if host.get("name") != host.get("address"):
                self.met.add("address-as-name")
            host.set("name", "")
        for failed in element.iter(f"{{{NS_MULTIPLEX}}}failed"):
            for child in failed.iter():
                if child is not failed and child.tag.startswith(f"{{{NS_MULTIPLEX}}}"):
                    child.tag = child.tag.replace(NS_MULTIPLEX, NS_CLIENT)
                    self.met.add("declared-client")
        return element

    def test_equivalent(self) -> None:
        """
        Everything the old program sent we would send too; what the probe sent that we never
        would is refused by the server in the recording.  Each difference has its reason.
        """
        self.assertEqual(self.replay(JAVA), 91)
        self.assertEqual(self.replay(EDGES), 85)
        # A wrong secret, requests and routes that end a link or mean nothing.
        self.assertEqual(self.skipped, 14)
        self.assertEqual(self.met, set(DIFFERENCES))


def canonical(element: etree._Element) -> tuple[object, ...]:
    """
    Return what an element means, however it is spelt.
    """
    children = tuple((canonical(child), child.tail or "") for child in element)
    return element.tag, sorted(element.attrib.items()), element.text or "", children


def parsed(data: bytes) -> etree._Element:
    """
    Parse an element that stands in a client's stream.
    """
    (element,) = etree.fromstring(b'<x xmlns="%s">%s</x>' % (NS_CLIENT.encode(), data))
    return element


def inClient(element: etree._Element) -> etree._Element:
    """
    Return a copy as a client must see it.
    """
    copy = etree.fromstring(etree.tostring(element))
    for each in copy.iter():
        for namespace in (NS_LINK, NS_MULTIPLEX):
            each.tag = each.tag.replace(f"{{{namespace}}}", f"{{{NS_CLIENT}}}")
    return copy


def stanzaOf(element: etree._Element) -> Stanza:
    """
    Return an element as a client's scanner would hand it out.
    """
    data = canonicalise(etree.tostring(element, with_tail=False), {})
    for namespace in (NS_LINK, NS_MULTIPLEX):
        data = data.replace(b' xmlns="%s"' % namespace.encode(), b"", 1)
    data = data.replace(b' xmlns:stream="%s"' % NS_STREAMS.encode(), b"")
    return Stanza(etree.QName(element).localname, NS_CLIENT, dict(element.attrib), data)


class SecondSourceTests(SynchronousTestCase):
    """
    Servers from 4.8 on, of which there are no recordings.
    """

    HEADER = (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<stream:stream xmlns:stream="http://etherx.jabber.org/streams"'
        b' xmlns="jabber:connectionmanager" version="1.0" from="cm/Connection Worker - 1"'
        b' id="1n3x8z0kq2"><stream:features>'
        b'<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/></stream:features>'
    )
    ID = "q7Zk2mX4aB9sLwT1"

    def test_header(self) -> None:
        """
        Header and features in one write.
        """
        opened, features = read(self.HEADER)
        assert isinstance(opened, StreamOpened)
        assert isinstance(features, Features)
        self.assertEqual(
            (opened.id, features.starttls, features.required), ("1n3x8z0kq2", True, False)
        )

    def test_escaped(self) -> None:
        """
        SASL and stream errors as text.
        """
        events = read(
            self.HEADER + b'<route from="example.org" to="cm" streamid="q7Zk2mX4aB9sLwT1">'
            b'&lt;success xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/&gt;</route>'
            b'<route from="example.org" to="cm" streamid="q7Zk2mX4aB9sLwT1">'
            b'&lt;stream:error xmlns:stream="http://etherx.jabber.org/streams"&gt;'
            b'&lt;conflict xmlns="urn:ietf:params:xml:ns:xmpp-streams"/&gt;&lt;/stream:error&gt;</route>'
        )[2:]
        found = [(e.streamID, e.name) for e in events if isinstance(e, Routed)]
        self.assertEqual(found, [(self.ID, "success"), (self.ID, "error")])

    def test_closeWithError(self) -> None:
        """
        A reason inside the request to close.
        """
        (event,) = read(
            self.HEADER + b'<iq type="set" id="112-77" from="example.org" to="cm"><session'
            b' xmlns="http://jabber.org/protocol/connectionmanager" id="q7Zk2mX4aB9sLwT1"><close/>'
            b'<stream:error xmlns:stream="http://etherx.jabber.org/streams">'
            b'<conflict xmlns="urn:ietf:params:xml:ns:xmpp-streams"/></stream:error></session></iq>'
        )[2:]
        assert isinstance(event, CloseRequested)
        self.assertEqual((event.streamID, str(event.error)), (self.ID, "conflict"))

    def test_routeError(self) -> None:
        """
        A route error with the id that was given.
        """
        (event,) = read(
            self.HEADER
            + b'<route streamid="q7Zk2mX4aB9sLwT1" id="9" from="example.org" to="cm/x" type="error">'
            b'<error code="404" type="cancel"><item-not-found'
            b' xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></route>'
        )[2:]
        assert isinstance(event, RouteFailed)
        self.assertEqual((event.routeID, event.condition), ("9", "item-not-found"))

    def test_streamAgain(self) -> None:
        """
        The header behind TLS comes from the domain and has the same id.
        """
        header = self.HEADER.replace(b"cm/Connection Worker - 1", b'example.org" xml:lang="en')
        (opened, _) = read(header)
        assert isinstance(opened, StreamOpened)
        self.assertEqual(opened.id, "1n3x8z0kq2")
