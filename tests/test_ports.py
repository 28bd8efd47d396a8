# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.ports}.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import TestCase

from cmanager import ports as module
from cmanager.errors import ConfigError
from cmanager.listening import BACKLOG
from cmanager.ports import Ports
from tests.certificates import authority

LOOPBACK = "127.0.0.1"
ONE = f"tcp:0:interface={LOOPBACK}"
OTHER = f"tcp:0:interface={LOOPBACK}:backlog=9"


class SlowEndpoint:
    """
    An endpoint that takes its time.
    """

    def listen(self, factory: object) -> Deferred[Any]:
        """
        See L{IStreamServerEndpoint}.
        """
        return Deferred()


class PortsTests(TestCase):
    """
    L{Ports} binds for others.
    """

    def setUp(self) -> None:
        """
        None is bound.
        """
        self.ports = Ports(reactor)
        self.addCleanup(self.close)

    async def close(self) -> None:
        """
        Close all, and wait until they are.
        """
        self.ports.keep(())
        await deferLater(reactor, 0)

    def descriptor(self, endpoint: str) -> int:
        """
        Return the descriptor of an endpoint.
        """
        (found,) = self.ports.descriptors([endpoint]).values()
        return found

    def name(self, endpoint: str) -> tuple[str, int]:
        """
        Return where to connect.
        """
        with socket.socket(fileno=os.dup(self.descriptor(endpoint))) as shared:
            return shared.getsockname()

    def test_descriptor(self) -> None:
        """
        What is bound listens, for whoever accepts: it is nobody here.
        """
        self.ports.bind([ONE])
        descriptor = self.descriptor(ONE)
        self.assertFalse(os.get_blocking(descriptor))
        self.assertNotIn(descriptor, [each.fileno() for each in reactor.getReaders()])
        socket.create_connection(self.name(ONE)).close()
        with socket.socket(fileno=os.dup(descriptor)) as shared:
            shared.accept()[0].close()

    def test_backlog(self) -> None:
        """
        As many may wait to be accepted as in one process.
        """
        self.ports.bind([ONE])
        with socket.socket(fileno=os.dup(self.descriptor(ONE))) as shared:
            found = shared.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        most = int(Path("/proc/sys/net/core/somaxconn").read_text())
        # Of a socket that listens, tcpi_sacked is that.
        self.assertEqual(struct.unpack_from("=I", found, 28), (min(BACKLOG, most),))

    def test_again(self) -> None:
        """
        What is bound stays so when it is bound again; others are added, or closed.
        """
        self.ports.bind([ONE])
        before = self.name(ONE)
        self.ports.bind([ONE, OTHER])
        self.assertEqual(self.name(ONE), before)
        self.ports.keep([OTHER])
        self.assertRaises(KeyError, self.name, ONE)
        self.name(OTHER)

    async def test_closed(self) -> None:
        """
        What is not to be kept is closed.
        """
        self.ports.bind([ONE])
        name = self.name(ONE)
        await self.close()
        self.assertRaises(ConnectionRefusedError, socket.create_connection, name)

    def test_taken(self) -> None:
        """
        Where one cannot be bound, none is.
        """
        with socket.create_server((LOOPBACK, 0)) as other:
            taken = f"tcp:{other.getsockname()[1]}:interface={LOOPBACK}"
            error = self.assertRaises(ConfigError, self.ports.bind, [taken, ONE])
        (problem,) = error.problems
        self.assertIn(taken, problem)
        self.assertIn("already in use", problem)
        self.assertRaises(KeyError, self.name, ONE)

    async def test_unix(self) -> None:
        """
        A Unix socket has its mode, and its file goes with it.
        """
        path = self.mktemp()
        self.ports.bind([f"unix:{path}:mode=600"])
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        await self.close()
        self.assertFalse(os.path.exists(path))

    def test_wrapped(self) -> None:
        """
        What is more than a socket cannot be shared.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        pem = authority().issue("a.example").write(folder)
        for endpoint in (f"haproxy:{ONE}", f"ssl:0:interface={LOOPBACK}:privateKey={pem}"):
            (problem,) = self.assertRaises(ConfigError, self.ports.bind, [endpoint]).problems
            self.assertIn(f"cannot share {endpoint} among workers", problem)
            self.assertIn("manager.workers = 1", problem)

    def test_slow(self) -> None:
        """
        What is not there at once is of no use, nor is what has no socket.
        """
        ports = Ports(MemoryReactor())
        self.assertRaises(ConfigError, ports.bind, ["tcp:1"])
        self.patch(module, "serverFromString", lambda reactor, text: SlowEndpoint())
        (problem,) = self.assertRaises(ConfigError, ports.bind, ["slow:1"]).problems
        self.assertIn("cannot share slow:1", problem)
