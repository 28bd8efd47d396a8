# Copyright the cmanager authors.
# See LICENSE for details.

"""
One timer for a hundred thousand time-outs.  Layer 1; owns no clock: whoever
made it calls L{Wheel.tick}.

Idle, login and keepalive time-outs are long, seldom due and often put off, and
need no precision.  A timer here is one small object in the set of the slot it falls
due in; putting it off writes a number.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from twisted.logger import Logger

SLOTS = 512
NOWHERE = -1


class Timer(ABC):
    """
    One time-out.

    @ivar due: When it is to go off, on the wheel's clock.
    """

    __slots__ = ("due", "slot", "wheel")

    def __init__(self, wheel: Wheel, due: float) -> None:
        self.wheel = wheel
        self.slot = NOWHERE
        self.due = due
        wheel.insert(self)

    @property
    def active(self) -> bool:
        """
        It has neither gone off nor been cancelled.
        """
        return self.slot != NOWHERE

    def reset(self, seconds: float) -> None:
        """
        Let it go off so many seconds from now instead, sooner or later.  No effect on
        one that is not L{active}.
        """
        if self.slot == NOWHERE:
            return
        wheel = self.wheel
        due = wheel.now() + seconds
        if due >= self.due:
            # It stays where it is and moves on when its slot comes round.
            self.due = due
        else:
            wheel.remove(self)
            self.due = due
            wheel.insert(self)

    def cancel(self) -> None:
        """
        Let it never go off.  May be called again, and afterwards.
        """
        if self.slot != NOWHERE:
            self.wheel.remove(self)

    @abstractmethod
    def fire(self) -> None:
        """
        For the wheel: it is due, and no longer L{active}.
        """


class Call(Timer):
    """
    One that calls a function.
    """

    __slots__ = ("_callback",)

    def __init__(self, wheel: Wheel, due: float, callback: Callable[[], object]) -> None:
        super().__init__(wheel, due)
        self._callback = callback

    def fire(self) -> None:
        """
        See L{Timer.fire}.
        """
        self._callback()


class Wheel:
    """
    A hashed timer wheel.  A time-out goes off at the first tick at or after it is
    due, one granularity late at most if ticks come on time.

    @param now: The clock, for example C{reactor.seconds}.
    @ivar granularity: Seconds between ticks.
    """

    log = Logger()

    def __init__(self, now: Callable[[], float], granularity: float = 1.0) -> None:
        self.now = now
        self.granularity = granularity
        self._slots: list[set[Timer]] = [set() for _ in range(SLOTS)]
        self._position = int(now() / granularity)

    def __len__(self) -> int:
        """
        Return how many timers wait.
        """
        return sum(map(len, self._slots))

    def schedule(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """
        Call C{callback} in so many seconds.  Its exceptions are logged.
        """
        return Call(self, self.now() + seconds, callback)

    def tick(self) -> None:
        """
        Let everything go off that is due by now.  However late: a wheel that stood
        still for long catches up in one turn at most.
        """
        until = int(self.now() / self.granularity)
        first = max(self._position, until - SLOTS + 1)
        for position in range(first, until + 1):
            self._visit(position)
        self._position = until

    def _visit(self, position: int) -> None:
        now = self.now()
        slot = self._slots[position % SLOTS]
        # What goes off may schedule, reset and cancel others of this slot.
        for timer in [timer for timer in slot if timer.due <= now]:
            if timer.due > now or not timer.active:
                continue
            self.remove(timer)
            try:
                timer.fire()
            except Exception:  # noqa: BLE001 - one bad callback must not stop all time-outs
                self.log.failure("a time-out failed")
        self._moveOn(slot, position)

    def _moveOn(self, slot: set[Timer], position: int) -> None:
        """
        Take those that were put off to where they belong now.
        """
        index = position % SLOTS
        for timer in [t for t in slot if self._positionOf(t) % SLOTS != index]:
            slot.discard(timer)
            self.insert(timer)

    def _positionOf(self, timer: Timer) -> int:
        # Never behind the hand: that slot is visited next.
        return max(int(timer.due / self.granularity), self._position)

    def insert(self, timer: Timer) -> None:
        """
        For timers: put into the slot of its time.
        """
        index = self._positionOf(timer) % SLOTS
        timer.slot = index
        self._slots[index].add(timer)

    def remove(self, timer: Timer) -> None:
        """
        For timers: take out again.
        """
        self._slots[timer.slot].discard(timer)
        timer.slot = NOWHERE
