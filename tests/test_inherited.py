# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.inherited}.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from cmanager.inherited import Inherited
from cmanager.listening import Listening
from cmanager.turn import Turn


def descriptors(shared: socket.socket) -> list[int]:
    """
    Return all of this process that are one socket.
    """
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.path.sameopenfile(int(name), shared.fileno()):
                found.append(int(name))
    return found


class Hearing(Protocol):
    """
    Gets something.
    """

    def __init__(self, heard: Deferred[bytes]) -> None:
        self.heard = heard

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol}.
        """
        self.heard.callback(data)
        self.transport.loseConnection()


class InheritedTests(TestCase):
    """
    L{Inherited} accepts from a socket of another process's, with Twisted's transports.
    """

    gather: float | None = None

    async def play(self, shared: socket.socket, text: str) -> None:
        """
        Connect, say something, and stop listening.

        @param text: The endpoint to connect to.
        """
        heard: Deferred[bytes] = Deferred()
        factory = Factory.forProtocol(lambda: Hearing(heard))
        factory.noisy = False
        descriptor = os.dup(shared.fileno())
        endpoint = Inherited(Listening(reactor, self.gather, Turn(reactor)), descriptor)
        verifyObject(IStreamServerEndpoint, endpoint)
        port: Any = await endpoint.listen(factory)
        verifyObject(IListeningPort, port)
        self.assertIsNotNone(port.getHost())
        client = await connectProtocol(clientFromString(reactor, text), Protocol())
        client.transport.write(b"hear")
        self.assertEqual(await heard, b"hear")
        client.transport.loseConnection()
        await port.stopListening()
        await deferLater(reactor, 0)
        # What this process had of it is closed; the socket is not.
        self.assertEqual(descriptors(shared), [shared.fileno()])

    async def test_tcp(self) -> None:
        """
        It listens on, for others, when the port is closed.
        """
        with socket.create_server(("127.0.0.1", 0)) as shared:
            shared.setblocking(False)
            host, port = shared.getsockname()
            await self.play(shared, f"tcp:{host}:{port}")
            socket.create_connection((host, port)).close()

    async def test_unix(self) -> None:
        """
        A Unix socket keeps its file, and its mode.
        """
        path = self.mktemp()
        with socket.socket(socket.AF_UNIX) as shared:
            shared.setblocking(False)
            shared.bind(path)
            os.chmod(path, 0o600)
            shared.listen()
            await self.play(shared, f"unix:{path}")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)


class OwnTests(InheritedTests):
    """
    With our own transports.
    """

    gather = 0.0
