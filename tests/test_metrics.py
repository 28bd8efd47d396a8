# Copyright the cmanager authors.
# See LICENSE for details.

"""
Counters, and how they are shown.
"""

from __future__ import annotations

from prometheus_client import generate_latest
from twisted.trial.unittest import SynchronousTestCase

from cmanager.metrics import COUNTERS, Gauge, Metrics, registry


class MetricsTests(SynchronousTestCase):
    """
    L{Metrics} counts.
    """

    def test_counts(self) -> None:
        """
        What was never counted is zero; labels are counted apart.
        """
        metrics = Metrics()
        self.assertEqual(metrics.value("logins"), 0)
        metrics.increment("logins")
        metrics.increment("logins", by=3)
        metrics.increment("streams_closed", "reset")
        self.assertEqual(metrics.value("logins"), 4)
        self.assertEqual(metrics.value("streams_closed", "reset"), 1)
        self.assertEqual(metrics.value("streams_closed"), 0)
        self.assertEqual(list(metrics.items()), [("logins", "", 4), ("streams_closed", "reset", 1)])

    def test_busiest(self) -> None:
        """
        Stanzas are counted by adding to an attribute, and shown like the rest.
        """
        metrics = Metrics()
        metrics.stanzasUp += 2
        metrics.stanzasDown += 1
        self.assertEqual((metrics.value("stanzas_up"), metrics.value("stanzas_down")), (2, 1))
        self.assertEqual(list(metrics.items()), [("stanzas_down", "", 1), ("stanzas_up", "", 2)])


class RegistryTests(SynchronousTestCase):
    """
    What a scrape sees.
    """

    def text(self, metrics: Metrics, *gauges: Gauge) -> str:
        """
        Scrape.
        """
        return generate_latest(registry(metrics, lambda: gauges)).decode()

    def test_allThere(self) -> None:
        """
        Each counter is there from the start, those without a label with a zero.
        """
        text = self.text(Metrics())
        for name, (label, _) in COUNTERS.items():
            self.assertIn(f"# TYPE cmanager_{name}_total counter", text)
            self.assertEqual(f"cmanager_{name}_total 0.0" in text, not label)

    def test_labels(self) -> None:
        """
        A counter shows its labels and their counts.
        """
        metrics = Metrics()
        metrics.increment("streams_closed", "reset", 2)
        metrics.increment("logins", by=5)
        text = self.text(metrics)
        self.assertIn('cmanager_streams_closed_total{condition="reset"} 2.0', text)
        self.assertIn("cmanager_logins_total 5.0", text)

    def test_plugins(self) -> None:
        """
        A counter nobody has announced is shown all the same.
        """
        metrics = Metrics()
        metrics.increment("knaves", "falstaff")
        metrics.increment("knaves", "bardolph")
        text = self.text(metrics)
        self.assertIn('cmanager_knaves_total{label="falstaff"} 1.0', text)
        self.assertIn('cmanager_knaves_total{label="bardolph"} 1.0', text)

    def test_gauges(self) -> None:
        """
        Gauges are read when somebody scrapes.
        """
        text = self.text(
            Metrics(),
            ("sessions", "Clients.", "state", {"bound": 2, "closing": 1}),
            ("sessions_limit", "Most.", "", {"": 10}),
        )
        self.assertIn('cmanager_sessions{state="bound"} 2.0', text)
        self.assertIn("cmanager_sessions_limit 10.0", text)

    def test_own(self) -> None:
        """
        Two registries do not see each other, nor the interpreter's metrics.
        """
        text = self.text(Metrics())
        self.assertNotIn("python_info", text)
        self.assertEqual(text, self.text(Metrics()))
