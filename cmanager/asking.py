# Copyright the cmanager authors.
# See LICENSE for details.

"""
Another worker, for the requests that have come here and are for sessions there.  Layer 4;
knows nothing of HTTP but its status.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from cmanager.body import writeEnd
from cmanager.errand import (
    VERSION,
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
from cmanager.outlet import Outlet
from cmanager.terms import CONTENT_TYPE

if TYPE_CHECKING:
    from cmanager.metrics import Metrics
    from cmanager.visits import Exchange

MAX_REQUESTS = 65536
"""
Requests that may wait for one other worker; clients have one or two waiting as a rule.
"""

HELLO_SECONDS = 5.0
"""
How long another worker may take to say that it is there.
"""


class Passed:
    """
    Where a request was passed on to: its L{cmanager.visits.Target}.
    """

    __slots__ = ("_asking", "_number", "_wasTaken")

    def __init__(self, asking: Asking, number: int) -> None:
        self._asking = asking
        self._number = number
        self._wasTaken = False

    def taken(self, exchange: Exchange) -> None:
        """
        See L{cmanager.visits.Target}.
        """
        if not self._wasTaken:
            self._wasTaken = True
            self._asking.tell(self._number, Happened.TAKEN)

    def received(self, exchange: Exchange) -> None:
        """
        See L{cmanager.visits.Target}.
        """
        self._asking.tell(self._number, Happened.RECEIVED)

    def lost(self, exchange: Exchange) -> None:
        """
        See L{cmanager.visits.Target}.
        """
        self._asking.tell(self._number, Happened.LOST)


class Asking(Protocol):
    """
    One connection to another worker, from before there is one to its end.

    @param unanswered: Called for each request that nobody will answer over there, with
        whether anybody was there.
    @ivar isOver: It has ended.
    """

    log = Logger()
    maxRequests = MAX_REQUESTS
    transport: Any  # Any: it can abort its connection, too

    def __init__(self, unanswered: Callable[[Exchange, bool], object], clock: IReactorTime) -> None:
        self.isOver = False
        self._wasGreeted = False
        self._unanswered = unanswered
        self._outlet = Outlet()
        self._reader = Reader()
        self._numbers = count()
        self._exchanges: dict[int, Exchange] = {}
        self._questions: dict[int, Deferred[int]] = {}
        self._attempt: Deferred[IProtocol] | None = None
        self._timer = clock.callLater(HELLO_SECONDS, self._late)

    def begin(self, attempt: Deferred[IProtocol]) -> None:
        """
        Somebody tries to connect.
        """
        if not attempt.called:
            self._attempt = attempt
        attempt.addErrback(lambda _: self._end())

    # Asking

    def hasRoom(self, size: int) -> bool:
        """
        So much more may wait.
        """
        waiting = len(self._exchanges) + len(self._questions)
        return not self.isOver and waiting < self.maxRequests and self._outlet.fits(size)

    def request(
        self, exchange: Exchange, data: bytes, address: str | None, *, isSecure: bool
    ) -> None:
        """
        Pass a request on.  The caller has asked L{hasRoom}.
        """
        number = next(self._numbers)
        self._exchanges[number] = exchange
        exchange.target = Passed(self, number)
        self._outlet.put(Errand(number, isSecure, address, data).encode())

    def ask(self, sid: str) -> Deferred[int]:
        """
        Ask how much a request may bring.  The caller has asked L{hasRoom}.

        @return: 0 if nobody says.
        """
        number = next(self._numbers)
        answered = self._questions[number] = Deferred()
        self._outlet.put(Question(number, sid).encode())
        return answered

    def tell(self, number: int, happened: Happened) -> None:
        """
        Tell what became of a request.  There are not many more of these than requests.
        """
        if happened is Happened.LOST:
            self._exchanges.pop(number, None)
        self._outlet.put(Fate(number, happened).encode())

    # Being answered

    def connectionMade(self) -> None:
        """
        Say what waits.
        """
        self._attempt = None
        self._outlet.start(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """
        The other worker says something.
        """
        try:
            messages = self._reader.feed(data)
        except LocalError:
            self.log.failure("another worker says what cannot be")
            self._giveUp()
            return
        for message in messages:
            try:
                self._heard(message)
            except Exception:  # noqa: BLE001 - a bug must cost one request, not those of all
                self.log.failure("an answer of another worker's failed")

    def _heard(self, message: Message) -> None:
        if isinstance(message, Answer):
            exchange = self._exchanges.pop(message.number, None)
            if exchange is not None:  # and the client has not gone meanwhile
                exchange.answer(message.status, message.type_, message.data)
        elif isinstance(message, Permission):
            question = self._questions.pop(message.number, None)
            if question is not None:
                question.callback(message.amount)
        elif isinstance(message, Hello) and message.number == VERSION:
            self._wasGreeted = True
            self._stopTimer()

    # The end

    def _late(self) -> None:
        self.log.warn("another worker does not answer")
        self._giveUp()

    def _giveUp(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
        elif self.transport is not None:
            self.transport.abortConnection()

    def stop(self) -> None:
        """
        Ask nothing any more.
        """
        if not self.isOver:
            self._giveUp()

    def _stopTimer(self) -> None:
        if self._timer.active():
            self._timer.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Nothing will be answered any more.
        """
        self._end()

    def _end(self) -> None:
        self.isOver = True
        self._stopTimer()
        self._outlet.stop()
        questions, self._questions = self._questions, {}
        for question in questions.values():
            question.callback(0)
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.target = None
            self._unanswered(exchange, self._wasGreeted)


