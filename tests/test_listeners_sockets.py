# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.listeners}, over transports of our own.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address

from tests import test_listeners
from tests.pollers import HandReactor
from tests.wires import SocketWire


class SocketCase(test_listeners.ListenerCase):
    """
    A listener whose clients are on real sockets.
    """

    def setUp(self) -> None:
        super().setUp()
        self.hand = HandReactor()

    def wire(self, address: IPv4Address) -> Any:
        """
        Return what the connection is to be.
        """
        return SocketWire(self.hand, address)


class AnyTests(SocketCase, test_listeners.AnyTests):
    """
    One port for everything.
    """


class HTTPTests(SocketCase, test_listeners.HTTPTests):
    """
    HTTP in clear.
    """


class HTTPSTests(SocketCase, test_listeners.HTTPSTests):
    """
    HTTP in TLS.
    """


class CountTests(SocketCase, test_listeners.CountTests):
    """
    Each counts once.
    """


class FreeTests(SocketCase, test_listeners.FreeTests):
    """
    What OpenSSL keeps.
    """
