# Copyright the cmanager authors.
# See LICENSE for details.

"""
A link: one stream to a server, shared by many sessions.  Layer 4; looks at no
stanza.

L{LinkStream} sets the stream up and ends it; what sessions write, what the server
sends for them, and the signs of life in between are here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from zope.interface import implementer

from cmanager import diagnosis
from cmanager.clienttls import ClientTLS
from cmanager.diagnosis import Step
from cmanager.errors import LinkError
from cmanager.framing import Routes
from cmanager.interfaces import ILink
from cmanager.linkevents import (
    CloseRequested,
    Configured,
    Replied,
    RouteFailed,
    Unreadable,
)
from cmanager.linkstream import LinkStream
from cmanager.memory import REMEMBERED_BYTES, REMEMBERED_ROUTES, abridged, recalled
from cmanager.multiplex import MAX_UPWARD_BYTES, ClientHeader
from cmanager.routes import ROUTE_IDS
from cmanager.stanza import Stanza, escapeAttribute

if TYPE_CHECKING:
    from cmanager.session import Session
    from cmanager.table import Ghost


@implementer(ILink)
class Link(LinkStream):
    """
    See L{ILink}.
    """

    _log = Logger()

    def __init__(self, *arguments: Any) -> None:
        """
        See L{LinkStream}.
        """
        super().__init__(*arguments)
        self._routes = Routes(self._writer.routeHead, REMEMBERED_ROUTES)
        self.load = 0
        self._inputs |= {
            Configured: self._configured,
            RouteFailed: self._routeFailed,
            Unreadable: self._unreadable,
            CloseRequested: self._closeRequested,
            Replied: self._replied,
        }

    # What sessions ask.

    def open(self, session: Session) -> None:
        """
        See L{ILink}.
        """
        self.load += 1
        if self.isReady:
            self._funnel.write(self._create(session))

    def _create(self, session: Session) -> bytes:
        """
        Announce a session, with whatever the server has asked to be told.
        """
        stream, host, configuration = session.stream, session.host, self.owner.configuration
        tls, header = None, None
        if configuration is not None and host is not None:
            asked = configuration.forDomain(host.domain).tls
            if asked is not None and stream.secure:
                # A stream may be encrypted by somebody else, of whom nothing is known.
                tls = (stream.tlsFacts() or ClientTLS()).limitedTo(asked.usable)
            if configuration.knowsStreams:
                header = ClientHeader(host.domain, session.lang)
        iqID = self.owner.newIQ("create", session.id)
        return self._writer.create(session.id, iqID, stream.peer, tls=tls, stream=header)

    def isCreating(self, session: Session) -> bool:
        """
        See L{ILink}.
        """
        return self.owner.isCreating(session.id)

    def adopt(self, session: Session | Ghost) -> None:
        """
        See L{ILink}.
        """
        self.load += 1

    def route(self, session: Session | Ghost, stanza: Stanza) -> None:
        """
        See L{ILink}.
        """
        if not self.isReady:
            self._hub.metrics.increment("stanzas_lost_in_link")
            return
        data = stanza.data
        if len(data) <= REMEMBERED_BYTES:
            route = self._routes.wrap(session.wireID, data)
        elif self._isTooLarge(stanza):
            return
        else:
            route = self._routes.wrap(session.wireID, data, abridged(stanza))
        self._funnel.stanzas += 1
        self._funnel.write(route)

    def fail(self, session: Session | Ghost, stanza: Stanza) -> None:
        """
        See L{ILink}.
        """
        if not self.isReady:
            self._hub.metrics.increment("stanzas_lost_in_link")
            return
        if self._isTooLarge(stanza):
            return
        self._funnel.stanzas += 1
        iqID = self.owner.newIQ("failed", session.id)
        self._funnel.write(self._writer.failed(session.id, iqID, stanza))

    def close(self, session: Session | Ghost) -> None:
        """
        See L{ILink}.
        """
        self.load -= 1
        if self.isReady:
            iqID = self.owner.newIQ("close", session.id)
            self._funnel.write(self._writer.close(session.id, iqID))

    def forget(self, session: Session | Ghost) -> None:
        """
        See L{ILink}.
        """
        self.load -= 1

    def _isTooLarge(self, stanza: Stanza) -> bool:
        """
        Tell whether an element would end the link.  Clients are kept below that; what
        is returned to the server has the size somebody far away gave it.
        """
        if len(stanza.data) <= MAX_UPWARD_BYTES:
            return False
        self._hub.metrics.increment("stanzas_dropped", "too-large")
        return True

    # What the stream tells.

    def _ready(self) -> None:
        settings = self._settings
        self._timers["heartbeat"] = self._clock.callLater(settings.heartbeat, self._beat)
        self._timers["silence"] = self._clock.callLater(settings.deadAfter, self._listen)
        self.owner.linkReady(self)

    def _lost(self, error: LinkError | None) -> None:
        self.load = 0
        self.owner.linkLost(self, error)

    def _pause(self) -> None:
        self._hub.pause(self)

    def _resume(self) -> None:
        self._hub.resume(self)

    # What the server sends.  Routes and closes may come before the handshake is done
    # (docs/wire.rst).

    def _configured(self, event: Configured) -> None:
        # Only a server that has accepted us says what to offer.
        if self.step is Step.READY:
            if event.iqID is not None:
                self._funnel.write(self._writer.result(event.iqID))
            self.owner.configured(self, event.configuration)

    def _closeRequested(self, event: CloseRequested) -> None:
        # Before the handshake the server would only refuse the answer.
        if self.step is Step.READY and event.iqID is not None:
            self._funnel.write(self._writer.result(event.iqID))
        self._hub.closeRequested(self, event.streamID, event.error)

    def _routeFailed(self, event: RouteFailed) -> None:
        self._hub.routeFailed(self, event.streamID, event.condition, self._sent(event))

    def _sent(self, event: RouteFailed) -> Stanza | None:
        try:
            number = int(event.routeID or "", 16)
        except ValueError:
            return None
        tag = self._routes.sent(ROUTE_IDS % (escapeAttribute(event.streamID), number))
        return None if tag is None else recalled(tag)

    def _unreadable(self, event: Unreadable) -> None:
        self._hub.metrics.increment("stanzas_dropped", "unreadable")
        self._log.warn("link {link}: a route holds text that cannot be read", link=self.name)

    def _replied(self, event: Replied) -> None:
        self.owner.replied(self, event)

    # Time.

    def _beat(self) -> None:
        self._timers["heartbeat"] = self._clock.callLater(self._settings.heartbeat, self._beat)
        self._funnel.write(b" ")

    def _listen(self) -> None:
        left = self.heard + self._settings.deadAfter - self._clock.seconds()
        # If it was this process that stood still, what came meanwhile has yet to be read.
        if left > 0:
            self._timers["silence"] = self._clock.callLater(left, self._listen)
        else:
            self._timers["silence"] = self._clock.callLater(0, self._despair, self.heard)

    def _despair(self, heard: float) -> None:
        if self.heard == heard:
            self.lose(diagnosis.silent(self._settings.deadAfter))
        else:
            self._listen()
