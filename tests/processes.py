# Copyright the cmanager authors.
# See LICENSE for details.

"""
Doubles for processes: a reactor that starts none, what it started, and the place of one
among others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from cmanager.child import ERRORS, NEWS, OUTPUT, PLAN
from cmanager.crew import Crew

CREW = Crew(1, 3, 10, 11, ("/run/a/0", "/run/a/1", "/run/a/2"))


class FakeProcess:
    """
    A process that does nothing by itself.

    @ivar line: Its command.
    @ivar environment: Its environment.
    @ivar descriptors: See C{childFDs} of C{spawnProcess}.
    @ivar signals: What it was sent.
    @ivar plan: What it was told as it started.
    """

    def __init__(
        self,
        protocol: ProcessProtocol,
        pid: int,
        line: list[str],
        environment: Mapping[str, str],
        descriptors: Mapping[int, Any],
    ) -> None:
        self.protocol = protocol
        self.pid = pid
        self.line = line
        self.environment = environment
        self.descriptors = descriptors
        self.signals: list[str] = []
        self.isGone = False
        self.isLetGo = False
        self.plan: dict[str, Any] = {}

    # What a process does.

    def write(self, descriptor: int, data: bytes) -> None:
        """
        Write something.
        """
        self.protocol.childDataReceived(descriptor, data)

    def say(self, **event: Any) -> None:
        """
        Write a line of its log.
        """
        self.write(OUTPUT, json.dumps(event).encode() + b"\n")

    def fail(self, text: str) -> None:
        """
        Write to its standard error.
        """
        self.write(ERRORS, text.encode() + b"\n")

    def tell(self, words: bytes) -> None:
        """
        Tell the supervisor something.
        """
        self.write(NEWS, words + b"\n")

    def end(self, status: int | None = 0, signal: int | None = None) -> None:
        """
        End, and let go of all pipes.
        """
        reason = Failure(ProcessTerminated(status, signal) if status or signal else ProcessDone(0))
        self.isGone = True
        self.protocol.processExited(reason)
        self.protocol.processEnded(reason)

    # See IProcessTransport.

    def writeToChild(self, childFD: int, data: bytes) -> None:
        assert childFD == PLAN
        self.plan = json.loads(data)

    def signalProcess(self, signalID: str) -> None:
        if self.isGone:
            raise ProcessExitedAlready
        self.signals.append(signalID)

    def loseConnection(self) -> None:
        self.isLetGo = True


class ProcessReactor(MemoryReactorClock):
    """
    Starts processes that are none.

    @ivar processes: All that it has started.
    @ivar error: What it raises instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.error: OSError | None = None

    def spawnProcess(  # type: ignore[override]  # less than all there is
        self,
        processProtocol: ProcessProtocol,
        executable: str,
        args: list[str],
        env: Mapping[str, str],
        childFDs: Mapping[int, Any],
    ) -> FakeProcess:
        """
        See L{IReactorProcess}.
        """
        if self.error is not None:
            raise self.error
        assert executable == args[0]
        process = FakeProcess(processProtocol, 1000 + len(self.processes), args, env, childFDs)
        self.processes.append(process)
        processProtocol.makeConnection(process)
        return process

    def callWhenRunning(self, callable, *args, **kwargs):
        """
        See L{IReactorCore.callWhenRunning}: it runs.
        """
        callable(*args, **kwargs)
