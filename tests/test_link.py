# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.link}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cmanager.clienttls import TLS_EXPORTER, TLS_UNIQUE, ClientTLS
from cmanager.configuration import Configuration, TLSOffer
from cmanager.diagnosis import Step
from cmanager.funnel import FLUSH_BYTES
from cmanager.interfaces import ILink
from cmanager.memory import REMEMBERED_BYTES
from cmanager.multiplex import MAX_UPWARD_BYTES
from cmanager.stanza import NS_CLIENT, Stanza
from tests.linkdoubles import (
    ACCEPTED,
    CONFIGURATION,
    HEADER,
    NO_FEATURES,
    ClientStream,
    LinkBench,
    Session,
    message,
)

HEAD = b'<iq type="set" id="%s" to="example.org" from="cm/x"><session xmlns="http://jabber.org/protocol/connectionmanager" id="q7Zk2mX4aB9sLwT1">'
TAIL = b"</session></iq>"
CLOSE = (
    b'<iq type="set" id="112-77" from="example.org" to="cm"><session'
    b' xmlns="http://jabber.org/protocol/connectionmanager" id="s"><close/></session></iq>'
)
CLOSED = b'<iq type="result" id="112-77" to="example.org" from="cm/x"/>'
ROUTED = b'<route streamid="s" from="example.org" to="cm"><presence/></route>'


class LinkTestCase(SynchronousTestCase):
    """
    A ready link.
    """

    def setUp(self) -> None:
        """
        Set it up.
        """
        self.bench = LinkBench().ready()
        self.link = self.bench.link
        self.hub = self.bench.hub
        self.session = Session()


