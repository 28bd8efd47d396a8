# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.asking}: one worker's side, in memory.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cmanager.asking import HELLO_SECONDS, MAX_REQUESTS, Asking, Colleague
from cmanager.errand import (
    Answer,
    Errand,
    Fate,
    Happened,
    Hello,
    Message,
    Permission,
    Question,
    Reader,
)
from cmanager.errors import LocalError
from cmanager.metrics import Metrics
from cmanager.outlet import MAX_BYTES
from tests.bosh import SilentExchange
from tests.workers import End

GONE = b'condition="item-not-found"'


class ColleagueCase(SynchronousTestCase):
    """
    A worker, and another that is played.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.attempts: list[tuple[Any, Deferred[Any]]] = []
        self.isPresent = True
        self.isQuick = True
        self.colleague = Colleague(self.connect, lambda: self.isPresent, self.clock, self.metrics)
        self.end = End()
        self.reader = Reader()

    def connect(self, factory: Any) -> Deferred[Any]:
        """
        Connect, or take one's time.
        """
        self.protocol: Asking = factory.buildProtocol(None)
        attempt: Deferred[Any] = Deferred()
        self.attempts.append((factory, attempt))
        if self.isQuick:
            self.connected()
            return succeed(self.protocol)
        return attempt

    def connected(self) -> None:
        """
        There is a connection now.
        """
        self.end = End()
        self.reader = Reader()
        self.protocol.makeConnection(self.end)

    def ask(self, data: bytes = b"<body/>") -> SilentExchange:
        """
        Pass a request on.
        """
        exchange = SilentExchange()
        self.colleague.request(exchange, data, "192.0.2.1", isSecure=False)
        return exchange

    def heard(self) -> list[Message]:
        """
        Return what the other has heard since the last call.
        """
        data, self.end.sent = self.end.sent, b""
        return self.reader.feed(data)

    def say(self, *messages: Message) -> None:
        """
        Let the other say something.
        """
        self.protocol.dataReceived(b"".join(message.encode() for message in messages))

    def lose(self) -> None:
        """
        Lose the connection.
        """
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def assertGone(self, exchange: SilentExchange) -> None:
        """
        The client is told that its session does not exist.
        """
        ((status, _, data),) = exchange.answers
        self.assertEqual(status, 200)
        self.assertIn(GONE, data)
        self.assertIsNone(exchange.target)

    def assertBusy(self, exchange: SilentExchange) -> None:
        """
        The client is told to try again.
        """
        ((status, _, data),) = exchange.answers
        self.assertEqual((status, data), (503, b""))
        self.assertIsNone(exchange.target)


class RequestTests(ColleagueCase):
    """
    Requests are passed on.
    """

    def test_nothing(self) -> None:
        """
        Nobody connects who has nothing to ask.
        """
        self.assertEqual(self.attempts, [])
        self.colleague.stop()

    def test_answered(self) -> None:
        """
        A request is passed on, with all that is to be known of it, and its answer comes back;
        several at a time, over one connection.
        """
        exchanges = SilentExchange(), SilentExchange()
        self.colleague.request(exchanges[0], b"one", "192.0.2.1", isSecure=True)
        self.colleague.request(exchanges[1], b"two", None, isSecure=False)
        one, two = self.heard()
        self.assertEqual(one, Errand(0, True, "192.0.2.1", b"one"))
        self.assertEqual(two, Errand(1, False, None, b"two"))
        self.say(Hello(), Answer(1, 200, "text/plain", b"2"), Answer(0, 404, "text/xml", b"1"))
        self.assertEqual(exchanges[0].answers, [(404, "text/xml", b"1")])
        self.assertEqual(exchanges[1].answers, [(200, "text/plain", b"2")])
        self.assertEqual(len(self.attempts), 1)

    def test_fates(self) -> None:
        """
        What becomes of an answer is told; that the kernel has it, once.
        """
        exchange = self.ask()
        self.say(Hello(), Answer(0, 200, "text/xml", b""))
        self.heard()
        for _ in range(2):
            exchange.target.taken(exchange)
        exchange.target.received(exchange)
        exchange.target.lost(exchange)
        self.assertEqual(self.heard(), [Fate(0, happened) for happened in Happened])

    def test_lost(self) -> None:
        """
        So is that a client has gone, who is not answered any more.
        """
        exchange = self.ask()
        self.heard()
        exchange.target.lost(exchange)
        self.assertEqual(self.heard(), [Fate(0, Happened.LOST)])
        self.say(Hello(), Answer(0, 200, "text/xml", b""))
        self.lose()
        self.assertEqual(exchange.answers, [])

    def test_waits(self) -> None:
        """
        Before there is a connection, and somebody, requests wait.
        """
        self.isQuick = False
        exchange = self.ask()
        question = self.colleague.allowance("sid-1")
        self.assertEqual(len(self.attempts), 1)
        self.connected()
        errand, asked = self.heard()
        self.assertEqual(errand.number, 0)
        self.assertEqual(asked, Question(1, "sid-1"))
        self.say(Hello(), Permission(1, 5000), Answer(0, 200, "text/xml", b""))
        self.assertEqual(self.successResultOf(question), 5000)
        self.assertEqual(len(exchange.answers), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bug(self) -> None:
        """
        An answer that fails costs no other.
        """
        one, two = self.ask(), self.ask()
        one.answer = lambda *_: 1 / 0  # type: ignore[method-assign, assignment, return-value]  # a broken one
        self.say(Hello(), Answer(0, 200, "", b""), Answer(1, 200, "", b""))
        self.assertEqual(len(two.answers), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(self.end.isLost)

    def test_strangeAnswers(self) -> None:
        """
        Answers to what was not asked are none.
        """
        self.ask()
        self.say(Hello(), Answer(7, 200, "", b""), Permission(7, 1), Question(1, "x"))
        self.assertFalse(self.end.isLost)

    def test_nonsense(self) -> None:
        """
        Who speaks something else is not listened to.
        """
        self.ask()
        self.protocol.dataReceived(b"\0" * 20)
        self.assertTrue(self.end.isLost)
        self.assertEqual(len(self.flushLoggedErrors(LocalError)), 1)

    def test_secret(self) -> None:
        """
        Nothing of a request gets into the log.
        """
        with capturedLogs() as logs:
            exchange = self.ask(b"<body sid='secret'/>")
            self.colleague.allowance("secret")
            exchange.answer = lambda *_: 1 / 0  # type: ignore[method-assign, assignment, return-value]  # a broken one
            self.say(Hello(), Answer(0, 200, "", b"secret"))
            self.protocol.dataReceived(b"\0" * 20 + b"secret")
        self.assertNotIn("secret", repr(logs))
        self.flushLoggedErrors()


class BoundTests(ColleagueCase):
    """
    What may wait is bounded; what is too much is refused, and counted.
    """

    def test_requests(self) -> None:
        """
        n requests may wait, not n + 1; questions count as well.
        """
        self.assertEqual(Asking.maxRequests, MAX_REQUESTS)
        self.ask()
        self.protocol.maxRequests = 3
        first = self.colleague.allowance("sid-1")
        self.ask()
        self.assertBusy(self.ask())
        self.assertEqual(self.successResultOf(self.colleague.allowance("sid-1")), 0)
        self.assertEqual(self.metrics.value("clients_refused", "other-worker"), 1)
        self.say(Hello(), Answer(0, 200, "", b""))
        self.assertEqual(self.ask().answers, [])
        self.say(Permission(1, 7))
        self.assertEqual(self.successResultOf(first), 7)
        self.assertNoResult(self.colleague.allowance("sid-1"))

    def test_bytes(self) -> None:
        """
        So may n bytes that are not read, and not n + 1.
        """
        self.isQuick = False
        self.ask()
        overhead = len(Errand(0, False, "192.0.2.1", b"<body/>").encode())
        exchange = self.ask(b"x" * (MAX_BYTES - overhead + 1))
        self.assertBusy(exchange)
        exchange = self.ask(b"x" * (MAX_BYTES - overhead))
        self.assertEqual(exchange.answers, [])
        self.assertBusy(self.ask())
        self.connected()
        self.assertEqual(len(self.heard()), 2)
        self.assertEqual(self.ask().answers, [])


class EndTests(ColleagueCase):
    """
    The other worker is gone, or is not there.
    """

    def test_dies(self) -> None:
        """
        Where it has been there its sessions are gone with it: who waits is told.
        """
        exchange = self.ask()
        question = self.colleague.allowance("sid-1")
        self.say(Hello())
        self.lose()
        self.assertGone(exchange)
        self.assertEqual(self.successResultOf(question), 0)
        self.assertEqual(self.metrics.value("clients_refused", "item-not-found"), 1)

    def test_absent(self) -> None:
        """
        Where there is none, nobody has to wait for it.
        """
        self.isPresent = False
        self.assertGone(self.ask())
        self.assertEqual(self.successResultOf(self.colleague.allowance("sid-1")), 0)
        self.assertEqual(self.attempts, [])

    def test_answeredBefore(self) -> None:
        """
        Who has been answered is told nothing; what becomes of that concerns nobody.
        """
        exchange = self.ask()
        self.say(Hello(), Answer(0, 200, "", b""))
        self.lose()
        exchange.target.taken(exchange)
        exchange.target.lost(exchange)
        self.assertEqual(len(exchange.answers), 1)

    def test_next(self) -> None:
        """
        With the next request there is another connection.
        """
        self.ask()
        self.say(Hello())
        self.lose()
        exchange = self.ask()
        self.assertEqual(len(self.attempts), 2)
        self.say(Hello(), Answer(0, 200, "", b""))
        self.assertEqual(len(exchange.answers), 1)

    def test_inTheMiddle(self) -> None:
        """
        A client may ask again the moment it is told: that goes to the next one, and is not
        told.
        """
        exchange = self.ask()
        self.say(Hello())
        answer = exchange.answer
        again: list[SilentExchange] = []

        def askAgain(status: int, type_: str, data: bytes) -> None:
            answer(status, type_, data)
            again.append(self.ask())

        exchange.answer = askAgain  # type: ignore[method-assign]  # this one only
        other = self.ask()
        self.lose()
        self.assertGone(exchange)
        self.assertGone(other)
        self.assertEqual(again[0].answers, [])
        self.assertEqual(len(self.attempts), 2)

    def test_refused(self) -> None:
        """
        Where no connection can be had, although somebody should be there, it may still be: the
        client is to try again.  Or it has gone meanwhile.
        """
        for isPresent in (True, False):
            self.setUp()
            self.isQuick = False
            exchange = self.ask()
            self.isPresent = isPresent
            self.attempts[0][1].errback(ConnectionRefusedError())
            (self.assertBusy if isPresent else self.assertGone)(exchange)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refusedAtOnce(self) -> None:
        """
        That may be known at once.
        """
        self.colleague = Colleague(
            lambda _: Deferred.fromCoroutine(self._refuse()),
            lambda: True,
            self.clock,
            self.metrics,
        )
        self.assertBusy(self.ask())
        self.assertEqual(self.successResultOf(self.colleague.allowance("sid-1")), 0)

    async def _refuse(self) -> Any:
        raise ConnectionRefusedError

    def test_late(self) -> None:
        """
        Nor is one waited for for ever that does not say that it is there: whether it is not
        connected to, or does not read.
        """
        for isQuick in (True, False):
            self.setUp()
            self.isQuick = isQuick
            exchange = self.ask()
            self.clock.advance(HELLO_SECONDS - 0.1)
            self.assertEqual(exchange.answers, [])
            self.clock.advance(0.1)
            if isQuick:
                self.assertTrue(self.end.isLost)
                self.lose()
            self.assertBusy(exchange)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_otherVersion(self) -> None:
        """
        One that speaks another version is as good as none.
        """
        exchange = self.ask()
        self.say(Hello(99))
        self.clock.advance(HELLO_SECONDS)
        self.assertTrue(self.end.isLost)
        self.lose()
        self.assertBusy(exchange)

    def test_stop(self) -> None:
        """
        Where it is we who leave, the sessions go on: who waits is to try again, elsewhere.
        Nobody is connected to any more.
        """
        exchange = self.ask()
        self.say(Hello())
        self.colleague.stop()
        self.assertTrue(self.end.isLost)
        self.lose()
        self.assertBusy(exchange)
        self.assertBusy(self.ask())
        self.assertEqual(len(self.attempts), 1)
        self.colleague.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopEarly(self) -> None:
        """
        So it is while somebody connects, and before.
        """
        self.colleague.stop()
        self.assertBusy(self.ask())
        self.assertEqual(self.attempts, [])
        self.setUp()
        self.isQuick = False
        exchange = self.ask()
        self.colleague.stop()
        self.assertBusy(exchange)
        self.assertBusy(self.ask())
