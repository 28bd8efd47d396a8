# Copyright the cmanager authors.
# See LICENSE for details.

"""
A worker as its supervisor sees it: a process with pipes.  Layer 5.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from cmanager.plan import Plan
from cmanager.relay import Relay

PLAN, OUTPUT, ERRORS, NEWS = range(4)
"""
The descriptors that are pipes, as the worker has them: one down, three up.  That of the
plan stays open: its end tells the worker that the supervisor is gone.
"""

FIRST_SHARED = NEWS + 1
"""
From here on those that it shares with others.
"""

READY, WAITING = b"ready", b"waiting"
"""
What a worker tells, first as soon as it takes clients: whether it has a link to each of
the servers.
"""

LAST_WORDS_SECONDS = 1.0
"""
How long the pipes of a process that is gone are read: a child of its own may hold them.
"""


class IWatch(Protocol):
    """
    Who starts children.
    """

    def childEnded(self, child: Child) -> None:
        """
        One is gone.
        """


@frozen
class Start:
    """
    How to start a child.

    @ivar descriptors: Of this process, by those of the plan.
    @ivar patience: Seconds in which it ends when it is told to, or is ended.
    @ivar options: Of twistd.
    """

    plan: Plan
    descriptors: Mapping[int, int]
    patience: float
    options: tuple[str, ...] = ()

    def line(self) -> list[str]:
        """
        Return the command.
        """
        slot = str(self.plan.crew.slot)
        return [sys.executable, "-P", "-m", "cmanager.worker", slot, *self.options]


class Child(ProcessProtocol):
    """
    One process, from its start to its end.

    @ivar slot: Its place among the workers.
    @ivar started: When.
    @ivar isUp: It takes clients.
    @ivar isReady: It can log them in, too.
    @ivar how: It ended, L{None} before.
    @ivar patience: See L{Start}.
    """

    log = Logger()

    def __init__(self, reactor: Any, start: Start, watch: IWatch) -> None:
        self.slot = start.plan.crew.slot
        self.started: float = reactor.seconds()
        self.patience = start.patience
        self.isUp = self.isReady = False
        self.how: str | None = None
        self._reactor = reactor
        self._plan = start.plan
        self._watch = watch
        self._relay = Relay(self.slot)
        self._news = b""
        self._hangsUpLater = self._isLeaving = False
        self._timers: list[Any] = []
        # The supervisor waits for one thing of a child at a time, or two when it stops.
        self._settling: list[Deferred[None]] = []
        self._ending: list[Deferred[None]] = []
        pipes = {PLAN: "w", OUTPUT: "r", ERRORS: "r", NEWS: "r"}
        line = start.line()
        # It finds the modules that this process found, wherever it was started.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        reactor.spawnProcess(
            self, line[0], line, env=environment, childFDs={**pipes, **start.descriptors}
        )

    def settled(self) -> Deferred[None]:
        """
        Return what fires when it has become ready, or has ended.
        """
        return self._when(self.isReady or self.how is not None, self._settling)

    def ended(self) -> Deferred[None]:
        """
        Return what fires when it has ended.
        """
        return self._when(self.how is not None, self._ending)

    def _when(self, isSo: bool, waiting: list[Deferred[None]]) -> Deferred[None]:
        result: Deferred[None] = Deferred()
        if isSo:
            result.callback(None)
        else:
            waiting.append(result)
        return result

    def hangUp(self) -> None:
        """
        Have it read its configuration again, as soon as it can.
        """
        # Before it is up, the signal would end it.
        if self.isUp:
            self._signal("HUP")
        else:
            self._hangsUpLater = True

    def leave(self) -> Deferred[None]:
        """
        Have it end.

        @return: As L{ended}.
        """
        if not self._isLeaving and self.how is None:
            self._isLeaving = True
            self._signal("TERM")
            self._timers.append(self._reactor.callLater(self.patience, self._signal, "KILL"))
        return self.ended()

    def _signal(self, name: str) -> None:
        assert self.transport is not None
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)

    # What the process does.  See ProcessProtocol.

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.writeToChild(PLAN, self._plan.encode())

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD != NEWS:
            self._relay.received(data)
            return
        *lines, self._news = (self._news + data).split(b"\n")
        for line in lines:
            self._told(isReady=line == READY)

    def _told(self, *, isReady: bool) -> None:
        if not self.isUp:
            assert self.transport is not None
            self.isUp = True
            self.log.info(
                "worker {worker} takes clients: process {pid}, known to servers as {name}",
                worker=self.slot,
                pid=self.transport.pid,
                name=self._plan.name,
            )
            if self._hangsUpLater:
                self.hangUp()
        self.isReady = isReady
        if isReady:
            self._fire(self._settling)

    def processExited(self, reason: Failure) -> None:
        assert self.transport is not None
        self._timers.append(
            self._reactor.callLater(LAST_WORDS_SECONDS, self.transport.loseConnection)
        )

    def processEnded(self, reason: Failure) -> None:
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._relay.ended()
        self.isUp = self.isReady = False
        self.how = ending(reason)
        self._watch.childEnded(self)
        self._fire(self._settling)
        self._fire(self._ending)

    def _fire(self, waiting: list[Deferred[None]]) -> None:
        while waiting:
            waiting.pop().callback(None)


def ending(reason: Failure) -> str:
    """
    Say how a process ended.
    """
    error: Any = reason.value
    if isinstance(error, ProcessTerminated) and error.signal is not None:
        names = {each.value: each.name for each in signal.Signals}
        return f"was ended by {names.get(error.signal, f'signal {error.signal}')}"
    return f"ended with status {error.exitCode}"
