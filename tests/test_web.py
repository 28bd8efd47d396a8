# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.web}.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.http import Request as TwistedRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from cmanager.arrival import Arrival
from cmanager.content import START_BYTES
from cmanager.httptransport import HTTPTransport
from cmanager.proxied import Networks
from cmanager.settings import ListenerSettings
from cmanager.web import (
    KEEP_ALIVE_SECONDS,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_LENGTH_DIGITS,
    Channel,
    Request,
    pathOf,
)
from tests.properties import given, settings, st
from tests.suite import Hub, storeIn
from tests.wires import Transport

CLIENT = "192.0.2.1"
PROXY = "198.51.100.9"
HOST = b"Host: a.example\r\n"
BODY_BYTES = 100


@frozen
class Response:
    """
    What a client has got.

    @ivar headers: By name in lower case.
    """

    code: int
    headers: dict[bytes, bytes]
    body: bytes


def responses(data: bytes, *, isHead: bool = False) -> list[Response]:
    """
    Take apart what was sent.
    """
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        match = re.fullmatch(rb"HTTP/1\.[01] (\d{3}) [A-Za-z- ]+", status)
        assert match is not None, status
        headers = {}
        for line in lines:
            name, _, value = line.partition(b": ")
            assert name.lower() not in headers, name
            headers[name.lower()] = value
        size = 0 if isHead else int(headers.get(b"content-length", b"0"))
        found.append(Response(int(match[1]), headers, data[:size]))
        data = data[size:]
    return found


class Echo(Resource):
    """
    Answers with what it was sent; later, if a test wants that.
    """

    isLeaf = True
    maxBodyBytes = BODY_BYTES

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []
        self.bodies: list[bytes] = []
        self.isLate = False

    def render_GET(self, request: Request) -> bytes | int:
        """
        Answer.
        """
        self.requests.append(request)
        self.bodies.append(request.content.read())
        return NOT_DONE_YET if self.isLate else b"echo " + self.bodies[-1]

    render_POST = render_GET


class Broken(Resource):
    """
    Has a mistake.
    """

    isLeaf = True

    def __init__(self, *, isLate: bool) -> None:
        super().__init__()
        self.isLate = isLate

    def render_GET(self, request: Request) -> bytes:
        """
        Fail.
        """
        if self.isLate:
            request.write(b"x")
        raise ValueError("a secret")


class FakeSite:
    """
    A few paths.
    """

    requestSeconds = 60.0

    def __init__(self) -> None:
        self.trusted = Networks([PROXY, "unix"])
        self.echo = Echo()
        self.taker = Taker()
        self.folder = Resource()
        self.folder.putChild(b"a", Echo())
        self.resources: dict[bytes, Any] = {
            b"/echo": self.echo,
            b"/broken": Broken(isLate=False),
            b"/breaking": Broken(isLate=True),
            b"/taker": self.taker,
            b"/none": Resource(),
            b"/a": self.folder,
        }

    def find(self, path: bytes) -> Any:
        """
        Look.
        """
        return self.resources.get(path)


