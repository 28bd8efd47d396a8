# Copyright the cmanager authors.
# See LICENSE for details.

"""
Tests for L{cmanager.server.configuration}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cmanager.linkevents import Configuration, TLSPolicy
from cmanager.server.configuration import Offer, configurationOf

TLS = "urn:ietf:params:xml:ns:xmpp-tls"


class ConfigurationTests(SynchronousTestCase):
    """
    What all managers are told.
    """

    def test_full(self) -> None:
        """
        Each field has its element.
        """
        configuration = Configuration(TLSPolicy.REQUIRED, ("PLAIN", "X"), True, True, True)
        self.assertEqual(
            configurationOf(configuration, "1"),
            "<iq type='set' id='1'><configuration"
            " xmlns='http://jabber.org/protocol/connectionmanager'>"
            f"<starttls xmlns='{TLS}'><required/></starttls>"
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"
            "<mechanism>PLAIN</mechanism><mechanism>X</mechanism></mechanisms>"
            "<compression xmlns='http://jabber.org/features/compress'>"
            "<method>zlib</method></compression>"
            "<auth xmlns='http://jabber.org/features/iq-auth'/>"
            "<register xmlns='http://jabber.org/features/iq-register'/></configuration></iq>",
        )

    def test_empty(self) -> None:
        """
        What is not offered is not there.
        """
        self.assertEqual(
            configurationOf(Configuration(), "1"),
            "<iq type='set' id='1'><configuration"
            " xmlns='http://jabber.org/protocol/connectionmanager'/></iq>",
        )

    def test_optional(self) -> None:
        """
        TLS may be optional.
        """
        self.assertIn(
            f"<starttls xmlns='{TLS}'/>",
            configurationOf(Configuration(TLSPolicy.OPTIONAL), "1"),
        )


class ExtensionTests(SynchronousTestCase):
    """
    What those are told that know the extensions.
    """

    def test_usable(self) -> None:
        """
        Types of channel binding are of use to mechanisms that bind.
        """
        self.assertEqual(Offer(("SCRAM-SHA-1-PLUS",), ("tls-unique",)).usable, ("tls-unique",))
        self.assertEqual(Offer(("EXTERNAL",)).usable, ())

    def test_all(self) -> None:
        """
        Unless told otherwise, everything is offered.
        """
        offer = Offer()
        self.assertEqual(offer.mechanisms, ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "EXTERNAL"))
        self.assertEqual(offer.bindings, ("tls-exporter", "tls-server-end-point", "tls-unique"))

    def test_announced(self) -> None:
        """
        They stand behind what all are told, and in each domain.
        """
        offer = Offer(("EXTERNAL",), ("tls-unique",))
        tls = (
            "<tls xmlns='urn:cmanager:tls:0'><mechanism>EXTERNAL</mechanism>"
            "<channel-binding type='tls-unique'/></tls>"
        )
        auth = "<auth xmlns='http://jabber.org/features/iq-auth'/>"
        self.assertEqual(
            configurationOf(Configuration(), "1", offer, {"a.example": Configuration(auth=True)}),
            "<iq type='set' id='1'><configuration"
            f" xmlns='http://jabber.org/protocol/connectionmanager'>{tls}"
            f"<stream xmlns='urn:cmanager:stream:0'><domain name='a.example'>{auth}{tls}</domain>"
            "</stream></configuration></iq>",
        )

    def test_noDomains(self) -> None:
        """
        There may be no domains.
        """
        xml = configurationOf(Configuration(), "1", Offer())
        self.assertIn("<stream xmlns='urn:cmanager:stream:0'/>", xml)
