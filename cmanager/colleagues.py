# Copyright the cmanager authors.
# See LICENSE for details.

"""
How the workers reach each other.  Layer 4; knows nothing of what they say.

Who gets hold of such a socket can speak for every client.  They are in a directory that
nobody else may enter; and nobody else is listened to.
"""

from __future__ import annotations

import os
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from cmanager.answering import Answering
from cmanager.asking import Colleague
from cmanager.httpbind import Desk
from cmanager.inherited import Inherited
from cmanager.listening import Listening

if TYPE_CHECKING:
    from cmanager.crew import Crew
    from cmanager.router import Router

_CREDENTIALS = struct.Struct("=iII")


def isOurs(transport: Any) -> bool:
    """
    Tell whether it is another process of our user's that has connected.
    """
    size = _CREDENTIALS.size
    found = transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, user, _ = _CREDENTIALS.unpack(found)
    return bool(user == os.geteuid())


class Colleagues(Service):
    """
    The other workers, and what they may ask of this one.

    It is to be stopped when there are no clients any more: until then they may come to
    other workers.

    @param router: Whose clients this is for.
    """

    def __init__(self, reactor: Any, crew: Crew, router: Router) -> None:
        self._reactor = reactor
        self._crew = crew
        self._router = router
        self._port: IListeningPort | None = None
        self._colleagues = {
            slot: Colleague(
                UNIXClientEndpoint(reactor, path).connect,
                partial(router.share.isPresent, slot),
                reactor,
                router.metrics,
            )
            for slot, path in enumerate(crew.paths)
            if slot != crew.slot
        }
        router.bosh.colleagues = self._colleagues

    def startService(self) -> None:
        """
        Let them ask.
        """
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's
        factory = Factory.forProtocol(self._answering)
        factory.noisy = False
        # Not the reactor: that would change the mode of the file, and remove it in the end.
        where = Listening(self._reactor, None, self._router.turn)
        listening = Inherited(where, self._crew.listening).listen(factory)
        listening.addCallback(self._listens)

    def _listens(self, port: IListeningPort) -> None:
        self._port = port

    def _answering(self) -> Answering:
        return Answering(Desk(self._router), self._reactor, isOurs)

    def stopService(self) -> Deferred[None] | None:
        """
        Ask, and be asked, nothing any more.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's
        for colleague in self._colleagues.values():
            colleague.stop()
        port, self._port = self._port, None
        return port.stopListening() if port is not None else None
