# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.answering}: one worker's side, in memory.  Both sides together are tested
with L{tests.test_bosh_workers}.
"""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cmanager.answering import Answering
from cmanager.content import START_BYTES
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
from cmanager.errors import BOSHError, LocalError
from cmanager.outlet import MAX_BYTES
from tests.workers import End


class Body:
    """
    What is read of a request.
    """

    def __init__(self, data: bytes) -> None:
        self.sid = data.decode()[:3]


class PlayedDesk:
    """
    A desk whose sessions note what happens.

    @ivar exchanges: Those that are remembered.
    """

    def __init__(self) -> None:
        self.exchanges: list[Any] = []
        self.heard: list[tuple[str, int]] = []
        self.refused: list[tuple[str, str | None]] = []

    def allowance(self, sid: str) -> int:
        """
        Return how much one may send.
        """
        return 10000 if sid == "old" else 2000

    def read(self, data: bytes) -> Body:
        """
        Read a request.
        """
        if data == b"bad":
            raise BOSHError("bad-request", "it is bad")
        if data == b"bug":
            raise ZeroDivisionError
        return Body(data)

    def serve(self, exchange: Any, body: Body, *, isSecure: bool) -> None:
        """
        Remember it.
        """
        if body.sid == "not":
            raise BOSHError("item-not-found", "it is not there")
        self.heard.append(("secure" if isSecure else "clear", exchange.number))
        self.exchanges.append(exchange)
        exchange.target = self

    def refuse(self, exchange: Any, error: BOSHError, address: str | None) -> None:
        """
        Note it, and answer.
        """
        self.refused.append((error.condition, address))
        exchange.answer(200, "text/xml", b"<refused/>")

    def taken(self, exchange: Any) -> None:
        """
        Note it.
        """
        self.heard.append(("taken", exchange.number))

    def received(self, exchange: Any) -> None:
        """
        Note it.
        """
        self.heard.append(("received", exchange.number))

    def lost(self, exchange: Any) -> None:
        """
        Note it.
        """
        self.heard.append(("lost", exchange.number))


class AnsweringCase(SynchronousTestCase):
    """
    A worker, and another that asks.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.desk: Any = PlayedDesk()
        self.protocol = Answering(self.desk, self.clock)
        self.end = End()
        self.reader = Reader()
        self.protocol.makeConnection(self.end)

    def say(self, *messages: Message) -> None:
        """
        Let the other say something.
        """
        self.protocol.dataReceived(b"".join(message.encode() for message in messages))

    def told(self) -> list[Message]:
        """
        Return what it was told since the last call.
        """
        data, self.end.sent = self.end.sent, b""
        return self.reader.feed(data)

    def ask(self, number: int, data: bytes = b"old") -> Any:
        """
        Let a request come, and return it if it is remembered.
        """
        self.say(Errand(number, False, "192.0.2.1", data))
        return self.desk.exchanges[-1] if self.desk.exchanges else None

    def lose(self) -> None:
        """
        Lose the connection.
        """
        self.protocol.connectionLost(Failure(ConnectionDone()))


