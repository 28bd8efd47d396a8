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

from tests.programs import findMellium, findNode

HERE = Path(__file__).resolve().parent.parent.parent
MAX_OUTPUT_LINES = 200
CLIENTS = Path(__file__).resolve().parent / "clients"
PATIENCE_SECONDS = 60.0

Event = dict[str, Any]


class ActorError(Exception):
    """
    The client program itself failed, or ended before what was expected of it.
    """


def command(program: str) -> list[str]:
    """
    Return how to start a program of L{CLIENTS}.

    @raise SkipTest: It needs Node or Go, and the machine has none.
    """
    if program == "mellium":
        return [findMellium()]
    if (script := CLIENTS / f"{program}.mjs").exists():
        return [findNode(), str(script)]
    return [sys.executable, "-m", f"tests.acts.clients.{program}"]


class Role:
    """
    One client of a program.

    @ivar events: What it reported and nobody has asked for yet.
    @ivar history: All that it reported.
    """

    def __init__(self, actor: Actor, name: str) -> None:
        self.actor = actor
        self.name = name
        self.events: list[Event] = []
        self.history: list[Event] = []
        self._waiting: list[tuple[Callable[[Event], bool], Deferred[Event]]] = []

    def __str__(self) -> str:
        return f"{self.actor.program} {self.name}".rstrip()

    def order(self, name: str, **arguments: Any) -> None:
        """
        Tell the client to do something.
        """
        self.actor.tell({"order": name, **({"as": self.name} if self.name else {}), **arguments})

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
                f"{self}: no {event} {fields or ''} in {seconds} s, but {self.events[:20]}"
            )

        return result.addTimeout(PATIENCE_SECONDS, self.actor.reactor, late)

    def take(self, event: str) -> list[Event]:
        """
        Take all events of a kind that have come in so far.
        """
        taken = [found for found in self.events if found["event"] == event]
        self.events = [found for found in self.events if found["event"] != event]
        return taken

    def happened(self, found: Event) -> None:
        """
        Called with what the client reports.
        """
        self.history.append(found)
        if found["event"] == "broken":
            self.fail(ActorError(f"{self}: {found['text']}"))
            return
        for number, (matches, result) in enumerate(self._waiting):
            if matches(found):
                del self._waiting[number]
                result.callback(found)
                return
        self.events.append(found)

    def fail(self, error: ActorError) -> None:
        """
        Let nobody wait any more.
        """
        waiting, self._waiting = self._waiting, []
        for _, result in waiting:
            result.errback(error)


class Actor(Role, ProcessProtocol):
    """
    A client in a process of its own, which can play further L{roles<role>}.
    """

    def __init__(self, reactor: Any, program: str) -> None:
        super().__init__(self, "")
        self.program = program
        self.reactor = reactor
        self.ended: Deferred[None] = Deferred()
        self._roles: dict[str, Role] = {"": self}
        self._partial = b""
        self._errors: list[bytes] = []
        # What a client does is no part of the coverage, and measuring it takes time.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
        environment["PYTHONPATH"] = str(HERE)
        environment["PYTHONWARNINGS"] = "ignore"
        environment["NODE_PATH"] = str(Path(sys.prefix, "node", "node_modules"))
        line = command(program)
        reactor.spawnProcess(self, line[0], line, env=environment, path=str(HERE))

    def role(self, name: str) -> Role:
        """
        Return another client that the same process plays.
        """
        return self._roles.setdefault(name, Role(self, name))

    def tell(self, order: Event) -> None:
        """
        Write an order.
        """
        assert self.transport is not None
        self.transport.write(json.dumps(order).encode() + b"\n")

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
            self.role(found.pop("as", "")).happened(found)

    def errReceived(self, data: bytes) -> None:
        self._errors = [*self._errors, data][-MAX_OUTPUT_LINES:]

    def processEnded(self, reason: Failure) -> None:
        how = "" if reason.check(ProcessDone) else f"{reason.value}\n"
        errors = b"".join(self._errors).decode(errors="replace")
        for role in list(self._roles.values()):
            role.fail(ActorError(f"{role} ended: {how}{errors}"))
        self.ended.callback(None)
