# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.stream}: the suite of all ways in, over transports of our own.
"""

from __future__ import annotations

from cmanager.errors import StreamError
from cmanager.stanza import FOOTER
from tests import suite, test_stream
from tests.suite import HEADER
from tests.test_outbox import message
from tests.test_records import TLSClient
from tests.ways import TCPSocketWay, TLSSocketWay


class RawTLSSocketWay(TLSSocketWay):
    """
    One whose TLS is the test's business.
    """

    isEncrypted = False


class ConnectTests(suite.ConnectTests):
    """
    A client comes over TCP.
    """

    makeWay = TCPSocketWay


class ReadTests(suite.ReadTests):
    """
    Over TCP.
    """

    makeWay = TCPSocketWay


class PauseTests(suite.PauseTests):
    """
    Over TCP.
    """

    makeWay = TCPSocketWay


class WriteTests(suite.WriteTests):
    """
    Over TCP.
    """

    makeWay = TCPSocketWay


class CloseTests(suite.CloseTests):
    """
    Over TCP.
    """

    makeWay = TCPSocketWay

    def test_cut(self) -> None:
        """
        After half a stanza there is no error and no footer, but the end.
        """
        self.stream.deliver(message(1, 1 << 22))
        self.assertEqual(len(self.stream.takeUndelivered()), 1)
        self.stream.close()
        self.assertNotIn(FOOTER, self.sent())
        self.assertIs(self.transport.far.ended, True)
        self.pass_(5)
        self.assertTrue(self.isOver)


class TimeTests(suite.TimeTests):
    """
    Over TCP.
    """

    makeWay = TCPSocketWay


class SocketTests(suite.SocketTests):
    """
    Over TCP.
    """

    makeWay = TCPSocketWay


class TLSConnectTests(suite.ConnectTests):
    """
    A client comes in TLS from the first byte.
    """

    makeWay = TLSSocketWay


class TLSReadTests(suite.ReadTests):
    """
    In TLS.
    """

    makeWay = TLSSocketWay


class TLSPauseTests(suite.PauseTests):
    """
    In TLS.
    """

    makeWay = TLSSocketWay


class TLSWriteTests(suite.WriteTests):
    """
    In TLS.
    """

    makeWay = TLSSocketWay


class TLSCloseTests(suite.CloseTests):
    """
    In TLS.
    """

    makeWay = TLSSocketWay


class TLSTimeTests(suite.TimeTests):
    """
    In TLS.
    """

    makeWay = TLSSocketWay


class TLSSocketTests(suite.SocketTests):
    """
    In TLS.
    """

    makeWay = TLSSocketWay


class StartTLSTests(test_stream.StartTLSTests):
    """
    TLS in the middle of the stream.
    """

    makeWay = TCPSocketWay


class TLSEndTests(test_stream.TLSCase):
    """
    TLS that ends, or comes to nothing.
    """

    makeWay = RawTLSSocketWay

    def test_peerEnds(self) -> None:
        """
        A client that ends TLS without ending its stream is closed; TLS is ended in turn.
        """
        self.exchange()
        data = self.client.send(HEADER)
        self.client.connection.shutdown()
        self.receive(data + self.client.connection.bio_read(1000))
        self.assertEqual(self.session.seen[0], ("opened", "a.example"))
        self.assertTrue(self.transport.disconnecting)
        self.client.exchange(self.sent())
        self.assertTrue(self.client.ended)
        self.assertTrue(self.transport.isLost)

    def test_peerEndsClosing(self) -> None:
        """
        In a closing stream that counts as its end, once all is taken; what it sends behind
        is of no use, and is read.
        """
        self.exchange()
        self.fill()
        self.stream.close()
        self.client.connection.shutdown()
        self.receive(self.client.connection.bio_read(1000))
        self.receive(b"garbage" * 10000)
        self.assertFalse(self.transport.disconnecting)
        self.transport.producer.resumeProducing()
        self.assertTrue(self.transport.disconnecting)
        self.client.exchange(self.sent())
        self.assertEqual((self.client.received, self.client.ended), (FOOTER, True))

    def test_wrongALPN(self) -> None:
        """
        A client that wants another protocol is refused, with TLS's own alert.
        """
        self.client = TLSClient(alpn=[b"h2"])
        self.receive(self.client.exchange())
        self.assertTrue(self.transport.isLost)
        self.client.exchange(self.sent())
        self.assertIn("no application protocol", str(self.client.failure))

    def test_refused(self) -> None:
        """
        A client over a limit is closed without a word: none could be read.
        """
        self.hub.refusal = StreamError("resource-constraint")
        self.connect()
        self.assertEqual(self.sent(), b"")
        self.assertTrue(self.transport.isLost)

    def test_facts(self) -> None:
        """
        The client's TLS can be described, as long as there is a client.
        """
        self.assertIs(self.stream.tlsFacts(), None)
        self.exchange()
        self.assertTrue(self.stream.secure)
        self.assertIsNotNone(self.stream.tlsFacts())
        self.lose()
        self.assertIs(self.stream.tlsFacts(), None)

    def test_paused(self) -> None:
        """
        A record that waits while the session does is read later, with what is behind it.
        """
        self.exchange()
        self.session.reactions["message"] = self.stream.pauseReading
        for data in (HEADER + message(1).data, message(2).data, message(3).data):
            self.receive(self.client.send(data))
        self.assertEqual(self.session.stanzas(), ["1"])
        self.session.reactions.clear()
        self.stream.resumeReading()
        self.pass_(1)
        self.assertEqual(self.session.stanzas(), ["1", "2", "3"])

    def test_lostPaused(self) -> None:
        """
        A client that goes while it is not read has said what it has said.
        """
        self.exchange()
        self.session.reactions["message"] = self.stream.pauseReading
        for data in (HEADER + message(1).data, message(2).data):
            self.receive(self.client.send(data))
        self.transport.far.socket.close()
        self.pass_(1)
        self.assertEqual(self.session.stanzas(), ["1"])
        self.session.reactions.clear()
        self.stream.resumeReading()
        self.pass_(1)
        self.assertEqual(self.session.stanzas(), ["1", "2"])
        self.assertEqual(self.session.seen[-1], ("transportLost", None))
