# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.retry}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.retry import BackOff, Repetitions


class BackOffTests(SynchronousTestCase):
    """
    Waits grow until an attempt succeeds.
    """

    def test_grows(self) -> None:
        """
        Each wait is twice the one before, up to the largest.
        """
        backOff = BackOff(1.0, 6.0, lambda: 1.0)
        self.assertEqual([backOff.failed() for _ in range(5)], [1.0, 2.0, 4.0, 6.0, 6.0])

    def test_jitter(self) -> None:
        """
        Chance takes up to half of a wait away, never more.
        """
        self.assertEqual(BackOff(8.0, 60.0, lambda: 0.0).failed(), 4.0)
        self.assertEqual(BackOff(8.0, 60.0, lambda: 0.5).failed(), 6.0)

    def test_succeeded(self) -> None:
        """
        A success begins the waits anew.
        """
        backOff = BackOff(1.0, 60.0, lambda: 1.0)
        backOff.failed()
        backOff.failed()
        self.assertEqual(backOff.failures, 2)
        backOff.succeeded()
        self.assertEqual((backOff.failures, backOff.failed()), (0, 1.0))

    def test_years(self) -> None:
        """
        Thousands of failures do not overflow.
        """
        backOff = BackOff(1.0, 60.0, lambda: 1.0)
        backOff.failures = 100000
        self.assertEqual(backOff.failed(), 60.0)


class RepetitionsTests(SynchronousTestCase):
    """
    The same words are logged at growing intervals.
    """

    def test_sameWords(self) -> None:
        """
        The first, second, fourth and eighth time are worth a line.
        """
        told = Repetitions()
        self.assertEqual(
            [n for n in range(1, 17) if told.isWorthALine("refused")], [1, 2, 4, 8, 16]
        )

    def test_otherWords(self) -> None:
        """
        Other words are always worth a line, and begin the count anew.
        """
        told = Repetitions()
        lines = [told.isWorthALine(words) for words in ("a", "a", "a", "b", "b", "b", "a")]
        self.assertEqual(lines, [True, True, False, True, True, False, True])
        self.assertEqual(told.count, 1)

    def test_forget(self) -> None:
        """
        After a success everything is new.
        """
        told = Repetitions()
        for _ in range(3):
            told.isWorthALine("refused")
        told.forget()
        self.assertTrue(told.isWorthALine("refused"))
