# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a domain offers, and its links.
"""

from __future__ import annotations

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cmanager.host import Host, Offer
from cmanager.linkevents import Configuration, TLSPolicy
from tests.doubles import FakeLink, FakePool


class OfferTests(SynchronousTestCase):
    """
    What is made of a server's configuration.
    """

    def test_filtered(self) -> None:
        """
        What cannot work behind us is left out, and the order is by strength.
        """
        mechanisms = ("ANONYMOUS", "PLAIN", "EXTERNAL", "SCRAM-SHA-1-PLUS", "X-NEW", "SCRAM-SHA-1")
        offer = Offer.fromConfiguration(Configuration(mechanisms=mechanisms), None)
        self.assertEqual(offer.mechanisms, ("SCRAM-SHA-1", "X-NEW", "PLAIN", "ANONYMOUS"))

    def test_sameOrder(self) -> None:
        """
        The order does not depend on the server's, which is random; nothing is doubled.
        """
        one = Offer.fromConfiguration(Configuration(mechanisms=("A", "B", "PLAIN", "A")), None)
        two = Offer.fromConfiguration(Configuration(mechanisms=("PLAIN", "B", "A")), None)
        self.assertEqual(one, two)

    def test_clearText(self) -> None:
        """
        Without TLS nothing is offered that shows a password.
        """
        offer = Offer.fromConfiguration(
            Configuration(mechanisms=("PLAIN", "JIVE-SHAREDSECRET", "SCRAM-SHA-1")), None
        )
        self.assertEqual(offer.openMechanisms, ("SCRAM-SHA-1",))

    def test_silence(self) -> None:
        """
        A configuration without mechanisms leaves those of before in force; all else is
        new.
        """
        before = Offer.fromConfiguration(Configuration(mechanisms=("PLAIN",), auth=True), None)
        after = Offer.fromConfiguration(Configuration(TLSPolicy.REQUIRED), before)
        self.assertEqual(after.mechanisms, ("PLAIN",))
        self.assertFalse(after.auth)
        self.assertIs(after.starttls, TLSPolicy.REQUIRED)
        self.assertEqual(Offer.fromConfiguration(Configuration(), None).mechanisms, ())


class HostTests(SynchronousTestCase):
    """
    A domain and its links.
    """

    def test_ready(self) -> None:
        """
        A host is ready with a link and a configuration, not with either alone.
        """
        host = Host("verona.example")
        self.assertFalse(host.isReady)
        host.configured(Configuration())
        self.assertFalse(host.isReady)
        pool = FakePool()
        host.pools.append(pool)
        self.assertTrue(host.isReady)
        host.offer = None
        self.assertFalse(host.isReady)

    def test_pick(self) -> None:
        """
        The least loaded ready link of all its servers is picked.
        """
        host = Host("verona.example")
        self.assertIs(host.pick(), None)
        one, two, away = FakePool(links=2), FakePool(), FakePool(links=0)
        host.pools += [away, one, two]
        for link in one.links:
            link.sessions["x"] = object()
        self.assertIs(host.pick(), two.links[0])
        two.links[0].isReady = False
        self.assertIs(host.pick(), one.links[0])
        self.assertIsInstance(host.pick(), FakeLink)

    def test_warning(self) -> None:
        """
        A server with channel binding is warned of once, with the remedy (pitfall S-14).
        """
        events: list[str] = []
        observer = lambda event: events.append(event["log_format"])  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        host = Host("verona.example")
        host.configured(Configuration(mechanisms=("SCRAM-SHA-1",)))
        self.assertEqual(events, [])
        for _ in range(2):
            host.configured(Configuration(mechanisms=("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS")))
        self.assertEqual(len(events), 1)
        self.assertIn("sasl.mechs", events[0])
