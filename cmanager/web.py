# Copyright the cmanager authors.
# See LICENSE for details.

"""
HTTP for clients: one connection's requests, bounded before they are read, and who makes
them.  Layer 4; knows no stream and no path, see L{cmanager.places}.

Twisted reads the requests; what it leaves open is here: nothing is logged of them, no
body is read that nobody wants, nobody is shown HTML, a version or a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource, getChildForRequest
from twisted.web.server import NOT_DONE_YET
from twisted.web.server import Request as TwistedRequest

from cmanager.arrival import Arrival
from cmanager.content import Content
from cmanager.httptransport import HTTPTransport
from cmanager.proxied import Networks, forwarded

MAX_HEADERS = 100
MAX_HEAD_BYTES = 16384
"""
Request line and headers, without their ends of line.
"""

MAX_LENGTH_DIGITS = 15

KEEP_ALIVE_SECONDS = 90.0
"""
How long a connection stays without a request.  Longer than proxies keep one: who closes
first should be the one that sends requests, or one of them may be lost on the way.
"""

METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS")

_SERVER = b"cmanager"
_TEXT = b"text/plain; charset=utf-8"
_ABSOLUTE = re.compile(rb"https?://[^/?#]*(?=[/?]|\Z)", re.IGNORECASE)


class Site(Protocol):
    """
    What requests are for.

    @ivar trusted: The proxies whose word on their clients is taken.
    @ivar requestSeconds: How long a request may take to come.
    """

    trusted: Networks

    @property
    def requestSeconds(self) -> float: ...

    def find(self, path: bytes) -> IResource | None:
        """
        Return what is at a path, or above it.

        What it may be sent, see L{Content.expect}.
        """


class Sequel(Protocol):
    """
    Hears what becomes of an answer, as far as the connection shows it.
    """

    def taken(self) -> None:
        """
        The kernel has all of it, or no more will be known.  Perhaps said more than once.
        """

    def received(self) -> None:
        """
        The client has it: it has sent the next request over the same connection.
        """

    def lost(self) -> None:
        """
        The connection is gone, and had not taken all of it.
        """


def pathOf(target: bytes) -> bytes:
    """
    Return the path of a request's target, which proxies are asked for by the whole URL
    (RFC 9112 section 3.2).
    """
    path = target.partition(b"?")[0]
    match = _ABSOLUTE.match(path)
    return path if match is None else path[match.end() :] or b"/"


class Request(TwistedRequest):
    """
    One request.

    @ivar address: Where the client is: who is connected, or what a trusted proxy says;
        L{None} for one on a Unix socket that nothing is said about.
    @ivar isSecureOutside: Whether the client has come to a trusted proxy by TLS; L{None}
        where none has said.
    """

    defaultContentType = _TEXT
    address: str | None = None
    isSecureOutside: bool | None = None
    channel: Channel
    content: BytesIO

    def __init__(self, channel: Channel, *args: Any) -> None:  # Any: deprecated ones
        self.body = Content(channel)
        super().__init__(channel, *args, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]  # Twisted's

    def gotLength(self, length: int | None) -> None:
        """
        The body follows.
        """
        self.content = self.body.data

    def handleContentChunk(self, data: bytes) -> None:
        """
        A piece of the body.
        """
        self.body.received(data)

    def process(self) -> None:
        """
        It is there.
        """
        self.body.isComplete = True
        channel = self.channel
        transport = channel.transport
        headers = self.requestHeaders.getAllRawHeaders()
        who = forwarded(
            ((name, value) for name, values in headers for value in values),
            transport.address,
            channel.site.trusted,
        )
        self.address = who.address
        self.isSecureOutside = who.secure if who.proto else transport.isSecureOutside
        if transport.address is not None and transport.address not in channel.site.trusted:
            channel.confirm()
        self.path = pathOf(self.uri)
        self.prepath: list[bytes] = []
        self.postpath = list(map(unquote_to_bytes, self.path[1:].split(b"/")))
        self.say(b"Server", _SERVER)
        self.say(b"Date", http.datetimeToString())
        self.say(b"X-Content-Type-Options", b"nosniff")
        try:
            resource = channel.site.find(self.path)
            if resource is None:
                self.answer(HTTPStatus.NOT_FOUND, "There is nothing here.")
            else:
                self.render(getChildForRequest(resource, self))
        except Exception:  # noqa: BLE001 - a bug must cost one request
            self.processingFailed(Failure())

    def say(self, name: bytes, value: bytes) -> None:
        """
        Set a header of the response.
        """
        self.responseHeaders.setRawHeaders(name, [value])

    def isSecure(self) -> bool:
        """
        The client's leg is encrypted, as far as is known.
        """
        if self.isSecureOutside is not None:
            return self.isSecureOutside
        return self.channel.transport.secure

    def render(self, resource: IResource) -> None:
        """
        Have C{resource} answer, now or later.
        """
        try:
            body = resource.render(self)
        except UnsupportedMethod as error:
            self.say(b"Allow", b", ".join(error.allowedMethods))
            self.answer(HTTPStatus.METHOD_NOT_ALLOWED, "That method is not for this.")
        else:
            if body is not NOT_DONE_YET:
                self.complete(body)

    def answer(self, code: int, text: str) -> None:
        """
        Answer with a line of text.
        """
        self.setResponseCode(code)
        self.say(b"Content-Type", _TEXT)
        self.complete(f"{text}\n".encode())

    def complete(self, body: bytes) -> None:
        """
        Send the response with all of its body.
        """
        if self.code not in http.NO_BODY_CODES:
            self.say(b"Content-Length", b"%d" % len(body))
        self.write(body)  # type: ignore[no-untyped-call]  # Twisted's
        self.finish()  # type: ignore[no-untyped-call]  # Twisted's

    def processingFailed(self, reason: Failure) -> Failure:
        """
        There is a mistake of ours.
        """
        self._log.failure("a request failed", reason)
        if self.startedWriting:
            self.channel.transport.abortConnection()
        else:
            self.answer(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong here.")
        return reason

    def takeOver(self, make: Callable[[Arrival], IProtocol]) -> bool:
        """
        Have the connection speak to what C{make} makes, from now on, see
        L{HTTPTransport.takeOver}.  Where that cannot be, this request is answered.
        """
        channel = self.channel
        if channel.transport.takeOver(make, self.address, self.isSecureOutside):
            return True
        channel.persistent = 0
        self.say(b"Connection", b"close")
        self.answer(HTTPStatus.BAD_REQUEST, "Something came behind the request.")
        return False


class Channel(http.HTTPChannel):
    """
    The requests of one connection.

    A request must be there, all of it, so many seconds after it has begun, not just go on.

    @ivar sequel: For the answer that was the last; see L{follow}.
    """

    maxHeaders = MAX_HEADERS
    totalHeadersSize = MAX_HEAD_BYTES
    MAX_LENGTH = MAX_HEAD_BYTES
    requestFactory: Any = Request  # Any: declared as a class, and called
    transport: HTTPTransport
    sequel: Sequel | None = None
    _isReading = False
    _isHasty = False  # has not always waited for an answer

    def __init__(self, site: Site, callLater: Callable[[float, Callable[[], object]], Any]) -> None:
        """
        @param callLater: For time-outs; returns what has C{reset} and C{cancel}.
        """
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self.site = site
        self.callLater = callLater  # type: ignore[method-assign]  # as Twisted's factory does
        self.timeOut = site.requestSeconds  # type: ignore[assignment]  # any number

    def rawDataReceived(self, data: bytes) -> None:
        """
        A body, or what comes behind a request that has no answer yet.
        """
        if not self._handlingRequest:
            super().rawDataReceived(data)
            return
        self._isHasty = True
        # Twisted counts all pieces again with each, and reads on where an answer of before
        # waits to be sent.
        self._dataBuffer = [b"".join((*self._dataBuffer, data))]
        if len(self._dataBuffer[0]) > self._optimisticEagerReadSize:
            self.transport.pauseProducing()

    def clearLineBuffer(self) -> bytes:
        """
        See L{cmanager.httptransport.Channel}.  What comes behind a body waits elsewhere.
        """
        behind, self._dataBuffer = self._dataBuffer, []
        return b"".join((super().clearLineBuffer(), *behind))  # type: ignore[no-untyped-call]  # Twisted's

    def _finishRequestBody(self, data: bytes) -> None:
        """
        For L{http.HTTPChannel}: a body is there, and C{data} behind it.
        """
        self._isHasty = self._isHasty or bool(data)
        super()._finishRequestBody(data)  # type: ignore[no-untyped-call]  # Twisted's

    def follow(self, sequel: Sequel) -> None:
        """
        Say what becomes of the answer that is about to be sent, and no more of the one before.
        """
        before, self.sequel = self.sequel, sequel
        if before is not None:
            before.taken()

    def resumeProducing(self) -> None:
        """
        The kernel has taken all that was written.
        """
        if self.sequel is not None:
            self.sequel.taken()
        super().resumeProducing()  # type: ignore[no-untyped-call]  # Twisted's

    def confirm(self) -> None:
        """
        There is a request from who has got the last answer, unless a proxy has, or it was
        not waited for.
        """
        sequel, self.sequel = self.sequel, None
        if sequel is not None and not self._isHasty:
            sequel.received()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{http.HTTPChannel}.
        """
        sequel, self.sequel = self.sequel, None
        if sequel is not None:
            sequel.taken() if self.transport.isEmpty else sequel.lost()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # Twisted's

    def resetTimeout(self) -> None:
        """
        Something has been read.
        """
        if not self._isReading:
            self._isReading = True
            self.setTimeout(self.site.requestSeconds)  # type: ignore[no-untyped-call]  # Twisted's

    def requestDone(self, request: Request) -> None:
        """
        It has been answered.
        """
        self._isReading = False
        super().requestDone(request)  # type: ignore[no-untyped-call]  # Twisted's
        if self.timeOut is not None and not self._isReading:
            self.setTimeout(KEEP_ALIVE_SECONDS)  # type: ignore[no-untyped-call]  # Twisted's

    def timeoutConnection(self) -> None:
        """
        There was nothing, or not all of a request.
        """
        self.loseConnection()  # type: ignore[no-untyped-call]  # Twisted's

    def lineReceived(self, line: bytes) -> None:
        """
        A line of a request's head.
        """
        if line[:1] in (b" ", b"\t"):
            # RFC 9112 section 5.2: nobody may send headers of several lines.
            self.refuse(HTTPStatus.BAD_REQUEST)
        else:
            super().lineReceived(line)  # type: ignore[no-untyped-call]  # Twisted's

    def lineLengthExceeded(self, line: bytes) -> None:
        """
        A line of a request's head is longer than all of it may be.
        """
        self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def headerReceived(self, line: bytes) -> bool:
        """
        A header.
        """
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip()
        if name == b"content-length" and len(value) > MAX_LENGTH_DIGITS:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return False
        if name == b"transfer-encoding" and value.lower() != b"chunked":
            # Twisted skips "identity", which RFC 9112 section 6.1 knows no more: whoever
            # stands before us may take the same request for another.
            self.refuse(HTTPStatus.BAD_REQUEST)
            return False
        isGood: bool = super().headerReceived(line)  # type: ignore[no-untyped-call]  # Twisted's
        return isGood

    def allHeadersReceived(self) -> None:
        """
        The head is there: see whether what follows is wanted.
        """
        request = self.requests[-1]
        code = self._objection(request)
        if code is None:
            super().allHeadersReceived()  # type: ignore[no-untyped-call]  # Twisted's
        else:
            self.length = None  # so that what follows is not taken for the next request
            self.refuse(code)

    def _objection(self, request: Request) -> int | None:
        hosts = request.requestHeaders.getRawHeaders(b"host", [])
        if len(hosts) > 1 or (not hosts and self._version == b"HTTP/1.1"):
            return HTTPStatus.BAD_REQUEST  # RFC 9112 section 3.2
        if self._command not in METHODS:
            return HTTPStatus.NOT_IMPLEMENTED
        if self.length == 0:
            return None
        resource = self.site.find(pathOf(self._path))
        request.body.expect(resource)
        if self.length is None or self.length <= request.body.most:
            return None
        return HTTPStatus.NOT_FOUND if resource is None else HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def allContentReceived(self) -> None:
        """
        The body is there, too.
        """
        if not self.transport.disconnecting:
            super().allContentReceived()  # type: ignore[no-untyped-call]  # Twisted's

    def refuse(self, code: int) -> None:
        """
        Answer a request that is not wanted, and close, once the client has had time to
        see it.
        """
        if self.transport.disconnecting:
            return
        self.setTimeout(None)  # type: ignore[no-untyped-call]  # Twisted's
        self.transport.write(
            b"HTTP/1.1 %d %b\r\nServer: %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            % (code, HTTPStatus(code).phrase.encode(), _SERVER)
        )
        self.transport.linger()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """
        For L{http.HTTPChannel}: this is not HTTP.
        """
        self.refuse(HTTPStatus.BAD_REQUEST)

    def detach(self) -> None:
        """
        See L{cmanager.httptransport.Channel}.
        """
        self.setTimeout(None)  # type: ignore[no-untyped-call]  # Twisted's
        for request in self.requests:
            request.channel = request.transport = None
        self.requests = []
        self.sequel = None
        gone: Any = None
        self.transport = self._networkProducer = gone
