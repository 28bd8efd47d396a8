# Copyright the cmanager authors.
# See LICENSE for details.

"""
Requests for our sessions that have come to another worker.  Layer 4; knows no HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

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
from cmanager.outlet import Outlet
from cmanager.terms import CONTENT_TYPE

if TYPE_CHECKING:
    from cmanager.httpbind import Desk
    from cmanager.visits import Target


class RemoteExchange:
    """
    One request that has come to another worker.  See L{cmanager.visits.Exchange}.

    @ivar target: Whom it is for.
    """

    __slots__ = ("__weakref__", "_answering", "isPending", "number", "target")

    def __init__(self, answering: Answering, number: int) -> None:
        self._answering = answering
        self.number = number
        self.isPending = False
        self.target: Target | None = None

    def answer(self, status: int, type_: str, data: bytes) -> None:
        """
        See L{cmanager.visits.Exchange}.
        """
        self._answering.answer(self, Answer(self.number, status, type_, data))


class Answering(Protocol):
    """
    One connection from another worker, which asks.

    How many requests it has that wait is bounded where they have come (L{cmanager.asking}).
    Of those that have been answered it is remembered here which they are for as long as
    anybody else remembers them: until then something may be told of them.

    @param isOurs: Tells of a transport whether the other end is one of us.
    """

    log = Logger()
    transport: Any  # Any: it can abort its connection, too

    def __init__(
        self, desk: Desk, clock: IReactorTime, isOurs: Callable[[object], bool] = lambda _: True
    ) -> None:
        self._desk = desk
        self._clock = clock
        self._isOurs = isOurs
        self._outlet = Outlet()
        self._reader = Reader()
        self._waiting: dict[int, RemoteExchange] = {}
        self._known: WeakValueDictionary[int, RemoteExchange] = WeakValueDictionary()

    def connectionMade(self) -> None:
        """
        Say that we are here.
        """
        if self._isOurs(self.transport):
            self._outlet.start(self.transport)
            self._outlet.put(Hello().encode())
        else:
            self.log.warn("somebody who is no worker of ours has connected to this one")
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """
        The other worker says something.
        """
        try:
            messages = self._reader.feed(data)
        except LocalError:
            self.log.failure("another worker says what cannot be")
            self.transport.abortConnection()
            return
        for message in messages:
            try:
                self._heard(message)
            except Exception:  # noqa: BLE001 - a bug must cost one request, not those of all
                self.log.failure("a request that came to another worker failed")

    def _heard(self, message: Message) -> None:
        if isinstance(message, Errand):
            self._serve(message)
        elif isinstance(message, Fate):
            self._happened(message)
        elif isinstance(message, Question):
            amount = self._desk.allowance(message.sid)
            self._outlet.put(Permission(message.number, amount).encode())

    def _serve(self, errand: Errand) -> None:
        exchange = RemoteExchange(self, errand.number)
        self._waiting[errand.number] = self._known[errand.number] = exchange
        try:
            body = self._desk.read(errand.body)
            if len(errand.body) > max(START_BYTES, self._desk.allowance(body.sid)):
                exchange.answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, CONTENT_TYPE, b"")
            else:
                self._desk.serve(exchange, body, isSecure=errand.isSecure)
        except BOSHError as error:
            self._desk.refuse(exchange, error, errand.address)
        except Exception:
            exchange.answer(HTTPStatus.INTERNAL_SERVER_ERROR, CONTENT_TYPE, b"")
            raise

    def answer(self, exchange: RemoteExchange, answer: Answer) -> None:
        """
        Answer a request, unless it has been or its client is gone.  Where there is no room for
        that, it is an answer that was lost.
        """
        if self._waiting.pop(exchange.number, None) is None:
            return
        exchange.isPending = True
        if not self._outlet.fits(len(answer.data)):
            self._clock.callLater(0, self._lose, exchange)
            answer = Answer(answer.number, HTTPStatus.SERVICE_UNAVAILABLE, answer.type_, b"")
        self._outlet.put(answer.encode())

    def _lose(self, exchange: RemoteExchange) -> None:
        exchange.isPending = False
        if exchange.target is not None:
            exchange.target.lost(exchange)

    def _happened(self, fate: Fate) -> None:
        exchange = self._known.get(fate.number)
        if exchange is None or exchange.target is None:
            return  # nobody remembers it
        if fate.happened is Happened.LOST:
            self._waiting.pop(fate.number, None)
            self._lose(exchange)
            return
        exchange.isPending = False
        if fate.happened is Happened.RECEIVED:
            exchange.target.received(exchange)
        else:
            exchange.target.taken(exchange)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Nobody can be answered any more, and of what was, some may be lost.
        """
        self._outlet.stop()
        waiting, self._waiting = self._waiting, {}
        for exchange in list(self._known.values()):
            if exchange.number in waiting or exchange.isPending:
                self._lose(exchange)
