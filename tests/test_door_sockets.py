# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.door}, over transports of our own.
"""

from __future__ import annotations

from typing import Any

from cmanager.door import MAX_BYTES
from cmanager.records import RECORD_OVERHEAD
from cmanager.tls import XMPP_CLIENT
from tests import test_door
from tests.test_door import XMPP
from tests.test_records import TLSClient
from tests.wires import SocketWire


class SocketCase(test_door.DoorCase):
    """
    A door on a real socket.
    """

    def wire(self, address: Any) -> Any:
        """
        Return what the connection is to be.
        """
        return SocketWire(self.clock, address)


class TableTests(SocketCase, test_door.TableTests):
    """
    Where a first byte leads.
    """


class WaysTests(SocketCase, test_door.WaysTests):
    """
    What is refused.
    """


class ThroughTests(SocketCase, test_door.ThroughTests):
    """
    Who has been let through.
    """

    def test_onItsWay(self) -> None:
        """
        A handshake that there is no room to end ends when there is.
        """
        client = TLSClient(alpn=[XMPP_CLIENT])
        self.receive(client.exchange())
        flight = self.transport.value()
        self.transport.clear()
        self.transport.isFull = True
        self.receive(client.exchange(flight))
        self.transport.producer.resumeProducing()
        assert self.inner is not None and self.inner.arrival.outbox is not None
        self.assertTrue(self.inner.arrival.outbox.isEmpty)
        self.inner.arrival.outbox.put(b"hello")
        client.exchange(self.transport.value())
        self.assertEqual(client.received, b"hello")


class TimeTests(SocketCase, test_door.TimeTests):
    """
    Nobody stays.
    """

    def test_ending(self) -> None:
        """
        What it sends while it has to leave is nobody's.
        """
        self.receive(b"\0" + XMPP)
        self.assertTrue(self.transport.disconnecting)
        self.door._offered(XMPP)
        self.assertIsNone(self.inner)

    def test_amount(self) -> None:
        """
        What says nothing is waited for up to the bound, and no longer.
        """
        client = TLSClient()
        self.exchange(client)
        record = client.send(b"G")
        self.door._amount = MAX_BYTES - RECORD_OVERHEAD
        self.receive(record[:5])
        self.assertFalse(self.transport.disconnecting)
        self.receive(record[5:6], record[6:7])
        self.assertTrue(self.transport.disconnecting)
        self.assertEqual(self.refused("first-byte"), 1)


class FailureTests(SocketCase, test_door.FailureTests):
    """
    TLS that comes to nothing.
    """


class CountTests(SocketCase, test_door.CountTests):
    """
    Each counts once.
    """


class PrefaceTests(SocketCase, test_door.PrefaceTests):
    """
    Behind proxies.
    """
