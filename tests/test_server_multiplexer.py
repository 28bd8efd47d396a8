# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.multiplexer}.
"""

from __future__ import annotations

from cmanager.linkevents import Configuration, TLSPolicy
from cmanager.server.multiplexer import (
    MAX_QUEUED_BYTES,
    Habits,
    handshakeDigest,
)
from tests.serverdoubles import Client, Peer, ServerTestCase

TLS = "urn:ietf:params:xml:ns:xmpp-tls"
STARTTLS = f'<starttls xmlns="{TLS}"/>'


class SetUpTests(ServerTestCase):
    """
    From the header to the configuration.
    """

    def fresh(self, **options: object) -> Peer:
        """
        Return a peer that has said nothing.
        """
        self.serve(**options)
        return Peer(self.server, "cm/two", proven=False)

    def test_digest(self) -> None:
        """
        The digest is that of the protocol's test vectors.
        """
        self.assertEqual(
            handshakeDigest("2b9f1c7e", "s3cret"), "143be04ac9b3957c7a58fe730107bc19d2255b2c"
        )
        self.assertEqual(
            handshakeDigest("2b9f1c7e", "pässwörd"), "4273595cb7efbba83c8f60bc8ee78361563280a3"
        )

    def test_header(self) -> None:
        """
        The header echoes the manager's address and brings an ID, then features.
        """
        peer = self.fresh()
        peer.open()
        (features,) = peer.take()
        (header,) = peer.headers
        self.assertEqual((header["from"], header["version"]), ("cm/two", "1.0"))
        self.assertTrue(header["id"])
        self.assertEqual((features.name, list(features.elements())), ("features", []))

    def test_declaration(self) -> None:
        """
        The declaration is quoted as the release quotes it.
        """
        for habits, declaration in (
            ("openfire-4.7", b"<?xml version='1"),
            ("openfire-4.8", b'<?xml version="1'),
        ):
            peer = self.fresh(habits=habits)
            peer.open()
            peer.pump()
            self.assertTrue(peer.raw.startswith(declaration))

    def test_accepted(self) -> None:
        """
        The right digest is answered with an empty handshake and the configuration.
        """
        peer = self.fresh()
        peer.open()
        peer.prove()
        _, handshake, iq = peer.take()
        self.assertEqual((handshake.name, handshake.children), ("handshake", []))
        self.assertEqual((iq["type"], iq.firstChildElement().name), ("set", "configuration"))
        self.assertTrue(peer.link.isReady)

    def test_upperCaseDigest(self) -> None:
        """
        The digest's case does not matter.
        """
        peer = self.fresh()
        peer.open()
        peer.pump()
        digest = handshakeDigest(peer.headers[0]["id"], "s3cret").upper()
        peer.send(f"<handshake>{digest}</handshake>")
        self.assertTrue(peer.link.isReady)

    def test_wrongSecret(self) -> None:
        """
        The wrong digest ends the link with C{not-authorized}.
        """
        for habits in Habits:
            peer = self.fresh(habits=habits)
            peer.open()
            peer.prove("wrong")
            error = peer.take()[-1]
            self.assertEqual(error.firstChildElement().name, "not-authorized")
            self.assertTrue(peer.ended)
            self.assertTrue(peer.transport.disconnecting)
            self.assertEqual(self.server.managers.links("cm"), [self.peer.link])

    def test_secondHandshake(self) -> None:
        """
        A handshake on a link that is ready ends it.
        """
        self.peer.send("<handshake>x</handshake>")
        self.assertTrue(self.peer.transport.disconnecting)

    def refused(self, habits: str, attributes: str, **options: object) -> Peer:
        """
        Send a header that is refused.
        """
        peer = self.fresh(habits=habits, **options)
        peer.open(attributes)
        peer.pump()
        self.assertTrue(peer.transport.disconnecting)
        self.assertIsNone(peer.headers[0].getAttribute("id"))
        return peer

    def test_noAddress(self) -> None:
        """
        Without C{to} there is no ID, and the reason is told by old releases only.
        """
        old = self.refused("openfire-4.7", "")
        self.assertEqual(old.headers[0]["from"], "null")
        self.assertEqual(old.take()[0].firstChildElement().name, "bad-format")
        recent = self.refused("openfire-4.8", "")
        self.assertFalse(recent.headers[0].hasAttribute("from"))
        self.assertEqual((recent.take(), recent.ended), ([], False))

    def test_badAddress(self) -> None:
        """
        An address that is none just ends the link.
        """
        peer = self.fresh()
        peer.open(' to="@/x"')
        self.assertEqual(peer.transport.value(), b"")
        self.assertTrue(peer.transport.disconnecting)

    def test_noSecret(self) -> None:
        """
        A server without a secret takes no manager.
        """
        for habits in ("openfire-4.7", "openfire-4.8"):
            self.peer.link.drop()
            self.server.settings = type(self.server.settings)(endpoint=None, habits=habits)  # type: ignore[arg-type] # converted
            peer = Peer(self.server, proven=False)
            peer.open()
            peer.pump()
            self.assertTrue(peer.transport.disconnecting)
            self.assertFalse(peer.headers[0].hasAttribute("id"))
            told = [e.firstChildElement().name for e in peer.elements]
            self.assertEqual(told, ["internal-server-error"] * (habits == "openfire-4.7"))

    def test_namespace(self) -> None:
        """
        A header in another namespace is refused with an ID and C{invalid-namespace}.
        """
        for habits in ("openfire-4.7", "openfire-4.8"):
            peer = self.fresh(habits=habits)
            peer.open(namespace="jabber:client")
            (error,) = peer.take()
            self.assertTrue(peer.headers[0]["id"])
            self.assertEqual(error.firstChildElement().name, "invalid-namespace")

    def test_links(self) -> None:
        """
        So many connections are taken, and no more.
        """
        self.serve(links=2)
        Peer(self.server, "cm/two")
        self.assertIsNone(self.server.factory.buildProtocol(None))

    def test_traffic(self) -> None:
        """
        A link counts before its handshake: routes may come down on it.
        """
        peer = self.fresh()
        peer.open()
        self.assertIn(peer.link, self.server.managers.links("cm"))


class TLSTests(ServerTestCase):
    """
    STARTTLS on a link.
    """

    def begin(self, policy: TLSPolicy) -> Peer:
        """
        Return a peer that has sent its header.
        """
        self.server.settings = type(self.server.settings)(
            secret="s3cret", endpoint=None, linkTLS=policy, linkCertificate="context"
        )
        peer = Peer(self.server, "cm/two", proven=False)
        peer.open()
        return peer

    def test_features(self) -> None:
        """
        The feature says whether TLS is required.
        """
        for policy, required in ((TLSPolicy.OPTIONAL, 0), (TLSPolicy.REQUIRED, 1)):
            (features,) = self.begin(policy).take()
            self.assertEqual(len(list(features.starttls.elements())), required)

    def test_startTLS(self) -> None:
        """
        Behind TLS comes a new stream with the same ID, from the domain, without the
        feature.
        """
        peer = self.begin(TLSPolicy.REQUIRED)
        peer.send(STARTTLS)
        self.assertEqual(peer.take()[-1].name, "proceed")
        self.assertEqual(peer.transport.context, "context")
        peer.restart()
        peer.open()
        (features,) = peer.take()
        self.assertEqual(list(features.elements()), [])
        first, second = peer.headers
        self.assertEqual((second["id"], second["from"]), (first["id"], "localhost"))
        peer.prove()
        self.assertTrue(peer.link.isReady)

    def test_disabled(self) -> None:
        """
        STARTTLS that was not offered is C{not-authorized}.
        """
        self.peer.send(STARTTLS)
        self.assertEqual(self.peer.take()[0].firstChildElement().name, "not-authorized")

    def test_required(self) -> None:
        """
        Where TLS is required nothing else comes first.
        """
        peer = self.begin(TLSPolicy.REQUIRED)
        peer.prove()
        self.assertEqual(peer.take()[-1].firstChildElement().name, "not-authorized")

    def test_injection(self) -> None:
        """
        Something behind C{<starttls/>} in the same read ends the link.
        """
        peer = self.begin(TLSPolicy.OPTIONAL)
        peer.send(STARTTLS + "<handshake>x</handshake>")
        self.assertTrue(peer.transport.disconnecting)


class StrictnessTests(ServerTestCase):
    """
    What ends a link.
    """

    def assertEnds(self, xml: str | bytes, *conditions: str) -> None:
        """
        Assert that C{xml} ends a link, with a stream error or without a word.
        """
        peer = Peer(self.server, "cm/two")
        peer.send(xml)
        told = [element.firstChildElement().name for element in peer.take()]
        self.assertEqual((peer.transport.disconnecting, told), (True, list(conditions)))
        self.assertEqual(peer.ended, bool(conditions))

    def test_elements(self) -> None:
        """
        Elements that have no place on a link end it without a word.
        """
        for xml in ("<message/>", "<presence/>", "<foo xmlns='urn:x'/>", "<error/>"):
            self.assertEnds(xml)

    def test_streamError(self) -> None:
        """
        The manager's stream error and its footer end the link.
        """
        self.assertEnds('<stream:error><system-shutdown xmlns="urn:x"/></stream:error>')
        self.assertEnds("</stream:stream>")

    def test_notWellFormed(self) -> None:
        """
        What is no XML, or not allowed in it here, ends the link with a reason.
        """
        for xml in (
            "<route></iq>",
            '<route streamid="a"><x:y/></route>',
            b"<route>\x00</route>",
            b"<route>\xff</route>",
            "<route>&bomb;</route>",
            "<route><!-- c --></route>",
            "<route><?pi x?></route>",
            "<route><![CDATA[x]]></route>",
            "text",
        ):
            self.assertEnds(xml, "xml-not-well-formed")

    def test_doctype(self) -> None:
        """
        A DTD ends the link.
        """
        peer = Peer(self.server, "cm/two", proven=False)
        peer.send("<!DOCTYPE x [<!ENTITY a 'b'>]>")
        self.assertTrue(peer.transport.disconnecting)

    def test_size(self) -> None:
        """
        An unfinished element of 1 MiB may go on, one of a byte more ends the link.
        """
        head = '<route streamid="nobody"><message>'
        for extra in (0, 1):
            peer = Peer(self.server, "cm/two")
            peer.send(head + "x" * (1048576 - len(head) + extra))
            self.assertEqual(peer.transport.disconnecting, bool(extra))
            if extra:
                self.assertEqual(peer.take()[0].firstChildElement().name, "policy-violation")

    def test_whiteSpace(self) -> None:
        """
        White space between elements is a sign of life and nothing else.
        """
        self.clock.advance(10)
        self.peer.send(" \n")
        self.assertEqual(self.peer.link.lastHeard, self.clock.seconds())
        self.assertFalse(self.peer.transport.disconnecting)

    def test_afterTheEnd(self) -> None:
        """
        What comes behind the end is not read, in the same read or later.
        """
        self.peer.send('<message/><iq type="get" id="1"><q xmlns="urn:x"/></iq>')
        self.peer.send("<more/>")
        self.peer.link.write("<more/>")
        self.peer.link.drop()
        self.assertEqual(self.peer.take(), [])
        other = Peer(self.server, "cm/two", proven=False)
        other.open()
        other.take()
        other.send('<handshake>wrong</handshake><iq type="get" id="1"><q xmlns="urn:x"/></iq>')
        self.assertEqual([element.name for element in other.take()], ["error"])

    def test_headerAfterTheEnd(self) -> None:
        """
        A link that was ended before its header answers none.
        """
        peer = Peer(self.server, proven=False)
        stream = peer.link._stream
        peer.link.drop()
        stream.parse(b"<a/>")
        self.assertEqual(peer.transport.value(), b"")

    def test_compression(self) -> None:
        """
        Compression is refused, and the link goes on.
        """
        self.peer.send(
            '<compress xmlns="http://jabber.org/protocol/compress"><method>zlib</method></compress>'
        )
        (failure,) = self.peer.take()
        self.assertEqual(failure.firstChildElement().name, "setup-failed")
        self.assertFalse(self.peer.transport.disconnecting)

    def test_tap(self) -> None:
        """
        C{onBytes} gets all bytes of all links, before they are read.
        """
        seen: list[bytes] = []
        self.server.onBytes = lambda link, data: seen.append(data)
        self.peer.send("<nonsense>")
        self.peer.send("</x>")
        self.assertEqual(seen, [b"<nonsense>", b"</x>"])


class FlowTests(ServerTestCase):
    """
    A manager that does not read.
    """

    def test_queue(self) -> None:
        """
        So much may wait for a manager; a byte more breaks the link.
        """
        link = self.peer.link
        link.pauseProducing()
        link.write("x" * MAX_QUEUED_BYTES)
        self.assertFalse(self.peer.transport.aborted)
        link.write("x")
        self.assertTrue(self.peer.transport.aborted)
        self.assertEqual(self.server.managers.links(), [])

    def test_resumed(self) -> None:
        """
        What has gone out does not count.
        """
        link = self.peer.link
        link.pauseProducing()
        link.write("x" * MAX_QUEUED_BYTES)
        link.resumeProducing()
        link.write("x")
        link.pauseProducing()
        link.write("x")
        self.assertFalse(self.peer.transport.aborted)
        link.stopProducing()

    def test_blackHole(self) -> None:
        """
        A link can stop reading.
        """
        self.server.stopReading(self.peer.link)
        self.assertEqual(self.peer.transport.producerState, "paused")

    def test_dropLink(self) -> None:
        """
        A link can break.
        """
        self.server.dropLink(self.peer.link)
        self.assertTrue(self.peer.transport.aborted)


class ConfigurationTests(ServerTestCase):
    """
    What managers are told.
    """

    def test_newLinksOnly(self) -> None:
        """
        A change is told to links that become ready afterwards.
        """
        self.server.setConfiguration(mechanisms=("EXTERNAL",))
        self.assertEqual(self.peer.take(), [])
        peer = Peer(self.server, "cm/two", proven=False)
        peer.open()
        peer.prove()
        self.assertIn("<mechanism>EXTERNAL</mechanism>", peer.take()[-1].toXml())

    def test_ownHabits(self) -> None:
        """
        With habits of our own all links are told that are ready.
        """
        self.serve(habits="own")
        Peer(self.server, "cm/two", proven=False).open()
        self.server.setConfiguration(mechanisms=("PLAIN",))
        (iq,) = self.peer.take()
        self.assertEqual(
            (iq["type"], iq.configuration.mechanisms.toXml().count("<mechanism>")), ("set", 1)
        )

    def test_extensions(self) -> None:
        """
        Only habits of our own have extensions: the domain, and others if there are, are
        described one by one.
        """
        for habits in Habits:
            self.serve(habits=habits)
            self.server.domains["elsewhere"] = Configuration(register=True)
            peer = Peer(self.server, "cm/two", proven=False)
            peer.open()
            peer.prove()
            configuration = peer.take()[-1].configuration
            own = habits is Habits.OWN
            self.assertEqual(
                [habits.hasExtensions, bool(configuration.tls), bool(configuration.stream)],
                [own] * 3,
            )
            if own:
                described = {
                    domain["name"]: [child.name for child in domain.elements()]
                    for domain in configuration.stream.elements()
                }
                self.assertEqual(
                    described,
                    {
                        "localhost": ["starttls", "mechanisms", "tls"],
                        "elsewhere": ["register", "tls"],
                    },
                )


class HabitTests(ServerTestCase):
    """
    SASL elements go down as the release sends them.
    """

    def test_payloads(self) -> None:
        """
        Recent releases escape them, old ones do not.
        """
        for habits, texts in (
            ("openfire-4.2", 0),
            ("openfire-4.7", 0),
            ("openfire-4.8", 1),
            ("own", 0),
        ):
            self.serve(habits=habits)
            client = Client([self.peer], "s1")
            self.assertEqual(client.plain("romeo", "r0meo").name, "success")
            self.assertEqual(client.texts, texts)
