# Copyright the cmanager authors.
# See LICENSE for details.

"""
A server with stock Twisted that does TLS handshakes and nothing else: what a login over
TLS costs at least, for L{bench.cost}.

It says one byte when a handshake is complete; without that a client of TLS 1.3 could not
tell.  Reads its plan, a line of JSON, from standard input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from OpenSSL import crypto
from twisted.internet import interfaces, protocol, reactor, ssl
from zope.interface import implementer

BACKLOG = 4096


@implementer(interfaces.IHandshakeListener)
class Bare(protocol.Protocol):
    """
    One connection.
    """

    def handshakeCompleted(self) -> None:
        """
        Let the client know.
        """
        assert self.transport is not None
        self.transport.write(b".")


def main(plan: dict[str, Any]) -> None:
    """
    Serve until told to stop.
    """
    pem = Path(plan["certificate"]).read_bytes()
    options = ssl.CertificateOptions(
        privateKey=crypto.load_privatekey(crypto.FILETYPE_PEM, pem),
        certificate=crypto.load_certificate(crypto.FILETYPE_PEM, pem),
        raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
        enableSessionTickets=True,
    )
    options.getContext().set_session_id(b"bench")
    factory = protocol.Factory.forProtocol(Bare)
    listening: Any = reactor
    listening.listenSSL(plan["port"], factory, options, backlog=BACKLOG, interface=plan["host"])
    listening.callWhenRunning(lambda: print(json.dumps({"event": "listening"}), flush=True))
    listening.run()


if __name__ == "__main__":
    main(json.loads(sys.stdin.readline()))
