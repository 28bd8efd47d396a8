# Copyright the cmanager authors.
# See LICENSE for details.

"""
What workers write to their logs, which is L{JSON lines<cmanager.logs>} on their standard
output, as events of the supervisor's own log.  Layer 5.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.logger import LogEvent, Logger
from twisted.logger import LogLevel as Level
from twisted.logger import globalLogPublisher as publisher

from cmanager.logs import MAX_MESSAGE_CHARACTERS

MAX_LINE_BYTES = 1048576
"""
A longer line is cut.  The lines of L{cmanager.logs} are shorter.
"""


@frozen
class Told:
    """
    As much of a failure as is left when it has been written.
    """

    text: str

    def getTraceback(self, *_: object, **__: object) -> str:
        """
        See L{twisted.python.failure.Failure}.
        """
        return self.text


class Relay:
    """
    Makes events of what one worker writes.

    @ivar worker: Its number.
    """

    log = Logger()

    def __init__(self, worker: int, publish: Callable[[LogEvent], object] = publisher) -> None:
        self.worker = worker
        self._publish = publish
        self._partial = b""

    def received(self, data: bytes) -> None:
        """
        Called with what it writes.
        """
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > MAX_LINE_BYTES:
            lines.append(self._partial[:MAX_LINE_BYTES])
            self._partial = b""
        for line in lines:
            self._line(line)

    def ended(self) -> None:
        """
        It writes no more.
        """
        self._line(self._partial)
        self._partial = b""

    def _line(self, line: bytes) -> None:
        if not line:
            return
        try:
            event = _event(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError):
            # Not by way of the log: an error at its start, or of a library.
            self.log.error(
                "worker {worker} says: {text}",
                worker=self.worker,
                text=line.decode(errors="replace")[:MAX_MESSAGE_CHARACTERS],
            )
        else:
            self._publish({**event, "log_worker": self.worker})


def _event(written: dict[str, Any]) -> LogEvent:
    """
    Return what was written as what it was.
    """
    event: LogEvent = {
        name: value for name, value in written.items() if not name.startswith("log_")
    }
    event["log_time"] = written["log_time"]
    event["log_level"] = Level.lookupByName(event.pop("level"))
    event["log_namespace"] = event.pop("namespace")
    event["log_text"] = event.pop("message")
    event["log_format"] = "{log_text}"
    if "traceback" in event:
        event["log_failure"] = Told(event.pop("traceback"))
    return event
