# Copyright the cmanager authors.
# See LICENSE for details.

"""
Listening on a socket that another process has bound, and that several share.  Layer 4.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer


@implementer(IStreamServerEndpoint)
class Inherited:
    """
    A server endpoint that can be listened on once.

    @param where: The L{Listening <cmanager.listening.Listening>}.
    @param descriptor: Of the socket.  It is closed with the port; the socket lives on in
        other processes, and so does its name in the file system.
    """

    def __init__(self, where: Any, descriptor: int) -> None:
        self._where = where
        self._descriptor = descriptor

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        See L{IStreamServerEndpoint}.
        """
        return execute(self._adopt, factory)

    def _adopt(self, factory: IProtocolFactory) -> Any:
        # Who adopts it makes a descriptor of its own.
        with socket.socket(fileno=self._descriptor) as shared:
            return self._where.adoptStreamPort(shared.fileno(), shared.family, factory)
