# Copyright the cmanager authors.
# See LICENSE for details.

"""
The requests of one BOSH client as what carries its stream: when they are answered, and when
there will be no more of them.  Layer 4; knows no HTTP and no session, and leaves to
L{cmanager.window} what is said to which request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cmanager.window import Ending, Window

if TYPE_CHECKING:
    from cmanager.body import Body
    from cmanager.wheel import Timer, Wheel


class Target(Protocol):
    """
    Whom a request is for: hears what becomes of it, and of its answer.
    """

    def taken(self, exchange: Exchange) -> None:
        """
        The kernel has taken all of the answer, or no more will be known of it.
        """

    def received(self, exchange: Exchange) -> None:
        """
        The client is known to have the answer.
        """

    def lost(self, exchange: Exchange) -> None:
        """
        The connection is gone, before all of the answer was sent.
        """


class Exchange(Protocol):
    """
    One HTTP request, and its answer.

    @ivar isPending: It has been answered, and there are bytes of that which the kernel
        has not taken.
    @ivar target: To be set to whom it is for; L{None} while nobody wants to know of it.
    """

    target: Target | None

    def __hash__(self) -> int: ...

    @property
    def isPending(self) -> bool: ...

    def answer(self, status: int, type_: str, data: bytes) -> None:
        """
        Answer it, if it is still there.  Where it L{isPending} afterwards, L{Visits.taken} or
        L{Visits.lost} follows.
        """


class Visited(Protocol):
    """
    Whom the requests are for.

    @ivar isBehind: It has not yet processed all of the last request that it has taken.
    """

    @property
    def isBehind(self) -> bool: ...

    def take(self) -> None:
        """
        Take from the window as many requests as may be processed now.
        """

    def visitsOver(self) -> None:
        """
        There will be no more requests.  Called once, and never from within a call to
        anything but L{Visits.request}, L{Visits.lost} and L{Visits.taken}.
        """


class Visits:
    """
    The requests of one client.

    They are over when the client has ended the session, has broken a rule, or has not been
    here for its time; or, where we end it, once the client was told and will not come for
    something that it has missed, as far as is known.  For that, and for the kernel to take
    the last answers, there is a grace time.

    What is remembered of an answer that the kernel has not taken is bounded by the
    connections of a client.

    @param type_: The C{Content-Type} of answers.
    """

    __slots__ = (
        "_call",
        "_grace",
        "_isEnding",
        "_isPatient",
        "_reactor",
        "_timer",
        "_type",
        "_unsent",
        "_visited",
        "_wheel",
        "_window",
    )

    def __init__(  # noqa: PLR0917 - all of them, once
        self,
        reactor: IReactorTime,
        wheel: Wheel,
        window: Window,
        visited: Visited,
        type_: str,
        grace: float,
    ) -> None:
        self._reactor = reactor
        self._wheel = wheel
        self._window = window
        # None once they are over: what is gone must not wait for the garbage collector.
        self._visited: Visited | None = visited
        self._type = type_
        self._grace = grace
        self._call: IDelayedCall | None = None
        self._timer: Timer | None = None
        self._unsent: list[Exchange] = []
        self._isEnding = False
        self._isPatient = True

    @property
    def isOver(self) -> bool:
        """
        They are.
        """
        return self._visited is None

    def request(self, exchange: Exchange, body: Body) -> None:
        """
        A request has come.
        """
        self._window.request(exchange, body, self._reactor.seconds())
        if self._visited is not None:
            self._visited.take()
        self._flush()

    def lost(self, exchange: Exchange) -> None:
        """
        The connection of a request is gone, before all of its answer was sent.
        """
        if not self.isOver:
            self._unsent = [one for one in self._unsent if one is not exchange]
            self._window.lost(exchange, self._reactor.seconds())
            self._flush()

    def taken(self, exchange: Exchange) -> None:
        """
        The kernel has taken all of the answer to a request.
        """
        if exchange in self._unsent:
            self._unsent.remove(exchange)
            self._flush()

    def received(self, exchange: Exchange) -> None:
        """
        The client is known to have the answer to a request.
        """
        self._window.received(exchange)

    def flushLater(self) -> None:
        """
        Answer at the end of this turn, when all that comes together has come.
        """
        if self._call is None and not self.isOver:
            self._call = self._reactor.callLater(0, self._turnOver)

    def _turnOver(self) -> None:
        self._call = None
        self._flush()

    def _flush(self, ahead: float = 0.0) -> None:
        """
        Answer what is to be answered, and see whether this is the end.

        @param ahead: Answer what will be due in so many seconds, too.
        """
        window, visited = self._window, self._visited
        if visited is None or (window.isLeaving and visited.isBehind):
            return  # what comes with the client's end comes before it
        attended = ahead if window.isAttended else 0.0
        for answer in window.flush(self._reactor.seconds() + attended):
            exchange: Exchange = answer.token  # type: ignore[assignment]  # what request() got
            exchange.answer(answer.status, self._type, answer.data)
            if exchange.isPending:
                self._unsent = [one for one in self._unsent if one.isPending]
                self._unsent.append(exchange)
        if self.isOver:
            return  # what was answered has brought the next request, and that was the last
        if window.ending is None:
            self._watch()
        elif not self._isAwaited(window.ending):
            self._finish(visited)
        elif not self._isEnding:
            self.close()

    def _isAwaited(self, ending: Ending) -> bool:
        """
        Tell whether there is something that the client has to be given time for.
        """
        if not self._isPatient or ending in (Ending.BROKEN, Ending.SILENT):
            return False
        self._unsent = [exchange for exchange in self._unsent if exchange.isPending]
        window = self._window
        isMissing = ending is Ending.CLOSED and (not window.isTold or window.isDoubtful)
        return bool(self._unsent) or isMissing

    # Time

    def _watch(self) -> None:
        """
        Have the timer go off when something is due.  What is held longer meanwhile only
        makes it go off too early.
        """
        window, wheel = self._window, self._wheel
        due = window.due
        if due is None:
            return
        if window.isAttended:
            # The client was told how long it is held at most, and the wheel is late.
            due -= wheel.granularity
        seconds = max(due - self._reactor.seconds(), 0)
        if self._timer is None:
            self._timer = wheel.schedule(seconds, self._timeOut)
        elif due < self._timer.due:
            self._timer.reset(seconds)

    def _timeOut(self) -> None:
        self._timer = None
        self._flush(self._wheel.granularity)

    # The end

    def close(self) -> None:
        """
        The window has ended, or is about to: the grace time begins.
        """
        self._isEnding = True
        self._stopTimer()
        self._timer = self._wheel.schedule(self._grace, self._graceOver)
        self.flushLater()

    def _graceOver(self) -> None:
        """
        The client has not come to be told, or may have missed something.
        """
        self._timer = None
        self._isPatient = False
        self._window.abandon()
        self._flush()

    def abort(self) -> None:
        """
        The window has ended, and nobody is waited for.
        """
        self._isPatient = False
        self._window.abandon()
        self.flushLater()

    def _finish(self, visited: Visited) -> None:
        self._visited = None
        self._stopTimer()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        visited.visitsOver()

    def _stopTimer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
