# Copyright the cmanager authors.
# See LICENSE for details.

"""
The links to one server.  Layer 4.

As many links as configured are kept up: each place in the pool connects, waits
until its link is lost, waits a while and connects again, whether or not there is
traffic.  The pool picks a link for a session and tells the router what happens.
"""

from __future__ import annotations

import random
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from cmanager.config import Security, ServerSettings
from cmanager.errors import LinkError
from cmanager.interfaces import ILinkProtocol
from cmanager.link import Link
from cmanager.linkevents import Configuration, Replied
from cmanager.place import Place
from cmanager.resolve import IServiceResolver, Locator
from cmanager.retry import Repetitions
from cmanager.trust import Attempt, Trust

if TYPE_CHECKING:
    from cmanager.router import Router

PENDING_CREATES = 16384
"""
Announced sessions whose answer is still awaited.  Beyond, the oldest is taken for
accepted: an answer may be lost with the link it came on.
"""

NAME_BYTES = 8
"""
Random bytes of a link's name.
"""


class Pool(Service):
    """
    See L{IPool <cmanager.host.IPool>}; the owner (L{cmanager.linkstream.IOwner}) of its
    links.

    @param reactor: Clock and endpoints come from it.
    @param manager: The name the server knows this process by.
    @param resolver: For SRV records, where no address is configured.
    @param random: Returns a number from 0 up to 1: for waits and for weights.
    @ivar clock: The reactor as a clock.
    @ivar settings: The C{[[server]]} table.
    @ivar configuration: As the server sent it last, L{None} before.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,  # IReactorTime and what endpoints need
        settings: ServerSettings,
        hub: Router,
        *,
        manager: str,
        resolver: IServiceResolver | None = None,
        random: Callable[[], float] = random.random,
    ) -> None:
        self.clock = reactor
        self.settings = settings
        self.hub = hub
        self.random = random
        self.configuration: Configuration | None = None
        self.trust = None if settings.security is Security.PLAIN else Trust(settings)
        self._manager = manager
        self._resolver = resolver
        self._locator: Locator | None = None
        self._places = [Place(self) for _ in range(settings.links)]
        self._repetitions = Repetitions()
        self._requests = 0
        self._creates: OrderedDict[str, str] = OrderedDict()
        if not settings.secret.isascii():
            self._log.warn(
                "the secret of {server} holds characters other than ASCII, which servers on Java"
                " before 18 may hash differently",
                server=self.domains[0],
            )

    @property
    def domains(self) -> tuple[str, ...]:
        """
        The domains this server serves.
        """
        return self.settings.domains

    @property
    def links(self) -> list[Link]:
        """
        All links, those that are being set up too.
        """
        return [place.link for place in self._places if place.link is not None]

    @property
    def isReady(self) -> bool:
        """
        At least one link is ready.
        """
        return any(link.isReady for link in self.links)

    def pick(self) -> Link | None:
        """
        Return the ready link with the fewest sessions.
        """
        ready = [link for link in self.links if link.isReady]
        return min(ready, key=lambda link: link.load) if ready else None

    def startService(self) -> None:
        """
        Begin to connect.
        """
        super().startService()  # type: ignore[no-untyped-call] # Twisted has no types here
        for place in self._places:
            place.start()

    def stopService(self) -> Deferred[Any]:
        """
        Close the links; sessions must have been closed before.

        @return: Fires when all connections are gone.
        """
        super().stopService()  # type: ignore[no-untyped-call] # nor here
        return DeferredList([done for place in self._places if (done := place.stop())])

    # What the places ask.

    async def host(self, failures: int) -> str:
        """
        Return the host to connect to.

        @param failures: In a row; each leads to another host, if there are more.
        """
        if self.settings.host is not None:
            return self.settings.host
        if self._locator is None:
            resolver = self._resolver or _resolver(self.clock)
            self._locator = Locator(self.domains[0], resolver, self.random)
        hosts = await self._locator.hosts()
        # Sessions cannot move from one node of a cluster to another, so links keep together.
        for link in self.links:
            if link.isReady and link.host in hosts:
                return link.host
        return hosts[failures % len(hosts)]

    def endpoint(self, host: str, port: int, tls: Attempt | None) -> IStreamClientEndpoint:
        """
        Return what connects, with TLS at once if so configured.
        """
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self.clock, host, port, timeout=self.settings.setupTimeout
        )
        if tls is not None and self.settings.security is Security.TLS:
            endpoint = wrapClientTLS(tls, endpoint)
        return endpoint

    def newLink(self, host: str, tls: Attempt | None) -> Link:
        """
        Return a link with a name that no other ever had (pitfall S-3).
        """
        name = secrets.token_hex(NAME_BYTES)
        return Link(self, self.clock, self._manager, name, host, tls)

    def attemptFailed(self, error: LinkError) -> None:
        """
        Tell the operator, who may have read it before.
        """
        self.hub.metrics.increment("links_lost")
        if self._repetitions.isWorthALine(error.reason):
            self._log.warn(
                "no link to {server}: {reason}{advice} (attempt {attempt} with this outcome)",
                server=self.domains[0],
                reason=error.reason,
                advice=f"; {error.advice}" if error.advice else "",
                attempt=self._repetitions.count,
            )

    # What the links tell.  See L{IOwner}.

    def newIQ(self, kind: str, streamID: str) -> str:
        """
        See L{IOwner}.
        """
        self._requests += 1
        iqID = f"{kind}-{self._requests:x}"
        if kind == "create":
            self._creates[iqID] = streamID
            if len(self._creates) > PENDING_CREATES:
                self._creates.popitem(last=False)
        return iqID

    def isCreating(self, streamID: str) -> bool:
        """
        See L{IOwner}.
        """
        return streamID in self._creates.values()

    def linkReady(self, link: Link) -> None:
        """
        See L{IOwner}.
        """
        place = self._placeOf(link)
        assert place is not None, "data come after the connection"
        place.ready()
        self._repetitions.forget()
        self.hub.metrics.increment("links_up")
        self._log.info(
            "link {link} to {server} is ready: {host}, {protection}",
            link=link.name,
            server=self.domains[0],
            host=link.host,
            protection=self._protection(link),
        )
        self.hub.linkReady(link)

    def linkLost(self, link: Link, error: LinkError | None) -> None:
        """
        See L{IOwner}.
        """
        place = self._placeOf(link)
        if place is None:
            # Of several addresses of a host another one was faster.
            return
        place.lost()
        if link.isEncrypted or self.settings.security is not Security.TLS:
            # Otherwise the server has not even seen our header.
            self.hub.answersLost(self)
        if error is not None and not link.wasReady:
            self.attemptFailed(error)
        elif link.wasReady:
            self._tellLoss(link, error)
            # A server that has lost them all ends the sessions.  It still had this one when that
            # was heard of last.
            isDoubtful = not any(k.isReady and k.readySince < link.heard for k in self.links)
            reason = error or LinkError("it was closed")
            self.hub.linkLost(link, reason, isDoubtful=isDoubtful)

    def configured(self, link: Link, configuration: Configuration) -> None:
        """
        See L{IOwner}.
        """
        old = self.configuration
        if configuration.mechanisms is None and old is not None:
            configuration = evolve(configuration, mechanisms=old.mechanisms)
        self.configuration = configuration
        self.hub.configured(self, configuration)

    def replied(self, link: Link, reply: Replied) -> None:
        """
        See L{IOwner}.
        """
        iqID = reply.iqID or ""
        streamID = self._creates.pop(iqID, None)
        if reply.condition is None:
            return
        if streamID is not None:
            self.hub.createRefused(link, streamID, reply.condition)
        elif iqID.startswith("failed-"):
            # The server had no such session any more: the message is gone.
            self.hub.metrics.increment("stanzas_dropped", "return-refused")

    def _placeOf(self, link: Link) -> Place | None:
        return next((place for place in self._places if place.link is link), None)

    def _protection(self, link: Link) -> str:
        if not link.isEncrypted:
            return "not encrypted"
        if self.settings.insecure:
            return "encrypted, certificate not checked"
        return f"encrypted, certificate for {self.settings.identity}"

    def _tellLoss(self, link: Link, error: LinkError | None) -> None:
        if error is None:
            self._log.info(
                "link {link} to {server} is closed", link=link.name, server=self.domains[0]
            )
            return
        self.hub.metrics.increment("links_lost")
        self._log.error(
            "link {link} to {server} is lost: {reason}{advice}; stanzas not known to have been"
            " sent: {stanzas}; links left: {left}",
            link=link.name,
            server=self.domains[0],
            reason=error.reason,
            advice=f"; {error.advice}" if error.advice else "",
            stanzas=link.lostStanzas,
            left=sum(other.isReady for other in self.links),
        )


def _resolver(reactor: Any) -> IServiceResolver:
    from twisted.names.client import Resolver

    return Resolver(resolv="/etc/resolv.conf", reactor=reactor)


@implementer(IPlugin, ILinkProtocol)
class Openfire:
    """
    The protocol of Openfire's connection managers.
    """

    name = "openfire"

    def pool(self, reactor: Any, server: ServerSettings, hub: Router) -> Pool:
        """
        See L{ILinkProtocol}.
        """
        return Pool(reactor, server, hub, manager=hub.manager)
