# Copyright the cmanager authors.
# See LICENSE for details.

"""
What others can ask about a domain: the DNS, and documents on the web.  Layer 4; judges
nothing, that is L{cmanager.survey}'s part.

Answers are anybody's: each takes a bounded time and has a bounded size.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any, NoReturn, Protocol
from urllib.parse import urljoin

from attrs import frozen
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOutError
from twisted.internet.error import ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol as ByteProtocol
from twisted.names import dns, error
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from cmanager.errors import CManagerError

QUERY_SECONDS = (1, 3)
"""
How long to wait for a name server before it is asked again, and for the last time.
"""

LOOKUP_SECONDS = 10.0
PAGE_SECONDS = 10.0
MAX_PAGE_BYTES = 65536
MAX_REDIRECTS = 5
MAX_RECORDS = 32
"""
Of one answer of the DNS, not more is looked at.
"""

ORIGIN = "https://client.example"
"""
For whom pages are asked: some servers allow origins only where one is named.
"""

_REDIRECTS = (301, 302, 303, 307, 308)


class Unanswered(CManagerError):
    """
    A question has no answer, as opposed to the answer that there is nothing.

    @ivar reason: Why, in an operator's words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@frozen
class Service:
    """
    What one SRV record says.

    @ivar target: Without a final dot; empty if it says that there is no such service.
    """

    priority: int
    weight: int
    port: int
    target: str


@frozen
class Place:
    """
    What the addresses of a name are.

    @ivar alias: What it is only another name for, or L{None}.
    """

    addresses: tuple[str, ...] = ()
    alias: str | None = None


@frozen
class Page:
    """
    What a web server answers.

    @ivar origins: Whose scripts may read it, or L{None} if it does not say.
    """

    status: int
    body: bytes = b""
    origins: str | None = None


class IWorld(Protocol):
    """
    Where one can ask.
    """

    async def services(self, name: str) -> list[Service]:
        """
        Look up SRV records.  There may be none.

        @raise Unanswered: Nobody knows.
        """

    async def place(self, name: str) -> Place:
        """
        Look up addresses of both kinds.  There may be none.

        @raise Unanswered: Nobody knows.
        """

    async def page(self, url: str) -> Page:
        """
        Get a page, through redirections, over HTTPS only.

        @raise Unanswered: There is none.
        """


class IResolver(Protocol):
    """
    The part of L{twisted.internet.interfaces.IResolver} that is used.
    """

    def lookupService(self, name: str, timeout: object) -> Deferred[Any]:
        """
        Look up SRV records.
        """

    def lookupAddress(self, name: str, timeout: object) -> Deferred[Any]:
        """
        Look up A records.
        """

    def lookupIPV6Address(self, name: str, timeout: object) -> Deferred[Any]:
        """
        Look up AAAA records.
        """


