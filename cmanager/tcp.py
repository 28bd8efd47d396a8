# Copyright the cmanager authors.
# See LICENSE for details.

"""
The ways in for clients over TCP: XMPP with STARTTLS, and XMPP in TLS from the
first byte (XEP-0368).  Layer 4.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from attrs import evolve
from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IProtocolNegotiationFactory,
    IReactorCore,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import implementer

from cmanager.arrival import UNKNOWN, Arrival
from cmanager.door import Door, Ways
from cmanager.errors import ConfigError, StreamError
from cmanager.framing import Scanner
from cmanager.inherited import Inherited
from cmanager.interfaces import IListener
from cmanager.listening import listening
from cmanager.proxied import Networks
from cmanager.records import recordsOn
from cmanager.settings import ListenerSettings
from cmanager.stanza import FOOTER, Event, StreamHeader, streamErrorText
from cmanager.stream import ClientStream
from cmanager.tls import XMPP_CLIENT

if TYPE_CHECKING:
    from cmanager.arrival import Origin
    from cmanager.crew import Crew
    from cmanager.router import Router


class TCPStream(ClientStream):
    """
    One client's stream over TCP (RFC 6120), in TLS or on the way there.
    """

    __slots__ = ("_scanner",)

    transportName = "tcp"

    def __init__(self, origin: Origin, arrival: Arrival | None = None) -> None:
        super().__init__(origin, arrival)
        self._scanner: Scanner | None = None

    def _farewell(self, error: StreamError) -> bytes:
        header = StreamHeader(id="refused", from_=None).encode()
        return header + streamErrorText(error) + FOOTER

    def _events(self, data: bytes) -> list[Event | StreamError]:
        if self._isDeaf:
            return []
        scanner = self._scanner
        if scanner is None:
            settings = self._settings
            scanner = self._scanner = Scanner(
                1,
                self._limit,
                maxDepth=settings.maxDepth,
                maxAttributes=settings.maxAttributes,
                maxNamespaces=settings.maxNamespaces,
            )
        try:
            return scanner.feed(data)  # type: ignore[return-value]  # a list of events is one of both
        except StreamError as error:
            self._isDeaf = True
            return [*scanner.completed, error]

    def restart(self, limit: int) -> None:
        """
        See L{IClientStream.restart}.
        """
        super().restart(limit)
        self._scanner = None

    def allow(self, limit: int) -> None:
        """
        See L{IClientStream.allow}.
        """
        super().allow(limit)
        if self._scanner is not None:
            self._scanner.limit = limit

    @property
    def canStartTLS(self) -> bool:
        """
        See L{IClientStream}.
        """
        return not self.secure and self._records is None and not self.origin.hub.tls.isEmpty

    def startTLS(self, proceed: bytes) -> None:
        """
        See L{IClientStream.startTLS}.
        """
        if self._isClosing:
            return
        if self._intake.isWaiting or (self._scanner is not None and self._scanner.pending):
            # CVE-2011-0411: what was sent before TLS must not be taken for what came under it.
            self._isDeaf = True
            self._intake.clear()
            self._intake.push([StreamError("policy-violation", reason="bytes behind <starttls/>")])
            return
        self._outbox.put(proceed)
        if not self._outbox.isEmpty:
            self.log.info("client {peer} does not read its answers", peer=self.peer)
            self.abort()
            return
        self.restart(self._limit)
        self._records = recordsOn(self.transport, self.origin.hub.tls.creator(self._to, ()))
        self._outbox.startTLS(self._records)

    def open(self, header: StreamHeader, features: bytes = b"") -> None:
        """
        See L{IClientStream.open}.
        """
        self._headerSent = True
        self._put(header.encode() + features)

    def keepAlive(self) -> None:
        """
        Send white space, where the stream is open and nothing waits.
        """
        if self._headerSent and self._isDelivering and self._outbox.isEmpty:
            self._outbox.put(b" ")

    def close(self, element: bytes = b"", header: StreamHeader | None = None) -> None:
        """
        See L{IClientStream.close}.
        """
        start = header.encode() if header is not None else b""
        self._close(start + element + FOOTER)


class TLSStream(TCPStream):
    """
    The same with TLS from the first byte (XEP-0368).
    """

    __slots__ = ()

    transportName = "tls"


@implementer(IProtocolNegotiationFactory)
class TCPFactory(Factory):
    """
    Makes the streams of one listener, behind a L{Door} where proxies tell of clients.

    @ivar isDirect: TLS from the first byte.
    """

    noisy = False

    def __init__(
        self, reactor: IReactorTime, listener: ListenerSettings, hub: Router, *, isDirect: bool
    ) -> None:
        self.reactor = reactor
        self.listener = listener
        self.hub = hub
        self.isDirect = isDirect
        self._ways = Ways(xmpp=self._stream, trusted=Networks(listener.trusted))

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """
        See L{Factory.buildProtocol}.
        """
        if self.listener.proxyProtocol:
            return Door(self, self._ways)
        return self._stream(UNKNOWN)

    def acceptableProtocols(self) -> list[bytes]:
        """
        See L{IProtocolNegotiationFactory}: on endpoints that end TLS themselves.  Twisted's
        refuse every client that asks where there is no answer.
        """
        return [XMPP_CLIENT]

    def _stream(self, arrival: Arrival) -> TCPStream:
        if not self.isDirect:
            return TCPStream(self, arrival)
        return TLSStream(self, evolve(arrival, tls=self.hub.tls.creator(None, (XMPP_CLIENT,))))


class ListenerService(Service):
    """
    Listens while it runs.

    @param endpoint: An endpoint string.
    @param crew: Has the socket to take clients from instead, in a worker.
    """

    log = Logger()

    def __init__(
        self, reactor: IReactorCore, endpoint: str, factory: Factory, crew: Crew | None = None
    ) -> None:
        self._reactor = reactor
        self._text = endpoint
        shared = None if crew is None else crew.sockets.get(endpoint)
        self._endpoint: IStreamServerEndpoint
        try:
            self._endpoint = (
                serverFromString(reactor, endpoint)
                if shared is None
                else Inherited(reactor, shared)
            )
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ConfigError([f"listener.endpoint: {endpoint!r}: {error}"]) from None
        self._factory = factory
        self._waiting: Deferred[IListeningPort] | None = None
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """
        Bind, while there may still be the right to.

        @raise ConfigError: It cannot be done.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted's
        self._listen()

    def startService(self) -> None:
        """
        Bind, if that has not been done.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        self._listen()

    def _listen(self) -> None:
        if self._waiting is not None:
            return
        problems: list[str] = []
        isStarting = True

        def bound(port: IListeningPort) -> None:
            self._port = port
            if not isinstance(self._endpoint, Inherited):
                self.log.info("listening on {endpoint}", endpoint=self._text)

        def failed(failure: Failure) -> None:
            if failure.check(CancelledError):
                return  # by stopService
            problem = bindProblem(self._text, failure)
            problems.append(problem)
            if not isStarting:
                # The endpoint took its time; the rest of the program runs by now.
                self.log.critical("{problem}", problem=problem)
                self._reactor.stop()

        self._waiting = self._endpoint.listen(self._factory)
        self._waiting.addCallbacks(bound, failed)
        isStarting = False
        if problems:
            self._waiting = None
            raise ConfigError(problems)

    def stopService(self) -> Deferred[None] | None:
        """
        Listen no more.  Streams stay.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        waiting, self._waiting = self._waiting, None
        port, self._port = self._port, None
        if port is not None:
            stopped: Deferred[None] | None = port.stopListening()
            return stopped
        if waiting is not None:
            waiting.cancel()
        return None


