# Copyright the cmanager authors.
# See LICENSE for details.

"""
A client on aioxmpp and aiosasl that binds its logins to the server's certificate
(C{tls-server-end-point}) where it is offered that.

aiosasl knows the hash of certificates that were signed with RSA only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiosasl
import aioxmpp
import aioxmpp.sasl
import aioxmpp.security_layer
from aiosasl.channel_binding import TLSServerEndPoint

from tests.acts.clients.aio import AioPlayer
from tests.acts.clients.player import perform


class BoundCredentials(aioxmpp.security_layer.SASLProvider):  # type: ignore[misc]
    """
    One password, tried once: with channel binding or, where that is not offered, without,
    and then the server is told that it was not offered.
    """

    def __init__(self, password: str) -> None:
        super().__init__()
        self.password = password

    async def execute(
        self, jid: aioxmpp.JID, features: Any, xmlstream: Any, transport: Any
    ) -> bool:
        async def credentials() -> tuple[str, str]:
            return jid.localpart, self.password

        def bound() -> Any:
            connection = transport.get_extra_info("ssl_object")
            return aiosasl.SCRAMPLUS(credentials, TLSServerEndPoint(connection))

        def unbound() -> Any:
            return aiosasl.SCRAM(credentials, after_scram_plus=True)

        kinds: tuple[tuple[Any, Callable[[], Any]], ...] = (
            (aiosasl.SCRAMPLUS, bound),
            (aiosasl.SCRAM, unbound),
        )
        for kind, make in kinds:
            _, token = self._find_supported(features, [kind])
            if token is not None:
                exchange = aioxmpp.sasl.SASLXMPPInterface(xmlstream)
                return bool(await self._execute(exchange, make(), token))
        return False


class BoundPlayer(AioPlayer):
    """
    See L{AioPlayer}.
    """

    def credentials(
        self, password: str, mechanism: str | None
    ) -> tuple[aioxmpp.security_layer.SASLProvider, ...]:
        return (BoundCredentials(password),)


if __name__ == "__main__":
    perform(BoundPlayer)
