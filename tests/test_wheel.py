# Copyright the cmanager authors.
# See LICENSE for details.

"""
One timer for all time-outs.
"""

from __future__ import annotations

import gc
import tracemalloc
import weakref

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cmanager.wheel import SLOTS, Timer, Wheel
from tests.properties import given, settings, st


class WheelTests(SynchronousTestCase):
    """
    Time-outs go off when they are due.
    """

    def setUp(self) -> None:
        """
        A wheel at noon, and what has gone off.
        """
        self.clock = Clock()
        self.clock.advance(1000.25)
        self.wheel = Wheel(self.clock.seconds)
        self.fired: list[str] = []

    def schedule(self, seconds: float, name: str) -> Timer:
        """
        Schedule a time-out that writes down its name.
        """
        return self.wheel.schedule(seconds, lambda: self.fired.append(name))

    def advance(self, seconds: int) -> None:
        """
        Let time pass, tick by tick.
        """
        for _ in range(seconds):
            self.clock.advance(1)
            self.wheel.tick()

    def test_due(self) -> None:
        """
        Never early, and at most one granularity late.
        """
        timer = self.schedule(2.5, "a")
        self.advance(2)
        self.assertEqual(self.fired, [])
        self.assertTrue(timer.active)
        self.advance(1)
        self.assertEqual(self.fired, ["a"])
        self.assertFalse(timer.active)
        self.assertEqual(len(self.wheel), 0)

    def test_far(self) -> None:
        """
        A time-out farther away than the wheel is round waits its turns.
        """
        for seconds in (SLOTS - 1, SLOTS, SLOTS + 1, 3 * SLOTS + 7):
            self.schedule(seconds, str(seconds))
        self.advance(SLOTS - 2)
        self.assertEqual(self.fired, [])
        self.advance(3)
        self.assertEqual(self.fired, [str(SLOTS - 1), str(SLOTS), str(SLOTS + 1)])
        self.advance(2 * SLOTS + 5)
        self.assertEqual(len(self.fired), 3)
        self.advance(1)
        self.assertEqual(len(self.fired), 4)

    def test_reset(self) -> None:
        """
        A time-out can be put off, and brought forward.
        """
        later, sooner = self.schedule(2, "later"), self.schedule(10, "sooner")
        self.advance(1)
        later.reset(5)
        sooner.reset(2)
        self.advance(2)
        self.assertEqual(self.fired, ["sooner"])
        self.advance(2)
        self.assertEqual(self.fired, ["sooner"])
        self.advance(1)
        self.assertEqual(self.fired, ["sooner", "later"])

    def test_resetAfterwards(self) -> None:
        """
        One that has gone off stays gone.
        """
        timer = self.schedule(1, "a")
        self.advance(1)
        timer.reset(1)
        self.advance(3)
        self.assertEqual(self.fired, ["a"])

    def test_cancel(self) -> None:
        """
        A cancelled time-out never goes off and keeps nothing; twice is harmless.
        """
        timer = self.schedule(1, "a")
        timer.cancel()
        timer.cancel()
        self.assertEqual(len(self.wheel), 0)
        self.advance(3)
        self.assertEqual(self.fired, [])

    def test_cancelEachOther(self) -> None:
        """
        What goes off may cancel and put off others that are due at the same time.
        """
        timers: list[Timer] = []

        def fire() -> None:
            self.fired.append("one")
            timers[0].cancel()
            timers[1].cancel()
            timers[2].reset(100)
            timers[3].reset(100)

        timers.append(self.wheel.schedule(1, fire))
        timers.append(self.wheel.schedule(1, fire))
        timers += [self.schedule(1, "late"), self.schedule(1, "late")]
        self.advance(1)
        self.assertEqual(self.fired.count("one"), 1)

    def test_scheduleWhileTicking(self) -> None:
        """
        What goes off may schedule another, even for now: for the next tick at latest.
        """
        self.wheel.schedule(1, lambda: self.schedule(0, "next"))
        self.advance(1)
        self.advance(1)
        self.assertEqual(self.fired, ["next"])

    def test_failure(self) -> None:
        """
        One that fails is logged and stops no other.
        """
        self.wheel.schedule(1, lambda: 1 / 0)
        self.schedule(1, "a")
        self.schedule(2, "b")
        self.advance(2)
        self.assertEqual(self.fired, ["a", "b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nothingKept(self) -> None:
        """
        Of many that were due at once, or are put off, nothing stays where they were.
        """
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for seconds in (1, 1000):
            for _ in range(1000):
                self.wheel.schedule(1, int).reset(seconds)
        self.advance(SLOTS)
        self.assertEqual(len(self.wheel), 1000)
        each = (tracemalloc.get_traced_memory()[0] - before) / 1000
        self.assertLess(each, 150)  # a Call and when it is due are 112

    def test_free(self) -> None:
        """
        One that is over does not keep alive whom it would have called.
        """

        class Owner:
            def __init__(self, wheel: Wheel, seconds: float) -> None:
                self.timer = wheel.schedule(seconds, self.called)

            def called(self) -> None:
                """
                It has gone off.
                """

        gc.disable()
        self.addCleanup(gc.enable)
        fired, cancelled = Owner(self.wheel, 1), Owner(self.wheel, 2)
        known = [weakref.ref(owner) for owner in (fired, cancelled)]
        self.advance(1)
        cancelled.timer.cancel()
        del fired, cancelled
        self.assertEqual([owner() for owner in known], [None, None])

    def test_stoodStill(self) -> None:
        """
        After a long pause all goes off that is due, in one tick.
        """
        for seconds in (1, 300, SLOTS, 5 * SLOTS):
            self.schedule(seconds, str(seconds))
        self.clock.advance(4 * SLOTS)
        self.wheel.tick()
        self.assertEqual(sorted(self.fired), sorted(["1", "300", str(SLOTS)]))

    @settings(max_examples=100)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["new", "reset", "cancel", "pass"]),
                st.integers(0, 20),
                st.floats(0, 1500),
            ),
            max_size=40,
        )
    )
    def test_never(self, steps: list[tuple[str, int, float]]) -> None:
        """
        Whatever is done to it, no time-out goes off before it is due, or more than two
        ticks after.
        """
        clock = Clock()
        wheel = Wheel(clock.seconds)
        due: dict[int, float] = {}
        timers: list[Timer] = []

        def expire(number: int) -> None:
            self.assertLessEqual(due[number], clock.seconds())
            self.assertLess(clock.seconds() - due.pop(number), 2)

        for action, which, seconds in steps:
            if action == "new":
                number = len(timers)
                due[number] = clock.seconds() + seconds
                timers.append(wheel.schedule(seconds, lambda n=number: expire(n)))  # type: ignore[misc] # bound now
            elif action == "pass":
                for _ in range(which * 10):
                    clock.advance(1)
                    wheel.tick()
            elif timers:
                number = which % len(timers)
                if action == "cancel":
                    timers[number].cancel()
                    due.pop(number, None)
                elif number in due:
                    due[number] = clock.seconds() + seconds
                    timers[number].reset(seconds)
        for _ in range(1502):
            clock.advance(1)
            wheel.tick()
        self.assertEqual((due, len(wheel)), ({}, 0))
