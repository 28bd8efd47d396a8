# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.stream}: the suite of all ways in, over transports of our own.
"""

from __future__ import annotations

from cmanager.stanza import FOOTER
from tests import suite
from tests.test_outbox import message
from tests.ways import TCPSocketWay, TLSSocketWay


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
