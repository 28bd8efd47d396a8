# Copyright the cmanager authors.
# See LICENSE for details.

"""
The sockets that clients connect to, where several workers accept from them: the
supervisor binds them and keeps them open while workers come and go.  Layer 5.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure

from cmanager.errors import ConfigError
from cmanager.listening import BACKLOG
from cmanager.tcp import bindProblem


class Ports:
    """
    Listening sockets by endpoint.  Nobody accepts from them here.
    """

    log = Logger()

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._factory = Factory()
        self._factory.noisy = False
        self._ports: dict[str, Port] = {}

    def bind(self, endpoints: Iterable[str]) -> None:
        """
        Bind those that are not; all or none.

        @raise ConfigError: It cannot be done.
        """
        problems: list[str] = []
        fresh: dict[str, Port] = {}
        for endpoint in endpoints:
            if endpoint not in self._ports:
                try:
                    fresh[endpoint] = self._listen(endpoint)
                except ConfigError as error:
                    problems += error.problems
        if problems:
            for port in fresh.values():
                port.stopListening()
            raise ConfigError(problems)
        self._ports |= fresh
        for endpoint in fresh:
            self.log.info("listening on {endpoint}", endpoint=endpoint)

    def _listen(self, endpoint: str) -> Port:
        found: list[Any] = []
        listening = serverFromString(self._reactor, endpoint).listen(self._factory)
        listening.addBoth(found.append)
        # One that takes its time is not of the kind that can be shared.
        listening.cancel()
        (port,) = found
        if isinstance(port, Port) and port.factory is self._factory:
            port.stopReading()
            port.socket.listen(max(port.backlog, BACKLOG))
            return port
        if isinstance(port, Failure) and not port.check(CancelledError):
            raise ConfigError([bindProblem(endpoint, port)])
        if not isinstance(port, Failure):
            # Something of it is not in the socket: TLS, say.
            port.stopListening()
        raise ConfigError(
            [f"cannot share {endpoint} among workers: set manager.workers = 1, or use tcp or unix"]
        )

    def keep(self, endpoints: Collection[str]) -> None:
        """
        Close all others.
        """
        for endpoint in [other for other in self._ports if other not in endpoints]:
            self._ports.pop(endpoint).stopListening()

    def descriptors(self, endpoints: Iterable[str]) -> dict[str, int]:
        """
        Return those of some that are bound.
        """
        return {endpoint: self._ports[endpoint].fileno() for endpoint in endpoints}
