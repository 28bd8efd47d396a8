# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.settings}: the values alone.  How they are read from a file is
tested in L{tests.test_config}.
"""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from cmanager import settings
from cmanager.settings import (
    ListenerSettings,
    Security,
    ServerSettings,
    Settings,
    TLSSettings,
    isAddress,
    isEndpoint,
)


class ServerTests(SynchronousTestCase):
    """
    What follows from a server's keys.
    """

    def test_address(self) -> None:
        """
        Host and port come from the address.
        """
        server = ServerSettings(("montague.example",), address="[2001:db8::1]:99")
        self.assertEqual((server.host, server.port), ("2001:db8::1", 99))

    def test_default(self) -> None:
        """
        Without an address there is no host, and the port is that of the protection.
        """
        server = ServerSettings(("montague.example",))
        self.assertEqual((server.host, server.port), (None, 5262))
        self.assertEqual(attrs.evolve(server, security=Security.TLS).port, 5263)

    def test_identity(self) -> None:
        """
        A certificate's name goes before the domain.
        """
        server = ServerSettings(("montague.example",))
        self.assertEqual(server.identity, "montague.example")
        server = attrs.evolve(server, certificateName="x.example")
        self.assertEqual(server.identity, "x.example")

    def test_secret(self) -> None:
        """
        The secret is not in the text of the settings.
        """
        self.assertNotIn("hunter2", repr(ServerSettings(("a.example",), secret="hunter2")))


class ShapeTests(SynchronousTestCase):
    """
    Addresses and endpoints.
    """

    def test_address(self) -> None:
        """
        A host, a colon, a port from 1 to 65535.
        """
        self.assertTrue(isAddress("h:1"))
        self.assertTrue(isAddress("h:65535"))
        self.assertFalse(isAddress("h:65536"))
        self.assertFalse(isAddress("h:0"))
        self.assertFalse(isAddress("h"))

    def test_endpoint(self) -> None:
        """
        A kind, a colon, and something; for C{tcp} a port.
        """
        self.assertTrue(isEndpoint("tcp:65535"))
        self.assertTrue(isEndpoint("unix:x"))
        self.assertFalse(isEndpoint("tcp:65536"))
        self.assertFalse(isEndpoint("x"))

    def test_defaults(self) -> None:
        """
        All but certificates, listeners and servers has a default.
        """
        made = Settings(
            tls=TLSSettings("x"),
            listeners=(ListenerSettings("tcp", "tcp:1"),),
            servers=(ServerSettings(("a.example",)),),
        )
        self.assertEqual((made.filters, made.warnings), ((), ()))
        self.assertEqual(dict(settings.FilterSettings("x").options), {})
