# Copyright the cmanager authors.
# See LICENSE for details.

"""
A worker as it sees itself: what ties it to its supervisor.  Layer 5.

C{python -m cmanager.worker} is C{twistd --nodaemon cmanager --worker}, under a name by
which an operator knows it in a list of processes.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from twisted.application.service import Service
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cmanager.child import NEWS, PLAN, READY, WAITING
from cmanager.crew import Crew

TELL_SECONDS = 0.25
"""
How often to see whether the supervisor has to be told something.
"""


@implementer(IReadDescriptor)
class Tie(Service):
    """
    Tells the supervisor how this process is; ends it when the supervisor is gone.

    @param router: The L{Router <cmanager.router.Router>}.
    @param news: Where to tell.
    @param lifeline: The descriptor of a pipe that only the supervisor writes to, and
        nothing.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, router: Any, crew: Crew, news: int = NEWS, lifeline: int = PLAN
    ) -> None:
        self._reactor = reactor
        self._router = router
        self._crew = crew
        self._news = news
        self._lifeline = lifeline
        self._told: bytes | None = None
        self._telling = LoopingCall(self._tell)
        self._telling.clock = reactor

    def startService(self) -> None:
        """
        To be called when all else has started.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        self._reactor.addReader(self)
        self._telling.start(TELL_SECONDS)

    def stopService(self) -> None:
        """
        Nothing more is to be told or heard.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        self._reactor.removeReader(self)
        if self._telling.running:
            self._telling.stop()

    def _tell(self) -> None:
        isReady = all(host.isReady for host in self._router.hosts.values())
        words = READY if isReady else WAITING
        if words != self._told:
            self._told = words
            # Where nobody listens, the end of the lifeline has been seen, or will be.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._news, words + b"\n")

    # The lifeline.  See IReadDescriptor.

    def fileno(self) -> int:
        return self._lifeline

    def logPrefix(self) -> str:
        return "supervisor"

    def doRead(self) -> None:
        if not os.read(self._lifeline, 1):
            self._reactor.removeReader(self)
            self._orphaned()

    def connectionLost(self, reason: Failure) -> None:
        # Some reactors call this instead of doRead.
        if self.running:
            self._orphaned()

    def _orphaned(self) -> None:
        self.log.error("the supervisor is gone: this worker stops")
        self._tidyUp()
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()

    def _tidyUp(self) -> None:
        """
        Remove what the supervisor cannot any more: our file and those of nobody, and with the
        last one the directory.
        """
        crew, isPresent = self._crew, self._router.share.isPresent
        for slot, path in enumerate(crew.paths):
            if slot == crew.slot or not isPresent(slot):
                with contextlib.suppress(OSError):
                    os.unlink(path)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(crew.paths[0]))


def main(arguments: list[str]) -> None:
    """
    Run a worker.

    @param arguments: Its number, and options of twistd.
    """
    from twisted.scripts.twistd import run

    slot, *options = arguments
    sys.argv = ["twistd", "--nodaemon", "--pidfile=", *options, "cmanager", "--worker", slot]
    run()


if __name__ == "__main__":
    main(sys.argv[1:])
