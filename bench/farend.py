# Copyright the cmanager authors.
# See LICENSE for details.

"""
What stands behind a subject of L{bench.cost}: it says back whatever it is told, as
cheaply as that can be done, so that the subject is what is measured.

Reads its plan, a line of JSON, from standard input: of which C{kind} the connections to
its C{port} are, which other processes may share.  Says C{{"event": "listening"}}, and
C{configured} for each link that has taken its configuration.  To each further line it
answers C{done}, with how many C{sessions} have logged in by links.  Ends with standard
input.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
from typing import Any

from bench.echo import BOSHEcho, Echo, WebSocketEcho
from bench.links import Link

KINDS = {"links": Link, "stream": Echo, "websocket": WebSocketEcho, "bosh": BOSHEcho}


class FarEnd:
    """
    All of them.

    @ivar isLoggingIn: Links are looked into.
    @ivar sessions: Where to route to somebody: the link, and the start of the element.
    @ivar speaking: Connections that have something to send.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self.domain: str = plan["domain"]
        self.isLoggingIn = True
        self.sessions: dict[bytes, tuple[Link, bytes]] = {}
        self.speaking: set[Link] = set()
        self.selector = selectors.DefaultSelector()
        port = socket.create_server((plan["host"], plan["port"]), backlog=4096, reuse_port=True)
        port.setblocking(False)
        self.selector.register(port, selectors.EVENT_READ, KINDS[plan["kind"]])
        self.selector.register(sys.stdin, selectors.EVENT_READ, "orders")

    def run(self) -> None:
        """
        Serve until standard input ends.
        """
        print(json.dumps({"event": "listening"}), flush=True)
        while True:
            for key, events in self.selector.select():
                found = key.data
                if isinstance(found, Echo):
                    if events & selectors.EVENT_WRITE:
                        found.writable()
                    if events & selectors.EVENT_READ:
                        found.readable()
                elif found == "orders":
                    line = sys.stdin.readline()
                    if not line:
                        return
                    self.isLoggingIn = json.loads(line)["isLoggingIn"]
                    print(json.dumps({"event": "done", "sessions": len(self.sessions)}), flush=True)
                else:
                    sock, _ = key.fileobj.accept()  # type: ignore[union-attr]
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self.selector.register(sock, selectors.EVENT_READ, found(self, sock))

    def flush(self) -> None:
        """
        Send what has been said.
        """
        for link in self.speaking:
            link.send(b"".join(link.said))
            link.said.clear()
        self.speaking.clear()


def main() -> None:
    """
    Serve as the line of JSON on standard input says.
    """
    FarEnd(json.loads(sys.stdin.readline())).run()


if __name__ == "__main__":
    main()
