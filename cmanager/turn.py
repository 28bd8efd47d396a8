# Copyright the cmanager authors.
# See LICENSE for details.

"""
The end of a turn: when all that was ready has been dealt with.  Layer 1; owns no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger


class Turn:
    """
    Puts off what had better be done once for all that happens in a turn.

    @param clock: L{IReactorTime <twisted.internet.interfaces.IReactorTime>}, for what
        happens outside of any.
    """

    log = Logger()

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._isOpen = False
        self._calls: list[Callable[[], object]] = []

    def begin(self) -> None:
        """
        A turn begins.  L{end} follows, whatever happens.
        """
        self._isOpen = True

    def end(self) -> None:
        """
        Do what was put off.
        """
        self._isOpen = False
        calls, self._calls = self._calls, []
        for call in calls:
            try:
                call()
            except Exception:  # noqa: BLE001 - a bug must cost no other, nor whoever had the turn
                self.log.failure("what was to be done at the end of a turn has failed")

    def atEnd(self, call: Callable[[], object]) -> None:
        """
        Call C{call} at the end of the turn, or soon.
        """
        if self._isOpen:
            self._calls.append(call)
        else:
            self._clock.callLater(0, call)
