# Copyright the cmanager authors.
# See LICENSE for details.

"""
The path of BOSH on a listener: requests over HTTP find their stream, make one, or go to the
worker that has it.  Layer 4; knows nothing of what a stream makes of them.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from cmanager.arrival import LOCAL_PEER, Origin
from cmanager.body import Body, bindingCondition, readBody, writeEnd
from cmanager.bosh import BOSHStream
from cmanager.errors import BOSHError, StreamError
from cmanager.httptransport import HTTPTransport
from cmanager.limits import Refused
from cmanager.places import Place
from cmanager.stanza import streamErrorText
from cmanager.terms import BODY_STANZAS, CONTENT_TYPE, contentType, isLegacyClient
from cmanager.web import Request

if TYPE_CHECKING:
    from cmanager import visits
    from cmanager.router import Router

_SID = re.compile(rb"""\ssid\s*=\s*["']([A-Za-z0-9_-]{1,64})["']""")


class Exchange:
    """
    See L{cmanager.visits.Exchange}.  What becomes of its answer C{target} is told as far as
    the connection shows it.

    @ivar target: L{None} while nobody wants to know.
    """

    __slots__ = ("_request", "_transport", "target")

    def __init__(self, request: Request) -> None:
        self._request: Request | None = request
        self._transport: HTTPTransport | None = None
        self.target: visits.Target | None = None
        request.notifyFinish().addErrback(self._gone)

    def _gone(self, reason: Failure) -> None:
        self._request = None
        self.lost()

    @property
    def isPending(self) -> bool:
        """
        See L{cmanager.visits.Exchange}.
        """
        return self._transport is not None and not self._transport.isEmpty

    def answer(self, status: int, type_: str, data: bytes) -> None:
        """
        See L{cmanager.visits.Exchange}.
        """
        request, self._request = self._request, None
        if request is None:
            return
        self._transport = request.channel.transport
        request.channel.follow(self)
        request.setResponseCode(status)
        request.say(b"Content-Type", type_.encode())
        request.say(b"Cache-Control", b"no-store")
        request.complete(data)
        if not self.isPending:
            self.taken()

    def taken(self) -> None:
        """
        See L{cmanager.web.Sequel}.
        """
        if self.target is not None:
            self.target.taken(self)

    def received(self) -> None:
        """
        See L{cmanager.web.Sequel}.
        """
        if self.target is not None:
            self.target.received(self)

    def lost(self) -> None:
        """
        See L{cmanager.web.Sequel}.
        """
        if self.target is not None:
            self.target.lost(self)


class Desk:
    """
    Where requests are read, and find their session here, whichever worker they have come to.
    """

    log = Logger()

    def __init__(self, hub: Router) -> None:
        self._hub = hub

    @property
    def maxBodyBytes(self) -> int:
        """
        What a request may bring at most.
        """
        return BODY_STANZAS * self._hub.settings.stanzaBytes

    def allowance(self, sid: str | None) -> int:
        """
        Return what a request may bring that is for a session: who has not logged in cannot
        have much to say.
        """
        return BODY_STANZAS * self._limitOf(sid)

    def _limitOf(self, sid: str | None) -> int:
        stream = self._hub.bosh.find(sid)
        least = self._hub.settings.unauthenticatedStanzaBytes
        return least if stream is None else max(stream.limit, least)

    def read(self, data: bytes) -> Body:
        """
        Read a request.

        @raise BOSHError: It is none.
        """
        settings = self._hub.settings
        return readBody(
            data,
            self.maxBodyBytes,
            settings.unauthenticatedStanzaBytes,
            limitOf=self._limitOf,
            maxDepth=settings.maxDepth,
            maxAttributes=settings.maxAttributes,
            maxNamespaces=settings.maxNamespaces,
        )

    def serve(self, exchange: visits.Exchange, body: Body, *, isSecure: bool) -> None:
        """
        Have a request answered by its session.

        @param isSecure: It came encrypted.
        @raise BOSHError: There is none.
        """
        stream = self._hub.bosh.find(body.sid)
        if stream is None:
            raise BOSHError("item-not-found", "there is no such session")
        if stream.secure and not isSecure:
            raise BOSHError("item-not-found", "the session is encrypted, and this is not")
        exchange.target = stream
        stream.request(exchange, body)

    def refuse(self, exchange: visits.Exchange, error: BOSHError, address: str | None) -> None:
        """
        Say what is wrong with a request.

        @param address: Of its client; L{None} for a Unix socket.
        """
        self._hub.metrics.increment("clients_refused", error.condition)
        self.log.debug(
            "request of {peer} refused: {error}", peer=address or LOCAL_PEER, error=error
        )
        exchange.answer(HTTPStatus.OK, CONTENT_TYPE, writeEnd(error.condition)[1])


class BOSHPlace(Place):
    """
    Where clients send their requests.

    Those of one session may come from different addresses and by different listeners, and to
    different workers; only a session that is encrypted goes on in no request that is not.
    """

    log = Logger()
    methods = (b"POST",)

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin.listener.origins)
        self._origin = origin
        self._desk = Desk(origin.hub)

    @property
    def maxBodyBytes(self) -> int:  # type: ignore[override]  # it may change with the settings
        """
        See L{Place}.
        """
        return self._desk.maxBodyBytes

    def allowance(self, start: bytes) -> int | Deferred[int]:
        """
        See L{Content.expect <cmanager.content.Content.expect>}.  That something else in the
        body looks like a C{sid} does no harm: it is somebody's who has logged in, or worth
        nothing.
        """
        match = _SID.search(start)
        sid = None if match is None else match[1].decode()
        colleague = self._origin.hub.bosh.colleague(sid)
        if sid is None or colleague is None:
            return self._desk.allowance(sid)
        return colleague.allowance(sid).addCallback(max, self._desk.allowance(None))

    def render_POST(self, request: Request) -> int:
        """
        Answer, now or later.
        """
        if not self.admits(request.getHeader(b"origin")):
            request.answer(HTTPStatus.FORBIDDEN, "Pages from there must not connect here.")
            return NOT_DONE_YET
        data = request.content.read()
        isSecure = request.isSecure()
        exchange = Exchange(request)
        try:
            body = self._desk.read(data)
            colleague = self._origin.hub.bosh.colleague(body.sid)
            if colleague is not None:
                colleague.request(exchange, data, request.address, isSecure=isSecure)
            elif body.sid is not None:
                self._desk.serve(exchange, body, isSecure=isSecure)
            else:
                self._begin(exchange, body, request.address, isSecure=isSecure)
        except BOSHError as error:
            self._desk.refuse(exchange, error, request.address)
        return NOT_DONE_YET

    def _begin(
        self, exchange: Exchange, body: Body, address: str | None, *, isSecure: bool
    ) -> None:
        """
        Let a client in, or turn it away.
        """
        try:
            stream = BOSHStream(self._origin, body, address, secure=isSecure)
        except StreamError as error:
            limit = error.limit if isinstance(error, Refused) else error.condition
            self._origin.hub.metrics.increment("clients_refused", limit)
            self.log.info("client {peer} refused: {error}", peer=address or LOCAL_PEER, error=error)
            text = streamErrorText(error)
            status, data = writeEnd(
                bindingCondition(text), isLegacy=isLegacyClient(body), children=[text]
            )
            exchange.answer(status, contentType(body), data)
        else:
            exchange.target = stream
            stream.request(exchange, body)
