# Copyright the cmanager authors.
# See LICENSE for details.

"""
Listening on a socket that another process has bound, and that several share.  Layer 4.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.unix import Port as UNIXPort
from zope.interface import implementer

from cmanager.listening import Listening


@implementer(IStreamServerEndpoint)
class Inherited:
    """
    A server endpoint that can be listened on once.

    @param where: The reactor, or L{Listening}.
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
            if shared.family == socket.AF_UNIX and not isinstance(self._where, Listening):
                return _adoptUNIX(self._where, shared.fileno(), factory)
            return self._where.adoptStreamPort(shared.fileno(), shared.family, factory)


def _adoptUNIX(reactor: Any, descriptor: int, factory: IProtocolFactory) -> Any:
    port = UNIXPort._fromListeningDescriptor(reactor, descriptor, factory)
    # Else it would change the mode of the file, and remove it in the end.
    port._bindPath = b"\0" + os.fsencode(port._bindPath)
    port.startListening()
    return port
