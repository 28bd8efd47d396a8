# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.place}, by the pool it is made for.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cmanager.link import Link
from tests.linkdoubles import (
    HEADER,
    NO_FEATURES,
    Endpoint,
    ScriptedPool,
    accept,
    serverSettings,
)


class PlaceTests(SynchronousTestCase):
    """
    A place connects, waits, and connects again.
    """

    def setUp(self) -> None:
        """
        Make a pool of one place.
        """
        self.clock = Clock()
        self.pool = ScriptedPool(self.clock, serverSettings(links=1, retryMax=4.0))
        self.observer = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)

    def link(self) -> Link:
        """
        Return the only link.
        """
        (link,) = self.pool.links
        return link

    def test_start(self) -> None:
        """
        The place connects when the service starts, and has a link at once.
        """
        self.assertEqual(self.pool.endpoints, [])
        self.pool.startService()
        self.assertEqual(self.pool.asked, [("192.0.2.1", 5262)])
        self.assertFalse(self.pool.isReady)
        accept(self.clock, self.link())
        self.assertTrue(self.pool.isReady)

    def test_backOff(self) -> None:
        """
        Failures make the waits grow, whether TCP connects or not, until a link is ready.
        """
        refused = ConnectionRefusedError()
        self.pool.script = [Endpoint(refused), Endpoint(), Endpoint(refused), Endpoint()]
        self.pool.startService()
        self.clock.advance(0.99)
        self.assertEqual(len(self.pool.asked), 1)
        self.clock.advance(0.01)
        self.assertEqual(len(self.pool.asked), 2)
        # Connected, but never ready.
        self.link().transport.lost()
        self.clock.advance(1.99)
        self.assertEqual(len(self.pool.asked), 2)
        self.clock.advance(0.01)
        self.assertEqual(len(self.pool.asked), 3)
        self.clock.advance(4)
        accept(self.clock, self.link())
        self.link().transport.lost()
        self.assertEqual(self.pool.links, [])
        self.clock.advance(1)
        self.assertEqual(len(self.pool.asked), 5)

    def test_freshNames(self) -> None:
        """
        No two attempts have one name, and all have the manager's.
        """
        self.pool.startService()
        names = set()
        for _ in range(20):
            names.add(self.link().name)
            self.link().transport.lost()
            self.clock.advance(60)
        self.assertEqual(len(names), 20)
        for name in names:
            self.assertRegex(name, r"\Acm/[0-9a-f]{16}\Z")

    def test_hangingConnection(self) -> None:
        """
        A connection that does not come about is given up after 30 seconds.
        """
        hanging = Endpoint(hangs=True)
        self.pool.script = [hanging]
        self.pool.startService()
        self.clock.advance(29.9)
        self.assertFalse(hanging.cancelled)
        self.clock.advance(0.1)
        self.assertTrue(hanging.cancelled)
        self.clock.advance(1)
        self.assertEqual(len(self.pool.asked), 2)

    def test_hangingSetUp(self) -> None:
        """
        TCP, TLS and handshake together may take 30 seconds.
        """
        self.pool.startService()
        link = self.link()
        self.clock.advance(20)
        link.dataReceived(HEADER)
        self.clock.advance(9.9)
        link.dataReceived(NO_FEATURES)
        self.assertEqual(self.pool.links, [link])
        self.clock.advance(0.1)
        self.assertEqual(self.pool.links, [])
        self.assertTrue(link.transport is None or link.transport.aborted)
        self.clock.advance(1)
        self.assertNotEqual(self.pool.links, [link])
        self.assertEqual(len(self.pool.asked), 2)

    def test_readyInTime(self) -> None:
        """
        A link that is ready has all the time in the world.
        """
        self.pool.startService()
        link = self.link()
        accept(self.clock, link)
        for _ in range(10):
            self.clock.advance(60)
            link.dataReceived(b" ")
        self.assertEqual(self.pool.links, [link])

    def test_bug(self) -> None:
        """
        A failure that no network can cause is logged as what it is, and tried again.
        """
        self.pool.script = [Endpoint(RuntimeError("odd"))]
        self.pool.startService()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.pool.links), 1)

    def test_stop(self) -> None:
        """
        Whatever goes on ends with the service: a connection, a wait, a set-up.
        """
        hanging = Endpoint(hangs=True)
        for script in ([hanging], [Endpoint(ConnectionRefusedError())], [Endpoint()]):
            pool = ScriptedPool(self.clock, serverSettings(links=1))
            pool.script = list(script)
            pool.startService()
            self.successResultOf(pool.stopService())
            self.assertEqual((pool.links, len(pool.asked)), ([], 1))
            self.clock.advance(0)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(hanging.cancelled)
        for event in self.observer:
            self.assertNotIn("does not answer", str(event))

    def test_startAgain(self) -> None:
        """
        A service may be started again.
        """
        self.pool.startService()
        self.successResultOf(self.pool.stopService())
        self.pool.startService()
        accept(self.clock, self.link())
        self.assertTrue(self.pool.isReady)
