# Copyright the cmanager authors.
# See LICENSE for details.

"""
What the operator reads first: what is going to be tried, and for how many clients there
are open files.  Layer 5.
"""

from __future__ import annotations

import platform
from collections.abc import Callable

import twisted
from OpenSSL import SSL
from twisted.logger import Logger

from cmanager import __version__
from cmanager.config import ServerSettings, Settings
from cmanager.framing import ENGINE, LACK
from cmanager.process import RESERVED_FILES, raiseFileLimit


class Opening:
    """
    The first lines of a start.

    @param workers: How many processes there are going to be, each with links of its own.
    @param raiseLimit: As L{raiseFileLimit}; children inherit it.
    @param lack: See L{LACK}.
    """

    log = Logger()

    def __init__(
        self,
        settings: Settings,
        workers: int = 1,
        raiseLimit: Callable[[int], int] = raiseFileLimit,
        lack: str = LACK,
    ) -> None:
        self._settings = settings
        self._workers = workers
        self._raiseLimit = raiseLimit
        self._lack = lack

    def tell(self) -> None:
        """
        Write them.
        """
        settings = self._settings
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
        if self._lack:
            self.log.warn("slower than need be: {lack}", lack=self._lack)
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
        self._tellFiles()

    def _tellFiles(self) -> None:
        wanted = self._settings.limits.sessions
        links = sum(server.links for server in self._settings.servers)
        colleagues = 2 * (self._workers - 1)  # what each asks the others, and is asked
        others = RESERVED_FILES + links + len(self._settings.listeners) + colleagues
        # Of several processes one may get more clients than another.
        files = self._raiseLimit(wanted + others)
        clients = max(files - others, 0) * self._workers
        share = f" for each of {self._workers} workers" if self._workers > 1 else ""
        if clients < wanted:
            self.log.warn(
                "open files: the limit of {files}{share} is enough for {clients} clients, but"
                " limits.sessions is {wanted}: raise it (LimitNOFILE of systemd, ulimit -n)",
                files=files,
                share=share,
                clients=clients,
                wanted=wanted,
            )
        else:
            self.log.info(
                "open files: the limit of {files}{share} is enough for {clients} clients",
                files=files,
                share=share,
                clients=clients,
            )


def _where(server: ServerSettings) -> str:
    if server.address is not None:
        return server.address
    return f"the host of the SRV record of {server.domains[0]}, port {server.port}"
