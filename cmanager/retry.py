# Copyright the cmanager authors.
# See LICENSE for details.

"""
When to try again, and how often to say so.  Layer 1; owns no clock.
"""

from __future__ import annotations

from collections.abc import Callable


class BackOff:
    """
    Growing waits between attempts, until one succeeds in full.

    @param first: Seconds after the first failure.
    @param most: Seconds the wait never passes.
    @param random: Returns a number from 0 up to 1.
    @ivar failures: Since the last success.
    """

    def __init__(self, first: float, most: float, random: Callable[[], float]) -> None:
        self.failures = 0
        self._first = first
        self._most = most
        self._random = random

    def failed(self) -> float:
        """
        Count a failure.

        @return: Seconds to wait: between half of what is due and all of it, so that
            many managers do not come back to a server at the same moment.
        """
        # The exponent is bounded because a float is not.
        due = min(self._most, self._first * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return due * (0.5 + self._random() / 2)

    def succeeded(self) -> None:
        """
        Begin anew.
        """
        self.failures = 0


class Repetitions:
    """
    Keeps a log short: the same words are worth a line the first time, the
    second, the fourth, the eighth and so on.
    """

    def __init__(self) -> None:
        self._words = ""
        self.count = 0

    def isWorthALine(self, words: str) -> bool:
        """
        Count C{words} and tell whether to write them.
        """
        if words != self._words:
            self._words = words
            self.count = 0
        self.count += 1
        return self.count & (self.count - 1) == 0

    def forget(self) -> None:
        """
        The next words are new whatever they are.
        """
        self._words = ""
        self.count = 0
