# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.pool}.
"""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor as realReactor
from twisted.internet import ssl
from twisted.internet.defer import Deferred, fail, inlineCallbacks, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionLost, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.names import dns, error
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from cmanager.config import Security
from cmanager.interfaces import ILinkProtocol
from cmanager.link import Link
from cmanager.linkevents import Configuration, Replied
from cmanager.pool import PENDING_CREATES, Openfire, Pool
from cmanager.turn import Turn
from tests.certificates import Authority, Identity, authority
from tests.linkdoubles import (
    ACCEPTED,
    CONFIGURATION,
    HANDSHAKE,
    HEADER,
    NO_FEATURES,
    PROCEED,
    SECRET,
    TLS_FEATURES,
    Endpoint,
    Hub,
    ScriptedPool,
    Session,
    accept,
    connect,
    message,
    serverSettings,
)


class PoolTestCase(SynchronousTestCase):
    """
    A pool of two links.
    """

    settings: dict[str, object] = {}

    def setUp(self) -> None:
        """
        Start it.
        """
        self.clock = Clock()
        self.observer = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        self.pool = ScriptedPool(self.clock, serverSettings(**self.settings))
        self.hub = self.pool.router

    def started(self) -> tuple[Link, Link]:
        """
        Start the pool; return its links, ready.
        """
        self.pool.startService()
        one, other = self.pool.links
        accept(self.clock, one)
        accept(self.clock, other)
        self.hub.told.clear()
        return one, other

    def lines(self, level: LogLevel | None = None) -> list[str]:
        """
        Return what was logged.
        """
        return [
            formatEvent(event) for event in self.observer if level in (None, event["log_level"])
        ]


class PickTests(PoolTestCase):
    """
    Sessions get the least loaded ready link.
    """

    def test_noLink(self) -> None:
        """
        Before a link is ready there is none to pick.
        """
        self.assertIsNone(self.pool.pick())
        self.pool.startService()
        self.assertEqual(len(self.pool.links), 2)
        self.assertIsNone(self.pool.pick())
        self.assertFalse(self.pool.isReady)

    def test_leastLoaded(self) -> None:
        """
        Of two, the one with fewer sessions.
        """
        one, other = self.started()
        for number in range(10):
            link = self.pool.pick()
            assert link is not None
            link.open(Session(str(number)))
        self.assertEqual((one.load, other.load), (5, 5))

    def test_onlyReady(self) -> None:
        """
        A link that is lost is not picked, nor its successor before it is ready.
        """
        one, other = self.started()
        other.open(Session())
        one.transport.lost()
        self.assertIs(self.pool.pick(), other)
        self.clock.advance(1)
        self.assertEqual(len(self.pool.links), 2)
        self.assertIs(self.pool.pick(), other)

    def test_domains(self) -> None:
        """
        The pool serves what its server serves.
        """
        self.assertEqual(self.pool.domains, ("example.org",))


class EventTests(PoolTestCase):
    """
    The router is told what happens.
    """

    def test_ready(self) -> None:
        """
        Each link that is ready is told, after it can be picked.
        """
        self.pool.startService()
        one, _ = self.pool.links
        accept(self.clock, one)
        self.assertEqual(self.hub.told, [("linkReady", one)])
        self.assertEqual(self.hub.metrics.value("links_up"), 1)

    def test_lost(self) -> None:
        """
        A ready link that is lost is told, when it is no longer in the pool; its place
        connects again.
        """
        one, other = self.started()
        one.transport.lost(ConnectionLost())
        first, (name, link, reason) = self.hub.told
        self.assertEqual(first, ("answersLost", self.pool))
        self.assertEqual((name, link), ("linkLost", one))
        self.assertIn("the connection broke", str(reason))
        self.assertEqual(self.pool.links, [other])
        self.assertEqual(self.hub.metrics.value("links_lost"), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.pool.links), 2)

    def test_doubtful(self) -> None:
        """
        The server may have been without a link where none that is left had been ready when the
        lost one was heard of last.
        """
        for isYoung, isHeard, isDoubtful in (
            (False, False, True),
            (False, True, False),
            (True, True, True),
        ):
            self.setUp()
            one, other = self.started()
            if isYoung:
                other.transport.lost(ConnectionLost())
            self.clock.advance(1)
            if isHeard:
                one.dataReceived(b" ")
            if isYoung:
                accept(self.clock, self.pool.links[1])
            one.transport.lost(ConnectionLost())
            self.assertIs(self.hub.isDoubtful, isDoubtful)

    def test_neverReady(self) -> None:
        """
        A link that never was ready is counted; of what may have come on it the router is told.
        """
        self.pool.startService()
        one, _ = self.pool.links
        one.transport.lost()
        self.assertEqual(self.hub.told, [("answersLost", self.pool)])
        self.assertEqual(self.hub.metrics.value("links_lost"), 1)

    def test_slowAddress(self) -> None:
        """
        A connection that came second, to another address of the host, is not missed.
        """
        self.started()
        connect(self.pool.newLink("h", None)).lost()
        self.assertEqual(self.hub.told, [])
        self.assertEqual(self.hub.metrics.value("links_lost"), 0)

    def test_configured(self) -> None:
        """
        The configuration received last is that of the pool.
        """
        one, other = self.started()
        one.dataReceived(CONFIGURATION)
        self.assertEqual(self.pool.configuration, Configuration(mechanisms=("PLAIN",)))
        other.dataReceived(CONFIGURATION.replace(b"PLAIN", b"SCRAM-SHA-1"))
        self.assertEqual(self.pool.configuration, Configuration(mechanisms=("SCRAM-SHA-1",)))
        self.assertEqual(
            self.hub.told[-1],
            ("configured", self.pool, Configuration(mechanisms=("SCRAM-SHA-1",))),
        )

    def test_mechanismsAbsent(self) -> None:
        """
        A configuration without mechanisms leaves the older ones in force.
        """
        one, _ = self.started()
        empty = b'<iq type="set" id="1"><configuration xmlns="http://jabber.org/protocol/connectionmanager">%s</configuration></iq>'
        one.dataReceived(empty % b"")
        self.assertEqual(self.pool.configuration, Configuration())
        one.dataReceived(CONFIGURATION)
        one.dataReceived(empty % b'<register xmlns="http://jabber.org/features/iq-register"/>')
        self.assertEqual(
            self.pool.configuration, Configuration(mechanisms=("PLAIN",), register=True)
        )


class TLSEventTests(PoolTestCase):
    """
    With TLS from the first byte.
    """

    settings = {"security": Security.TLS}

    def test_neverOpened(self) -> None:
        """
        Before that is up nothing can have come.
        """
        self.pool.startService()
        one, _ = self.pool.links
        one.transport.lost()
        self.assertEqual(self.hub.told, [])


class ReplyTests(PoolTestCase):
    """
    Answers come on any link.
    """

    REFUSED = (
        b'<iq type="error" id="%s"><session xmlns="http://jabber.org/protocol/connectionmanager"'
        b' id="x"/><error type="cancel"><not-allowed'
        b' xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></iq>'
    )

    def test_createRefused(self) -> None:
        """
        A refusal is told for the session it was asked for, whatever the server repeats.
        """
        one, other = self.started()
        one.open(Session("s1"))
        other.open(Session("s2"))
        other.dataReceived(self.REFUSED % b"create-1")
        self.assertEqual(self.hub.told, [("createRefused", other, "s1", "not-allowed")])

    def test_isCreating(self) -> None:
        """
        From the request on until it is answered, over any link.
        """
        one, other = self.started()
        session = Session("s1")
        self.assertFalse(one.isCreating(session))
        one.open(session)
        self.assertTrue(one.isCreating(session))
        self.assertTrue(other.isCreating(session))
        self.assertFalse(one.isCreating(Session("s2")))
        other.dataReceived(b'<iq type="result" id="create-1"/>')
        self.assertFalse(one.isCreating(session))

    def test_once(self) -> None:
        """
        A request is answered once; what nobody asked for is nothing.
        """
        one, _ = self.started()
        one.open(Session("s1"))
        one.dataReceived(b'<iq type="result" id="create-1"/><iq type="result"/>')
        one.dataReceived(self.REFUSED % b"create-1" + self.REFUSED % b"create-2")
        self.assertEqual(self.hub.told, [])

    def test_closeRefused(self) -> None:
        """
        A close that the server refuses is done anyway.
        """
        one, _ = self.started()
        one.close(Session("s1"))
        one.dataReceived(self.REFUSED % b"close-1")
        self.assertEqual((self.hub.told, list(self.hub.metrics.items())[1:]), ([], []))

    def test_failedRefused(self) -> None:
        """
        A message that the server does not take back is counted.
        """
        one, other = self.started()
        one.fail(Session("s1"), message())
        other.dataReceived(self.REFUSED % b"failed-1")
        self.assertEqual(self.hub.metrics.value("stanzas_dropped", "return-refused"), 1)

    def test_bounded(self) -> None:
        """
        So many answers are awaited, and not one more.
        """
        one, _ = self.started()
        for number in range(PENDING_CREATES):
            self.pool.newIQ("create", str(number))
        self.pool.replied(one, Replied("create-1", None, "not-allowed"))
        self.assertEqual(self.hub.told[-1][2:], ("0", "not-allowed"))
        self.hub.told.clear()
        for number in range(2):
            self.pool.newIQ("create", str(number))
        self.pool.replied(one, Replied("create-2", None, "not-allowed"))
        self.assertEqual(self.hub.told, [])
        self.pool.replied(one, Replied("create-3", None, "not-allowed"))
        self.assertEqual(self.hub.told[-1][2:], ("2", "not-allowed"))

    def test_uniqueIDs(self) -> None:
        """
        No two requests of a pool have one id.
        """
        ids = [self.pool.newIQ(kind, "s") for kind in ("create", "close", "failed") * 10]
        self.assertEqual(len(set(ids)), 30)


class LogTests(PoolTestCase):
    """
    An operator can see what the links do, and is not flooded.
    """

    def test_up(self) -> None:
        """
        A link that is ready is a line, with where it goes and how it is protected.
        """
        self.started()
        first, _ = self.lines(LogLevel.info)
        self.assertRegex(
            first, "link cm/[0-9a-f]+ to example.org is ready: 192.0.2.1, not encrypted"
        )

    def test_down(self) -> None:
        """
        A link that is lost is a line, with the reason, what was lost and what is left.
        """
        one, _ = self.started()
        one.transport.isFull = True
        one.route(Session(), message())
        self.clock.advance(0)
        one.transport.lost(ConnectionLost())
        (line,) = self.lines(LogLevel.error)
        self.assertIn("the connection broke", line)
        self.assertIn("stanzas not known to have been sent: 1; links left: 1", line)

    def test_repeated(self) -> None:
        """
        The same failure again and again is a line less and less often.
        """
        self.pool.script = [Endpoint(ConnectionRefusedError()) for _ in range(100)]
        self.pool.startService()
        self.clock.pump([60.0] * 49)
        self.assertEqual(len(self.pool.asked), 100)
        lines = self.lines(LogLevel.warn)
        self.assertEqual(len(lines), 7)
        self.assertIn(
            "no link to example.org: 192.0.2.1:5262 refuses the connection; enable", lines[0]
        )
        self.assertIn("(attempt 64 with this outcome)", lines[-1])

    def test_changed(self) -> None:
        """
        Another failure is another line; a success is one, too.
        """
        outcomes = [ConnectionRefusedError(), ConnectionRefusedError(), DNSLookupError()]
        pool = ScriptedPool(self.clock, serverSettings(links=1))
        pool.script = [Endpoint(outcome) for outcome in (*outcomes, outcomes[0])]
        pool.startService()
        self.clock.pump([60.0] * 3)
        words = [line.split(": ")[1].split(";")[0] for line in self.lines(LogLevel.warn)]
        refused = "192.0.2.1:5262 refuses the connection"
        self.assertEqual(words, [refused, refused, "192.0.2.1 cannot be resolved", refused])

    def test_secret(self) -> None:
        """
        The secret and its digest are in no line.
        """
        one, _ = self.started()
        one.transport.lost()
        self.pool.stopService()
        everything = "".join(map(str, self.observer)) + repr(self.pool.settings)
        self.assertNotIn(SECRET, everything)
        self.assertNotIn("143be04ac9b3957c7a58", everything)

    def test_oddSecret(self) -> None:
        """
        A secret that servers may hash differently is worth a warning.
        """
        ScriptedPool(self.clock, serverSettings(secret="pässwörd"))
        (line,) = self.lines(LogLevel.warn)
        self.assertIn("other than ASCII", line)
        self.assertNotIn("pässwörd", line)


class StopTests(PoolTestCase):
    """
    Stopping ends all links in order.
    """

    def test_stop(self) -> None:
        """
        Each link gets its footer; the result comes when all connections are gone.
        """
        links = self.started()
        transports = [link.transport for link in links]
        done = self.pool.stopService()
        self.assertEqual([t.take() for t in transports], [b"</stream:stream>"] * 2)
        self.assertFalse(self.pool.isReady)
        transports[0].lost()
        self.assertNoResult(done)
        transports[1].lost()
        self.successResultOf(done)
        self.assertEqual(self.pool.links, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.lines(LogLevel.error), [])
        self.assertEqual(self.hub.names(), ["answersLost", "linkLost"] * 2)

    def test_impatience(self) -> None:
        """
        Servers that do not answer do not hold up the stop.
        """
        self.started()
        done = self.pool.stopService()
        self.clock.advance(5)
        self.successResultOf(done)

    def test_notStarted(self) -> None:
        """
        Without links there is nothing to wait for.
        """
        self.pool.startService()
        self.successResultOf(self.pool.stopService())


class HostTests(PoolTestCase):
    """
    Where the links go.
    """

    settings = {"address": None}

    def setUp(self) -> None:
        """
        Have records of two hosts.
        """
        super().setUp()
        self.records: list[str] = ["a", "b"]
        self.pool = ScriptedPool(self.clock, serverSettings(address=None), resolver=self)
        self.hub = self.pool.router

    def lookupService(self, name: str) -> Deferred[object]:
        """
        Answer with the records.
        """
        if not self.records:
            return fail(error.DNSNameError())
        payloads = [dns.Record_SRV(n, 0, 5269, h.encode()) for n, h in enumerate(self.records)]
        return succeed(
            ([dns.RRHeader(name.encode(), dns.SRV, payload=p) for p in payloads], [], [])
        )

    def test_service(self) -> None:
        """
        All links go to the first host of the records, at the port for links.
        """
        self.pool.startService()
        self.assertEqual(self.pool.asked, [("a", 5262)] * 2)

    def test_next(self) -> None:
        """
        A failure leads to the next host.
        """
        self.pool.script = [Endpoint(ConnectionRefusedError())] * 2
        self.pool.startService()
        self.clock.advance(1)
        self.assertEqual(self.pool.asked[2:], [("b", 5262)] * 2)

    def test_together(self) -> None:
        """
        Links keep to the host of those that are ready.
        """
        self.pool.script = [Endpoint(ConnectionRefusedError())]
        self.pool.startService()
        (link,) = self.pool.links
        accept(self.clock, link)
        self.clock.advance(1)
        self.assertEqual(self.pool.asked[2:], [("a", 5262)])

    def test_gone(self) -> None:
        """
        A host that is no longer in the records is left.
        """
        _, other = self.started()
        self.records = ["c"]
        other.transport.lost()
        self.clock.advance(1)
        self.assertEqual(self.pool.asked[2:], [("c", 5262)])

    def test_noRecords(self) -> None:
        """
        Without records it is the domain.
        """
        self.records = []
        self.pool.startService()
        self.assertEqual(self.pool.asked, [("example.org", 5262)] * 2)

    def test_resolver(self) -> None:
        """
        Unless another is given, the resolver is Twisted's, made when it is needed.
        """
        from cmanager.pool import _resolver

        self.assertTrue(callable(_resolver(self.clock).lookupService))


class PluginTests(SynchronousTestCase):
    """
    The protocol is found as a plugin.
    """

    def test_plugin(self) -> None:
        """
        The plugin makes a pool with the router's name for this process.
        """
        plugin = Openfire()
        verifyObject(ILinkProtocol, plugin)
        verifyObject(IPlugin, plugin)
        settings = serverSettings()
        pool = plugin.pool(Clock(), settings, Hub("cm-7"))  # type: ignore[arg-type] # a double
        self.assertEqual(pool.newLink("h", None).name.split("/")[0], "cm-7")
        self.assertIs(pool.settings, settings)


class ServerSide(Protocol):
    """
    A server that accepts the right handshake, over real TLS.
    """

    def __init__(self, context: ssl.CertificateOptions, direct: bool) -> None:
        self.context = context
        self.isEncrypted = direct
        self.offer = TLS_FEATURES

    def connectionMade(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(b'version="1.0">'):
            self.received = b""
            self.transport.write(HEADER + self.offer)
        elif self.received.endswith(b'<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>'):
            self.received = b""
            self.offer = NO_FEATURES
            self.transport.write(PROCEED)
            self.transport.startTLS(self.context)  # type: ignore[attr-defined] # ITLSTransport
        elif self.received == HANDSHAKE:
            self.received = b""
            self.transport.write(ACCEPTED + CONFIGURATION)
        elif self.received.endswith(b"</stream:stream>"):
            self.transport.write(b"</stream:stream>")
            self.transport.loseConnection()


class Waiting(Hub):
    """
    A router that waits for one event.
    """

    def expect(self) -> Deferred[object]:
        """
        Return what fires with the next configuration, or with a failure.
        """
        self.waiting: Deferred[object] = Deferred()
        return self.waiting

    def configured(self, pool: object, configuration: Configuration) -> None:
        self.waiting.callback(configuration)


class LoopbackTests(TestCase):
    """
    Links over real sockets and real TLS.
    """

    timeout = 20

    @inlineCallbacks
    def attempt(self, identity: Identity, security: Security, **changes: object):  # type: ignore[no-untyped-def] # inlineCallbacks
        """
        Try to set up one link.

        @return: The configuration, or the first line of the log.
        """
        ca = Path(self.mktemp())
        ca.write_bytes(authority().pem)
        options = ssl.PrivateCertificate.loadPEM(
            identity.certificatePEM + identity.keyPEM
        ).options()
        direct = security is Security.TLS
        factory = Factory.forProtocol(lambda: ServerSide(options, direct))  # type: ignore[arg-type] # makes one
        if direct:
            from twisted.protocols.tls import TLSMemoryBIOFactory

            factory = TLSMemoryBIOFactory(options, False, factory)
        port: IListeningPort = yield TCP4ServerEndpoint(
            realReactor, 0, interface="127.0.0.1"
        ).listen(factory)
        self.addCleanup(port.stopListening)
        hub = Waiting(turn=Turn(realReactor))
        outcome = hub.expect()
        changes = {"ca": str(ca), **changes}
        settings = serverSettings(
            address=f"127.0.0.1:{port.getHost().port}", links=1, security=security, **changes
        )
        pool = Pool(realReactor, settings, hub, manager="cm")  # type: ignore[arg-type] # a double

        told = [outcome]

        def failed(event: object) -> None:
            assert isinstance(event, dict)
            if event.get("log_level") is LogLevel.warn and told:
                # Not from within the log.
                realReactor.callLater(0, told.pop().callback, formatEvent(event))  # type: ignore[attr-defined] # a clock

        globalLogPublisher.addObserver(failed)
        pool.startService()
        result = yield outcome
        globalLogPublisher.removeObserver(failed)
        self.encrypted = [link.isEncrypted for link in pool.links]
        yield pool.stopService()
        return result

    @inlineCallbacks
    def assertAccepted(self, *arguments: object, **changes: object):  # type: ignore[no-untyped-def] # inlineCallbacks
        """
        The link is encrypted and ready.
        """
        result = yield self.attempt(*arguments, **changes)
        self.assertEqual(result, Configuration(mechanisms=("PLAIN",)))
        self.assertEqual(self.encrypted, [True])

    @inlineCallbacks
    def assertRefused(self, words: str, *arguments: object, **changes: object):  # type: ignore[no-untyped-def] # inlineCallbacks
        """
        There is no link, and the operator reads why.
        """
        result = yield self.attempt(*arguments, **changes)
        self.assertIn(words, result)

    @inlineCallbacks
    def test_startTLS(self):  # type: ignore[no-untyped-def] # inlineCallbacks
        """
        STARTTLS with a certificate for the domain, of a trusted authority.
        """
        yield self.assertAccepted(authority().issue("example.org"), Security.STARTTLS)

    @inlineCallbacks
    def test_directTLS(self):  # type: ignore[no-untyped-def] # inlineCallbacks
        """
        The same with TLS from the first byte, where STARTTLS is offered once more.
        """
        yield self.assertAccepted(authority().issue("example.org"), Security.TLS)

    @inlineCallbacks
    def test_wrongName(self):  # type: ignore[no-untyped-def] # inlineCallbacks
        """
        A certificate for another name is refused, or accepted if that name is configured.
        """
        identity = authority().issue("xmpp.example.net")
        for security in (Security.STARTTLS, Security.TLS):
            yield self.assertRefused("it is not for example.org", identity, security)
            yield self.assertAccepted(identity, security, certificateName="xmpp.example.net")

    @inlineCallbacks
    def test_untrusted(self):  # type: ignore[no-untyped-def] # inlineCallbacks
        """
        A certificate of somebody else is refused, unless any is accepted.
        """
        identity = Authority("Mallory").issue("example.org")
        for security in (Security.STARTTLS, Security.TLS):
            yield self.assertRefused("is not known", identity, security)
            yield self.assertAccepted(identity, security, insecure=True, ca=None)

    @inlineCallbacks
    def test_noTLS(self):  # type: ignore[no-untyped-def] # inlineCallbacks
        """
        TLS with a port that does not speak it is explained.
        """
        port: IListeningPort = yield TCP4ServerEndpoint(
            realReactor, 0, interface="127.0.0.1"
        ).listen(Factory.forProtocol(Chatterbox))
        self.addCleanup(port.stopListening)
        settings = serverSettings(
            address=f"127.0.0.1:{port.getHost().port}", links=1, security=Security.TLS
        )
        pool = Pool(realReactor, settings, Hub(turn=Turn(realReactor)), manager="cm")  # type: ignore[arg-type] # a double
        told: Deferred[None] = Deferred()
        pool.attemptFailed = told.callback  # type: ignore[method-assign, assignment] # the one event waited for
        pool.startService()
        reason = yield told
        self.assertIn("TLS with the server failed", str(reason))
        yield pool.stopService()


class Chatterbox(Protocol):
    """
    Speaks first, and no TLS.
    """

    def connectionMade(self) -> None:
        self.transport.write(HEADER)
