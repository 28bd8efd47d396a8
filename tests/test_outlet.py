# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.outlet}.
"""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cmanager.outlet import Outlet
from tests.workers import End

LIMIT = 10


class OutletTests(SynchronousTestCase):
    """
    What is said waits, or does not.
    """

    def setUp(self) -> None:
        self.outlet = Outlet(LIMIT)
        self.end = End()

    def test_interface(self) -> None:
        """
        The transport can say when it is full.
        """
        self.assertTrue(verifyObject(IPushProducer, self.outlet))

    def test_before(self) -> None:
        """
        What is said before there is a connection is said then, in order.
        """
        for data in (b"a", b"bc"):
            self.outlet.put(data)
        self.outlet.start(self.end)
        self.outlet.put(b"d")
        self.assertEqual(self.end.sent, b"abcd")

    def test_full(self) -> None:
        """
        What nobody reads waits.
        """
        self.outlet.start(self.end)
        self.end.isFull = True
        for data in (b"a", b"b", b"c"):
            self.outlet.put(data)
        self.assertEqual(self.end.sent, b"a")
        self.end.drain()
        self.assertEqual(self.end.sent, b"abc")

    def test_bound(self) -> None:
        """
        n bytes may wait, not n + 1; where nothing waits anything may.
        """
        self.assertTrue(self.outlet.fits(LIMIT + 1))
        self.outlet.put(b"x")
        self.assertTrue(self.outlet.fits(LIMIT - 1))
        self.assertFalse(self.outlet.fits(LIMIT))
        self.outlet.start(self.end)
        self.assertTrue(self.outlet.fits(LIMIT + 1))

    def test_stopped(self) -> None:
        """
        When there is nobody any more, nothing fits and nothing is kept, before a connection
        and after it.
        """
        self.outlet.start(self.end)
        for stop in (self.outlet.stop, self.outlet.stopProducing):
            stop()
            self.assertFalse(self.outlet.fits(0))
            self.outlet.put(b"x")
        self.assertEqual(self.end.sent, b"")
        self.assertEqual(self.outlet._parts, [])
