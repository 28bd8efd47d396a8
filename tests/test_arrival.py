# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.arrival}.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from cmanager.arrival import Arrival
from cmanager.records import Records


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
