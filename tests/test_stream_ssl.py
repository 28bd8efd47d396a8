# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.stream}: the suite of all ways in, over transports that have TLS in them,
of ours, and as far as it goes of Twisted's, which cannot say what they have sent.
"""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests import suite, test_stream_sockets
from tests.suite import HEADER
from tests.ways import SSLSocketWay, SSLWay


class ConnectTests(suite.ConnectTests):
    """
    A client comes.
    """

    makeWay = SSLSocketWay

    def test_noMore(self) -> None:
        """
        It is secure from the first byte, so that nothing more can be made of it.
        """
        self.assertTrue(self.stream.secure)
        self.assertFalse(self.stream.canStartTLS)

    def test_facts(self) -> None:
        """
        What there is of TLS can be told, as long as there is any.
        """
        self.receive(HEADER)
        facts = self.stream.tlsFacts()
        self.assertEqual((facts.version, facts.sni), ("TLSv1.3", "a.example"))
        self.assertEqual(facts.bindingTypes, ("tls-exporter", "tls-server-end-point"))
        self.lose()

    def test_slowHandshake(self) -> None:
        """
        One that never gets through with the handshake is cut off behind the time for the
        login.
        """
        self.lose()
        self.patch(self.makeWay, "isEncrypted", False)
        self.connect()
        self.session.reactions["idle"] = lambda: self.stream.close(b"<stream:error/>")
        self.pass_(60)
        self.assertEqual(self.seen, [("idle", "login")])
        self.pass_(10)
        self.assertTrue(self.isCut)


class ReadTests(suite.ReadTests):
    """
    What it says.
    """

    makeWay = SSLSocketWay


class PauseTests(suite.PauseTests):
    """
    It is not read.
    """

    makeWay = SSLSocketWay


class WriteTests(suite.WriteTests):
    """
    What it is told.
    """

    makeWay = SSLSocketWay


class CloseTests(suite.CloseTests):
    """
    The end.
    """

    makeWay = SSLSocketWay

    test_cut = test_stream_sockets.CloseTests.test_cut


class TimeTests(suite.TimeTests):
    """
    Time passes.
    """

    makeWay = SSLSocketWay


class SocketTests(suite.SocketTests):
    """
    Nothing is lost, nothing comes twice.
    """

    makeWay = SSLSocketWay


class StockConnectTests(ConnectTests):
    """
    A client comes by Twisted's transport.
    """

    makeWay = SSLWay

    @property
    def isOver(self) -> bool:
        """
        We have ended the transport: before there is TLS, that is at once.
        """
        return self.transport.disconnecting or self.isCut


class StockReadTests(suite.StreamCase):
    """
    What it says.
    """

    makeWay = SSLWay

    Theirs = suite.ReadTests
    test_inputs = Theirs.test_inputs
    test_failed = Theirs.test_failed
    test_afterFooter = Theirs.test_afterFooter
    test_limit = Theirs.test_limit
    test_restart = Theirs.test_restart
    test_allow = Theirs.test_allow
    test_lostWithin = Theirs.test_lostWithin


class StockPauseTests(suite.PauseTests):
    """
    It is not read.
    """

    makeWay = SSLWay


class StockTimeTests(suite.TimeTests):
    """
    Time passes.
    """

    makeWay = SSLWay


class StockSocketTests(TestCase):
    """
    One that reads gets everything.  What such a transport holds for one that does not, is not
    to be had back.
    """

    makeWay = SSLWay

    Theirs = suite.SocketTests
    timeout, setUp, send = Theirs.timeout, Theirs.setUp, Theirs.send
    test_lateReader = Theirs.test_lateReader
    test_closeWaitsForReader = Theirs.test_closeWaitsForReader
    test_goneReader = Theirs.test_goneReader
    test_end = Theirs.test_end
    test_options = Theirs.test_options
