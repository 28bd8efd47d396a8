# Copyright the cmanager authors.
# See LICENSE for details.

"""
The ways in for clients over TCP: XMPP with STARTTLS, and XMPP in TLS from the
first byte (XEP-0368).  Layer 4.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorCore, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import implementer

from cmanager.errors import ConfigError, StreamError
from cmanager.interfaces import IListener
from cmanager.limits import Refused
from cmanager.settings import ListenerSettings
from cmanager.stanza import FOOTER, streamErrorText, streamHeader
from cmanager.stream import TCPStream
from cmanager.tls import XMPP_CLIENT

if TYPE_CHECKING:
    from cmanager.router import Router


class TCPFactory(Factory):
    """
    Makes the streams of one listener.

    @ivar isDirect: TLS from the first byte.
    """

    noisy = False
    log = Logger()

    def __init__(
        self, reactor: IReactorTime, listener: ListenerSettings, hub: Router, *, isDirect: bool
    ) -> None:
        self.reactor = reactor
        self.listener = listener
        self.hub = hub
        self.isDirect = isDirect

    def buildProtocol(self, addr: IAddress | None) -> TCPStream:
        """
        See L{Factory.buildProtocol}.
        """
        return TCPStream(self)

    def refuse(self, stream: TCPStream, error: StreamError) -> None:
        """
        Turn a client away that gets no session: say so, unless it waits for TLS, and
        close.  Without grace: who floods must not hold sockets.
        """
        limit = error.limit if isinstance(error, Refused) else error.condition
        self.hub.metrics.increment("clients_refused", limit)
        self.log.info("client {peer} refused: {error}", peer=stream.peer, error=error)
        if not self.isDirect:
            header = streamHeader(id="refused", from_=None)
            stream.transport.write(header + streamErrorText(error) + FOOTER)
        stream.transport.loseConnection()


class ListenerService(Service):
    """
    Listens while it runs.

    @param endpoint: An endpoint string.
    """

    log = Logger()

    def __init__(self, reactor: IReactorCore, endpoint: str, factory: Factory) -> None:
        self._reactor = reactor
        self._text = endpoint
        try:
            self._endpoint = serverFromString(reactor, endpoint)
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
        service: IService = ListenerService(reactor, listener.endpoint, factory)
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
