# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.world}.
"""

from __future__ import annotations

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeoutError
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.names import dns, error
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from zope.interface import implementer
from zope.interface.verify import verifyObject

from cmanager.world import (
    LOOKUP_SECONDS,
    MAX_PAGE_BYTES,
    MAX_RECORDS,
    MAX_REDIRECTS,
    ORIGIN,
    PAGE_SECONDS,
    Page,
    Place,
    Service,
    Unanswered,
    World,
    connected,
)

URL = "https://montague.example/.well-known/host-meta"
NAME = "_xmpp-client._tcp.montague.example"
Answer = list[object] | Exception | None


def header(payload: object, name: str = "x") -> dns.RRHeader:
    """
    Make a record of an answer.
    """
    return dns.RRHeader(name.encode(), payload.TYPE, payload=payload)  # type: ignore[attr-defined]


class Resolver:
    """
    Answers from a table by kind; L{None} is never answered.
    """

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    def _answer(self, kind: str, name: str) -> Deferred[object]:
        self.asked.append((kind, name))
        answer = self.answers.get(kind, error.DNSNameError())
        if answer is None:
            return Deferred()
        if isinstance(answer, Exception):
            return fail(answer)
        return succeed(([header(payload) for payload in answer], [], []))

    def lookupService(self, name: str, timeout: object) -> Deferred[object]:
        return self._answer("srv", name)

    def lookupAddress(self, name: str, timeout: object) -> Deferred[object]:
        return self._answer("a", name)

    def lookupIPV6Address(self, name: str, timeout: object) -> Deferred[object]:
        return self._answer("aaaa", name)


@implementer(IResponse)
class Response:
    """
    A response whose body is given when the test wants it.
    """

    version = (b"HTTP", 1, 1)
    phrase = b"x"
    length = 0
    request = None
    previousResponse = None

    def __init__(
        self,
        code: int,
        body: bytes | None = b"",
        end: Exception | None = None,
        **headers: bytes,
    ) -> None:
        self.code = code
        self.headers = Headers()
        for name, value in headers.items():
            self.headers.addRawHeader(name.replace("_", "-").encode(), value)
        self.transport = StringTransport()
        self.body = body
        self.end = end or ResponseDone()

    def deliverBody(self, protocol: Protocol) -> None:
        self.protocol = protocol
        protocol.makeConnection(self.transport)
        if self.body is not None:
            protocol.dataReceived(self.body)
            protocol.connectionLost(Failure(self.end))

    def setPreviousResponse(self, response: object) -> None:
        raise AssertionError("not used")


@implementer(IAgent)
class Agent:
    """
    Answers from a table; what is not in it is asked in vain.
    """

    def __init__(self, table: dict[str, Response | Exception] | None = None) -> None:
        self.table = table or {}
        self.asked: list[str] = []
        self.cancelled = 0

    def request(
        self, method: bytes, uri: bytes, headers: object = None, bodyProducer: object = None
    ) -> Deferred[object]:
        assert method == b"GET"
        assert isinstance(headers, Headers)
        assert headers.getRawHeaders("origin") == [ORIGIN]
        self.asked.append(uri.decode())
        answer = self.table.get(uri.decode())
        if isinstance(answer, Exception):
            return fail(answer)
        if answer is not None:
            return succeed(answer)

        def cancel(_: Deferred[object]) -> None:
            self.cancelled += 1

        return Deferred(cancel)


class Case(SynchronousTestCase):
    """
    With what the tests share.
    """

    def setUp(self) -> None:
        """
        Have a clock.
        """
        self.clock = Clock()

    def reasonOf(self, asked: Deferred[object]) -> str:
        """
        Return why there is no answer.
        """
        failure = self.failureResultOf(asked, Unanswered)
        return str(failure.value)


class ServiceTests(Case):
    """
    SRV records.
    """

    def ask(self, answer: Answer) -> Deferred[object]:
        """
        Look up.
        """
        self.resolver = Resolver(srv=answer)
        return ensureDeferred(World(self.clock, self.resolver, Agent()).services(NAME))

    def test_records(self) -> None:
        """
        Each record is a service; what else is in the answer is none.
        """
        found = self.ask(
            [
                dns.Record_SRV(1, 2, 5222, b"Xmpp.Montague.Example."),
                dns.Record_CNAME(b"x"),
                dns.Record_SRV(0, 0, 0, b"."),
            ]
        )
        self.assertEqual(
            self.successResultOf(found),
            [Service(1, 2, 5222, "xmpp.montague.example"), Service(0, 0, 0, "")],
        )
        self.assertEqual(self.resolver.asked, [("srv", NAME)])

    def test_bytes(self) -> None:
        """
        A name may hold any byte.
        """
        record = dns.Record_SRV(0, 0, 1, b"x")
        record.target.name = b"\xff.example"
        (service,) = self.successResultOf(self.ask([record]))
        self.assertEqual(service.target, "\\xff.example")

    def test_none(self) -> None:
        """
        A name that does not exist has no records, and so has one without.
        """
        for answer in (error.DNSNameError(), []):
            self.assertEqual(self.successResultOf(self.ask(answer)), [])

    def test_unanswered(self) -> None:
        """
        That nobody knows is something else than that there is nothing.
        """
        for answer, why in (
            (error.DNSServerError(), "SERVFAIL"),
            (error.DNSQueryRefusedError(), "REFUSED"),
            (error.DNSQueryTimeoutError(1), "too long"),
            (error.DNSFormatError(), "DNSFormatError"),
            (OSError("x"), "OSError"),
        ):
            self.assertIn(why, self.reasonOf(self.ask(answer)))

    def test_late(self) -> None:
        """
        An answer has its time, whatever the resolver does.
        """
        asked = self.ask(None)
        self.clock.advance(LOOKUP_SECONDS - 0.1)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.assertIn("too long", self.reasonOf(asked))

    def test_many(self) -> None:
        """
        Of so many records not more are looked at.
        """
        for number in (MAX_RECORDS, MAX_RECORDS + 1):
            found = self.ask([dns.Record_SRV(0, 0, i, b"x") for i in range(number)])
            self.assertEqual(len(self.successResultOf(found)), MAX_RECORDS)


class PlaceTests(Case):
    """
    Addresses.
    """

    def ask(self, **answers: Answer) -> Deferred[object]:
        """
        Look up.
        """
        return ensureDeferred(World(self.clock, Resolver(**answers), Agent()).place("h.example"))

    def test_both(self) -> None:
        """
        Addresses of both kinds, each once.
        """
        found = self.ask(
            a=[dns.Record_A("192.0.2.1"), dns.Record_A("192.0.2.1"), dns.Record_TXT(b"x")],
            aaaa=[dns.Record_AAAA("2001:db8::1")],
        )
        self.assertEqual(self.successResultOf(found), Place(("192.0.2.1", "2001:db8::1")))

    def test_alias(self) -> None:
        """
        The first alias on the way is told.
        """
        alias: list[object] = [dns.Record_CNAME(b"A.example."), dns.Record_CNAME(b"b.example")]
        found = self.ask(a=[*alias, dns.Record_A("192.0.2.1")], aaaa=alias)
        self.assertEqual(self.successResultOf(found), Place(("192.0.2.1",), "a.example"))

    def test_none(self) -> None:
        """
        A name may have no addresses.
        """
        self.assertEqual(self.successResultOf(self.ask()), Place())

    def test_half(self) -> None:
        """
        Addresses of one kind are enough; with none, the question has no answer.
        """
        found = self.ask(a=[dns.Record_A("192.0.2.1")], aaaa=error.DNSServerError())
        self.assertEqual(self.successResultOf(found), Place(("192.0.2.1",)))
        found = self.ask(a=error.DNSServerError(), aaaa=[dns.Record_AAAA("::1")])
        self.assertEqual(self.successResultOf(found), Place(("::1",)))
        self.assertIn("SERVFAIL", self.reasonOf(self.ask(a=error.DNSServerError(), aaaa=[])))


class PageTests(Case):
    """
    Pages.
    """

    def ask(self, table: dict[str, Response | Exception], url: str = URL) -> Deferred[object]:
        """
        Get a page.
        """
        self.agent = Agent(table)
        return ensureDeferred(World(self.clock, Resolver(), self.agent).page(url))

    def test_doubles(self) -> None:
        """
        The doubles are what they say.
        """
        verifyObject(IAgent, Agent())
        verifyObject(IResponse, Response(200))

    def test_page(self) -> None:
        """
        A page is its status, its body, and who may read it.
        """
        response = Response(404, b"x", access_control_allow_origin=b"*")
        self.assertEqual(self.successResultOf(self.ask({URL: response})), Page(404, b"x", "*"))
        response = Response(200, b"y", PotentialDataLoss())
        self.assertEqual(self.successResultOf(self.ask({URL: response})), Page(200, b"y"))

    def test_redirect(self) -> None:
        """
        Redirections are followed, relative ones from where they stand.
        """
        found = self.ask(
            {
                URL: Response(301, location=b"https://www.montague.example/a/b"),
                "https://www.montague.example/a/b": Response(307, location=b"../c"),
                "https://www.montague.example/c": Response(200, b"x"),
            }
        )
        self.assertEqual(self.successResultOf(found), Page(200, b"x"))
        self.assertEqual(len(self.agent.asked), 3)

    def test_redirects(self) -> None:
        """
        They are followed so many times.
        """
        table: dict[str, Response | Exception] = {
            f"https://a.example/{i}": Response(302, location=f"/{i + 1}".encode())
            for i in range(MAX_REDIRECTS + 1)
        }
        table[f"https://a.example/{MAX_REDIRECTS + 1}"] = Response(200)
        found = self.ask(table, "https://a.example/1")
        self.assertEqual(self.successResultOf(found), Page(200))
        found = self.ask(table, "https://a.example/0")
        self.assertEqual(self.reasonOf(found), "it leads on more than 5 times")
        self.assertEqual(len(self.agent.asked), MAX_REDIRECTS + 1)

    def test_redirectNowhere(self) -> None:
        """
        Only to what is HTTPS.
        """
        for location, why in (
            (b"http://montague.example/", "which is not https"),
            (b"file:///etc/passwd", "which is not https"),
            (b"https://[/", "which is no URL"),
            (b"https://\xff.example/", "ascii"),
        ):
            found = self.ask({URL: Response(301, location=location)})
            self.assertIn(why, self.reasonOf(found))
            self.assertEqual(self.agent.asked, [URL])
        self.assertEqual(self.successResultOf(self.ask({URL: Response(301)})), Page(301))

    def test_size(self) -> None:
        """
        A page of the greatest size is taken; with one byte more the connection is ended.
        """
        response = Response(200, b"x" * MAX_PAGE_BYTES)
        self.assertEqual(len(self.successResultOf(self.ask({URL: response})).body), MAX_PAGE_BYTES)
        response = Response(200, None)
        found = self.ask({URL: response})
        response.protocol.dataReceived(b"x" * MAX_PAGE_BYTES)
        self.assertNoResult(found)
        response.protocol.dataReceived(b"x")
        self.assertIn("larger than 65536 bytes", self.reasonOf(found))
        self.assertTrue(response.transport.disconnecting)
        response.protocol.dataReceived(b"x")
        response.protocol.connectionLost(Failure(ConnectionDone()))

    def test_late(self) -> None:
        """
        A page has its time, from the first question to its last byte.
        """
        found = self.ask({})
        self.clock.advance(PAGE_SECONDS - 0.1)
        self.assertNoResult(found)
        self.clock.advance(0.1)
        self.assertEqual(self.reasonOf(found), "no answer within 10 seconds")
        self.assertEqual(self.agent.cancelled, 1)
        response = Response(200, None)
        found = self.ask({URL: response})
        self.clock.advance(PAGE_SECONDS)
        self.assertEqual(self.reasonOf(found), "no answer within 10 seconds")
        self.assertTrue(response.transport.disconnecting)

    def test_lateInOtherWords(self) -> None:
        """
        It is late also where the agent calls that something else.
        """

        class Other(Agent):
            def request(self, *_: object) -> Deferred[object]:
                return Deferred(lambda d: d.errback(ResponseFailed([Failure(CancelledError())])))

        found = ensureDeferred(World(self.clock, Resolver(), Other()).page(URL))
        self.clock.advance(PAGE_SECONDS)
        self.assertEqual(self.reasonOf(found), "no answer within 10 seconds")

    def test_failures(self) -> None:
        """
        What goes wrong is told in words.
        """
        ssl = SSL.Error([("SSL routines", "", "certificate verify failed")])
        cases: list[tuple[Exception, str]] = [
            (DNSLookupError(), "no such host"),
            (ConnectionRefusedError(), "the connection is refused"),
            (ConnectTimeoutError(), "the host does not answer"),
            (ResponseFailed([Failure(ssl)]), "TLS fails: certificate verify failed"),
            (ResponseFailed([Failure(SSL.Error())]), "TLS fails: the connection ends"),
            (
                ResponseFailed([Failure(VerificationError([]))]),
                "the certificate is for another name",
            ),
            (OSError("strange"), "strange"),
            (OSError(), "OSError"),
        ]
        for reason, words in cases:
            self.assertEqual(self.reasonOf(self.ask({URL: reason})), words)

    def test_cut(self) -> None:
        """
        A page that ends early is none.
        """
        found = self.ask({URL: Response(200, b"x", ResponseFailed([Failure(ConnectionDone())]))})
        self.assertEqual(self.reasonOf(found), "Connection was closed cleanly.")


class ConnectedTests(SynchronousTestCase):
    """
    The world itself.
    """

    def test_asks(self) -> None:
        """
        It asks a name server, and connects for pages.
        """
        reactor = MemoryReactorClock()
        world = connected(reactor)
        self.assertIsInstance(world, World)
