# Copyright the cmanager authors.
# See LICENSE for details.

"""
The service at the root of a process with clients: starts what L{cmanager.tap} has built,
takes a changed configuration over.  Layer 5.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from cmanager.config import LIVE, Settings
from cmanager.errors import ConfigError
from cmanager.opening import Opening
from cmanager.process import easeCollector
from cmanager.root import Root, Surroundings
from cmanager.schema import differences
from cmanager.tls import CertificateStore

STOP_MARGIN = 0.7
"""
Seconds a stop may take beyond C{drain} and C{grace}.
"""


class Front(Root):
    """
    The root of the tree.

    @ivar settings: Those in force.
    """

    def __init__(
        self, settings: Settings, router: Any, tls: CertificateStore, around: Surroundings
    ) -> None:
        super().__init__(around)
        self.settings = settings
        self._router = router
        self._tls = tls

    def bind(self) -> None:
        """
        See L{Root.bind}.
        """
        if self._around.crew is None:
            Opening(self.settings).tell()
        if self._around.behind is not None:
            self._around.behind.privilegedStartService()
        super().bind()

    def startService(self) -> None:
        """
        Start it all.
        """
        around = self._around
        if around.behind is not None:
            around.behind.startService()
        super().startService()
        if around.welcome is not None:
            around.reactor.callWhenRunning(around.welcome)
        around.reactor.callWhenRunning(easeCollector)

    def stopService(self) -> Deferred[None]:
        """
        Stop in stages, in bounded time.
        """
        self.log.info("stopping: clients are told to leave")
        manager = self.settings.manager
        # A child that fails to stop has said so itself.
        stopping = super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        behind = self._around.behind
        if behind is not None:
            stopping.addBoth(lambda _: behind.stopService())
        return self._within(manager.drain + manager.grace + STOP_MARGIN, stopping)

    def reload(self) -> None:
        """
        Take over what has changed in the files.  A configuration that cannot be used
        changes nothing.
        """
        super().reload()
        new = self.settings
        if self._around.reload is not None:
            try:
                new = self._around.reload()
            except ConfigError as error:
                self._notTaken(error)
                return
        live: list[str] = []
        fixed: list[str] = []
        for path in differences(self.settings, new):
            (live if isLive(path) else fixed).append(path)
        self._take(new)
        self._tls.reload(self.settings.tls)
        self._tellDoubts(new)
        # Of workers, the supervisor says what becomes of that.
        if fixed and self._around.crew is None:
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