class AnswerTests(AnsweringCase):
    """
    Requests are served.
    """

    def test_hello(self) -> None:
        """
        Who connects is told that somebody is here.
        """
        self.assertEqual(self.told(), [Hello()])

    def test_stranger(self) -> None:
        """
        But not who is none of us; nor is that served.
        """
        protocol = Answering(self.desk, self.clock, lambda transport: transport is None)
        end = End()
        protocol.makeConnection(end)
        self.assertEqual((end.sent, end.isLost), (b"", True))

    def test_question(self) -> None:
        """
        It is said how much a request may bring.
        """
        self.told()
        self.say(Question(1, "old"), Question(2, "new"))
        self.assertEqual(self.told(), [Permission(1, 10000), Permission(2, 2000)])

    def test_answered(self) -> None:
        """
        Requests are answered when there is an answer, once.
        """
        self.told()
        self.say(Errand(5, True, None, b"old"), Errand(6, False, "192.0.2.1", b"old"))
        self.assertEqual(self.desk.heard, [("secure", 5), ("clear", 6)])
        five, six = self.desk.exchanges
        self.assertFalse(six.isPending)
        for _ in range(2):
            six.answer(200, "text/xml", b"6")
        self.assertTrue(six.isPending)
        five.answer(503, "text/plain", b"")
        self.assertEqual(
            self.told(), [Answer(6, 200, "text/xml", b"6"), Answer(5, 503, "text/plain", b"")]
        )

    def test_refused(self) -> None:
        """
        What is no request, or for nobody, is refused, by who knows who has sent it.
        """
        self.told()
        self.ask(1, b"bad")
        self.ask(2, b"not")
        self.assertEqual(
            self.desk.refused, [("bad-request", "192.0.2.1"), ("item-not-found", "192.0.2.1")]
        )
        answers = [Answer(n, 200, "text/xml", b"<refused/>") for n in (1, 2)]
        self.assertEqual(self.told(), answers)

    def test_tooMuch(self) -> None:
        """
        A request may bring no more than it may where the session is; the start of one always.
        """
        for sid, most in ((b"old", 10000), (b"new", START_BYTES)):
            for over in (0, 1):
                self.setUp()
                self.told()
                self.ask(1, sid + b"x" * (most + over - len(sid)))
                self.assertEqual(
                    [message.status for message in self.told() if isinstance(message, Answer)],
                    [413] * over,
                )

    def test_bug(self) -> None:
        """
        A mistake of ours costs one request.
        """
        self.told()
        self.say(Errand(1, False, None, b"bug"), Errand(2, False, None, b"old"))
        (answer,) = self.told()
        assert isinstance(answer, Answer)
        self.assertEqual((answer.number, answer.status), (1, 500))
        self.assertEqual(len(self.desk.exchanges), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nonsense(self) -> None:
        """
        Who speaks something else is not listened to; what nobody asks is not answered.
        """
        self.told()
        self.say(Hello(), Permission(1, 1), Answer(1, 200, "", b""))
        self.assertEqual((self.told(), self.end.isLost), ([], False))
        self.protocol.dataReceived(b"\0" * 20)
        self.assertTrue(self.end.isLost)
        self.assertEqual(len(self.flushLoggedErrors(LocalError)), 1)


class FateTests(AnsweringCase):
    """
    What becomes of requests, and of answers.
    """

    def test_told(self) -> None:
        """
        Whom it is for hears it.
        """
        exchange = self.ask(1)
        exchange.answer(200, "", b"")
        for happened, isPending in (
            (Happened.TAKEN, False),
            (Happened.RECEIVED, False),
            (Happened.LOST, False),
        ):
            exchange.isPending = True
            self.say(Fate(1, happened))
            self.assertEqual(exchange.isPending, isPending)
        self.assertEqual(self.desk.heard[1:], [("taken", 1), ("received", 1), ("lost", 1)])

    def test_lostBefore(self) -> None:
        """
        A request that is lost before it is answered is not answered any more.
        """
        exchange = self.ask(1)
        self.told()
        self.say(Fate(1, Happened.LOST))
        exchange.answer(200, "", b"")
        self.assertEqual(self.told(), [])
        self.assertFalse(exchange.isPending)

    def test_forgotten(self) -> None:
        """
        Of what nobody remembers nothing is remembered here.
        """
        for number in range(100):
            self.ask(number).answer(200, "", b"")
        self.desk.exchanges.clear()
        gc.collect()
        self.assertEqual(len(self.protocol._known), 0)
        self.assertEqual(self.protocol._waiting, {})
        self.desk.heard.clear()
        self.say(Fate(1, Happened.TAKEN), Fate(1, Happened.LOST), Fate(1000, Happened.LOST))
        self.assertEqual(self.desk.heard, [])

    def test_refusedFate(self) -> None:
        """
        Nobody wants to know what becomes of a refusal.
        """
        remembered: list[Any] = []
        refuse = self.desk.refuse
        self.desk.refuse = lambda exchange, *rest: (
            remembered.append(exchange),
            refuse(exchange, *rest),
        )
        self.ask(1, b"bad")
        self.say(Fate(1, Happened.TAKEN), Fate(1, Happened.LOST))
        self.assertEqual(self.desk.heard, [])

    def test_waitingRemembered(self) -> None:
        """
        A request that waits is remembered, whoever else has forgotten it.
        """
        self.ask(1)
        self.desk.exchanges.clear()
        gc.collect()
        self.say(Fate(1, Happened.LOST))
        self.assertEqual(self.desk.heard[1:], [("lost", 1)])

    def test_connectionLost(self) -> None:
        """
        When the other worker is gone, requests that wait are lost, and answers of which it is
        not known that the kernel has them; others may have been received.
        """
        exchanges = [self.ask(number) for number in range(4)]
        for exchange in exchanges[1:]:
            exchange.answer(200, "", b"")
        self.say(Fate(2, Happened.TAKEN), Fate(3, Happened.RECEIVED))
        self.desk.heard.clear()
        self.lose()
        self.assertEqual(sorted(self.desk.heard), [("lost", 0), ("lost", 1)])
        self.assertEqual([exchange.isPending for exchange in exchanges], [False] * 4)
        exchanges[0].answer(200, "", b"")


class BoundTests(AnsweringCase):
    """
    What waits for the other worker to read is bounded.
    """

    def test_answers(self) -> None:
        """
        n bytes of answers may wait, not n + 1: that is as if the answer had been lost on its
        way, and the client may try again.
        """
        for over in (0, 1):
            self.setUp()
            self.end.isFull = True
            exchanges = [self.ask(number) for number in range(3)]
            exchanges[0].answer(200, "", b"")
            exchanges[1].answer(200, "", b"x" * (MAX_BYTES // 2))
            waiting = MAX_BYTES // 2 + len(Answer(1, 200, "", b"").encode())
            self.desk.heard.clear()
            exchanges[2].answer(200, "", b"x" * (MAX_BYTES - waiting + over))
            self.assertTrue(exchanges[2].isPending)
            self.assertEqual(self.desk.heard, [])
            self.clock.advance(0)
            self.assertEqual(self.desk.heard, [("lost", 2)] * over)
            self.assertEqual(exchanges[2].isPending, not over)
            self.end.drain()
            last = self.told()[-1]
            assert isinstance(last, Answer)
            self.assertEqual((last.number, last.status), (2, 503 if over else 200))
