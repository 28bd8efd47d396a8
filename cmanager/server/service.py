# Copyright the cmanager authors.
# See LICENSE for details.

"""
The server as one service: what it is made of, where a client's elements go, and the
knobs that tests turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from wokkel.xmppim import RosterItem

from cmanager.errors import ConfigError
from cmanager.linkevents import Configuration, TLSPolicy
from cmanager.server.accounts import Store
from cmanager.server.configuration import Offer
from cmanager.server.elements import Element, StanzaError, address, streamError
from cmanager.server.inbound import Inbound
from cmanager.server.management import Management, Managers, closeOf, routeOf
from cmanager.server.messages import Messages
from cmanager.server.multiplexer import Habits, Link, LinkFactory
from cmanager.server.presence import Presences
from cmanager.server.queries import Queries
from cmanager.server.roster import Rosters
from cmanager.server.sasl import MECHANISMS, prepared
from cmanager.server.sessions import ClientSession, Sessions
from cmanager.stanza import escapeText

OFFERED = tuple(name for name in MECHANISMS if name != "ANONYMOUS")


@frozen
class ServerOptions:
    """
    What may differ from one server to another.

    @ivar secret: Shared with the managers; C{""}: not set, so that none can come.
    @ivar endpoint: Where links come in; L{None}: nowhere, tests make them.
    @ivar linkTLS: STARTTLS on links, which needs C{linkCertificate}, a context factory.
    @ivar retries: Failed logins until a session is ended.
    @ivar grace: Seconds that sessions outlive the last link of their manager; L{None}:
        they stay for ever, as ghosts (Openfire 5).
    @ivar heartbeat: Seconds between two spaces on a link.
    @ivar linkIdle: Seconds after which a silent link is ended.
    @ivar sessions: Sessions at once.
    @ivar resources: Sessions of one account at once.
    @ivar links: Connections of managers at once.
    @ivar seed: Of the lot that picks the links of answers.
    """

    domain: str = "localhost"
    secret: str = field(default="", repr=False)
    endpoint: str | None = "tcp:5262:interface=127.0.0.1"
    habits: Habits = field(default=Habits.OPENFIRE_4_8, converter=Habits)
    linkTLS: TLSPolicy = TLSPolicy.DISABLED
    linkCertificate: Any = None  # a context factory, of whatever kind
    retries: int = 3
    grace: float | None = 0.0
    heartbeat: float = 30.0
    linkIdle: float = 300.0
    sessions: int = 100000
    resources: int = 100
    links: int = 1000
    seed: int | None = None


class Server(Service):
    """
    An XMPP server whose clients come over links.

    @ivar clock: The reactor, for the time.
    @ivar configuration: What managers are told to offer, when their links become ready.
    @ivar domains: The same for further domains, which the server does not serve.
    @ivar offer: What the extensions bring, if the habits have them.
    @ivar connections: All links, also those that have not said who they are.
    @ivar onBytes: Called with each link and what has come in on it, before it is read.
    @ivar port: Where it listens.
    """

    def __init__(self, reactor: Any, settings: ServerOptions, store: Store | None = None) -> None:
        self.clock = reactor
        self.settings = settings
        self.domain = settings.domain
        self.store = store or Store()
        self.configuration = Configuration(TLSPolicy.OPTIONAL, OFFERED)
        self.domains: dict[str, Configuration] = {}
        self.offer = Offer() if settings.habits.hasExtensions else None
        self.sessions = Sessions()
        self.managers = Managers(settings.seed)
        self.management = Management(self)
        self.rosters = Rosters(self)
        self.presences = Presences(self)
        self.messages = Messages(self)
        self.queries = Queries(self)
        self.inbound = Inbound(self)
        self.factory = LinkFactory(self)
        self.connections: set[Link] = set()
        self.onBytes: Callable[[Link, bytes], None] | None = None
        self.port: IListeningPort | None = None
        self._refuses = False
        self._number = 0
        self._graces: dict[str, Any] = {}
        self._heart = LoopingCall(self._beat)
        self._heart.clock = reactor

    # Service

    def privilegedStartService(self) -> None:
        """
        Listen.

        @raise ConfigError: It cannot.
        """
        if self.settings.endpoint is None or self.port is not None:
            return
        endpoint = serverFromString(self.clock, self.settings.endpoint)
        reasons: list[Failure] = []
        endpoint.listen(self.factory).addCallbacks(self._listening, reasons.append)
        for reason in reasons:
            raise ConfigError([f"links cannot come in: {reason.getErrorMessage()}"])

    def _listening(self, port: IListeningPort) -> None:
        self.port = port

    def startService(self) -> None:
        """
        Listen, and keep links alive.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        self.privilegedStartService()
        self._heart.start(self.settings.heartbeat, now=False)

    def stopService(self) -> Deferred[None]:
        """
        Tell every manager that this is the end.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        if self._heart.running:
            self._heart.stop()
        for link in list(self.connections):
            link.fail("system-shutdown")
        for timer in self._graces.values():
            timer.cancel()
        self._graces.clear()
        port, self.port = self.port, None
        stopping = port.stopListening() if port is not None else None
        return stopping if stopping is not None else succeed(None)

    def _beat(self) -> None:
        for link in list(self.connections):
            if self.clock.seconds() - link.lastHeard >= self.settings.linkIdle:
                link.fail("connection-timeout")
            elif link.manager:
                link.write(" ")

    # Links

    def newID(self) -> str:
        """
        Return an ID for a request of ours.
        """
        self._number += 1
        return f"s{self._number}"

    def linkLost(self, link: Link) -> None:
        """
        A link is gone; with a manager's last one go its sessions.
        """
        self.connections.discard(link)
        if self.managers.remove(link):
            grace = self.settings.grace
            if grace == 0:
                self._managerLost(link.manager)
            elif grace is not None and link.manager not in self._graces:
                timer = self.clock.callLater(grace, self._managerLost, link.manager)
                self._graces[link.manager] = timer

    def _managerLost(self, manager: str) -> None:
        self._graces.pop(manager, None)
        if not self.managers.links(manager):
            for session in self.sessions.ofManager(manager):
                self.forget(session)

    # Sessions

    def create(self, session: ClientSession) -> None:
        """
        A manager announces a session.

        @raise StanzaError: It is refused.
        """
        if self._refuses:
            raise StanzaError("not-allowed")
        old = self.sessions.get(session.manager, session.id)
        if old is not None:
            self.forget(old)
        if len(self.sessions) >= self.settings.sessions:
            raise StanzaError("resource-constraint")
        self.sessions.add(session)

    def forget(self, session: ClientSession) -> None:
        """
        A session is over, and its manager knows.
        """
        if self.sessions.get(session.manager, session.id) is session:
            self.presences.leave(session)
            self.sessions.remove(session)

    def end(self, session: ClientSession, condition: str | None = None) -> None:
        """
        End a session.  What its manager is told depends on the habits; see
        C{docs/wire.rst}.
        """
        habits, bound = self.settings.habits, session.resource is not None
        error = streamError(condition) if condition is not None else ""
        if error and (bound or habits.announcesEnds):
            self.sendText(session, error)
        if not bound or habits.announcesEnds:
            inside = error if habits.isRecent else ""
            link = self.managers.chosen(session.manager, session.id)
            if link is not None:
                iqID = self.newID()
                link.write(closeOf(self.domain, session.manager, session.id, iqID, inside))
        self.forget(session)

    def send(self, session: ClientSession, stanza: Element | None, to: str | None = None) -> bool:
        """
        Send a stanza to a session.

        @param to: The address to put on it.
        @return: L{False} if there is no link to its manager.
        """
        if stanza is None:
            return False
        if to is not None:
            stanza["to"] = to
        return self._down(session, stanza.toXml())

    def sendText(self, session: ClientSession, xml: str) -> bool:
        """
        Send what is no stanza.  COMPAT Openfire >= 4.8 escapes it.
        """
        recent = self.settings.habits.isRecent
        return self._down(session, escapeText(xml).decode() if recent else xml)

    def _down(self, session: ClientSession, content: str) -> bool:
        link = self.managers.chosen(session.manager, session.id)
        if link is None:
            return False
        link.write(routeOf(self.domain, session.manager, session.id, content))
        return True

    # Administration

    def addAccount(self, name: str, password: str) -> None:
        """
        Make an account, or give it another password.
        """
        self.store.setAccount(prepared(name), password)

    def removeAccount(self, name: str) -> None:
        """
        Remove an account; its sessions and subscriptions end.
        """
        for item in self.store.contacts(name):
            self.rosters.remove(name, item)
        for session in self.sessions.of(name):
            self.end(session, "not-authorized")
        self.store.removeAccount(name)

    def befriend(self, name: str, other: str) -> None:
        """
        Let two accounts be on each other's roster, seeing each other.
        """
        for owner, contact in ((name, other), (other, name)):
            jid = address(f"{contact}@{self.domain}")
            known = self.store.contact(owner, jid.full()) or RosterItem(jid, name=contact.title())
            known.subscriptionTo = known.subscriptionFrom = True
            self.store.putContact(owner, known)

    def kick(self, jid: str, error: str | None = None, *, silent: bool = False) -> int:
        """
        End the sessions of an address, bare or full.

        @param error: Condition of the stream error.
        @param silent: Tell the manager nothing at all, whatever the habits.
        @return: How many sessions that were.
        """
        wanted = address(jid)
        sessions = [
            session
            for session in self.sessions.of(wanted.user)
            if wanted.resource in (None, session.resource)
        ]
        for session in sessions:
            if silent:
                self.forget(session)
            else:
                self.end(session, error)
        return len(sessions)

    def refuseCreates(self, refuses: bool) -> None:
        """
        Refuse all new sessions, or accept them again.
        """
        self._refuses = refuses

    def setConfiguration(self, **changes: Any) -> None:
        """
        Change what managers are told to offer: fields of L{Configuration}.  As with the
        real server, only links that become ready afterwards are told, but with habits
        of our own all are.
        """
        self.configuration = evolve(self.configuration, **changes)
        for link in self.managers.links() if self.settings.habits.hasExtensions else ():
            if link.isReady:
                link.configure()

    def stopReading(self, link: Link) -> None:
        """
        Let a link be a black hole.
        """
        link.stopReading()

    def dropLink(self, link: Link) -> None:
        """
        Break a link.
        """
        link.cut()
