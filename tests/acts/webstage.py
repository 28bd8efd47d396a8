# Copyright the cmanager authors.
# See LICENSE for details.

"""
A stage that clients in browsers come to as well.
"""

from __future__ import annotations

from typing import Any

from tests.acts.stage import DOMAIN, Stage
from tests.programs import findNode

HTTPS_PORT = 5443
ANY_PORT = 8443

WAYS = {"strophe": ("websocket", "bosh"), "xmppjs": ("websocket",)}
"""
By which transports the programs in JavaScript can come.
"""

LISTENERS = f"""
[[listener]]
type = "https"
endpoint = "tcp:{HTTPS_PORT}:interface={{address}}"

[[listener]]
type = "any"
endpoint = "tcp:{ANY_PORT}:interface={{address}}"
"""

INACTIVITY = """
[bosh]
inactivity = 10
"""


class WebStage(Stage):
    """
    Has a port for HTTPS, and one for that and XMPP, where programs in JavaScript come in
    by WebSocket.

    @cvar transport: By which those come that know more than one.
    """

    transport = "websocket"
    listeners = LISTENERS

    def __init__(self, *arguments: Any, **settings: str) -> None:
        findNode()
        super().__init__(*arguments, **settings)

    def way(self, program: str, directTLS: bool) -> dict[str, Any]:
        """
        See L{Stage}.
        """
        if program not in WAYS:
            return super().way(program, directTLS)
        isBOSH = self.transport == "bosh" and "bosh" in WAYS[program]
        scheme, path = ("https", "/http-bind") if isBOSH else ("wss", "/ws")
        port = ANY_PORT if directTLS else HTTPS_PORT
        return {"host": self.host, "service": f"{scheme}://{DOMAIN}:{port}{path}"}


class BOSHStage(WebStage):
    """
    The same, where they come in by BOSH if they can, and are soon missed.
    """

    transport = "bosh"
    listeners = LISTENERS + INACTIVITY