class World:
    """
    See L{IWorld}.
    """

    def __init__(self, clock: IReactorTime, resolver: IResolver, agent: IAgent) -> None:
        self._clock = clock
        self._resolver = resolver
        self._agent = agent

    async def services(self, name: str) -> list[Service]:
        """
        See L{IWorld}.
        """
        answers = await self._ask(self._resolver.lookupService, name)
        return [
            Service(
                record.payload.priority,
                record.payload.weight,
                record.payload.port,
                _text(record.payload.target),
            )
            for record in answers
            if record.type == dns.SRV
        ]

    async def place(self, name: str) -> Place:
        """
        See L{IWorld}.
        """
        answers: list[Any] = []
        failures: list[Unanswered] = []
        for lookUp in (self._resolver.lookupAddress, self._resolver.lookupIPV6Address):
            try:
                answers += await self._ask(lookUp, name)
            except Unanswered as failure:
                failures.append(failure)
        if failures and not answers:
            raise failures[0]
        addresses: list[str] = []
        alias = None
        for record in answers:
            if record.type == dns.A:
                addresses.append(record.payload.dottedQuad())
            elif record.type == dns.AAAA:
                addresses.append(str(IPv6Address(record.payload.address)))
            elif record.type == dns.CNAME and alias is None:
                alias = _text(record.payload.name)
        return Place(tuple(dict.fromkeys(addresses)), alias)

    async def _ask(
        self, lookUp: Callable[[str, object], Deferred[Any]], name: str
    ) -> list[Any]:  # Any: dns.RRHeader
        asked = lookUp(name, QUERY_SECONDS).addTimeout(LOOKUP_SECONDS, self._clock)
        try:
            answers, _, _ = await asked
        except error.DNSNameError:
            return []
        except Exception as reason:  # noqa: BLE001 # resolvers raise many kinds
            raise Unanswered(f"the DNS gives no answer ({_kind(reason)})") from None
        return list(answers[:MAX_RECORDS])

    async def page(self, url: str) -> Page:
        """
        See L{IWorld}.
        """

        def late(_: object, seconds: float) -> NoReturn:
            raise Unanswered(f"no answer within {seconds:g} seconds")

        getting = Deferred.fromCoroutine(self._page(url))
        return await getting.addTimeout(PAGE_SECONDS, self._clock, late)

    async def _page(self, url: str) -> Page:
        for _ in range(MAX_REDIRECTS + 1):
            if not url.startswith("https://"):
                raise Unanswered(f"it leads to {url}, which is not https")
            response, body = await self._get(url)
            location = _header(response, b"location")
            if response.code not in _REDIRECTS or location is None:
                return Page(response.code, body, _header(response, b"access-control-allow-origin"))
            try:
                url = urljoin(url, location)
            except ValueError:
                raise Unanswered(f"it leads to {location}, which is no URL") from None
        raise Unanswered(f"it leads on more than {MAX_REDIRECTS} times")

    async def _get(self, url: str) -> tuple[IResponse, bytes]:
        headers = Headers({"user-agent": ["cmanager"], "origin": [ORIGIN], "accept": ["*/*"]})
        try:
            request = self._agent.request(b"GET", url.encode("ascii"), headers, None)
            response = await request
            return response, await _read(response)
        except (Unanswered, CancelledError):
            raise
        except Exception as reason:  # noqa: BLE001 # agents raise many kinds
            raise Unanswered(_words(reason)) from None


class _Body(ByteProtocol):
    """
    Collects a page, and ends the connection once it is too large.
    """

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._stop())
        self._pieces: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        """
        See L{IProtocol}.
        """
        self._size += len(data)
        if self._size <= MAX_PAGE_BYTES:
            self._pieces.append(data)
        elif not self.done.called:
            self.done.errback(Unanswered(f"the page is larger than {MAX_PAGE_BYTES} bytes"))
            self._stop()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # Twisted's default
        """
        See L{IProtocol}.
        """
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._pieces))
        else:
            self.done.errback(reason)

    def _stop(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


def _read(response: IResponse) -> Deferred[bytes]:
    body = _Body()
    response.deliverBody(body)
    return body.done


def _header(response: IResponse, name: bytes) -> str | None:
    values = response.headers.getRawHeaders(name)
    return values[0].decode("latin-1") if values else None


def _text(name: Any) -> str:  # Any: dns.Name
    text: str = name.name.decode("ascii", "backslashreplace")
    return text.rstrip(".").lower()


def _kind(reason: Exception) -> str:
    names = {
        error.DNSQueryTimeoutError: "it takes too long",
        TimedOutError: "it takes too long",
        error.DNSServerError: "SERVFAIL",
        error.DNSQueryRefusedError: "REFUSED",
    }
    return names.get(type(reason), type(reason).__name__)


def _words(reason: BaseException) -> str:
    while getattr(reason, "reasons", None):  # twisted.web wraps what has happened
        reason = reason.reasons[0].value  # type: ignore[attr-defined]  # just seen
    if isinstance(reason, SSL.Error):
        texts = [str(item[-1]) for item in (reason.args[0] if reason.args else [])]
        return "TLS fails: " + (", ".join(texts) or "the connection ends")
    if isinstance(reason, VerificationError):
        return "the certificate is for another name"
    if isinstance(reason, DNSLookupError):
        return "no such host"
    if isinstance(reason, ConnectionRefusedError):
        return "the connection is refused"
    if isinstance(reason, TimeoutError):
        return "the host does not answer"
    return str(reason) or type(reason).__name__


def connected(reactor: Any) -> World:
    """
    Return the world as this machine sees it, but for its own file of hosts.
    """
    from twisted.names.client import Resolver
    from twisted.web.client import Agent

    return World(reactor, Resolver(resolv="/etc/resolv.conf", reactor=reactor), Agent(reactor))
