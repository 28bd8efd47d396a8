# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.intake}.
"""

from __future__ import annotations

import gc
import weakref

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from cmanager.intake import Intake, Pause
from cmanager.limits import TokenBucket


class IntakeTests(TestCase):
    """
    Events in order, and reasons not to read.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = StringTransport()
        self.seen: list[int] = []
        self.pauseAt: int | None = None
        self.intake = Intake[int](
            self.clock,
            self.transport,
            self.dispatch,
            TokenBucket(10, 100, self.clock.seconds),
        )

    def dispatch(self, event: int) -> None:
        """
        See an event, and pause at one of them.
        """
        self.seen.append(event)
        if event == self.pauseAt:
            self.intake.pause(Pause.SESSION)

    def test_push(self) -> None:
        """
        Events pass at once and nothing waits.
        """
        self.intake.push([1, 2])
        self.assertEqual(self.seen, [1, 2])
        self.assertFalse(self.intake.isWaiting)

    def test_pushWithin(self) -> None:
        """
        Events pushed from within come after those before them.
        """
        self.intake = Intake(
            self.clock,
            self.transport,
            lambda event: (self.seen.append(event), event == 1 and self.intake.push([3])),
            TokenBucket(10, 100, self.clock.seconds),
        )
        self.intake.push([1, 2])
        self.assertEqual(self.seen, [1, 2, 3])

    def test_hold(self) -> None:
        """
        A pause within a read holds the rest of it, and stops the transport; a resume
        passes it, in order and once, before the transport is read again.
        """
        self.pauseAt = 2
        self.intake.push([1, 2, 3, 4])
        self.assertEqual(self.seen, [1, 2])
        self.assertTrue(self.intake.isWaiting and self.intake.isPaused)
        self.assertEqual(self.transport.producerState, "paused")
        self.intake.push([5])
        self.intake.resume(Pause.SESSION)
        self.assertEqual(self.seen, [1, 2, 3, 4, 5])
        self.assertEqual(self.transport.producerState, "producing")

    def test_pauseAgain(self) -> None:
        """
        What was held may pause again.
        """
        self.pauseAt = 2
        self.intake.push([1, 2, 2, 3])
        self.intake.resume(Pause.SESSION)
        self.assertEqual(self.seen, [1, 2, 2])
        self.assertEqual(self.transport.producerState, "paused")

    def test_idempotent(self) -> None:
        """
        Pauses are not counted, and a resume without pause is nothing.
        """
        self.intake.resume(Pause.SESSION)
        self.intake.pause(Pause.SESSION)
        self.intake.pause(Pause.SESSION)
        self.intake.resume(Pause.SESSION)
        self.assertEqual(self.transport.producerState, "producing")

    def test_rate(self) -> None:
        """
        The burst is read at once; one byte more pauses until it is paid for.  What has
        been read is not held for it.
        """
        self.intake.received(100)
        self.assertEqual(self.transport.producerState, "producing")
        self.intake.received(10)
        self.assertEqual(self.transport.producerState, "paused")
        self.intake.push([1])
        self.assertEqual(self.seen, [1])
        self.clock.advance(0.9)
        self.assertEqual(self.transport.producerState, "paused")
        self.clock.advance(0.2)
        self.assertEqual(self.transport.producerState, "producing")

    def test_rateTwice(self) -> None:
        """
        More on top makes the one timer later; less does not make it earlier.
        """
        self.intake.received(110)
        self.intake.received(10)
        self.intake.pauseFor(Pause.RATE, 0.5)
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [2.0])

    def test_reasons(self) -> None:
        """
        Each reason has to go before there is reading.
        """
        self.intake.pauseFor(Pause.DELAY, 5)
        self.intake.pause(Pause.SESSION)
        self.clock.advance(5)
        self.assertEqual(self.transport.producerState, "paused")
        self.intake.resume(Pause.SESSION)
        self.assertEqual(self.transport.producerState, "producing")

    def test_delayHolds(self) -> None:
        """
        A delay holds events as well.
        """
        self.intake.pauseFor(Pause.DELAY, 5)
        self.intake.push([1])
        self.assertEqual(self.seen, [])
        self.clock.advance(5)
        self.assertEqual(self.seen, [1])

    def test_release(self) -> None:
        """
        At its end a stream is read whatever session and delay wanted, and what waited is
        given up; the rate holds.
        """
        self.intake.pauseFor(Pause.DELAY, 5)
        self.intake.pause(Pause.SESSION)
        self.intake.push([1])
        self.assertEqual(list(self.intake.release()), [1])
        self.assertEqual(self.seen, [])
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.intake.received(200)
        self.intake.release()
        self.assertEqual(self.transport.producerState, "paused")

    def test_clear(self) -> None:
        """
        What waits can be given up.
        """
        self.intake.pause(Pause.SESSION)
        self.intake.push([1, 2])
        self.assertEqual(list(self.intake.clear()), [1, 2])
        self.assertEqual(list(self.intake.clear()), [])

    def test_stop(self) -> None:
        """
        After the stop there are no timers, nothing is dispatched, and the transport is left
        alone.
        """
        self.intake.received(200)
        self.intake.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.transport.loseConnection()
        self.intake.resume(Pause.RATE)
        self.intake.pause(Pause.SESSION)
        self.intake.pauseFor(Pause.DELAY, 5)
        self.intake.received(1000)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.intake.push([1])
        self.assertEqual(self.seen, [])

    def test_stopWithin(self) -> None:
        """
        What comes behind the event that ends the stream is not dispatched.
        """
        self.intake = Intake(
            self.clock,
            self.transport,
            lambda event: (self.seen.append(event), self.intake.stop()),
            TokenBucket(10, 100, self.clock.seconds),
        )
        self.intake.push([1, 2])
        self.assertEqual(self.seen, [1])

    def test_free(self) -> None:
        """
        Once it is stopped, it does not keep alive whom it belongs to.
        """
        gc.disable()
        self.addCleanup(gc.enable)

        class Stream(StringTransport):
            def __init__(self, clock: Clock) -> None:
                super().__init__()
                bucket = TokenBucket(10, 100, clock.seconds)
                self.intake = Intake[object](clock, self, self.write, bucket)

        stream = Stream(self.clock)
        known = weakref.ref(stream)
        stream.intake.stop()
        del stream
        self.assertIs(known(), None)
