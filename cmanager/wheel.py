# Copyright the cmanager authors.
# See LICENSE for details.

"""
One timer for a hundred thousand time-outs.  Layer 1; owns no clock: whoever
made it calls L{Wheel.tick}.

Idle, login and keepalive time-outs are long, seldom due and often put off, and
need no precision.  A timer here is one small object in the ring of the slot it falls
due in; putting it off writes a number.  A ring takes two references of each, where the
table of a set takes sixteen bytes for up to eight times as many as are in it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from twisted.logger import Logger

SLOTS = 512


class Slot:
    """
    Where the ring of the timers that fall due in one slot begins and ends.

    @ivar after: The first of them.
    @ivar before: The last.
    """

    __slots__ = ("after", "before")

    def __init__(self) -> None:
        self.after: Timer | Slot = self
        self.before: Timer | Slot = self

    def timers(self) -> list[Timer]:
        """
        Return those there are now, oldest first.
        """
        found = []
        timer = self.after
        while isinstance(timer, Timer):
            found.append(timer)
            assert timer.after is not None, "it is in the ring"
            timer = timer.after
        return found


class Timer(ABC):
    """
    One time-out.

    @ivar due: When it is to go off, on the wheel's clock.
    @ivar after: The next in its ring; the wheel's, as is C{before}.
    """

    __slots__ = ("after", "before", "due", "wheel")

    def __init__(self, wheel: Wheel, due: float) -> None:
        self.wheel = wheel
        self.due = due
        self.after: Timer | Slot | None = None
        self.before: Timer | Slot | None = None
        wheel.insert(self)

    @property
    def active(self) -> bool:
        """
        It has neither gone off nor been cancelled.
        """
        return self.before is not None

    def reset(self, seconds: float) -> None:
        """
        Let it go off so many seconds from now instead, sooner or later.  No effect on
        one that is not L{active}.
        """
        if self.before is None:
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
        self._callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """
        See L{Timer.cancel}.  Whoever is called has this, as a rule, and is not to be kept.
        """
        super().cancel()
        self._callback = None

    def fire(self) -> None:
        """
        See L{Timer.fire}.
        """
        callback, self._callback = self._callback, None
        assert callback is not None, "it has neither gone off nor been cancelled"
        callback()


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
        self._slots = [Slot() for _ in range(SLOTS)]
        self._position = int(now() / granularity)

    def __len__(self) -> int:
        """
        Return how many timers wait.
        """
        return sum(len(slot.timers()) for slot in self._slots)

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
        for timer in [timer for timer in slot.timers() if timer.due <= now]:
            if timer.due > now or not timer.active:
                continue
            self.remove(timer)
            try:
                timer.fire()
            except Exception:  # noqa: BLE001 - one bad callback must not stop all time-outs
                self.log.failure("a time-out failed")
        self._moveOn(slot, position)

    def _moveOn(self, slot: Slot, position: int) -> None:
        """
        Take those that were put off to where they belong now.
        """
        index = position % SLOTS
        for timer in slot.timers():
            if self._positionOf(timer) % SLOTS != index:
                self.remove(timer)
                self.insert(timer)

    def _positionOf(self, timer: Timer) -> int:
        # Never behind the hand: that slot is visited next.
        return max(int(timer.due / self.granularity), self._position)

    def insert(self, timer: Timer) -> None:
        """
        For timers: put into the slot of its time.
        """
        slot = self._slots[self._positionOf(timer) % SLOTS]
        last = slot.before
        timer.before, timer.after = last, slot
        last.after = slot.before = timer

    def remove(self, timer: Timer) -> None:
        """
        For timers: take out again.  Twice is harmless.
        """
        before, after = timer.before, timer.after
        if before is not None and after is not None:
            before.after, after.before = after, before
            timer.before = timer.after = None
