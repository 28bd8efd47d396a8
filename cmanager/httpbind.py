# Copyright the cmanager authors.
# See LICENSE for details.

"""
The path of BOSH on a listener: requests over HTTP find their stream, or make one.
Layer 4; knows nothing of what a stream makes of them.
"""

from __future__ import annotations

import re
from http import HTTPStatus

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

_SID = re.compile(rb"""\ssid\s*=\s*["']([A-Za-z0-9_-]{1,64})["']""")


class Exchange:
    """
    See L{cmanager.visits.Exchange}.  What becomes of its answer the stream is told as far as
    the connection shows it.
    """

    __slots__ = ("_request", "_stream", "_transport")

    def __init__(self, request: Request, stream: BOSHStream) -> None:
        self._request: Request | None = request
        self._stream = stream
        self._transport: HTTPTransport | None = None
        request.notifyFinish().addErrback(self._gone)

    def _gone(self, reason: Failure) -> None:
        self._request = None
        self._stream.lost(self)

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
        if request is not None:
            self._transport = request.channel.transport
            request.channel.follow(self)
            _answer(request, status, type_, data)

    def taken(self) -> None:
        """
        See L{cmanager.web.Sequel}.
        """
        self._stream.taken(self)

    def received(self) -> None:
        """
        See L{cmanager.web.Sequel}.
        """
        self._stream.received(self)

    def lost(self) -> None:
        """
        See L{cmanager.web.Sequel}.
        """
        self._stream.lost(self)


def _answer(request: Request, status: int, type_: str, data: bytes) -> None:
    request.setResponseCode(status)
    request.say(b"Content-Type", type_.encode())
    request.say(b"Cache-Control", b"no-store")
    request.complete(data)


class BOSHPlace(Place):
    """
    Where clients send their requests.

    Those of one session may come from different addresses and by different listeners; only
    a session that is encrypted goes on in no request that is not.
    """

    log = Logger()
    methods = (b"POST",)

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin.listener.origins)
        self._origin = origin

    @property
    def maxBodyBytes(self) -> int:  # type: ignore[override]  # it may change with the settings
        """
        See L{Place}.
        """
        return BODY_STANZAS * self._origin.hub.settings.stanzaBytes

    def allowance(self, start: bytes) -> int:
        """
        See L{cmanager.web.Request}: who has not logged in cannot have much to say.  That
        something else in the body looks like a C{sid} does no harm: it is somebody's who has
        logged in, or worth nothing.
        """
        match = _SID.search(start)
        return BODY_STANZAS * self._limitOf(None if match is None else match[1].decode())

    def _limitOf(self, sid: str | None) -> int:
        stream = self._origin.hub.bosh.find(sid)
        least = self._origin.hub.settings.unauthenticatedStanzaBytes
        return least if stream is None else max(stream.limit, least)

    def render_POST(self, request: Request) -> int:
        """
        Answer, now or later.
        """
        if not self.admits(request.getHeader(b"origin")):
            request.answer(HTTPStatus.FORBIDDEN, "Pages from there must not connect here.")
            return NOT_DONE_YET
        settings = self._origin.hub.settings
        try:
            body = readBody(
                request.content.read(),
                self.maxBodyBytes,
                settings.unauthenticatedStanzaBytes,
                limitOf=self._limitOf,
                maxDepth=settings.maxDepth,
                maxAttributes=settings.maxAttributes,
                maxNamespaces=settings.maxNamespaces,
            )
            stream = self._find(request, body) if body.sid is not None else None
        except BOSHError as error:
            self._origin.hub.metrics.increment("clients_refused", error.condition)
            self.log.debug(
                "request of {peer} refused: {error}",
                peer=request.address or LOCAL_PEER,
                error=error,
            )
            _answer(request, HTTPStatus.OK, CONTENT_TYPE, writeEnd(error.condition)[1])
            return NOT_DONE_YET
        if stream is None:
            stream = self._begin(request, body)
        if stream is not None:
            stream.request(Exchange(request, stream), body)
        return NOT_DONE_YET

    def _find(self, request: Request, body: Body) -> BOSHStream:
        stream = self._origin.hub.bosh.find(body.sid)
        if stream is None:
            raise BOSHError("item-not-found", "there is no such session")
        if stream.secure and not request.isSecure():
            raise BOSHError("item-not-found", "the session is encrypted, and this is not")
        return stream

    def _begin(self, request: Request, body: Body) -> BOSHStream | None:
        """
        Let a client in, or turn it away.
        """
        try:
            return BOSHStream(self._origin, body, request.address, secure=request.isSecure())
        except StreamError as error:
            limit = error.limit if isinstance(error, Refused) else error.condition
            self._origin.hub.metrics.increment("clients_refused", limit)
            self.log.info(
                "client {peer} refused: {error}", peer=request.address or LOCAL_PEER, error=error
            )
            text = streamErrorText(error)
            status, data = writeEnd(
                bindingCondition(text), isLegacy=isLegacyClient(body), children=[text]
            )
            _answer(request, status, contentType(body), data)
            return None
