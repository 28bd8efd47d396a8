# Copyright the cmanager authors.
# See LICENSE for details.

"""
What is written to the log: one line for each event, for people or for programs.
Layer 5; knows Twisted's events and no part of the program.

Nothing a peer has sent can begin a line of its own, nor make one longer than the
bounds here.  What a worker wrote is an event again here (L{cmanager.relay}), with its
number as C{log_worker}.
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any, Protocol

from twisted.logger import ILogObserver, LogEvent, formatEvent, formatTime
from twisted.logger import LogLevel as Level
from zope.interface import implementer

from cmanager.config import LogFormat, LogLevel

MAX_MESSAGE_CHARACTERS = 4096
MAX_TRACEBACK_CHARACTERS = 16384
MAX_FIELDS = 32

_RESERVED = frozenset({"level", "namespace", "message", "traceback", "time"})

# Controls, line separators, marks that turn text around, and what is no character.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Output(Protocol):
    """
    Where lines go: a file, C{sys.stdout} or a L{twisted.python.logfile.LogFile}.
    """

    def write(self, text: str, /) -> object:
        """
        Write whole lines.
        """

    def flush(self) -> object:
        """
        Let them be seen.
        """


@implementer(ILogObserver)
class LogWriter:
    """
    An observer that writes.

    @ivar form: For people, or for programs; may be changed at any time.
    @ivar level: The least level written; likewise.  Twisted's own notices are a level
        less important than ours.
    """

    def __init__(self, output: Output, form: LogFormat, level: LogLevel = LogLevel.INFO) -> None:
        self._output = output
        self.form = form
        self.level = level

    def __call__(self, event: LogEvent) -> None:
        """
        Write one event, if it is important enough.
        """
        level = event.get("log_level") or Level.info
        least = Level.lookupByName(self.level.value)
        if least is Level.info and not _namespace(event).startswith("cmanager"):
            least = Level.warn
        if level >= least:
            line = _jsonLine if self.form is LogFormat.JSON else _textLine
            self._output.write(line(event, level.name) + "\n")
            self._output.flush()


def text() -> LogWriter:
    """
    Make an observer for C{twistd --logger=cmanager.logs.text}.
    """
    return LogWriter(sys.stdout, LogFormat.TEXT)


def jsonLines() -> LogWriter:
    """
    Make an observer for C{twistd --logger=cmanager.logs.jsonLines}.
    """
    return LogWriter(sys.stdout, LogFormat.JSON)


def _namespace(event: LogEvent) -> str:
    return str(event.get("log_namespace", "-"))


def _part(namespace: str) -> str:
    first, _, rest = namespace.partition(".")
    return rest.partition(".")[0] if first == "cmanager" and rest else first


def _traceback(event: LogEvent) -> str:
    """
    Return the traceback of an event, if it has one: without the values of
    variables, among which may be secrets.
    """
    failure = event.get("log_failure")
    if failure is None:
        return ""
    try:
        shown = str(failure.getTraceback())
    except Exception as error:  # noqa: BLE001 # the text of any exception may be broken
        shown = f"(a traceback that cannot be shown: {type(error).__name__})"
    # The end names the error.
    return shown.strip()[-MAX_TRACEBACK_CHARACTERS:]


def _message(event: LogEvent) -> str:
    message = formatEvent(event)
    if not message and event.get("log_failure") is not None:
        message = "unexpected error"
    if len(message) > MAX_MESSAGE_CHARACTERS:
        message = message[: MAX_MESSAGE_CHARACTERS - 3] + "..."
    return message


def _safe(text: str) -> str:
    return _UNSAFE.sub(lambda m: m.group().encode("unicode_escape").decode("ascii"), text)


def _textLine(event: LogEvent, level: str) -> str:
    worker = f"worker {event['log_worker']} " if "log_worker" in event else ""
    lines = [
        f"{formatTime(event.get('log_time'))} {level:<8} {worker}{_part(_namespace(event))}:"
        f" {_safe(_message(event).strip())}"
    ]
    lines += [f"    {_safe(line)}" for line in _traceback(event).splitlines()]
    return "\n".join(lines)


def _jsonLine(event: LogEvent, level: str) -> str:
    written: dict[str, object] = {
        "log_time": event.get("log_time"),
        "level": level,
        "namespace": _namespace(event),
        "message": _message(event),
    }
    traceback = _traceback(event)
    if traceback:
        written["traceback"] = traceback
    if "log_worker" in event:
        written["worker"] = event["log_worker"]
    if written["namespace"] != "log_legacy":
        written |= _fields(event)
    return json.dumps(written)


def _fields(event: LogEvent) -> dict[str, Any]:
    """
    Return what an event says besides its text: numbers, truths and texts, nothing
    that would have to be asked how it looks.
    """
    found: dict[str, Any] = {}
    for name, value in event.items():
        if name.startswith("log_") or len(found) >= MAX_FIELDS:
            continue
        shown = value
        if isinstance(value, str):
            shown = value[:MAX_MESSAGE_CHARACTERS]
        elif isinstance(value, float) and not math.isfinite(value):
            shown = str(value)
        elif value is not None and not isinstance(value, bool | int | float):
            continue
        found[f"{name}_" if name in _RESERVED else name] = shown
    return found
