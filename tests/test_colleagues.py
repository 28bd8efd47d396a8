# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.colleagues}: workers in one process, over real sockets.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cmanager.body import NS_BODY
from cmanager.colleagues import Colleagues, isOurs
from cmanager.commons import shareOf
from cmanager.crew import Crew
from cmanager.directory import Directory
from cmanager.errand import Hello, Reader
from cmanager.settings import BOSHSettings
from tests.bosh import SilentExchange
from tests.suite import Hub

SIZE = 3
BODY = f"<body xmlns='{NS_BODY}' rid='2' sid='{{}}'/>"


class Answered(SilentExchange):
    """
    An exchange that can be waited for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.done: Deferred[tuple[int, str, bytes]] = Deferred()

    def answer(self, status: int, type_: str, data: bytes) -> None:
        """
        Note it.
        """
        super().answer(status, type_, data)
        self.done.callback((status, type_, data))


class Listener(Protocol):
    """
    Waits for the first word.
    """

    def __init__(self) -> None:
        self.first: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """
        There it is.
        """
        self.first.callback(data)


class ColleaguesTests(TestCase):
    """
    Three slots, two workers.
    """

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir(0o700)
        shared = os.memfd_create("crew")
        self.addCleanup(os.close, shared)
        self.paths = tuple(str(directory / str(slot)) for slot in range(SIZE))
        self.hubs: list[Any] = []
        self.services: list[Colleagues] = []
        for slot, path in enumerate(self.paths):
            listening = socket.socket(socket.AF_UNIX)
            listening.setblocking(False)
            listening.bind(path)
            listening.listen()
            if slot == SIZE - 1:
                self.addCleanup(listening.close)
                break  # nobody is there
            crew = Crew(slot, SIZE, shared, listening.detach(), self.paths)
            hub: Any = Hub(reactor, None)  # type: ignore[arg-type]  # nobody comes in TLS
            hub.bosh = Directory(BOSHSettings(), slot)
            hub.share = shareOf(crew, 100)
            service = Colleagues(reactor, crew, hub)
            service.startService()
            self.addCleanup(service.stopService)
            self.hubs.append(hub)
            self.services.append(service)

    def ask(self, slot: int, sid: str) -> Deferred[tuple[int, str, bytes]]:
        """
        Have a worker pass a request on.
        """
        exchange = Answered()
        colleague = self.hubs[slot].bosh.colleague(sid)
        colleague.request(exchange, BODY.format(sid).encode(), "192.0.2.1", isSecure=False)
        return exchange.done

    @inlineCallbacks
    def test_pass(self) -> Any:
        """
        A request is answered by the worker that its sid names, in both directions.
        """
        for slot in (0, 1):
            status, _, data = yield self.ask(slot, f"secret-{1 - slot}")
            self.assertEqual(status, 200)
            self.assertIn(b"item-not-found", data)
            other = self.hubs[1 - slot].metrics
            self.assertEqual(other.value("clients_refused", "item-not-found"), 1)

    def test_absent(self) -> None:
        """
        Where nobody is, that is known at once.
        """
        status, _, data = self.successResultOf(self.ask(0, f"secret-{SIZE - 1}"))
        self.assertEqual(status, 200)
        self.assertIn(b"item-not-found", data)
        self.assertEqual(self.hubs[0].metrics.value("clients_refused", "item-not-found"), 1)

    def test_others(self) -> None:
        """
        Nobody asks himself, or who cannot be.
        """
        for sid in ("secret-0", f"secret-{SIZE}", "secret", "-1", None):
            self.assertIsNone(self.hubs[0].bosh.colleague(sid))

    @inlineCallbacks
    def test_hello(self) -> Any:
        """
        Who is one of us is greeted.
        """
        listener = Listener()
        yield connectProtocol(UNIXClientEndpoint(reactor, self.paths[0]), listener)
        greeting = yield listener.first
        self.assertEqual(Reader().feed(greeting), [Hello()])
        listener.transport.loseConnection()  # type: ignore[union-attr]  # it is connected

    @inlineCallbacks
    def test_stop(self) -> Any:
        """
        When it has stopped, it neither asks nor is asked; who starts in its slot will be
        reached by the same path.  To stop what does not run does no harm.
        """
        yield self.services[0].stopService()
        self.assertTrue(os.path.exists(self.paths[0]))
        status, _, _ = self.successResultOf(self.ask(0, "secret-1"))
        self.assertEqual(status, 503)
        self.assertEqual(self.hubs[1].metrics.value("clients_refused", "item-not-found"), 0)
        yield self.services[0].stopService()


class CredentialsTests(SynchronousTestCase):
    """
    Who has connected.
    """

    def test_isOurs(self) -> None:
        """
        Our user's processes are ours, and nobody else's.
        """
        one, two = socket.socketpair()
        self.addCleanup(one.close)
        self.addCleanup(two.close)
        self.assertTrue(isOurs(SimpleNamespace(getHandle=lambda: one)))
        for user in (os.geteuid() + 1, 0xFFFFFFFE):
            found = struct.pack("=iII", 1, user, 0)
            handle = SimpleNamespace(getsockopt=lambda *_, found=found: found)
            self.assertFalse(isOurs(SimpleNamespace(getHandle=lambda handle=handle: handle)))
