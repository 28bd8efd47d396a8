# Copyright the cmanager authors.
# See LICENSE for details.

"""
What has been read from a client and waits for its session, and why no more is
read.  Layer 4; knows neither bytes nor stanzas.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import IntFlag
from typing import Generic, Protocol, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from cmanager.limits import TokenBucket

EventT = TypeVar("EventT")


class Pause(IntFlag):
    """
    Why a stream is not read.
    """

    SESSION = 1
    DELAY = 2
    RATE = 4


class Source(Protocol):
    """
    Where events come from.
    """

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...


# The rate is about what is yet to be read; what has been read need not wait for it.
HOLDING = (Pause.SESSION | Pause.DELAY).value


class Intake(Generic[EventT]):
    """
    Events on their way to a session, in order.

    Bounded by what one read of the transport completes: while events wait, the transport
    is paused.

    @param transport: Paused and resumed; may deliver what it had read all the same.
    @param dispatch: Called with each event.
    @param bucket: Bytes the client may send.
    """

    __slots__ = (
        "_bucket",
        "_calls",
        "_dispatch",
        "_events",
        "_isBusy",
        "_paused",
        "_reactor",
        "_transport",
    )

    def __init__(
        self,
        reactor: IReactorTime,
        transport: Source,
        dispatch: Callable[[EventT], object],
        bucket: TokenBucket,
    ) -> None:
        self._reactor = reactor
        # None once it is stopped: both know whoever has this, and what is gone must not wait
        # for the garbage collector.
        self._transport: Source | None = transport
        self._dispatch: Callable[[EventT], object] | None = dispatch
        self._bucket = bucket
        self._events: deque[EventT] | None = None
        self._paused = 0
        self._calls: dict[Pause, IDelayedCall] | None = None
        self._isBusy = False

    @property
    def isPaused(self) -> bool:
        """
        The client is not being read.
        """
        return self._paused != 0

    @property
    def isWaiting(self) -> bool:
        """
        There are events the session has not had.
        """
        return bool(self._events)

    def received(self, amount: int) -> None:
        """
        Count so many bytes, and pause for as long as they are too many.
        """
        seconds = self._bucket.take(amount)
        if seconds > 0:
            self.pauseFor(Pause.RATE, seconds)

    def push(self, events: Sequence[EventT]) -> None:
        """
        Dispatch C{events} after those that wait.
        """
        dispatch = self._dispatch
        if dispatch is None:
            return
        if self._events is not None:
            self._events.extend(events)
        elif len(events) == 1 and not self._isBusy and not self._paused & HOLDING:
            # As it mostly is: nothing waits, and nothing need be kept.
            self._isBusy = True
            try:
                dispatch(events[0])
            finally:
                self._isBusy = False
            if self._events is None:
                return
        else:
            self._events = deque(events)
        self._process(dispatch)

    def clear(self) -> Sequence[EventT]:
        """
        Forget what waits, and return it.
        """
        events, self._events = self._events, None
        return events or ()

    def _process(self, dispatch: Callable[[EventT], object]) -> None:
        if self._isBusy:
            return
        self._isBusy = True
        try:
            while self._events and not self._paused & HOLDING:
                dispatch(self._events.popleft())
        finally:
            self._isBusy = False
        if not self._events:
            self._events = None

    def pause(self, reason: Pause) -> None:
        """
        Read no more, for C{reason}.
        """
        if not self._paused and self._transport is not None:
            self._transport.pauseProducing()
        self._paused |= reason.value

    def pauseFor(self, reason: Pause, seconds: float) -> None:
        """
        Read no more for so many seconds.
        """
        if self._transport is None:
            return
        self.pause(reason)
        if self._calls is None:
            self._calls = {}
        call = self._calls.get(reason)
        if call is None:
            self._calls[reason] = self._reactor.callLater(seconds, self._over, reason)
        elif call.getTime() < self._reactor.seconds() + seconds:
            call.reset(seconds)

    def _over(self, reason: Pause) -> None:
        if self._calls is not None:
            del self._calls[reason]
        self.resume(reason)

    def resume(self, reason: Pause) -> None:
        """
        Read on, unless there is another reason not to.  What waits comes first.
        """
        if not self._paused & reason:
            return
        self._paused &= ~reason.value
        if self._dispatch is not None:
            self._process(self._dispatch)
        # The session may have paused again, or be over.
        if not self._paused and self._transport is not None:
            self._transport.resumeProducing()

    def release(self) -> Sequence[EventT]:
        """
        Read on whatever the session wanted, for the sake of the stream's end.

        @return: What waited.
        """
        events = self.clear()
        call = self._calls.pop(Pause.DELAY, None) if self._calls else None
        if call is not None:
            call.cancel()
        self.resume(Pause.SESSION | Pause.DELAY)
        return events

    def stop(self) -> None:
        """
        Dispatch nothing any more, and leave the transport alone.
        """
        self._transport = self._dispatch = None
        self._events = None
        for call in (self._calls or {}).values():
            call.cancel()
        self._calls = None
