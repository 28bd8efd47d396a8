# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.outgoing}: the way out of streams over TCP, in TLS and without.
"""

from __future__ import annotations

from cmanager.stanza import FOOTER
from tests import suite
from tests.suite import HEADER
from tests.test_stream import PROCEED
from tests.ways import TLSWay


class WriteTests(suite.WriteTests):
    """
    Over TCP.
    """


class CloseTests(suite.CloseTests):
    """
    Over TCP.
    """

    def test_failedFooter(self) -> None:
        """
        Behind broken XML there is no footer.
        """
        self.session.reactions["failed"] = lambda: self.stream.close()
        self.receive(HEADER + b"<!--", FOOTER)
        self.assertFalse(self.transport.disconnecting)

    def test_startTLS(self) -> None:
        """
        A closing stream starts no TLS.
        """
        self.stream.close()
        self.stream.startTLS(PROCEED)
        self.assertEqual(self.sent(), FOOTER)


class StuckTests(suite.StuckTests):
    """
    Over TCP.
    """


class TLSWriteTests(suite.WriteTests):
    """
    In TLS.
    """

    makeWay = TLSWay


class TLSCloseTests(suite.CloseTests):
    """
    In TLS.
    """

    makeWay = TLSWay


class TLSStuckTests(suite.StuckTests):
    """
    In TLS.
    """

    makeWay = TLSWay
