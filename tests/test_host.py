# Copyright the cmanager authors.
# See LICENSE for details.

"""
What a domain offers, and its links.
"""

from __future__ import annotations

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cmanager.clienttls import TLS_EXPORTER, TLS_UNIQUE, ClientCertificate, ClientTLS
from cmanager.configuration import Configuration, TLSOffer, TLSPolicy
from cmanager.host import Host, Offer
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
        Without TLS nothing is offered that shows a password, or a token that takes its
        place.
        """
        secrets = ("OAUTHBEARER", "X-OAUTH2", "PLAIN", "LOGIN", "JIVE-SHAREDSECRET")
        offer = Offer.fromConfiguration(Configuration(mechanisms=(*secrets, "SCRAM-SHA-1")), None)
        self.assertEqual(offer.openMechanisms, ("SCRAM-SHA-1",))
        self.assertEqual(offer.mechanisms, ("SCRAM-SHA-1", *secrets))

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


def offer(*mechanisms: str, bindings: tuple[str, ...] = (TLS_EXPORTER,)) -> Offer:
    """
    Return the offer of a server that knows of its clients' TLS.
    """
    tls = TLSOffer(mechanisms, bindings)
    return Offer.fromConfiguration(
        Configuration(mechanisms=("SCRAM-SHA-1", "PLAIN"), tls=tls), None
    )


BOUND = ClientTLS(bindings=((TLS_EXPORTER, b"1"), (TLS_UNIQUE, b"2")))
KNOWN = ClientTLS(certificate=ClientCertificate("7ad2", b"DER", isVerified=True))


class TLSOfferTests(SynchronousTestCase):
    """
    What depends on the client's own TLS.
    """

    def test_plus(self) -> None:
        """
        Channel binding is offered where there are data of a type that the server can
        use, before the same mechanism without.
        """
        made = offer("SCRAM-SHA-1-PLUS", "SCRAM-SHA-512-PLUS")
        expected = ("SCRAM-SHA-512-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "PLAIN")
        self.assertEqual(made.mechanismsFor(BOUND), expected)
        self.assertEqual(made.bindingTypes(BOUND), (TLS_EXPORTER,))

    def test_noData(self) -> None:
        """
        Without such data it is not, and no type is listed.
        """
        for made in (offer("SCRAM-SHA-1-PLUS", bindings=("x",)), offer("SCRAM-SHA-1-PLUS")):
            for tls in (None, ClientTLS(), ClientTLS(bindings=((TLS_UNIQUE, b"2"),))):
                self.assertEqual(made.mechanismsFor(tls), ("SCRAM-SHA-1", "PLAIN"))
                self.assertEqual(made.bindingTypes(tls), ())

    def test_noUse(self) -> None:
        """
        Types that no mechanism asks for are not listed.
        """
        self.assertEqual(offer("EXTERNAL").bindingTypes(BOUND), ())

    def test_external(self) -> None:
        """
        EXTERNAL is offered to clients that have shown a certificate that was verified,
        before all else, and needs no channel binding.
        """
        made = offer("SCRAM-SHA-1-PLUS", "EXTERNAL")
        self.assertEqual(made.mechanismsFor(KNOWN), ("EXTERNAL", "SCRAM-SHA-1", "PLAIN"))
        self.assertNotIn("EXTERNAL", made.mechanismsFor(BOUND))
        unverified = ClientTLS(certificate=ClientCertificate("7ad2", b"DER"))
        self.assertNotIn("EXTERNAL", made.mechanismsFor(unverified))
        self.assertNotIn("EXTERNAL", offer("SCRAM-SHA-1-PLUS").mechanismsFor(KNOWN))

    def test_others(self) -> None:
        """
        Mechanisms of other kinds do not belong there.
        """
        self.assertNotIn("X-NEW", offer("X-NEW", "SCRAM-SHA-1-PLUS").mechanismsFor(BOUND))

    def test_noExtension(self) -> None:
        """
        Without the extension the client's TLS makes no difference, and without TLS
        nothing does.
        """
        plain = Offer.fromConfiguration(Configuration(mechanisms=("PLAIN",)), None)
        self.assertEqual(plain.mechanismsFor(BOUND), ("PLAIN",))
        self.assertEqual(plain.bindingTypes(BOUND), ())
        self.assertEqual(offer("SCRAM-SHA-1-PLUS", "EXTERNAL").openMechanisms, ("SCRAM-SHA-1",))

    def test_lastWord(self) -> None:
        """
        An announcement holds until the next configuration.
        """
        after = Offer.fromConfiguration(Configuration(), offer("SCRAM-SHA-1-PLUS"))
        self.assertEqual(after.mechanismsFor(BOUND), ("SCRAM-SHA-1", "PLAIN"))


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

    def test_noWarning(self) -> None:
        """
        A server that is told of its clients' TLS is not warned of.
        """
        events: list[str] = []
        observer = lambda event: events.append(event["log_format"])  # noqa: E731
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        tls = TLSOffer(("SCRAM-SHA-1-PLUS",), (TLS_EXPORTER,))
        Host("verona.example").configured(Configuration(mechanisms=("SCRAM-SHA-1-PLUS",), tls=tls))
        self.assertEqual(events, [])

    def test_domain(self) -> None:
        """
        What is said for the domain goes before what is said for all.
        """
        configuration = Configuration(
            mechanisms=("PLAIN",), domains={"mantua.example": Configuration(mechanisms=("A",))}
        )
        for domain, expected in (("mantua.example", ("A",)), ("verona.example", ("PLAIN",))):
            host = Host(domain)
            host.configured(configuration)
            assert host.offer is not None
            self.assertEqual(host.offer.mechanisms, expected)
