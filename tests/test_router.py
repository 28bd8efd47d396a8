# Copyright the cmanager authors.
# See LICENSE for details.

"""
The router: domains, links, sessions, and the end.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from cmanager.errors import LinkError, LocalError, StreamError
from cmanager.grace import ANSWER_SECONDS
from cmanager.interfaces import ISessionHub, IStanzaFilter
from cmanager.linkevents import Configuration, TLSPolicy
from cmanager.metrics import registry
from cmanager.router import Router
from cmanager.session import Session, State
from cmanager.settings import (
    LimitSettings,
    ManagerSettings,
    PublicSettings,
    Settings,
    TLSSettings,
)
from cmanager.stanza import NS_SASL, NS_STREAMS, Stanza, Tag
from tests.doubles import CONFIGURATION, DOMAIN, FakeClientStream, FakeLink, FakePool
from tests.play import element
from tests.scenes import BIND, BOUND

LOST = LinkError("it was cut")
HEADER = Tag(
    "stream",
    NS_STREAMS,
    "stream",
    {"to": DOMAIN, "version": "1.0"},
    {"": "jabber:client", "stream": NS_STREAMS},
)


def parsed(text: str) -> Stanza:
    """
    Return an element.
    """
    stanza = element(text)
    assert stanza is not None
    return stanza


class Listener(Service):
    """
    A way in that says when it is shut.
    """

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def stopService(self) -> None:
        super().stopService()
        self.log.append("L: stopped")


class RouterTestCase(SynchronousTestCase):
    """
    A router with one server, its links doubles.
    """

    links = 2
    pool: FakePool
    server: dict[str, Any] = {}

    def setUp(self) -> None:
        """
        A router that runs.
        """
        self.clock = Clock()
        self.clock.advance(1000)
        self.log: list[str] = []
        self.settings = Settings(
            tls=TLSSettings(certificates="x"),
            listeners=(),
            servers=(),
            manager=ManagerSettings(name="cm-manager", drain=1.0, grace=2.0),
        )
        self.router = Router(self.clock, self.settings)
        self.pool = FakePool(self.log, self.links, **self.server)
        self.router.addPool(self.pool)
        self.listener = Listener(self.log)
        self.router.addListener(self.listener)
        self.router.startService()
        self.router.configured(self.pool, CONFIGURATION)
        for link in self.pool.links:
            self.router.linkReady(link)

    def connect(self) -> Session:
        """
        Let a client connect, over TLS.
        """
        stream = FakeClientStream(self.log, secure=True)
        session = self.router.openSession(stream)
        stream.session = session
        return session

    def bound(self) -> Session:
        """
        Let a client log in and bind.
        """
        session = self.connect()
        session.streamOpened(HEADER)
        session.stanzaReceived(parsed(f"<auth xmlns='{NS_SASL}' mechanism='PLAIN'/>"))
        self.routed(session, f"<success xmlns='{NS_SASL}'/>")
        session.streamOpened(HEADER)
        session.stanzaReceived(parsed(BIND))
        self.routed(session, BOUND)
        self.assertIs(session.state, State.BOUND)
        del self.log[:]
        return session

    def routed(self, session: Session, text: str) -> None:
        """
        Let something come for a session.
        """
        self.router.routed(self.pool.links[0], session.id, parsed(text))

    def lose(self, number: int) -> None:
        """
        Let a link be lost, as its pool would.
        """
        link = self.pool.links[number]
        link.isReady = False
        link.sessions.clear()
        self.router.linkLost(link, LOST)

    def restore(self, number: int) -> None:
        """
        Let a new link take the place of a lost one.
        """
        self.pool.links[number] = link = FakeLink(self.log, str(number + 5))
        self.router.linkReady(link)

    def advance(self, seconds: int) -> None:
        """
        Let time pass.
        """
        self.clock.pump([1] * seconds)


class HostTests(RouterTestCase):
    """
    Which domain is served by whom.
    """

    def test_interface(self) -> None:
        """
        The router is what sessions expect.
        """
        self.assertTrue(verifyObject(ISessionHub, self.router))

    def test_name(self) -> None:
        """
        Whoever builds a router has chosen a name.
        """
        self.assertRaises(
            LocalError, Router, self.clock, evolve(self.settings, manager=ManagerSettings())
        )

    def test_only(self) -> None:
        """
        No domain means the only one, where there is one.
        """
        self.assertIs(self.router.host(None), self.router.hosts[DOMAIN])
        self.assertIs(self.router.host("mantua.example"), None)
        self.router.addPool(FakePool(domains=("Mantua.example",)))
        self.assertIs(self.router.host(None), None)
        self.assertIs(self.router.host("mantua.example"), self.router.hosts["mantua.example"])

    def test_severalServers(self) -> None:
        """
        One domain may have several servers, one server several domains.
        """
        other = FakePool(domains=(DOMAIN, "mantua.example"))
        self.router.addPool(other)
        self.assertEqual(self.router.hosts[DOMAIN].pools, [self.pool, other])
        self.assertEqual(self.router.hosts["mantua.example"].pools, [other])
        self.router.configured(other, Configuration(TLSPolicy.REQUIRED))
        self.assertIsNot(self.router.hosts["mantua.example"].offer, None)

    def test_settings(self) -> None:
        """
        A host has the settings of its server.
        """
        self.router.addPool(FakePool(domains=("a.example",), rosterVersioning=True, auditAfter=7.0))
        host = self.router.hosts["a.example"]
        self.assertEqual((host.rosterVersioning, host.auditAfter), (True, 7.0))

    def test_reconfigure(self) -> None:
        """
        Limits and client settings change while running.
        """
        self.connect()
        changed = evolve(
            self.settings,
            limits=LimitSettings(sessions=1),
            client=evolve(self.settings.client, loginAttempts=1),
        )
        self.router.reconfigure(changed)
        self.assertEqual(self.router.settings.loginAttempts, 1)
        self.assertRaises(StreamError, self.connect)


class WaitingTests(RouterTestCase):
    """
    Clients that come before there is a link.
    """

    links = 1

    def wait(self) -> Session:
        """
        Connect while no link is ready.
        """
        self.pool.links[0].isReady = False
        session = self.connect()
        session.streamOpened(HEADER)
        self.assertIs(session.state, State.WAITING)
        return session

    def test_linkReady(self) -> None:
        """
        They go on when a link is ready.
        """
        session = self.wait()
        self.pool.links[0].isReady = True
        self.router.linkReady(self.pool.links[0])
        self.assertIs(session.state, State.NEGOTIATING)
        self.advance(20)
        self.assertIs(session.state, State.NEGOTIATING)

    def test_configured(self) -> None:
        """
        They go on when a link that was ready before has brought its configuration.
        """
        session = self.wait()
        self.pool.links[0].isReady = True
        self.router.configured(self.pool, CONFIGURATION)
        self.assertIs(session.state, State.NEGOTIATING)

    def test_gaveUp(self) -> None:
        """
        They wait for C{wait-for-link}, and not longer.
        """
        session = self.wait()
        self.advance(9)
        self.assertIs(session.state, State.WAITING)
        self.advance(2)
        self.assertIs(session.state, State.CLOSING)

    def test_notAtAll(self) -> None:
        """
        With C{wait-for-link = 0} they are turned away at once.
        """
        self.router.hosts[DOMAIN].waitForLink = 0
        self.pool.links[0].isReady = False
        session = self.connect()
        session.streamOpened(HEADER)
        self.assertIs(session.state, State.CLOSING)

    def test_gone(self) -> None:
        """
        One that leaves is waited for no more.
        """
        session = self.wait()
        session.stream.abort()
        self.assertEqual(len(self.router.wheel), 0)
        self.pool.links[0].isReady = True
        self.router.linkReady(self.pool.links[0])
        self.assertIs(session.state, State.CLOSED)


class SessionTests(RouterTestCase):
    """
    Sessions open, log in and close.
    """

    def test_capacity(self) -> None:
        """
        C{limits.sessions} clients are let in, and one more when one has gone.
        """
        self.router.reconfigure(evolve(self.settings, limits=LimitSettings(sessions=1)))
        session = self.connect()
        error = self.assertRaises(StreamError, self.connect)
        self.assertEqual(error.condition, "resource-constraint")
        session.stream.abort()
        self.connect()

    def test_logins(self) -> None:
        """
        Failed logins of an address are counted, and forgotten with a successful one.
        """
        session = self.connect()
        delays = [self.router.loginFailed(session) for _ in range(7)]
        self.assertEqual(delays, [0, 0, 0, 0, 0, 1, 2])
        self.router.loginSucceeded(session)
        self.assertEqual(self.router.loginFailed(session), 0)

    def test_id(self) -> None:
        """
        No stream id tells our name.
        """
        self.assertNotIn("cm-manager", self.connect().id)

    def test_filters(self) -> None:
        """
        Without filters a session has none; with filters it has its chain when bound.
        """
        self.assertIs(self.bound().filters, None)

        @implementer(IStanzaFilter)
        class Plugin:
            name = "plugin"
            made: Any = object()

            def open(self, session: Session, options: Any) -> Any:
                if isinstance(self.made, Exception):
                    raise self.made
                return self.made

        plugin = Plugin()
        self.router.addFilter(plugin, {})
        self.assertIsNot(self.bound().filters, None)
        plugin.made = ZeroDivisionError()
        self.assertRaises(AssertionError, self.bound)
        self.assertEqual(self.router.metrics.value("streams_closed", "internal-server-error"), 1)
        self.flushLoggedErrors(ZeroDivisionError)


class RoutingTests(RouterTestCase):
    """
    What links bring.
    """

    def test_anyLink(self) -> None:
        """
        A stanza reaches its session by whichever link it comes.
        """
        session = self.bound()
        for link in self.pool.links:
            self.router.routed(link, session.id, parsed("<message/>"))
        self.assertEqual(self.log, ["C< <message/>"] * 2)

    def test_unknown(self) -> None:
        """
        What comes for an unknown stream id goes back on the same link.
        """
        self.router.routed(self.pool.links[1], "gone", parsed("<message/>"))
        self.assertEqual(
            self.log,
            ["S2: adopt", "S2: failed <message/>", "S2: forget", "S2: adopt", "S2: close"],
        )

    def test_unknownOnOtherLink(self) -> None:
        """
        A link that is not ready yet may bring something, and cannot take anything.
        """
        self.pool.links[1].isReady = False
        self.router.routed(self.pool.links[1], "gone", parsed("<message/>"))
        self.assertIn("S: failed <message/>", self.log)

    def test_nowhere(self) -> None:
        """
        Without a link, or without an id, it is dropped: an empty id is fatal to a link.
        """
        self.router.routed(self.pool.links[0], "", parsed("<message/>"))
        stranger = FakeLink()
        stranger.isReady = False
        self.router.routed(stranger, "gone", parsed("<message/>"))
        self.assertEqual(self.log, [])
        self.assertEqual(self.router.metrics.value("stanzas_dropped", "unknown-session"), 2)

    def test_bug(self) -> None:
        """
        A bug costs one session, not a link.
        """
        session = self.bound()
        session.stream.deliver = lambda stanza: 1 / 0  # type: ignore[method-assign, assignment, return-value] # a bug
        self.routed(session, "<message/>")
        self.assertIs(session.state, State.CLOSING)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_events(self) -> None:
        """
        Errors, closes and refusals reach their session, and for an unknown one
        nobody.
        """
        link = self.pool.links[0]
        for streamID in (self.bound().id, "gone"):
            self.router.routeFailed(link, streamID, "item-not-found", None)
        for streamID in (self.bound().id, "gone"):
            self.router.closeRequested(link, streamID, None)
        for streamID in (self.bound().id, "gone"):
            self.router.createRefused(link, streamID, "not-allowed")
        self.assertEqual(self.router.table.counts(), {State.CLOSING: 3})


class LinkTests(RouterTestCase):
    """
    Links come and go.
    """

    server = {"linksLostGrace": 5.0}

    def test_repinned(self) -> None:
        """
        Sessions of a lost link move to the others of its server.
        """
        one, two = self.bound(), self.bound()
        self.assertEqual([one.link, two.link], self.pool.links)
        self.lose(0)
        self.assertEqual(self.log, ["S2: adopt"])
        self.assertIs(one.link, self.pool.links[1])
        self.assertEqual(self.router.metrics.value("sessions_repinned"), 1)

    def test_answersLost(self) -> None:
        """
        Whoever is in a login may have been answered over the link that is gone, even if it
        never was ready; who is not, or belongs to another server, is not concerned.
        """
        bound, waiting, other = self.bound(), self.connect(), self.connect()
        for session in (waiting, other):
            session.streamOpened(HEADER)
        waiting.stanzaReceived(parsed(f"<auth xmlns='{NS_SASL}' mechanism='PLAIN'/>"))
        self.router.answersLost(FakePool(self.log))
        self.assertIs(waiting.state, State.NEGOTIATING)
        self.router.answersLost(self.pool)
        self.assertIs(waiting.state, State.CLOSING)
        self.assertEqual((bound.state, other.state), (State.BOUND, State.NEGOTIATING))

    def test_doubtful(self) -> None:
        """
        Where the server may have ended them they ask first.
        """
        session = self.bound()
        self.pool.links[0].isReady = False
        self.router.linkLost(self.pool.links[0], LOST, isDoubtful=True)
        self.assertEqual(self.log[:2], ["C: pause", "S2: adopt"])
        self.assertIn("urn:xmpp:ping", self.log[2])
        self.assertTrue(session.stream.isPaused)  # type: ignore[attr-defined]  # a double

    def doubted(self) -> Session:
        """
        Return a session that asks the server whether it is still there.
        """
        session = self.bound()
        self.pool.links[0].isReady = False
        self.router.linkLost(self.pool.links[0], LOST, isDoubtful=True)
        return session

    def test_unanswered(self) -> None:
        """
        For the answer it waits so long, and no longer.
        """
        session = self.doubted()
        self.advance(int(ANSWER_SECONDS) - 1)
        self.assertIs(session.state, State.BOUND)
        self.advance(2)
        self.assertIs(session.state, State.CLOSING)

    def test_answered(self) -> None:
        """
        Who has it goes on.
        """
        session = self.doubted()
        self.pong(session)
        self.assertEqual(self.log[-1], "C: resume")
        self.advance(int(ANSWER_SECONDS) + 2)
        self.assertIs(session.state, State.BOUND)

    def pong(self, session: Session) -> None:
        """
        Let the server answer.
        """
        (question,) = re.findall(r'id="(cm-[^"]*)"', "".join(self.log))[-1:]
        session.routed(parsed(f"<iq type='result' id='{question}'/>"))

    def test_answeredLate(self) -> None:
        """
        An answer that comes when there is no link again is none.
        """
        session = self.doubted()
        self.lose(1)
        self.pong(session)
        self.assertTrue(session.stream.isPaused)  # type: ignore[attr-defined]  # a double

    def test_askedAnew(self) -> None:
        """
        Who has to ask anew has all the time for that.
        """
        session = self.doubted()
        self.advance(int(ANSWER_SECONDS) - 2)
        self.lose(1)
        self.advance(1)
        self.restore(0)
        self.advance(int(ANSWER_SECONDS) - 2)
        self.assertIs(session.state, State.BOUND)
        self.advance(3)
        self.assertIs(session.state, State.CLOSING)

    def test_left(self) -> None:
        """
        Who leaves before is not waited for.
        """
        session = self.doubted()
        timers = len(self.router.wheel)
        session.transportLost(None)
        self.assertEqual(len(self.router.wheel), timers - 1)

    def test_notToAnotherServer(self) -> None:
        """
        They do not move to a server that does not know them.
        """
        other = FakePool(self.log)
        self.router.addPool(other)
        self.router.linkReady(other.links[0])
        other.links[0].sessions = {str(n): object() for n in range(9)}
        session = self.bound()
        self.lose(0)
        self.lose(1)
        self.assertIs(session.link, None)

    def test_held(self) -> None:
        """
        With all links lost, sessions wait; the next link takes them and asks for them.
        """
        session = self.bound()
        self.lose(1)
        self.lose(0)
        self.assertEqual(self.log, ["C: pause"])
        self.advance(3)
        del self.log[:]
        self.restore(0)
        self.assertEqual(self.log[0], "S5: adopt")
        self.assertIn("urn:xmpp:ping", self.log[1])
        self.assertIs(session.state, State.BOUND)
        self.advance(10)
        self.assertIs(session.state, State.BOUND)

    def test_graceOver(self) -> None:
        """
        They wait for C{links-lost-grace}, and not longer.
        """
        session = self.bound()
        self.lose(1)
        self.lose(0)
        self.advance(4)
        self.assertIs(session.state, State.BOUND)
        self.advance(2)
        self.assertIs(session.state, State.CLOSING)
        self.assertEqual(self.router.metrics.value("streams_closed", "remote-connection-failed"), 1)

    def test_noGrace(self) -> None:
        """
        Without a grace sessions end with the last link.
        """
        self.pool.settings = evolve(self.pool.settings, linksLostGrace=0.0)
        session = self.bound()
        self.lose(1)
        self.assertIs(session.state, State.BOUND)
        self.lose(0)
        self.assertIs(session.state, State.CLOSING)

    def test_leftWhileHeld(self) -> None:
        """
        A client that leaves while it is held is not taken by the next link.
        """
        session = self.bound()
        self.lose(1)
        self.lose(0)
        session.streamClosed()
        self.restore(0)
        self.assertNotIn("S5: adopt", self.log)

    def test_lostAgain(self) -> None:
        """
        A second loss starts a grace of its own.
        """
        session = self.bound()
        self.lose(1)
        self.lose(0)
        self.advance(4)
        self.restore(0)
        self.lose(0)
        self.advance(4)
        self.assertIs(session.state, State.BOUND)
        self.advance(2)
        self.assertIs(session.state, State.CLOSING)

    def test_heldTogether(self) -> None:
        """
        Those that lose their link later wait no longer than the first.
        """
        one, two = self.bound(), self.bound()
        self.pool.links[1].isReady = False
        self.lose(0)
        self.advance(3)
        self.lose(1)
        self.advance(3)
        self.assertEqual((one.state, two.state), (State.CLOSING, State.CLOSING))

    def test_strangers(self) -> None:
        """
        A link of no pool of ours changes nothing.
        """
        session = self.bound()
        self.router.linkReady(FakeLink())
        self.router.linkLost(FakeLink(), LOST)
        self.assertIs(session.link, self.pool.links[0])


class BackPressureTests(RouterTestCase):
    """
    A link that takes no more stops the reading of its clients.
    """

    def isPaused(self, session: Session) -> bool:
        """
        Tell whether a client is not read.
        """
        stream: Any = session.stream
        paused: bool = stream.isPaused
        return paused

    def test_pause(self) -> None:
        """
        Its clients are paused and resumed, all others go on.
        """
        one, two = self.bound(), self.bound()
        self.router.pause(self.pool.links[0])
        self.assertEqual((self.isPaused(one), self.isPaused(two)), (True, False))
        self.router.resume(self.pool.links[0])
        self.assertFalse(self.isPaused(one))

    def test_newcomer(self) -> None:
        """
        A client that is bound on a full link is paused as well.
        """
        for link in self.pool.links:
            self.router.pause(link)
        session = self.bound()
        self.assertTrue(self.isPaused(session))

    def test_fullAgain(self) -> None:
        """
        If the first clients fill the link again, the others are not read.
        """
        one, two = self.bound(), self.bound()
        three = self.bound()
        self.assertIs(one.link, three.link)
        link = self.pool.links[0]
        self.router.pause(link)
        stream: Any = one.stream
        stream.onResume = lambda: self.router.pause(link)
        self.router.resume(link)
        self.assertEqual([self.isPaused(s) for s in (one, two, three)], [True, False, True])

    def test_repinned(self) -> None:
        """
        A client that moves to another link is read as that link allows.
        """
        one, two = self.bound(), self.bound()
        self.router.pause(self.pool.links[0])
        self.lose(0)
        self.assertFalse(self.isPaused(one))
        self.restore(0)
        self.router.pause(self.pool.links[0])
        self.lose(1)
        self.assertEqual((self.isPaused(one), self.isPaused(two)), (True, True))


class AuditTests(RouterTestCase):
    """
    Silent sessions are asked for.
    """

    def test_audit(self) -> None:
        """
        After C{audit-after} of silence the server is asked.
        """
        session = self.bound()
        session.heard = False
        self.advance(610)
        self.assertEqual(self.router.metrics.value("audits"), 1)


class StopTests(RouterTestCase):
    """
    The end comes in stages.
    """

    def stop(self) -> Deferred[None]:
        """
        Stop the router.
        """
        return self.router.stopService()

    def test_nobody(self) -> None:
        """
        Without clients it is done at once: listeners, then links.
        """
        self.successResultOf(self.stop())
        self.assertEqual(self.log, ["L: stopped", "P: stopped"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_drained(self) -> None:
        """
        Clients are told over C{drain} seconds; when the last is gone, the links close.
        """
        sessions = [self.bound() for _ in range(40)]
        del self.log[:]
        stopping = self.stop()
        self.assertEqual(self.log[0], "L: stopped")
        told = [s.state is State.CLOSING for s in sessions]
        self.assertEqual(told, [True] * 2 + [False] * 38)
        self.clock.pump([0.05] * 10)
        self.assertEqual(sum(s.state is State.CLOSING for s in sessions), 22)
        self.clock.pump([0.05] * 10)
        self.assertTrue(all(s.state is State.CLOSING for s in sessions))
        self.assertNoResult(stopping)
        for session in sessions:
            stream: Any = session.stream
            stream.lose()
        self.successResultOf(stopping)
        self.assertEqual(self.log[-1], "P: stopped")
        self.assertEqual(sum(": close" in line and line[0] == "S" for line in self.log), 40)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_grace(self) -> None:
        """
        Clients that do not go are cut after C{grace}; the server hears of each.
        """
        self.bound()
        stopping = self.stop()
        self.clock.pump([0.5] * 3)
        self.assertNoResult(stopping)
        self.clock.advance(0.5)
        self.successResultOf(stopping)
        self.assertEqual(self.log[-3:], ["C: abort", "S: close", "P: stopped"])

    def test_cutLater(self) -> None:
        """
        A transport that is cut says so in a later turn; the links wait for that, and
        the server hears of each session and of what its client did not get.
        """
        session = self.bound()
        stream: Any = session.stream
        stream.isBlocked = True
        self.routed(session, "<message id='1'/>")
        stream.abort = lambda: self.clock.callLater(0, stream.lose)
        stopping = self.stop()
        self.clock.pump([0.5] * 4)
        self.successResultOf(stopping)
        self.assertEqual(self.log[-3:], ['S: failed <message id="1"/>', "S: close", "P: stopped"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_neverCut(self) -> None:
        """
        One that never says so does not hold up the end.
        """
        stream: Any = self.bound().stream
        stream.abort = lambda: None
        stopping = self.stop()
        self.clock.pump([0.5] * 5)
        self.successResultOf(stopping)

    def test_refusedMeanwhile(self) -> None:
        """
        Nobody is let in any more.
        """
        self.bound()
        self.stop()
        error = self.assertRaises(StreamError, self.connect)
        self.assertEqual(error.condition, "system-shutdown")

    def test_failure(self) -> None:
        """
        A part that does not stop is logged and holds up no other.
        """
        self.listener.stopService = lambda: fail(ZeroDivisionError())  # type: ignore[method-assign, return-value, assignment] # a broken one
        self.successResultOf(self.stop())
        self.assertTrue(self.pool.isStopped)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_startAgain(self) -> None:
        """
        Starting what runs starts nothing twice.
        """
        self.router.startService()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_notStarted(self) -> None:
        """
        What never ran can be stopped.
        """
        self.successResultOf(Router(self.clock, self.settings).stopService())


class WebTests(RouterTestCase):
    """
    What HTTP-speaking listeners ask.
    """

    def test_webURLs(self) -> None:
        """
        Where browsers connect is what the configuration says.
        """
        self.assertEqual(self.router.webURLs, ())
        public = PublicSettings(bosh="https://a.example/http-bind")
        router = Router(self.clock, evolve(self.settings, public=public))
        self.assertEqual(router.webURLs, ("https://a.example/http-bind",))


class GaugeTests(RouterTestCase):
    """
    How things stand.
    """

    def test_gauges(self) -> None:
        """
        Sessions by state and by link, links and their readiness.
        """
        self.bound()
        self.router.pause(self.pool.links[0])
        gauges = {name: values for name, _, _, values in self.router.gauges()}
        self.assertEqual(gauges["sessions"]["bound"], 1)
        self.assertEqual(gauges["sessions"]["closing"], 0)
        self.assertEqual(gauges["link_sessions"], {"": 1, "2": 0})
        self.assertEqual(gauges["link_ready"], {"": True, "2": True})
        self.assertEqual(gauges["links_full"], {"": 1})
        self.assertIsNot(registry(self.router.metrics, self.router.gauges), None)
