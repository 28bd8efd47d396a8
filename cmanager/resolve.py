# Copyright the cmanager authors.
# See LICENSE for details.

"""
Finding the hosts of a server by SRV records (RFC 2782).  Layer 4; connects to
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.names import dns, error

SERVICES = ("_xmpp-server._tcp", "_jabber._tcp")


class IServiceResolver(Protocol):
    """
    The part of L{twisted.internet.interfaces.IResolver} that is used.
    """

    def lookupService(self, name: str) -> Deferred[Any]:  # Any: lists of dns.RRHeader
        """
        Look up SRV records.
        """


class Locator:
    """
    Where the server of a domain is.

    Only the host of a record is used: its port is that for other servers.

    @param random: Returns a number from 0 up to 1.
    """

    _log = Logger()

    def __init__(
        self, domain: str, resolver: IServiceResolver, random: Callable[[], float]
    ) -> None:
        self._domain = domain
        self._resolver = resolver
        self._random = random
        self._ranks: dict[str, float] = {}

    async def hosts(self) -> list[str]:
        """
        Return the hosts to try, the preferred one first; where there are no records,
        the domain itself.
        """
        for service in SERVICES:
            name = f"{service}.{self._domain}"
            try:
                answers, _, _ = await self._resolver.lookupService(name)
            except (error.DNSNameError, error.DNSQueryRefusedError, dns.DomainError):
                continue
            except Exception as reason:  # noqa: BLE001 # resolvers raise many kinds
                self._log.debug(
                    "SRV records of {name} cannot be had: {reason}", name=name, reason=reason
                )
                continue
            found = [
                (record.payload.priority, record.payload.weight, str(record.payload.target))
                for record in answers
                if record.type == dns.SRV
            ]
            hosts = self._ordered(found)
            if hosts:
                return hosts
        return [self._domain]

    def _ordered(self, records: list[tuple[int, int, str]]) -> list[str]:
        """
        Sort by priority, then at random by weight.  A host keeps its luck, so that all
        links of a process go to one node of a cluster: sessions cannot move to another.
        """
        targets = [(p, w, target.rstrip(".")) for p, w, target in records]
        # A lone "." says that there is no such service.
        targets = [found for found in targets if found[2]]
        if set(self._ranks) != {target for _, _, target in targets}:
            self._ranks = {
                target: -math.log(max(1.0 - self._random(), 1e-9)) / max(weight, 0.01)
                for _, weight, target in targets
            }
        ordered = sorted((p, self._ranks[target], target) for p, _, target in targets)
        return list(dict.fromkeys(target for _, _, target in ordered))
