# Copyright the cmanager authors.
# See LICENSE for details.

"""
The stream to a server beneath a link: its set-up, step by step, and its end.
Layer 4; knows no session.

The stream is opened, encrypted if so configured, and authenticated; then it is
ready.  It ends once, for good: another attempt is another link with another name,
because a server may still hold the old one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cmanager import diagnosis
from cmanager.config import Security, ServerSettings
from cmanager.diagnosis import Step
from cmanager.errors import LinkError, StreamError
from cmanager.funnel import Funnel
from cmanager.linkevents import (
    Accepted,
    Configuration,
    Features,
    LinkEvent,
    Proceed,
    Replied,
    Routed,
    ServerError,
    StreamClosed,
    StreamOpened,
    TLSFailure,
)
from cmanager.multiplex import STARTTLS, LinkReader, LinkWriter

if TYPE_CHECKING:
    from cmanager.link import Link
    from cmanager.router import Router
    from cmanager.trust import Attempt

_READY, _LOST = Step.READY, Step.LOST  # to look a member up costs as much as a call

CLOSE_SECONDS = 5.0
"""
How long the server has to take and answer our footer.
"""


class IOwner(TypingProtocol):
    """
    What a link asks of its pool.
    """

    @property
    def settings(self) -> ServerSettings:
        """
        The C{[[server]]} table.
        """

    @property
    def hub(self) -> Router:
        """
        Who is told what the link receives.
        """

    @property
    def configuration(self) -> Configuration | None:
        """
        What the server has said last, on whichever link.
        """

    def isCreating(self, streamID: str) -> bool:
        """
        The C{create} of a session is not answered yet.
        """

    def newIQ(self, kind: str, streamID: str) -> str:
        """
        Return an id for a request, unique among all links of the pool.

        @param kind: C{"create"}, C{"close"} or C{"failed"}.
        """

    def linkReady(self, link: Link) -> None:
        """
        The server has accepted the handshake.
        """

    def linkLost(self, link: Link, error: LinkError | None) -> None:
        """
        Called once, last: nothing that is written from here on arrives.

        @param error: L{None} for a link that was asked to L{shutdown <Link.shutdown>}.
        """

    def configured(self, link: Link, configuration: Configuration) -> None:
        """
        The server has sent its configuration on this link.
        """

    def replied(self, link: Link, reply: Replied) -> None:
        """
        The server has answered a request of some link of the pool.
        """


@implementer(IHandshakeListener)
class LinkStream(Protocol, ABC):
    """
    What L{Link} is built on.

    @ivar owner: Its pool.
    @ivar host: The server's host; for logs.
    @ivar step: What it waits for.
    @ivar isEncrypted: TLS is done and the certificate accepted.
    @ivar isReady: See L{ILink <cmanager.interfaces.ILink>}.
    @ivar wasReady: It is, or has been.
    @ivar name: See there.
    @ivar heard: When anything came in last, on the clock.
    @ivar readySince: On the same.
    @ivar lostStanzas: When it is lost: how many are not known to have been sent.
    """

    _log = Logger()
    transport: Any  # ITCPTransport, and ITLSTransport unless it is TLS already

    def __init__(  # noqa: PLR0917 # Link passes them on
        self, owner: IOwner, clock: Any, manager: str, name: str, host: str, tls: Attempt | None
    ) -> None:
        """
        @param clock: L{IReactorTime <twisted.internet.interfaces.IReactorTime>}.
        @param name: The link's own part of its address; never used before.
        @param tls: Needed unless security is C{plain}.
        """
        settings = owner.settings
        self.owner = owner
        self.host = host
        self.step = Step.CONNECTING
        self.isReady = self.wasReady = False
        self.isEncrypted = False
        self.lostStanzas = 0
        self._clock = clock
        self._settings = settings
        self._hub = owner.hub
        self._tls = tls
        self._writer = LinkWriter(manager, name, settings.domains[0])
        self._reader = LinkReader(settings.stanzaBytes)
        self._funnel = Funnel(
            clock,
            owner.hub.turn,
            stalledAfter=settings.stalledAfter,
            pause=self._pause,
            resume=self._resume,
            give=self.lose,
        )
        self.name = self._writer.address
        self._streamID: str | None = None
        self._isConnected = False
        self._waiting: list[Deferred[None]] = []
        self.heard = self.readySince = 0.0
        self._timers: dict[str, Any] = {}  # IDelayedCall by purpose
        self._inputs: dict[type, Callable[[Any], None]] = {
            StreamOpened: self._streamOpened,
            Features: self._features,
            Proceed: self._proceed,
            TLSFailure: self._tlsFailure,
            Accepted: self._accepted,
            ServerError: self._serverError,
            StreamClosed: self._streamClosed,
        }

    # What L{Link} does.

    @abstractmethod
    def _ready(self) -> None:
        """
        Called once, when the handshake is done.
        """

    @abstractmethod
    def _lost(self, error: LinkError | None) -> None:
        """
        Called once, when the stream is lost.
        """

    @abstractmethod
    def _pause(self) -> None:
        """
        Called when too much waits to be written.
        """

    @abstractmethod
    def _resume(self) -> None:
        """
        Called when it has been.
        """

    # What the pool asks.

    def shutdown(self) -> Deferred[None]:
        """
        Send the footer, wait a while for the server's, and end.

        @return: Fires when the connection is gone.
        """
        done: Deferred[None] = Deferred()
        if self._isConnected:
            self._waiting.append(done)
        else:
            done.callback(None)
        if self.step is Step.READY:
            self.step = Step.CLOSING
            self.isReady = False
            self._stopTimers()
            self._setPatience()
            self._funnel.finish(self._writer.footer())
        elif self.step is not Step.CLOSING:
            self.lose(None)
        return done

    def lose(self, error: LinkError | None, *, politely: bool = False) -> None:
        """
        End at once.

        @param politely: Send the footer before; otherwise the connection is aborted, so
            that the server does not go on using a link that is dead (pitfall S-1).
        """
        if self.step is Step.LOST:
            return
        self.step = Step.LOST
        self.isReady = False
        self._stopTimers()
        self.lostStanzas = self._funnel.untaken
        if self.lostStanzas:
            self._hub.metrics.increment("stanzas_lost_in_link", by=self.lostStanzas)
        if politely:
            self._setPatience()
            self._funnel.finish(self._writer.footer())
            self.transport.loseConnection()
        else:
            self._funnel.stop(isGone=not self._isConnected)
            if self._isConnected:
                self.transport.abortConnection()
        self._lost(error)

    # What the transport tells.

    def connectionMade(self) -> None:
        """
        See L{Protocol}.
        """
        self._isConnected = True
        self.step = Step.HEADER
        self._funnel.start(self.transport)
        self._funnel.write(self._writer.header())

    def handshakeCompleted(self) -> None:
        """
        See L{IHandshakeListener}.
        """
        assert self._tls is not None
        self.isEncrypted = self._tls.isVerified

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol}.
        """
        self._isConnected = False
        if self.step is Step.CLOSING:
            if reason.check(ConnectionDone):
                self._funnel.confirm()
            self.lose(None)
        else:
            self.lose(self._explain(reason))
        self._stopTimers()
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(None)

    def _explain(self, reason: Failure) -> LinkError:
        tls = self._tls
        if tls is not None and tls.problem is not None:
            return diagnosis.certificateRefused(tls.problem, isForOther=tls.isForOther)
        return diagnosis.ended(self.step, reason)

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol}.
        """
        if self.step is _LOST:
            # A transport with TLS gives what it has in pieces, and all of them.
            return
        self.heard = self._clock.seconds()
        reader = self._reader
        try:
            events = reader.feed(data)
        except StreamError as error:
            self._take(reader.completed)
            self.lose(diagnosis.unintelligible(self.step, error))
            return
        self._take(events)
        if self._streamID is None and self.step is Step.FEATURES:
            self.lose(diagnosis.NO_ID)

    def _take(self, events: list[LinkEvent]) -> None:
        inputs, routed = self._inputs, self._hub.routed
        for event in events:
            step = self.step
            if step is not _READY:
                if step is _LOST:
                    return
                if step is Step.CLOSING and event.__class__ is not StreamClosed:
                    continue
                if step is Step.TLS and not self.isEncrypted:
                    self.lose(diagnosis.TLS_INJECTION)
                    return
            try:
                if event.__class__ is Routed:
                    routed(self, event.streamID, event)  # type: ignore[arg-type]  # it is a Link
                else:
                    inputs[event.__class__](event)
            except Exception:  # noqa: BLE001 # the seam to everybody's sessions
                # What one session stumbles over must not end the link of all.
                self._log.failure("link {link}: what came cannot be taken", link=self.name)
                self._hub.metrics.increment("stanzas_dropped", "bug")

    # What the server sends, in the order of a link's life.

    def _streamOpened(self, event: StreamOpened) -> None:
        self._streamID = event.id
        if self.step is Step.HEADER:
            self.step = Step.FEATURES

    def _features(self, event: Features) -> None:
        security = self._settings.security
        if self._streamID is None:
            self.lose(diagnosis.NO_ID)
        elif self.step is Step.FEATURES and security is Security.STARTTLS:
            if event.starttls:
                self.step = Step.PROCEED
                self._funnel.write(STARTTLS)
            else:
                self.lose(diagnosis.NO_STARTTLS)
        elif self.step is Step.FEATURES and security is Security.PLAIN and event.required:
            self.lose(diagnosis.TLS_REQUIRED)
        elif self.step in (Step.FEATURES, Step.TLS):
            # COMPAT Openfire offers STARTTLS on its direct TLS port too: not taken there.
            self._authenticate(self._streamID)

    def _authenticate(self, streamID: str) -> None:
        if self._settings.security is not Security.PLAIN and not self.isEncrypted:
            self.lose(diagnosis.TLS_INJECTION)
            return
        self.step = Step.HANDSHAKE
        self._funnel.write(self._writer.handshake(streamID, self._settings.secret))

    def _proceed(self, event: Proceed) -> None:
        if self.step is not Step.PROCEED:
            return
        if self._reader.pending:
            self.lose(diagnosis.TLS_INJECTION)
            return
        self.step = Step.TLS
        self._streamID = None
        self._reader = LinkReader(self._settings.stanzaBytes)
        self.transport.startTLS(self._tls)
        self._funnel.write(self._writer.header())

    def _tlsFailure(self, event: TLSFailure) -> None:
        self.lose(diagnosis.TLS_FAILURE)

    def _accepted(self, event: Accepted) -> None:
        if self.step is Step.HANDSHAKE:
            self.step = Step.READY
            self.isReady = self.wasReady = True
            self.readySince = self.heard
            self._funnel.goDirect()
            self._ready()

    def _serverError(self, event: ServerError) -> None:
        self.lose(diagnosis.refused(self.step, event.condition, event.text))

    def _streamClosed(self, event: StreamClosed) -> None:
        if self.step is Step.CLOSING:
            self._funnel.confirm()
            self.transport.loseConnection()
        elif self.step is Step.READY:
            self.lose(diagnosis.CLOSED_BY_SERVER, politely=True)
        else:
            self.lose(diagnosis.ended(self.step, connectionDone))

    def _setPatience(self) -> None:
        abort = self.transport.abortConnection
        self._timers["close"] = self._clock.callLater(CLOSE_SECONDS, abort)

    def _stopTimers(self) -> None:
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers.clear()
