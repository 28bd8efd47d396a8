# Copyright the cmanager authors.
# See LICENSE for details.

"""
The ways in for clients that speak HTTP, and the one for whatever a client speaks.
Layer 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.application.service import IService
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolNegotiationFactory,
    IReactorCore,
    IReactorTime,
)
from twisted.internet.protocol import Factory
from twisted.plugin import IPlugin
from zope.interface import implementer

from cmanager.arrival import Arrival
from cmanager.door import HTTP_1_1, Door, Enter, Ways
from cmanager.files import Files
from cmanager.httpbind import BOSHPlace
from cmanager.httptransport import HTTPTransport
from cmanager.interfaces import IListener
from cmanager.listening import listening
from cmanager.places import Place, Places, WebSocketPlace, hostMetaPlaces
from cmanager.settings import ListenerSettings
from cmanager.tcp import ListenerService, TCPStream, TLSStream
from cmanager.tls import XMPP_CLIENT
from cmanager.web import Channel
from cmanager.websocket import WebSocketStream

if TYPE_CHECKING:
    from cmanager.router import Router


@implementer(IProtocolNegotiationFactory)
class WebFactory(Factory):
    """
    Makes the doors of one listener, and has what is behind them.

    @param alpn: What is spoken in TLS, our first choice first; none: TLS must have ended
        outside.
    @param isClear: A client may begin without TLS.
    @raise ConfigError: There is no certificate, or a file cannot be read.
    """

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        listener: ListenerSettings,
        hub: Router,
        *,
        alpn: tuple[bytes, ...],
        isClear: bool,
        hasXMPP: bool,
    ) -> None:
        self.reactor = reactor
        self.listener = listener
        self.hub = hub
        files = Files(listener.files) if listener.files else None
        self._places = Places(self, self._makePlaces(), files)
        tls = hub.tls.creator(None, alpn) if alpn else None
        if tls is not None:
            tls.serverConnectionForTLS(None)
        self._offer = (XMPP_CLIENT, HTTP_1_1) if hasXMPP else (HTTP_1_1,)
        self._ways = Ways(
            xmpp=self._stream if hasXMPP else None,
            http=self._http,
            tls=tls,
            isClear=isClear,
            trusted=self._places.trusted,
        )

    def _makePlaces(self) -> dict[str, Place]:
        listener = self.listener
        places: dict[str, Place] = {}
        if listener.websocket:
            places[listener.websocket] = WebSocketPlace(self, WebSocketStream)
        if listener.bosh:
            places[listener.bosh] = BOSHPlace(self)
        if self.hub.webURLs:
            places |= hostMetaPlaces(self.hub.webURLs)
        return places

    def buildProtocol(self, addr: IAddress | None) -> Door:
        """
        See L{Factory.buildProtocol}.
        """
        return Door(self, self._ways)

    def acceptableProtocols(self) -> list[bytes]:
        """
        See L{IProtocolNegotiationFactory}: on endpoints that end TLS themselves.  Twisted's
        refuse every client that asks where there is no answer.
        """
        return list(self._offer)

    def _stream(self, arrival: Arrival) -> TCPStream:
        return (TCPStream if arrival.records is None else TLSStream)(self, arrival)

    def _http(self, arrival: Arrival, enter: Enter) -> IProtocol:
        channel = Channel(self._places, self.hub.wheel.schedule)
        return HTTPTransport(self, arrival, channel, enter)


@implementer(IPlugin, IListener)
class HTTPListener:
    """
    WebSocket and BOSH over HTTP, for proxies that end TLS before it.
    """

    name = "http"
    alpn: tuple[bytes, ...] = ()
    isClear = True
    hasXMPP = False

    def service(self, reactor: IReactorCore, listener: ListenerSettings, hub: Router) -> IService:
        """
        See L{IListener}.

        @raise ConfigError: There is no certificate, and one is needed; or a file cannot be
            read.
        """
        factory = WebFactory(
            IReactorTime(reactor),
            listener,
            hub,
            alpn=self.alpn,
            isClear=self.isClear,
            hasXMPP=self.hasXMPP,
        )
        where = listening(reactor, listener, hub)
        service: IService = ListenerService(where, listener.endpoint, factory, hub.crew)
        return service


class HTTPSListener(HTTPListener):
    """
    WebSocket and BOSH over HTTP in TLS.
    """

    name = "https"
    alpn = (HTTP_1_1,)
    isClear = False


class AnyListener(HTTPListener):
    """
    All of it on one port: XMPP and HTTP, each in TLS from the first byte or not.

    HTTP without TLS, too: behind a proxy that ends TLS and says so in a PROXY preface
    that is what comes.  Nobody is the worse for it elsewhere, as a stream over it is held
    to C{starttls} like any other that is not encrypted.
    """

    name = "any"
    alpn = (XMPP_CLIENT, HTTP_1_1)
    hasXMPP = True
