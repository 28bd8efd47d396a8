# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.arrival}.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from cmanager.arrival import Arrival, factsOf
from cmanager.outbox import Outbox
from cmanager.records import Records
from cmanager.sinks import sinkFor
from tests.test_records import TLSClient, serverContext


class ArrivalTests(SynchronousTestCase):
    """
    What is known of a client before its stream.
    """

    def test_secure(self) -> None:
        """
        A client is secure with TLS of ours, and with that of a proxy.
        """
        records = Records(SSL.Connection(SSL.Context(SSL.TLS_METHOD), None))
        self.assertFalse(Arrival().secure)
        self.assertFalse(Arrival("192.0.2.1").secure)
        self.assertTrue(Arrival(records=records).secure)
        self.assertTrue(Arrival(isSecureOutside=True).secure)
        # TLS to us, but none between client and proxy.
        self.assertFalse(Arrival(records=records, isSecureOutside=False).secure)

    def test_begun(self) -> None:
        """
        So it is with TLS in the transport itself, but for what a proxy has said.
        """
        transport = StringTransport()
        self.assertFalse(Arrival().begun(transport).secure)
        directlyProvides(transport, ISSLTransport)
        self.assertTrue(Arrival().begun(transport).secure)
        self.assertFalse(Arrival(isSecureOutside=False).begun(transport).secure)

    def test_facts(self) -> None:
        """
        What can be told is told of TLS of ours, and of a transport that lets its own be had.
        """
        transport, records = StringTransport(), Records(SSL.Connection(serverContext(), None))
        self.assertIs(factsOf(transport, records), None)
        self.assertIs(factsOf(transport, None), None)
        client = TLSClient(name="a.example")
        data = client.exchange()
        while data:
            records.receive(data)
            data = client.exchange(records.outgoing())
        facts = factsOf(transport, records)
        assert facts is not None
        self.assertEqual(facts.sni, "a.example")
        below: Any = SimpleNamespace(getHandle=lambda: None)
        self.assertIs(factsOf(below, None), None)
        below.getHandle = lambda: records.connection
        self.assertEqual(factsOf(below, None), facts)


class OutboxTests(SynchronousTestCase):
    """
    What goes on with what has been sent.
    """

    def setUp(self) -> None:
        self.transport = StringTransport()

    def records(self) -> Records:
        """
        Records that nobody has spoken to yet.
        """
        return Records(SSL.Connection(serverContext(), None))

    def test_new(self) -> None:
        """
        Where nothing has been sent, the outbox is a new one.
        """
        outbox = Arrival().outboxFor(self.transport, lambda: None, 100)
        outbox.put(b"x" * 100)
        self.assertEqual(self.transport.value(), b"x" * 100)
        self.assertIs(self.transport.streaming, True)

    def test_encrypted(self) -> None:
        """
        With TLS of ours nothing goes out in clear.
        """
        outbox = Arrival(records=self.records()).outboxFor(self.transport, lambda: None, 100)
        outbox.put(b"x")
        self.assertEqual(self.transport.value(), b"")

    def test_handedOn(self) -> None:
        """
        What there is goes on, for somebody else.
        """
        first = Arrival().outboxFor(self.transport, self.fail, 100)
        self.transport.producer.pauseProducing()
        first.put(b"x" * 90)
        second = Arrival(outbox=first).outboxFor(self.transport, lambda: first.writable(), 200)
        self.assertIs(second, first)
        self.assertTrue(second.fits(110))
        self.transport.producer.resumeProducing()
        self.assertEqual(self.transport.value(), b"x" * 90)


class TurnAwayTests(OutboxTests):
    """
    A client gets no stream.
    """

    def test_clear(self) -> None:
        """
        It is told why, with or without an outbox, and the transport closes.
        """
        for hasOutbox in (False, True):
            outbox = Outbox(sinkFor(self.transport, lambda: None), 100) if hasOutbox else None
            Arrival(outbox=outbox).turnAway(self.transport, b"no")
            self.assertEqual(self.transport.value(), b"no")
            self.assertTrue(self.transport.disconnecting)
            self.assertIsNone(self.transport.producer)
            self.transport.clear()

    def test_early(self) -> None:
        """
        Before its TLS is established there is nothing it could read; nor is it waited for
        where the transport would.
        """
        Arrival(isSecureBelow=True).turnAway(self.transport, b"no")
        Arrival(records=self.records()).turnAway(self.transport, b"no")
        records = self.records()
        outbox = Arrival(records=records).outboxFor(self.transport, lambda: None, 100)
        Arrival(records=records, outbox=outbox).turnAway(self.transport, b"no")
        self.assertEqual(self.transport.value(), b"")
        self.assertTrue(self.transport.disconnecting)

    def test_encrypted(self) -> None:
        """
        Afterwards it is told, and TLS ends in order.
        """
        records, client = self.records(), TLSClient()
        outbox = Arrival(records=records).outboxFor(self.transport, lambda: None, 100)
        data = client.exchange()
        while data:
            records.receive(data)
            outbox.flush()
            data = client.exchange(self.transport.value())
            self.transport.clear()
        Arrival(records=records, outbox=outbox).turnAway(self.transport, b"no")
        client.exchange(self.transport.value())
        self.assertEqual((client.received, client.ended), (b"no", True))
        self.assertTrue(self.transport.disconnecting)