def bindProblem(endpoint: str, failure: Failure) -> str:
    """
    Say in one line why C{endpoint} cannot be listened on, and what to do.
    """
    error = failure.value
    cause = error.socketError if isinstance(error, CannotListenError) else error
    number = getattr(cause, "errno", None)
    reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    advice = _ADVICE.get(number or 0, "check listener.endpoint in the configuration")
    return f"cannot listen on {endpoint}: {reason}: {advice}"


_ADVICE = {
    errno.EADDRINUSE: "stop the program that uses the port (see: ss -ltnp), or choose another port",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE; start as root, or choose"
    " another port",
    errno.EADDRNOTAVAIL: "this machine has no such address; correct the interface",
}


@implementer(IPlugin, IListener)
class TCPListener:
    """
    XMPP over TCP, with STARTTLS.
    """

    name = "tcp"
    isDirect = False

    def service(self, reactor: IReactorCore, listener: ListenerSettings, hub: Router) -> IService:
        """
        See L{IListener}.
        """
        clock = IReactorTime(reactor)
        factory = TCPFactory(clock, listener, hub, isDirect=self.isDirect)
        where = listening(reactor, listener, hub)
        service: IService = ListenerService(where, listener.endpoint, factory, hub.crew)
        return service


class TLSListener(TCPListener):
    """
    XMPP in TLS from the first byte, with the application protocol C{xmpp-client} or
    none.
    """

    name = "tls"
    isDirect = True

    def service(self, reactor: IReactorCore, listener: ListenerSettings, hub: Router) -> IService:
        """
        See L{IListener}.

        @raise ConfigError: There is no certificate.
        """
        hub.tls.creator(None, (XMPP_CLIENT,)).serverConnectionForTLS(None)
        return super().service(reactor, listener, hub)
