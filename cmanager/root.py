# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the service at the root does, be it the L{front<cmanager.front>} itself or the
L{supervisor<cmanager.supervisor>} of several: log, signals, a failed start, a bounded
stop.  Layer 5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from attrs import frozen
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from cmanager.config import Settings
from cmanager.crew import Crew
from cmanager.errors import ConfigError
from cmanager.logs import LogWriter
from cmanager.process import Signals


def _fail(error: ConfigError) -> NoReturn:
    raise SystemExit(1)


@frozen
class Surroundings:
    """
    What a root has around it.

    @ivar reactor: Nothing else brings time or sockets.
    @ivar reload: Reads the configuration again; L{None} where there is no file.
    @ivar writer: Where the log goes if it is ours; L{None} if twistd was told where.
    @ivar logFile: To be opened again on SIGHUP.
    @ivar fail: Ends the process because of an error the operator was told of.
    @ivar behind: A server that runs in the same process: started first, stopped last.
    @ivar welcome: Called once everything runs.
    @ivar crew: L{None} in a process that is the only one.
    """

    reactor: Any
    reload: Callable[[], Settings] | None = None
    writer: LogWriter | None = None
    logFile: LogFile | None = None
    fail: Callable[[ConfigError], NoReturn] = _fail
    behind: IService | None = None
    welcome: Callable[[], object] | None = None
    crew: Crew | None = None


class Root(MultiService):
    """
    The root of a tree of services.
    """

    log = Logger()

    def __init__(self, around: Surroundings) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self._around = around
        self._signals = Signals(around.reactor, self.reload, isWorker=around.crew is not None)

    def setServiceParent(self, parent: Any) -> None:
        """
        Become part of the application; its log is ours, unless C{twistd} was told
        otherwise.
        """
        if self._around.writer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._around.writer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]  # Twisted's

    def privilegedStartService(self) -> None:
        """
        Bind.  What fails is one line in the log, and the end.
        """
        # What comes before the reactor runs waits for it.
        self._signals.install()
        self._orFail(self.bind)

    def bind(self) -> None:
        """
        Tell the operator what is going to be tried, and bind.

        @raise ConfigError: It cannot be done.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted's

    def startService(self) -> None:
        """
        Start it all.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        # Once more: the reactor installs its own when it begins to run.
        self._around.reactor.callWhenRunning(self._signals.install)

    def _orFail(self, step: Callable[[], None]) -> None:
        try:
            step()
        except ConfigError as error:
            for problem in error.problems:
                self.log.critical("{problem}", problem=problem)
            self._around.fail(error)

    def reload(self) -> None:
        """
        Called on SIGHUP.
        """
        if self._around.logFile is not None:
            self._around.logFile.reopen()

    def _notTaken(self, error: ConfigError) -> None:
        for problem in error.problems:
            self.log.error("configuration not taken over: {problem}", problem=problem)

    def _tellDoubts(self, settings: Settings) -> None:
        for warning in settings.warnings:
            self.log.warn("configuration: {doubt}", doubt=warning)

    def _within(self, seconds: float, stopping: Deferred[Any]) -> Deferred[None]:
        """
        Say that all has stopped when C{stopping} fires, or that it has not in time.
        """
        stopped: Deferred[None] = Deferred()

        def finish(_: object = None, *, late: bool = False) -> None:
            if timer.active():
                timer.cancel()
            if stopped.called:
                return
            if late:
                self.log.warn("stopped before all was closed")
            else:
                self.log.info("stopped")
            stopped.callback(None)

        timer = self._around.reactor.callLater(seconds, finish, late=True)
        stopping.addBoth(finish)
        return stopped