class Taker(Resource):
    """
    Takes connections over.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[Arrival] = []

    def render_GET(self, request: Request) -> int:
        """
        Do it.
        """

        def make(arrival: Arrival) -> Protocol:
            self.arrivals.append(arrival)
            return Protocol()

        self.result = request.takeOver(make)
        return NOT_DONE_YET


class WebCase(TestCase):
    """
    A connection to a few paths.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = Hub(self.clock, storeIn(Path(self.mktemp())))
        self.site = FakeSite()
        self.connect()

    def connect(self, peer: Any = CLIENT, **arrival: Any) -> None:
        """
        Connect a client.
        """
        origin: Any = type("Origin", (), {})()
        origin.hub, origin.reactor = self.hub, self.clock
        origin.listener = ListenerSettings("http", "tcp:1")
        self.entered: list[Any] = []
        self.channel = Channel(self.site, self.hub.wheel.schedule)
        self.http = HTTPTransport(origin, Arrival(**arrival), self.channel, self.entered.append)
        if isinstance(peer, str):
            peer = IPv4Address("TCP", peer, 5000)
        self.transport = Transport(peer)
        self.http.makeConnection(self.transport)

    def receive(self, *parts: bytes) -> None:
        """
        Let the client send, one read each.
        """
        for part in parts:
            self.http.dataReceived(part)

    def got(self, *, isHead: bool = False) -> list[Response]:
        """
        Return what the client has got since the last call.
        """
        value = self.transport.value()
        self.transport.clear()
        return responses(value, isHead=isHead)

    def ask(self, line: bytes, *headers: bytes, body: bytes = b"") -> Response:
        """
        Send a request, and return the only response.
        """
        lines = b"".join(header + b"\r\n" for header in headers)
        self.receive(line + b" HTTP/1.1\r\n" + HOST + lines + b"\r\n" + body)
        (response,) = self.got(isHead=line.startswith(b"HEAD"))
        return response

    def assertRefused(self, code: int) -> None:
        """
        The only answer is C{code}, and nothing else is listened to.
        """
        (response,) = self.got()
        self.assertEqual((response.code, response.body), (code, b""))
        self.assertEqual(response.headers[b"connection"], b"close")
        self.receive(b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n")
        self.assertEqual(self.got(), [])
        self.pass_(6)
        self.assertTrue(self.transport.disconnecting)

    def pass_(self, seconds: int) -> None:
        """
        Let time pass.
        """
        for _ in range(seconds):
            self.clock.advance(1)
            self.hub.wheel.tick()

    def lose(self) -> None:
        """
        Lose the connection.
        """
        self.http.connectionLost(Failure(ConnectionDone()))


class AnswerTests(WebCase):
    """
    Requests are answered.
    """

    def test_get(self) -> None:
        """
        With what the resource says, on a connection that stays.
        """
        for _ in range(2):
            response = self.ask(b"GET /echo?x=y")
            self.assertEqual((response.code, response.body), (200, b"echo "))
        self.assertFalse(self.transport.disconnecting)
        self.assertEqual(self.site.echo.requests[0].args, {b"x": [b"y"]})

    def test_headers(self) -> None:
        """
        Who answers is said without a version; text is what there is unless it is said.
        """
        headers = self.ask(b"GET /echo").headers
        self.assertEqual(headers[b"server"], b"cmanager")
        self.assertEqual(headers[b"x-content-type-options"], b"nosniff")
        self.assertEqual(headers[b"content-type"], b"text/plain; charset=utf-8")
        self.assertIn(b"date", headers)

    def test_head(self) -> None:
        """
        C{HEAD} gets the headers of C{GET}.
        """
        response = self.ask(b"HEAD /echo")
        self.assertEqual((response.code, response.body), (200, b""))
        self.assertEqual(response.headers[b"content-length"], b"5")

    def test_post(self) -> None:
        """
        A body reaches the resource as it is, whatever it is called, with its length or in
        chunks, however it is split.
        """
        form = b"Content-Type: application/x-www-form-urlencoded"
        multi = b"Content-Type: multipart/form-data; boundary=b"
        head = b"POST /echo HTTP/1.1\r\n" + HOST
        for kind in (form, multi):
            body = b"a=b&c=d"
            response = self.ask(b"POST /echo", kind, b"Content-Length: 7", body=body)
            self.assertEqual(response.body, b"echo a=b&c=d")
        chunks = b"Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n4;x=y\r\n&c=d\r\n0\r\nx: y\r\n\r\n"
        for request in (head + chunks, head + b"Content-Length: 7\r\n\r\na=b&c=d"):
            for n in range(1, len(request)):
                self.receive(request[:n], request[n:])
            self.receive(*(request[n : n + 1] for n in range(len(request))))
            self.assertEqual({r.body for r in self.got()}, {b"echo a=b&c=d"})
        self.assertEqual(set(self.site.echo.bodies), {b"a=b&c=d"})

    def test_continue(self) -> None:
        """
        A client may ask first whether its body is wanted.
        """
        self.receive(
            b"POST /echo HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"
        )
        self.assertEqual(self.transport.value(), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_late(self) -> None:
        """
        An answer may come later; requests behind wait for it.
        """
        self.site.echo.isLate = True
        self.receive(b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n")
        self.site.echo.isLate = False
        self.receive(b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n")
        self.assertEqual(self.got(), [])
        self.site.echo.requests[0].complete(b"late")
        self.assertEqual([r.code for r in self.got()], [200, 404])

    def test_nothing(self) -> None:
        """
        Where there is nothing, a line of text says so.
        """
        response = self.ask(b"GET /nothing")
        self.assertEqual((response.code, response.body), (404, b"There is nothing here.\n"))
        self.assertEqual(response.headers[b"content-type"], b"text/plain; charset=utf-8")
        self.assertEqual(self.ask(b"OPTIONS *").code, 404)

    def test_method(self) -> None:
        """
        So it does where a method is not for this, with those that are.
        """
        response = self.ask(b"OPTIONS /echo")
        self.assertEqual(response.code, 405)
        allowed = response.headers[b"allow"].split(b", ")
        self.assertEqual(set(allowed), {b"GET", b"HEAD", b"POST"})
        self.assertNotIn(b"<", response.body)

    def test_below(self) -> None:
        """
        What is above a path may have something for it.
        """
        self.site.resources[b"/a/a"] = self.site.folder
        self.assertEqual(self.ask(b"GET /a").body, b"echo ")

    def test_absolute(self) -> None:
        """
        The target may be the whole URL.
        """
        self.assertEqual(self.ask(b"GET http://a.example:1/echo?x").code, 200)
        for target, path in (
            (b"/a?b", b"/a"),
            (b"https://a.example", b"/"),
            (b"HTTP://a.example?x", b"/"),
            (b"http://a.example/b?http://c", b"/b"),
            (b"ftp://a.example/b", b"ftp://a.example/b"),
            (b"http:/b", b"http:/b"),
            (b"*", b"*"),
        ):
            self.assertEqual(pathOf(target), path)

    def test_oldVersion(self) -> None:
        """
        A client of HTTP/1.0 is answered, and the connection closes.
        """
        self.receive(b"GET /echo HTTP/1.0\r\n\r\n")
        self.assertEqual([r.body for r in self.got()], [b"echo "])
        self.assertTrue(self.transport.disconnecting)

    def test_close(self) -> None:
        """
        So it does where the client says so.
        """
        self.assertEqual(self.ask(b"GET /echo", b"Connection: close").code, 200)
        self.assertTrue(self.transport.disconnecting)

    def test_broken(self) -> None:
        """
        A mistake of ours costs one request, and is told to the log alone.
        """
        response = self.ask(b"GET /broken")
        self.assertEqual(response.code, 500)
        self.assertNotIn(b"secret", response.body)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.ask(b"GET /echo").code, 200)

    def test_breaking(self) -> None:
        """
        Where the answer has begun it is cut, so that nobody takes it for whole.
        """
        self.receive(b"GET /breaking HTTP/1.1\r\n" + HOST + b"\r\n")
        self.assertTrue(self.transport.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_lost(self) -> None:
        """
        Who is to answer hears that the client has gone.
        """
        self.site.echo.isLate = True
        self.receive(b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n")
        gone = self.site.echo.requests[0].notifyFinish()
        self.lose()
        self.failureResultOf(gone, ConnectionDone)


class FakeSequel:
    """
    Notes what became of an answer.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []

    def taken(self) -> None:
        """
        Note it.
        """
        self.heard.append("taken")

    def received(self) -> None:
        """
        Note it.
        """
        self.heard.append("received")

    def lost(self) -> None:
        """
        Note it.
        """
        self.heard.append("lost")


class SequelTests(WebCase):
    """
    What becomes of an answer can be known.
    """

    def follow(self) -> FakeSequel:
        """
        Follow the answer that was the last.
        """
        sequel = FakeSequel()
        self.channel.follow(sequel)
        return sequel

    def test_received(self) -> None:
        """
        Who uses the connection again has got the last answer; that is said once.
        """
        self.ask(b"GET /echo")
        sequel = self.follow()
        self.receive(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\n")
        self.assertEqual(sequel.heard, [])
        self.receive(b"x")
        self.assertEqual(sequel.heard, ["received"])
        self.got()
        self.ask(b"GET /echo")
        self.lose()
        self.assertEqual(sequel.heard, ["received"])

    def test_proxy(self) -> None:
        """
        A proxy having it says nothing of its client.
        """
        for peer in (PROXY, UNIXAddress(None)):
            self.connect(peer)
            self.ask(b"GET /echo")
            sequel = self.follow()
            self.ask(b"GET /echo")
            self.lose()
            self.assertEqual(sequel.heard, ["taken"])

    def test_notAwaited(self) -> None:
        """
        Nor does a request that was sent before the last answer.
        """
        post = b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx"
        for reads in ([post + post], [post, post], [post, post[:5], post[5:]]):
            self.connect()
            self.site.echo.isLate = True
            self.receive(*reads)
            sequel = self.follow()
            self.site.echo.requests[-1].complete(b"")
            self.site.echo.requests[-1].complete(b"")
            self.assertEqual([r.code for r in self.got()], [200, 200])
            self.ask(b"GET /nothing")
            self.assertEqual(sequel.heard, [], reads)

    def test_lost(self) -> None:
        """
        It is lost where the kernel has not taken all of it when the connection goes, and
        otherwise it is not.
        """
        for isFull in (False, True):
            self.connect()
            self.ask(b"GET /echo")
            sequel = self.follow()
            if isFull:
                self.transport.isFull = True
                self.http.write(b"x")
            self.lose()
            self.assertEqual(sequel.heard, ["lost" if isFull else "taken"])

    def test_taken(self) -> None:
        """
        It is said when the kernel has taken all of an answer that it did not take at once.
        """
        self.ask(b"GET /echo")
        sequel = self.follow()
        self.transport.isFull = True
        self.http.write(b"x")
        self.assertEqual(sequel.heard, [])
        self.transport.isFull = False
        self.transport.producer.resumeProducing()
        self.assertEqual(sequel.heard, ["taken"])
        self.transport.clear()
        self.ask(b"GET /echo")
        self.assertEqual(sequel.heard, ["taken", "received"])

    def test_replaced(self) -> None:
        """
        Where another answer follows, no more will be known of the one before.
        """
        sequels = FakeSequel(), FakeSequel()
        for sequel in sequels:
            self.channel.follow(sequel)
        self.lose()
        self.assertEqual([sequel.heard for sequel in sequels], [["taken"], ["taken"]])


class AllowanceTests(WebCase):
    """
    How long a body may be can depend on how it begins.
    """

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[bytes] = []
        self.site.echo.maxBodyBytes = 3 * START_BYTES
        self.site.echo.allowance = self.allowance  # type: ignore[attr-defined]  # for the test
        self.allowed = 2 * START_BYTES

    def allowance(self, start: bytes) -> int:
        """
        Note the beginning.
        """
        self.asked.append(start)
        return self.allowed

    def post(self, size: int, *, read: int = 1000, isChunked: bool = False) -> None:
        """
        Send so many bytes.
        """
        body = bytes(n % 251 for n in range(size))
        head = b"Transfer-Encoding: chunked" if isChunked else b"Content-Length: %d" % size
        if isChunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
        data = b"POST /echo HTTP/1.1\r\n" + HOST + head + b"\r\n\r\n" + body
        self.receive(*(data[n : n + read] for n in range(0, len(data), read)))

    def test_short(self) -> None:
        """
        Nobody asks what a short one begins with.
        """
        self.post(START_BYTES)
        self.assertEqual([r.code for r in self.got()], [200])
        self.assertEqual(self.asked, [])

    def test_longer(self) -> None:
        """
        What may come comes, not a byte more; it is asked once, with as much as there is.
        """
        for read in (1000, 100000):
            for isChunked in (False, True):
                for over in (0, 1):
                    self.connect()
                    self.asked = []
                    self.post(self.allowed + over, read=read, isChunked=isChunked)
                    (response,) = self.got()
                    self.assertEqual(response.code, 413 if over else 200)
                    self.assertEqual(self.asked, [bytes(n % 251 for n in range(START_BYTES))])

    def test_notMore(self) -> None:
        """
        More than anybody may send is not asked for.
        """
        self.allowed = 10 * START_BYTES
        self.post(3 * START_BYTES)
        self.post(3 * START_BYTES + 1)
        self.assertEqual([r.code for r in self.got()], [200, 413])
        self.assertEqual(len(self.asked), 1)


class WhoTests(WebCase):
    """
    Who makes a request.
    """

    def who(self, *headers: bytes) -> tuple[str | None, bool, bool | None]:
        """
        Make one, and return where it is from, whether it is encrypted, and whether a
        proxy says so.
        """
        self.ask(b"GET /echo", *headers)
        request = self.site.echo.requests[-1]
        request.channel = self.channel  # it has let go of it with its answer
        return request.address, request.isSecure(), request.isSecureOutside

    def test_direct(self) -> None:
        """
        Who is connected, whatever it says of others.
        """
        told = (b"X-Forwarded-For: 192.0.2.77", b"X-Forwarded-Proto: https")
        self.assertEqual(self.who(*told), (CLIENT, False, None))

    def test_proxied(self) -> None:
        """
        Who a trusted proxy says it is, and by what it came there.
        """
        for address in (PROXY, UNIXAddress(None)):
            self.connect(address)
            told = (b"X-Forwarded-For: 192.0.2.77", b"X-Forwarded-Proto: https")
            self.assertEqual(self.who(*told), ("192.0.2.77", True, True))
            self.assertEqual(self.who(told[0]), ("192.0.2.77", False, None))
            told = (b"Forwarded: for=192.0.2.78;proto=http",)
            self.assertEqual(self.who(*told), ("192.0.2.78", False, False))
        self.assertEqual(self.who(), (None, False, None))

    def test_preface(self) -> None:
        """
        Where the door has been told by a preface, that is who is connected.
        """
        self.connect(PROXY, address="192.0.2.5", isSecureOutside=True)
        self.assertEqual(self.who(b"X-Forwarded-For: 192.0.2.77"), ("192.0.2.5", True, True))
        self.connect(PROXY, address=PROXY, isSecureOutside=True)
        told = (b"X-Forwarded-For: 192.0.2.77", b"X-Forwarded-Proto: http")
        self.assertEqual(self.who(*told), ("192.0.2.77", False, False))

    def test_twisted(self) -> None:
        """
        What Twisted's own requests and channels say of a connection is right.
        """
        for isSecure in (True, False):
            self.connect(PROXY, isSecureOutside=isSecure)
            self.who()
            self.assertIs(self.channel.isSecure(), isSecure)
            self.assertIs(TwistedRequest.isSecure(self.site.echo.requests[-1]), isSecure)


class BoundTests(WebCase):
    """
    What is too large is not read.
    """

    def test_headers(self) -> None:
        """
        The n-th header is taken, the one after is not.
        """
        more = [b"x-%d: y" % n for n in range(MAX_HEADERS - 1)]
        self.assertEqual(self.ask(b"GET /echo", *more).code, 200)
        lines = b"".join(line + b"\r\n" for line in [*more, b"z: z"])
        self.receive(b"GET /echo HTTP/1.1\r\n" + HOST + lines + b"\r\n")
        self.assertRefused(400)

    def test_head(self) -> None:
        """
        A head of n bytes is taken, one of a byte more is not.
        """
        line = b"GET /echo HTTP/1.1"
        rest = MAX_HEAD_BYTES - len(line) - len(HOST) + 2
        for size, isGood in ((rest, True), (rest + 1, False)):
            self.connect()
            filler = b"x: " + b"y" * (size - 3)
            self.receive(line + b"\r\n" + HOST + filler + b"\r\n\r\n")
            if isGood:
                self.assertEqual([r.code for r in self.got()], [200])
            else:
                self.assertRefused(400)

    def test_line(self) -> None:
        """
        A line that is too long is refused before it ends.
        """
        self.receive(b"GET /" + b"x" * (MAX_HEAD_BYTES - 4))
        self.assertEqual(self.got(), [])
        self.receive(b"xx")
        self.assertRefused(431)

    def test_folded(self) -> None:
        """
        Headers of several lines are refused.
        """
        for fold in (b" x", b"\tx"):
            self.connect()
            self.receive(b"GET /echo HTTP/1.1\r\n" + HOST + b"a: b\r\n" + fold + b"\r\n\r\n")
            self.assertRefused(400)

    def test_body(self) -> None:
        """
        A body of n bytes is taken; one that says that it has one more is not waited for.
        """
        head = b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n"
        self.receive(head % BODY_BYTES, b"x" * BODY_BYTES)
        self.assertEqual([r.code for r in self.got()], [200])
        self.receive(head % (BODY_BYTES + 1))
        self.assertRefused(413)
        self.assertEqual(len(self.site.echo.requests), 1)

    def test_chunks(self) -> None:
        """
        One in chunks is refused with the byte that is too many, however large its chunk
        is going to be, and though it ends in the same read.
        """
        head = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        self.receive(head + b"64\r\n" + b"x" * BODY_BYTES + b"\r\n0\r\n\r\n")
        self.assertEqual([r.code for r in self.got()], [200])
        for body in (
            b"65\r\n" + b"x" * (BODY_BYTES + 1) + b"\r\n0\r\n\r\n",
            b"fffffff\r\n" + b"x" * (BODY_BYTES + 1),
            b"32\r\n" + b"x" * 50 + b"\r\n33\r\n" + b"x" * 51 + b"\r\n1\r\nx\r\n",
        ):
            self.connect()
            self.receive(head, body)
            self.assertRefused(413)
        self.assertEqual(self.site.echo.bodies, [b"x" * BODY_BYTES])

    def test_noBody(self) -> None:
        """
        Where none is expected none may come; where nothing is that is what is said.
        """
        for path, code in ((b"/taker", 413), (b"/nothing", 404)):
            self.connect()
            self.receive(b"POST %b HTTP/1.1\r\n" % path + HOST + b"Content-Length: 1\r\n\r\n")
            self.assertRefused(code)
        self.connect()
        self.receive(
            b"POST /taker HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx"
        )
        self.assertRefused(413)

    def test_digits(self) -> None:
        """
        A length has so many digits at most.
        """
        good, bad = b"0" * (MAX_LENGTH_DIGITS - 1) + b"1", b"9" * 5000
        response = self.ask(b"POST /echo", b"Content-Length: " + good, body=b"x")
        self.assertEqual(response.body, b"echo x")
        for digits in (b"0" + good, bad):
            self.connect()
            self.receive(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: " + digits)
            self.receive(b"\r\n\r\n")
            self.assertRefused(413)

    def test_pipelined(self) -> None:
        """
        While an answer is waited for, the transport is read no further than that there
        is something.
        """
        self.site.echo.isLate = True
        request = b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n"
        self.receive(request)
        for _ in range(100):
            self.receive(request * 10)
        self.assertEqual(self.transport.producerState, "paused")
        self.assertEqual(len(self.site.echo.requests), 1)

    def test_pipelinedUnread(self) -> None:
        """
        So it is where the client has not taken the answer before; once it has both, all is
        read on.
        """
        request = b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n"
        self.transport.isFull = True
        self.receive(request)
        self.site.echo.isLate = True
        self.receive(request, *[b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n"] * 500)
        self.assertEqual(self.transport.producerState, "paused")
        self.transport.isFull = False
        self.transport.producer.resumeProducing()
        self.assertEqual(self.transport.producerState, "paused")
        self.site.echo.requests[-1].complete(b"")
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual([r.code for r in self.got()], [200, 200] + [404] * 500)

    def test_pipelinedPieces(self) -> None:
        """
        What waits behind a request is kept in one piece, in however many it came.
        """
        self.site.echo.isLate = True
        head = b"GET /echo HTTP/1.1\r\n" + HOST
        self.receive(head + b"\r\n", *[bytes([byte]) for byte in head])
        self.assertEqual(self.channel._dataBuffer, [head])
        self.site.echo.isLate = False
        self.site.echo.requests[0].complete(b"")
        self.receive(b"\r\n")
        self.assertEqual([r.body for r in self.got()], [b"", b"echo "])


class RefusalTests(WebCase):
    """
    What is not for us.
    """

    def test_garbage(self) -> None:
        """
        What is no HTTP/1.1 is refused.
        """
        for head in (
            b"GET /echo\r\n",
            b"GET  /echo HTTP/1.1\r\n",
            b"GET /echo HTTP/2.0\r\n",
            b"PRI * HTTP/2.0\r\n",
            b"GET /\x80\xff HTTP/1.1\r\n",
            b"HELO\r\n",
            b"\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /echo HTTP/1.1\r\nb\xc3d: x\r\n\r\n",
            b"GET /echo HTTP/1.1\r\n" + HOST + b"a: b\0c\r\n\r\n",
            b"GET /echo HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
            b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
            b"POST /echo HTTP/1.1\r\n"
            + HOST
            + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n",
            b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n",
            b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
        ):
            self.connect()
            self.receive(head)
            self.assertRefused(400)
        self.assertEqual(self.site.echo.requests, [])

    def test_host(self) -> None:
        """
        A request without a host, or with two of them, is refused.
        """
        for hosts in (b"", HOST * 2):
            self.connect()
            self.receive(b"GET /echo HTTP/1.1\r\n" + hosts + b"\r\n")
            self.assertRefused(400)

    def test_methods(self) -> None:
        """
        So are methods that nobody needs here.
        """
        for method in (b"PUT", b"DELETE", b"TRACE", b"CONNECT", b"PATCH", b"X", b"get"):
            self.connect()
            self.receive(method + b" /echo HTTP/1.1\r\n" + HOST + b"\r\n")
            self.assertRefused(501)

    def test_behind(self) -> None:
        """
        What comes behind a request that is refused, in the same read, is not looked at.
        """
        good = b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n"
        self.receive(b"PUT /echo HTTP/1.1\r\n" + HOST + b"\r\n" + good)
        self.assertRefused(501)
        self.assertEqual(self.site.echo.requests, [])

    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=20),
                st.sampled_from(
                    [
                        b"GET ",
                        b"POST ",
                        b"/echo",
                        b"/nothing?a=%zz",
                        b" HTTP/1.1",
                        b" HTTP/1.0",
                        b"\r\n",
                        b"\r\n\r\n",
                        HOST,
                        b"Content-Length: 3",
                        b"Content-Length: ",
                        b"Transfer-Encoding: chunked",
                        b"Cookie: a=b;c",
                        b"Content-Type: multipart/form-data",
                        b"Connection: close",
                        b"3\r\nabc\r\n",
                        b"0\r\n\r\n",
                        b"Forwarded: for=",
                        b"http://",
                    ]
                ),
            ),
            max_size=40,
        )
    )
    @settings(max_examples=300)
    def test_anything(self, parts: list[bytes]) -> None:
        """
        Whatever comes, nothing breaks, and what is answered is HTTP.
        """
        self.connect(PROXY)
        self.receive(*(part for part in parts if part))
        self.got()
        self.lose()
        self.assertEqual(self.flushLoggedErrors(), [])


class TimeTests(WebCase):
    """
    Nobody holds a connection for nothing.
    """

    def test_idle(self) -> None:
        """
        Without a request it is closed: before the first as soon as that has to be there, and
        later between others.
        """
        self.pass_(59)
        self.assertFalse(self.transport.disconnecting)
        self.pass_(2)
        self.assertTrue(self.transport.disconnecting)
        self.connect()
        self.ask(b"GET /echo")
        self.pass_(int(KEEP_ALIVE_SECONDS) - 1)
        self.assertFalse(self.transport.disconnecting)
        self.pass_(2)
        self.assertTrue(self.transport.disconnecting)

    def test_slow(self) -> None:
        """
        A request has to be there in time from its first byte on, however it trickles.
        """
        self.pass_(50)
        request = b"GET /echo HTTP/1.1\r\n" + HOST + b"x: " + b"y" * 100
        for n in range(59):
            self.receive(request[n : n + 1])
            self.pass_(1)
        self.assertFalse(self.transport.disconnecting)
        self.receive(request[59:60])
        self.pass_(2)
        self.assertTrue(self.transport.disconnecting)

    def test_slowBody(self) -> None:
        """
        That goes for its body, too.
        """
        self.receive(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 99\r\n\r\n")
        for _ in range(59):
            self.receive(b"x")
            self.pass_(1)
        self.assertFalse(self.transport.disconnecting)
        self.pass_(2)
        self.assertTrue(self.transport.disconnecting)

    def test_late(self) -> None:
        """
        An answer may take its time; after it, the client has its own.
        """
        self.site.echo.isLate = True
        self.receive(b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n")
        self.receive(b"GET")
        self.pass_(300)
        self.assertFalse(self.transport.disconnecting)
        self.site.echo.requests[0].complete(b"late")
        self.pass_(59)
        self.assertFalse(self.transport.disconnecting)
        self.pass_(2)
        self.assertTrue(self.transport.disconnecting)

    def test_gone(self) -> None:
        """
        No time-out is left of who has gone.
        """
        self.receive(b"GET")
        self.lose()
        self.assertEqual(len(self.hub.wheel), 0)


class TakeOverTests(WebCase):
    """
    The connection goes on without HTTP.
    """

    def test_taken(self) -> None:
        """
        The client is who the request says it is; nothing has been answered, no time-out is
        left, and nothing holds on to it.
        """
        self.lose()
        self.connect(PROXY)
        self.receive(
            b"GET /taker HTTP/1.1\r\n"
            + HOST
            + b"X-Forwarded-For: 192.0.2.77\r\nX-Forwarded-Proto: https\r\n\r\n"
        )
        (arrival,) = self.site.taker.arrivals
        self.assertEqual((arrival.address, arrival.isSecureOutside), ("192.0.2.77", True))
        self.assertFalse(arrival.isCounted)
        self.assertEqual(self.got(), [])
        self.assertEqual(len(self.hub.wheel), 0)
        self.assertEqual(len(self.entered), 1)
        self.assertEqual(self.channel.requests, [])

    def test_later(self) -> None:
        """
        It may, after other requests, and in the same read as the last of them.
        """
        self.ask(b"GET /echo")
        get = b" HTTP/1.1\r\n" + HOST + b"\r\n"
        self.receive(b"GET /echo" + get + b"GET /taker" + get)
        self.assertEqual([r.code for r in self.got()], [200])
        self.assertEqual(len(self.site.taker.arrivals), 1)

    def test_rest(self) -> None:
        """
        A client that sends more than the request, before it has an answer, gets one of
        its own, and the connection closes.
        """
        for end in (b"", b"Transfer-Encoding: chunked\r\n\r\n0\r\n"):
            self.connect()
            self.receive(b"GET /taker HTTP/1.1\r\n" + HOST + end + b"\r\n\x81")
            (response,) = self.got()
            self.assertEqual(response.code, 400)
            self.assertEqual(response.headers[b"connection"], b"close")
            self.assertTrue(self.transport.disconnecting)
            self.assertEqual(self.site.taker.arrivals, [])
