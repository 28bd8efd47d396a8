# Copyright the cmanager authors.
# See LICENSE for details.

"""
Holds the parts together: finds the domain and the link for a session, the session
for what a link brings, and new links for sessions that lost theirs.  Layer 3;
opens no socket and reads no stanza.  C{docs/routing.rst} has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from cmanager.audit import Auditor
from cmanager.chain import compose
from cmanager.commons import shareOf
from cmanager.directory import Directory
from cmanager.discovery import publicURLs
from cmanager.errors import LinkError, LocalError, StanzaError, StreamError
from cmanager.ghosts import Ghosts
from cmanager.grace import Grace
from cmanager.host import Host, IPool
from cmanager.interfaces import ISessionHub
from cmanager.jid import prepareDomain
from cmanager.leaving import Leaving
from cmanager.limits import AddressLimits
from cmanager.metrics import Gauge, Metrics
from cmanager.multiplex import Configuration
from cmanager.session import FULL, Session, State
from cmanager.stanza import Stanza
from cmanager.table import Table
from cmanager.turn import Turn
from cmanager.wheel import Timer, Wheel

if TYPE_CHECKING:
    from cmanager.crew import Crew
    from cmanager.interfaces import IClientStream, ILink, IStanzaFilter
    from cmanager.settings import Settings


@implementer(ISessionHub)
class Router(MultiService):
    """
    See L{ISessionHub}; links and pools tell it what happens to them.

    @param reactor: For its clock.
    @param settings: With the name of the manager filled in.
    @param tls: The certificate store, for listeners.
    @ivar settings: Those of C{[client]}.
    @ivar manager: Our name on the links.
    @ivar crew: The other processes of this manager's, if there are any.
    @ivar share: What is counted together with them.
    @ivar hosts: By prepared domain.
    @ivar wheel: Time-outs of all clients.
    @ivar turn: In which clients are read.
    @ivar limits: Limits by address.
    @ivar webURLs: Where browsers are told to connect.
    @ivar bosh: The streams of BOSH, whatever listener a request for them comes in by.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, settings: Settings, tls: Any = None, crew: Crew | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        if settings.manager.name is None:
            raise LocalError("the manager has no name")
        self._reactor = reactor
        self.settings = settings.client
        self.tls = tls
        self.crew = crew
        self.webURLs = publicURLs(settings)
        self.manager: str = settings.manager.name
        self.metrics = Metrics()
        share = self.share = shareOf(crew, settings.limits.addresses)
        self.table = Table(settings.limits.sessions, self.manager, share.room)
        self.limits = AddressLimits(settings.limits, reactor.seconds, share.addresses)
        self._leaving = Leaving(reactor, self.table, settings.manager)
        self.wheel = Wheel(reactor.seconds)
        self.turn = Turn(reactor)
        self.bosh = Directory(settings.bosh, None if crew is None else crew.slot)
        self.hosts: dict[str, Host] = {}
        self._pools: list[IPool] = []
        self._listeners: list[IService] = []
        self._filters: list[tuple[IStanzaFilter, Mapping[str, Any]]] = []
        self._ghosts = Ghosts(self.metrics, reactor.seconds)
        self._grace = Grace(self.wheel)
        self._auditor = Auditor(self.table, reactor.seconds)
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor
        # Each of these holds sessions of the table, or links, and so is bounded by them.
        self._waiting: dict[Host, dict[Session, Timer]] = {}
        self._full: set[ILink] = set()
        self._poolOf: dict[ILink, IPool] = {}
        self._isStopping = False

    # Building, see cmanager.tap.

    def addFilter(self, filter_: IStanzaFilter, options: Mapping[str, Any]) -> None:
        """
        Add a stanza filter behind those there are.
        """
        self._filters.append((filter_, options))

    def addPool(self, pool: IPool) -> None:
        """
        Add the links to a server.
        """
        settings = pool.settings
        self._pools.append(pool)
        for domain in pool.domains:
            prepared = prepareDomain(domain)
            host = self.hosts.get(prepared)
            if host is None:
                host = self.hosts[prepared] = Host(
                    prepared,
                    rosterVersioning=settings.rosterVersioning,
                    waitForLink=settings.waitForLink,
                    linksLostGrace=settings.linksLostGrace,
                    auditAfter=settings.auditAfter,
                )
            host.pools.append(pool)
        pool.setServiceParent(self)

    def addListener(self, listener: IService) -> None:
        """
        Add a way in.
        """
        self._listeners.append(listener)
        listener.setServiceParent(self)

    def reconfigure(self, settings: Settings) -> None:
        """
        Take over what may change while running: C{[client]}, C{[bosh]} and C{[limits]}.
        """
        self.settings = settings.client
        self.bosh.settings = settings.bosh
        self.limits.settings = settings.limits
        self.table.capacity = settings.limits.sessions

    # Starting and stopping.

    def startService(self) -> None:
        """
        Links first: until one is ready, clients wait.
        """
        if not self._ticking.running:
            self._ticking.start(self.wheel.granularity, now=False)
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's

    def stopService(self) -> Deferred[None]:
        """
        Stop listening; have all clients leave; close the links.
        """
        self._isStopping = True
        return ensureDeferred(self._stop())

    async def _stop(self) -> None:
        await self._stopAll(self._listeners)
        await self._leaving.begin()
        self.running = 0
        await self._stopAll(
            [service for service in self.services if service not in self._listeners]
        )
        if self._ticking.running:
            self._ticking.stop()

    async def _stopAll(self, services: list[IService]) -> None:
        stopping = [maybeDeferred(service.stopService) for service in services]
        for deferred in stopping:
            deferred.addErrback(lambda failure: self.log.failure("a service did not stop", failure))
        await DeferredList(stopping)

    def _tick(self) -> None:
        self.wheel.tick()
        self._auditor.tick(self.hosts.values())

    # What listeners ask.

    def openSession(self, stream: IClientStream) -> Session:
        """
        Make the session of a new stream.

        @raise StreamError: There are too many, or we are about to stop.
        """
        if self._isStopping:
            raise StreamError("system-shutdown")
        session = Session(stream, self)
        self.table.add(session)
        return session

    # What sessions ask.  See ISessionHub.

    def host(self, domain: str | None) -> Host | None:
        """
        See L{ISessionHub}.
        """
        if domain is None:
            return next(iter(self.hosts.values())) if len(self.hosts) == 1 else None
        return self.hosts.get(domain)

    def awaitHost(self, session: Session, host: Host) -> None:
        """
        See L{ISessionHub}.
        """
        if host.waitForLink <= 0:
            session.hostUnavailable()
            return
        timer = self.wheel.schedule(host.waitForLink, lambda: self._gaveUp(session, host))
        self._waiting.setdefault(host, {})[session] = timer

    def _gaveUp(self, session: Session, host: Host) -> None:
        self._waiting.get(host, {}).pop(session, None)
        session.hostUnavailable()

    def awaitAnswer(self, session: Session) -> None:
        """
        See L{ISessionHub}.
        """
        self._grace.ask(session)

    def answered(self, session: Session) -> None:
        """
        See L{ISessionHub}.
        """
        self._grace.answered(session)

    def loginFailed(self, session: Session) -> float:
        """
        See L{ISessionHub}.
        """
        return self.limits.loginFailed(session.stream.peer)

    def loginSucceeded(self, session: Session) -> None:
        """
        See L{ISessionHub}.
        """
        self.limits.loginSucceeded(session.stream.peer)

    def sessionBound(self, session: Session) -> None:
        """
        See L{ISessionHub}.
        """
        if session.link in self._full:
            session.hold(FULL)
        if self._filters:
            try:
                session.filters = compose(self._filters, session, self.metrics)
            except StanzaError:
                session.end(StreamError("internal-server-error", reason="a filter failed"))

    def sessionClosed(self, session: Session) -> None:
        """
        See L{ISessionHub}.
        """
        self.table.remove(session)
        self._grace.answered(session)
        if session.host is not None:
            timer = self._waiting.get(session.host, {}).pop(session, None)
            if timer is not None:
                timer.cancel()
        self._leaving.sessionClosed()

    # What pools and links tell.

    def configured(self, pool: IPool, configuration: Configuration) -> None:
        """
        A server has said what its clients may be offered.
        """
        for host in self._hostsOf(pool):
            host.configured(configuration)
            self._wake(host)

    def linkReady(self, link: ILink) -> None:
        """
        A link can be used.
        """
        pool = self._findPool(link)
        if pool is None:
            return
        self._poolOf[link] = pool
        for session in self._grace.release(pool):
            if session.state is State.BOUND:
                self._repin(session, pool.pick() or link)
        for host in self._hostsOf(pool):
            self._wake(host)

    def _wake(self, host: Host) -> None:
        if host.isReady:
            for session, timer in self._waiting.pop(host, {}).items():
                timer.cancel()
                session.hostReady()

    def linkLost(self, link: ILink, error: LinkError, *, isDoubtful: bool = False) -> None:
        """
        A link that was ready is gone.  Its sessions move to another of the same
        server, which still knows them (PROTOCOL section 13.5); or wait for one.

        @param isDoubtful: See L{Session.relinked}.
        """
        pool = self._poolOf.pop(link, None)
        if pool is None:
            # It was never ready: nobody could be pinned to it.
            return
        self._full.discard(link)
        left: list[Session] = []
        for session in self.table.pinned(link):
            target = pool.pick()
            if target is not None:
                self._repin(session, target, isDoubtful=isDoubtful)
            else:
                session.linkLost()
                left.append(session)
        self._grace.hold(pool, left)

    def answersLost(self, pool: IPool) -> None:
        """
        A link is gone, which perhaps never was ready.  Who waits for an answer may have been
        answered over it: a server uses all links from their first header on.
        """
        for link in pool.links:
            for session in self.table.pinned(link):
                session.answerLost()

    def _repin(self, session: Session, link: ILink, *, isDoubtful: bool = False) -> None:
        self.metrics.increment("sessions_repinned")
        session.relinked(link, isDoubtful=isDoubtful)
        if link in self._full:
            session.hold(FULL)
        else:
            session.release(FULL)

    def routed(self, link: ILink, streamID: str, stanza: Stanza) -> None:
        """
        A link has brought an element.  Any link may, for any session of its server.
        """
        session = self.table.get(streamID)
        if session is None:
            self._routedToGhost(link, streamID, stanza)
            return
        try:
            session.routed(stanza)
        except Exception:  # noqa: BLE001 - a bug must cost one session, not a link
            self.log.failure("session of {peer} failed", peer=session.stream.peer)
            session.end(StreamError("internal-server-error"))

    def _routedToGhost(self, link: ILink, streamID: str, stanza: Stanza) -> None:
        ready = self._readyFor(link)
        if ready is None or not streamID:
            self.metrics.increment("stanzas_dropped", "unknown-session")
        else:
            self._ghosts.routed(ready, streamID, stanza)

    def routeFailed(self, link: ILink, streamID: str, condition: str, sent: Stanza | None) -> None:
        """
        The server could not take what was routed to it.
        """
        session = self.table.get(streamID)
        if session is not None:
            session.routeFailed(condition, sent)

    def closeRequested(self, link: ILink, streamID: str, error: StreamError | None) -> None:
        """
        The server ends a session.
        """
        session = self.table.get(streamID)
        if session is not None:
            session.closeRequested(error)

    def createRefused(self, link: ILink, streamID: str, condition: str) -> None:
        """
        The server has refused a session.
        """
        session = self.table.get(streamID)
        if session is not None:
            session.linkRefused(condition)

    def pause(self, link: ILink) -> None:
        """
        A link takes no more for the moment: read none of its clients.
        """
        self._full.add(link)
        for session in self.table.pinned(link):
            session.hold(FULL)

    def resume(self, link: ILink) -> None:
        """
        It takes more.
        """
        self._full.discard(link)
        for session in self.table.pinned(link):
            if link in self._full:
                # What those before had to say has filled it again.
                break
            session.release(FULL)

    def _hostsOf(self, pool: IPool) -> list[Host]:
        return [host for host in self.hosts.values() if pool in host.pools]

    def _findPool(self, link: ILink) -> IPool | None:
        return next((pool for pool in self._pools if link in pool.links), None)

    def _readyFor(self, link: ILink) -> ILink | None:
        """
        Return C{link}, or if it is not ready, another to the same server.
        """
        if link.isReady:
            return link
        pool = self._findPool(link)
        return pool.pick() if pool is not None else None

    # For whoever watches.

    def gauges(self) -> list[Gauge]:
        """
        Return how things stand; see L{cmanager.metrics}.
        """
        links = [link for pool in self._pools for link in pool.links]
        states = dict.fromkeys(State, 0) | self.table.counts()
        return [
            (
                "sessions",
                "Clients, by state.",
                "state",
                {state.value: count for state, count in states.items()},
            ),
            ("sessions_limit", "Most clients at once.", "", {"": self.table.capacity}),
            ("strangers", "Connections without a client's stream.", "", {"": self.table.strangers}),
            ("link_sessions", "Clients on a link.", "link", {k.name: k.load for k in links}),
            ("link_ready", "Links, 1 if ready.", "link", {k.name: k.isReady for k in links}),
            ("links_full", "Links that take no more for now.", "", {"": len(self._full)}),
        ]
