# Copyright the cmanager authors.
# See LICENSE for details.

"""
The service at the root: starts what L{cmanager.tap} has built, tells the operator,
takes a changed configuration over.  Layer 5.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, NoReturn

import twisted
from attrs import evolve, frozen
from OpenSSL import SSL
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from cmanager import __version__
from cmanager.config import LIVE, ServerSettings, Settings
from cmanager.crew import Crew
from cmanager.errors import ConfigError
from cmanager.framing import ENGINE
from cmanager.logs import LogWriter
from cmanager.process import RESERVED_FILES, Signals, easeCollector, raiseFileLimit
from cmanager.schema import differences
from cmanager.tls import CertificateStore

STOP_MARGIN = 0.7
"""
Seconds a stop may take beyond C{drain} and C{grace}.
"""


def _fail(error: ConfigError) -> NoReturn:
    raise SystemExit(1)


@frozen
class Surroundings:
    """
    What a front has around it.

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


class Front(MultiService):
    """
    The root of the tree.

    @ivar settings: Those in force.
    """

    log = Logger()

    def __init__(
        self, settings: Settings, router: Any, tls: CertificateStore, around: Surroundings
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's
        self.settings = settings
        self._router = router
        self._tls = tls
        self._around = around
        self._signals = Signals(around.reactor, self.reload)

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
        self._describe()
        try:
            if self._around.behind is not None:
                self._around.behind.privilegedStartService()
            super().privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted's
        except ConfigError as error:
            for problem in error.problems:
                self.log.critical("{problem}", problem=problem)
            self._around.fail(error)

    def startService(self) -> None:
        """
        Start it all.
        """
        around = self._around
        if around.behind is not None:
            around.behind.startService()
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        # Once more: the reactor installs its own when it begins to run.
        around.reactor.callWhenRunning(self._signals.install)
        if around.welcome is not None:
            around.reactor.callWhenRunning(around.welcome)
        around.reactor.callWhenRunning(easeCollector)

    def stopService(self) -> Deferred[None]:
        """
        Stop in stages, in bounded time.
        """
        self.log.info("stopping: clients are told to leave")
        manager = self.settings.manager
        bound = manager.drain + manager.grace + STOP_MARGIN
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

        timer = self._around.reactor.callLater(bound, finish, late=True)
        # A child that fails to stop has said so itself.
        stopping = super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        behind = self._around.behind
        if behind is not None:
            stopping.addBoth(lambda _: behind.stopService())
        stopping.addBoth(finish)
        return stopped

    def _describe(self) -> None:
        settings = self.settings
        self.log.info(
            "cmanager {version} starts as {name}: Python {python}, Twisted {twisted}, {openssl}, "
            "scanner: {engine}",
            version=__version__,
            name=settings.manager.name,
            python=platform.python_version(),
            twisted=twisted.__version__,
            openssl=SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode(),
            engine=ENGINE,
        )
        for warning in settings.warnings:
            self.log.warn("configuration: {doubt}", doubt=warning)
        for server in settings.servers:
            self.log.info(
                "server for {domains}: {where}, {links} links, {security}",
                domains=", ".join(server.domains),
                where=_where(server),
                links=server.links,
                security=server.security.value,
            )
        for listener in settings.listeners:
            self.log.info(
                "clients come in by {type} on {endpoint}",
                type=listener.type,
                endpoint=listener.endpoint,
            )
        self._describeFiles()

    def _describeFiles(self) -> None:
        wanted = self.settings.limits.sessions
        links = sum(server.links for server in self.settings.servers)
        others = RESERVED_FILES + links + len(self.settings.listeners)
        files = raiseFileLimit(wanted + others)
        clients = max(files - others, 0)
        if clients < wanted:
            self.log.warn(
                "open files: the limit of {files} is enough for {clients} clients, but"
                " limits.sessions is {wanted}: raise it (LimitNOFILE of systemd, ulimit -n)",
                files=files,
                clients=clients,
                wanted=wanted,
            )
        else:
            self.log.info(
                "open files: the limit of {files} is enough for {clients} clients",
                files=files,
                clients=clients,
            )

    def reload(self) -> None:
        """
        Take over what has changed in the files.  A configuration that cannot be used
        changes nothing.
        """
        around = self._around
        if around.logFile is not None:
            around.logFile.reopen()
        new = self.settings
        if around.reload is not None:
            try:
                new = around.reload()
            except ConfigError as error:
                for problem in error.problems:
                    self.log.error("configuration not taken over: {problem}", problem=problem)
                return
        live: list[str] = []
        fixed: list[str] = []
        for path in differences(self.settings, new):
            if path == "manager.name" and new.manager.name is None:
                continue  # Drawn by lot at the start.
            (live if isLive(path) else fixed).append(path)
        self._take(new)
        self._tls.reload(self.settings.tls)
        for warning in new.warnings:
            self.log.warn("configuration: {doubt}", doubt=warning)
        if fixed:
            self.log.warn("configuration: only a restart changes {keys}", keys=", ".join(fixed))
        self.log.info(
            "configuration read again; changed: {keys}", keys=", ".join(live) or "nothing"
        )

    def _take(self, new: Settings) -> None:
        """
        Put what may change into force.
        """
        tls = evolve(
            self.settings.tls,
            certificates=new.tls.certificates,
            checkInterval=new.tls.checkInterval,
            expiryWarningDays=new.tls.expiryWarningDays,
        )
        self.settings = evolve(
            self.settings,
            log=evolve(self.settings.log, level=new.log.level),
            tls=tls,
            client=new.client,
            bosh=new.bosh,
            limits=new.limits,
        )
        if self._around.writer is not None:
            self._around.writer.level = new.log.level
        self._router.reconfigure(self.settings)


def isLive(path: str) -> bool:
    """
    Tell whether the key C{path} changes without a restart.
    """
    return path in LIVE or path.partition(".")[0] in LIVE


def _where(server: ServerSettings) -> str:
    if server.address is not None:
        return server.address
    return f"the host of the SRV record of {server.domains[0]}, port {server.port}"
