# Copyright the cmanager authors.
# See LICENSE for details.

"""
The embedded server in a process of its own, for L{bench.soak}, which says on standard
input, in a line of JSON, what it is to be.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet import reactor

from cmanager.server.service import Server, ServerOptions


def main(plan: dict[str, Any]) -> None:
    """
    Serve until told to stop.
    """
    clock: Any = reactor
    server = Server(
        clock,
        ServerOptions(
            domain=plan["domain"],
            secret=plan["secret"],
            endpoint=f"tcp:{plan['port']}:interface={plan['host']}",
        ),
    )
    for number in range(plan["users"]):
        server.addAccount(f"{plan['prefix']}{number}", plan["password"])
    server.startService()
    clock.callWhenRunning(lambda: print(json.dumps({"event": "listening"}), flush=True))
    clock.addSystemEventTrigger("before", "shutdown", server.stopService)
    clock.run()


if __name__ == "__main__":
    main(json.loads(sys.stdin.readline()))