class SessionTests(LinkTestCase):
    """
    What sessions ask.
    """

    def test_interface(self) -> None:
        """
        A link is an L{ILink}.
        """
        verifyObject(ILink, self.link)
        self.assertEqual(self.link.name, "cm/x")

    def test_open(self) -> None:
        """
        A session is pinned and announced, with its client's address.
        """
        self.link.open(self.session)
        self.assertEqual(
            self.bench.turn(),
            HEAD % b"create-1"
            + b'<create><host name="192.0.2.7" address="192.0.2.7"/></create>'
            + TAIL,
        )
        self.assertEqual(self.link.load, 1)

    def test_unknownAddress(self) -> None:
        """
        A client without an address is announced without one.
        """
        self.link.open(Session(stream=ClientStream("")))
        self.assertEqual(self.bench.turn(), HEAD % b"create-1" + b"<create></create>" + TAIL)

    def create(self, session: Session) -> bytes:
        """
        Return what a session is announced with behind its address.
        """
        self.link.open(session)
        return self.bench.turn().partition(b'address="192.0.2.7"/>')[2].partition(b"</create>")[0]

    def test_described(self) -> None:
        """
        A server that asks for it is told of the client's TLS and stream, with the data
        that it can use.
        """
        tls = TLSOffer(("SCRAM-SHA-1-PLUS",), (TLS_EXPORTER,))
        self.bench.owner.configuration = Configuration(tls=tls, knowsStreams=True)
        facts = ClientTLS("TLSv1.2", bindings=((TLS_EXPORTER, b"1"), (TLS_UNIQUE, b"2")))
        session = Session(stream=ClientStream(secure=True, facts=facts), lang="it")
        self.assertEqual(
            self.create(session),
            facts.limitedTo((TLS_EXPORTER,)).encode()
            + b'<stream xmlns="urn:cmanager:stream:0" to="mantua.example" lang="it"/>',
        )

    def test_onlyWhatIsAsked(self) -> None:
        """
        Each is told to those only that have announced it for the domain.
        """
        stream = ClientStream(secure=True, facts=ClientTLS("TLSv1.2"))
        tls, none = TLSOffer(), Configuration()
        for configuration, expected in (
            (None, b""),
            (none, b""),
            (Configuration(tls=tls), ClientTLS("TLSv1.2").encode()),
            (
                Configuration(knowsStreams=True),
                b'<stream xmlns="urn:cmanager:stream:0" to="mantua.example"/>',
            ),
            (Configuration(tls=tls, domains={"mantua.example": none}), b""),
            (
                Configuration(domains={"mantua.example": Configuration(tls=tls)}),
                ClientTLS("TLSv1.2").encode(),
            ),
            (Configuration(domains={"verona.example": Configuration(tls=tls)}), b""),
        ):
            self.bench.owner.configuration = configuration
            self.assertEqual(self.create(Session(stream=stream)), expected)

    def test_encrypted(self) -> None:
        """
        Of a stream that is not encrypted nothing is said; of one that somebody else has
        decrypted, that it is encrypted.
        """
        self.bench.owner.configuration = Configuration(tls=TLSOffer())
        self.assertEqual(self.create(Session()), b"")
        session = Session(stream=ClientStream(secure=True))
        self.assertEqual(self.create(session), b'<tls xmlns="urn:cmanager:tls:0"/>')

    def test_route(self) -> None:
        """
        A stanza is wrapped as it is, under ids that count up.
        """
        for number in (b"1", b"2"):
            self.link.route(self.session, message())
            self.assertEqual(
                self.bench.turn(),
                b'<route to="example.org" from="cm/x" streamid="q7Zk2mX4aB9sLwT1" id="'
                + number
                + b'">'
                + message().data
                + b"</route>",
            )

    def test_fail(self) -> None:
        """
        A message is returned for storage.
        """
        self.link.fail(self.session, message())
        self.assertEqual(
            self.bench.turn(),
            HEAD % b"failed-1"
            + b'<failed><message xmlns="jabber:client"><body>hi</body></message></failed>'
            + TAIL,
        )

    def test_tooLarge(self) -> None:
        """
        What the server's scanner would end the link over stays here.
        """
        room = MAX_UPWARD_BYTES - len("<message></message>")
        most, more = (
            Stanza("message", NS_CLIENT, {}, b"<message>%s</message>" % (b"x" * size))
            for size in (room, room + 1)
        )
        for send in (self.link.fail, self.link.route):
            send(self.session, more)
            self.assertEqual(self.bench.turn(), b"")
            send(self.session, most)
            self.assertIn(len(self.bench.turn()), range(MAX_UPWARD_BYTES, 1048576))
        self.assertEqual(self.hub.metrics.value("stanzas_dropped", "too-large"), 2)

    def test_close(self) -> None:
        """
        A session that is over is closed and unpinned.
        """
        self.link.adopt(self.session)
        self.link.close(self.session)
        self.assertEqual(self.bench.turn(), HEAD % b"close-1" + b"<close/>" + TAIL)
        self.assertEqual(self.link.load, 0)

    def test_order(self) -> None:
        """
        All leave in the order they were asked for, in one piece.
        """
        self.link.open(self.session)
        self.link.route(self.session, message())
        self.link.fail(self.session, message())
        self.link.fail(self.session, message())
        self.link.close(self.session)
        written = self.bench.turn()
        places = [
            written.index(word)
            for word in (b"<create>", b"<route", b"failed-2", b"failed-3", b"<close/>")
        ]
        self.assertEqual(places, sorted(places))

    def test_pinning(self) -> None:
        """
        Adopting and forgetting write nothing and count the session.
        """
        self.link.adopt(self.session)
        self.link.adopt(Session("other"))
        self.assertEqual(self.link.load, 2)
        self.link.forget(self.session)
        self.assertEqual(self.link.load, 1)
        self.assertEqual(self.bench.turn(), b"")

    def test_lost(self) -> None:
        """
        On a lost link nothing is written; stanzas are counted as lost.
        """
        self.link.adopt(self.session)
        self.bench.transport.lost()
        self.assertEqual(self.link.load, 0)
        self.bench.transport.take()
        self.link.open(self.session)
        self.link.route(self.session, message())
        self.link.fail(self.session, message())
        self.link.close(self.session)
        self.assertEqual(self.bench.turn(), b"")
        self.assertEqual(self.hub.metrics.value("stanzas_lost_in_link"), 2)


