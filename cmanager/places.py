# Copyright the cmanager authors.
# See LICENSE for details.

"""
What an HTTP-speaking listener has at its paths: WebSocket, BOSH, and the documents that
lead browsers to them.  Layer 4; what makes their streams is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus

from twisted.internet.interfaces import IProtocol
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from cmanager.arrival import Arrival, Origin
from cmanager.discovery import HOST_META, HOST_META_JSON, hostMeta, hostMetaJSON
from cmanager.proxied import Networks
from cmanager.upgrade import ANY, UpgradeRequest, refusalFor
from cmanager.web import Request

PREFLIGHT_SECONDS = 86400

MakeStream = Callable[[Origin, Arrival, UpgradeRequest], IProtocol]


class Place(Resource):
    """
    What is at one path.  Subclasses have C{render_GET} and its like, each of which returns
    the body or L{NOT_DONE_YET}.

    Web pages of other origins may read what it answers as far as C{origins} allows (CORS);
    it answers their browsers' questions itself.

    @ivar maxBodyBytes: What a request may bring.
    @ivar methods: Beside C{OPTIONS}.
    """

    isLeaf = True
    maxBodyBytes = 0
    methods: tuple[bytes, ...] = (b"GET", b"HEAD")

    def __init__(self, origins: Iterable[str] = (ANY,)) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self.origins = frozenset(origins)

    def admits(self, origin: bytes | None) -> bool:
        """
        Tell whether a page from there may use this; whoever is no browser says nothing.
        """
        if origin is None or ANY in self.origins:
            return True
        return origin.decode("ascii", "replace").lower() in self.origins

    def render(self, request: Request) -> bytes | int:
        """
        See L{IResource.render}.
        """
        self.allow(request)
        if request.method == b"OPTIONS":
            request.setResponseCode(HTTPStatus.NO_CONTENT)
            request.say(b"Allow", b", ".join((*self.methods, b"OPTIONS")))
            return b""
        if request.method not in self.methods:
            raise UnsupportedMethod((*self.methods, b"OPTIONS"))
        body: bytes | int = super().render(request)  # type: ignore[no-untyped-call]  # Twisted's
        return body

    def allow(self, request: Request) -> None:
        """
        Say what pages of other origins may do.
        """
        origin = request.getHeader(b"origin")
        if ANY in self.origins:
            request.say(b"Access-Control-Allow-Origin", b"*")
        else:
            request.say(b"Vary", b"Origin")
            if origin is None or not self.admits(origin):
                return
            request.say(b"Access-Control-Allow-Origin", origin)
        if request.method == b"OPTIONS":
            methods = b", ".join((*self.methods, b"OPTIONS"))
            request.say(b"Access-Control-Allow-Methods", methods)
            request.say(b"Access-Control-Allow-Headers", b"Content-Type")
            request.say(b"Access-Control-Max-Age", b"%d" % PREFLIGHT_SECONDS)


class Document(Place):
    """
    Something to read, for pages of every origin.
    """

    def __init__(self, type_: str, body: bytes) -> None:
        super().__init__()
        self._type = type_.encode()
        self._body = body

    def render_GET(self, request: Request) -> bytes:
        """
        Return it.
        """
        request.say(b"Content-Type", self._type)
        return self._body


class WebSocketPlace(Place):
    """
    Where HTTP becomes a WebSocket, on a connection of its own.

    @param make: Makes the stream that goes on with the connection.  The request it gets is
        one that L{refusalFor} does not refuse; nothing has been answered.
    """

    methods = (b"GET",)

    def __init__(self, origin: Origin, make: MakeStream) -> None:
        super().__init__(origin.listener.origins)
        self._origin = origin
        self._make = make

    def render_GET(self, request: Request) -> bytes | int:
        """
        Take the connection over, or say why not.
        """
        headers = request.requestHeaders.getAllRawHeaders()
        upgrade = UpgradeRequest(
            request.uri, [(name, value) for name, values in headers for value in values]
        )
        refusal = refusalFor(upgrade, self._origin.listener.origins)
        if request.clientproto != b"HTTP/1.1":
            # RFC 9110 section 7.8; what nginx speaks unless it is told.
            request.answer(HTTPStatus.BAD_REQUEST, "An upgrade needs HTTP/1.1.")
        elif refusal is not None:
            for name, value in refusal.headers:
                request.say(name, value)
            request.answer(refusal.status, refusal.reason)
        else:
            request.takeOver(lambda arrival: self._make(self._origin, arrival, upgrade))
        return NOT_DONE_YET


def hostMetaPlaces(urls: Iterable[str]) -> dict[str, Place]:
    """
    Make the documents in which browsers look for URLs (XEP-0156).

    @param urls: See L{hostMeta}.
    """
    urls = tuple(urls)
    return {
        HOST_META: Document("application/xrd+xml", hostMeta(urls)),
        HOST_META_JSON: Document("application/json", hostMetaJSON(urls)),
    }


class Places:
    """
    All paths of a listener, see L{cmanager.web.Site}.

    @param places: By path.  With or without a slash at its end, it is the same: clients
        for BOSH are often told to send one.
    @param others: Has all other paths.
    """

    def __init__(
        self, origin: Origin, places: Mapping[str, IResource], others: IResource | None = None
    ) -> None:
        self._origin = origin
        self._places = {path.rstrip("/").encode(): place for path, place in places.items()}
        self._others = others
        self.trusted = Networks(origin.listener.trusted)

    @property
    def requestSeconds(self) -> float:
        """
        See L{cmanager.web.Site}.
        """
        return self._origin.hub.settings.loginTimeout

    def find(self, path: bytes) -> IResource | None:
        """
        See L{cmanager.web.Site}.
        """
        return self._places.get(path.removesuffix(b"/"), self._others)