class _AskingFactory(Factory):
    """
    Makes one.
    """

    noisy = False

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def buildProtocol(self, addr: IAddress | None) -> Asking:
        """
        See L{Factory.buildProtocol}.
        """
        return self._asking


class Colleague:
    """
    Another worker.  It is connected to when there is something to ask.

    What waits for it is bounded by L{MAX_REQUESTS} and L{Outlet}; what is too much is
    refused, so that the client tries again.

    @param connect: Connects to it.
    @param isPresent: Tells whether there is one at all.
    """

    def __init__(
        self,
        connect: Callable[[Factory], Deferred[IProtocol]],
        isPresent: Callable[[], bool],
        clock: IReactorTime,
        metrics: Metrics,
    ) -> None:
        self._connect = connect
        self._isPresent = isPresent
        self._clock = clock
        self._metrics = metrics
        self._asking: Asking | None = None
        self._isStopped = False

    def request(
        self, exchange: Exchange, data: bytes, address: str | None, *, isSecure: bool
    ) -> None:
        """
        Have a request answered.

        @param address: Of its client, see L{Errand}.
        """
        asking = self._reach()
        if asking is None or not asking.hasRoom(len(data)):
            self._unanswered(exchange, False)
        else:
            asking.request(exchange, data, address, isSecure=isSecure)

    def allowance(self, sid: str) -> Deferred[int]:
        """
        Find out how much a request may bring.

        @return: 0 if nobody says.
        """
        asking = self._reach()
        if asking is None or not asking.hasRoom(len(sid)):
            return succeed(0)
        return asking.ask(sid)

    def _reach(self) -> Asking | None:
        """
        Return the connection, or the attempt to make one; L{None} if there is nobody.
        """
        if self._asking is not None and not self._asking.isOver:
            return self._asking
        if self._isStopped or not self._isPresent():
            return None
        asking = self._asking = Asking(self._unanswered, self._clock)
        asking.begin(self._connect(_AskingFactory(asking)))
        return asking

    def _unanswered(self, exchange: Exchange, wasPresent: bool) -> None:
        """
        Nobody will answer a request.  If the other worker is gone its sessions are.  If not,
        or if it is we who leave, they are still there: clients send such a request again.

        @param wasPresent: It was there, and is not any more.
        """
        if not self._isStopped and (wasPresent or not self._isPresent()):
            self._metrics.increment("clients_refused", "item-not-found")
            exchange.answer(HTTPStatus.OK, CONTENT_TYPE, writeEnd("item-not-found")[1])
        else:
            self._metrics.increment("clients_refused", "other-worker")
            exchange.answer(HTTPStatus.SERVICE_UNAVAILABLE, CONTENT_TYPE, b"")

    def stop(self) -> None:
        """
        Ask nothing any more: it is we who leave.
        """
        self._isStopped = True
        if self._asking is not None:
            self._asking.stop()