class DownstreamTests(LinkTestCase):
    """
    What the server sends for sessions.
    """

    def test_routed(self) -> None:
        """
        A stanza goes to the router.
        """
        self.bench.send(ROUTED)
        self.assertEqual(self.hub.told, [("routed", self.link, "s", b"<presence/>")])

    def test_early(self) -> None:
        """
        What comes before the handshake is taken as usual, and the handshake still awaited
        (pitfall C-6).
        """
        bench = LinkBench()
        bench.send(HEADER + ROUTED + NO_FEATURES)
        self.assertEqual(bench.send(ROUTED + CLOSE), b"")
        bench.send(ACCEPTED)
        self.assertTrue(bench.link.isReady)
        self.assertEqual(bench.hub.names(), ["routed", "routed", "closeRequested"])

    def test_closeRequested(self) -> None:
        """
        A close is answered on the link it came on, then told.
        """
        self.assertEqual(self.bench.send(CLOSE), CLOSED)
        self.assertEqual(self.hub.told, [("closeRequested", self.link, "s", None)])

    def test_closeWithError(self) -> None:
        """
        The error in it is told too.
        """
        error = (
            b'<close/><stream:error xmlns:stream="http://etherx.jabber.org/streams">'
            b'<conflict xmlns="urn:ietf:params:xml:ns:xmpp-streams"/></stream:error>'
        )
        self.assertEqual(self.bench.send(CLOSE.replace(b"<close/>", error)), CLOSED)
        ((_, _, streamID, told),) = self.hub.told
        self.assertEqual((streamID, str(told)), ("s", "conflict"))

    def test_closeWithoutID(self) -> None:
        """
        A close that cannot be answered is followed.
        """
        self.assertEqual(self.bench.send(CLOSE.replace(b' id="112-77"', b"")), b"")
        self.assertEqual(self.hub.names(), ["closeRequested"])

    def routeError(self, routeID: bytes) -> bytes:
        """
        Return a route error.
        """
        return (
            b'<route streamid="q7Zk2mX4aB9sLwT1" id="%s" from="example.org" to="cm/x" type="error">'
            b'<error code="404" type="cancel"><item-not-found'
            b' xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></route>' % routeID
        )

    def test_routeFailed(self) -> None:
        """
        An error is told with what it is about.
        """
        self.link.route(self.session, message(id="m1", to="juliet@example.org"))
        self.bench.send(self.routeError(b"1"))
        ((name, _, streamID, condition, sent),) = self.hub.told
        self.assertEqual(
            (name, streamID, condition), ("routeFailed", self.session.id, "item-not-found")
        )
        self.assertEqual(
            (sent.name, sent.attributes, sent.data),  # type: ignore[attr-defined] # a stanza
            ("message", {"id": "m1", "to": "juliet@example.org"}, b""),
        )

    def test_largeRouteFailed(self) -> None:
        """
        Of a large stanza only what an error must repeat is known.
        """
        around = len(message(b"", id="m1", other="o").data)
        for number, more in ((b"1", 0), (b"2", 1)):
            body = b"x" * (REMEMBERED_BYTES - around + more)
            self.link.route(self.session, message(body, id="m1", other="o"))
            self.bench.send(self.routeError(number))
        self.assertEqual(
            [told[4].attributes for told in self.hub.told],  # type: ignore[attr-defined] # likewise
            [{"id": "m1", "other": "o"}, {"id": "m1"}],
        )

    def test_unknownRouteFailed(self) -> None:
        """
        Where that is not known, it is told without.
        """
        self.bench.send(self.routeError(b"r9"))
        self.assertEqual(self.hub.told[0][3:], ("item-not-found", None))

    def test_replied(self) -> None:
        """
        Answers go to the pool, which may have asked on another link.
        """
        self.bench.send(b'<iq type="result" id="create-7"/>')
        self.assertIn(("replied", "create-7", None, None), self.bench.owner.told)

    def test_configured(self) -> None:
        """
        A configuration is answered with an empty result and given to the pool.
        """
        self.assertEqual(
            self.bench.send(CONFIGURATION),
            b'<iq type="result" id="480-0" to="example.org" from="cm/x"/>',
        )
        self.assertEqual(
            self.bench.owner.told[-1], ("configured", Configuration(mechanisms=("PLAIN",)))
        )

    def test_configuredWithoutID(self) -> None:
        """
        One that cannot be answered counts as well.
        """
        self.assertEqual(self.bench.send(CONFIGURATION.replace(b' id="480-0"', b"")), b"")
        self.assertEqual(self.bench.owner.told[-1][0], "configured")

    def test_configuredEarly(self) -> None:
        """
        Who has not accepted us cannot say what to offer.
        """
        bench = LinkBench()
        bench.send(HEADER + NO_FEATURES)
        self.assertEqual(bench.send(CONFIGURATION), b"")
        self.assertEqual(bench.owner.told, [])

    def test_unreadable(self) -> None:
        """
        Text that cannot be read is counted, and the link goes on.
        """
        self.bench.send(b'<route streamid="s">nonsense</route>' + ROUTED)
        self.assertEqual(self.hub.metrics.value("stanzas_dropped", "unreadable"), 1)
        self.assertEqual(self.hub.names(), ["routed"])

    def test_bug(self) -> None:
        """
        What a session stumbles over is logged and counted, and the link goes on.
        """
        self.hub.broken = True
        self.bench.send(ROUTED + CLOSE)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.hub.metrics.value("stanzas_dropped", "bug"), 1)
        self.assertEqual(self.hub.names(), ["closeRequested"])
        self.assertTrue(self.link.isReady)


