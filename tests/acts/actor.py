# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client program seen from the test that directs it; see
L{tests.acts.clients.player} for what is said between the two.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

HERE = Path(__file__).resolve().parent.parent.parent
MAX_OUTPUT_LINES = 200
PATIENCE_SECONDS = 60.0

Event = dict[str, Any]


class ActorError(Exception):
    """
    The client program itself failed, or ended before what was expected of it.
    """


class Actor(ProcessProtocol):
    """
    A client in a process of its own.

    @ivar events: What it reported and nobody has asked for yet.
    """

    def __init__(self, reactor: Any, program: str) -> None:
        self.program = program
        self._reactor = reactor
        self.events: list[Event] = []
        self.ended: Deferred[None] = Deferred()
        self._waiting: list[tuple[Callable[[Event], bool], Deferred[Event]]] = []
        self._partial = b""
        self._errors: list[bytes] = []
        # What a client does is no part of the coverage, and measuring it takes time.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
        reactor.spawnProcess(
            self,
            sys.executable,
            [sys.executable, "-m", f"tests.acts.clients.{program}"],
            env={**environment, "PYTHONPATH": str(HERE), "PYTHONWARNINGS": "ignore"},
            path=str(HERE),
        )

    def order(self, name: str, **arguments: Any) -> None:
        """
        Tell the client to do something.
        """
        assert self.transport is not None
        self.transport.write(json.dumps({"order": name, **arguments}).encode() + b"\n")

    def expect(self, event: str, **fields: Any) -> Deferred[Event]:
        """
        Wait for the first event of a kind with these fields that nobody has got yet,
        and take it.
        """

        def matches(found: Event) -> bool:
            return found["event"] == event and all(
                value(found[name]) if callable(value) else found[name] == value
                for name, value in fields.items()
            )

        for number, found in enumerate(self.events):
            if matches(found):
                return succeed(self.events.pop(number))
        result: Deferred[Event] = Deferred()
        waiting = (matches, result)
        self._waiting.append(waiting)

        def late(_: object, seconds: float) -> NoReturn:
            self._waiting.remove(waiting)
            raise ActorError(
                f"{self.program}: no {event} {fields or ''} in {seconds} s, but {self.events[:20]}"
            )

        return result.addTimeout(PATIENCE_SECONDS, self._reactor, late)

    def take(self, event: str) -> list[Event]:
        """
        Take all events of a kind that have come in so far.
        """
        taken = [found for found in self.events if found["event"] == event]
        self.events = [found for found in self.events if found["event"] != event]
        return taken

    def leave(self) -> Deferred[None]:
        """
        End the program.
        """
        if self.transport is not None and self.transport.pid:
            self.transport.signalProcess("KILL")
        return self.ended

    def outReceived(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            found = json.loads(line)
            if found["event"] == "broken":
                self._fail(ActorError(f"{self.program}: {found['text']}"))
                continue
            for number, (matches, result) in enumerate(self._waiting):
                if matches(found):
                    del self._waiting[number]
                    result.callback(found)
                    break
            else:
                self.events.append(found)

    def errReceived(self, data: bytes) -> None:
        self._errors = [*self._errors, data][-MAX_OUTPUT_LINES:]

    def processEnded(self, reason: Failure) -> None:
        how = "" if reason.check(ProcessDone) else f"{reason.value}\n"
        errors = b"".join(self._errors).decode(errors="replace")
        self._fail(ActorError(f"{self.program} ended: {how}{errors}"))
        self.ended.callback(None)

    def _fail(self, error: ActorError) -> None:
        waiting, self._waiting = self._waiting, []
        for _, result in waiting:
            result.errback(error)