class LifeTests(LinkTestCase):
    """
    Signs of life.
    """

    def test_heartbeat(self) -> None:
        """
        A space goes out every 30 seconds, and not before the link is ready.
        """
        bench = LinkBench()
        bench.turn()
        bench.clock.advance(31)
        self.assertEqual(bench.turn(), b"")
        for _ in range(2):
            self.bench.clock.advance(29.9)
            self.assertEqual(self.bench.turn(), b"")
            self.bench.clock.advance(0.1)
            self.assertEqual(self.bench.turn(), b" ")

    def test_dead(self) -> None:
        """
        A link on which nothing has come in for 90 seconds is dead.
        """
        self.bench.clock.advance(89.9)
        self.assertTrue(self.link.isReady)
        self.bench.clock.advance(0.1)
        self.bench.turn()
        self.assertIs(self.link.step, Step.LOST)
        self.assertTrue(self.bench.transport.aborted)
        self.assertIn("for 90 s", str(self.bench.error))

    def test_alive(self) -> None:
        """
        A space is enough to live.
        """
        for _ in range(10):
            self.bench.clock.advance(89)
            self.bench.send(b" ")
        self.bench.clock.advance(89.9)
        self.assertTrue(self.link.isReady)
        self.bench.clock.advance(0.1)
        self.bench.turn()
        self.assertFalse(self.link.isReady)

    def test_stoppedProcess(self) -> None:
        """
        If it was this process that stood still, what waits in the socket is read first.
        """
        self.bench.clock.rightNow += 1000
        self.link._listen()
        self.link.dataReceived(b" ")
        self.bench.turn()
        self.assertTrue(self.link.isReady)
        self.bench.clock.rightNow += 89.9
        self.link._listen()
        self.assertTrue(self.link.isReady)

    def test_stalled(self) -> None:
        """
        A server that takes nothing for 60 seconds is given up, with what it did not take.
        """
        self.bench.transport.isFull = True
        self.link.route(self.session, message())
        self.link.fail(self.session, message())
        self.bench.turn()
        self.link.route(self.session, message())
        for _ in range(2):
            self.bench.clock.advance(30)
            if self.link.isReady:
                self.link.dataReceived(b" ")
        self.assertIn("not taken what was written for 60 s", str(self.bench.error))
        self.assertEqual(self.link.lostStanzas, 3)
        self.assertEqual(self.hub.metrics.value("stanzas_lost_in_link"), 3)
        self.assertTrue(self.bench.transport.aborted)

    def test_backPressure(self) -> None:
        """
        While too much waits for the server the link's sessions are paused.
        """
        self.bench.transport.isFull = True
        self.link.route(self.session, message())
        self.bench.turn()
        self.link.route(self.session, message(b"x" * FLUSH_BYTES))
        self.assertEqual(self.hub.told, [("pause", self.link)])
        self.bench.transport.drain()
        self.assertEqual(self.hub.told[1:], [("resume", self.link)])
